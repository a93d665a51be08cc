//! Routing: which way data takes to every other router.
//!
//! The way of a change: a `LinkState` record changes the links of the [`graph`](crate::graph), or the driver reports
//! a direct data path → (coalesced by the caller) the tree of shortest paths is brought up to date → [`walk`] finds
//! the routers whose path is another now → `hysteresis` weighs the new path against the one in use → what changed
//! goes to the data threads as [`Route`]s. The source picks the whole path and writes it into relayed packets as
//! the relays' own link labels, so relays look nothing up but the label, and routers with different views cannot
//! make a loop.
//!
//! Routes are not stored: they are read off the tree. Only what deviates from it is: direct paths that are
//! preferred to cheaper relayed ones, and a bounded number of relayed paths that are kept for a while though
//! another is a little cheaper.
//!
//! For repair at relays, [`detour`] keeps ways round each neighbour.
//!
//! A relayed header holds [`MAX_LABELS`] labels. A longer path goes in parts: its [`Route`] tells all hops, but only
//! the labels of the first part; the router at the end of that writes the next one, out of its own routes.

mod detour;
mod hysteresis;
mod labels;
mod line;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub(crate) use detour::Detours;
pub use labels::{LABEL_REST, Labels};
pub(crate) use tree::BroadcastTree;

use crate::graph::spt::Bits;
use crate::graph::{Graph, Known, told_of};
use crate::{Instant, LinkLabel, Number, PeerId};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What each relay on a path adds to its cost, in microseconds.
pub const RELAY_COST_US: u64 = 1000;

/// Labels that fit into a relay header: those of a path with one hop more, or of the first part of a longer one.
pub const MAX_LABELS: usize = 13;

/// How long a relayed path is kept though another one is a little better.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Relayed paths that are kept at a time.
const MAX_KEPT: usize = 256;

/// The way data takes to another router, chosen at the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The hops, destination last; never empty. One hop: the direct data path.
    pub path: Vec<PeerId>,
    /// For each relay on the path the label of its outgoing link: one fewer than hops, but at most [`MAX_LABELS`].
    /// Where these end before the path does, the relay they lead to finds the way on.
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

/// A path that is used though the tree has a cheaper one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// The direct one.
    Direct,
    /// A relayed one, until then.
    Relayed {
        path: Box<[Number]>,
        /// The [`bits`] of its hops.
        bits: u64,
        until: Instant,
    },
}

/// Where this router's data routes to others deviate from the tree of shortest paths.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    kept: BTreeMap<Number, Kept>,
    /// How many of these are relayed.
    relayed: usize,
    /// When relayed ones end, in that order. An entry counts only if the path still says the same.
    ends: VecDeque<(Instant, Number)>,
    /// Whom relayed ones pass; some may not do so any more.
    passed: Bits,
    /// For walks: who was visited.
    visited: Bits,
}

impl Routes {
    /// The route to a router as the trees were last brought up to date; `None` if there is none, or if what it
    /// was made of has gone since.
    pub(crate) fn get(&self, known: &impl Known, graph: &Graph, to: Number) -> Option<Route> {
        route_over(known, graph, &self.path(graph, to)?)
    }

    /// All routes, in the order of their destinations.
    pub(crate) fn all(&self, known: &impl Known, graph: &Graph) -> Vec<(PeerId, Route)> {
        let numbers = (0..known.numbers()).filter_map(|number| u32::try_from(number).ok().map(Number));
        let routes = numbers.filter_map(|number| {
            let route = self.get(known, graph, number)?;
            Some((*route.path.last()?, route))
        });
        let mut routes: Vec<_> = routes.collect();
        routes.sort_unstable_by_key(|(peer, _)| *peer);
        routes
    }

    /// The hops to a router, destination last.
    pub(crate) fn path(&self, graph: &Graph, to: Number) -> Option<Vec<Number>> {
        match self.kept.get(&to) {
            Some(Kept::Direct) => Some(vec![to]),
            Some(Kept::Relayed { path, .. }) => Some(path.to_vec()),
            None => tree_path(graph, to),
        }
    }

    /// When a kept path ends.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// A router is no longer known.
    pub(crate) fn forget(&mut self, gone: Number) {
        self.release(gone);
    }

    fn release(&mut self, of: Number) {
        if let Some(Kept::Relayed { .. }) = self.kept.remove(&of) {
            self.relayed -= 1;
        }
        if self.relayed == 0 {
            self.ends.clear();
            self.passed = Bits::default();
        }
    }

    fn keep(&mut self, of: Number, kept: Kept) {
        self.release(of);
        if let Kept::Relayed { path, until, .. } = &kept {
            self.relayed += 1;
            self.ends.push_back((*until, of));
            for hop in path {
                self.passed.grow(hop.index() + 1);
                self.passed.set(*hop);
            }
        }
        self.kept.insert(of, kept);
        if self.ends.len() > 4 * MAX_KEPT {
            let until = |of: &Number| match self.kept.get(of) {
                Some(Kept::Relayed { until, .. }) => Some(*until),
                _ => None,
            };
            self.ends.retain(|(end, of)| until(of) == Some(*end));
        }
    }
}

/// One bit of 64 for each of these hops: two lists that have one in common share a bit.
fn bits(hops: impl Iterator<Item = (Number, Number)>) -> u64 {
    let bit = |(from, to): (Number, Number)| 1 << ((from.0 ^ to.0.rotate_left(3)) % 64);
    hops.map(bit).fold(0, |all, bit: u64| all | bit)
}

/// The hops of a path from this router on.
fn hops(own: Number, path: &[Number]) -> impl Iterator<Item = (Number, Number)> {
    [own]
        .into_iter()
        .chain(path.iter().copied())
        .zip(path.iter().copied())
}

/// The hops of the cheapest path, destination last.
fn tree_path(graph: &Graph, to: Number) -> Option<Vec<Number>> {
    let mut path: Vec<_> = graph.data.climb(to).collect();
    path.reverse();
    (!path.is_empty()).then_some(path)
}

/// The largest packet that passes this router's own path to another.
fn first_mtu(known: &impl Known, graph: &Graph, to: Number) -> Option<u16> {
    let own = graph.own()?;
    let path = graph.direct.get(&to)?;
    // The other end's view of the way back bounds what can be answered in one packet.
    let back = graph
        .links
        .slab
        .get(to, own)
        .and_then(|_| told_of(known, to, own));
    let back = back.map(|back| back.mtu).filter(|mtu| *mtu > 0);
    Some(path.mtu.min(back.unwrap_or(u16::MAX)))
}

/// The route over exactly these hops; `None` if one of them is not there.
pub(crate) fn route_over(known: &impl Known, graph: &Graph, path: &[Number]) -> Option<Route> {
    let first = *path.first()?;
    let mut route = Route {
        path: Vec::with_capacity(path.len()),
        labels: Vec::with_capacity((path.len() - 1).min(MAX_LABELS)),
        cost_us: graph.direct.get(&first)?.delay_us.into(),
        mtu: first_mtu(known, graph, first)?,
    };
    route.path.push(*known.id(first)?);
    for hop in path.windows(2) {
        let (there, back) = (told_of(known, hop[0], hop[1])?, told_of(known, hop[1], hop[0])?);
        if route.labels.len() < MAX_LABELS {
            route.labels.push(there.label);
        }
        route.mtu = route.mtu.min(there.mtu).min(back.mtu);
        route.cost_us += u64::from(there.delay_us()) + RELAY_COST_US;
        route.path.push(*known.id(hop[1])?);
    }
    (route.mtu > 0 && route.labels.iter().all(|label| label.0 != 0)).then_some(route)
}
