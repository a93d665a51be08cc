//! The records of one router, by kind and subkey. Most have none but the usual ones, which lie in the array of
//! routers itself; any more cost an array of their own.

use crate::directory::grow_slowly;
use crate::record::{Record, kind};
use std::sync::Arc;

/// Where a record is among those of its router: kind and subkey.
pub(super) type Slot = (u8, u64);

/// Where a router's `PeerInfo` is.
pub(super) const INFO: Slot = (kind::PEER_INFO, 0);
/// Where its `LinkState` is.
pub(super) const LINKS: Slot = (kind::LINK_STATE, 0);
/// Nearly every router has these, and no others.
const USUAL: [Slot; 3] = [INFO, LINKS, (kind::MACS, 0)];

/// The usual ones first, then the others in the order of their slots. One in each.
#[derive(Debug, Default)]
pub(super) struct Slots {
    usual: [Option<Arc<Record>>; USUAL.len()],
    /// Boxed twice over, so that nearly all routers pay one word for it.
    #[expect(clippy::box_collection, reason = "one word instead of three")]
    others: Option<Box<Vec<Arc<Record>>>>,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.usual.iter().flatten().count() + self.others().len()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Arc<Record>> {
        match usual(slot) {
            Some(at) => self.usual[at].as_ref(),
            None => self.others().get(self.find(slot).ok()?),
        }
    }

    /// Puts a record into its slot. Returns what was there.
    pub(super) fn insert(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        if let Some(at) = usual(slot(&record)) {
            return self.usual[at].replace(record);
        }
        let at = self.find(slot(&record));
        let others = self.others.get_or_insert_default();
        match at {
            Ok(at) => Some(std::mem::replace(&mut others[at], record)),
            Err(at) => {
                grow_slowly(others);
                others.insert(at, record);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Arc<Record>> {
        if let Some(at) = usual(slot) {
            return self.usual[at].take();
        }
        let at = self.find(slot).ok()?;
        let others = self.others.as_mut()?;
        let gone = others.remove(at);
        if others.is_empty() {
            self.others = None;
        }
        Some(gone)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.usual.iter().flatten().chain(self.others())
    }

    fn others(&self) -> &[Arc<Record>] {
        self.others.as_ref().map_or(&[], |others| others)
    }

    fn find(&self, wanted: Slot) -> Result<usize, usize> {
        self.others().binary_search_by_key(&wanted, |record| slot(record))
    }
}

fn usual(slot: Slot) -> Option<usize> {
    USUAL.iter().position(|usual| *usual == slot)
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
        fn one_record_in_each_slot(steps in prop::collection::vec((0..5_u8, 0..4_u64, 1..9_u64, any::<bool>()), 0..60)) {
            let (mut slots, mut model) = (Slots::default(), BTreeMap::new());
            for (kind, subkey, counter, is_put) in steps {
                // The usual ones first.
                let place = (!USUAL.contains(&(kind, subkey)), (kind, subkey));
                if is_put {
                    let record = record(1, (kind, subkey), (1, counter), &[]);
                    prop_assert_eq!(slots.insert(Arc::clone(&record)), model.insert(place, record));
                } else {
                    prop_assert_eq!(slots.remove((kind, subkey)), model.remove(&place));
                }
                prop_assert!(slots.iter().eq(model.values()));
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.get((kind, subkey)), model.get(&place));
            }
        }
    }
}
