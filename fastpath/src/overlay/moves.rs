//! When places in trees change in the kernel.
//!
//! Routers hear of a change of the topology one after the other. Kernels can't have a former place besides the present one
//! for a while, as sleeve can: their packets have no numbers by which one that comes twice would be told. So the source
//! leaves its tree at once, for sleeve's; the others stay where they were until it has left; and when all have moved, the
//! tree is proven anew. A frame meets one tree or the other on all its way.

use mesh::{Instant, PeerId, TREES_DIFFER, Tree, Vni};
use std::collections::BTreeMap;
use std::time::Duration;

/// For so long a router keeps its former place in another's tree.
pub(super) const HELD: Duration = TREES_DIFFER;
/// For so long the source does not try its tree after a change: until who heard of that as much later than the source has
/// moved.
pub(super) const SETTLED: Duration = Duration::from_secs(2 * TREES_DIFFER.as_secs());

type Key = (Vni, PeerId);

/// This router's places in others' trees, as the kernel has them.
#[derive(Debug, Default)]
pub(super) struct Places {
    now: BTreeMap<Key, Tree>,
    /// What they are to become, and when; `None`: none.
    next: BTreeMap<Key, (Instant, Option<Tree>)>,
}

impl Places {
    pub(super) fn get(&self, key: &Key) -> Option<&Tree> {
        self.now.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Tree)> {
        self.now.iter()
    }

    /// The control plane has another place, or none. True if it counts at once: the former was not `served`.
    pub(super) fn set(&mut self, now: Instant, key: Key, tree: Option<Tree>, served: bool) -> bool {
        let old = self.now.get(&key);
        if old.is_none() || !served {
            self.next.remove(&key);
            self.put(key, tree);
            return true;
        }
        if old == tree.as_ref() {
            self.next.remove(&key);
        } else {
            // A change that follows does not put it off: the source has left the tree, and has not come back.
            let due = self.next.get(&key).map_or(now + HELD, |(due, _)| *due);
            self.next.insert(key, (due, tree));
        }
        false
    }

    fn put(&mut self, key: Key, tree: Option<Tree>) {
        match tree {
            Some(tree) => drop(self.now.insert(key, tree)),
            None => drop(self.now.remove(&key)),
        }
    }

    /// When the next place changes.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next.values().map(|(due, _)| *due).min()
    }

    /// Time has come; returns the places that are others now.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Key> {
        let due = self.next.iter().filter(|(_, (due, _))| *due <= now);
        let due: Vec<_> = due.map(|(key, _)| *key).collect();
        for key in &due {
            if let Some((_, tree)) = self.next.remove(key) {
                self.put(*key, tree);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(parent: u8) -> Option<Tree> {
        Some(Tree {
            parent: Some(PeerId([parent; 32])),
            children: Vec::new(),
            root: None,
        })
    }

    #[test]
    fn the_first_place_counts_at_once_and_others_later() {
        let (key, start) = ((Vni(7), PeerId([9; 32])), Instant(0));
        let half = Duration::from_millis(HELD.as_millis() as u64 / 2);
        let mut places = Places::default();
        assert!(places.set(start, key, under(4), false));
        assert!(
            places.set(start, key, under(1), false),
            "the kernel could not have that one"
        );
        assert_eq!(
            (places.get(&key), places.next_timeout()),
            (under(1).as_ref(), None)
        );
        // It goes there and back: nothing has happened.
        assert!(!places.set(start, key, under(2), true) && !places.set(start, key, under(1), true));
        assert_eq!(places.next_timeout(), None);
        // Of two changes the first one's time counts, and the second one's place.
        places.set(start, key, under(2), true);
        places.set(start + half, key, under(3), true);
        assert!(places.tick(start + half).is_empty());
        assert_eq!(places.get(&key), under(1).as_ref());
        assert_eq!(places.tick(start + HELD), [key]);
        assert_eq!(
            (places.get(&key), places.next_timeout()),
            (under(3).as_ref(), None)
        );
        places.set(start + HELD, key, None, true);
        assert_eq!(places.get(&key), under(3).as_ref());
        assert_eq!(places.tick(start + HELD + HELD), [key]);
        assert_eq!(places.get(&key), None);
    }
}
