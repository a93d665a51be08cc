//! Trees that are kept up to date, against a plain computation from nothing.

use super::spread::Spread;
use super::spt::{Place, Spt, UNREACHED, View, Work};
use super::told::Links;
use super::view::{Control, Data};
use super::*;
use crate::{Delay, DirectPath, LinkLabel, Number, PeerId};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Routers as a test makes them up.
#[derive(Debug, Default)]
struct Table {
    ids: Vec<Option<PeerId>>,
    links: Vec<Vec<Adjacency>>,
    by_id: BTreeMap<ShortId, Number>,
    /// Whom each names as the root.
    named: BTreeMap<Number, PeerId>,
    /// Not to be given anew before the trees are up to date.
    resting: Vec<Number>,
}

impl Known for Table {
    fn numbers(&self) -> usize {
        self.ids.len()
    }

    fn number(&self, short: ShortId) -> Option<Number> {
        self.by_id.get(&short).copied()
    }

    fn id(&self, number: Number) -> Option<&PeerId> {
        self.ids.get(number.index())?.as_ref()
    }

    fn links(&self, of: Number) -> &[Adjacency] {
        self.links.get(of.index()).map_or(&[], Vec::as_slice)
    }

    fn root_named_by(&self, of: Number) -> Option<Number> {
        self.number(self.named.get(&of)?.short())
    }
}

/// Ids whose order has nothing to do with their numbers.
fn peer(n: u8) -> PeerId {
    PeerId([n.wrapping_mul(77).wrapping_add(5); 32])
}

impl Table {
    /// The number of a router, which is made known if it is not.
    fn admit(&mut self, n: u8) -> Number {
        if let Some(number) = self.number(peer(n).short()) {
            return number;
        }
        let is_free = |at: &usize| self.ids[*at].is_none() && !self.resting.contains(&Number(*at as u32));
        let free = (0..self.ids.len()).find(is_free).unwrap_or(self.ids.len());
        if free == self.ids.len() {
            self.ids.push(None);
            self.links.push(Vec::new());
        }
        let number = Number(free as u32);
        self.ids[free] = Some(peer(n));
        self.by_id.insert(peer(n).short(), number);
        number
    }

    fn forget(&mut self, n: u8) -> Option<Number> {
        let number = self.by_id.remove(&peer(n).short())?;
        self.ids[number.index()] = None;
        self.named.remove(&number);
        self.resting.push(number);
        self.links[number.index()].clear();
        Some(number)
    }
}

/// Everything under test.
struct World {
    table: Table,
    links: Links,
    own: Number,
    direct: BTreeMap<Number, DirectPath>,
    data: Spt,
    spread: Spread,
    work: Work,
    /// Records as the links last saw them.
    seen: BTreeMap<Number, Vec<Adjacency>>,
    changed: Vec<(Number, Number)>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A router says this of its links: to whom, delay, MTU, label.
    Tell(u8, Vec<(u8, u16, u16, u16)>),
    Forget(u8),
    Direct(u8, Option<u16>),
    /// A router names another as the root, known or not.
    Name(u8, u8),
    Update,
}

const ROUTERS: u8 = 12;

fn any_step() -> impl Strategy<Value = Step> {
    let link = (
        0..ROUTERS,
        prop::sample::select(vec![500u16, 1000, 1000, 1500, 3000, 9000]),
        prop::sample::select(vec![0u16, 1400, 1400]),
        prop::sample::select(vec![0u16, 1, 2, 3]),
    );
    prop_oneof![
        8 => (0..ROUTERS, prop::collection::vec(link, 0..8)).prop_map(|(n, links)| Step::Tell(n, links)),
        1 => (1..ROUTERS).prop_map(Step::Forget),
        2 => (1..ROUTERS, prop::option::of(prop::sample::select(vec![500u16, 1000, 2000])))
            .prop_map(|(n, path)| Step::Direct(n, path)),
        2 => (0..ROUTERS, 0..ROUTERS).prop_map(|(n, root)| Step::Name(n, root)),
        4 => Just(Step::Update),
    ]
}

fn canonical(of: u8, links: &[(u8, u16, u16, u16)]) -> Vec<Adjacency> {
    let links = links.iter().filter(|link| link.0 != of);
    let mut links: Vec<_> = links
        .map(|&(to, delay, mtu, label)| Adjacency {
            neighbor: peer(to).short(),
            label: LinkLabel(label),
            delay: Delay::from_us(delay.into()),
            mtu,
        })
        .collect();
    links.sort_by_key(|link| (link.neighbor, link.label));
    links.dedup_by_key(|link| link.neighbor);
    links
}

impl World {
    fn new() -> Self {
        let mut table = Table::default();
        let own = table.admit(0);
        let mut world = Self {
            table,
            links: Links::default(),
            own,
            direct: BTreeMap::new(),
            data: Spt::new(),
            spread: Spread::new(),
            work: Work::default(),
            seen: BTreeMap::new(),
            changed: Vec::new(),
        };
        world.update();
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Tell(n, links) => {
                let number = self.table.admit(*n);
                let new = canonical(*n, links);
                let old = std::mem::replace(&mut self.table.links[number.index()], new);
                self.seen.entry(number).or_insert(old);
            }
            Step::Forget(n) => {
                if let Some(number) = self.table.forget(*n) {
                    self.seen.remove(&number);
                    self.links.forget(number);
                    self.spread.forget(number);
                    if self.direct.remove(&number).is_some() {
                        self.changed.push((self.own, number));
                    }
                }
            }
            Step::Direct(n, path) => {
                let number = self.table.admit(*n);
                let path = path.map(|delay| DirectPath {
                    delay_us: delay.into(),
                    mtu: 1400,
                });
                match path {
                    Some(path) => self.direct.insert(number, path),
                    None => self.direct.remove(&number),
                };
                self.changed.push((self.own, number));
            }
            Step::Name(n, root) => {
                let number = self.table.admit(*n);
                self.table.named.insert(number, peer(*root));
            }
            Step::Update => self.update(),
        }
    }

    fn update(&mut self) {
        for (number, old) in std::mem::take(&mut self.seen) {
            self.links.renew(&self.table, Some(self.own), number, &old);
        }
        let numbers = self.table.numbers();
        self.links.slab.grow(numbers);
        let mut edges = self.links.edges.clone();
        edges.append(&mut self.changed);
        self.data.grow(numbers);
        self.spread.tree.grow(numbers);
        self.work.begin(numbers);
        let (known, slab) = (&self.table, &self.links.slab);
        let view = Data {
            known,
            slab,
            own: self.own,
            direct: &self.direct,
        };
        if self.data.root().is_none() {
            self.data.rebuild(&view, Some(self.own), &mut self.work);
        }
        let before: Vec<_> = all(numbers).map(|number| self.data.place(number)).collect();
        self.work.begin(numbers);
        self.data.update(&view, &edges, &mut self.work);
        let now = |number: &Number| self.data.place(*number);
        for number in all(numbers).filter(|number| now(number) != before[number.index()]) {
            let was = self
                .work
                .looked_at()
                .iter()
                .find(|(looked_at, _)| *looked_at == number);
            assert_eq!(was.map(|(_, was)| *was), Some(before[number.index()]));
        }
        self.work.begin(numbers);
        let view = Control { known, slab };
        self.spread
            .update(&view, self.own, Some(&self.links.edges), &mut self.work);
        self.links.done();
        self.table.resting.clear();
    }

    /// What each end lists of the other, straight from the records.
    fn edge(&self, from: Number, to: Number) -> Option<(&Adjacency, &Adjacency)> {
        let there = told_of(&self.table, from, to)?;
        Some((there, told_of(&self.table, to, from)?))
    }

    fn check(&self) {
        let data = |from: Number, to: Number| {
            if from == self.own {
                return self.direct.get(&to).map(|path| path.delay_us);
            }
            let (there, back) = self.edge(from, to)?;
            (there.mtu > 0 && back.mtu > 0 && there.label.0 != 0).then_some(there.delay_us())
        };
        self.agrees(&self.data, &data);
        let control = |from, to| self.edge(from, to).map(|(there, _)| there.delay_us());
        self.agrees(&self.spread.tree, &control);
        // Everybody whom own can reach is in the tree, nobody else, and its root is the lowest, or whom that names.
        let mut reached = vec![self.own];
        let mut next = 0;
        while let Some(&at) = reached.get(next) {
            next += 1;
            let more = all(self.table.numbers()).filter(|to| self.edge(at, *to).is_some());
            let more: Vec<_> = more.filter(|to| !reached.contains(to)).collect();
            reached.extend(more);
        }
        for number in all(self.table.numbers()) {
            assert_eq!(self.spread.tree.reaches(number), reached.contains(&number));
        }
        let lowest = reached.iter().min_by_key(|number| self.table.id(**number));
        assert_eq!(self.spread.lowest(), lowest.copied());
        let named = lowest.and_then(|lowest| self.table.root_named_by(*lowest));
        let root = named.filter(|named| reached.contains(named)).or(lowest.copied());
        assert_eq!(self.spread.tree.root(), root);
    }

    /// A plain computation: everything is looked at again until nothing changes.
    fn agrees(&self, tree: &Spt, delay: &dyn Fn(Number, Number) -> Option<u32>) {
        let numbers = self.table.numbers();
        let root = tree.root().unwrap();
        let mut best: Vec<Option<(u32, u8, Option<PeerId>)>> = vec![None; numbers];
        best[root.index()] = Some((0, 0, None));
        loop {
            let mut is_done = true;
            for from in all(numbers) {
                let Some((cost, hops, _)) = best[from.index()] else {
                    continue;
                };
                for to in all(numbers).filter(|to| *to != root) {
                    let Some(delay) = delay(from, to) else { continue };
                    let relay = if from == root { 0 } else { RELAY_COST };
                    let found = Some((cost + delay + relay, hops + 1, self.table.id(from).copied()));
                    let old = &mut best[to.index()];
                    if old.is_none() || found < *old {
                        *old = found;
                        is_done = false;
                    }
                }
            }
            if is_done {
                break;
            }
        }
        for number in all(numbers) {
            let place = tree.place(number);
            let parent = place.parent().and_then(|parent| self.table.id(parent).copied());
            let found = place.is_reached().then_some((place.cost, place.hops(), parent));
            assert_eq!(found, best[number.index()], "{number:?} of {root:?}");
        }
    }
}

fn all(numbers: usize) -> impl Iterator<Item = Number> {
    (0..).map(Number).take(numbers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn trees_kept_up_to_date_are_those_computed_from_nothing(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            if matches!(step, Step::Update) {
                world.check();
            }
        }
        world.update();
        world.check();
    }
}

/// A view made of a list.
struct Line(Vec<(u32, u32, u32)>);

impl View for Line {
    fn around(&self, of: Number, mut each: impl FnMut(Number)) {
        for &(from, to, _) in &self.0 {
            if from == of.0 {
                each(Number(to));
            } else if to == of.0 {
                each(Number(from));
            }
        }
    }

    fn out(&self, from: Number, mut each: impl FnMut(Number, u32)) {
        self.0
            .iter()
            .filter(|edge| edge.0 == from.0)
            .for_each(|edge| each(Number(edge.1), edge.2));
    }

    fn delay(&self, from: Number, to: Number) -> Option<u32> {
        self.0
            .iter()
            .find(|edge| (edge.0, edge.1) == (from.0, to.0))
            .map(|edge| edge.2)
    }

    fn rank(&self, of: Number) -> u64 {
        of.0.into()
    }
}

#[test]
fn long_and_dear_paths_are_found_or_count_as_none() {
    let mut line = Line((0..600).map(|n| (n, n + 1, 0)).collect());
    let mut tree = Spt::new();
    let mut work = Work::default();
    tree.grow(700);
    work.begin(700);
    tree.rebuild(&line, Some(Number(0)), &mut work);
    assert_eq!(
        (tree.place(Number(600)).cost, tree.place(Number(600)).hops()),
        (599 * 1000, 255)
    );
    assert_eq!(tree.climb(Number(600)).count(), 600);
    assert_eq!(tree.climb(Number(0)).count() + tree.climb(Number(601)).count(), 0);
    line.0[300].2 = UNREACHED - 400_000;
    work.begin(700);
    tree.update(&line, &[(Number(300), Number(301))], &mut work);
    assert!(tree.reaches(Number(398)) && !tree.reaches(Number(401)));
    assert_eq!(work.looked_at().len(), 300);
    assert!(
        work.looked_at()
            .iter()
            .all(|(_, was): &(_, Place)| was.is_reached())
    );
    line.0.remove(100);
    line.0.push((0, 590, 7));
    work.begin(700);
    tree.update(
        &line,
        &[(Number(100), Number(101)), (Number(0), Number(590))],
        &mut work,
    );
    assert!(tree.reaches(Number(100)) && !tree.reaches(Number(101)) && !tree.reaches(Number(589)));
    assert_eq!(tree.place(Number(600)).cost, 7 + 10_000);
}
