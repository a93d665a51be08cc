//! The records of one router, by kind and subkey: most have two or three, and a tree of them would be as large as
//! the records themselves.

use crate::directory::grow_slowly;
use crate::record::Record;
use std::sync::Arc;

/// Where a record is among those of its router: kind and subkey.
pub(super) type Slot = (u8, u64);

/// In the order of their slots, one in each.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Arc<Record>>);

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Arc<Record>> {
        self.0.get(self.find(slot).ok()?)
    }

    /// Puts a record into its slot. Returns what was there.
    pub(super) fn insert(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        match self.find(slot(&record)) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at], record)),
            Err(at) => {
                grow_slowly(&mut self.0);
                self.0.insert(at, record);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Arc<Record>> {
        let at = self.find(slot).ok()?;
        Some(self.0.remove(at))
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Arc<Record>> {
        self.0.iter()
    }

    /// How many have a slot from this one on.
    pub(super) fn count_from(&self, slot: Slot) -> usize {
        let (Ok(at) | Err(at)) = self.find(slot);
        self.0.len() - at
    }

    fn find(&self, wanted: Slot) -> Result<usize, usize> {
        self.0.binary_search_by_key(&wanted, |record| slot(record))
    }
}

/// The slot of a record.
pub(super) fn slot(record: &Record) -> Slot {
    (record.key.kind, record.key.subkey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a map.
        #[test]
        fn one_record_in_each_slot(steps in prop::collection::vec((1..4_u8, 0..4_u64, 1..9_u64, any::<bool>()), 0..60)) {
            let (mut slots, mut model) = (Slots::default(), BTreeMap::new());
            for (kind, subkey, counter, is_put) in steps {
                if is_put {
                    let record = record(1, (kind, subkey), (1, counter), &[]);
                    prop_assert_eq!(slots.insert(Arc::clone(&record)), model.insert((kind, subkey), record));
                } else {
                    prop_assert_eq!(slots.remove((kind, subkey)), model.remove(&(kind, subkey)));
                }
                prop_assert!(slots.iter().eq(model.values()));
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.get((kind, subkey)), model.get(&(kind, subkey)));
                prop_assert_eq!(slots.count_from((2, 1)), model.range((2, 1)..).count());
            }
        }
    }
}
