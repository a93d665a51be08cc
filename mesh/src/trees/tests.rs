//! Every router's place in every tree, put together again.

use super::*;
use crate::testing::id;
use crate::{Adjacency, Delay, LinkLabel, Mac, MacsBody};
use proptest::prelude::*;

const VNI: Vni = Vni(7);

/// What router `own` knows of who has ports in the network.
fn registry(own: u8, members: &BTreeSet<PeerId>) -> Registry {
    let mut registry = Registry::new(id(own));
    for &member in members {
        let mac = Mac([2, 0, 0, 0, 0, member.0[0]]);
        if member == id(own) {
            registry.attach(VNI, mac, vec![]);
        } else {
            let entries = vec![(mac, vec![])];
            registry.learn(member, u64::from(VNI.0) << 16, &MacsBody { vni: VNI, entries });
        }
    }
    registry
}

fn topology(links: &[(u8, u8, u32, u16)]) -> Topology {
    let mut lists: BTreeMap<u8, Vec<Adjacency>> = BTreeMap::new();
    for &(from, to, delay_us, mtu) in links {
        lists.entry(to).or_default();
        lists.entry(from).or_default().push(Adjacency {
            neighbor: id(to).short(),
            label: LinkLabel(1),
            delay: Delay::from_us(delay_us.into()),
            mtu,
        });
    }
    let mut topology = Topology::default();
    for (origin, list) in lists {
        topology.set(id(origin), list);
    }
    topology
}

fn both_ways(links: &[(u8, u8, u16)]) -> Topology {
    let both = links
        .iter()
        .flat_map(|&(a, b, mtu)| [(a, b, 1000, mtu), (b, a, 1000, mtu)]);
    topology(&both.collect::<Vec<_>>())
}

fn members(of: impl IntoIterator<Item = u8>) -> BTreeSet<PeerId> {
    of.into_iter().map(id).collect()
}

const START: Instant = Instant(0);

fn use_all(trees: &mut Trees, now: Instant, members: &BTreeSet<PeerId>) {
    for &source in members {
        trees.note_use(now, VNI, source);
    }
}

/// Every router's places.
fn all(count: u8, topology: &Topology, members: &BTreeSet<PeerId>) -> Vec<BTreeMap<(Vni, PeerId), Tree>> {
    let of = |own| {
        let mut trees = Trees::new(id(own));
        let registry = registry(own, members);
        let mut changes = trees.recompute(START, topology, &registry);
        assert!(changes.iter().all(|(_, source, _)| *source == id(own)));
        use_all(&mut trees, START, members);
        changes.extend(trees.recompute(START, topology, &registry));
        assert_eq!(changes.len(), trees.places.len());
        assert_eq!(trees.recompute(START, topology, &registry), vec![]);
        trees.places
    };
    (0..count).map(of).collect()
}

proptest! {
    #[test]
    fn all_routers_agree_and_each_member_is_reached_once(
        ends in prop::collection::vec(
            prop::option::weighted(0.4, (0u32..8, prop::sample::select(vec![0u16, 1280, 1400]))), 100),
        chosen: [bool; 10],
    ) {
        let links: Vec<_> = (0u8..100).zip(&ends)
            .filter_map(|(n, end)| end.map(|(delay, mtu)| (n / 10, n % 10, delay * 500, mtu)))
            .collect();
        let topology = topology(&links);
        let members = members((0..10).filter(|&n| chosen[usize::from(n)]));
        let places = all(10, &topology, &members);
        if members.len() <= TREE_ABOVE + 1 {
            prop_assert!(places.iter().all(BTreeMap::is_empty));
            return Ok(());
        }
        for &source in &members {
            let place = |of: &PeerId| places[usize::from(of.0[0])].get(&(VNI, source));
            let mut received = BTreeMap::new();
            let mut waiting: Vec<_> = place(&source).map(|_| (source, 0u8)).into_iter().collect();
            while let Some((at, hops)) = waiting.pop() {
                let Some(tree) = place(&at) else { return Err(TestCaseError::fail("handed to one who knows nothing")) };
                prop_assert!(members.contains(&at) || !tree.children.is_empty(), "a branch to nobody");
                for &child in &tree.children {
                    prop_assert!(topology.link(&at, &child).is_some_and(|link| link.mtu > 0));
                    prop_assert_eq!(place(&child).and_then(|tree| tree.parent), Some(at));
                    prop_assert_eq!(received.insert(child, hops + 1), None, "reached twice");
                    waiting.push((child, hops + 1));
                }
            }
            let got: Vec<_> = received.keys().filter(|router| members.contains(router)).copied().collect();
            let root = place(&source).and_then(|tree| tree.root.as_ref());
            prop_assert_eq!(root.map_or(&[][..], |root| &root.reached), &got[..]);
            prop_assert_eq!(root.map(|root| root.depth), received.values().max().copied());
            // Nobody else thinks to be on the tree.
            let placed = (0..10).map(id).filter(|router| place(router).is_some()).count();
            prop_assert_eq!(placed, received.len() + usize::from(root.is_some()));
        }
    }
}

#[test]
fn the_narrowest_link_counts_and_branches_to_nobody_do_not() {
    let topology = both_ways(&[
        (0, 1, 1500),
        (1, 2, 1400),
        (2, 3, 1450),
        (3, 4, 1500),
        (4, 5, 1500),
        (5, 6, 1280),
    ]);
    let places = all(7, &topology, &members(0..6));
    let root = places[0][&(VNI, id(0))].root.clone().unwrap();
    let reached: Vec<_> = (1..6).map(id).collect();
    assert_eq!((root.reached, root.depth, root.mtu), (reached, 5, 1400));
    assert!(places[6].is_empty(), "it is no member and relays nothing");
    assert_eq!(
        places[5][&(VNI, id(5))].root.as_ref().map(|root| root.mtu),
        Some(1400)
    );
}

#[test]
fn a_branch_that_moves_far_away_is_told_to_the_source() {
    let with = |delay_us| {
        let links = [
            (0, 1, 1),
            (1, 2, 1),
            (1, 3, 1),
            (2, 4, 9),
            (3, 4, delay_us),
            (4, 5, 1),
        ];
        let both = links.map(|(a, b, ms)| [(a, b, ms * 1000, 1500), (b, a, ms * 1000, 1500)]);
        topology(&both.concat())
    };
    let mut trees = Trees::new(id(0));
    let registry = registry(0, &members(0..6));
    let mut of = |topology| trees.recompute(START, &topology, &registry);
    let told = of(with(20));
    let (_, _, Some(before)) = &told[0] else {
        panic!("{told:?}")
    };
    assert!(of(with(15)).is_empty(), "4 hangs on 2 as before");
    let told = of(with(5));
    let (_, _, Some(after)) = &told[0] else {
        panic!("{told:?}")
    };
    let shape = |tree: &Tree| tree.root.as_ref().map(|root| root.shape);
    assert_ne!(shape(before), shape(after));
    let same = |tree: &Tree| (tree.children.clone(), tree.root.as_ref().map(|root| root.depth));
    assert_eq!(same(before), same(after));
    let told = of(with(20));
    assert_eq!(told[0].2.as_ref(), Some(before));
}

#[test]
fn only_changes_are_told() {
    let star: Vec<_> = (1..7).map(|n| (0, n, 1500)).collect();
    let mut topology = both_ways(&star);
    let mut own = registry(0, &members(1..6));
    let mut trees = Trees::new(id(0));
    let recompute =
        |trees: &mut Trees, topology: &Topology, own: &Registry| trees.recompute(START, topology, own);
    assert!(recompute(&mut trees, &topology, &own).is_empty());
    use_all(&mut trees, START, &members(0..6));
    assert!(
        recompute(&mut trees, &topology, &own).is_empty(),
        "five members are few"
    );
    assert!(!trees.misses_members(&own));
    let mac = Mac([2, 0, 0, 0, 1, 0]);
    own.attach(VNI, mac, vec![]);
    assert!(trees.misses_members(&own));
    assert_eq!(recompute(&mut trees, &topology, &own).len(), 1, "its own");
    use_all(&mut trees, START, &members(0..6));
    assert_eq!(recompute(&mut trees, &topology, &own).len(), 5);
    // A second port here changes nothing, nor does one there.
    own.attach(VNI, Mac([2, 0, 0, 0, 1, 1]), vec![]);
    let entries = vec![
        (Mac([2, 0, 0, 0, 0, 1]), vec![]),
        (Mac([2, 0, 0, 0, 2, 1]), vec![]),
    ];
    own.learn(id(1), u64::from(VNI.0) << 16, &MacsBody { vni: VNI, entries });
    assert!(!trees.misses_members(&own));
    // A link without a data path is none.
    topology.set(id(6), vec![]);
    assert!(recompute(&mut trees, &topology, &own).is_empty());
    topology.set(id(5), vec![]);
    let changes = recompute(&mut trees, &topology, &own);
    assert!(changes.contains(&(VNI, id(5), None)));
    assert_eq!(changes.len(), 6);
    own.forget(&id(1));
    let changes = recompute(&mut trees, &topology, &own);
    assert!(changes.iter().all(|(_, _, tree)| tree.is_none()) && changes.len() == 5);
    own.detach(VNI, &mac);
    assert!(!trees.misses_members(&own), "it has none and gets none");
}

#[test]
fn trees_are_kept_while_they_are_used() {
    let star: Vec<_> = (1..7).map(|n| (0, n, 1500)).collect();
    let topology = both_ways(&star);
    let own = registry(0, &members(0..7));
    let mut trees = Trees::new(id(0));
    assert_eq!(trees.recompute(START, &topology, &own).len(), 1);
    assert_eq!(trees.next_timeout(), None);
    assert!(!trees.note_use(START, VNI, id(0)), "its own is there");
    assert!(!trees.note_use(START, Vni(8), id(1)) && !trees.note_use(START, VNI, id(9)));
    assert!(trees.note_use(START, VNI, id(1)));
    assert_eq!(trees.recompute(START, &topology, &own).len(), 1);
    let later = START + Duration::from_secs(200);
    assert!(!trees.note_use(later, VNI, id(1)) && trees.note_use(later, VNI, id(2)));
    let last = START + Duration::from_secs(300);
    assert_eq!(trees.recompute(last, &topology, &own).len(), 1);
    assert!(!trees.note_use(last, VNI, id(2)));
    assert_eq!(trees.next_timeout(), Some(later + TREE_KEPT));
    let changes = trees.recompute(later + TREE_KEPT, &topology, &own);
    assert_eq!(changes, [(VNI, id(1), None)]);
    assert_eq!(trees.sources.len(), 2);
}

#[test]
fn a_tree_without_a_place_ends_with_its_network() {
    let topology = both_ways(&[(0, 1, 1500)]);
    let mut trees = Trees::new(id(0));
    let changes = trees.recompute(START, &topology, &registry(0, &members(2..8)));
    assert_eq!(changes, []);
    assert!(
        trees.note_use(START, VNI, id(2)),
        "as a frame says that came along it"
    );
    assert_eq!(
        trees.recompute(START, &topology, &registry(0, &members(2..8))),
        []
    );
    assert_eq!(trees.next_timeout(), Some(START + TREE_KEPT));
    assert_eq!(
        trees.recompute(START, &topology, &registry(0, &members(2..4))),
        []
    );
    assert_eq!(trees.next_timeout(), None);
}

#[test]
fn what_is_too_deep_gets_copies() {
    let line: Vec<_> = (0..40).map(|n| (n, n + 1, 1500)).collect();
    let topology = both_ways(&line);
    let members = members([0, 1, 2, 3, 4, 32, 33, 40]);
    let places = all(41, &topology, &members);
    let root = places[0][&(VNI, id(0))].root.clone().unwrap();
    assert_eq!((root.reached.len(), root.depth), (5, 32));
    assert!(!places[32].contains_key(&(VNI, id(33))) || places[32][&(VNI, id(33))].parent == Some(id(33)));
    assert!(!places[33].contains_key(&(VNI, id(0))));
}

#[test]
fn trees_used_are_bounded() {
    let star: Vec<_> = (1..6).map(|n| (0, n, 1500)).collect();
    let topology = both_ways(&star);
    let mut own = registry(0, &members(0..6));
    let mut trees = Trees::new(id(0));
    let stranger = |n: u16| {
        let mut stranger = [0xee; 32];
        stranger[..2].copy_from_slice(&n.to_be_bytes());
        PeerId(stranger)
    };
    for n in 0..300 {
        let entries = vec![(Mac([2, 0, 0, 1, 0, 0]), vec![])];
        own.learn(
            stranger(n),
            u64::from(VNI.0) << 16,
            &MacsBody { vni: VNI, entries },
        );
    }
    assert_eq!(
        trees.recompute(START, &topology, &own).len(),
        1,
        "however many they are"
    );
    let taken = (0..300)
        .filter(|&n| trees.note_use(START, VNI, stranger(n)))
        .count();
    assert_eq!(taken, MAX_TREES_USED);
    assert!(!trees.note_use(START, VNI, id(1)));
    let later = START + TREE_KEPT;
    assert!(trees.recompute(later, &topology, &own).is_empty());
    assert!(trees.note_use(later, VNI, id(1)));
    assert_eq!(trees.recompute(later, &topology, &own).len(), 1);
}

proptest! {
    /// Trees that are kept up to date are those that would be computed now.
    #[test]
    fn changes_of_links_change_places(
        steps in prop::collection::vec((0u8..8, prop::collection::vec((0u8..8, 0u32..6, 0u16..2), 0..6)), 1..30),
    ) {
        let members = members(0..7);
        let registry = registry(0, &members);
        let mut topology = Topology::default();
        let mut kept = Trees::new(id(0));
        let mut work = Work::default();
        for n in 0..8 {
            topology.set(id(n), vec![]);
        }
        kept.update(START, &topology.told, &topology.links, &registry, &mut work);
        use_all(&mut kept, START, &members);
        for (origin, links) in steps {
            let adjacency = |&(to, delay, mtu): &(u8, u32, u16)| Adjacency {
                neighbor: id(to).short(),
                label: LinkLabel(1),
                delay: Delay::from_us(u64::from(delay) * 500),
                mtu: mtu * 1400,
            };
            topology.set(id(origin), links.iter().map(adjacency).collect());
            kept.update(START, &topology.told, &topology.links, &registry, &mut work);
            topology.links.done();
            let mut fresh = Trees::new(id(0));
            fresh.recompute(START, &topology, &registry);
            use_all(&mut fresh, START, &members);
            fresh.recompute(START, &topology, &registry);
            prop_assert_eq!(&kept.places, &fresh.places);
        }
    }
}
