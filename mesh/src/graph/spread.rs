//! The tree along which records spread: the shortest paths over all links from one router that everybody agrees
//! on. That is the one which the router with the lowest id of those that can reach each other has named
//! ([`kind::ROOT`](crate::record::kind::ROOT)), or else that router itself.
//!
//! So it also tells whom this router can reach: all that are in the tree, as long as it is in there itself.

use super::Known;
use super::spt::{Bits, Spt, View as _, Work};
use super::view::Control;
use crate::Number;

/// This router's view of the tree.
#[derive(Debug)]
pub(crate) struct Spread {
    pub(crate) tree: Spt,
    /// The one of lowest id in it.
    lowest: Option<Number>,
    /// The number of the root, or of the lowest, may be another router's by now.
    is_rootless: bool,
}

impl Spread {
    /// The tree that holds nobody.
    pub(crate) fn new() -> Self {
        Self {
            tree: Spt::new(),
            lowest: None,
            is_rootless: true,
        }
    }

    /// The router of lowest id in the tree, which names the root.
    pub(crate) fn lowest(&self) -> Option<Number> {
        self.lowest
    }

    /// A router is no longer known; its links are gone, too.
    pub(crate) fn forget(&mut self, gone: Number) {
        self.is_rootless |= self.tree.root() == Some(gone) || self.lowest == Some(gone);
    }

    /// Brings the tree up to date with these edges, or with all of them; `work` has begun, and tells afterwards who
    /// was in it.
    pub(crate) fn update(
        &mut self,
        view: &Control<'_, impl Known>,
        own: Number,
        edges: Option<&Vec<(Number, Number)>>,
        work: &mut Work,
    ) {
        match edges {
            Some(edges) => self.tree.update(view, edges, work),
            None => self.is_rootless = true,
        }
        let stands = !std::mem::take(&mut self.is_rootless) && self.tree.reaches(own);
        let lowest = match self.lowest.filter(|lowest| stands && self.tree.reaches(*lowest)) {
            Some(lowest) => self.lowest_with_joined(view, lowest, work),
            None => lowest_around(view, own),
        };
        self.lowest = Some(lowest);
        let named = view.known.root_named_by(lowest);
        if stands {
            let root = named.filter(|named| self.tree.reaches(*named)).unwrap_or(lowest);
            if self.tree.root() != Some(root) {
                self.tree.rebuild(view, Some(root), work);
            }
            return;
        }
        self.tree.rebuild(view, Some(named.unwrap_or(lowest)), work);
        if !self.tree.reaches(own) {
            // Who was named is elsewhere.
            self.tree.rebuild(view, Some(lowest), work);
        }
    }

    /// The lowest, now that others are in the tree that were not.
    fn lowest_with_joined(&self, view: &Control<'_, impl Known>, lowest: Number, work: &Work) -> Number {
        let joined = work.looked_at().iter().filter(|(_, was)| !was.is_reached());
        let joined = joined.map(|(number, _)| *number);
        let joined = joined.filter(|number| self.tree.reaches(*number));
        let all = joined.chain([lowest]);
        all.min_by_key(|number| view.rank(*number)).unwrap_or(lowest)
    }
}

/// The lowest of those that `own` can reach, itself included.
fn lowest_around(view: &Control<'_, impl Known>, own: Number) -> Number {
    // Whoever the old tree still holds may be cut off from here, so it is walked anew.
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
