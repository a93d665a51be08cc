//! Forwarding: behind which router each container's MAC address lies.
//!
//! MAC addresses are learnt only by the router whose port they are on and then published, in the style of EVPN
//! (RFC 7432), in signed records. The way of an entry: a port is attached → [`Registry::attach`] puts it into a
//! chunk → the record store publishes the chunk's [`MacsBody`] → other routers [`Registry::learn`] it → their
//! data threads get it as [`Fdb`] deltas.

mod local;
mod registry;
#[cfg(test)]
mod tests;

pub use registry::{LocalChange, Registry};

use crate::{Mac, PeerId, Vni};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Entries that one record carries at most; a router with more ports in a network publishes several.
pub const MAX_CHUNK_ENTRIES: usize = 256;

/// Records that one router publishes per network at most.
pub const MAX_CHUNKS: u16 = 64;

/// IP addresses per entry that are published and believed; more are left out.
pub const MAX_ENTRY_ADDRESSES: usize = 16;

/// A change of the forwarding table, for the data threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fdb {
    /// Network.
    pub vni: Vni,
    /// What changed.
    pub change: FdbChange,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// The other routers that have ports in this network, in order: where broadcast goes. Empty: nobody.
    Members(Vec<PeerId>),
}

/// What the record of one chunk says: some of a router's ports in one network, and the IP addresses of each.
///
/// An empty one replaces a chunk whose ports are all gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacsBody {
    /// The network; must agree with the record's subkey.
    pub vni: Vni,
    /// The ports, sorted by MAC address.
    pub entries: Vec<(Mac, Vec<IpAddr>)>,
}

/// True for addresses a port can have.
fn is_unicast(mac: &Mac) -> bool {
    !mac.is_group() && *mac != Mac([0; 6])
}
