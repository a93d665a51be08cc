//! The TAP devices, one for each network that has containers here.

use arc_swap::ArcSwap;
use fastpath::tap::{Offloads, Tap};
use mesh::Vni;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Read for each frame, changed seldom.
#[derive(Debug, Default)]
pub(crate) struct Taps(ArcSwap<BTreeMap<Vni, Arc<Tap>>>);

impl Taps {
    /// True if there is one for a network.
    pub(crate) fn has(&self, vni: Vni) -> bool {
        self.0.load().contains_key(&vni)
    }

    /// The networks that have one.
    pub(crate) fn networks(&self) -> Vec<Vni> {
        self.0.load().keys().copied().collect()
    }

    /// Something with the TAP of a network; `None` if there is none.
    pub(super) fn with<R>(&self, vni: Vni, act: impl FnOnce(&Tap) -> R) -> Option<R> {
        self.0.load().get(&vni).map(|tap| act(tap))
    }

    /// What the kernel grants all of them: it is the same for each.
    pub(super) fn offloads(&self) -> Option<Offloads> {
        self.0.load().values().next().map(|tap| tap.offloads())
    }

    /// A network has this one from now on.
    pub(crate) fn put(&self, vni: Vni, tap: &Arc<Tap>) {
        self.0.rcu(|taps| {
            let mut taps = BTreeMap::clone(taps);
            taps.insert(vni, tap.clone());
            taps
        });
    }

    /// A network has none any more: the device goes when nobody holds it.
    pub(crate) fn take(&self, vni: Vni) {
        self.0.rcu(|taps| {
            let mut taps = BTreeMap::clone(taps);
            taps.remove(&vni);
            taps
        });
    }

    /// This one is no more; another that took its place stays.
    pub(super) fn lost(&self, vni: Vni, tap: &Arc<Tap>) {
        self.0.rcu(|taps| {
            let mut taps = BTreeMap::clone(taps);
            if taps.get(&vni).is_some_and(|there| Arc::ptr_eq(there, tap)) {
                taps.remove(&vni);
            }
            taps
        });
    }
}
