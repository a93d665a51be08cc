//! Who is linked with whom, and the shortest paths over that, brought up to date change by change.
//!
//! Routers go by [`Number`]s here. [`slab`] holds the two-way links; [`told`] finds what a new record changes in
//! them; [`spt`] keeps a tree of shortest paths; [`view`] says which links a tree may use: those with a data path
//! for data, all for control messages; [`spread`] is the tree along which records spread, which also tells who can
//! be reached. All of it together takes about sixty bytes for each known router.

pub(crate) mod slab;
pub(crate) mod spread;
pub(crate) mod spt;
pub(crate) mod told;
pub(crate) mod view;

#[cfg(test)]
mod tests;

use crate::{Adjacency, PeerId, ShortId};

/// What each relay on a path adds to its cost, in microseconds.
const RELAY_COST: u32 = 1000;

/// A router, by the place of what is known of it in this router's tables. Never sent; given anew after the router
/// is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(pub(crate) u32);

impl Number {
    /// As an index.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// From an index.
    pub(crate) fn from_index(index: usize) -> Option<Self> {
        (index < slab::MAX_NUMBERS).then_some(())?;
        u32::try_from(index).ok().map(Self)
    }
}

/// What is known of routers.
pub(crate) trait Known {
    /// One more than the largest number given.
    fn numbers(&self) -> usize;
    /// The number of the router with this short id.
    fn number(&self, short: ShortId) -> Option<Number>;
    /// Who has this number.
    fn id(&self, number: Number) -> Option<&PeerId>;
    /// What a router says of its links: sorted by neighbour, one each.
    fn links(&self, of: Number) -> &[Adjacency];
}

/// What one router says of its link with another.
pub(crate) fn told_of<'a>(known: &'a impl Known, from: Number, to: Number) -> Option<&'a Adjacency> {
    let list = known.links(from);
    let short = known.id(to)?.short();
    let at = list.binary_search_by_key(&short, |adjacency| adjacency.neighbor);
    at.ok().and_then(|at| list.get(at))
}

/// Brings a table to this length. It grows by an eighth at a time: there may be as many of it as routers in a
/// simulation, each as long as there are routers.
fn extend<T: Clone>(table: &mut Vec<T>, len: usize, value: T) {
    if len > table.len() {
        reserve(table, len - table.len());
        table.resize(len, value);
    }
}

fn reserve<T>(table: &mut Vec<T>, more: usize) {
    let wanted = table.len() + more;
    if wanted > table.capacity() {
        table.reserve_exact(more + wanted / 8 + 4);
    }
}
