//! The tree along which records spread: the shortest paths over all links from one router that everybody agrees
//! on, namely the one with the lowest id of those that can reach each other.
//!
//! So it also tells whom this router can reach: all that are in the tree, as long as it is in there itself.

use super::spt::{Bits, Spt, View, Work};
use crate::Number;

/// This router's view of the tree.
#[derive(Debug)]
pub(crate) struct Spread {
    pub(crate) tree: Spt,
    /// The root's number may be another router's by now.
    is_rootless: bool,
}

impl Spread {
    /// The tree that holds nobody.
    pub(crate) fn new() -> Self {
        Self {
            tree: Spt::new(),
            is_rootless: true,
        }
    }

    /// A router is no longer known; its links are gone, too.
    pub(crate) fn forget(&mut self, gone: Number) {
        self.is_rootless |= self.tree.root() == Some(gone);
    }

    /// Brings the tree up to date with these edges, or with all of them; `work` has begun, and tells afterwards who
    /// was in it.
    pub(crate) fn update(
        &mut self,
        view: &impl View,
        own: Number,
        edges: Option<&Vec<(Number, Number)>>,
        work: &mut Work,
    ) {
        match edges {
            Some(edges) => self.tree.update(view, edges, work),
            None => self.is_rootless = true,
        }
        let is_rootless = std::mem::take(&mut self.is_rootless);
        let root = self
            .tree
            .root()
            .filter(|_| self.tree.reaches(own) && !is_rootless);
        let Some(root) = root else {
            let root = self.lowest_around(view, own);
            return self.tree.rebuild(view, Some(root), work);
        };
        let joined = work.looked_at().iter().filter(|(_, was)| !was.is_reached());
        let joined = joined.map(|(number, _)| *number);
        let joined = joined.filter(|number| self.tree.reaches(*number));
        let lowest = joined.min_by_key(|number| view.rank(*number));
        if let Some(lowest) = lowest.filter(|lowest| view.rank(*lowest) < view.rank(root)) {
            self.tree.rebuild(view, Some(lowest), work);
        }
    }

    /// The lowest of those that `own` can reach, itself included.
    fn lowest_around(&self, view: &impl View, own: Number) -> Number {
        // Whoever the old tree still holds is cut off from here, so only the others are walked.
        let mut seen = Bits::default();
        let mut lowest = own;
        let mut waiting = vec![own];
        seen.grow(super::slab::MAX_NUMBERS);
        seen.set(own);
        while let Some(at) = waiting.pop() {
            if view.rank(at) < view.rank(lowest) {
                lowest = at;
            }
            view.out(at, |to, _| {
                if seen.set(to) {
                    waiting.push(to);
                }
            });
        }
        lowest
    }
}
