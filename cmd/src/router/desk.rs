//! Where the fast path's decisions are written: into the tables of its programs, or, on a kernel that takes none, into
//! the plan for devices with fixed tables.

use fastpath::guard::GuardError;
use fastpath::plan::Plain;
use fastpath::vxlan::{Hop, Local, Place, Tables};
use mesh::{Mac, PeerLabel, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// One of the two.
pub(super) enum Desk {
    Programs(Box<Tables>),
    Plain(Notes),
}

/// What the fixed tables are to hold. They know of direct neighbours at IPv4 addresses, and of no groups.
#[derive(Default)]
pub(super) struct Notes {
    hops: BTreeMap<PeerLabel, Hop>,
    senders: BTreeMap<Ipv4Addr, PeerLabel>,
    macs: BTreeMap<(Vni, Mac), PeerLabel>,
    /// Something changed since the plan was last made.
    is_new: bool,
}

impl Desk {
    /// What an earlier run left.
    pub(super) fn hops(&self) -> BTreeMap<PeerLabel, Hop> {
        match self {
            Self::Programs(tables) => tables.hops(),
            Self::Plain(notes) => notes.hops.clone(),
        }
    }

    pub(super) fn senders(&self) -> BTreeMap<IpAddr, PeerLabel> {
        match self {
            Self::Programs(tables) => tables.senders(),
            Self::Plain(notes) => {
                let senders = notes.senders.iter();
                senders.map(|(host, label)| (IpAddr::V4(*host), *label)).collect()
            }
        }
    }

    pub(super) fn groups(&self) -> BTreeMap<Vni, Vec<PeerLabel>> {
        match self {
            Self::Programs(tables) => tables.groups(),
            Self::Plain(_) => BTreeMap::new(),
        }
    }

    pub(super) fn trees(&self) -> BTreeSet<(Vni, PeerLabel)> {
        match self {
            Self::Programs(tables) => tables.trees(),
            Self::Plain(_) => BTreeSet::new(),
        }
    }

    pub(super) fn macs(&self) -> Vec<(Vni, Mac)> {
        match self {
            Self::Programs(tables) => tables.macs(),
            Self::Plain(notes) => notes.macs.keys().copied().collect(),
        }
    }

    pub(super) fn tree_used(&self, vni: Vni) -> Option<Duration> {
        match self {
            Self::Programs(tables) => tables.tree_used(vni),
            Self::Plain(_) => None,
        }
    }

    pub(super) fn set_local(&mut self, local: &Local) -> Result<(), GuardError> {
        match self {
            Self::Programs(tables) => tables.set_local(local),
            Self::Plain(_) => Ok(()),
        }
    }

    pub(super) fn set_hop(
        &mut self,
        label: PeerLabel,
        hop: Option<Hop>,
        within: Duration,
    ) -> Result<(), GuardError> {
        match self {
            Self::Programs(tables) => return tables.set_hop(label, hop, within),
            Self::Plain(notes) => {
                let carries = |hop: Option<Hop>| hop.filter(|hop| hop.carries).map(|hop| hop.address);
                let before = match hop {
                    Some(hop) => notes.hops.insert(label, hop),
                    None => notes.hops.remove(&label),
                };
                notes.is_new |= carries(before) != carries(hop);
            }
        }
        Ok(())
    }

    pub(super) fn set_sender(&mut self, address: IpAddr, label: Option<PeerLabel>) -> Result<(), GuardError> {
        match (self, address) {
            (Self::Programs(tables), _) => return tables.set_sender(address, label),
            (Self::Plain(notes), IpAddr::V4(host)) => {
                match label {
                    Some(label) => drop(notes.senders.insert(host, label)),
                    None => drop(notes.senders.remove(&host)),
                }
                notes.is_new = true;
            }
            (Self::Plain(_), IpAddr::V6(_)) => {}
        }
        Ok(())
    }

    pub(super) fn set_mac(&mut self, vni: Vni, mac: Mac, label: PeerLabel) -> Result<(), GuardError> {
        match self {
            Self::Programs(tables) => return tables.set_mac(vni, mac, label),
            Self::Plain(notes) => notes.is_new |= notes.macs.insert((vni, mac), label) != Some(label),
        }
        Ok(())
    }

    pub(super) fn remove_mac(&mut self, vni: Vni, mac: Mac) -> Result<(), GuardError> {
        match self {
            Self::Programs(tables) => return tables.remove_mac(vni, mac),
            Self::Plain(notes) => notes.is_new |= notes.macs.remove(&(vni, mac)).is_some(),
        }
        Ok(())
    }

    /// Frames for groups of a kernel without programs take sleeve.
    pub(super) fn set_group(&mut self, vni: Vni, labels: &[PeerLabel]) -> Result<(), GuardError> {
        match self {
            Self::Programs(tables) => tables.set_group(vni, labels),
            Self::Plain(_) => Ok(()),
        }
    }

    pub(super) fn set_tree(
        &mut self,
        vni: Vni,
        source: PeerLabel,
        place: Option<&Place>,
    ) -> Result<(), GuardError> {
        match self {
            Self::Programs(tables) => tables.set_tree(vni, source, place),
            Self::Plain(_) => Ok(()),
        }
    }

    /// True once after something changed that the plan has to say.
    pub(super) fn take_news(&mut self) -> bool {
        match self {
            Self::Programs(_) => false,
            Self::Plain(notes) => std::mem::take(&mut notes.is_new),
        }
    }

    pub(super) fn has_news(&self) -> bool {
        matches!(self, Self::Plain(notes) if notes.is_new)
    }

    /// Without programs: the plan's part, for this bridge.
    pub(super) fn plain(&self, empty: impl FnOnce() -> Plain) -> Option<Plain> {
        let Self::Plain(notes) = self else { return None };
        let mut plain = empty();
        plain.senders = notes.senders.keys().copied().collect();
        for ((vni, mac), label) in &notes.macs {
            let hop = notes
                .hops
                .get(label)
                .filter(|hop| hop.carries && *vni == plain.vni);
            if let Some(IpAddr::V4(host)) = hop.map(|hop| hop.address) {
                plain.macs.insert(*mac, host);
            }
        }
        Some(plain)
    }

    /// Without programs: where probes for the router with this label go.
    pub(super) fn host_of(&self, label: PeerLabel) -> Option<Ipv4Addr> {
        let Self::Plain(notes) = self else { return None };
        match notes.hops.get(&label).map(|hop| hop.address) {
            Some(IpAddr::V4(host)) => Some(host),
            _ => notes
                .senders
                .iter()
                .find(|(_, of)| **of == label)
                .map(|(host, _)| *host),
        }
    }
}
