//! What is known of each router, in one array: fifty-six bytes for each beside its records.
//!
//! A tree by id would take four times that, half of it for ids that stand in the records anyway, and each search in
//! it a dozen cache misses.

use super::slots::{INFO, Slots};
use crate::directory::grow_slowly;
use crate::index::{Index, mix};
use crate::{Instant, PeerId, ShortId};

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
    fn id(&self) -> Option<PeerId> {
        self.records.get(INFO).map(|info| info.key.origin)
    }

    /// Sum of the marks of its records.
    pub(super) fn marks(&self) -> u64 {
        let marks = self.records.iter().map(|record| record.mark());
        marks.fold(0, u64::wrapping_add)
    }
}

/// All of them, found by short id. No two have the same.
#[derive(Debug, Default)]
pub(super) struct Origins {
    all: Vec<Origin>,
    index: Index,
}

impl Origins {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The router with this short id.
    pub(super) fn named(&self, short: ShortId) -> Option<PeerId> {
        self.all[self.find(short)?].id()
    }

    pub(super) fn get(&self, id: &PeerId) -> Option<&Origin> {
        let origin = &self.all[self.find(id.short())?];
        (origin.id().as_ref() == Some(id)).then_some(origin)
    }

    pub(super) fn get_mut(&mut self, id: &PeerId) -> Option<&mut Origin> {
        let at = self.find(id.short())?;
        let origin = &mut self.all[at];
        (origin.id().as_ref() == Some(id)).then_some(origin)
    }

    /// Adds a router, whose `PeerInfo` is there and whose short id nobody has yet.
    pub(super) fn add(&mut self, origin: Origin) {
        grow_slowly(&mut self.all);
        self.all.push(origin);
        self.enter(self.all.len() - 1);
    }

    pub(super) fn remove(&mut self, id: &PeerId) -> Option<Origin> {
        self.get(id)?;
        let at = self.find(id.short())?;
        // The last one moves into its place.
        let last = self.all.len() - 1;
        self.leave(at);
        if at == last {
            return self.all.pop();
        }
        self.leave(last);
        let origin = self.all.swap_remove(at);
        self.enter(at);
        Some(origin)
    }

    /// Puts a position into the index.
    fn enter(&mut self, position: usize) {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let all = &self.all;
        self.index.insert(hash_at(all, position), position, |position| {
            hash_at(all, position)
        });
    }

    /// Takes a position out of the index.
    fn leave(&mut self, position: usize) {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let all = &self.all;
        self.index.remove(hash_at(all, position), position, |position| {
            hash_at(all, position)
        });
    }

    /// All routers, in the order of their ids.
    pub(super) fn sorted(&self) -> Vec<(PeerId, &Origin)> {
        let mut all: Vec<_> = self
            .all
            .iter()
            .filter_map(|origin| Some((origin.id()?, origin)))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    fn find(&self, short: ShortId) -> Option<usize> {
        let is = |position: u32| self.all[position as usize].id().map(|id| id.short()) == Some(short);
        self.index.find(hash(short), is).map(|position| position as usize)
    }
}

fn hash(short: ShortId) -> u64 {
    mix(u64::from_be_bytes(short.0), 0)
}

fn hash_at(all: &[Origin], position: u32) -> u64 {
    let id = all.get(position as usize).and_then(Origin::id);
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
        fn each_router_is_found_until_it_goes(steps in prop::collection::vec((0..30_u8, any::<bool>()), 0..200)) {
            let (mut origins, mut model) = (Origins::default(), BTreeMap::new());
            for (at, (n, is_put)) in (0..).zip(steps) {
                if !is_put {
                    let gone = origins.remove(&id(n)).map(|origin| origin.bytes);
                    prop_assert_eq!(gone, model.remove(&id(n)));
                } else if let Entry::Vacant(place) = model.entry(id(n)) {
                    origins.add(origin(n, at));
                    place.insert(at);
                }
                prop_assert_eq!(origins.len(), model.len());
                for n in 0..30 {
                    let expected = model.get(&id(n)).copied();
                    prop_assert_eq!(origins.get(&id(n)).map(|origin| origin.bytes), expected);
                    prop_assert_eq!(origins.get_mut(&id(n)).map(|origin| origin.bytes), expected);
                    prop_assert_eq!(origins.named(id(n).short()), expected.map(|_| id(n)));
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
        assert_eq!(origins.named(twin.short()), Some(id(1)));
        assert!(origins.get(&twin).is_none() && origins.get_mut(&twin).is_none());
        assert!(origins.remove(&twin).is_none());
    }
}
