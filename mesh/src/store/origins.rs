//! What is known of each router, in one array by [`Number`]: fifty-six bytes for each beside its records.
//!
//! A tree by id would take four times that, half of it for ids that stand in the records anyway, and each search in
//! it a dozen cache misses. What is asked of the graph's numbers is answered from here, too: an array of its own for
//! who has which, and one for what each says of its links, would be twenty bytes more.

use super::slots::{INFO, Slots};
use crate::directory::grow_slowly;
use crate::index::{Index, mix};
use crate::{Instant, Number, PeerId, ShortId};

/// What is known of one router.
#[derive(Debug)]
pub(super) struct Origin {
    /// Among them always its `PeerInfo`.
    pub(super) records: Slots,
    /// Since when there has, or has not, been a way to it.
    pub(super) since: Instant,
    /// Of its records.
    pub(super) bytes: u32,
    pub(super) is_reachable: bool,
    /// Its records are compared with neighbours and passed on.
    pub(super) is_covered: bool,
}

impl Origin {
    fn id(&self) -> Option<&PeerId> {
        self.records.get(INFO).map(|info| &info.key.origin)
    }

    /// Sum of the marks of its records.
    pub(super) fn marks(&self) -> u64 {
        let marks = self.records.iter().map(|record| record.mark());
        marks.fold(0, u64::wrapping_add)
    }
}

/// All of them: by number, and found by short id. No two have the same.
#[derive(Debug, Default)]
pub(super) struct Origins {
    all: Vec<Option<Origin>>,
    index: Index,
    count: usize,
    /// To be given anew, lowest last.
    free: Vec<Number>,
}

impl Origins {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// All numbers are below this.
    pub(super) fn bound(&self) -> usize {
        self.all.len()
    }

    /// The number of the router with this short id.
    pub(super) fn number(&self, short: ShortId) -> Option<Number> {
        let is = |position: u32| self.id(Number(position)).map(PeerId::short) == Some(short);
        self.index.find(hash(short), is).map(Number)
    }

    /// The router with this number.
    pub(super) fn at(&self, number: Number) -> Option<&Origin> {
        self.all.get(number.index())?.as_ref()
    }

    /// Who has this number.
    pub(super) fn id(&self, number: Number) -> Option<&PeerId> {
        self.at(number)?.id()
    }

    /// The number of a router.
    pub(super) fn find(&self, id: &PeerId) -> Option<Number> {
        let number = self.number(id.short())?;
        (self.id(number) == Some(id)).then_some(number)
    }

    pub(super) fn get(&self, id: &PeerId) -> Option<&Origin> {
        let origin = self.at(self.number(id.short())?)?;
        (origin.id() == Some(id)).then_some(origin)
    }

    pub(super) fn get_mut(&mut self, id: &PeerId) -> Option<&mut Origin> {
        let number = self.number(id.short())?;
        let origin = self.all.get_mut(number.index())?.as_mut()?;
        (origin.id() == Some(id)).then_some(origin)
    }

    /// Adds a router, whose `PeerInfo` is there and whose short id nobody has yet.
    pub(super) fn add(&mut self, origin: Origin) {
        let number = self.free.pop().unwrap_or_else(|| {
            grow_slowly(&mut self.all);
            self.all.push(None);
            Number(u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX))
        });
        self.all[number.index()] = Some(origin);
        self.count += 1;
        let all = &self.all;
        let hash_of = |position: u32| hash_at(all, position);
        self.index.insert(hash_of(number.0), number.0, hash_of);
    }

    /// Takes a router out. Its number stays unused until [`free`](Self::free).
    pub(super) fn remove(&mut self, id: &PeerId) -> Option<(Number, Origin)> {
        let number = self.find(id)?;
        let all = &self.all;
        let hash_of = |position: u32| hash_at(all, position);
        self.index.remove(hash_of(number.0), number.0, hash_of);
        self.count -= 1;
        Some((number, self.all[number.index()].take()?))
    }

    /// The number of a router that was taken out may be given to another one.
    pub(super) fn free(&mut self, number: Number) {
        let at = self.free.partition_point(|other| *other > number);
        if self.at(number).is_none() && self.free.get(at) != Some(&number) {
            self.free.insert(at, number);
        }
    }

    /// All routers, in the order of their ids.
    pub(super) fn sorted(&self) -> Vec<(PeerId, &Origin)> {
        let origins = self.all.iter().flatten();
        let mut all: Vec<_> = origins
            .filter_map(|origin| Some((*origin.id()?, origin)))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

fn hash(short: ShortId) -> u64 {
    mix(u64::from_be_bytes(short.0), 0)
}

fn hash_at(all: &[Option<Origin>], position: u32) -> u64 {
    let origin = all.get(position as usize).and_then(Option::as_ref);
    let id = origin.and_then(Origin::id);
    id.map_or(0, |id| hash(id.short()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{id, info_record};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    fn origin(n: u8, bytes: u32) -> Origin {
        let mut records = Slots::default();
        records.insert(info_record(n, 1, 1));
        Origin {
            records,
            since: Instant(0),
            bytes,
            is_reachable: false,
            is_covered: true,
        }
    }

    proptest! {
        /// Against a map.
        #[test]
        fn each_router_is_found_until_it_goes(steps in prop::collection::vec((0..30_u8, 0..5_u8), 0..200)) {
            let (mut origins, mut model) = (Origins::default(), BTreeMap::new());
            let mut resting = Vec::new();
            for (at, (n, what)) in (0..).zip(steps) {
                if what == 4 {
                    resting.drain(..).for_each(|number| origins.free(number));
                } else if what > 1 {
                    let gone = origins.remove(&id(n));
                    resting.extend(gone.as_ref().map(|(number, _)| *number));
                    prop_assert_eq!(gone.map(|(_, origin)| origin.bytes), model.remove(&id(n)));
                } else if let Entry::Vacant(place) = model.entry(id(n)) {
                    origins.add(origin(n, at));
                    place.insert(at);
                }
                prop_assert_eq!(origins.len(), model.len());
                prop_assert!(origins.bound() <= 30 + 30);
                prop_assert!(resting.iter().all(|number| origins.at(*number).is_none()), "they rest");
                for n in 0..30 {
                    let expected = model.get(&id(n)).copied();
                    prop_assert_eq!(origins.get(&id(n)).map(|origin| origin.bytes), expected);
                    prop_assert_eq!(origins.get_mut(&id(n)).map(|origin| origin.bytes), expected);
                    let number = origins.number(id(n).short());
                    prop_assert_eq!(number, origins.find(&id(n)));
                    prop_assert_eq!(number.and_then(|number| origins.id(number)).copied(), expected.map(|_| id(n)));
                }
                let sorted: Vec<_> = origins.sorted().into_iter().map(|(id, origin)| (id, origin.bytes)).collect();
                prop_assert_eq!(sorted, model.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_short_id_is_not_taken_for_the_whole() {
        let mut origins = Origins::default();
        origins.add(origin(1, 0));
        let mut twin = id(1);
        twin.0[31] ^= 1;
        assert_eq!(origins.number(twin.short()), Some(Number(0)));
        assert_eq!(
            (origins.find(&id(1)), origins.find(&twin)),
            (Some(Number(0)), None)
        );
        assert!(origins.get(&twin).is_none() && origins.get_mut(&twin).is_none());
        assert!(origins.remove(&twin).is_none());
    }
}
