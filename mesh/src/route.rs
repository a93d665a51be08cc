//! Routes.
use crate::{LinkLabel, PeerId};

/// The way data takes to another router, chosen at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The hops, destination last; never empty. One hop: the direct data path.
    pub path: Vec<PeerId>,
    /// For each relay on the path the label of its outgoing link: one fewer than hops.
    pub labels: Vec<LinkLabel>,
    /// Sum of one-way delays plus 1 ms per relay, in microseconds.
    pub cost_us: u64,
    /// Largest IP packet, in bytes, that passes every hop of the path.
    pub mtu: u16,
}

/// A direct data path from this router, whether or not a link goes along with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectPath {
    /// One-way delay in microseconds.
    pub delay_us: u32,
    /// Largest IP packet, in bytes, proven to pass.
    pub mtu: u16,
}
