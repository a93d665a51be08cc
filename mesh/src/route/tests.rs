//! Routes against brute force, and what a relay makes of their labels.

use super::*;
use crate::{Adjacency, Delay};
use proptest::prelude::*;
use std::collections::BTreeSet;

type Direct = BTreeMap<PeerId, DirectPath>;

const OWN: u8 = 0;

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn label(from: u8, to: u8) -> u16 {
    u16::from(from) * 100 + u16::from(to) + 1
}

fn adjacency(from: u8, to: u8, delay_us: u32, mtu: u16) -> Adjacency {
    Adjacency {
        neighbor: peer(to).short(),
        label: LinkLabel(label(from, to)),
        delay: Delay::from_us(delay_us.into()),
        mtu,
    }
}

/// Both ends of each link `(a, b, delay, mtu)`.
fn topology(links: &[(u8, u8, u32, u16)]) -> Topology {
    let mut lists: BTreeMap<u8, Vec<Adjacency>> = BTreeMap::new();
    for &(a, b, delay, mtu) in links {
        lists.entry(a).or_default().push(adjacency(a, b, delay, mtu));
        lists.entry(b).or_default().push(adjacency(b, a, delay, mtu));
    }
    let mut topology = Topology::default();
    for (origin, list) in lists {
        topology.set(peer(origin), list);
    }
    topology
}

fn direct(paths: &[(u8, u32, u16)]) -> Direct {
    paths
        .iter()
        .map(|&(to, delay_us, mtu)| (peer(to), DirectPath { delay_us, mtu }))
        .collect()
}

fn hops(route: Option<&Route>) -> Option<Vec<u8>> {
    route.map(|route| route.path.iter().map(|peer| peer.0[0]).collect())
}

/// Delays are multiples of 500 µs, so that ties are frequent; one-way adjacencies and zero MTUs too.
fn any_world(n: u8) -> impl Strategy<Value = (Topology, Direct)> {
    let end = prop::option::weighted(0.7, (0u32..24, prop::sample::select(vec![0u16, 1280, 1400])));
    let ends = prop::collection::vec(end, usize::from(n) * usize::from(n));
    let path = prop::option::weighted(0.4, (0u32..24, prop::sample::select(vec![0u16, 1300, 1500])));
    (ends, prop::collection::vec(path, usize::from(n))).prop_map(move |(ends, paths)| {
        let mut topology = Topology::default();
        for from in 0..n {
            let row = (0..n).zip(&ends[usize::from(from) * usize::from(n)..]);
            let listed =
                row.filter_map(|(to, end)| end.map(|(delay, mtu)| adjacency(from, to, delay * 500, mtu)));
            topology.set(peer(from), listed.collect());
        }
        let listed = (0..n)
            .zip(paths)
            .filter_map(|(to, path)| path.map(|(delay, mtu)| (to, delay * 500, mtu)));
        (topology, direct(&listed.collect::<Vec<_>>()))
    })
}

/// Cost of the one hop `from` → `to` without the relay's share, as data from [`OWN`] may take it.
fn edge(topology: &Topology, direct: &Direct, from: u8, to: u8) -> Option<u64> {
    if from == OWN {
        let path = direct.get(&peer(to)).filter(|path| path.mtu > 0 && to != OWN);
        return path.map(|path| path.delay_us.into());
    }
    let [ours, theirs] = [
        topology.link(&peer(from), &peer(to))?,
        topology.link(&peer(to), &peer(from))?,
    ];
    (ours.mtu > 0 && theirs.mtu > 0).then_some(ours.delay_us().into())
}

/// Floyd and Warshall: the cost of the cheapest path for each pair, with 1 ms for each hop.
fn floyd_warshall(topology: &Topology, direct: &Direct, n: u8) -> Vec<Vec<Option<u64>>> {
    let row = |from| {
        (0..n)
            .map(|to| edge(topology, direct, from, to).map(|cost| cost + 1000))
            .collect()
    };
    let mut best: Vec<Vec<Option<u64>>> = (0..n).map(row).collect();
    let n = usize::from(n);
    for over in 0..n {
        for from in 0..n {
            for to in 0..n {
                let detour = best[from][over].zip(best[over][to]).map(|(a, b)| a + b);
                best[from][to] = [best[from][to], detour].into_iter().flatten().min();
            }
        }
    }
    best
}

/// All paths without a cycle of at most `left` more hops: the smallest (cost, hops) for each destination.
fn brute_force(
    world: &(Topology, Direct),
    n: u8,
    path: &mut Vec<u8>,
    cost: u64,
    left: usize,
    best: &mut BTreeMap<u8, (u64, usize)>,
) {
    let from = path.last().copied().unwrap_or(OWN);
    if let Some(&to) = path.last() {
        let found = (cost, path.len());
        best.entry(to)
            .and_modify(|old| *old = found.min(*old))
            .or_insert(found);
    }
    if left == 0 {
        return;
    }
    for to in (0..n).filter(|to| *to != OWN) {
        let Some(step) = edge(&world.0, &world.1, from, to).filter(|_| !path.contains(&to)) else {
            continue;
        };
        let relay = if path.is_empty() { 0 } else { 1000 };
        path.push(to);
        brute_force(world, n, path, cost + step + relay, left - 1, best);
        path.pop();
    }
}

/// What really happens to a packet with this route: each relay looks up its label among its own links.
fn walk(topology: &Topology, direct: &Direct, route: &Route) -> Option<PeerId> {
    let first = *route.path.first()?;
    let mut mtu = direct.get(&first)?.mtu;
    let mut cost = u64::from(direct.get(&first)?.delay_us);
    let mut visited = BTreeSet::from([peer(OWN), first]);
    let mut at = first;
    for label in &route.labels {
        let link = topology
            .adjacencies(&at)
            .iter()
            .find(|adjacency| adjacency.label == *label)?;
        let back = topology.link(&topology.named(link.neighbor)?, &at)?;
        mtu = mtu.min(link.mtu).min(back.mtu);
        cost += u64::from(link.delay_us()) + 1000;
        at = topology.named(link.neighbor)?;
        visited.insert(at).then_some(())?;
    }
    let honest = route.mtu > 0 && route.mtu <= mtu && route.cost_us == cost;
    (honest && route.labels.len() + 1 == route.path.len()).then_some(at)
}

proptest! {
    #[test]
    fn shortest_paths_agree_with_floyd_and_warshall(world in any_world(8)) {
        let found = Graph::of_data(peer(OWN), &world.0, &world.1).routes(&peer(OWN), MAX_LABELS + 1);
        let expected = floyd_warshall(&world.0, &world.1, 8);
        for to in (0..8).filter(|to| *to != OWN) {
            let cost = found.get(&peer(to)).map(|route| route.cost_us + 1000);
            prop_assert_eq!(cost, expected[usize::from(OWN)][usize::from(to)], "to {}", to);
        }
    }

    #[test]
    fn shortest_paths_within_a_limit_agree_with_brute_force(world in any_world(6), limit in 1usize..6) {
        let found = Graph::of_data(peer(OWN), &world.0, &world.1).routes(&peer(OWN), limit);
        let mut expected = BTreeMap::new();
        brute_force(&world, 6, &mut Vec::new(), 0, limit, &mut expected);
        let found: BTreeMap<u8, (u64, usize)> =
            found.iter().map(|(peer, route)| (peer.0[0], (route.cost_us, route.path.len()))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn labels_lead_to_the_destination(worlds in prop::collection::vec(any_world(7), 1..6)) {
        let mut routes = Routes::new(peer(OWN));
        let mut replayed = BTreeMap::new();
        for (step, (topology, direct)) in worlds.into_iter().enumerate() {
            for (peer, route) in routes.recompute(Instant(step as u64), &topology, &direct) {
                prop_assert_ne!(replayed.get(&peer), route.as_ref());
                match route {
                    Some(route) => replayed.insert(peer, route),
                    None => replayed.remove(&peer),
                };
            }
            let table: BTreeMap<PeerId, Route> = routes.iter().map(|(peer, route)| (*peer, route.clone())).collect();
            prop_assert_eq!(&replayed, &table);
            let best = Graph::of_data(peer(OWN), &topology, &direct).routes(&peer(OWN), MAX_LABELS + 1);
            prop_assert!(table.keys().eq(best.keys()));
            for (to, route) in &table {
                prop_assert_eq!(walk(&topology, &direct, route), Some(*to));
                let gain = route.cost_us - best[to].cost_us;
                let kept = if route.path.len() == 1 { (20, 5000) } else { (10, 1000) };
                prop_assert!(gain <= kept.1 || gain * 100 <= route.cost_us * kept.0);
            }
            prop_assert_eq!(routes.recompute(Instant(99), &topology, &direct), vec![]);
        }
    }

    #[test]
    fn control_paths_take_any_two_way_link((topology, _) in any_world(7)) {
        let paths = control_paths(peer(OWN), &topology);
        for (to, path) in &paths {
            prop_assert_eq!(path.last(), Some(to));
            let mut from = peer(OWN);
            for hop in path {
                prop_assert!(topology.link(&from, hop).is_some());
                from = *hop;
            }
        }
        let reached = paths.keys().copied().chain([peer(OWN)]);
        let next_to_reached = reached.flat_map(|from| topology.links(from));
        for (link, _) in next_to_reached {
            let neighbor = topology.named(link.neighbor).unwrap();
            prop_assert!(neighbor == peer(OWN) || paths.contains_key(&neighbor));
        }
    }

    #[test]
    fn a_broadcast_reaches_each_member_once((topology, _) in any_world(8), members: [bool; 8], source in 0u8..8) {
        let members: BTreeSet<PeerId> = (0..8).filter(|n| members[usize::from(*n)]).map(peer).collect();
        let tree = BroadcastTree::new(peer(source), &topology);
        let mut received = BTreeMap::from([(peer(source), 0usize)]);
        let mut waiting = vec![peer(source)];
        while let Some(at) = waiting.pop() {
            let children = tree.children(&at, &members);
            prop_assert!(at == peer(source) || members.contains(&at) || !children.is_empty(), "a branch to nobody");
            for child in children {
                prop_assert!(topology.link(&at, &child).is_some_and(|link| link.mtu > 0));
                prop_assert_eq!(tree.parent(&child), Some(at));
                prop_assert_eq!(received.insert(child, received[&at] + 1), None, "reached twice");
                waiting.push(child);
            }
        }
        prop_assert!(received.values().all(|&hops| hops <= tree.depth()));
        let unreached = members.iter().filter(|member| !received.contains_key(member));
        for member in unreached {
            prop_assert_eq!(tree.parent(member), None);
        }
    }
}

/// 0 – 1 – 2 – … – `last`, each hop 1.024 ms; the first is direct.
fn line(last: u8) -> (Vec<(u8, u8, u32, u16)>, Direct) {
    (
        (0..last).map(|n| (n, n + 1, 1024, 1400)).collect(),
        direct(&[(1, 1024, 1400)]),
    )
}

#[test]
fn a_header_holds_thirteen_labels() {
    let (links, first) = line(16);
    let mut routes = Routes::new(peer(0));
    routes.recompute(Instant(0), &topology(&links), &first);
    let longest = routes.get(&peer(14)).unwrap();
    assert_eq!((longest.path.len(), longest.labels.len()), (14, MAX_LABELS));
    assert_eq!(longest.cost_us, 14 * 1024 + 13 * 1000);
    assert!(routes.get(&peer(15)).is_none() && routes.get(&peer(16)).is_none());
    assert_eq!(control_paths(peer(0), &topology(&links))[&peer(16)].len(), 16);
}

#[test]
fn a_cheaper_path_that_is_too_long_does_not_hide_one_that_fits() {
    let (mut links, first) = line(16);
    links.push((1, 10, 90_000, 1400));
    let mut routes = Routes::new(peer(0));
    routes.recompute(Instant(0), &topology(&links), &first);
    assert_eq!(hops(routes.get(&peer(14))), Some((1..=14).collect()));
    assert_eq!(
        hops(routes.get(&peer(16))),
        Some(vec![1, 10, 11, 12, 13, 14, 15, 16])
    );
}

#[test]
fn equal_costs_go_by_hops_and_then_by_ids() {
    let even = topology(&[
        (1, 4, 1024, 1400),
        (2, 4, 1024, 1400),
        (3, 5, 12, 1400),
        (5, 4, 12, 1400),
    ]);
    let first = direct(&[(1, 1000, 1400), (2, 1000, 1400), (3, 1000, 1400)]);
    let mut routes = Routes::new(peer(0));
    routes.recompute(Instant(0), &even, &first);
    assert_eq!(hops(routes.get(&peer(4))), Some(vec![1, 4]));
    assert_eq!(routes.get(&peer(4)).unwrap().labels, [LinkLabel(label(1, 4))]);
}

#[test]
fn a_broken_path_is_left_at_once_and_a_working_one_kept() {
    let worlds = |cost, mtu, new_label| {
        let mut world = topology(&[(1, 3, cost, mtu), (2, 3, 3000, 1400)]);
        if let Some(label) = new_label {
            let link = Adjacency {
                neighbor: peer(3).short(),
                label: LinkLabel(label),
                delay: Delay::from_us(cost.into()),
                mtu,
            };
            world.set(peer(1), vec![link]);
        }
        world
    };
    let first = direct(&[(1, 3000, 1400), (2, 3000, 1400)]);
    let mut routes = Routes::new(peer(0));
    let path = |routes: &Routes| hops(routes.get(&peer(3)));
    routes.recompute(Instant(1), &worlds(3000, 1400, None), &first);
    assert_eq!(path(&routes), Some(vec![1, 3]));
    // A little worse: kept, with its new cost. The hops are what they were.
    let changes = routes.recompute(Instant(2), &worlds(3584, 1400, None), &first);
    assert_eq!((changes.len(), path(&routes)), (1, Some(vec![1, 3])));
    assert_eq!(
        (routes.get(&peer(3)).unwrap().cost_us, routes.since(&peer(3))),
        (7584, Some(Instant(1)))
    );
    // Another label: as good as gone, and so the best one is taken.
    routes.recompute(Instant(3), &worlds(3584, 1400, Some(9)), &first);
    assert_eq!(
        (path(&routes), routes.since(&peer(3))),
        (Some(vec![2, 3]), Some(Instant(3)))
    );
    routes.recompute(Instant(4), &worlds(1000, 1400, None), &first);
    assert_eq!(path(&routes), Some(vec![1, 3]));
    // No data path on one of its links, then no label, then no direct path to its first relay.
    routes.recompute(Instant(5), &worlds(1000, 0, None), &first);
    assert_eq!(path(&routes), Some(vec![2, 3]));
    routes.recompute(Instant(6), &worlds(0, 1400, Some(0)), &first);
    assert_eq!(path(&routes), Some(vec![2, 3]));
    routes.recompute(Instant(7), &worlds(0, 1400, None), &direct(&[(1, 9000, 1400)]));
    assert_eq!(path(&routes), Some(vec![1, 3]));
    let changes = routes.recompute(Instant(8), &worlds(0, 1400, None), &direct(&[]));
    assert_eq!(changes, [(peer(1), None), (peer(2), None), (peer(3), None)]);
    assert_eq!(routes.iter().count(), 0);
}

#[test]
fn a_path_on_demand_replaces_the_relay_and_gives_way_to_it() {
    let world = topology(&[(0, 1, 100, 1400), (1, 2, 100, 1400)]);
    let mut routes = Routes::new(peer(0));
    routes.recompute(Instant(0), &world, &direct(&[(1, 100, 1400)]));
    assert_eq!(hops(routes.get(&peer(2))), Some(vec![1, 2]));
    // Less than a millisecond is gained, and still it is taken.
    routes.recompute(Instant(1), &world, &direct(&[(1, 100, 1400), (2, 300, 1300)]));
    assert_eq!(hops(routes.get(&peer(2))), Some(vec![2]));
    assert_eq!(routes.get(&peer(2)).unwrap().mtu, 1300);
    routes.recompute(Instant(2), &world, &direct(&[(1, 100, 1400)]));
    assert_eq!(hops(routes.get(&peer(2))), Some(vec![1, 2]));
}

#[test]
fn the_smallest_mtu_of_both_ends_counts() {
    let mut world = topology(&[(0, 1, 100, 1400), (1, 2, 100, 1390)]);
    world.set(peer(2), vec![adjacency(2, 1, 100, 1350)]);
    let mut routes = Routes::new(peer(0));
    routes.recompute(Instant(0), &world, &direct(&[(1, 100, 1500)]));
    assert_eq!(routes.get(&peer(1)).unwrap().mtu, 1400);
    assert_eq!(routes.get(&peer(2)).unwrap().mtu, 1350);
}

#[test]
fn strangers_have_no_tree_and_no_paths() {
    let world = topology(&[(1, 2, 100, 1400)]);
    let tree = BroadcastTree::new(peer(9), &world);
    assert_eq!(
        (tree.children(&peer(9), &BTreeSet::from([peer(1)])), tree.depth()),
        (vec![], 0)
    );
    assert_eq!(tree.parent(&peer(1)), None);
    assert!(control_paths(peer(9), &world).is_empty());
}
