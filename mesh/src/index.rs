//! A hash table of positions: finds which of many things has a key, while the things themselves lie elsewhere.
//!
//! Four bytes for each slot, and about two thirds of the slots are in use: a router knows ten thousand others and
//! two records of each, and a simulator runs ten thousand such routers. Nothing that is seen outside depends on
//! the order of the slots.

const EMPTY: u32 = u32::MAX;
const POSITION: u32 = 0x00ff_ffff;
const TAG_SHIFT: u32 = 24;

/// The table. Hashes are the caller's: the upper eight bits are kept as a tag, the lower ones choose the slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// A power of two, or none.
    slots: Vec<u32>,
    count: usize,
}

impl Index {
    /// The position that is entered under this hash and for which `is` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if tag_of(slot) == tag(hash) && is(slot & POSITION) {
                return Some(slot & POSITION);
            }
            at = (at + 1) & mask;
        }
    }

    /// Enters a position, which must not be there yet and be below `POSITION`. `hash_of` tells the hashes of
    /// others when they have to move.
    pub(crate) fn insert(&mut self, hash: u64, position: u32, hash_of: impl Fn(u32) -> u64) {
        // Three quarters at most: a search for what is not there looks at eight slots then.
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            let grown = (self.slots.len() * 2).max(8);
            let old = std::mem::replace(&mut self.slots, vec![EMPTY; grown]);
            for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
                self.put(hash_of(slot & POSITION), slot & POSITION);
            }
        }
        self.put(hash, position);
        self.count += 1;
    }

    fn put(&mut self, hash: u64, position: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = u32::from(tag(hash)) << TAG_SHIFT | position;
    }

    /// Takes a position out. What stands behind it moves up, so that searches stay short.
    pub(crate) fn remove(&mut self, hash: u64, position: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mask) = self.slots.len().checked_sub(1) else {
            return;
        };
        let mut hole = hash as usize & mask;
        while self.slots[hole] & POSITION != position {
            if self.slots[hole] == EMPTY {
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.count -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == EMPTY {
                break;
            }
            let home = hash_of(slot & POSITION) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
    }

    /// All positions with their tags, in no order that means anything.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, u32)> {
        let taken = self.slots.iter().filter(|slot| **slot != EMPTY);
        taken.map(|slot| (tag_of(*slot), slot & POSITION))
    }
}

fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

fn tag_of(slot: u32) -> u8 {
    (slot >> TAG_SHIFT) as u8
}

/// Spreads a key over all bits. Nobody who does not know the seed can choose keys that meet.
#[inline]
pub(crate) fn mix(key: u64, seed: u64) -> u64 {
    let once = fold(key ^ seed, 0x9e37_79b9_7f4a_7c15);
    fold(once ^ seed.rotate_left(32), 0xd6e8_feb8_6659_fd93)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Few hashes, so that they meet; against a plain set.
        #[test]
        fn finds_what_is_there_and_nothing_else(steps in prop::collection::vec((0..40_u32, any::<bool>()), 0..400)) {
            let hash = |key: u32| (u64::from(key % 7) << 56) + u64::from(key % 5) * 3;
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            for (key, put) in steps {
                if put && model.insert(key) {
                    index.insert(hash(key), key, hash);
                } else if !put && model.remove(&key) {
                    index.remove(hash(key), key, hash);
                }
                for key in 0..40 {
                    prop_assert_eq!(index.find(hash(key), |at| at == key).is_some(), model.contains(&key));
                }
                let all: BTreeSet<_> = index.iter().collect();
                prop_assert_eq!(all, model.iter().map(|key| ((key % 7) as u8, *key)).collect());
            }
        }
    }

    #[test]
    fn mixed_keys_are_spread() {
        let low: BTreeSet<_> = (0..1000).map(|key| mix(key, 5) & 0xffff).collect();
        let high: BTreeSet<_> = (0..1000).map(|key| mix(key << 48, 5) >> 48).collect();
        assert!(low.len() > 980 && high.len() > 980);
        assert_ne!(mix(1, 2), mix(1, 3));
    }
}
