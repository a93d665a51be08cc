//! Where the kernel encrypts.

use super::*;

impl World {
    fn cover(&mut self, n: u8, cover: Cover) {
        let address = address(n);
        let path = Some(Direct { address, cover });
        self.input(Input::Direct { peer: id(n), path });
    }

    fn allow(&mut self, n: u8, allowed: bool) {
        let peer = id(n);
        self.input(Input::Relay { peer, allowed });
    }

    /// A line whose first hop is encrypted; this router lets relays see frames.
    fn covered(relays: bool) -> Self {
        let mut world = Self::new();
        world.overlay =
            Overlay::new(config(), Instant(0), BTreeMap::new(), BTreeMap::new()).with_relays(relays);
        world.meet(1);
        world.meet(2);
        world.cover(1, Cover::Esp);
        world.route(1, Some(&[1]));
        world.route(2, Some(&[1, 2]));
        world
    }
}

#[test]
fn a_neighbour_is_fast_once_keys_are_agreed_on_and_no_longer_when_they_are_lost() {
    let mut world = World::line();
    world.cover(1, Cover::Missing(NoEsp::Agreeing));
    world.run(secs(1));
    assert_eq!(world.why(1), Some(Why::NoEsp(NoEsp::Agreeing)));
    assert!(world.senders.is_empty() && world.hops.is_empty());
    world.cover(1, Cover::Esp);
    world.until(secs(2), |world| world.is_fast(1));
    assert!(!world.hops[&label(1)].relays, "nobody's frames go on from here");
    world.cover(1, Cover::Missing(NoEsp::Agreeing));
    assert!(!world.is_fast(1) && world.senders.is_empty());
    world.cover(1, Cover::Esp);
    world.answers.clear();
    world.run(secs(5));
    let address = address(1);
    assert_eq!(world.why(1), Some(Why::SilentEsp { address }));
}

#[test]
fn over_an_encrypted_hop_relays_see_frames_only_if_all_on_the_way_let_them() {
    for lacks in 0..3 {
        let mut world = World::covered(lacks != 0);
        world.allow(1, lacks != 1);
        world.allow(2, lacks != 2);
        world.run(secs(10));
        assert!(world.is_fast(1) && !world.is_fast(2), "{lacks}");
        let without = (lacks != 0).then(|| id(lacks));
        assert_eq!(world.why(2), Some(Why::Relayed { without }));
        assert_eq!(world.overlay.first_hop(&id(2)), Some(id(1)));
        assert!(
            !world.hops.contains_key(&label(2)),
            "nor do others' frames go there"
        );
    }
    let mut world = World::covered(true);
    world.allow(1, true);
    world.allow(2, true);
    world.until(secs(4), |world| world.is_fast(2));
    assert!(world.hops[&label(1)].relays && world.hops[&label(2)].relays);
    // It is taken back.
    world.allow(2, false);
    assert!(!world.is_fast(2) && world.is_fast(1));
    assert!(!world.hops.contains_key(&label(2)));
}

#[test]
fn a_way_in_the_clear_is_not_kept_while_one_that_is_encrypted_is_proven() {
    let mut world = World::line();
    world.run(secs(10));
    assert!(world.is_fast(1));
    let (address, cover) = (address(11), Cover::Esp);
    let path = Some(Direct { address, cover });
    world.input(Input::Direct { peer: id(1), path });
    assert!(
        !world.is_fast(1),
        "frames would go in the clear to the old address"
    );
    world.until(secs(4), |world| world.is_fast(1));
    assert_eq!(world.hops[&label(1)].address, address);
}

#[test]
fn what_an_earlier_run_encrypted_carries_on_without_a_write() {
    let mut first = World::covered(true);
    first.allow(1, true);
    first.allow(2, true);
    first.run(secs(10));
    assert!(first.is_fast(1) && first.is_fast(2));
    let mut world = World::after(first.hops.clone(), first.senders.clone());
    world.overlay =
        Overlay::new(config(), Instant(0), first.hops.clone(), first.senders.clone()).with_relays(true);
    for n in [1, 2] {
        world.allow(n, true);
        world.meet(n);
    }
    world.run(ms(300));
    world.cover(1, Cover::Esp);
    world.route(1, Some(&[1]));
    world.route(2, Some(&[1, 2]));
    world.run(secs(120));
    assert!(world.is_fast(1) && world.is_fast(2));
    assert_eq!((world.writes, &world.senders), (0, &first.senders));
}

#[test]
fn what_an_earlier_run_left_leans_on_the_router_whose_address_it_goes_to() {
    let mut first = World::line();
    first.run(secs(10));
    // Router 2 is now reached over router 3, whose address is another than the one that was left.
    let mut world = World::after(first.hops.clone(), first.senders.clone());
    for n in 1..=3 {
        world.meet(n);
    }
    world.direct(1, Some(false));
    world.route(1, Some(&[1]));
    world.direct(3, Some(false));
    world.answers.remove(&label(3));
    world.route(3, Some(&[3]));
    world.route(2, Some(&[3, 2]));
    assert_eq!(world.hops[&label(2)].address, address(1));
    // Nothing comes back from router 3, and that is no reason to leave the way over router 1.
    for _ in 0..50 {
        world.run(ms(100));
        assert!(world.is_fast(2));
    }
}

#[test]
fn a_tree_over_encrypted_hops_is_passed_on_only_by_leave_of_all() {
    let mut world = World::covered(true);
    world.meet(3);
    let vni = Vni(7);
    let tree = |children: &[u8]| Input::Tree {
        vni,
        source: id(2),
        tree: Some(Tree {
            parent: Some(id(1)),
            children: children.iter().copied().map(id).collect(),
            root: None,
        }),
    };
    world.input(tree(&[3]));
    assert!(!world.trees.contains_key(&label(2)));
    world.allow(1, true);
    assert!(!world.trees.contains_key(&label(2)));
    world.allow(2, true);
    assert_eq!(world.trees[&label(2)].children, [label(3)]);
    world.allow(1, false);
    assert!(!world.trees.contains_key(&label(2)));
    // What ends here is seen by nobody else.
    world.input(tree(&[]));
    assert!(world.trees[&label(2)].children.is_empty());
}
