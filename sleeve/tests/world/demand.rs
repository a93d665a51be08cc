//! Direct paths on demand, their death, and addresses that change.

use crate::harness::*;
use crate::relay::chain;
use sleeve::io::memory::Wire;
use sleeve::{Event, Input};

/// Keeps frames flowing and counts those that arrive.
fn traffic(world: &mut World, to: usize, time: u64, number: &mut u32) -> (u32, u32) {
    let (mut sent, mut delivered) = (0, 0);
    for _ in 0..time * 10 {
        *number += 1;
        sent += 1;
        delivered += u32::from(world.passes(0, to, *number, 200));
    }
    (sent, delivered)
}

#[test]
fn traffic_over_a_relay_makes_a_direct_path() {
    let mut world = chain(3);
    world.wire(0, 2, None);
    let mut number = 0;
    traffic(&mut world, 2, 1, &mut number);
    assert!(world.nodes[0].direct.contains_key(&2), "within a second");
    assert!(world.nodes[2].direct.contains_key(&0), "both ways");
    let (sent, delivered) = traffic(&mut world, 2, 30, &mut number);
    assert_eq!(sent, delivered);
    assert_eq!(world.nodes[0].direct[&2], 1500);
}

#[test]
fn a_dead_direct_path_falls_back_to_the_relay_and_comes_back() {
    for one_way in [false, true] {
        let mut world = chain(3);
        world.wire(0, 2, None);
        let mut number = 0;
        traffic(&mut world, 2, 5, &mut number);
        assert!(world.nodes[0].direct.contains_key(&2));
        if one_way {
            let (from, to) = (world.nodes[0].address.ip(), world.nodes[2].address.ip());
            world.net.set_wire(from, to, Some(Wire::cut()));
        } else {
            world.wire(0, 2, Some(Wire::cut()));
        }
        traffic(&mut world, 2, 4, &mut number);
        assert!(
            !world.nodes[0].direct.contains_key(&2),
            "noticed within four seconds"
        );
        let (sent, delivered) = traffic(&mut world, 2, 30, &mut number);
        assert_eq!(sent, delivered, "all over the relay");
        world.wire(0, 2, None);
        traffic(&mut world, 2, 14, &mut number);
        assert!(world.nodes[0].direct.contains_key(&2), "direct again");
    }
}

#[test]
fn an_idle_direct_path_is_torn_down() {
    let mut world = chain(3);
    world.wire(0, 2, None);
    let mut number = 0;
    traffic(&mut world, 2, 2, &mut number);
    assert!(world.nodes[0].direct.contains_key(&2));
    world.run(secs(290));
    assert!(world.nodes[0].direct.contains_key(&2));
    world.run(secs(20));
    assert!(!world.nodes[0].direct.contains_key(&2) && !world.nodes[2].direct.contains_key(&0));
    world.net.capture();
    world.run(secs(60));
    let ends = [world.nodes[0].address, world.nodes[2].address];
    let between =
        |packet: &&sleeve::io::memory::Packet| ends.contains(&packet.from) && ends.contains(&packet.to);
    assert_eq!(
        world.net.captured().iter().filter(between).count(),
        0,
        "and left alone"
    );
    assert_eq!(
        world.nodes[0].sleeve.paths(world.now).len(),
        1,
        "only the neighbour's"
    );
}

#[test]
fn routers_that_cannot_meet_stop_looking_when_the_traffic_stops() {
    let mut world = chain(3);
    let mut number = 0;
    traffic(&mut world, 2, 30, &mut number);
    // The session is renewed once more.
    world.run(secs(200));
    world.net.capture();
    world.run(secs(120));
    let ends = [world.nodes[0].address, world.nodes[2].address];
    let packets = world.net.captured();
    assert!(
        !packets
            .iter()
            .any(|packet| ends.contains(&packet.from) && ends.contains(&packet.to))
    );
    assert!(
        !packets.iter().any(|packet| packet.bytes[0] == 3),
        "nor are there relayed messages"
    );
}

#[test]
fn the_path_of_a_link_that_died_goes_down_at_once() {
    let mut world = chain(3);
    world.wire(0, 1, Some(Wire::cut()));
    world.unlink(0, 1);
    world.run(ms(700));
    assert!(!world.nodes[0].direct.contains_key(&1) && !world.nodes[1].direct.contains_key(&0));
    // One that is only closed keeps its path.
    world.unlink(1, 2);
    world.run(ms(700));
    assert!(world.nodes[1].direct.contains_key(&2));
}

#[test]
fn a_router_that_moves_is_found_at_its_new_address() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(6));
    let old = world.nodes[1].address;
    world.move_to(1, "192.0.2.99:6783".parse().unwrap());
    let mut number = 0;
    traffic(&mut world, 1, 10, &mut number);
    let new = world.nodes[1].address;
    assert_ne!(old, new);
    assert_eq!(world.nodes[0].sleeve.paths(world.now)[0].address, Some(new));
    let (sent, delivered) = traffic(&mut world, 1, 5, &mut number);
    assert_eq!(sent, delivered);
    assert_eq!(world.nodes[0].downs, 0, "it moved before it was given up");
}

#[test]
fn a_probe_from_elsewhere_moves_nothing_by_itself() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(2));
    world.net.capture();
    world.wire(0, 1, Some(Wire::cut()));
    world.run(ms(5500));
    let probe = world
        .net
        .captured()
        .into_iter()
        .find(|packet| packet.to == world.nodes[0].address)
        .unwrap();
    world.wire(0, 1, None);
    // Somebody in between delivers an authentic probe from an address of their own, where nobody answers.
    let liar = "203.0.113.5:1".parse().unwrap();
    world.receive(0, liar, &probe.bytes);
    assert!(
        world.net.captured().iter().any(|packet| packet.to == liar),
        "it is asked"
    );
    world.run(secs(3));
    let path = &world.nodes[0].sleeve.paths(world.now)[0];
    assert_eq!(path.address, Some(world.nodes[1].address));
    assert!(world.passes(0, 1, 1, 100));
}

#[test]
fn the_path_goes_along_with_the_link() {
    let mut world = World::new(2);
    let (peer, other) = (world.nodes[1].id, "198.51.100.1:6783".parse().unwrap());
    // The record names an address that works too, and first.
    let socket = world.net.socket(other);
    let mut info = world.nodes[1].info();
    info.addresses.insert(0, other);
    world.input(0, Input::Peer(info));
    world.link(0, 1);
    world.run(secs(2));
    assert_eq!(
        world.nodes[0].sleeve.paths(world.now)[0].address,
        Some(world.nodes[1].address)
    );
    assert!(
        world.nodes[0]
            .logs
            .iter()
            .any(|event| matches!(event, Event::PathUp { peer: p, .. } if *p == peer))
    );
    drop(socket);
}
