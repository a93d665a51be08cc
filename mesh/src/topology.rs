//! What every router says of its own links: the link-state database as routing sees it.

use crate::{LinkLabel, PeerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One end's view of one of its links, as its signed `LinkState` record carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjacency {
    /// The router at the other end.
    pub neighbor: PeerId,
    /// The origin's own label for this link; relayed packets name the link by it.
    pub label: LinkLabel,
    /// One-way delay in microseconds, quantised.
    pub delay_us: u32,
    /// Largest IP packet, in bytes, proven to cross the direct data path to the neighbour; 0 while there is
    /// none: such a link carries control messages only.
    pub mtu: u16,
}

/// The adjacencies of every known router, keyed by origin. A link counts only when each end lists it.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    origins: BTreeMap<PeerId, Vec<Adjacency>>,
}

impl Topology {
    /// Replaces what `origin` says of its links. Returns true if that changed anything.
    pub fn set(&mut self, origin: PeerId, adjacencies: Vec<Adjacency>) -> bool {
        self.origins.insert(origin, adjacencies.clone()).is_none_or(|old| old != adjacencies)
    }

    /// Forgets `origin`. Returns true if it was known.
    pub fn remove(&mut self, origin: &PeerId) -> bool {
        self.origins.remove(origin).is_some()
    }

    /// What `origin` says of its links; empty if unknown.
    #[must_use]
    pub fn adjacencies(&self, origin: &PeerId) -> &[Adjacency] {
        self.origins.get(origin).map_or(&[], Vec::as_slice)
    }

    /// What `from` says of its link to `to`, if `to` also lists `from`.
    #[must_use]
    pub fn link(&self, from: &PeerId, to: &PeerId) -> Option<&Adjacency> {
        let find = |a: &PeerId, b: &PeerId| self.adjacencies(a).iter().find(|adj| adj.neighbor == *b);
        find(to, from).and_then(|_| find(from, to))
    }

    /// All origins, in order of their ids.
    pub fn origins(&self) -> impl Iterator<Item = &PeerId> {
        self.origins.keys()
    }
}
