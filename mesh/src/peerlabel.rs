//! Peer labels: sixteen bits that stand for a router in the VXLAN header of the kernel's fast path.
//!
//! A router with the fast path chooses a label that nobody holds as far as it knows, keeps it over restarts, and
//! publishes it in its [`PeerInfo`](crate::PeerInfo). Two that chose at the same time may meet with one label; then everybody, from
//! the two records alone, gives it to the same one: the one whose record has the older boot epoch, among equals the
//! one with the lower hash of label and identity (so no identity wins all its ties). The other moves; until it has, it
//! has no label for anybody, and frames for it take sleeve.

use crate::store::MAX_ORIGINS;
use crate::{Instant, Mesh, Output, PeerId, Size};
use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Labels in use beyond which newcomers take none: with fewer free ones, choosing would be a search.
const MOST_USED: usize = 32_768;

/// Stands for a router in the sixteen bits of a VXLAN group policy id. Not a [`LinkLabel`](crate::LinkLabel): one of
/// these means the same router everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerLabel(pub u16);

impl PeerLabel {
    /// No label: a router without the fast path.
    pub const NONE: Self = Self(0);

    /// True if it stands for a router.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

impl fmt::Display for PeerLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A claim to a label: the least of all claims to one label holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    epoch: u64,
    tie: [u8; 16],
    peer: PeerId,
}

impl Claim {
    fn new(peer: PeerId, label: PeerLabel, epoch: u64) -> Self {
        let digest = Sha256::new()
            .chain_update(label.0.to_be_bytes())
            .chain_update(peer.0)
            .finalize();
        let mut tie = [0; 16];
        tie.copy_from_slice(&digest[..16]);
        Self { epoch, tie, peer }
    }
}

/// Who claims which label, and who holds it.
#[derive(Debug, Default)]
pub(crate) struct PeerLabels {
    claims: BTreeMap<PeerLabel, BTreeSet<Claim>>,
    of: BTreeMap<PeerId, (PeerLabel, u64)>,
}

/// A router's label as it counts from now on.
pub(crate) type Change = (PeerId, PeerLabel);

impl PeerLabels {
    /// A router's record claims this label, or none any more. What changes follows: at most two routers are in it,
    /// those that lose a label before those that get it.
    pub(crate) fn claim(&mut self, peer: PeerId, label: PeerLabel, epoch: u64) -> Vec<Change> {
        let old = self.of.get(&peer).copied();
        if old == Some((label, epoch)) || old.is_none() && !label.is_some() {
            return Vec::new();
        }
        let touched: BTreeSet<PeerLabel> = old
            .map(|(label, _)| label)
            .into_iter()
            .chain([label])
            .filter(|label| label.is_some())
            .collect();
        let before: Vec<_> = touched
            .iter()
            .map(|label| (*label, self.holder(*label)))
            .collect();
        if let Some((old, epoch)) = self.of.remove(&peer)
            && let Some(claims) = self.claims.get_mut(&old)
        {
            claims.remove(&Claim::new(peer, old, epoch));
            if claims.is_empty() {
                self.claims.remove(&old);
            }
        }
        if label.is_some() {
            self.of.insert(peer, (label, epoch));
            self.claims
                .entry(label)
                .or_default()
                .insert(Claim::new(peer, label, epoch));
        }
        let (mut lost, mut won) = (Vec::new(), Vec::new());
        for (label, before) in before {
            let after = self.holder(label);
            if before != after {
                lost.extend(before.map(|peer| (peer, PeerLabel::NONE)));
                won.extend(after.map(|peer| (peer, label)));
            }
        }
        // Who moves from one label to another has lost nothing.
        lost.retain(|(peer, _)| !won.iter().any(|(other, _)| other == peer));
        lost.append(&mut won);
        lost
    }

    /// A router is forgotten.
    pub(crate) fn forget(&mut self, peer: PeerId) -> Vec<Change> {
        self.claim(peer, PeerLabel::NONE, 0)
    }

    /// Who holds this label.
    pub(crate) fn holder(&self, label: PeerLabel) -> Option<PeerId> {
        self.claims.get(&label)?.first().map(|claim| claim.peer)
    }

    /// How many routers claim one.
    pub(crate) fn size(&self) -> Size {
        Size::new("claims of peer labels", self.of.len(), MAX_ORIGINS)
    }

    /// A label that nobody claims; none when too many are in use.
    fn choose(&self, rng: &mut impl Rng) -> PeerLabel {
        if self.claims.len() >= MOST_USED {
            return PeerLabel::NONE;
        }
        // At least every second label is free: so many tries fail less often than memory does.
        (0..128)
            .map(|_| PeerLabel(rng.random_range(1..=u16::MAX)))
            .find(|label| !self.claims.contains_key(label))
            .unwrap_or(PeerLabel::NONE)
    }
}

impl Mesh {
    /// Claims this router's label, the one of its last run if it had one; and another if that is somebody else's. True
    /// if it is another than before.
    pub(crate) fn settle_label(&mut self) -> bool {
        if !self.own.has_fast_path() {
            return false;
        }
        let (id, epoch, before) = (self.own.id, self.own.epoch(), self.own.label());
        let mut changes = self.peer_labels.claim(id, before, epoch);
        let holds = before.is_some() && self.peer_labels.holder(before) == Some(id);
        if !holds {
            let label = self.peer_labels.choose(&mut self.rng);
            self.own.set_label(label);
            changes.extend(self.peer_labels.claim(id, label, epoch));
        }
        self.labels_changed(changes);
        self.own.label() != before
    }

    /// A router's record names this label.
    pub(crate) fn label_told(&mut self, now: Instant, peer: PeerId, label: PeerLabel, epoch: u64) {
        let changes = self.peer_labels.claim(peer, label, epoch);
        if changes.is_empty() {
            return;
        }
        self.labels_changed(changes);
        if self.settle_label() {
            self.own.renew_info(now);
        }
    }

    /// A router is no longer known.
    pub(crate) fn label_forgotten(&mut self, peer: PeerId) {
        let changes = self.peer_labels.forget(peer);
        self.labels_changed(changes);
    }

    fn labels_changed(&mut self, changes: Vec<Change>) {
        for (peer, label) in changes {
            self.out.push(Output::PeerLabel { peer, label });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::id;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn claims() -> impl Strategy<Value = Vec<(u8, u16, u64)>> {
        prop::collection::vec((0..8_u8, 0..4_u16, 1..4_u64), 0..40)
    }

    proptest! {
        /// Whoever hears the same claims, in whatever order, gives each label to the same router; and what changes
        /// is told exactly.
        #[test]
        fn all_agree_on_who_holds_a_label(told in claims(), seed: u64) {
            let mut last = BTreeMap::new();
            for (n, label, epoch) in &told {
                last.insert(id(*n), (PeerLabel(*label), *epoch));
            }
            let (mut one, mut other) = (PeerLabels::default(), PeerLabels::default());
            let mut seen: BTreeMap<PeerId, PeerLabel> = BTreeMap::new();
            for (n, label, epoch) in told {
                for (peer, label) in one.claim(id(n), PeerLabel(label), epoch) {
                    prop_assert_ne!(seen.insert(peer, label).unwrap_or_default(), label);
                }
                let held = seen.values().filter(|label| label.is_some());
                prop_assert_eq!(held.clone().count(), held.collect::<BTreeSet<_>>().len());
            }
            let mut order: Vec<_> = last.into_iter().collect();
            rand::seq::SliceRandom::shuffle(&mut order[..], &mut StdRng::seed_from_u64(seed));
            for (peer, (label, epoch)) in order {
                other.claim(peer, label, epoch);
            }
            for label in 1..4 {
                let label = PeerLabel(label);
                prop_assert_eq!(one.holder(label), other.holder(label));
                let by_events = seen.iter().find(|(_, held)| **held == label).map(|(peer, _)| *peer);
                prop_assert_eq!(by_events, one.holder(label));
            }
        }
    }

    #[test]
    fn the_older_epoch_keeps_a_label_and_ties_fall_either_way() {
        let mut labels = PeerLabels::default();
        labels.claim(id(1), PeerLabel(7), 5);
        assert_eq!(labels.claim(id(2), PeerLabel(7), 6), []);
        assert_eq!(
            labels.claim(id(3), PeerLabel(7), 4),
            [(id(1), PeerLabel::NONE), (id(3), PeerLabel(7))]
        );
        assert_eq!(
            labels.forget(id(3)),
            [(id(3), PeerLabel::NONE), (id(1), PeerLabel(7))]
        );
        let wins = |label| Claim::new(id(1), PeerLabel(label), 1) < Claim::new(id(2), PeerLabel(label), 1);
        let count = (1..=1000).filter(|label| wins(*label)).count();
        assert!((300..700).contains(&count), "{count}");
    }

    #[test]
    fn a_label_that_is_chosen_is_free_and_beyond_half_of_them_there_is_none() {
        let mut labels = PeerLabels::default();
        let mut rng = StdRng::seed_from_u64(1);
        for n in 0..MOST_USED as u32 {
            let label = labels.choose(&mut rng);
            assert!(label.is_some() && labels.holder(label).is_none());
            let mut peer = [0; 32];
            peer[..4].copy_from_slice(&n.to_be_bytes());
            labels.claim(PeerId(peer), label, 1);
        }
        assert_eq!(labels.choose(&mut rng), PeerLabel::NONE);
        assert_eq!(labels.size().is, MOST_USED);
    }
}
