//! How full each table and queue of the core is, beside what it may hold: everything that others can make grow has
//! a bound, and a simulator watches that all are kept.

use crate::Mesh;
use crate::link::MAX_LINKS;

/// One table or queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// What is in it.
    pub what: &'static str,
    /// How much of that there is.
    pub is: usize,
    /// How much there may be.
    pub most: usize,
}

impl Size {
    pub(crate) const fn new(what: &'static str, is: usize, most: usize) -> Self {
        Self { what, is, most }
    }
}

impl Mesh {
    /// All that grows with what others say, when an input has been handled and its outputs are drained.
    pub fn sizes(&self) -> impl Iterator<Item = Size> {
        let links = self.links.iter().count();
        let parts = [
            // Whoever hands in an input takes out all that follows from it.
            Size::new("outputs that wait", self.out.len(), 0),
            Size::new("records that wait", self.news.len(), 0),
            Size::new("links", links, MAX_LINKS),
            Size::new("comparisons planned", self.rounds.len(), links),
            // Those of links that are gone go when the next one begins.
            Size::new("comparisons under way", self.turns.len(), MAX_LINKS + 1),
            self.limits.size(),
            self.connector.size(),
            self.registry.size(),
            self.addresses.size(),
            self.names.size(),
            self.trees.size(),
            self.peer_labels.size(),
            self.detours.size(),
        ];
        parts
            .into_iter()
            .chain(self.store.sizes())
            .chain(self.spread.sizes())
    }

    /// How many links this router shall have at rest, at least and at most, if there are so many others to link with.
    #[must_use]
    pub fn link_bounds(&self) -> (usize, usize) {
        self.connector.link_bounds()
    }
}
