//! Which router the tree along which records spread hangs from.
//!
//! All agree without a word on the one of lowest id, which may lie anywhere: of 10,000 routers in a plane 99 % have a
//! record after 100 ms if the root lies in the middle, after 170 ms if it lies in a corner. So the lowest names another
//! ([`kind::ROOT`]): of the [`CANDIDATES`] lowest, which lie anywhere, too, and the one that it has named, the one from
//! which it is least to half of all and to 99 % of all together. That is how a record goes: from anywhere to the root,
//! and from there to nearly everybody.
//!
//! Each change of the root has everybody compute the tree anew. So one is named only in a mesh of some size that has
//! not grown or shrunk much for a while, and another one only if it is clearly nearer. The candidates are looked at one at
//! a time, as each takes a computation of all paths from there.

use crate::graph::Known as _;
use crate::graph::spt::{Spt, View as _, Work};
use crate::record::kind;
use crate::{Instant, Mesh, Number, PeerId, ShortId};
use std::time::Duration;

/// Of so few routers any may be the root.
const FEW: usize = 40;
/// Routers of lowest id that are looked at.
const CANDIDATES: usize = 32;
/// Between two candidates.
const PACE: Duration = Duration::from_millis(500);
/// The mesh must have had about the same size for so long.
const CALM: Duration = Duration::from_secs(20);
/// About: the difference is less than this part of it.
const ABOUT: usize = 8;
/// Nearer by less than this part is not worth it.
const CLEARLY: u64 = 20;
/// From one look at all of them to the next.
const AGAIN: Duration = Duration::from_secs(600);

/// What the router of lowest id knows of the middle; on others no more than whom they named when they were the lowest.
#[derive(Debug, Default)]
pub(crate) struct Middle {
    due: Option<Instant>,
    /// How many routers the mesh had when that was looked at last.
    size: usize,
    /// Candidates still to be looked at.
    waiting: Vec<PeerId>,
    /// The nearest so far, and its distance in microseconds.
    nearest: Option<(u64, PeerId)>,
    /// The same of the present root.
    present: Option<(u64, PeerId)>,
    /// Who was named; `None` again if that one has gone and nobody is clearly nearer than this router itself.
    named: Option<ShortId>,
}

impl Middle {
    /// When to look for it.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The trees have been brought up to date. `is_ours`: naming the root is up to this router, and worth while.
    /// `is_there`: whom it has named is in the tree.
    fn note(&mut self, now: Instant, is_ours: bool, is_there: bool) {
        if !is_ours {
            *self = Self {
                named: self.named,
                ..Self::default()
            };
        } else if self.due.is_none() || (self.named.is_some() && !is_there && self.waiting.is_empty()) {
            let due = now + CALM;
            self.due = Some(self.due.map_or(due, |old| old.min(due)));
        }
    }

    /// Takes the distance of a candidate.
    fn take(&mut self, peer: PeerId, distance: u64, is_root: bool) {
        let found = (distance, peer);
        self.nearest = Some(self.nearest.map_or(found, |nearest| nearest.min(found)));
        if is_root {
            self.present = Some(found);
        }
    }

    /// Who is to be named, now that all have been looked at.
    fn choose(&mut self) -> Option<PeerId> {
        let (present, nearest) = (self.present.take(), self.nearest.take());
        let (distance, peer) = nearest?;
        // Or the present one is gone.
        let is_clear = present.is_none_or(|(present, _)| distance < present - present / CLEARLY);
        is_clear.then_some(peer)
    }
}

impl Mesh {
    /// The trees have been brought up to date.
    pub(crate) fn note_middle(&mut self, now: Instant) {
        let own = self.graph.own();
        let is_lowest = own.is_some() && self.graph.spread.lowest() == own;
        let is_ours = is_lowest && self.store.count() > FEW;
        self.middle.note(now, is_ours, self.is_named_there());
    }

    /// Looks at the next candidate, if it is time, and names the root after the last.
    pub(crate) fn look_for_middle(&mut self, now: Instant) {
        if self.middle.due.is_none_or(|due| due > now) || !self.own.may_issue() {
            return;
        }
        if self.middle.waiting.is_empty() {
            let reached = self.in_tree();
            let was = std::mem::replace(&mut self.middle.size, reached.len());
            if reached.len() <= FEW || was.abs_diff(reached.len()) > was / ABOUT {
                self.middle.due = Some(now + CALM);
                return;
            }
            self.middle.waiting = self.candidates(reached);
        }
        if let Some(peer) = self.middle.waiting.pop()
            && let Some(number) = self.store.find(&peer)
            && self.graph.spread.tree.reaches(number)
        {
            let is_root = self.graph.spread.tree.root() == Some(number);
            self.middle.take(peer, self.distance(number), is_root);
        }
        if !self.middle.waiting.is_empty() {
            self.middle.due = Some(now + PACE);
            return;
        }
        self.middle.due = Some(now + AGAIN);
        if let Some(root) = self.middle.choose() {
            self.middle.named = Some(root.short());
            self.issue_root(now);
        } else if !self.is_named_there() {
            // Else every change would have it looked for again.
            self.middle.named = None;
        }
    }

    /// True if whom this router named is the root.
    fn is_named_there(&self) -> bool {
        let named = self.middle.named.and_then(|named| self.store.number(named));
        named.is_some() && named == self.graph.spread.tree.root()
    }

    /// Everybody in the tree.
    fn in_tree(&self) -> Vec<Number> {
        let all = (0..self.store.numbers()).filter_map(|number| u32::try_from(number).ok().map(Number));
        all.filter(|number| self.graph.spread.tree.reaches(*number))
            .collect()
    }

    /// Those of lowest id, and the present root.
    fn candidates(&self, mut reached: Vec<Number>) -> Vec<PeerId> {
        let view = self.graph.control_view(&self.store);
        reached.sort_by_cached_key(|number| view.rank(*number));
        reached.truncate(CANDIDATES);
        let root = self.graph.spread.tree.root();
        reached.extend(root.filter(|root| !reached.contains(root)));
        let ids = reached.into_iter().filter_map(|number| self.store.id(number));
        ids.copied().collect()
    }

    /// From a router to half of all, and to 99 % of all, together.
    fn distance(&self, from: Number) -> u64 {
        let numbers = self.store.numbers();
        let (mut tree, mut work) = (Spt::new(), Work::default());
        tree.grow(numbers);
        work.begin(numbers);
        tree.rebuild(&self.graph.control_view(&self.store), Some(from), &mut work);
        let places = work.looked_at().iter().map(|(number, _)| tree.place(*number));
        let mut costs: Vec<u32> = places.map(|place| place.cost).collect();
        let mut within = |percent| {
            let at = (costs.len() - 1) * percent / 100;
            u64::from(*costs.select_nth_unstable(at).1)
        };
        within(50) + within(99)
    }

    /// Says whom this router names as the root, if anybody.
    pub(crate) fn issue_root(&mut self, now: Instant) {
        if let Some(root) = self.middle.named {
            let record = self.own.issue(kind::ROOT, 0, &root);
            self.publish(now, record);
            self.schedule.request(now);
        }
    }

    /// A router names a root, or no more. That counts only if it is the lowest.
    pub(crate) fn root_told(&mut self, now: Instant, by: &PeerId) {
        if self.graph.spread.lowest() == self.store.find(by) {
            self.schedule.request(now);
        }
    }
}
