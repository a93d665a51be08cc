//! Worlds that begin with a mesh that stands: what ten thousand routers do at rest, or after a blow, can be seen
//! without the hour that their join would take.
//!
//! Nothing is put into a core but inputs that a driver gives it anyway:
//!
//! 1. All routers are launched, and links come up between those that are to be neighbours. They greet each other, measure
//!    delays, find their data paths and issue their records; but records, and questions for them, do not pass.
//! 2. Each router is told all records by a neighbour, in the messages with which a neighbour answers who knows nothing.
//!    It judges each, computes its trees and routes, and tells its neighbours who its parent is. What it passes on does
//!    not pass: the others are told the same.
//! 3. From then on everything passes.
//!
//! Where wires are cut, each side is placed by itself, and hears nothing of the other one.
//!
//! So a router's state is one that it would have reached itself, had its neighbours been these: the test beside
//! joined worlds holds it to that. What the world does not know are the times: no record is older than a few seconds.

use super::BigWorld;
use super::shard::Shard;
use super::terms::Terms;
use crate::{HostId, Random};
use mesh::{Direction, Input, Mesh, Packet};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long links that have come up are left to themselves: all is told of them by then.
const SETTLING: Duration = Duration::from_secs(12);
/// In so many groups routers are told, so that what each needs while it is told, and keeps of what came in lately, need not be
/// there for all.
const GROUPS: usize = 40;
/// A group is not smaller.
const TOGETHER: usize = 50;
/// Until a group has computed its trees and routes, and the fourth before it has forgotten what came in lately.
const COMPUTING: Duration = Duration::from_millis(2500);
/// Until neighbours have heard of parents.
const LISTENING: Duration = Duration::from_millis(500);

/// Routers among which a router looks for near ones, as the core does.
const SAMPLED: usize = 64;
/// Near links, and random ones, of a router's own choice.
const NEAR: usize = 2;
const RANDOM: usize = 2;
/// Links of one router, at least and at most.
const LEAST: usize = 6;
const MOST: usize = 12;

impl BigWorld {
    /// Links as the core chooses them where they are bounded: two near routers of 64 sampled ones, two at random; six for
    /// each at the least, twelve at most. The first of each pair dials. None leads over a cut.
    #[must_use]
    pub fn draw_links(&self) -> Vec<(HostId, HostId)> {
        let mut drawn = Drawn {
            terms: &self.terms,
            degrees: vec![0; self.len()],
            pairs: BTreeSet::new(),
            links: Vec::new(),
        };
        let mut random = Random::new(self.terms.seed).fork("links", 0);
        for host in (0..self.len()).map(HostId) {
            let mut sampled: Vec<_> = (0..SAMPLED).map(|_| self.draw(&mut random)).collect();
            sampled.sort_by_key(|other| (self.delay(host, *other), *other));
            let near = sampled.into_iter().filter(|other| drawn.join(host, *other));
            near.take(NEAR).for_each(drop);
            self.join_at_random(host, RANDOM, &mut drawn, &mut random);
        }
        for host in (0..self.len()).map(HostId) {
            let missing = LEAST.saturating_sub(drawn.degrees[host.0]);
            self.join_at_random(host, missing, &mut drawn, &mut random);
        }
        drawn.links
    }

    fn draw(&self, random: &mut Random) -> HostId {
        HostId(usize::try_from(random.below(self.len() as u64)).unwrap_or(0))
    }

    fn join_at_random(&self, host: HostId, links: usize, drawn: &mut Drawn<'_>, random: &mut Random) {
        let others = (0..SAMPLED).map(|_| self.draw(random));
        let others: Vec<_> = others.collect();
        let joined = others.into_iter().filter(|other| drawn.join(host, *other));
        joined.take(links).for_each(drop);
    }

    /// Places a mesh with these links on hosts on which nothing runs yet; takes two virtual minutes at the most. Only routers for which
    /// `is_told` holds hear of others: the rest know themselves and answer on their links, which is enough for whoever
    /// is about to die, or is only looked at by others.
    pub fn place(&mut self, links: &[(HostId, HostId)], is_told: impl Fn(HostId) -> bool) {
        self.hold_records(true);
        for host in 0..self.len() {
            self.launch(HostId(host), Duration::ZERO, &[]);
        }
        self.run(Duration::from_millis(1));
        for &(a, b) in links {
            self.place_link(a, b);
        }
        self.run(SETTLING);
        for side in self.sides() {
            let cores = side.iter().filter_map(|host| self.mesh(*host));
            let said = Mesh::say_together(cores);
            let mut told: Vec<_> = side.into_iter().filter(|host| is_told(*host)).collect();
            // The lowest comes last: what it has to say of all is to be heard.
            if let Some(at) = (0..told.len()).min_by_key(|at| self.id(told[*at])) {
                told[at..].rotate_left(1);
            }
            for group in told.chunks(told.len().div_ceil(GROUPS).max(TOGETHER)) {
                self.tell(&said, group);
                self.run(COMPUTING);
            }
        }
        self.run(LISTENING);
        self.hold_records(false);
    }

    /// The hosts that wires join: all of them, or those on each side of the cut.
    fn sides(&self) -> Vec<Vec<HostId>> {
        let hosts = (0..self.len()).map(HostId);
        let (ones, others): (Vec<_>, Vec<_>) =
            hosts.partition(|host| !self.terms.sides.get(host.0).copied().unwrap_or(false));
        [ones, others]
            .into_iter()
            .filter(|side| !side.is_empty())
            .collect()
    }

    /// Tells these routers all that is said.
    fn tell(&mut self, said: &[Packet], group: &[HostId]) {
        let (now, terms) = (self.now, &self.terms);
        let threads = self.shards.len();
        let tell = |shard: &mut Shard, number: usize| {
            for host in group.iter().filter(|host| host.0 % threads == number) {
                let host = &mut shard.hosts[host.0 / threads];
                let Some(link) = host.first_link() else { continue };
                for packet in said {
                    let packet = packet.clone();
                    host.input(now, Input::Message { link, packet }, terms, &mut shard.planned);
                }
            }
            shard.sort();
        };
        std::thread::scope(|scope| {
            for (number, shard) in self.shards.iter_mut().enumerate() {
                scope.spawn(move || tell(shard, number));
            }
        });
        let away: Vec<_> = self.shards.iter_mut().flat_map(Shard::take_away).collect();
        for (shard, events) in away {
            self.shards[shard].take_in(events);
        }
    }

    fn place_link(&mut self, a: HostId, b: HostId) {
        let now = self.now;
        let (from, to) = (a.0 as u32, b.0 as u32);
        let mut on = 0;
        self.act(a, |host, terms, planned| {
            on = host.next_connection();
            host.place(now, on, to, Direction::Out, (terms, planned));
        });
        self.act(b, |host, terms, planned| {
            host.place(now, on, from, Direction::In, (terms, planned));
        });
    }
}

/// Links so far.
struct Drawn<'a> {
    terms: &'a Terms,
    degrees: Vec<usize>,
    pairs: BTreeSet<(HostId, HostId)>,
    links: Vec<(HostId, HostId)>,
}

impl Drawn<'_> {
    /// True if the two are joined now and were not.
    fn join(&mut self, a: HostId, b: HostId) -> bool {
        let is_full = self.degrees[a.0].max(self.degrees[b.0]) >= MOST;
        let is_cut = self.terms.is_cut(a.0 as u32, b.0 as u32);
        if a == b || is_full || is_cut || !self.pairs.insert((a.min(b), a.max(b))) {
            return false;
        }
        self.degrees[a.0] += 1;
        self.degrees[b.0] += 1;
        self.links.push((a, b));
        true
    }
}
