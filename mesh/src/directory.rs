//! Which number stands for which router.
//!
//! A router knows others by a dense [`Number`], so that what it keeps of them lies in plain arrays: a graph of ten
//! thousand routers fits into a cache, and a path is a few words. Numbers mean something within one run of one
//! router only; they are never sent, and nothing that is seen outside depends on them: ties are broken by
//! [`PeerId`]. A number is given when its router is admitted to the store, and given anew only after everybody
//! here has heard that it is gone.

use crate::index::{Index, mix};
use crate::record::Record;
use crate::{PeerId, PeerInfo, ShortId};
use std::sync::Arc;

/// A router, as this one counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u32);

impl Number {
    /// Where it stands in arrays.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// All known routers by number. Each stands there with its `PeerInfo`, in which its id is found: eight bytes and a
/// slot of the index for each.
#[derive(Debug, Default)]
pub struct Directory {
    infos: Vec<Option<Arc<Record>>>,
    /// By short id; no two routers have the same.
    index: Index,
    seed: u64,
    /// To be given anew, lowest last.
    free: Vec<Number>,
    count: usize,
}

impl Directory {
    /// An empty one. The seed only decides where things lie.
    #[cfg(test)]
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The number of the router with this short id.
    #[must_use]
    pub fn named(&self, short: ShortId) -> Option<Number> {
        let is = |position: u32| self.short(Number(position)) == Some(short);
        self.index.find(self.hash(short), is).map(Number)
    }

    /// The number of a router.
    #[must_use]
    pub fn number(&self, id: &PeerId) -> Option<Number> {
        self.named(id.short())
            .filter(|number| self.id(*number) == Some(id))
    }

    /// The router with this number.
    #[must_use]
    pub fn id(&self, number: Number) -> Option<&PeerId> {
        self.record(number).map(|record| &record.key.origin)
    }

    /// Its short id.
    #[must_use]
    pub fn short(&self, number: Number) -> Option<ShortId> {
        self.id(number).map(PeerId::short)
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self, number: Number) -> Option<&PeerInfo> {
        self.record(number).and_then(|record| record.info())
    }

    /// The record in which it says so.
    pub(crate) fn record(&self, number: Number) -> Option<&Arc<Record>> {
        self.infos.get(number.index())?.as_ref()
    }

    /// How many routers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// True while there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All numbers are below this.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.infos.len()
    }

    /// All routers, in the order of their numbers, which means nothing.
    pub fn iter(&self) -> impl Iterator<Item = (Number, &PeerId)> {
        let infos = (0..).map(Number).zip(&self.infos);
        infos.filter_map(|(number, record)| Some((number, &record.as_ref()?.key.origin)))
    }

    /// All routers, in the order of their ids.
    #[must_use]
    pub fn sorted(&self) -> Vec<Number> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|(_, id)| *id);
        all.into_iter().map(|(number, _)| number).collect()
    }

    /// Admits a router of which nothing but the name is known: for trying out parts of the core. Its number, if it
    /// has one already. `None` if another one has the same short id.
    pub fn admit(&mut self, id: PeerId) -> Option<Number> {
        self.enter(Arc::new(Record::name_only(id)))
    }

    /// Admits the router whose `PeerInfo` this is, or puts it in the place of its former one.
    pub(crate) fn enter(&mut self, record: Arc<Record>) -> Option<Number> {
        let id = record.key.origin;
        if let Some(number) = self.named(id.short()) {
            let slot = self.infos.get_mut(number.index())?;
            if slot.as_ref().is_some_and(|old| old.key.origin != id) {
                return None;
            }
            *slot = Some(record);
            return Some(number);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            grow_slowly(&mut self.infos);
            self.infos.push(None);
            Number(u32::try_from(self.infos.len() - 1).unwrap_or(u32::MAX))
        });
        self.infos[number.index()] = Some(record);
        self.count += 1;
        let (infos, seed) = (&self.infos, self.seed);
        let hash_of = |position: u32| hash_at(infos, seed, position);
        self.index
            .insert(hash_at(infos, seed, number.0), number.0, hash_of);
        Some(number)
    }

    /// Takes a router out. Its number stays unused until [`free`](Self::free).
    pub(crate) fn remove(&mut self, number: Number) {
        if self.record(number).is_none() {
            return;
        }
        let (infos, seed) = (&self.infos, self.seed);
        let hash_of = |position: u32| hash_at(infos, seed, position);
        self.index.remove(hash_of(number.0), number.0, hash_of);
        self.infos[number.index()] = None;
        self.count -= 1;
    }

    /// The number of a router that was taken out may be given to another one.
    pub(crate) fn free(&mut self, number: Number) {
        let at = self.free.partition_point(|other| *other > number);
        if self.record(number).is_none() && self.free.get(at) != Some(&number) {
            self.free.insert(at, number);
        }
    }

    fn hash(&self, short: ShortId) -> u64 {
        mix(u64::from_be_bytes(short.0), self.seed)
    }
}

fn hash_at(infos: &[Option<Arc<Record>>], seed: u64, position: u32) -> u64 {
    let record = infos.get(position as usize).and_then(Option::as_ref);
    record.map_or(0, |record| {
        mix(u64::from_be_bytes(record.key.origin.short().0), seed)
    })
}

/// Makes room for one more. An array that doubles is a third empty on average; one that grows by an eighth costs
/// little more time.
pub(crate) fn grow_slowly<T>(array: &mut Vec<T>) {
    if array.len() == array.capacity() {
        array.reserve_exact((array.len() / 8).max(4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{id, info_record};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a map.
        #[test]
        fn numbers_name_one_router_each(steps in prop::collection::vec((0..30_u8, 0..3_u8), 0..200), seed: u64) {
            let (mut directory, mut model) = (Directory::new(seed), BTreeMap::new());
            let mut resting = Vec::new();
            for (n, what) in steps {
                match what {
                    0 => {
                        let number = directory.enter(info_record(n, 1, 1)).unwrap();
                        prop_assert!(!resting.contains(&number));
                        prop_assert_eq!(*model.entry(id(n)).or_insert(number), number);
                    }
                    1 => if let Some(number) = model.remove(&id(n)) {
                        directory.remove(number);
                        resting.push(number);
                    },
                    _ => resting.drain(..).for_each(|number| directory.free(number)),
                }
                prop_assert_eq!(directory.len(), model.len());
                prop_assert!(directory.bound() <= 30 + 30);
                for n in 0..30 {
                    let number = model.get(&id(n)).copied();
                    prop_assert_eq!(directory.number(&id(n)), number);
                    prop_assert_eq!(directory.named(id(n).short()), number);
                    prop_assert_eq!(number.and_then(|number| directory.id(number)).copied(), number.map(|_| id(n)));
                }
                let sorted = directory.sorted();
                prop_assert_eq!(sorted, model.values().copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_short_id_is_one_routers_only() {
        let mut directory = Directory::new(1);
        let first = directory.admit(id(1));
        assert_eq!(first, Some(Number(0)));
        let mut twin = id(1);
        twin.0[31] = 9;
        assert_eq!(directory.admit(twin), None);
        assert_eq!(
            (directory.number(&twin), directory.named(twin.short())),
            (None, first)
        );
    }
}
