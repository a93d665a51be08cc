//! Which number stands for which router.
//!
//! A router knows others by a dense [`Number`], so that what it keeps of them lies in plain arrays: a graph of ten
//! thousand routers fits into a cache, and a path is a few words. Numbers mean something within one run of one
//! router only; they are never sent, and nothing that is seen outside depends on them: ties are broken by
//! [`PeerId`]. A number is given when its router is admitted to the store, and given anew only after everybody
//! here has heard that it is gone.

use crate::index::{Index, mix};
use crate::{PeerId, ShortId};

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

/// Routers by number, where there is no store that has them: for trying out parts of the core.
#[derive(Debug, Default)]
pub struct Directory {
    ids: Vec<Option<PeerId>>,
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
        self.ids.get(number.index())?.as_ref()
    }

    /// Its short id.
    #[must_use]
    pub fn short(&self, number: Number) -> Option<ShortId> {
        self.id(number).map(PeerId::short)
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
        self.ids.len()
    }

    /// All routers, in the order of their numbers, which means nothing.
    pub fn iter(&self) -> impl Iterator<Item = (Number, &PeerId)> {
        let ids = (0..).map(Number).zip(&self.ids);
        ids.filter_map(|(number, id)| Some((number, id.as_ref()?)))
    }

    /// All routers, in the order of their ids.
    #[must_use]
    pub fn sorted(&self) -> Vec<Number> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|(_, id)| *id);
        all.into_iter().map(|(number, _)| number).collect()
    }

    /// Admits a router. Its number, if it has one already. `None` if another one has the same short id.
    pub fn admit(&mut self, id: PeerId) -> Option<Number> {
        if let Some(number) = self.named(id.short()) {
            return Some(number).filter(|number| self.id(*number) == Some(&id));
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.ids.push(None);
            Number(u32::try_from(self.ids.len() - 1).unwrap_or(u32::MAX))
        });
        self.ids[number.index()] = Some(id);
        self.count += 1;
        let (ids, seed) = (&self.ids, self.seed);
        let hash_of = |position: u32| hash_at(ids, seed, position);
        self.index.insert(hash_of(number.0), number.0, hash_of);
        Some(number)
    }

    /// Takes a router out. Its number stays unused until [`free`](Self::free).
    #[cfg(test)]
    pub(crate) fn remove(&mut self, number: Number) {
        if self.id(number).is_none() {
            return;
        }
        let (ids, seed) = (&self.ids, self.seed);
        let hash_of = |position: u32| hash_at(ids, seed, position);
        self.index.remove(hash_of(number.0), number.0, hash_of);
        self.ids[number.index()] = None;
        self.count -= 1;
    }

    /// The number of a router that was taken out may be given to another one.
    #[cfg(test)]
    pub(crate) fn free(&mut self, number: Number) {
        let at = self.free.partition_point(|other| *other > number);
        if self.id(number).is_none() && self.free.get(at) != Some(&number) {
            self.free.insert(at, number);
        }
    }

    fn hash(&self, short: ShortId) -> u64 {
        mix(u64::from_be_bytes(short.0), self.seed)
    }
}

fn hash_at(ids: &[Option<PeerId>], seed: u64, position: u32) -> u64 {
    let id = ids.get(position as usize).and_then(Option::as_ref);
    id.map_or(0, |id| mix(u64::from_be_bytes(id.short().0), seed))
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
    use crate::testing::id;
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
                        let number = directory.admit(id(n)).unwrap();
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
