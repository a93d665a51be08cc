//! The TAP devices, one for each network that has containers here, each with a queue for each lane.

use super::Bell;
use arc_swap::ArcSwap;
use fastpath::tap::{Offloads, Tap};
use mesh::Vni;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The queues of a TAP device, one for each lane.
pub(crate) type Queues = Vec<Tap>;
/// Those of each network.
pub(super) type Networks = BTreeMap<Vni, Arc<Queues>>;

/// Read for each frame, changed seldom; lanes are called then.
#[derive(Debug)]
pub(crate) struct Taps {
    networks: ArcSwap<Networks>,
    bell: Arc<Bell>,
}

impl Taps {
    /// None yet.
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self {
            networks: ArcSwap::default(),
            bell,
        }
    }

    /// True if there is one for a network.
    pub(crate) fn has(&self, vni: Vni) -> bool {
        self.networks.load().contains_key(&vni)
    }

    /// The networks that have one.
    pub(crate) fn networks(&self) -> Vec<Vni> {
        self.networks.load().keys().copied().collect()
    }

    /// All of them, as they are now.
    pub(super) fn all(&self) -> Arc<Networks> {
        self.networks.load_full()
    }

    /// Something with a lane's queue of a network's TAP; `None` if there is none.
    pub(super) fn with<R>(&self, vni: Vni, lane: usize, act: impl FnOnce(&Tap) -> R) -> Option<R> {
        let networks = self.networks.load();
        Some(act(networks.get(&vni)?.get(lane)?))
    }

    /// What the kernel grants all of them: it is the same for each.
    pub(super) fn offloads(&self) -> Option<Offloads> {
        let networks = self.networks.load();
        Some(networks.values().next()?.first()?.offloads())
    }

    /// A network has these from now on.
    pub(crate) fn put(&self, vni: Vni, queues: Queues) {
        let queues = Arc::new(queues);
        self.networks.rcu(|networks| {
            let mut networks = Networks::clone(networks);
            networks.insert(vni, Arc::clone(&queues));
            networks
        });
        self.bell.ring();
    }

    /// A network has none any more: the device goes when no lane holds it.
    pub(crate) fn take(&self, vni: Vni) {
        self.networks.rcu(|networks| {
            let mut networks = Networks::clone(networks);
            networks.remove(&vni);
            networks
        });
        self.bell.ring();
    }

    /// These are no more; others that took their place stay. True for the first to say so.
    pub(super) fn lost(&self, vni: Vni, queues: &Arc<Queues>) -> bool {
        let is_it = |networks: &Networks| networks.get(&vni).is_some_and(|there| Arc::ptr_eq(there, queues));
        let before = self.networks.rcu(|networks| {
            let mut networks = Networks::clone(networks);
            if is_it(&networks) {
                networks.remove(&vni);
            }
            networks
        });
        is_it(&before)
    }
}
