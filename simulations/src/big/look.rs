//! What one sees of a big world from outside: who runs, who agrees, how long paths are.

use super::BigWorld;
use super::host::Host;
use crate::{HostId, Traffic};
use mesh::{PeerId, RELAY_COST_US};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// How much dearer routes are than the best way over the links there are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stretch {
    /// Routes looked at.
    pub routes: usize,
    /// Pairs that the links join and no route does.
    pub missing: usize,
    /// Mean of cost over optimum.
    pub mean: f64,
    /// The greatest.
    pub max: f64,
}

impl BigWorld {
    fn hosts(&self) -> impl Iterator<Item = &Host> {
        (0..self.len()).map(|host| self.at(HostId(host)))
    }

    /// The hosts with a running router.
    #[must_use]
    pub fn running(&self) -> Vec<HostId> {
        let running = self.hosts().filter(|host| host.mesh.is_some());
        running.map(|host| HostId(host.number as usize)).collect()
    }

    /// All that was sent and received.
    #[must_use]
    pub fn all_traffic(&self) -> Traffic {
        self.hosts()
            .fold(Traffic::default(), |sum, host| sum + host.traffic)
    }

    /// Events that happened so far.
    #[must_use]
    pub fn happened(&self) -> u64 {
        self.shards.iter().map(|shard| shard.happened).sum()
    }

    /// Routes that were published so far.
    #[must_use]
    pub fn routes_published(&self) -> u64 {
        self.hosts().map(|host| host.routes).sum()
    }

    /// A digest of all that happened, and of what every router knows.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.hosts().fold(0, |hash: u64, host| {
            let knows = host.mesh.as_ref().map_or(0, |mesh| mesh.digest());
            (hash ^ host.trace ^ knows)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(23)
        })
    }

    /// How many running routers know all that all the running ones say.
    #[must_use]
    pub fn informed(&self) -> usize {
        let known = self
            .hosts()
            .filter_map(|host| Some(host.mesh.as_ref()?.knowledge()));
        let known: Vec<_> = known.collect();
        let whole = known.iter().fold(0_u64, |sum, known| sum.wrapping_add(known.own));
        known.iter().filter(|known| known.all == whole).count()
    }

    /// Whether all running routers know all that they say, and nothing else.
    #[must_use]
    pub fn all_agree(&self) -> bool {
        self.informed() == self.running().len()
    }

    /// Lets time pass in steps until it is so, for at most so long; returns the time that it took.
    pub fn until(
        &mut self,
        step: Duration,
        most: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now();
        loop {
            if is_so(self) {
                return Some(self.now() - start);
            }
            if self.now() - start >= most {
                return None;
            }
            self.run(step);
        }
    }

    /// When each host that heard of the watched address did so, earliest first.
    #[must_use]
    pub fn seen(&self) -> Vec<Duration> {
        let seen = self.hosts().filter_map(|host| host.seen);
        let mut seen: Vec<_> = seen.map(Duration::from_micros).collect();
        seen.sort_unstable();
        seen
    }

    /// When the last link of a host came up.
    #[must_use]
    pub fn linked_at(&self, host: HostId) -> Option<Duration> {
        self.at(host).linked.map(Duration::from_micros)
    }

    /// The hosts at the other ends of its links, in order.
    #[must_use]
    pub fn linked_with(&self, host: HostId) -> Vec<HostId> {
        let mut with: Vec<_> = self
            .at(host)
            .linked_with()
            .map(|host| HostId(host as usize))
            .collect();
        with.sort_unstable();
        with.dedup();
        with
    }

    /// Whether each of the running routers knows a way for control messages and one for data to every other, and data
    /// passes each hop of that.
    #[must_use]
    pub fn all_routable(&self) -> bool {
        let running = self.running();
        let numbers: BTreeMap<_, _> = running.iter().map(|host| (self.id(*host), *host)).collect();
        let passes = |from: HostId, to: HostId| {
            let (a, b) = (self.at(from), self.at(to));
            a.path_since(&b.id).is_some_and(|since| b.runs_since(since))
                && !self.terms.is_cut(a.number, b.number)
        };
        running.iter().all(|host| {
            let Some(mesh) = self.mesh(*host) else {
                return false;
            };
            let arrives = |to: &PeerId| {
                let Some(path) = mesh.data_path(to) else {
                    return false;
                };
                let hops: Option<Vec<_>> = path.iter().map(|hop| numbers.get(hop).copied()).collect();
                hops.is_some_and(|hops| {
                    let froms = std::iter::once(*host).chain(hops.iter().copied());
                    froms.zip(&hops).all(|(from, to)| passes(from, *to))
                })
            };
            let mut others = numbers.iter().filter(|(_, other)| *other != host);
            others.all(|(to, _)| mesh.is_reachable(to) && arrives(to))
        })
    }

    /// The best costs from a host over all links that are up at both ends, in microseconds: delays, and what each
    /// relay adds.
    fn optimum(&self, from: HostId) -> BTreeMap<PeerId, u64> {
        let mut best = vec![u64::MAX; self.len()];
        let mut open = BinaryHeap::from([Reverse((0_u64, from))]);
        best[from.0] = 0;
        while let Some(Reverse((cost, at))) = open.pop() {
            if cost > best[at.0] {
                continue;
            }
            for to in self.linked_with(at) {
                if !self.at(to).linked_with().any(|back| back as usize == at.0) {
                    continue;
                }
                let relay = if at == from { 0 } else { RELAY_COST_US };
                let cost = cost + relay + self.terms.delay(at.0 as u32, to.0 as u32);
                if cost < best[to.0] {
                    best[to.0] = cost;
                    open.push(Reverse((cost, to)));
                }
            }
        }
        let reached = best
            .into_iter()
            .enumerate()
            .filter(|(to, cost)| *cost < u64::MAX && *to != from.0);
        reached.map(|(to, cost)| (self.id(HostId(to)), cost)).collect()
    }

    /// The cost of routes, as the wires have it, against the best there is.
    #[must_use]
    pub fn stretch(&self, sources: &[HostId]) -> Stretch {
        let numbers: BTreeMap<_, _> = self.hosts().map(|host| (host.id, host.number)).collect();
        let (mut stretch, mut sum) = (Stretch::default(), 0.0);
        for source in sources {
            let Some(mesh) = self.mesh(*source) else {
                continue;
            };
            let optimum = self.optimum(*source);
            let routes: BTreeMap<_, _> = mesh.routes().into_iter().collect();
            for (to, best) in &optimum {
                let Some(route) = routes.get(to) else {
                    stretch.missing += 1;
                    continue;
                };
                let mut at = source.0 as u32;
                let mut cost = (route.path.len() as u64 - 1) * RELAY_COST_US;
                for hop in route.path.iter().filter_map(|hop| numbers.get(hop)) {
                    cost += self.terms.delay(at, *hop);
                    at = *hop;
                }
                let share = cost as f64 / *best as f64;
                stretch.routes += 1;
                stretch.max = stretch.max.max(share);
                sum += share;
            }
        }
        stretch.mean = sum / stretch.routes.max(1) as f64;
        stretch
    }
}
