//! A tree of shortest paths from one router to all others, kept up to date change by change.
//!
//! A change of some links costs work only where paths change (after Ramalingam and Reps, and with several changes
//! at a time as Narváez, Siu and Tzeng have it):
//!
//! 1. What hangs below a tree edge that is gone or dearer loses its place.
//! 2. Each that lost it looks for the best place beside those that kept theirs.
//! 3. New and cheaper edges offer places, too.
//! 4. Dijkstra's algorithm goes on from there, over those that have found a better place.
//!
//! The result is the one that a computation from nothing would have: the smallest (cost, hops, rank of the parent)
//! for each router. Cost or hops rise along every edge, so there is exactly one such tree.

use super::RELAY_COST;
use crate::Number;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Cost of those that no path leads to. A path dearer than this, more than an hour, counts as none.
pub(crate) const UNREACHED: u32 = u32::MAX;
/// Parent of those that have none.
const NOBODY: u32 = PARENT;
/// The bits of a place that hold the parent; those above them count the hops.
const PARENT: u32 = 0x00ff_ffff;
const HOPS_SHIFT: u32 = 24;

/// The edges that paths may take, for one purpose.
pub(crate) trait View {
    /// All routers with an edge from or to this one, and maybe others.
    fn around(&self, of: Number, each: impl FnMut(Number));
    /// The edges from a router, each with its delay in microseconds.
    fn out(&self, from: Number, each: impl FnMut(Number, u32));
    /// The delay of one edge.
    fn delay(&self, from: Number, to: Number) -> Option<u32>;
    /// Of equally short paths that over the parent of lowest rank wins. No two routers have the same.
    fn rank(&self, of: Number) -> u64;
}

/// Where the tree has a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Sum of delays, and of what each relay adds.
    pub(crate) cost: u32,
    /// The router before, and the hops from the root. Searches read places in no order, so one takes eight bytes.
    before: u32,
}

impl Place {
    const NONE: Self = Self::new(UNREACHED, NOBODY, 0);

    const fn new(cost: u32, parent: u32, hops: u8) -> Self {
        Self {
            cost,
            before: parent | (hops as u32) << HOPS_SHIFT,
        }
    }

    /// Hops from the root. From 255 on they are not counted further.
    pub(crate) fn hops(&self) -> u8 {
        (self.before >> HOPS_SHIFT) as u8
    }

    /// True if a path leads there.
    pub(crate) fn is_reached(&self) -> bool {
        self.cost != UNREACHED
    }

    /// How far it is from the root: places are compared by that, then by their parents' ranks.
    pub(crate) fn length(&self) -> (u32, u8) {
        (self.cost, self.hops())
    }

    /// The router before; `None` for the root and for those that are not reached.
    pub(crate) fn parent(&self) -> Option<Number> {
        let parent = self.before & PARENT;
        (parent != NOBODY).then_some(Number(parent))
    }
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Spt {
    root: Option<Number>,
    places: Vec<Place>,
}

/// What a computation needs while it runs; trees share one. Holds what has changed until the next begins.
#[derive(Debug, Default)]
pub(crate) struct Work {
    queue: BinaryHeap<Reverse<u64>>,
    seen: Bits,
    /// Whatever was looked at, as it was.
    was: Vec<(Number, Place)>,
    /// Where in `was` each number is, if there are many; else they are sorted.
    slots: Vec<u32>,
}

/// So many are found one by one.
const FEW: usize = 128;

impl Work {
    /// Forgets the changes of the last computation.
    pub(crate) fn begin(&mut self, numbers: usize) {
        for (number, _) in self.was.drain(..) {
            self.seen.clear(number);
        }
        if self.was.capacity() > 4096 {
            self.was = Vec::new();
            self.queue = BinaryHeap::new();
        }
        self.seen.grow(numbers);
        self.slots = Vec::new();
    }

    /// Forgets the changes as well if there are many: there may be as many of it as routers in a simulation.
    pub(crate) fn trim(&mut self) {
        if self.was.len() > FEW {
            self.begin(0);
            self.was.shrink_to(FEW);
            self.queue.shrink_to(FEW);
        }
    }

    /// Where a router was at the beginning, if that was looked at. Only after [`sort`](Self::sort).
    pub(crate) fn was(&self, number: Number) -> Option<Place> {
        if !self.seen.contains(number) {
            return None;
        }
        let at = match self.slots.get(number.index()) {
            Some(slot) => *slot as usize,
            None => self
                .was
                .binary_search_by_key(&number, |(number, _)| *number)
                .ok()?,
        };
        Some(self.was.get(at)?.1)
    }

    /// Orders what was looked at, so that it is found.
    pub(crate) fn sort(&mut self) {
        if self.was.len() <= FEW {
            return self.was.sort_unstable_by_key(|(number, _)| *number);
        }
        self.slots = vec![0; self.seen.0.len() * 64];
        for (slot, (number, _)) in (0..).zip(&self.was) {
            self.slots[number.index()] = slot;
        }
    }

    /// The routers whose place may have changed since the beginning, in no particular order, and their old ones.
    pub(crate) fn looked_at(&self) -> &[(Number, Place)] {
        &self.was
    }
}

impl Spt {
    /// The tree that holds nobody.
    pub(crate) fn new() -> Self {
        Self {
            root: None,
            places: Vec::new(),
        }
    }

    /// Makes room for this many numbers.
    pub(crate) fn grow(&mut self, numbers: usize) {
        super::extend(&mut self.places, numbers, Place::NONE);
    }

    /// Numbers there is room for.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where all paths begin.
    pub(crate) fn root(&self) -> Option<Number> {
        self.root
    }

    /// Where a router is.
    pub(crate) fn place(&self, of: Number) -> Place {
        self.places.get(of.index()).copied().unwrap_or(Place::NONE)
    }

    /// True if a path leads to a router.
    pub(crate) fn reaches(&self, to: Number) -> bool {
        self.place(to).is_reached()
    }

    /// The router before this one.
    pub(crate) fn parent(&self, of: Number) -> Option<Number> {
        self.place(of).parent()
    }

    /// The routers on the path, the destination first and the first hop last; none for the root itself.
    pub(crate) fn climb(&self, from: Number) -> impl Iterator<Item = Number> {
        let mut at = Some(from).filter(|from| self.reaches(*from) && self.root != Some(*from));
        std::iter::from_fn(move || {
            let here = at?;
            at = self.parent(here).filter(|parent| self.root != Some(*parent));
            Some(here)
        })
    }

    /// The way along the tree from one router to another, destination last; `None` if one of them is not in it.
    pub(crate) fn between(&self, from: Number, to: Number) -> Option<Vec<Number>> {
        let upwards = |end| self.climb(end).chain(self.root).collect::<Vec<_>>();
        if !self.reaches(from) || !self.reaches(to) {
            return None;
        }
        let (mut up, mut down) = (upwards(from), upwards(to));
        let mut meeting = None;
        while up.last().is_some() && up.last() == down.last() {
            meeting = up.pop();
            down.pop();
        }
        up.extend(meeting);
        up.extend(down.into_iter().rev());
        up.remove(0);
        Some(up)
    }

    /// Brings the tree up to date with these edges, which are new, gone or of another delay. `work` has begun.
    pub(crate) fn update(&mut self, view: &impl View, edges: &[(Number, Number)], work: &mut Work) {
        let first = work.was.len();
        for &(from, to) in edges {
            let is_below = self.parent(to) == Some(from) && !work.seen.contains(to);
            if is_below && !self.is_held(view, from, to) {
                self.note(to, work);
            }
        }
        let mut next = first;
        while let Some(&(above, _)) = work.was.get(next) {
            next += 1;
            view.around(above, |below| {
                if self.parent(below) == Some(above) && !work.seen.contains(below) {
                    self.note(below, work);
                }
            });
        }
        for &(lost, _) in &work.was[first..] {
            self.set(lost, Place::NONE);
        }
        let lost = work.was.len();
        for at in first..lost {
            let (number, _) = work.was[at];
            let mut best = Place::NONE;
            view.around(number, |from| {
                // What is no better without the edge need not be looked up.
                if self.place(from).cost < best.cost
                    && let Some(delay) = view.delay(from, number)
                    && let Some(place) = self.beyond(from, delay)
                    && precedes(view, &place, &best)
                {
                    best = place;
                }
            });
            if best.is_reached() {
                self.set(number, best);
                work.queue.push(queued(number, &best));
            }
        }
        // Places found above are offered onwards when their turn comes.
        for &(from, to) in edges {
            if let Some(delay) = view.delay(from, to).filter(|_| self.reaches(from)) {
                self.offer(view, from, to, delay, work);
            }
        }
        self.settle(view, work);
    }

    /// Computes the tree from nothing, with another root.
    pub(crate) fn rebuild(&mut self, view: &impl View, root: Option<Number>, work: &mut Work) {
        for number in (0..).map(Number).take(self.places.len()) {
            if self.reaches(number) {
                self.note(number, work);
                self.set(number, Place::NONE);
            }
        }
        self.root = root.filter(|root| root.index() < self.places.len());
        let Some(root) = self.root else { return };
        self.note(root, work);
        let place = Place::new(0, NOBODY, 0);
        self.set(root, place);
        work.queue.push(queued(root, &place));
        self.settle(view, work);
    }

    /// True if the edge to a child still explains its place.
    fn is_held(&self, view: &impl View, from: Number, to: Number) -> bool {
        let place = view.delay(from, to).and_then(|delay| self.beyond(from, delay));
        place.is_some_and(|place| place.length() <= self.place(to).length())
    }

    /// The place of whoever is reached from `from` by one more edge.
    fn beyond(&self, from: Number, delay: u32) -> Option<Place> {
        let at = self.place(from);
        let cost = at.cost.checked_add(delay.checked_add(self.relay_cost(from))?)?;
        Some(Place::new(cost, from.0, at.hops().saturating_add(1))).filter(Place::is_reached)
    }

    /// What it adds to a path that it goes on behind this router.
    fn relay_cost(&self, at: Number) -> u32 {
        if self.root == Some(at) { 0 } else { RELAY_COST }
    }

    /// Lets `to` have the place behind `from`, if it is better than the one it has.
    fn offer(&mut self, view: &impl View, from: Number, to: Number, delay: u32, work: &mut Work) {
        let Some(place) = self.beyond(from, delay) else {
            return;
        };
        let old = self.place(to);
        if to.index() >= self.places.len() || !precedes(view, &place, &old) {
            return;
        }
        self.note(to, work);
        self.set(to, place);
        if place.length() != old.length() {
            work.queue.push(queued(to, &place));
        }
    }

    fn settle(&mut self, view: &impl View, work: &mut Work) {
        while let Some(Reverse(key)) = work.queue.pop() {
            let number = Number((key & 0x00ff_ffff) as u32);
            if queued(number, &self.place(number)).0 != key {
                continue;
            }
            // Most edges lead to routers that are nearer already.
            let so_far = self.place(number).cost.saturating_add(self.relay_cost(number));
            view.out(number, |to, delay| {
                if so_far.saturating_add(delay) <= self.place(to).cost {
                    self.offer(view, number, to, delay, work);
                }
            });
        }
    }

    fn set(&mut self, at: Number, place: Place) {
        self.places[at.index()] = place;
    }

    /// Remembers a place as it was at the beginning.
    fn note(&self, number: Number, work: &mut Work) {
        if work.seen.set(number) {
            work.was.push((number, self.place(number)));
        }
    }

    /// Bytes that all this takes.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
    }
}

/// Order in which places are looked at: by cost, then by hops.
fn queued(number: Number, place: &Place) -> Reverse<u64> {
    Reverse(u64::from(place.cost) << 32 | u64::from(place.hops()) << 24 | u64::from(number.0))
}

/// True if the one place is better than the other. Ranks are looked up only where nothing else decides.
fn precedes(view: &impl View, new: &Place, old: &Place) -> bool {
    let [ours, theirs] = [new, old].map(Place::length);
    let rank = |place: &Place| place.parent().map(|parent| view.rank(parent));
    ours < theirs || (ours == theirs && old.parent().is_some() && rank(new) < rank(old))
}

/// A set of numbers.
#[derive(Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Makes room for this many numbers.
    pub(crate) fn grow(&mut self, numbers: usize) {
        if self.0.len() * 64 < numbers {
            self.0.resize(numbers.div_ceil(64), 0);
        }
    }

    /// True if a number is in the set.
    pub(crate) fn contains(&self, number: Number) -> bool {
        let word = self.0.get(number.index() / 64);
        word.is_some_and(|word| word >> (number.0 % 64) & 1 == 1)
    }

    /// Adds a number; true if it was not in yet. Those there is no room for count as in.
    pub(crate) fn set(&mut self, number: Number) -> bool {
        let Some(word) = self.0.get_mut(number.index() / 64) else {
            return false;
        };
        let bit = 1 << (number.0 % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes a number out.
    pub(crate) fn clear(&mut self, number: Number) {
        if let Some(word) = self.0.get_mut(number.index() / 64) {
            *word &= !(1 << (number.0 % 64));
        }
    }
}
