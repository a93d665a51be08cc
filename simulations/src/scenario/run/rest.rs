//! What must hold when all is over: the network is whole, and everything must come right in time.

use super::Run;
use super::Watch;
use super::stage::Stage;
use crate::scenario::RestCheck;
use crate::{Class, ContainerId, HostId};
use mesh::PeerId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Everything must have been right for so long before the active checks begin.
const CALM: Duration = Duration::from_secs(5);
/// A broadcast has come by then.
const BROADCAST: Duration = Duration::from_secs(3);
/// How often that is tried.
const BROADCAST_TRIES: usize = 4;
/// After a link came or went all have heard of it by then.
const STILL: Duration = Duration::from_secs(1);
/// How long idle traffic is counted.
const IDLE: Duration = Duration::from_secs(10);
/// How often that is tried.
const CONTROL_TRIES: usize = 6;
/// What an idle router may send per second: for itself, and for each link.
/// Dials of addresses where nobody answers are the larger part of the first.
const BUDGET: (u64, u64) = (2_500, 300);
/// A newcomer knows all by then.
const FRESH: Duration = Duration::from_secs(15);
/// A path may cost so much more than the best: a quarter, and what measuring and rounding add. A direct path is kept
/// unless another is better by a fifth and 5 ms.
const WORSE: (u64, u64) = (125, 2_000);
const DIRECT_WORSE_US: u64 = 5_000;
/// What each relay adds.
const RELAY_US: u64 = mesh::RELAY_COST_US;

/// A check, what it expects in words, and what stands against that.
type Check = (RestCheck, &'static str, fn(&Stage) -> Vec<String>);

impl Run<'_> {
    /// Waits for the passive checks, then does the active ones.
    pub(super) fn rest(&mut self, watch: &mut dyn Watch) {
        let rest = &self.scenario.rest;
        if !rest.check {
            return;
        }
        let skip = rest.skip.clone();
        let is_wanted = |check: RestCheck| !skip.contains(&check);
        let limit = self.now() + rest.within.0;
        let mut right_since = None;
        loop {
            self.look(watch);
            let now = self.now();
            let version = self.stage.sight.version();
            let wrong = if self.right == Some(version) {
                Vec::new()
            } else {
                self.passive(&is_wanted, now < limit)
            };
            self.right = wrong.is_empty().then_some(version);
            if wrong.is_empty() {
                let since = *right_since.get_or_insert(now);
                if now.since(since) >= CALM {
                    break;
                }
            } else {
                right_since = None;
                if now >= limit {
                    for (check, seen) in wrong {
                        self.fail(check, seen);
                    }
                    return;
                }
            }
            self.rest_for(LOOK_EVERY);
        }
        if is_wanted(RestCheck::Control) {
            self.control();
        }
        if is_wanted(RestCheck::Broadcast) {
            self.broadcast();
        }
        if is_wanted(RestCheck::Fresh) {
            self.fresh();
        }
        if watch.listens() {
            self.tell(watch);
        }
    }

    fn rest_for(&mut self, time: Duration) {
        self.stage.world.run(time);
        if let Some(twice) = self.streams.collect(&mut self.stage) {
            self.fail("no frame comes twice", vec![twice]);
        }
        self.violations();
    }

    /// What only looks, and what each saw; `first`: only the first that saw anything. Cheap ones come first.
    fn passive(
        &self,
        is_wanted: &impl Fn(RestCheck) -> bool,
        first: bool,
    ) -> Vec<(&'static str, Vec<String>)> {
        let checks: [Check; 7] = [
            (
                RestCheck::Digests,
                "at rest all routers hold the same records and reach each other",
                Stage::unsettled,
            ),
            (
                RestCheck::TwoWay,
                "at rest both ends claim a link",
                Stage::one_sided,
            ),
            (
                RestCheck::Dead,
                "at rest nobody reaches a router that is gone",
                Stage::ghosts,
            ),
            (
                RestCheck::Links,
                "at rest each router has its links, and they join all",
                Stage::badly_linked,
            ),
            (
                RestCheck::Routable,
                "at rest all pairs have data routes",
                Stage::unroutable,
            ),
            (
                RestCheck::Loops,
                "at rest no path goes through a router twice",
                Stage::loops,
            ),
            (
                RestCheck::Cost,
                "at rest paths cost at most 1.25 times the least",
                Stage::dear,
            ),
        ];
        let looked = checks.into_iter().filter(|(check, _, _)| is_wanted(*check));
        let seen = looked.map(|(_, what, look)| (what, look(&self.stage)));
        let most = if first { 1 } else { usize::MAX };
        seen.filter(|(_, seen)| !seen.is_empty()).take(most).collect()
    }

    /// What has changed lately is told for a while; one calm stretch is enough.
    fn control(&mut self) {
        let mut seen = Vec::new();
        for _ in 0..CONTROL_TRIES {
            seen = self.busy();
            if seen.is_empty() {
                return;
            }
        }
        self.fail("at rest control traffic is back at the steady budget", seen);
    }

    /// The routers that send more than an idle router may.
    fn busy(&mut self) -> Vec<String> {
        let hosts: Vec<_> = self.stage.truth.members().to_vec();
        let before: Vec<_> = hosts.iter().map(|host| self.stage.world.traffic(*host)).collect();
        self.rest_for(IDLE);
        let mut seen = Vec::new();
        for (host, before) in hosts.iter().zip(before) {
            let Some(router) = self.stage.world.router(*host) else {
                continue;
            };
            let links = router.mesh.links().len() as u64;
            let sent = self.stage.world.traffic(*host) - before;
            let of = |class| sent.sent(class).bytes / IDLE.as_secs();
            let classes = Class::ALL.into_iter().filter(|class| *class != Class::Data);
            let per_second: u64 = classes.clone().map(of).sum();
            let most = BUDGET.0 + BUDGET.1 * links;
            if per_second > most {
                let parts: Vec<_> = classes
                    .map(|class| format!("{} {}", class.name(), of(class)))
                    .collect();
                seen.push(format!(
                    "router {} with {links} links sends {per_second} B/s, more than {most}: {}",
                    host.0,
                    parts.join(", ")
                ));
            }
        }
        seen
    }

    /// Between routers that never exchanged a frame the first ones may be lost while keys are agreed; the second
    /// round counts. One during which links came or went says nothing of a mesh at rest (a router may find a nearer
    /// neighbour at any time), and is made again.
    fn broadcast(&mut self) {
        let senders = self.senders();
        self.streams.broadcast(&mut self.stage, &senders, 200);
        self.rest_for(BROADCAST * 2);
        for left in (0..BROADCAST_TRIES).rev() {
            let changes = self.calm();
            let numbers = self.streams.broadcast(&mut self.stage, &senders, 200);
            self.rest_for(BROADCAST);
            let seen = self.streams.not_once(&numbers);
            if seen.is_empty() {
                return;
            }
            if left == 0 || self.stage.churn() == changes {
                return self.fail("at rest a broadcast comes to each member exactly once", seen);
            }
        }
    }

    /// The containers that broadcast, in no order.
    fn senders(&self) -> Vec<ContainerId> {
        let mut containers = self.stage.live_containers();
        let Some(most) = self.scenario.rest.senders else {
            return containers;
        };
        let mut random = self.stage.world.fork("senders", 0);
        while containers.len() > most {
            containers.swap_remove(random.below(containers.len() as u64) as usize);
        }
        containers
    }

    /// Waits until no link came or went for a while, but not for ever. Returns how many did so far.
    fn calm(&mut self) -> usize {
        let limit = self.now() + CALM * 2;
        let mut changes = (self.now(), self.stage.churn());
        while self.now().since(changes.0) < STILL && self.now() < limit {
            self.rest_for(LOOK_EVERY);
            let churn = self.stage.churn();
            if churn != changes.1 {
                changes = (self.now(), churn);
            }
        }
        changes.1
    }

    fn fresh(&mut self) {
        let Some(&beside) = self.stage.truth.members().first() else {
            return;
        };
        let newcomer = self.stage.add_newcomer(beside);
        self.stage.world.launch(newcomer, &[beside]);
        let limit = self.now() + FRESH;
        loop {
            self.rest_for(LOOK_EVERY);
            self.stage.refresh();
            let seen = self.stage.unsettled();
            if seen.is_empty() {
                return;
            }
            if self.now() >= limit {
                return self.fail("at rest a fresh router reaches the same state", seen);
            }
        }
    }
}

impl Stage {
    fn unsettled(&self) -> Vec<String> {
        let settled = self.sight.settled();
        let others = self
            .truth
            .members()
            .iter()
            .filter(|host| !settled.alike.contains(host));
        others
            .map(|host| {
                let reached = self
                    .world
                    .hosts()
                    .filter(|other| self.world.reaches(*host, *other))
                    .count();
                let digest = self.world.router(*host).map_or(0, |router| router.mesh.digest());
                format!(
                    "router {} reaches {reached} hosts; its digest is {digest:016x}",
                    host.0
                )
            })
            .collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (HostId, HostId)> + '_ {
        let groups = self.truth.groups().iter();
        groups.flat_map(|group| {
            let with = |a: HostId| group.iter().filter(move |b| **b != a).map(move |b| (a, *b));
            group.iter().copied().flat_map(with)
        })
    }

    fn unroutable(&self) -> Vec<String> {
        let without = self.pairs().filter(|(a, b)| self.world.hops(*a, *b).is_none());
        without
            .map(|(a, b)| format!("router {} has no route to {}", a.0, b.0))
            .collect()
    }

    fn loops(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for host in self.truth.members() {
            let Some(router) = self.world.router(*host) else {
                continue;
            };
            let own = router.id();
            for (peer, route) in router.mesh.routes() {
                let mut hops = route.path.iter().enumerate();
                if hops.any(|(at, hop)| *hop == own || route.path[..at].contains(hop)) {
                    seen.push(format!("router {} to {}", host.0, peer.brief()));
                }
            }
        }
        seen
    }

    /// Pairs whose path costs too much more than the best that the links as they are allow.
    fn dear(&self) -> Vec<String> {
        let mut seen = Vec::new();
        self.compare_paths(|a, b, cost, best, is_direct| {
            let fits = cost * 100 <= best * WORSE.0 + WORSE.1 * 100;
            let kept = is_direct && (cost * 80 <= best * 100 || cost <= best + DIRECT_WORSE_US + WORSE.1);
            if !fits && !kept {
                seen.push(format!(
                    "router {} to {}: {cost} µs, the best {best} µs",
                    a.0, b.0
                ));
            }
        });
        seen
    }

    /// Mean and greatest quotient of the cost of paths and that of the best.
    pub(super) fn stretch(&self) -> Option<(f64, f64)> {
        let (mut sum, mut most, mut count) = (0.0, 0.0_f64, 0.0);
        self.compare_paths(|_, _, cost, best, _| {
            let stretch = cost as f64 / best.max(1) as f64;
            (sum, most, count) = (sum + stretch, most.max(stretch), count + 1.0);
        });
        (count > 0.0).then_some((sum / count, most))
    }

    /// Each pair's path, by what its hops really take, beside the best path over links, or straight if the pair has
    /// a direct path.
    fn compare_paths(&self, mut each: impl FnMut(HostId, HostId, u64, u64, bool)) {
        let by_id: BTreeMap<PeerId, HostId> = self
            .world
            .running()
            .map(|host| (self.world.id(host), host))
            .collect();
        // Nobody can tell one direction's share of a round trip (no clocks agree), so half of it counts.
        let delay = |a: HostId, b: HostId| self.world.network.round_trip(a, b).as_micros() as u64 / 2;
        let mut edges = vec![Vec::new(); self.world.hosts().count()];
        for &(a, b) in self.sight.links() {
            let (a, b) = (HostId(a as usize), HostId(b as usize));
            edges[a.0].push(b);
            edges[b.0].push(a);
        }
        for a in self.truth.members() {
            let Some(router) = self.world.router(*a) else {
                continue;
            };
            let best = cheapest(*a, &edges, delay);
            for (peer, route) in router.mesh.routes() {
                let Some(&b) = by_id.get(&peer).filter(|b| self.truth.joins(*a, **b)) else {
                    continue;
                };
                let hops: Option<Vec<_>> = route.path.iter().map(|id| by_id.get(id).copied()).collect();
                let (Some(hops), Some(best)) = (hops, best[b.0]) else {
                    continue;
                };
                let from = [*a].into_iter().chain(hops.iter().copied());
                let delays: u64 = from.zip(&hops).map(|(a, b)| delay(a, *b)).sum();
                let cost = delays + RELAY_US * (hops.len() as u64 - 1);
                each(*a, b, cost, best.min(cost), hops.len() == 1);
            }
        }
    }
}

/// The least cost from a host to each other, over each one's edges; by the hosts' numbers.
fn cheapest(from: HostId, edges: &[Vec<HostId>], delay: impl Fn(HostId, HostId) -> u64) -> Vec<Option<u64>> {
    let mut costs = vec![None; edges.len()];
    let mut queue = BinaryHeap::from([Reverse((0_u64, from))]);
    while let Some(Reverse((cost, at))) = queue.pop() {
        if costs[at.0].is_some() {
            continue;
        }
        costs[at.0] = Some(cost);
        let relay = if at == from { 0 } else { RELAY_US };
        for next in &edges[at.0] {
            queue.push(Reverse((cost + delay(at, *next) + relay, *next)));
        }
    }
    costs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_way_counts_relays() {
        let [a, b, c] = [HostId(0), HostId(1), HostId(2)];
        let edges = [vec![b, c], vec![a, c], vec![a, b], vec![]];
        let delay = |from: HostId, to: HostId| if from.0 + to.0 == 2 { 9000 } else { 3000 };
        let costs = cheapest(a, &edges, delay);
        assert_eq!(costs, [Some(0), Some(3000), Some(7000), None]);
    }
}
