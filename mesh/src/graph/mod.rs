//! Who is linked with whom, and the shortest paths over that, brought up to date change by change.
//!
//! Routers go by [`Number`]s here. [`slab`] holds the two-way links; [`told`] finds what a new record changes in
//! them; [`spt`] keeps a tree of shortest paths; [`view`] says which links a tree may use: those with a data path
//! for data, all for control messages; [`spread`] is the tree along which records spread, which also tells who can
//! be reached; [`search`] finds single paths that no tree has. All of it together takes about sixty bytes for each known router.

pub(crate) mod search;
pub(crate) mod slab;
pub(crate) mod spread;
pub(crate) mod spt;
pub(crate) mod told;
mod trial;
pub(crate) mod view;

#[cfg(test)]
mod tests;

pub use trial::Trial;

use crate::{Adjacency, DirectPath, Number, PeerId, ShortId};
use spread::Spread;
use spt::{Spt, Work};
use std::collections::BTreeMap;
use told::Links;
use view::{Control, Data};

/// What each relay on a path adds to its cost, in microseconds.
pub(crate) const RELAY_COST: u32 = crate::RELAY_COST_US as u32;

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
    /// Whom this router names as the root of the tree along which records spread.
    fn root_named_by(&self, of: Number) -> Option<Number>;
}

/// What one router says of its link with another.
pub(crate) fn told_of(known: &impl Known, from: Number, to: Number) -> Option<&Adjacency> {
    find_told(known.links(from), known.id(to)?.short())
}

/// What is said of the link with this router among these, which are sorted by neighbour.
pub(crate) fn find_told(links: &[Adjacency], other: ShortId) -> Option<&Adjacency> {
    let at = links.binary_search_by_key(&other, |adjacency| adjacency.neighbor);
    at.ok().and_then(|at| links.get(at))
}

/// Who these are; `None` if one of them is no longer known.
pub(crate) fn route_as_ids(known: &impl Known, path: &[Number]) -> Option<Vec<PeerId>> {
    path.iter().map(|number| known.id(*number).copied()).collect()
}

/// The links, and the trees over them.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) links: Links,
    /// This router's own data paths.
    pub(crate) direct: BTreeMap<Number, DirectPath>,
    pub(crate) data: Spt,
    pub(crate) spread: Spread,
    pub(crate) work: Work,
    own: Option<Number>,
    /// Those that are no longer known, since trees were last brought up to date.
    pub(crate) gone: Vec<(Number, PeerId)>,
}

impl Graph {
    /// No links yet.
    pub(crate) fn new() -> Self {
        Self {
            links: Links::default(),
            direct: BTreeMap::new(),
            data: Spt::new(),
            spread: Spread::new(),
            work: Work::default(),
            own: None,
            gone: Vec::new(),
        }
    }

    /// The number of this router itself, as soon as it has one.
    pub(crate) fn set_own(&mut self, own: Number) {
        self.own = Some(own);
    }

    /// This router's own number.
    pub(crate) fn own(&self) -> Option<Number> {
        self.own
    }

    /// A direct data path of this router's own came, went or changed.
    pub(crate) fn set_direct(&mut self, to: Number, path: Option<DirectPath>) {
        let Some(own) = self.own.filter(|own| *own != to) else {
            return;
        };
        let path = path.filter(|path| path.mtu > 0);
        let old = match path {
            Some(path) => self.direct.insert(to, path),
            None => self.direct.remove(&to),
        };
        if old != path {
            let is_same = old
                .zip(path)
                .is_some_and(|(old, new)| old.delay_us == new.delay_us);
            self.links.note_direct(own, to, is_same);
        }
    }

    /// A router is no longer known. Its number must rest until the trees have been brought up to date.
    pub(crate) fn forget(&mut self, gone: Number, id: PeerId) {
        self.links.forget(gone);
        self.spread.forget(gone);
        if let Some(own) = self.own.filter(|_| self.direct.remove(&gone).is_some()) {
            self.links.note_direct(own, gone, false);
        }
        self.gone.push((gone, id));
    }

    /// Brings the data tree up to date; [`Work`] tells until the next computation what changed.
    pub(crate) fn update_data(&mut self, known: &impl Known) {
        let Some(own) = self.own else { return };
        let numbers = known.numbers();
        self.links.slab.grow(numbers);
        self.data.grow(numbers);
        self.work.begin(numbers);
        let view = Data {
            known,
            slab: &self.links.slab,
            own,
            direct: &self.direct,
        };
        if self.data.root() != Some(own) || self.links.is_too_much(numbers) {
            self.data.rebuild(&view, Some(own), &mut self.work);
        } else {
            self.data.update(&view, &self.links.edges, &mut self.work);
        }
    }

    /// Brings the tree along which records spread up to date, and tells who can be reached now and could not
    /// before, or the other way round.
    pub(crate) fn update_spread(&mut self, known: &impl Known) -> Vec<(Number, bool)> {
        let Some(own) = self.own else { return Vec::new() };
        let numbers = known.numbers();
        self.spread.tree.grow(numbers);
        self.work.begin(numbers);
        let view = Control {
            known,
            slab: &self.links.slab,
        };
        let is_new = self.links.is_too_much(numbers);
        self.spread
            .update(&view, own, (!is_new).then_some(&self.links.edges), &mut self.work);
        let looked_at = self.work.looked_at().iter();
        let now = |number| self.spread.tree.reaches(number);
        let differs = looked_at.filter(|(number, was)| was.is_reached() != now(*number));
        differs.map(|(number, _)| (*number, now(*number))).collect()
    }

    /// The data paths.
    pub(crate) fn data_view<'a, K: Known>(&'a self, known: &'a K) -> Option<Data<'a, K>> {
        Some(Data {
            known,
            slab: &self.links.slab,
            own: self.own?,
            direct: &self.direct,
        })
    }

    /// The control paths.
    pub(crate) fn control_view<'a, K: Known>(&'a self, known: &'a K) -> Control<'a, K> {
        Control {
            known,
            slab: &self.links.slab,
        }
    }

    /// All that follows from the changes has been done. Returns the numbers that may be given anew.
    pub(crate) fn done(&mut self) -> Vec<Number> {
        self.links.done();
        std::mem::take(&mut self.gone)
            .into_iter()
            .map(|(number, _)| number)
            .collect()
    }
}

/// Brings a table to this length. It grows by a sixteenth at a time: there may be as many of it as routers in a
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
        table.reserve_exact(more + wanted / 16 + 4);
    }
}
