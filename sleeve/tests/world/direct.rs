//! Neighbours: sessions, paths and frames between routers with a link.

use crate::harness::*;
use mesh::DropReason;
use sleeve::PathState;

#[test]
fn neighbours_get_a_session_a_path_and_the_whole_mtu() {
    for ipv6 in [false, true] {
        let mut world = World::with(
            2,
            &Options {
                ipv6,
                ..Options::default()
            },
        );
        world.link(0, 1);
        world.run(ms(700));
        for n in [0, 1] {
            let paths = world.nodes[n].sleeve.paths(world.now);
            assert_eq!(paths.len(), 1);
            assert_eq!(
                (paths[0].mtu, paths[0].state, paths[0].encrypted),
                (1500, PathState::Up, true)
            );
            assert_eq!(paths[0].address, Some(world.nodes[1 - n].address));
            assert_eq!(world.nodes[n].sleeve.sessions(world.now).len(), 1);
        }
        for length in [60, 1400, if ipv6 { 1416 } else { 1436 }] {
            assert!(world.passes(0, 1, length, length as usize));
            assert!(world.passes(1, 0, length, length as usize));
        }
        assert_eq!(
            world
                .nodes
                .iter()
                .map(|node| node.drops.nonzero().count())
                .sum::<usize>(),
            0
        );
    }
}

#[test]
fn a_path_is_up_within_a_few_round_trips() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(ms(30));
    assert!(world.passes(0, 1, 1, 100));
    assert!(world.passes(1, 0, 2, 100));
}

#[test]
fn the_router_with_the_higher_id_takes_over_when_the_lower_does_not_move() {
    let mut world = World::new(2);
    let (peer, address) = (world.nodes[0].id, Some(world.nodes[0].address));
    world.input(1, sleeve::Input::Neighbor { peer, address });
    world.run(ms(450));
    assert!(world.nodes[1].sleeve.sessions(world.now).is_empty());
    world.run(ms(150));
    assert_eq!(world.nodes[1].sleeve.sessions(world.now).len(), 1);
}

#[test]
fn broadcast_reaches_every_member_once() {
    let mut world = World::new(4);
    for n in 1..4 {
        world.link(0, n);
    }
    world.run(secs(1));
    let mut all = frame(0, 1, 9, 200);
    all[..6].copy_from_slice(&[0xff; 6]);
    world.send(0, &all);
    world.run(ms(100));
    for n in 1..4 {
        assert_eq!(world.nodes[n].frames, [all.clone()]);
    }
}

#[test]
fn nothing_is_sent_without_session_or_destination() {
    let mut world = World::new(2);
    world.net.capture();
    assert!(!world.passes(0, 1, 1, 100));
    // A session was made for it, but there was no route then.
    let drops: Vec<_> = world.nodes[0].drops.nonzero().collect();
    assert_eq!(drops, [(DropReason::NoRoute, 1)]);
    assert!(world.net.captured().iter().all(|packet| packet.bytes[0] == 1));
    let mut unknown = frame(0, 1, 2, 100);
    unknown[5] = 99;
    world.send(0, &unknown);
    assert_eq!(world.drops(0, DropReason::UnknownDestination), 1);
    world.send(0, &[1, 2, 3]);
    assert_eq!(world.drops(0, DropReason::Malformed), 1);
}

#[test]
fn frames_for_networks_without_a_port_or_under_a_local_mac_are_refused() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(ms(100));
    let mut stolen = frame(0, 1, 1, 100);
    stolen[6..12].copy_from_slice(&mac(1).0);
    world.send(0, &stolen);
    world.run(ms(10));
    assert_eq!(
        world.drops(1, DropReason::SpoofedMac) + world.drops(0, DropReason::SpoofedMac),
        1
    );
    world.nodes[1].plane.detach(VNI, mac(1));
    assert!(!world.passes(0, 1, 2, 100));
    assert_eq!(world.drops(1, DropReason::UnknownDestination), 1);
}
