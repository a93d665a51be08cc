//! Broadcast along trees.

use crate::forest::*;
use crate::harness::*;
use mesh::{DropReason, Tree, TreeRoot};
use rand_core::RngCore;
use sleeve::Input;
use sleeve::io::memory::Wire;

const EIGHT: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// The source's name for the key that a group datagram was sealed under.
fn key(bytes: &[u8]) -> &[u8] {
    &bytes[44..48]
}

#[test]
fn each_frame_reaches_each_member_once() {
    for links in [line(8), star(8), full(8)] {
        let mut forest = Forest::new(8, links, &EIGHT);
        forest.warm(&EIGHT);
        for source in EIGHT {
            for number in 0..10 {
                let (groups, copies) = forest.broadcast(source, number, 300);
                assert_eq!((groups.len(), copies), (7, 0), "one datagram for each branch");
            }
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_while_keys_are_given() {
    let mut forest = Forest::new(8, full(8), &EIGHT);
    let mut ways = (0, 0);
    for number in 0..20 {
        let (groups, copies) = forest.broadcast(3, number, 300);
        assert!((groups.len(), copies) == (7, 0) || (groups.len(), copies) == (0, 7));
        ways = (ways.0 + groups.len(), ways.1 + copies);
    }
    assert!(
        ways.0 > 100 && ways.1 >= 7,
        "copies first, then the tree: {ways:?}"
    );
    forest.assert_no_drops();
}

#[test]
fn relays_that_are_no_members_hand_on_what_they_cannot_open() {
    let members = [0, 1, 3, 4, 6, 7];
    let mut forest = Forest::new(9, line(9), &members);
    forest.warm(&members);
    for number in 0..10 {
        let (groups, copies) = forest.broadcast(0, number, 300);
        assert_eq!(
            (groups.len(), copies),
            (7, 0),
            "not to the last one, which is on no branch"
        );
        let marker = b"the payload that must never be seen in clear";
        for packet in groups {
            assert!(!packet.bytes.windows(marker.len()).any(|window| window == marker));
        }
    }
    for relay in [2, 5] {
        assert!(forest.world.nodes[relay].frames.is_empty());
        assert_eq!(forest.world.nodes[relay].drops.nonzero().count(), 0);
    }
    // With a port of its own, and no key, it gets nothing either.
    forest.world.nodes[2].plane.attach(VNI, mac(2), &[ip(2)]);
    forest.broadcast(0, 10, 300);
    assert_eq!(forest.world.drops(2, DropReason::UnknownGroupKey), 1);
}

#[test]
fn replays_forgeries_and_strangers_are_dropped() {
    let mut forest = Forest::new(8, line(8), &EIGHT);
    forest.warm(&[0]);
    let (groups, _) = forest.broadcast(0, 0, 300);
    let world = &mut forest.world;
    let address = world.nodes[3].address;
    let packet = groups.iter().find(|packet| packet.to == address).unwrap().clone();
    let frames = world.nodes[3].frames.len();
    world.net.inject(&packet);
    world.run(ms(20));
    assert_eq!(world.drops(3, DropReason::RelayReplayed), 1);
    for at in [1, 2, 9, 20, 33, 40, 43, 45, 50] {
        let mut forged = packet.clone();
        forged.bytes[8..16].copy_from_slice(&(1u64 << 40).to_be_bytes());
        forged.bytes[at] ^= 1;
        world.net.inject(&forged);
    }
    let mut short = packet.clone();
    short.bytes.truncate(70);
    world.net.inject(&short);
    world.run(ms(20));
    assert_eq!(world.drops(3, DropReason::RelayUnauthentic), 9);
    assert_eq!(world.drops(3, DropReason::Truncated), 1);
    assert_eq!(world.nodes[3].frames.len(), frames);
    // An authentic hop, but what it carries was changed on the way: nobody believes it.
    world.wire(2, 3, Some(Wire::cut()));
    let _ = world.net.captured();
    world.send(0, &to_all(0, 1, 300));
    world.run(ms(20));
    let captured = world.net.captured();
    world.wire(2, 3, None);
    let mut forged = captured
        .into_iter()
        .find(|packet| packet.bytes[0] == 4 && packet.to == address)
        .unwrap();
    forged.bytes[60] ^= 1;
    world.net.inject(&forged);
    world.run(ms(20));
    assert_eq!(world.drops(3, DropReason::Unauthentic), 1);
    assert_eq!(world.nodes[3].frames.len(), frames);
    // From a neighbour that is the parent no more: for four seconds.
    forest.graft(3, 0, 4, &[]);
    forest.world.send(0, &to_all(0, 2, 300));
    forest.world.run(ms(3900));
    assert_eq!(forest.world.drops(3, DropReason::NotMyParent), 0);
    assert_eq!(forest.world.nodes[3].frames.len(), frames + 1);
    forest.world.run(ms(100));
    forest.world.send(0, &to_all(0, 3, 300));
    forest.world.run(ms(20));
    assert_eq!(forest.world.drops(3, DropReason::NotMyParent), 1);
    assert_eq!(forest.world.nodes[3].frames.len(), frames + 1);
}

#[test]
fn contradictory_trees_cannot_storm() {
    // 1 and 2 are relays without a key, each of which will take the other for its parent.
    let members = [0, 3, 4, 5, 6, 7];
    let mut forest = Forest::new(8, line(8), &members);
    forest.warm(&[0]);
    forest.graft(1, 0, 0, &[2]);
    forest.graft(2, 0, 1, &[1, 3]);
    let slow = Wire {
        delay: ms(20),
        ..Wire::default()
    };
    forest.world.wire(1, 2, Some(slow));
    for number in 0..5 {
        forest.graft(1, 0, 0, &[2]);
        forest.world.send(0, &to_all(0, number, 300));
        forest.world.run(ms(10));
        forest.graft(1, 0, 2, &[2]);
        let _ = forest.world.net.captured();
        forest.world.run(secs(5));
        let groups = forest.world.net.captured();
        let groups = groups.iter().filter(|packet| packet.bytes[0] == 4).count();
        // To 2 and back, with a copy for those behind 2, who hand it on once.
        assert!((6..=10).contains(&groups), "{groups}");
    }
    for member in 3..8 {
        let got = forest.world.nodes[member].frames.len();
        assert_eq!(got, 5, "each frame once; the first found no session");
    }
    // What comes back ends at the relay that has two parents.
    assert_eq!(forest.world.drops(1, DropReason::Replayed), 5);
}

#[test]
fn a_frame_is_passed_on_by_twice_as_many_as_its_tree_is_deep() {
    let mut forest = Forest::new(8, line(8), &EIGHT);
    let id = |forest: &Forest, n: usize| forest.world.nodes[n].id;
    let tree = Tree {
        parent: None,
        children: vec![id(&forest, 1)],
        root: Some(TreeRoot {
            reached: (1..8).map(|n| id(&forest, n)).collect(),
            depth: 2,
            mtu: 1500,
            shape: 0,
        }),
    };
    let source = id(&forest, 0);
    forest.plant(0, source, Some(tree));
    forest.warm(&[0]);
    let old: Vec<_> = (0..8).map(|n| forest.world.nodes[n].frames.len()).collect();
    forest.world.send(0, &to_all(0, 1, 300));
    forest.world.run(ms(100));
    let got: Vec<_> = (1..8)
        .map(|n| forest.world.nodes[n].frames.len() - old[n])
        .collect();
    assert_eq!(got, [1, 1, 1, 1, 1, 0, 0]);
    assert_eq!(forest.world.drops(5, DropReason::HopLimit), 1);
}

/// A change of the topology comes to routers one after the other: whoever hears of it first or last, no frame is lost.
#[test]
fn a_tree_moves_without_losing_a_frame() {
    // 4 hangs on 3, then on 5; 5 on 6, 6 on 7, 7 on 0.
    let ring: Vec<_> = line(8).into_iter().chain([(0, 7)]).collect();
    let before: [(usize, usize, &[usize]); 7] = [
        (1, 0, &[2]),
        (2, 1, &[3]),
        (3, 2, &[4]),
        (4, 3, &[]),
        (5, 6, &[]),
        (6, 7, &[5]),
        (7, 0, &[6]),
    ];
    let after: [(usize, usize, &[usize]); 3] = [(3, 2, &[]), (4, 5, &[]), (5, 6, &[4])];
    for relay in [false, true] {
        let others: Vec<_> = (0..8).filter(|&n| !relay || !(3..=4).contains(&n)).collect();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut forest = Forest::new(8, ring.clone(), &others);
            forest.warm(&[0]);
            let move_to = |forest: &mut Forest, place: (usize, usize, &[usize])| {
                forest.graft(place.0, 0, place.1, place.2);
            };
            before.iter().for_each(|&place| move_to(&mut forest, place));
            forest.world.run(secs(5));
            let old: Vec<_> = others
                .iter()
                .map(|&n| forest.world.nodes[n].frames.len())
                .collect();
            let mut number = 0;
            let mut send = |forest: &mut Forest| {
                number += 1;
                forest.world.send(0, &to_all(0, number, 300));
                forest.world.run(ms(200));
                number as usize
            };
            for place in order {
                move_to(&mut forest, after[place]);
                send(&mut forest);
            }
            let sent = (0..20).map(|_| send(&mut forest)).last().unwrap();
            for (&n, old) in others.iter().zip(old).skip(1) {
                let got = forest.world.nodes[n].frames.len() - old;
                assert_eq!(got, sent, "at {n}, in the order {order:?}");
            }
        }
    }
}

#[test]
fn whoever_leaves_reads_nothing_that_is_sent_later() {
    let mut forest = Forest::new(8, line(8), &EIGHT);
    forest.warm(&[0]);
    let (groups, _) = forest.broadcast(0, 0, 300);
    let old = key(&groups[0].bytes).to_vec();
    forest.join(&EIGHT[..7]);
    // Not even between the news and the next look at the trees.
    let (groups, copies) = forest.broadcast(0, 1, 300);
    assert_eq!(groups.len(), 0);
    assert!(copies > 6, "each over several hops");
    forest.grow();
    forest.warm(&[0]);
    // It keeps its port, its key and its place, and a neighbour that hands it everything.
    forest.graft(6, 0, 5, &[7]);
    forest.graft(7, 0, 6, &[]);
    let (groups, _) = forest.broadcast(0, 2, 300);
    assert_eq!(groups.len(), 7);
    assert!(groups.iter().all(|packet| key(&packet.bytes) != old));
    assert_eq!(forest.world.drops(7, DropReason::UnknownGroupKey), 1);
}

#[test]
fn one_that_the_tree_leaves_out_gets_copies_and_has_no_key() {
    let mut links = full(8);
    links.retain(|&(_, b)| b != 7);
    links.push((0, 7));
    links.push((1, 7));
    let mut forest = Forest::new(8, links, &EIGHT);
    forest.warm(&EIGHT);
    assert_eq!(forest.broadcast(2, 0, 300).0.len(), 7);
    // The source sees both links of router 7 as gone, everybody else does not.
    for n in [0, 1] {
        forest.world.nodes[n].direct.remove(&7);
    }
    forest.grow_at(2);
    forest.warm(&[2]);
    for number in 1..10 {
        let (groups, copies) = forest.broadcast(2, number, 300);
        assert!(groups.len() >= 6 && copies > 0, "{} {copies}", groups.len());
    }
    assert_eq!(forest.world.drops(7, DropReason::UnknownGroupKey), 9);
}

#[test]
fn while_a_member_has_no_key_all_get_copies() {
    let mut forest = Forest::new(8, full(8), &EIGHT);
    // Its direct path carries nothing for a moment: the key is lost.
    forest.world.wire(0, 5, Some(Wire::cut()));
    forest.world.send(0, &to_all(0, 100, 300));
    forest.world.run(ms(250));
    forest.world.wire(0, 5, None);
    assert_eq!(forest.broadcast(0, 0, 300), (vec![], 7));
    forest.world.run(secs(2));
    let (groups, copies) = forest.broadcast(0, 1, 300);
    assert_eq!((groups.len(), copies), (7, 0));
    // So it is while a member does not know its place.
    let (source, vni) = (forest.world.nodes[1].id, VNI);
    forest.world.input(
        4,
        Input::Tree {
            vni,
            source,
            tree: None,
        },
    );
    forest.world.send(1, &to_all(1, 100, 300));
    forest.world.run(secs(2));
    assert_eq!(forest.broadcast(1, 2, 300), (vec![], 7));
    forest.grow_at(4);
    forest.world.run(secs(6));
    assert_eq!(forest.broadcast(1, 3, 300).0.len(), 7);
    forest.assert_no_drops();
}

#[test]
fn a_member_that_was_restarted_gets_a_new_key() {
    let mut forest = Forest::new(8, full(8), &EIGHT);
    forest.warm(&[0]);
    let (groups, _) = forest.broadcast(0, 0, 300);
    assert_eq!(groups.len(), 7);
    forest.world.restart(5, &Options::default());
    for other in (0..8).filter(|&other| other != 5) {
        forest.world.link(5, other);
    }
    forest.join(&EIGHT);
    forest.world.run(secs(3));
    forest.grow();
    forest.warm(&[0]);
    for number in 1..5 {
        let (later, _) = forest.broadcast(0, number, 300);
        assert_eq!(later.len(), 7);
        assert_ne!(key(&later[0].bytes), key(&groups[0].bytes));
    }
}

#[test]
fn keys_are_renewed_while_they_are_used_and_no_frame_is_lost() {
    let mut forest = Forest::new(8, star(8), &EIGHT);
    forest.warm(&[3]);
    let mut keys = std::collections::BTreeSet::new();
    for number in 0..260 {
        let (groups, copies) = forest.broadcast(3, number, 300);
        assert_eq!((groups.len(), copies), (7, 0));
        keys.insert(key(&groups[0].bytes).to_vec());
        forest.world.run(ms(900));
    }
    assert_eq!(keys.len(), 3);
    // Nobody asks for one any more: the next frame finds none.
    forest.world.run(secs(200));
    let groups = forest.world.net.captured();
    assert!(groups.iter().all(|packet| packet.bytes[0] != 4));
    forest.warm(&[3]);
    let (groups, _) = forest.broadcast(3, 1000, 300);
    assert!(keys.insert(key(&groups[0].bytes).to_vec()));
}

#[test]
fn what_is_too_big_for_the_tree_goes_as_copies() {
    let mut forest = Forest::new(8, full(8), &EIGHT);
    forest.warm(&[0]);
    // 1500 less IPv6, UDP, header, tag and what stands before the frame.
    let fits = 1500 - 48 - 56 - 16 - 4;
    assert_eq!(forest.broadcast(0, 0, fits).0.len(), 7);
    assert_eq!(forest.broadcast(0, 1, fits + 1), (vec![], 7));
    assert_eq!(forest.broadcast(0, 2, 100).0.len(), 7);
    // A child without a direct path: copies, until the tree is another.
    forest.world.unlink(0, 4);
    forest.world.wire(0, 4, Some(Wire::cut()));
    forest.world.relayed(&[0, 1, 4], 1500);
    forest.world.run(secs(10));
    assert!(!forest.world.nodes[0].direct.contains_key(&4));
    assert_eq!(forest.broadcast(0, 3, 100).0, vec![]);
    forest.grow();
    forest.warm(&[0]);
    assert_eq!(forest.broadcast(0, 4, 100).0.len(), 7);
}

#[test]
fn small_groups_get_copies_as_ever() {
    let mut forest = Forest::new(6, full(6), &[0, 1, 2, 3, 4]);
    forest.warm(&[0]);
    for number in 0..5 {
        assert_eq!(forest.broadcast(0, number, 300), (vec![], 4));
    }
    // One more member makes it a large one, one less a small one again.
    forest.world.nodes[5].plane.attach(VNI, mac(5), &[ip(5)]);
    forest.join(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(forest.broadcast(0, 5, 300), (vec![], 5));
    forest.grow();
    forest.warm(&[0]);
    assert_eq!(forest.broadcast(0, 6, 300).0.len(), 5);
    forest.join(&[0, 1, 2, 3, 4]);
    assert_eq!(forest.broadcast(0, 7, 300), (vec![], 4));
    forest.grow();
    assert_eq!(forest.broadcast(0, 8, 300), (vec![], 4));
}

#[test]
fn on_lossy_wires_nothing_comes_twice() {
    let mut forest = Forest::new(8, full(8), &EIGHT);
    let lossy = Wire {
        loss: 0.2,
        duplicates: 0.3,
        ..Wire::default()
    };
    for (a, b) in full(8) {
        forest.world.wire(a, b, Some(lossy));
    }
    for number in 0..200 {
        for source in [0, 5] {
            forest.world.send(source, &to_all(source, number, 300));
        }
        forest.world.run(ms(100));
    }
    let mut got = 0;
    for node in &forest.world.nodes {
        let mut frames = node.frames.clone();
        frames.sort();
        frames.dedup();
        assert_eq!(frames.len(), node.frames.len());
        got += frames.len();
    }
    assert!(got > 1400, "{got} of 2800");
    assert!(forest.world.net.captured().is_empty());
}

#[test]
fn mutated_group_datagrams_change_nothing() {
    let mut forest = Forest::new(8, line(8), &EIGHT);
    forest.warm(&[0]);
    let (groups, _) = forest.broadcast(0, 0, 300);
    let world = &mut forest.world;
    let to_3 = groups.iter().find(|packet| packet.to == world.nodes[3].address);
    let (packet, mut random) = (to_3.unwrap().clone(), Random(7));
    let frames = world.nodes[3].frames.len();
    world.net.capture();
    let _ = world.net.captured();
    for _ in 0..3000 {
        let mut bytes = packet.bytes.clone();
        for _ in 0..=random.next_u32() % 4 {
            let at = random.next_u32() as usize % bytes.len();
            bytes[at] = random.next_u32() as u8;
        }
        if random.next_u32().is_multiple_of(8) {
            bytes.truncate(random.next_u32() as usize % bytes.len());
        }
        world.receive(3, packet.from, &bytes);
    }
    assert_eq!(world.nodes[3].frames.len(), frames);
    assert!(world.net.captured().is_empty(), "nor is anything sent");
    assert_eq!(forest.broadcast(0, 1, 300).0.len(), 7);
}

/// Views differ, links and members come and go, routers forget each other.
fn upheaval(forest: &mut Forest, random: &mut Random) {
    let mut pick = |n: usize| random.next_u32() as usize % n;
    let (a, b) = (pick(8), pick(8));
    match pick(9) {
        0 => forest.grow(),
        1 | 2 => forest.grow_at(a),
        3 => {
            let mut members = EIGHT.to_vec();
            members.retain(|&n| n != a && (n != b || a % 2 == 0));
            forest.join(&members);
        }
        4 => forest.join(&EIGHT),
        5 if a != b => {
            let loss = pick(3) as f64 * 0.4;
            let wire = Wire {
                loss,
                duplicates: 0.3,
                delay: ms(1 + pick(20) as u64),
                ..Wire::default()
            };
            forest.world.wire(a, b, Some(wire));
        }
        6 => {
            let (source, parent) = (pick(8), pick(8));
            let children: Vec<_> = (0..pick(4)).map(|_| pick(8)).collect();
            if source != a {
                forest.graft(a, source, parent, &children);
            }
        }
        7 => {
            forest.world.nodes[a].direct.remove(&b);
            forest.grow_at(b);
        }
        _ => {
            let (gone, info) = (forest.world.nodes[b].id, forest.world.nodes[b].info());
            if a != b {
                forest.world.input(a, Input::PeerGone(gone));
                forest.world.input(a, Input::Peer(info));
            }
        }
    }
}

#[test]
fn whatever_happens_no_frame_comes_twice() {
    for seed in 0..3 {
        let (mut forest, mut random) = (Forest::new(8, full(8), &EIGHT), Random(seed));
        forest.warm(&EIGHT);
        for number in 0..200 {
            upheaval(&mut forest, &mut random);
            for source in [0, 3, 5] {
                forest.world.send(source, &to_all(source, number, 300));
            }
            forest
                .world
                .run(ms([1, 30, 400, 2000][random.next_u32() as usize % 4]));
        }
        for (n, node) in forest.world.nodes.iter().enumerate() {
            let mut frames = node.frames.clone();
            frames.sort();
            frames.dedup();
            assert_eq!(frames.len(), node.frames.len(), "seed {seed}, at {n}");
            assert!(frames.len() > 130, "seed {seed}, at {n}: {}", frames.len());
        }
        // When all is well again, trees are used again, and everybody gets everything.
        for (a, b) in full(8) {
            forest.world.wire(a, b, None);
            forest.world.link(a, b);
        }
        forest.join(&EIGHT);
        forest.world.run(secs(30));
        for (a, b) in full(8) {
            for (a, b) in [(a, b), (b, a)] {
                forest.world.nodes[a].direct.entry(b).or_insert(1280);
            }
        }
        forest.grow();
        forest.warm(&EIGHT);
        forest.world.run(secs(130));
        forest.warm(&EIGHT);
        for source in EIGHT {
            let (groups, copies) = forest.broadcast(source, 1000, 300);
            assert_eq!((groups.len(), copies), (7, 0), "seed {seed}, from {source}");
        }
    }
}

#[test]
fn trees_are_asked_for_by_whoever_is_on_them() {
    // 0 – 1 – 2 – …, of which 1 is no member.
    let mut forest = Forest::new(8, line(8), &[0, 2, 3, 4, 5, 6, 7]);
    let source = forest.world.nodes[0].id;
    let short = source.short();
    let asked = |forest: &Forest| -> Vec<usize> {
        let asks = |n: &usize| forest.world.nodes[*n].used.contains(&short);
        (0..8).filter(asks).collect()
    };
    // Once places are known, each tells the router above it, so that relays hear of it, too.
    forest.world.run(secs(1));
    assert_eq!(asked(&forest), [1, 2, 3, 4, 5, 6]);
    // Members ask when they get the key, known place or not.
    for n in 1..8 {
        forest.plant(n, source, None);
        forest.world.nodes[n].used.clear();
    }
    forest.warm(&[0]);
    assert_eq!(asked(&forest), [2, 3, 4, 5, 6, 7]);
    // A relay that has forgotten its place asks at the first frame, and once the place is no more, loses that one.
    forest.grow();
    forest.warm(&[0]);
    forest.broadcast(0, 1, 200);
    forest.plant(1, source, None);
    for is_lost in [false, true] {
        forest.world.nodes.iter_mut().for_each(|node| node.used.clear());
        let got = forest.world.nodes[7].frames.len();
        forest.world.send(0, &to_all(0, 2, 200));
        forest.world.run(ms(100));
        assert_eq!(asked(&forest), [1]);
        assert_eq!(forest.world.nodes[7].frames.len() == got, is_lost);
        forest.world.run(ms(4000));
    }
    forest.grow_at(1);
    forest.broadcast(0, 3, 200);
    // While it is used, those on it say so every minute.
    forest.world.nodes.iter_mut().for_each(|node| node.used.clear());
    for second in 0..70 {
        forest.world.send(0, &to_all(0, 100 + second, 200));
        forest.world.run(secs(1));
    }
    assert_eq!(asked(&forest), [1, 2, 3, 4, 5, 6, 7]);
}
