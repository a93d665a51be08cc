//! Routes against brute force, and what a relay makes of their labels.

use super::*;
use crate::graph::search::search;
use crate::graph::spt::Work;
use crate::{Adjacency, Delay, Topology};
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

/// A router's view of the world, which becomes one world after the other.
struct Net {
    view: Topology,
    graph: Graph,
    routes: Routes,
    detours: Detours,
    reached: BTreeSet<Number>,
}

impl Net {
    fn new(own: u8) -> Self {
        let mut view = Topology::default();
        let mut graph = Graph::new();
        graph.set_own(view.told.admit(peer(own)).unwrap());
        Self {
            view,
            graph,
            routes: Routes::default(),
            detours: Detours::default(),
            reached: BTreeSet::new(),
        }
    }

    /// The world is now like this; tells what routes change.
    fn turn(&mut self, now: Instant, world: &Topology, direct: &Direct) -> Vec<(PeerId, Option<Route>)> {
        let told = &mut self.view.told;
        for id in (0..=u8::MAX).map(peer) {
            let new = world
                .told
                .find(&id)
                .map(|number| world.told.links(number).to_vec());
            if new.is_none() && !direct.contains_key(&id) && id != peer(OWN) {
                if let Some(number) = told.remove(&id) {
                    self.graph.forget(number, id);
                    self.routes.forget(number);
                }
                continue;
            }
            let number = told.admit(id).unwrap();
            let old = told.set(number, new.unwrap_or_default());
            let own = self.graph.own();
            self.graph.links.renew(told, own, number, &old);
            self.graph.set_direct(number, direct.get(&id).copied());
        }
        self.follow(now)
    }

    fn follow(&mut self, now: Instant) -> Vec<(PeerId, Option<Route>)> {
        self.graph.update_data(&self.view.told);
        let changes = self.routes.follow(now, &self.view.told, &mut self.graph);
        for (number, is_reached) in self.graph.update_spread(&self.view.told) {
            match is_reached {
                true => assert!(self.reached.insert(number)),
                false => assert!(self.reached.remove(&number)),
            }
        }
        self.graph
            .done()
            .into_iter()
            .for_each(|number| self.view.told.free(number));
        changes
    }

    fn get(&self, to: &PeerId) -> Option<Route> {
        self.routes
            .get(&self.view.told, &self.graph, self.view.told.find(to)?)
    }

    fn all(&self) -> BTreeMap<PeerId, Route> {
        self.routes
            .all(&self.view.told, &self.graph)
            .into_iter()
            .collect()
    }

    /// The cost of the cheapest path.
    fn best(&self, to: &PeerId) -> Option<u64> {
        let number = self.view.told.find(to)?;
        let place = self.graph.data.place(number);
        place.is_reached().then_some(place.cost.into())
    }
}

fn direct(paths: &[(u8, u32, u16)]) -> Direct {
    paths
        .iter()
        .map(|&(to, delay_us, mtu)| (peer(to), DirectPath { delay_us, mtu }))
        .collect()
}

fn hops(route: Option<Route>) -> Option<Vec<u8>> {
    route.map(|route| route.path.iter().map(|peer| peer.0[0]).collect())
}

/// Delays are multiples of 500 µs, so that ties are frequent; one-way adjacencies and zero MTUs too.
fn any_world(n: u8) -> impl Strategy<Value = (Topology, Direct)> {
    let end = prop::option::weighted(0.7, (0u32..24, prop::sample::select(vec![0u16, 1280, 1400])));
    let ends = prop::collection::vec(end, usize::from(n) * usize::from(n));
    let path = prop::option::weighted(0.4, (0u32..24, prop::sample::select(vec![0u16, 1300, 1500])));
    let known = prop::collection::vec(prop::bool::weighted(0.9), usize::from(n));
    (ends, prop::collection::vec(path, usize::from(n)), known).prop_map(move |(ends, paths, known)| {
        let mut topology = Topology::default();
        for from in (0..n).filter(|from| known[usize::from(*from)]) {
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

/// What really happens to a packet with this route: each relay looks up its label among its own links.
fn walk(world: &Topology, direct: &Direct, route: &Route) -> Option<PeerId> {
    let (end, cost) = end_and_cost(world, direct, route)?;
    (cost == route.cost_us).then_some(end)
}

fn end_and_cost(world: &Topology, direct: &Direct, route: &Route) -> Option<(PeerId, u64)> {
    let first = *route.path.first()?;
    let mut mtu = direct.get(&first)?.mtu;
    let mut cost = u64::from(direct.get(&first)?.delay_us);
    let mut visited = BTreeSet::from([peer(OWN), first]);
    let mut at = first;
    for label in &route.labels {
        let links = world.told.links(world.told.find(&at)?);
        let link = links.iter().find(|adjacency| adjacency.label == *label)?;
        let next = *world.told.id(world.told.number(link.neighbor)?)?;
        let back = world.link(&next, &at)?;
        mtu = mtu.min(link.mtu).min(back.mtu);
        cost += u64::from(link.delay_us()) + 1000;
        at = next;
        visited.insert(at).then_some(())?;
    }
    let honest = route.mtu > 0 && route.mtu <= mtu;
    (honest && route.labels.len() + 1 == route.path.len()).then_some((at, cost))
}

/// What data threads need of a route; its cost changes without their being told.
fn told(route: &Route) -> (Vec<PeerId>, Vec<LinkLabel>, u16) {
    (route.path.clone(), route.labels.clone(), route.mtu)
}

proptest! {
    #[test]
    fn shortest_paths_agree_with_floyd_and_warshall(worlds in prop::collection::vec(any_world(8), 1..4)) {
        let mut net = Net::new(OWN);
        for (step, world) in worlds.iter().enumerate() {
            net.turn(Instant(step as u64), &world.0, &world.1);
            let expected = floyd_warshall(&world.0, &world.1, 8);
            for to in (0..8).filter(|to| *to != OWN) {
                let cost = net.best(&peer(to)).map(|cost| cost + 1000);
                prop_assert_eq!(cost, expected[usize::from(OWN)][usize::from(to)], "to {}", to);
            }
        }
    }

    #[test]
    fn labels_lead_to_the_destination(worlds in prop::collection::vec((any_world(7), 0u64..20), 1..8)) {
        let mut net = Net::new(OWN);
        let mut replayed = BTreeMap::new();
        let mut now = Instant(0);
        for ((world, direct), seconds) in worlds {
            now = now + Duration::from_secs(seconds);
            for (peer, route) in net.turn(now, &world, &direct) {
                match route {
                    Some(route) => replayed.insert(peer, told(&route)),
                    None => Some(replayed.remove(&peer).expect("there was one")),
                };
            }
            let table = net.all();
            let expected: BTreeMap<_, _> = table.iter().map(|(peer, route)| (*peer, told(route))).collect();
            prop_assert_eq!(&replayed, &expected);
            let reached = (0..=u8::MAX).map(peer).filter(|to| *to != peer(OWN) && net.best(to).is_some());
            prop_assert!(table.keys().copied().eq(reached));
            for (to, route) in &table {
                prop_assert_eq!(walk(&world, &direct, route), Some(*to));
                let gain = route.cost_us - net.best(to).unwrap();
                let kept = if route.path.len() == 1 { (20, 5000) } else { (10, 1000) };
                prop_assert!(gain <= kept.1 || gain * 100 <= route.cost_us * kept.0);
            }
            prop_assert_eq!(net.turn(now, &world, &direct), vec![]);
        }
        // At rest nothing deviates but direct paths.
        for (peer, route) in net.follow(now + KEPT_FOR) {
            replayed.insert(peer, told(&route.expect("no way is lost by waiting")));
        }
        prop_assert_eq!(net.routes.relayed, 0);
        for (to, route) in net.all() {
            prop_assert_eq!(&replayed[&to], &told(&route));
            prop_assert!(route.path.len() == 1 || Some(route.cost_us) == net.best(&to));
        }
    }

    #[test]
    fn control_paths_take_any_two_way_link((world, _) in any_world(7)) {
        let mut net = Net::new(OWN);
        net.turn(Instant(0), &world, &Direct::new());
        let (known, tree) = (&net.view.told, &net.graph.spread.tree);
        let view = net.graph.control_view(known);
        let own = known.find(&peer(OWN)).unwrap();
        for to in (0..7).filter_map(|to| known.find(&peer(to))) {
            let found = search(&view, own, to, |_, _| true, 100);
            prop_assert_eq!(found.is_some(), tree.reaches(to));
            prop_assert_eq!(tree.reaches(to), net.reached.contains(&to));
            for path in [found, tree.between(own, to)].into_iter().flatten() {
                let ids: Vec<_> = path.iter().map(|hop| *known.id(*hop).unwrap()).collect();
                prop_assert!(to == own || path.last() == Some(&to));
                for (from, to) in [peer(OWN)].iter().chain(&ids).zip(&ids) {
                    prop_assert!(world.link(from, to).is_some());
                }
                prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
            }
        }
    }

    #[test]
    fn a_broadcast_reaches_each_member_once((world, _) in any_world(8), members: [bool; 8], source in 0u8..8) {
        let (known, slab) = (&world.told, &world.links.slab);
        let Some(source) = known.find(&peer(source)) else { return Ok(()) };
        let members: Vec<Number> = (0..8).filter(|n| members[usize::from(*n)])
            .filter_map(|n| known.find(&peer(n))).collect();
        let tree = BroadcastTree::new(source, known, slab, &mut Work::default());
        let mut received = BTreeMap::from([(source, 0)]);
        let mut waiting = vec![source];
        while let Some(at) = waiting.pop() {
            let children = tree.children(known, at, &members);
            prop_assert!(at == source || members.contains(&at) || !children.is_empty(), "a branch to nobody");
            prop_assert!(children.is_sorted());
            for id in children {
                let child = known.find(&id).unwrap();
                prop_assert!(world.link(known.id(at).unwrap(), &id).is_some_and(|link| link.mtu > 0));
                prop_assert_eq!(tree.parent(child), Some(at));
                prop_assert_eq!(received.insert(child, received[&at] + 1), None, "reached twice");
                waiting.push(child);
            }
        }
        prop_assert!(received.iter().all(|(router, hops)| tree.hops(*router) == Some(*hops)));
        let unreached = members.iter().filter(|member| !received.contains_key(member));
        for member in unreached {
            prop_assert_eq!(tree.parent(*member), None);
        }
    }
}

proptest! {
    /// Wherever there is a way round a neighbour to what its labels name, it is told, and leads there.
    #[test]
    fn detours_lead_round_neighbours(worlds in prop::collection::vec(any_world(8), 1..5)) {
        let mut net = Net::new(OWN);
        let mut told = BTreeMap::new();
        let mut now = Instant(0);
        for (world, direct) in &worlds {
            now = now + Duration::from_secs(60);
            net.turn(now, world, direct);
            // Waits until those are gone, too, whose links are.
            for wait in [0, 11] {
                now = now + Duration::from_secs(wait);
                net.detours.force(now);
                for (neighbor, label, route) in net.detours.poll(now, &net.view.told, &net.graph) {
                    match route {
                        Some(route) => told.insert((neighbor, label), route),
                        None => Some(told.remove(&(neighbor, label)).expect("there was one")),
                    };
                }
            }
            for ((neighbor, label), route) in &told {
                let end = end_and_cost(world, direct, route).map(|(end, _)| end);
                prop_assert_eq!(end, route.path.last().copied());
                prop_assert_ne!(&route.path[0], neighbor);
                let links = world.told.find(neighbor).map(|number| world.told.links(number));
                let end = links.unwrap_or_default().iter().find(|link| link.label == *label);
                let end = end.and_then(|link| (0..8).map(peer).find(|peer| peer.short() == link.neighbor));
                prop_assert_eq!(end.or(Some(*neighbor)), route.path.last().copied());
            }
            for neighbor in (1..8).filter(|n| world.link(&peer(OWN), &peer(*n)).is_some()) {
                let mut without = direct.clone();
                without.remove(&peer(neighbor));
                let reach = floyd_warshall(world, &without, 8);
                let links = world.told.links(world.told.find(&peer(neighbor)).unwrap());
                let next = links.iter().filter_map(|link| Some((link.label, world.told.number(link.neighbor)?)));
                let next = next.map(|(label, number)| (label, world.told.id(number).unwrap().0[0]));
                let next = next.filter(|(_, to)| *to != OWN && *to != neighbor);
                for (label, to) in next.chain([(LinkLabel(0), neighbor)]) {
                    let is_told = told.contains_key(&(peer(neighbor), label));
                    prop_assert_eq!(is_told, reach[usize::from(OWN)][usize::from(to)].is_some());
                }
            }
        }
    }
}

/// 0 – 1 – 2 – … – `last`, each hop 1 ms; the first is direct.
fn line(last: u8) -> (Vec<(u8, u8, u32, u16)>, Direct) {
    (
        (0..last).map(|n| (n, n + 1, 1000, 1400)).collect(),
        direct(&[(1, 1000, 1400)]),
    )
}

#[test]
fn longer_paths_tell_the_labels_of_their_first_part() {
    let (links, first) = line(16);
    let mut net = Net::new(0);
    let changes: BTreeMap<_, _> = net
        .turn(Instant(0), &topology(&links), &first)
        .into_iter()
        .collect();
    let cost = |hops: u64| hops * u64::from(Delay::from_us(1000).us()) + (hops - 1) * 1000;
    for to in [14, 15, 16] {
        let route = net.get(&peer(to)).unwrap();
        assert_eq!((route.path.len(), route.labels.len()), (to.into(), MAX_LABELS));
        assert_eq!(
            route.cost_us,
            cost(to.into()) + 1000 - u64::from(Delay::from_us(1000).us())
        );
        assert_eq!(changes[&peer(to)].as_ref(), Some(&route));
        assert_eq!(route.labels[12], LinkLabel(label(13, 14)));
    }
}

#[test]
fn equal_costs_go_by_hops_and_then_by_ids() {
    let even = topology(&[
        (1, 4, 1000, 1400),
        (2, 4, 1000, 1400),
        (3, 5, 0, 1400),
        (5, 4, 0, 1400),
    ]);
    let first = direct(&[(1, 1000, 1400), (2, 1000, 1400), (3, 1000, 1400)]);
    let mut net = Net::new(0);
    net.turn(Instant(0), &even, &first);
    assert_eq!(hops(net.get(&peer(4))), Some(vec![1, 4]));
    assert_eq!(net.get(&peer(4)).unwrap().labels, [LinkLabel(label(1, 4))]);
}

#[test]
fn a_broken_path_is_left_at_once_and_a_working_one_kept_for_a_while() {
    let worlds = |cost: u32, mtu, new_label| {
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
    let mut net = Net::new(0);
    let path = |net: &Net| hops(net.get(&peer(3)));
    net.turn(Instant(1), &worlds(3000, 1400, None), &first);
    assert_eq!(path(&net), Some(vec![1, 3]));
    // A little worse: kept, with its new cost. The hops are what they were, so nobody need be told.
    assert_eq!(net.turn(Instant(2), &worlds(3500, 1400, None), &first), vec![]);
    assert_eq!(path(&net), Some(vec![1, 3]));
    let cost = net.get(&peer(3)).unwrap().cost_us;
    assert_eq!(cost, 4000 + u64::from(Delay::from_us(3500).us()));
    // But not for ever.
    let end = net.routes.next_timeout().unwrap();
    assert_eq!(end, Instant(2) + KEPT_FOR);
    let mut again = Net::new(0);
    again.turn(Instant(1), &worlds(3000, 1400, None), &first);
    again.turn(Instant(2), &worlds(3500, 1400, None), &first);
    assert_eq!(again.follow(end).len(), 1);
    assert_eq!(
        (path(&again), again.routes.next_timeout()),
        (Some(vec![2, 3]), None)
    );
    // Another label: as good as gone, and so the best one is taken.
    net.turn(Instant(3), &worlds(3500, 1400, Some(9)), &first);
    assert_eq!(path(&net), Some(vec![2, 3]));
    net.turn(Instant(4), &worlds(1000, 1400, None), &first);
    assert_eq!(path(&net), Some(vec![1, 3]));
    // No data path on one of its links, then no label, then no direct path to its first relay.
    net.turn(Instant(5), &worlds(1000, 0, None), &first);
    assert_eq!(path(&net), Some(vec![2, 3]));
    net.turn(Instant(6), &worlds(0, 1400, Some(0)), &first);
    assert_eq!(path(&net), Some(vec![2, 3]));
    net.turn(Instant(7), &worlds(0, 1400, None), &direct(&[(1, 9000, 1400)]));
    assert_eq!(path(&net), Some(vec![1, 3]));
    let changes = net.turn(Instant(8), &worlds(0, 1400, None), &direct(&[]));
    assert_eq!(changes, [(peer(1), None), (peer(2), None), (peer(3), None)]);
    assert_eq!(net.all().len(), 0);
}

#[test]
fn a_kept_path_whose_own_first_hop_is_lost_is_left_at_once() {
    let both = direct(&[(1, 3000, 1400), (2, 3000, 1400)]);
    let mut net = Net::new(0);
    net.turn(
        Instant(1),
        &topology(&[(1, 3, 3000, 1400), (2, 3, 3000, 1400)]),
        &both,
    );
    let worse = topology(&[(1, 3, 3500, 1400), (2, 3, 3000, 1400)]);
    net.turn(Instant(2), &worse, &both);
    assert_eq!(hops(net.get(&peer(3))), Some(vec![1, 3]), "kept");
    // The tree has it behind 2 already, and does not change.
    let changes = net.turn(Instant(3), &worse, &direct(&[(2, 3000, 1400)]));
    assert_eq!(hops(net.get(&peer(3))), Some(vec![2, 3]));
    assert!(
        changes
            .iter()
            .any(|(to, route)| *to == peer(3) && route.is_some()),
        "{changes:?}"
    );
}

#[test]
fn a_path_on_demand_replaces_the_relay_and_gives_way_to_it() {
    let world = topology(&[(0, 1, 100, 1400), (1, 2, 100, 1400)]);
    let mut net = Net::new(0);
    net.turn(Instant(0), &world, &direct(&[(1, 100, 1400)]));
    assert_eq!(hops(net.get(&peer(2))), Some(vec![1, 2]));
    // Less than a millisecond is gained, and still it is taken.
    net.turn(Instant(1), &world, &direct(&[(1, 100, 1400), (2, 300, 1300)]));
    assert_eq!(hops(net.get(&peer(2))), Some(vec![2]));
    assert_eq!(net.get(&peer(2)).unwrap().mtu, 1300);
    net.turn(Instant(2), &world, &direct(&[(1, 100, 1400)]));
    assert_eq!(hops(net.get(&peer(2))), Some(vec![1, 2]));
}

/// Two come below one router, one below another: what leads to them is looked up once where it is the same, and only there.
#[test]
fn several_that_come_are_told_along_the_paths_that_lead_to_them() {
    let direct = direct(&[(1, 500, 1400), (2, 500, 1400)]);
    let before = [(1, 3, 500, 1400), (2, 4, 500, 1400), (6, 8, 500, 1400)];
    let links = [
        &before[..],
        &[(3, 5, 500, 1300), (3, 6, 500, 1400), (4, 7, 500, 1400)],
    ]
    .concat();
    let mut net = Net::new(OWN);
    net.turn(Instant(0), &topology(&before), &direct);
    let changes = net.turn(Instant(1), &topology(&links), &direct);
    let expected = [5, 6, 7, 8].map(|to| (peer(to), net.get(&peer(to))));
    assert_eq!(changes, expected);
    let paths = changes.into_iter().map(|(_, route)| hops(route).unwrap());
    let expected = [vec![1, 3, 5], vec![1, 3, 6], vec![2, 4, 7], vec![1, 3, 6, 8]];
    assert!(paths.eq(expected));
}

#[test]
fn kept_paths_are_bounded() {
    // Everybody behind 1 and 2; the way over 1 gets a little worse.
    let world = |cost| {
        let rest = (3..=255).flat_map(|n| [(1, n, cost, 1400), (2, n, 3000, 1400)]);
        topology(&rest.collect::<Vec<_>>())
    };
    let first = direct(&[(1, 3000, 1400), (2, 3000, 1400)]);
    let mut net = Net::new(0);
    net.turn(Instant(0), &world(3000), &first);
    for round in 1..60 {
        let now = Instant(0) + Duration::from_secs(round);
        net.turn(now, &world(if round % 2 == 1 { 3500 } else { 3000 }), &first);
        assert!(net.routes.relayed <= MAX_KEPT && net.routes.ends.len() <= 4 * MAX_KEPT + 256);
        assert_eq!(net.routes.relayed, net.routes.kept.len());
    }
}

#[test]
fn the_smallest_mtu_of_both_ends_counts() {
    let mut world = topology(&[(0, 1, 100, 1400), (1, 2, 100, 1390)]);
    world.set(peer(2), vec![adjacency(2, 1, 100, 1350)]);
    let mut net = Net::new(0);
    net.turn(Instant(0), &world, &direct(&[(1, 100, 1500)]));
    assert_eq!(net.get(&peer(1)).unwrap().mtu, 1400);
    assert_eq!(net.get(&peer(2)).unwrap().mtu, 1350);
}
