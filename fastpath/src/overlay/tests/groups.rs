//! Frames for groups.

use super::*;
use crate::overlay::moves::{HELD, SETTLED};
use mesh::TreeRoot;

const VNI: Vni = Vni(7);

/// Five other members, 1 and 2 next to this router, the others behind 1, and all of them fast.
fn network() -> World {
    let mut world = World::new();
    for n in 1..=5 {
        world.meet(n);
        world.members.insert(label(n), 9000);
    }
    for n in 1..=2 {
        world.direct(n, Some(false));
        world.route(n, Some(&[n]));
    }
    for n in 3..=5 {
        world.route(n, Some(&[1, n]));
    }
    world.input(Input::Members {
        vni: VNI,
        members: (1..=5).map(id).collect(),
    });
    own_tree(&mut world, &[1, 2], 2);
    world.until(secs(3), |world| (1..=5).all(|n| world.is_fast(n)));
    world
}

fn own_tree(world: &mut World, children: &[u8], depth: u8) {
    let shape = children.iter().map(|child| 100 * u64::from(*child)).sum();
    shaped(world, children, depth, shape);
}

fn shaped(world: &mut World, children: &[u8], depth: u8, shape: u64) {
    let tree = Tree {
        parent: None,
        children: children.iter().copied().map(id).collect(),
        root: Some(TreeRoot {
            reached: (1..=5).map(id).collect(),
            depth,
            mtu: MTU,
            shape,
        }),
    };
    let (source, tree) = (id(0), Some(tree));
    world.input(Input::Tree {
        vni: VNI,
        source,
        tree,
    });
}

fn is_ready(world: &World) -> bool {
    world.trees.get(&PeerLabel::NONE).is_some_and(|place| place.ready)
}

fn use_it(world: &mut World, time: Duration) {
    let end = world.now + time;
    while world.now < end {
        world.input(Input::TreeUsed { vni: VNI });
        world.run(secs(1));
    }
}

#[test]
fn a_tree_is_used_once_every_member_answered_and_while_it_is_needed() {
    let mut world = network();
    world.run(secs(60));
    assert!(!is_ready(&world));
    assert_eq!(world.tree_probes, 0, "nobody broadcasts");
    world.input(Input::TreeUsed { vni: VNI });
    let took = world.until(ms(500), is_ready);
    println!("ready after {took:?}");
    let place = world.trees[&PeerLabel::NONE].clone();
    assert_eq!((place.children, place.depth), (vec![label(1), label(2)], 2));
    use_it(&mut world, secs(120));
    assert!(is_ready(&world));
    let before = world.tree_probes;
    world.run(UNUSED + secs(1));
    assert!(!is_ready(&world), "nobody used it for long");
    assert!(world.tree_probes > before);
    let before = world.tree_probes;
    world.run(secs(60));
    assert_eq!(world.tree_probes, before);
}

#[test]
fn one_member_that_does_not_answer_leaves_all_to_sleeve() {
    let mut world = network();
    world.members.insert(label(4), 0);
    use_it(&mut world, secs(10));
    assert!(!is_ready(&world));
    world.members.insert(label(4), 9000);
    world.until(secs(3), is_ready);
    world.members.insert(label(5), 200);
    // Three probes and their patience.
    let took = world.until(secs(4), |world| !is_ready(world));
    assert!(took < secs(3), "{took:?}");
    world.members.insert(label(5), 9000);
    world.until(secs(5), is_ready);
}

#[test]
fn a_member_that_is_not_fast_or_not_on_the_tree_leaves_all_to_sleeve() {
    let mut world = network();
    use_it(&mut world, secs(3));
    assert!(is_ready(&world));
    // A sixth member that the tree does not reach yet.
    world.meet(6);
    world.input(Input::Members {
        vni: VNI,
        members: (1..=6).map(id).collect(),
    });
    assert!(!is_ready(&world));
    world.input(Input::Members {
        vni: VNI,
        members: (1..=5).map(id).collect(),
    });
    assert!(is_ready(&world));
    world.answers.insert(label(3), 0);
    world.until(secs(4), |world| !world.is_fast(3));
    assert!(!is_ready(&world));
}

#[test]
fn another_tree_and_one_too_deep_are_proven_first() {
    let mut world = network();
    use_it(&mut world, secs(3));
    own_tree(&mut world, &[1], 2);
    assert!(!is_ready(&world));
    let before = world.tree_probes;
    use_it(&mut world, SETTLED - secs(1));
    assert_eq!(world.tree_probes, before, "others have their former places yet");
    world.until(secs(2), is_ready);
    // Somebody far away hangs on another; and then again, before all have moved.
    shaped(&mut world, &[1], 2, 1);
    use_it(&mut world, SETTLED - secs(1));
    shaped(&mut world, &[1], 2, 2);
    use_it(&mut world, SETTLED - secs(1));
    assert!(!is_ready(&world));
    world.until(secs(2), is_ready);
    own_tree(&mut world, &[1], 9);
    assert_eq!(
        world.trees.get(&PeerLabel::NONE),
        None,
        "a packet goes over eight hops at most"
    );
    use_it(&mut world, secs(5));
    assert!(!is_ready(&world));
}

#[test]
fn places_in_others_trees_follow_labels_and_go_with_their_source() {
    let mut world = network();
    let tree = Tree {
        parent: Some(id(1)),
        children: vec![id(2)],
        root: None,
    };
    let source = id(3);
    let told = |tree| Input::Tree {
        vni: VNI,
        source,
        tree,
    };
    world.input(told(Some(tree)));
    let place = Place {
        parent: label(1),
        children: vec![label(2)],
        ..Place::default()
    };
    assert_eq!(world.trees.get(&label(3)), Some(&place));
    let (peer, other) = (id(2), PeerLabel(999));
    world.input(Input::Label { peer, label: other });
    assert_eq!(world.trees[&label(3)].children, [other]);
    let (peer, other) = (source, PeerLabel(998));
    world.input(Input::Label { peer, label: other });
    assert_eq!(world.trees.get(&label(3)), None);
    assert_eq!(world.trees[&other].parent, label(1));
    // Router 2 has label 999 now.
    let under = |parent| {
        let tree = Tree {
            parent: Some(id(parent)),
            children: vec![],
            root: None,
        };
        told(Some(tree))
    };
    world.input(under(2));
    world.run(HELD - secs(1));
    assert_eq!(
        world.trees[&other].parent,
        label(1),
        "its source may not have heard of it yet"
    );
    world.run(secs(1));
    assert_eq!(world.trees[&other].parent, PeerLabel(999));
    world.input(told(None));
    world.run(HELD - secs(1));
    assert!(world.trees.contains_key(&other));
    world.run(secs(1));
    assert_eq!(world.trees.get(&other), None);
}

#[test]
fn after_a_restart_a_tree_that_grows_is_proven_at_once() {
    let mut world = World::new();
    let trees = BTreeSet::from([(VNI, PeerLabel::NONE)]);
    let before = Overlay::new(config(), Instant(0), [].into(), [].into());
    world.overlay = before.with_groups(Instant(0), BTreeMap::new(), trees);
    let left = Place {
        children: vec![label(9)],
        ready: true,
        ..Place::default()
    };
    world.trees = BTreeMap::from([(PeerLabel::NONE, left.clone())]);
    for (n, path) in [
        (1, vec![1]),
        (2, vec![2]),
        (3, vec![1, 3]),
        (4, vec![1, 4]),
        (5, vec![1, 5]),
    ] {
        world.meet(n);
        world.members.insert(label(n), 9000);
        world.direct(n, (n <= 2).then_some(false));
        world.route(n, Some(&path));
    }
    let members = (1..=5).map(id).collect();
    world.input(Input::Members { vni: VNI, members });
    own_tree(&mut world, &[1], 2);
    use_it(&mut world, secs(1));
    own_tree(&mut world, &[1, 2], 2);
    use_it(&mut world, secs(2));
    assert_ne!(world.trees[&PeerLabel::NONE], left, "the one of the earlier run");
    assert!(is_ready(&world));
    // From then on it moves as any other.
    use_it(&mut world, secs(8));
    own_tree(&mut world, &[1], 2);
    use_it(&mut world, SETTLED - secs(1));
    assert!(!is_ready(&world));
}

#[test]
fn a_tree_that_was_gone_for_a_moment_moves_as_well() {
    let mut world = network();
    use_it(&mut world, secs(3));
    assert!(is_ready(&world));
    let source = id(0);
    world.input(Input::Tree {
        vni: VNI,
        source,
        tree: None,
    });
    assert!(!is_ready(&world));
    world.run(secs(1));
    own_tree(&mut world, &[1, 2], 2);
    use_it(&mut world, SETTLED - secs(1));
    assert!(!is_ready(&world));
    world.until(secs(2), is_ready);
}

#[test]
fn what_an_earlier_run_left_of_copies_leaves_nobody_out() {
    let mut world = World::new();
    let left = BTreeMap::from([(VNI, vec![label(1), label(2)])]);
    let trees = BTreeSet::from([(VNI, label(3)), (VNI, PeerLabel::NONE)]);
    world.overlay = std::mem::replace(
        &mut world.overlay,
        Overlay::new(config(), Instant(0), [].into(), [].into()),
    )
    .with_groups(Instant(0), left, trees.clone());
    world.copies = vec![label(1), label(2)];
    world.trees = trees
        .iter()
        .map(|(_, source)| (*source, Place::default()))
        .collect();
    world.meet(1);
    let members = |members: &[u8]| Input::Members {
        vni: VNI,
        members: members.iter().copied().map(id).collect(),
    };
    world.input(members(&[1]));
    assert_eq!(world.copies.len(), 2, "the other is not heard of yet");
    // One whose label is not known yet may be among them; a newcomer is not.
    world.input(members(&[1, 2, 4]));
    assert_eq!(world.copies.len(), 2);
    world.meet(4);
    assert_eq!(world.copies, [], "it would be left out");
    assert_eq!(world.trees.len(), 2);
    world.run(GRACE + secs(1));
    assert_eq!(world.trees.len(), 0, "nobody claimed them");
}
