//! Relays that find another way: around links that failed, and on from where a header was full.

use crate::harness::*;
use crate::relay::chain_with;
use mesh::DropReason;
use sleeve::io::memory::Wire;
use sleeve::{Input, Output};

/// The largest frame that passes over relays at an MTU of 1500.
const LARGEST: usize = 1500 - 48 - 111 - 32 - 4;
/// Where a relay header counts its marks.
const MARKS: usize = 32;

/// Routers joined by these links only.
fn joined(count: usize, links: &[(usize, usize)]) -> World {
    let mut world = World::new(count);
    for a in 0..count {
        for b in a + 1..count {
            if links.contains(&(a, b)) || links.contains(&(b, a)) {
                world.link(a, b);
            } else {
                world.wire(a, b, Some(Wire::cut()));
            }
        }
    }
    world.run(secs(1));
    world
}

fn ring(count: usize) -> World {
    let links: Vec<_> = (0..count).map(|n| (n, (n + 1) % count)).collect();
    joined(count, &links)
}

/// The wire between two nodes is dead, and both have just noticed that.
fn notice(world: &mut World, a: usize, b: usize) {
    world.wire(a, b, Some(Wire::cut()));
    world.unlink(a, b);
}

/// As [`notice`], and both have given up the direct path.
fn fail(world: &mut World, a: usize, b: usize) {
    notice(world, a, b);
    world.run(secs(1));
}

/// Longer than what routers tell each other over relays, shorter than any relayed frame.
const SHORTEST_FRAME: usize = 150;

/// How many frames left for `to` over relays since the last call, and the most marks one of them had.
fn relayed_to(world: &World, to: usize) -> (usize, u8) {
    let to = world.nodes[to].address;
    let captured = world.net.captured().into_iter();
    let relayed = captured
        .filter(|packet| packet.bytes[0] == 3 && packet.to == to && packet.bytes.len() > SHORTEST_FRAME);
    let marks: Vec<_> = relayed.map(|packet| packet.bytes[MARKS] & 0x0f).collect();
    (marks.len(), marks.into_iter().max().unwrap_or(0))
}

fn all_drops(world: &World) -> Vec<(usize, DropReason, u64)> {
    let nodes = world.nodes.iter().enumerate();
    nodes
        .flat_map(|(n, node)| {
            node.drops
                .nonzero()
                .map(move |(reason, count)| (n, reason, count))
        })
        .collect()
}

/// A chain in which everybody knows the way to everybody.
fn long_chain(count: usize) -> World {
    let mut world = chain_with(count, &Options::default());
    for a in 0..count {
        for b in a + 2..count {
            world.relayed(&(a..=b).collect::<Vec<_>>(), 1500);
        }
    }
    world
}

#[test]
fn a_path_over_eighteen_relays_goes_in_parts() {
    let mut world = long_chain(20);
    world.passes(0, 19, 0, 100);
    for number in 1..20 {
        assert!(world.passes(0, 19, number, LARGEST));
        assert!(world.passes(19, 0, number, 100));
    }
    assert_eq!(all_drops(&world), []);
    // Thirteen labels lead from 0 to 14, which writes the next part.
    world.net.capture();
    assert!(world.passes(0, 19, 20, 100));
    let packets = world.net.captured();
    let header = |to: usize| {
        let to = world.nodes[to].address;
        let packet = packets.iter().find(|p| p.bytes[0] == 3 && p.to == to);
        packet.unwrap().bytes[2..4].to_vec()
    };
    assert_eq!(header(14), [13, 13]);
    assert_eq!(header(15), [4, 0]);
    assert_eq!(header(19), [4, 4]);
}

#[test]
fn pings_reach_every_hop_of_a_path_in_parts() {
    let mut world = long_chain(20);
    let peer = world.nodes[19].id;
    for hop in 1..=19 {
        let (id, hops) = (hop as u64, Some(hop));
        world.input(0, Input::Ping { id, peer, hops });
    }
    world.run(secs(2));
    let pongs = std::mem::take(&mut world.nodes[0].pongs);
    assert_eq!(pongs.len(), 19);
    for pong in pongs {
        let Output::Pong { id, path, .. } = pong else {
            panic!("{pong:?}")
        };
        assert_eq!(path.last(), Some(&world.nodes[id as usize].id));
    }
}

#[test]
fn a_part_ends_where_the_destination_is_no_nearer() {
    let mut world = long_chain(20);
    world.passes(0, 19, 0, 100);
    assert!(world.passes(0, 19, 1, 100));
    // What 14 sees is as far as what 0 saw.
    let (peer, mut route) = (world.nodes[19].id, world.nodes[14].relayed[&19].clone());
    route.cost_us = 19_000;
    let route = Some(route);
    world.input(
        14,
        Input::Route {
            peer,
            route: route.clone(),
        },
    );
    assert!(!world.passes(0, 19, 2, 100));
    assert_eq!(world.drops(14, DropReason::NotNearer), 1);
    let route = route.map(|route| mesh::Route {
        cost_us: 18_999,
        ..route
    });
    world.input(14, Input::Route { peer, route });
    assert!(world.passes(0, 19, 3, 100));
    world.input(14, Input::Route { peer, route: None });
    assert!(!world.passes(0, 19, 4, 100));
    assert_eq!(world.drops(14, DropReason::NoRoute), 1);
}

#[test]
fn a_ring_loses_nothing_once_the_relay_has_noticed() {
    let mut world = ring(6);
    world.relayed(&[0, 1, 2, 3], 1500);
    world.relayed(&[2, 1, 0, 5, 4, 3], 1500);
    world.passes(0, 3, 0, 100);
    assert!(world.passes(0, 3, 1, 100) && world.passes(3, 0, 1, 100));
    world.nodes[3].frames.clear();
    round(&mut world, 2, 3, 0, Some(&[1, 0, 5, 4, 3]));
    // Cut while frames flow, noticed a little later.
    let mut number = 100;
    let mut send = |world: &mut World, count| {
        let from = number;
        for _ in 0..count {
            number += 1;
            world.send(0, &frame(0, 3, number, 100));
            world.run(ms(1));
        }
        from + 1
    };
    send(&mut world, 20);
    world.wire(2, 3, Some(Wire::cut()));
    send(&mut world, 20);
    world.run(ms(20));
    let before = world.nodes[3].frames.len();
    assert!(before < 40, "those on the wire are lost");
    // On their way when the relay notices: before it, nothing is lost any more.
    let first = send(&mut world, 1);
    world.unlink(2, 3);
    world.net.capture();
    send(&mut world, 2000);
    world.run(ms(50));
    assert_eq!(world.nodes[3].frames.len() - before, 2001, "from {first} on");
    assert_eq!(relayed_to(&world, 4), (2001, 1));
    assert!(
        !world.nodes[2].direct.contains_key(&3),
        "it has been given up meanwhile"
    );
    let relayed_drops = [DropReason::NoDetour, DropReason::NoRoute, DropReason::HopLimit];
    assert!(relayed_drops.iter().all(|&reason| world.drops(2, reason) == 0));
}

#[test]
fn a_link_that_is_gone_is_used_while_its_direct_path_works() {
    let mut world = ring(5);
    world.relayed(&[0, 1, 2], 1500);
    world.passes(0, 2, 0, 100);
    assert!(world.passes(0, 2, 1, 100));
    // Nobody knows another way.
    world.unlink(1, 2);
    assert!(world.passes(0, 2, 2, 100));
    world.run(secs(1));
    assert!(world.passes(0, 2, 3, 100));
    world.nodes[1].plane.set_label(mesh::LinkLabel(3), None);
    assert!(world.passes(0, 2, 4, 100));
    assert_eq!(world.nodes[1].downs, 0);
    world.wire(1, 2, Some(Wire::cut()));
    world.run(secs(20));
    let before = world.drops(1, DropReason::NoDetour);
    assert!(!world.passes(0, 2, 5, 100));
    assert!(world.drops(1, DropReason::NoDetour) > before);
}

/// 0-1-2-3 with 2-4-3 and 4-5-3 beside it.
fn two_ways_round() -> World {
    let mut world = joined(6, &[(0, 1), (1, 2), (2, 3), (2, 4), (4, 3), (4, 5), (5, 3)]);
    world.relayed(&[0, 1, 2, 3], 1500);
    world.relayed(&[2, 4, 3], 1500);
    world.passes(0, 3, 0, 100);
    assert!(world.passes(0, 3, 1, LARGEST));
    world
}

#[test]
fn a_second_failure_is_marked_beside_the_first() {
    let mut world = two_ways_round();
    world.relayed(&[4, 5, 3], 1500);
    fail(&mut world, 2, 3);
    fail(&mut world, 4, 3);
    world.net.capture();
    for number in 2..50 {
        assert!(world.passes(0, 3, number, LARGEST), "{number}");
    }
    assert_eq!(relayed_to(&world, 5), (48, 2));
}

#[test]
fn nobody_sends_a_packet_back_over_a_marked_link() {
    let mut world = two_ways_round();
    // 4 has not heard of the first failure: its only way leads back over it.
    world.relayed(&[4, 2, 3], 1500);
    fail(&mut world, 2, 3);
    fail(&mut world, 4, 3);
    world.net.capture();
    assert!(!world.passes(0, 3, 2, 100));
    assert_eq!(world.drops(4, DropReason::NoDetour), 1);
    assert_eq!(relayed_to(&world, 2).0, 1);
    // Nor does one whose own way leads over the link that failed.
    world.relayed(&[2, 1, 0], 1500);
    world.run(secs(5));
    let (peer, back) = (world.nodes[3].id, world.nodes[4].relayed[&3].clone());
    world.input(
        2,
        Input::Route {
            peer,
            route: Some(back),
        },
    );
    assert!(!world.passes(0, 3, 3, 100));
    assert!(world.drops(2, DropReason::NoDetour) > 0);
}

/// 0 to 5 in a row, and 2-6-4 beside it; only 0 has a route to 5. 2 knows a way round 3 to 4, whom 3 calls 5.
fn bypass() -> World {
    let mut world = joined(7, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6), (6, 4)]);
    world.relayed(&[0, 1, 2, 3, 4, 5], 1500);
    world.passes(0, 5, 0, 100);
    assert!(world.passes(0, 5, 1, LARGEST));
    round(&mut world, 2, 3, 5, Some(&[6, 4]));
    world
}

/// Node `from` learns of a way round `neighbor`, whose next label is this.
fn round(world: &mut World, from: usize, neighbor: usize, label: u16, path: Option<&[usize]>) {
    let route = path.map(|path| mesh::Route {
        path: path.iter().map(|&n| world.nodes[n].id).collect(),
        labels: path[1..].iter().map(|&n| mesh::LinkLabel(n as u16 + 1)).collect(),
        cost_us: 1000,
        mtu: 1500,
    });
    let (plane, neighbor) = (&world.nodes[from].plane, world.nodes[neighbor].id);
    plane.set_detour(neighbor, mesh::LinkLabel(label), route.as_ref());
}

#[test]
fn a_way_round_a_neighbor_leads_back_to_the_path() {
    let mut world = bypass();
    world.net.capture();
    notice(&mut world, 2, 3);
    for number in 2..50 {
        assert!(world.passes(0, 5, number, LARGEST), "{number}");
    }
    assert_eq!(relayed_to(&world, 6), (48, 1));
    assert_eq!(relayed_to(&world, 3).0, 0);
    // Both labels of the failed stretch are replaced; the one for 5 stays.
    assert!(world.passes(0, 5, 50, 100));
    let packets = world.net.captured();
    let to_4 = packets
        .iter()
        .find(|p| p.bytes[0] == 3 && p.to == world.nodes[4].address);
    assert_eq!(to_4.unwrap().bytes[2..4], [2, 1]);
    // What is taken back is used no more.
    round(&mut world, 2, 3, 5, None);
    world.run(secs(5));
    let before = world.drops(2, DropReason::NoDetour);
    assert!(!world.passes(0, 5, 51, 100));
    assert!(world.drops(2, DropReason::NoDetour) > before);
}

#[test]
fn a_way_round_ends_at_the_neighbor_itself_if_the_path_does() {
    let mut world = joined(5, &[(0, 1), (1, 2), (2, 3), (2, 4), (4, 3)]);
    world.relayed(&[0, 1, 2, 3], 1500);
    world.passes(0, 3, 0, 100);
    assert!(world.passes(0, 3, 1, 100));
    round(&mut world, 2, 3, 0, Some(&[4, 3]));
    notice(&mut world, 2, 3);
    world.net.capture();
    for number in 2..20 {
        assert!(world.passes(0, 3, number, LARGEST));
    }
    assert_eq!(relayed_to(&world, 4), (18, 1));
}

#[test]
fn a_source_goes_round_its_own_dead_link_before_there_is_another_route() {
    // 0 sends to 1 directly, and to 2 over 1; 3 has links with all of them.
    let mut world = joined(4, &[(0, 1), (1, 2), (0, 3), (3, 1), (3, 2)]);
    world.relayed(&[0, 1, 2], 1500);
    for to in [1, 2] {
        world.passes(0, to, 0, 100);
        assert!(world.passes(0, to, 1, 100));
    }
    round(&mut world, 0, 1, 0, Some(&[3, 1]));
    round(&mut world, 0, 1, 3, Some(&[3, 2]));
    world.net.capture();
    notice(&mut world, 0, 1);
    for number in 2..5 {
        assert!(world.passes(0, 1, number, LARGEST));
        assert!(world.passes(0, 2, number, LARGEST));
    }
    assert_eq!(relayed_to(&world, 3), (6, 1));
    // The path itself works after all: it is taken again as soon as that shows.
    world.wire(0, 1, None);
    world.run(secs(1));
    world.net.capture();
    assert!(world.passes(0, 1, 5, 1000) && world.passes(0, 2, 5, LARGEST));
    assert_eq!(relayed_to(&world, 3).0, 0);
}

#[test]
fn ways_round_that_lead_back_and_forth_end() {
    let mut world = bypass();
    // 6 knows a way round 4 that leads back over 2, which knows none but over 6.
    round(&mut world, 6, 4, 6, Some(&[2, 3, 4]));
    round(&mut world, 6, 4, 0, Some(&[2, 3, 4]));
    fail(&mut world, 2, 3);
    fail(&mut world, 6, 4);
    world.net.capture();
    assert!(!world.passes(0, 5, 2, 100));
    let ended = [2, 6].map(|n| world.drops(n, DropReason::NoDetour));
    assert_eq!(ended.iter().sum::<u64>(), 1);
    assert_eq!(
        world.drops(2, DropReason::HopLimit) + world.drops(6, DropReason::HopLimit),
        0
    );
    assert!(relayed_to(&world, 6).0 <= 2);
}

/// Routers 1 to 9 each have a link to 10, and know the way there by the next of them.
fn nine_links() -> World {
    let last = (1..10).map(|n| (n, 10));
    let links: Vec<_> = (0..9).map(|n| (n, n + 1)).chain(last).collect();
    let mut world = joined(11, &links);
    world.relayed(&[0, 1, 10], 1500);
    for n in 1..9 {
        world.relayed(&[n, n + 1, 10], 1500);
    }
    world.passes(0, 10, 0, 100);
    world
}

#[test]
fn eight_failures_find_room_and_the_ninth_does_not() {
    let mut world = nine_links();
    for n in 1..9 {
        world.net.capture();
        let _ = world.net.captured();
        fail(&mut world, n, 10);
        assert!(world.passes(0, 10, n as u32, LARGEST), "{n} failures");
        assert_eq!(relayed_to(&world, 10), (1, n as u8));
    }
    // 10 has no route by which to answer what routers say to each other.
    let relay_drops = |world: &World| {
        let all = all_drops(world).into_iter();
        all.filter(|(n, ..)| *n != 10).collect::<Vec<_>>()
    };
    let before = relay_drops(&world);
    world.run(secs(3));
    assert!(world.passes(0, 10, 9, LARGEST));
    assert_eq!(relay_drops(&world), before);
    fail(&mut world, 9, 10);
    world.run(secs(3));
    assert!(!world.passes(0, 10, 10, 100));
    assert!(world.drops(9, DropReason::MarksFull) > 0);
}

#[test]
fn a_repair_may_itself_go_in_parts() {
    // A ring of 24 in which all routes go upwards, over at most 23 hops.
    let mut world = ring(24);
    let route = |world: &mut World, from: usize, to: usize, step: usize| {
        let hops = (0..24).map(|n| (from + n * step) % 24);
        let mut path: Vec<_> = hops.take_while(|&n| n != to).collect();
        path.push(to);
        let labels: Vec<_> = path[2..].iter().map(|&n| n as u16 + 1).collect();
        world.relayed_by(&path, &labels, 1500);
    };
    route(&mut world, 0, 4, 1);
    route(&mut world, 4, 0, 23);
    world.passes(0, 4, 0, 100);
    assert!(world.passes(0, 4, 1, LARGEST));
    // 3 goes round the other way: over 22 relays.
    route(&mut world, 3, 4, 23);
    for from in [13, 12] {
        route(&mut world, from, 4, 23);
    }
    fail(&mut world, 3, 4);
    world.net.capture();
    for number in 2..20 {
        assert!(world.passes(0, 4, number, LARGEST));
    }
    assert_eq!(relayed_to(&world, 5), (18, 1));
}
