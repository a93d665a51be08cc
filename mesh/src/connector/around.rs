//! What the connector looks at. Every question but one is cheap however large the mesh is.

use crate::graph::{Graph, Known as _};
use crate::link::Links;
use crate::spread::Spread;
use crate::store::Store;
use crate::{Number, PeerId};
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::net::SocketAddr;

/// Parts of a core, to be looked at.
pub(crate) struct Around<'a> {
    pub(crate) links: &'a Links,
    /// All known routers.
    pub(crate) store: &'a Store,
    pub(crate) graph: &'a Graph,
    pub(crate) spread: &'a Spread,
    /// This router's own addresses.
    pub(crate) addresses: &'a [SocketAddr],
}

impl Around<'_> {
    /// The round trip time of the link with this neighbour in microseconds, once measured.
    pub(super) fn rtt_us(&self, peer: &PeerId) -> Option<u64> {
        self.links.with(peer)?.rtt.floor_us()
    }

    /// Whether the mesh reaches a router.
    pub(super) fn is_reachable(&self, peer: &PeerId) -> bool {
        let number = self.store.find(peer);
        number.is_some_and(|number| self.graph.spread.tree.reaches(number))
    }

    /// How many links a router tells of.
    pub(super) fn degree(&self, peer: &PeerId) -> usize {
        let number = self.store.find(peer);
        number.map_or(0, |number| self.store.links(number).len())
    }

    /// How many other routers are known.
    pub(super) fn known(&self) -> usize {
        self.store.count().saturating_sub(1)
    }

    /// How many other routers the mesh reaches: looks at all of them.
    pub(super) fn reachable(&self) -> usize {
        let tree = &self.graph.spread.tree;
        let reached = self.numbers().filter(|number| tree.reaches(*number));
        reached.count().saturating_sub(1)
    }

    /// Where a router says that it can be dialled, and can be from here.
    pub(super) fn dialable(&self, peer: &PeerId) -> impl Iterator<Item = &SocketAddr> + use<'_> {
        let told = self.store.info(peer).map_or(&[][..], |info| &info.addresses);
        let own = self.addresses;
        told.iter()
            .filter(move |address| is_dialable(address) && !own.contains(address))
    }

    /// Some of the routers that are known, at random: all of them, in some order, if that is not more than
    /// `about`, else somewhat fewer than `about`, as none comes twice.
    pub(super) fn sample(&self, about: usize, rng: &mut StdRng) -> Vec<PeerId> {
        let span = u32::try_from(self.store.numbers()).unwrap_or(u32::MAX);
        let mut places: Vec<u32> = if span as usize <= about {
            (0..span).collect()
        } else {
            (0..about).map(|_| rng.random_range(0..span)).collect()
        };
        for at in (1..places.len()).rev() {
            places.swap(at, rng.random_range(0..=at));
        }
        let mut found: Vec<PeerId> = Vec::new();
        for id in places
            .into_iter()
            .filter_map(|place| self.store.id(Number(place)))
        {
            if !found.contains(id) {
                found.push(*id);
            }
        }
        found
    }

    fn numbers(&self) -> impl Iterator<Item = Number> + use<> {
        let span = u32::try_from(self.store.numbers()).unwrap_or(u32::MAX);
        (0..span).map(Number)
    }
}

fn is_dialable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}
