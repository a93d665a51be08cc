//! Shortest paths: Dijkstra's algorithm over a compact graph made anew for each computation.
//!
//! Nodes are numbered in the order of their ids, so that a lower number is a lower id and ties are broken the
//! same way on every router. Cost never falls and the number of hops always rises along a path, so the smallest
//! (cost, hops, parent) of a node is final when it leaves the queue.

use super::{DirectPath, RELAY_COST_US, Route};
use crate::{Adjacency, LinkLabel, PeerId, Topology};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// One direction of a link.
#[derive(Debug, Clone, Copy)]
struct Edge {
    to: usize,
    delay_us: u32,
    mtu: u16,
    label: LinkLabel,
}

/// Where the shortest path to a node comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Sum of delays and relay costs from the source, in microseconds.
    pub(super) cost_us: u64,
    /// Hops from the source.
    pub(super) hops: usize,
    /// The node before; the source is its own.
    pub(super) parent: usize,
}

/// Routers and the links between them, for one purpose.
#[derive(Debug)]
pub(super) struct Graph {
    /// Sorted.
    ids: Vec<PeerId>,
    /// For each node its outgoing edges, sorted by where they lead.
    edges: Vec<Vec<Edge>>,
}

impl Graph {
    /// The graph of control messages: every link, whatever its MTU.
    pub(super) fn of_control(topology: &Topology) -> Self {
        Self::of_links(topology.origins().copied().collect(), topology, |_, _| true)
    }

    /// The graph of broadcast: links whose both ends have a data path.
    pub(super) fn of_broadcast(topology: &Topology) -> Self {
        Self::of_links(topology.origins().copied().collect(), topology, carries_data)
    }

    /// The graph of data routes from `own`: its own edges are its direct paths, all others are links with a data
    /// path and a label.
    pub(super) fn of_data(own: PeerId, topology: &Topology, direct: &BTreeMap<PeerId, DirectPath>) -> Self {
        let mut ids: Vec<PeerId> = topology
            .origins()
            .chain(direct.keys())
            .chain([&own])
            .copied()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let relays = |ours: &Adjacency, theirs: &Adjacency| carries_data(ours, theirs) && ours.label.0 != 0;
        let mut graph = Self::of_links(ids, topology, relays);
        let first_hops = direct.iter().filter(|(peer, path)| **peer != own && path.mtu > 0);
        let first_hops = first_hops.filter_map(|(peer, path)| {
            // The other end's view of the way back bounds what can be answered in one packet.
            let back = topology
                .link(peer, &own)
                .map(|link| link.mtu)
                .filter(|&mtu| mtu > 0);
            let mtu = path.mtu.min(back.unwrap_or(u16::MAX));
            let to = graph.node(peer)?;
            Some(Edge {
                to,
                delay_us: path.delay_us,
                mtu,
                label: LinkLabel(0),
            })
        });
        let first_hops = first_hops.collect();
        if let Some(edges) = graph.node(&own).and_then(|node| graph.edges.get_mut(node)) {
            *edges = first_hops;
        }
        graph
    }

    /// `ids` must be sorted and hold every origin of the topology.
    fn of_links(
        ids: Vec<PeerId>,
        topology: &Topology,
        keep: impl Fn(&Adjacency, &Adjacency) -> bool,
    ) -> Self {
        let edge = |(ours, theirs): (&Adjacency, &Adjacency)| {
            let to = ids.binary_search_by_key(&ours.neighbor, PeerId::short).ok()?;
            let mtu = ours.mtu.min(theirs.mtu);
            keep(ours, theirs).then_some(Edge {
                to,
                delay_us: ours.delay_us(),
                mtu,
                label: ours.label,
            })
        };
        let edges = ids
            .iter()
            .map(|id| topology.links(*id).filter_map(edge).collect())
            .collect();
        Self { ids, edges }
    }

    /// The number of a router.
    pub(super) fn node(&self, id: &PeerId) -> Option<usize> {
        self.ids.binary_search(id).ok()
    }

    /// The routers, by number.
    pub(super) fn ids(&self) -> &[PeerId] {
        &self.ids
    }

    /// For each node how the cheapest path from `source` gets there; `None` where no path leads.
    pub(super) fn shortest(&self, source: usize) -> Vec<Option<Step>> {
        let mut settled = vec![None; self.ids.len()];
        let mut queue = BinaryHeap::from([Reverse((0, 0, source, source))]);
        while let Some(Reverse((cost_us, hops, parent, node))) = queue.pop() {
            if settled[node].is_some() {
                continue;
            }
            settled[node] = Some(Step {
                cost_us,
                hops,
                parent,
            });
            for edge in self.edges[node].iter().filter(|edge| settled[edge.to].is_none()) {
                queue.push(Reverse((
                    cost_us + step_cost(edge, hops),
                    hops + 1,
                    node,
                    edge.to,
                )));
            }
        }
        settled
    }

    /// The cheapest paths from `own`, destination last.
    pub(super) fn paths(&self, own: &PeerId) -> BTreeMap<PeerId, Vec<PeerId>> {
        let Some(source) = self.node(own) else {
            return BTreeMap::new();
        };
        let steps = self.shortest(source);
        let others = (0..self.ids.len()).filter(|&node| node != source && steps[node].is_some());
        others
            .map(|node| (self.ids[node], self.named(&trace(&steps, source, node))))
            .collect()
    }

    /// The cheapest routes from `own` of at most `max_hops`.
    ///
    /// The search without a limit comes first, and nearly always settles all. Only for those it leads to over
    /// too many hops the limited one follows.
    pub(super) fn routes(&self, own: &PeerId, max_hops: usize) -> BTreeMap<PeerId, Route> {
        let Some(source) = self.node(own) else {
            return BTreeMap::new();
        };
        let steps = self.shortest(source);
        let too_far = steps.iter().flatten().any(|step| step.hops > max_hops);
        let limited = too_far.then(|| self.shortest_within(source, max_hops));
        let mut routes = BTreeMap::new();
        for (node, step) in steps.iter().enumerate() {
            let Some(step) = step.filter(|_| node != source) else {
                continue;
            };
            let path = match &limited {
                Some(layers) if step.hops > max_hops => trace_layers(layers, node),
                _ => Some(trace(&steps, source, node)),
            };
            let route = path.and_then(|path| self.route_over(own, &self.named(&path)));
            routes.extend(route.map(|route| (self.ids[node], route)));
        }
        routes
    }

    /// Layer `h` of the result tells, for each node, the cheapest way there in exactly `h` hops: its cost and
    /// the node before it, which is in layer `h - 1`.
    fn shortest_within(&self, source: usize, max_hops: usize) -> Vec<Layer> {
        let mut first: Layer = vec![None; self.ids.len()];
        first[source] = Some((0, source));
        let mut layers = vec![first];
        for hops in 0..max_hops {
            let mut next: Layer = vec![None; self.ids.len()];
            for (node, cost_us) in layers[hops]
                .iter()
                .enumerate()
                .filter_map(|(n, s)| Some((n, (*s)?.0)))
            {
                for edge in self.edges[node].iter().filter(|edge| edge.to != source) {
                    let candidate = (cost_us + step_cost(edge, hops), node);
                    let slot = &mut next[edge.to];
                    *slot = Some(slot.map_or(candidate, |old| old.min(candidate)));
                }
            }
            layers.push(next);
        }
        layers
    }

    /// The route from `own` over exactly these hops; `None` if one of them is no edge.
    pub(super) fn route_over(&self, own: &PeerId, path: &[PeerId]) -> Option<Route> {
        let mut route = Route {
            path: path.to_vec(),
            labels: Vec::new(),
            cost_us: 0,
            mtu: u16::MAX,
        };
        let mut node = self.node(own)?;
        for (hops, next) in path.iter().enumerate() {
            let edges = &self.edges[node];
            let to = self.node(next)?;
            let edge = edges
                .binary_search_by_key(&to, |edge| edge.to)
                .ok()
                .map(|at| edges[at])?;
            if hops > 0 {
                route.labels.push(edge.label);
            }
            route.cost_us += step_cost(&edge, hops);
            route.mtu = route.mtu.min(edge.mtu);
            node = to;
        }
        Some(route)
    }

    /// A route in use with its present cost and MTU; `None` if it is broken: a hop is gone or has another label.
    pub(super) fn follow(&self, own: &PeerId, route: &Route) -> Option<Route> {
        self.route_over(own, &route.path)
            .filter(|present| present.labels == route.labels)
    }

    /// The MTU of one edge.
    pub(super) fn mtu(&self, from: usize, to: usize) -> Option<u16> {
        let edges = self.edges.get(from)?;
        let at = edges.binary_search_by_key(&to, |edge| edge.to).ok()?;
        Some(edges.get(at)?.mtu)
    }

    fn named(&self, nodes: &[usize]) -> Vec<PeerId> {
        nodes.iter().map(|&node| self.ids[node]).collect()
    }
}

/// For each node cost and parent of the cheapest way of a given number of hops.
type Layer = Vec<Option<(u64, usize)>>;

fn carries_data(ours: &Adjacency, theirs: &Adjacency) -> bool {
    ours.mtu > 0 && theirs.mtu > 0
}

/// What an edge adds after `hops` others: all but the source's own are sent by a relay.
fn step_cost(edge: &Edge, hops: usize) -> u64 {
    u64::from(edge.delay_us) + if hops == 0 { 0 } else { RELAY_COST_US }
}

/// The nodes after `source` up to `node`, which must be reachable.
fn trace(steps: &[Option<Step>], source: usize, mut node: usize) -> Vec<usize> {
    let mut path = Vec::new();
    while let Some(step) = steps[node].filter(|_| node != source) {
        path.push(node);
        node = step.parent;
    }
    path.reverse();
    path
}

/// The same out of the limited search: the cheapest of all layers, of equal ones that with fewer hops. Leaving a
/// cycle out saves hops and costs nothing, so the result never has one.
fn trace_layers(layers: &[Layer], mut node: usize) -> Option<Vec<usize>> {
    let ways = layers
        .iter()
        .enumerate()
        .filter_map(|(hops, layer)| Some((layer[node]?.0, hops)));
    let (_, hops) = ways.min()?;
    let mut path = Vec::new();
    for layer in layers[1..=hops].iter().rev() {
        path.push(node);
        node = layer[node]?.1;
    }
    path.reverse();
    Some(path)
}
