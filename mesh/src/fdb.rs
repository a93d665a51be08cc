//! Forwarding.
use crate::{Mac, PeerId, Vni};
use std::net::IpAddr;

/// A change of the forwarding table, for the data threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fdb {
    /// Network.
    pub vni: Vni,
    /// What changed.
    pub change: FdbChange,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FdbChange {
    /// `mac` is behind `peer` (new, moved, or its addresses changed).
    Set {
        /// Which.
        mac: Mac,
        /// Where.
        peer: PeerId,
        /// The IP addresses it answers for.
        addresses: Vec<IpAddr>,
    },
    /// `mac` is no longer anywhere.
    Remove {
        /// Which.
        mac: Mac,
    },
    /// The other routers that have ports in this network, in order: where broadcast goes.
    Members(Vec<PeerId>),
}
