//! Routing: which way data and control messages take to every other router.
//!
//! The way of a change: a `LinkState` record changes the [`Topology`], or the driver reports a direct data path →
//! (coalesced by the caller) [`Routes::recompute`] → `spf` finds the cheapest path to every router → `hysteresis`
//! weighs it against the path in use → what changed goes to the data threads as [`Route`]s. The source picks the
//! whole path and writes it into relayed packets as the relays' own link labels, so relays look nothing up but
//! the label, and routers with different views cannot make a loop.
//!
//! A relayed header holds [`MAX_LABELS`] labels. A router that no such path reaches has no route in this version
//! of the header, though a cheaper path over more hops never hides one that fits. Paths in parts would start in
//! [`Routes::recompute`], where the search is limited: a longer path is cut at its relay number [`MAX_LABELS`].

mod hysteresis;
mod labels;
mod spf;
mod tree;

pub use labels::{LABEL_REST, Labels};
pub use tree::{BroadcastLinks, BroadcastTree};

use crate::{Instant, LinkLabel, PeerId, Topology};
use serde::Serialize;
use spf::Graph;
use std::collections::BTreeMap;

/// What each relay on a path adds to its cost, in microseconds.
pub const RELAY_COST_US: u64 = 1000;

/// Labels that fit into a relay header; a path has one hop more.
pub const MAX_LABELS: usize = 13;

/// The way data takes to another router, chosen at the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// A route in use, and since when its hops are what they are.
#[derive(Debug, Clone)]
struct Entry {
    route: Route,
    since: Instant,
}

/// This router's data routes to all others.
#[derive(Debug, Clone)]
pub struct Routes {
    own: PeerId,
    entries: BTreeMap<PeerId, Entry>,
}

impl Routes {
    /// No routes yet, for the router `own`.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        Self {
            own,
            entries: BTreeMap::new(),
        }
    }

    /// Brings all routes up to date and returns those that changed, in the order of their destinations; `None`:
    /// there is no route any more.
    ///
    /// The first hop is one of `direct`, which alone tells where this router can send by itself. Every further
    /// hop is a link that each end lists with an MTU above zero; its cost and label are those of the sending end.
    /// Among equally cheap paths the one with fewer hops, then with lower ids wins.
    pub fn recompute(
        &mut self,
        now: Instant,
        topology: &Topology,
        direct: &BTreeMap<PeerId, DirectPath>,
    ) -> Vec<(PeerId, Option<Route>)> {
        let graph = Graph::of_data(self.own, topology, direct);
        let mut changes: Vec<_> = Vec::new();
        let best = graph.routes(&self.own, MAX_LABELS + 1);
        self.entries.retain(|peer, _| {
            let kept = best.contains_key(peer);
            if !kept {
                changes.push((*peer, None));
            }
            kept
        });
        for (peer, best) in best {
            let current = self
                .entries
                .get(&peer)
                .and_then(|entry| graph.follow(&self.own, &entry.route));
            let route = hysteresis::choose(current, best, graph.route_over(&self.own, &[peer]));
            if self.replace(now, peer, &route) {
                changes.push((peer, Some(route)));
            }
        }
        changes.sort_by_key(|(peer, _)| *peer);
        changes
    }

    /// The route to `peer`.
    #[must_use]
    pub fn get(&self, peer: &PeerId) -> Option<&Route> {
        self.entries.get(peer).map(|entry| &entry.route)
    }

    /// Since when the hops to `peer` are what they are.
    #[must_use]
    pub fn since(&self, peer: &PeerId) -> Option<Instant> {
        self.entries.get(peer).map(|entry| entry.since)
    }

    /// All routes, in the order of their destinations.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Route)> {
        self.entries.iter().map(|(peer, entry)| (peer, &entry.route))
    }

    /// Stores a route; true if it differs from the one before.
    fn replace(&mut self, now: Instant, peer: PeerId, route: &Route) -> bool {
        let old = self.entries.get(&peer);
        if old.is_some_and(|old| old.route == *route) {
            return false;
        }
        let since = old
            .filter(|old| old.route.path == route.path)
            .map_or(now, |old| old.since);
        self.entries.insert(
            peer,
            Entry {
                route: route.clone(),
                since,
            },
        );
        true
    }
}

/// The cheapest control paths from `own` to every router it reaches over links, whatever their MTU; each the hops,
/// destination last. No limit but the control plane's own hop count applies to them.
#[must_use]
pub fn control_paths(own: PeerId, topology: &Topology) -> BTreeMap<PeerId, Vec<PeerId>> {
    Graph::of_control(topology).paths(&own)
}

#[cfg(test)]
mod tests;
