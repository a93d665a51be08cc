//! Rings among themselves: many routers, late and lost messages, cuts, crashes with disks kept, lost and old.

mod claims;
mod rest;
mod spare;
mod strangers;

use super::ranges::Span;
use super::*;
use crate::Vni;
use crate::record::{Key, Record, kind};
use crate::testing::FakeSigner;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const MS: u64 = 1000;
const SECOND: u64 = 1000 * MS;

fn id(n: u32) -> PeerId {
    let mut bytes = [0; 32];
    // Not in the order of the numbers.
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9);
    bytes[..4].copy_from_slice(&mixed.to_be_bytes());
    bytes[4..8].copy_from_slice(&n.to_be_bytes());
    PeerId(bytes)
}

#[derive(Debug)]
enum Ev {
    Record(Arc<Record>),
    Ask(PeerId, AskMessage),
    /// The whole book of a router, as it was.
    Book(PeerId, Vec<Arc<Record>>),
    Kept(Batch),
    Look,
}

struct Router {
    id: PeerId,
    /// A number for each identity; a router that lost its disk gets another.
    number: u32,
    ring: Option<Ring>,
    run: u64,
    epoch: u64,
    counter: u64,
    side: u32,
    disk: Stored,
    backup: Option<(Stored, u64)>,
    due: Option<u64>,
    /// Which routers it has seen in which division.
    seen: BTreeSet<(PeerId, RingId)>,
    asked: BTreeMap<u64, String>,
    doubled: usize,
    log: Vec<IpamEvent>,
}

/// All routers, the time, and what is on its way.
struct World {
    now: u64,
    rng: StdRng,
    settings: Settings,
    routers: Vec<Router>,
    by_id: BTreeMap<PeerId, usize>,
    events: BTreeMap<(u64, u64), (usize, u64, Ev)>,
    sequence: u64,
    next_id: u32,
    /// Who has an address: router and holder.
    live: BTreeMap<u32, Vec<(usize, String)>>,
    given: usize,
    refused: BTreeMap<String, usize>,
    requests: u64,
}

struct View<'a> {
    own: usize,
    routers: &'a [Router],
    by_id: &'a BTreeMap<PeerId, usize>,
}

impl View<'_> {
    fn is_near(&self, other: usize) -> bool {
        let (own, other) = (&self.routers[self.own], &self.routers[other]);
        own.side == other.side && other.run > 0
    }
}

impl Around for View<'_> {
    fn is_reachable(&self, peer: &PeerId) -> bool {
        self.by_id.get(peer).is_some_and(|other| {
            *other != self.own && self.routers[*other].id == *peer && self.is_near(*other)
        })
    }

    fn reachable(&self) -> Vec<PeerId> {
        let near = (0..self.routers.len()).filter(|other| *other != self.own && self.is_near(*other));
        let mut near: Vec<_> = near.map(|other| self.routers[other].id).collect();
        near.sort_unstable();
        near
    }

    fn count(&self) -> usize {
        (0..self.routers.len())
            .filter(|other| *other != self.own && self.is_near(*other))
            .count()
    }

    fn is_taken(&self, _: u32) -> bool {
        false
    }
}

impl World {
    fn new(seed: u64, routers: usize, prefix: u8) -> Self {
        let pool = Pool::new(([10, 32, 0, 0].into(), prefix), None).unwrap();
        let mut world = Self {
            now: SECOND,
            rng: StdRng::seed_from_u64(seed),
            settings: Settings {
                pool,
                ..Settings::default()
            },
            routers: Vec::new(),
            by_id: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            next_id: 0,
            live: BTreeMap::new(),
            given: 0,
            refused: BTreeMap::new(),
            requests: 0,
        };
        for n in 0..routers {
            world.routers.push(Router {
                id: id(0),
                number: 0,
                ring: None,
                run: 0,
                epoch: 0,
                counter: 0,
                side: 0,
                disk: Stored::new(),
                backup: None,
                due: None,
                seen: BTreeSet::new(),
                asked: BTreeMap::new(),
                doubled: 0,
                log: Vec::new(),
            });
            world.renew_identity(n);
        }
        world
    }

    fn renew_identity(&mut self, n: usize) {
        let number = self.next_id;
        self.next_id += 1;
        let router = &mut self.routers[n];
        (router.number, router.id) = (number, id(number));
        self.by_id.insert(router.id, n);
    }

    fn launch(&mut self, n: usize, knows_others: bool) {
        let rng = StdRng::seed_from_u64(self.rng.random());
        let router = &mut self.routers[n];
        router.epoch += 1;
        router.counter = 0;
        router.run = self.sequence + 1;
        self.sequence += 1;
        let now = Instant(self.now);
        let ring = Ring::load(
            (router.id, Vni(1)),
            &self.settings,
            &router.disk,
            knows_others,
            now,
            rng,
        )
        .unwrap();
        router.ring = Some(ring);
        router.asked.clear();
        self.drain(n);
        self.meet(n);
    }

    /// Both ends of some new links tell each other all they know.
    fn meet(&mut self, n: usize) {
        let near: Vec<_> = {
            let view = View {
                own: n,
                routers: &self.routers,
                by_id: &self.by_id,
            };
            (0..self.routers.len())
                .filter(|other| *other != n && view.is_near(*other))
                .collect()
        };
        for _ in 0..3.min(near.len()) {
            let other = near[self.rng.random_range(0..near.len())];
            for (from, to) in [(n, other), (other, n)] {
                let ring = self.routers[from].ring.as_ref().unwrap();
                let (id, book) = (self.routers[from].id, ring.records().cloned().collect());
                self.send(to, Ev::Book(id, book));
            }
        }
    }

    fn send(&mut self, to: usize, ev: Ev) {
        let delay = MS + self.rng.random_range(0..30 * MS);
        self.plan(to, self.now + delay, ev);
    }

    fn plan(&mut self, to: usize, at: u64, ev: Ev) {
        self.sequence += 1;
        self.events
            .insert((at, self.sequence), (to, self.routers[to].run, ev));
    }

    /// The process is gone; what was not stored by then never was.
    fn crash(&mut self, n: usize) {
        self.routers[n].ring = None;
        self.routers[n].run = 0;
    }

    fn lose_disk(&mut self, n: usize) {
        self.crash(n);
        self.routers[n].disk.clear();
        self.routers[n].backup = None;
        self.routers[n].seen.clear();
        self.end_containers(n, |_| true);
        self.renew_identity(n);
    }

    fn restore_backup(&mut self, n: usize) {
        self.crash(n);
        let Some((disk, epoch)) = self.routers[n].backup.clone() else {
            return;
        };
        (self.routers[n].disk, self.routers[n].epoch) = (disk, epoch);
        let known = self.stored_holders(n);
        self.end_containers(n, |(index, holder)| known.get(index) != Some(holder));
    }

    fn stored_holders(&self, n: usize) -> BTreeMap<u32, String> {
        let read = keep::Read::of(Vni(1), &self.routers[n].disk).unwrap();
        read.used.into_iter().collect()
    }

    fn end_containers(&mut self, n: usize, is_over: impl Fn((&u32, &String)) -> bool) {
        for (index, holders) in &mut self.live {
            holders.retain(|(router, holder)| *router != n || !is_over((index, holder)));
        }
    }

    fn act(&mut self, n: usize, act: impl FnOnce(&mut Ring, Instant, &dyn Around)) {
        let Some(mut ring) = self.routers[n].ring.take() else {
            return;
        };
        let view = View {
            own: n,
            routers: &self.routers,
            by_id: &self.by_id,
        };
        act(&mut ring, Instant(self.now), &view);
        self.routers[n].ring = Some(ring);
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        loop {
            let router = &mut self.routers[n];
            let Some(ring) = router.ring.as_mut() else { return };
            let Some(act) = ring.poll() else { break };
            match act {
                Act::Keep(batch) => {
                    let at = self.now + self.rng.random_range(0..5 * MS);
                    let floor = self
                        .events
                        .iter()
                        .filter(|(_, (to, _, ev))| *to == n && matches!(ev, Ev::Kept(_)));
                    let after = floor.map(|((at, _), _)| *at).max().unwrap_or(0);
                    self.plan(n, at.max(after), Ev::Kept(batch));
                }
                Act::Issue => {
                    let Some(body) = ring.body() else { continue };
                    router.counter += 1;
                    let key = Key {
                        origin: router.id,
                        kind: kind::IPAM,
                        subkey: 1,
                    };
                    let bytes = postcard::to_stdvec(&body).unwrap();
                    let record =
                        Record::sign(&FakeSigner(router.id), key, router.epoch, router.counter, &bytes);
                    let record = Arc::new(record.unwrap());
                    ring.issued(Instant(self.now), &record);
                    self.spread(n, &record);
                }
                Act::Tell { to, message } => {
                    let (from, to) = (router.id, self.by_id[&to]);
                    self.send(to, Ev::Ask(from, message));
                }
                Act::Answer(answer) => self.answered(n, answer),
                Act::Log(event) => router.log.push(event),
            }
        }
        let due = self.routers[n]
            .ring
            .as_ref()
            .and_then(Ring::next_timeout)
            .map(|at| at.0.max(self.now + 1));
        if let Some(at) = due.filter(|at| self.routers[n].due.is_none_or(|due| due <= self.now || *at < due))
        {
            self.routers[n].due = Some(at);
            self.plan(n, at, Ev::Look);
        }
    }

    fn spread(&mut self, n: usize, record: &Arc<Record>) {
        let view = View {
            own: n,
            routers: &self.routers,
            by_id: &self.by_id,
        };
        let near: Vec<_> = (0..self.routers.len())
            .filter(|other| *other != n && view.is_near(*other))
            .collect();
        for other in near {
            // On its way through the mesh, some of it lost with links.
            self.send(other, Ev::Record(Arc::clone(record)));
        }
    }

    fn answered(&mut self, n: usize, answer: Answer) {
        let Some(holder) = self.routers[n].asked.remove(&answer.number) else {
            return;
        };
        match answer.result {
            Ok(index) => {
                self.given += 1;
                let others = self.live.entry(index).or_default();
                if others.iter().any(|other| *other == (n, holder.clone())) {
                    return;
                }
                let others: Vec<_> = others.iter().map(|(other, _)| *other).collect();
                for other in others {
                    assert!(
                        !self.have_met(n, other),
                        "{index} is live at {n} and {other}, which had met"
                    );
                    self.routers[n].doubled += 1;
                }
                self.live.entry(index).or_default().push((n, holder));
            }
            Err(refusal) => {
                let text = format!("{refusal:?}");
                let text = text.split(['(', ' ']).next().unwrap_or_default().to_owned();
                *self.refused.entry(text).or_default() += 1;
            }
        }
    }

    /// Each has seen a record of the other's of one and the same division.
    fn have_met(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.routers[a], &self.routers[b]);
        a.id == b.id
            || a.seen
                .iter()
                .any(|(peer, ring)| *peer == b.id && b.seen.contains(&(a.id, *ring)))
    }

    fn run(&mut self, time: u64) {
        let until = self.now + time;
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), (to, run, ev)) = entry.remove_entry();
            self.now = self.now.max(at);
            if self.routers[to].run != run || run == 0 {
                continue;
            }
            match ev {
                Ev::Record(record) => self.heard(to, &[record], None),
                Ev::Book(with, records) => self.heard(to, &records, Some(with)),
                Ev::Ask(from, message) => {
                    self.act(to, |ring, now, around| ring.told_by(now, from, &message, around));
                }
                Ev::Kept(batch) => {
                    for (key, value) in &batch.changes {
                        match value {
                            Some(value) => drop(self.routers[to].disk.insert(key.clone(), value.clone())),
                            None => drop(self.routers[to].disk.remove(key)),
                        }
                    }
                    self.act(to, |ring, now, _| ring.kept(now, batch.number));
                }
                Ev::Look => {
                    if self.routers[to].due == Some(at) {
                        self.routers[to].due = None;
                        self.act(to, |ring, now, around| ring.look(now, around));
                    }
                }
            }
        }
        self.now = until;
    }

    /// Records came; `book`: all that this router has.
    fn heard(&mut self, to: usize, records: &[Arc<Record>], book: Option<PeerId>) {
        let mut news = Vec::new();
        for record in records {
            // Cut while it was on its way.
            let from = self.by_id[&record.key.origin];
            if book.is_none() && self.routers[from].side != self.routers[to].side {
                continue;
            }
            self.act(to, |ring, now, around| {
                if ring.learn(now, record, around) {
                    news.push(Arc::clone(record));
                }
            });
            let router = &mut self.routers[to];
            let version = record.version;
            if record.key.origin == router.id && version.epoch >= router.epoch {
                // The core takes a greater epoch, and issues all it has to say anew.
                (router.epoch, router.counter) = (version.epoch + 1, 0);
                self.act(to, |ring, now, _| ring.renew(now));
            }
            let router = &mut self.routers[to];
            if let Some(ring) = &router.ring {
                let theirs = ring.told(&record.key.origin).map(|body| body.ring);
                if let Some(ring) = theirs.filter(|theirs| ring.state.ring == Some(*theirs)) {
                    router.seen.insert((record.key.origin, ring));
                }
            }
        }
        if let Some(with) = book {
            self.act(to, |ring, now, around| ring.exchanged(now, &with, around));
            news.iter().for_each(|record| self.spread(to, record));
        }
    }

    fn allocate(&mut self, n: usize) {
        self.requests += 1;
        let (number, holder) = (self.requests, format!("c{}", self.requests));
        if self.routers[n].ring.is_some() {
            self.routers[n].asked.insert(number, holder.clone());
            let request = Request {
                number,
                holder,
                want: None,
            };
            self.act(n, |ring, now, around| ring.allocate(now, request, around));
        }
    }

    fn release_one(&mut self, n: usize) {
        let Some(ring) = &self.routers[n].ring else { return };
        let holders: Vec<_> = ring
            .holders()
            .map(|(index, holder)| (index, holder.to_owned()))
            .collect();
        if holders.is_empty() {
            return;
        }
        let (_, holder) = &holders[self.rng.random_range(0..holders.len())];
        let holder = holder.clone();
        self.end_containers(n, |(_, other)| *other == holder);
        self.act(n, |ring, now, _| drop(ring.release(now, &holder)));
    }

    fn cut(&mut self, sides: u32) {
        for n in 0..self.routers.len() {
            self.routers[n].side = self.rng.random_range(0..sides);
        }
        if sides == 1 {
            for n in 0..self.routers.len() {
                if self.routers[n].run > 0 {
                    self.meet(n);
                }
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = &Ring> {
        self.routers.iter().filter_map(|router| router.ring.as_ref())
    }
}

/// Everything happens that may, to a few routers, many times.
fn chaos(seed: u64) -> (usize, usize) {
    let mut world = World::new(seed, 6, 24);
    // Far shorter than anybody would choose, so that it happens here.
    let reclaims = seed % 4 == 1;
    world.settings.reclaim = reclaims.then_some(std::time::Duration::from_secs(3));
    let apart = seed.is_multiple_of(3);
    for n in 0..6 {
        if apart {
            world.routers[n].side = n as u32 / 3;
        }
        world.launch(n, n > 0);
        if seed.is_multiple_of(2) {
            world.run(SECOND / 10);
        }
    }
    world.run(15 * SECOND);
    if apart {
        (0..40).for_each(|n| world.allocate(n % 6));
        world.run(5 * SECOND);
        world.cut(1);
        world.run(3 * SECOND);
    }
    for _ in 0..120 {
        let n = world.rng.random_range(0..6);
        match world.rng.random_range(0..100) {
            0..45 => (0..4).for_each(|_| world.allocate(n)),
            45..65 => (0..3).for_each(|_| world.release_one(n)),
            65..72 => {
                let sides = world.rng.random_range(1..4);
                world.cut(sides);
            }
            72..80 => world.cut(1),
            80..84 => {
                world.crash(n);
                let time = world.rng.random_range(0..12) * SECOND;
                world.run(time);
                world.launch(n, true);
            }
            84..86 => world.crash(n),
            86..88 => {
                world.lose_disk(n);
                world.launch(n, true);
            }
            88..91 => {
                let router = &mut world.routers[n];
                router.backup = Some((router.disk.clone(), router.epoch));
            }
            91..93 => {
                // A backup is restored where all can be asked what has happened since.
                world.cut(1);
                for other in 0..6 {
                    if world.routers[other].run == 0 {
                        world.launch(other, true);
                    }
                }
                world.run(15 * SECOND);
                world.restore_backup(n);
                world.launch(n, true);
            }
            _ => {}
        }
        let time = world.rng.random_range(0..if reclaims { 5000 } else { 1500 }) * MS;
        world.run(time);
    }
    world.cut(1);
    for n in 0..6 {
        if world.routers[n].run == 0 {
            world.launch(n, true);
        }
    }
    world.run(60 * SECOND);
    world.assert_whole();
    // Those whose disks were lost will not come back.
    let gone: Vec<_> = world
        .by_id
        .iter()
        .filter(|(id, n)| world.routers[**n].id != **id)
        .map(|(id, _)| *id)
        .collect();
    for peer in gone {
        world.act(0, |ring, now, around| drop(ring.reclaim(now, peer, around)));
        world.run(2 * SECOND);
    }
    world.assert_whole();
    assert!(world.running().all(|ring| ring.state.fence.is_empty()));
    let owned: u32 = world
        .running()
        .flat_map(Ring::owned)
        .map(|(span, _)| span.len())
        .sum();
    assert_eq!(owned, world.settings.pool.size());
    (
        world.given,
        world.routers.iter().map(|router| router.doubled).sum(),
    )
}

/// `WEFT_SEEDS=from..to` for other ones.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("WEFT_SEEDS").ok();
    let ends = given.as_ref().and_then(|text| text.split_once(".."));
    let ends = ends.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    ends.map_or(0..60, |(from, to)| from..to)
}

#[test]
fn no_address_is_live_twice_whatever_happens() {
    let (mut given, mut doubled) = (0, 0);
    for seed in seeds() {
        // Shown only if it fails.
        println!("seed {seed}");
        let (some, twice) = chaos(seed);
        (given, doubled) = (given + some, doubled + twice);
    }
    assert!(given > 3000 || std::env::var("WEFT_SEEDS").is_ok(), "{given}");
    eprintln!("{given} addresses, {doubled} of them live elsewhere among routers that had not met");
}

/// What was taken over from a router and given on was denied for ever once that was back with other promises: 21 of 2,000 seeds
/// that reclaim.
#[test]
fn what_was_taken_over_and_given_on_is_its_new_owners() {
    for seed in [1041, 1697, 2137, 2417, 3297, 4297] {
        println!("seed {seed}");
        chaos(seed);
    }
}

#[test]
fn a_router_alone_owns_everything_at_once() {
    let mut world = World::new(1, 1, 28);
    world.launch(0, false);
    (0..15).for_each(|_| world.allocate(0));
    world.run(SECOND);
    assert_eq!((world.given, world.refused.get("Full")), (14, Some(&1)));
}

#[test]
fn with_init_a_router_waits_for_the_majority_and_says_so() {
    let mut world = World::new(1, 3, 24);
    world.settings.init = Some(3);
    world.launch(0, false);
    world.allocate(0);
    world.run(5 * SECOND);
    assert_eq!((world.given, world.refused.get("TooFew")), (0, Some(&1)));
    world.launch(1, true);
    world.run(5 * SECOND);
    world.allocate(0);
    world.allocate(1);
    world.run(5 * SECOND);
    assert_eq!(world.given, 2);
    world.assert_whole();
}

/// The one whose turn it is to divide does not do it: who asked waits ten seconds for that, and not three.
#[test]
fn the_first_division_is_waited_for() {
    let mut world = World::new(1, 2, 24);
    let first = usize::from(world.routers[1].id < world.routers[0].id);
    world.settings.init = Some(9);
    world.launch(first, true);
    world.settings.init = None;
    world.launch(1 - first, true);
    world.run(2 * SECOND);
    world.allocate(1 - first);
    world.run(9 * SECOND);
    assert_eq!((world.given, world.refused.len()), (0, 0));
    world.run(2 * SECOND);
    assert_eq!(world.refused.get("Undivided"), Some(&1), "{:?}", world.refused);
}
