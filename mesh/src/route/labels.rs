//! This router's own numbers for its links, by which relayed packets name them.
//!
//! Other routers use a label for as long as their view of this router is old, so a released one rests for ten
//! minutes before it names another neighbour: a packet with an old label is dropped, never led astray.

use crate::{Instant, LinkLabel, PeerId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a released label names no other neighbour.
pub const LABEL_REST: Duration = Duration::from_secs(600);

/// What a label stands for.
#[derive(Debug, Clone, Copy)]
struct Slot {
    neighbor: PeerId,
    /// Set while the label rests.
    released: Option<Instant>,
}

/// The labels of one router.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    slots: BTreeMap<LinkLabel, Slot>,
    /// Labels in use and at rest.
    by_neighbor: BTreeMap<PeerId, LinkLabel>,
    /// Releases in the order of time. An entry counts only if the slot still says the same.
    resting: VecDeque<(Instant, LinkLabel)>,
}

impl Labels {
    /// No labels yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The label of `neighbor`, the same for as long as it is in use, and mostly again if it comes back soon.
    ///
    /// A new one is the lowest that is free, so that tables indexed by label stay short. If all 65,535 are in use
    /// or at rest, label zero is returned, which names nothing: routes never lead over such a link.
    pub fn assign(&mut self, now: Instant, neighbor: PeerId) -> LinkLabel {
        self.expire(now);
        if let Some(&label) = self.by_neighbor.get(&neighbor) {
            self.slots.insert(
                label,
                Slot {
                    neighbor,
                    released: None,
                },
            );
            return label;
        }
        let taken = self.slots.keys().map(|label| label.0);
        let Some(label) = (1..=u16::MAX)
            .zip(taken.map(Some).chain(std::iter::repeat(None)))
            .find_map(|(label, taken)| (taken != Some(label)).then_some(LinkLabel(label)))
        else {
            return LinkLabel(0);
        };
        self.slots.insert(
            label,
            Slot {
                neighbor,
                released: None,
            },
        );
        self.by_neighbor.insert(neighbor, label);
        label
    }

    /// The link with `neighbor` is gone; its label rests. Returns the label if there was one in use.
    pub fn release(&mut self, now: Instant, neighbor: &PeerId) -> Option<LinkLabel> {
        let label = *self.by_neighbor.get(neighbor)?;
        let slot = self
            .slots
            .get_mut(&label)
            .filter(|slot| slot.released.is_none())?;
        slot.released = Some(now);
        self.resting.push_back((now, label));
        Some(label)
    }

    /// The neighbour a label names; `None` if it is not in use.
    #[must_use]
    pub fn neighbor(&self, label: LinkLabel) -> Option<PeerId> {
        self.slots
            .get(&label)
            .filter(|slot| slot.released.is_none())
            .map(|slot| slot.neighbor)
    }

    /// Frees the labels that have rested.
    fn expire(&mut self, now: Instant) {
        while let Some(&(released, label)) = self.resting.front() {
            if now.since(released) < LABEL_REST {
                return;
            }
            self.resting.pop_front();
            if let Some(slot) = self
                .slots
                .get(&label)
                .filter(|slot| slot.released == Some(released))
            {
                self.by_neighbor.remove(&slot.neighbor);
                self.slots.remove(&label);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn peer(n: u16) -> PeerId {
        let mut id = [0; 32];
        [id[0], id[1]] = n.to_be_bytes();
        PeerId(id)
    }

    #[test]
    fn a_neighbour_keeps_its_label_and_gets_it_back() {
        let mut labels = Labels::new();
        let start = Instant(0);
        assert_eq!(labels.assign(start, peer(7)), LinkLabel(1));
        assert_eq!(labels.assign(start, peer(8)), LinkLabel(2));
        assert_eq!(labels.assign(start, peer(7)), LinkLabel(1));
        assert_eq!(labels.release(start, &peer(7)), Some(LinkLabel(1)));
        assert_eq!(labels.release(start, &peer(7)), None);
        assert_eq!(labels.neighbor(LinkLabel(1)), None);
        assert_eq!(labels.assign(start, peer(9)), LinkLabel(3));
        assert_eq!(labels.assign(start, peer(7)), LinkLabel(1));
        assert_eq!(labels.neighbor(LinkLabel(1)), Some(peer(7)));
        // The first release no longer counts when its ten minutes are over.
        labels.release(start + Duration::from_secs(300), &peer(7));
        assert_eq!(
            labels.assign(start + Duration::from_secs(700), peer(10)),
            LinkLabel(4)
        );
        assert_eq!(
            labels.assign(start + Duration::from_secs(900), peer(11)),
            LinkLabel(1)
        );
    }

    #[test]
    fn running_out_of_labels_yields_the_one_that_names_nothing() {
        let mut labels = Labels::new();
        for n in 1..=u16::MAX {
            // Direct insertion: 65,535 assignments would each look for the lowest free one.
            labels.slots.insert(
                LinkLabel(n),
                Slot {
                    neighbor: peer(n),
                    released: None,
                },
            );
            labels.by_neighbor.insert(peer(n), LinkLabel(n));
        }
        assert_eq!(labels.assign(Instant(0), peer(0)), LinkLabel(0));
        assert_eq!(labels.neighbor(LinkLabel(0)), None);
        labels.release(Instant(0), &peer(500));
        assert_eq!(labels.assign(Instant(0) + LABEL_REST, peer(0)), LinkLabel(500));
    }

    proptest! {
        /// Against a model that remembers for each label whose it was last, and until when.
        #[test]
        fn labels_are_never_reused_early(steps in prop::collection::vec((0u16..6, any::<bool>(), 0u64..400), 1..200)) {
            let mut labels = Labels::new();
            let mut now = Instant(0);
            let mut last: BTreeMap<LinkLabel, (PeerId, Option<Instant>)> = BTreeMap::new();
            for (n, assign, seconds) in steps {
                now = now + Duration::from_secs(seconds);
                let owner = peer(n);
                if assign {
                    let label = labels.assign(now, owner);
                    prop_assert!(label.0 != 0);
                    if let Some((before, released)) = last.get(&label) {
                        let rested = released.is_some_and(|at| now.since(at) >= LABEL_REST);
                        prop_assert!(*before == owner || rested);
                    }
                    let in_use = last.iter().find(|(_, (peer, released))| *peer == owner && released.is_none());
                    prop_assert!(in_use.is_none_or(|(old, _)| *old == label));
                    last.insert(label, (owner, None));
                } else if let Some(label) = labels.release(now, &owner) {
                    prop_assert_eq!(last.insert(label, (owner, Some(now))), Some((owner, None)));
                }
                for (label, (peer, released)) in &last {
                    prop_assert_eq!(labels.neighbor(*label), released.is_none().then_some(*peer));
                }
            }
        }
    }
}
