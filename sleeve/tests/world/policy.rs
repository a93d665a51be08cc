//! Encrypted or authenticated only.

use crate::harness::*;
use mesh::DropReason;
use sleeve::io::memory::{Packet, Wire};
use sleeve::wire::PLAIN;
use std::net::{IpAddr, SocketAddr};

fn subnet() -> Vec<(IpAddr, u8)> {
    vec![([192, 0, 2, 0].into(), 24)]
}

fn world(trusted: &[Vec<(IpAddr, u8)>; 2]) -> World {
    let mut world = World::with(
        2,
        &Options {
            trusted: trusted.to_vec(),
            ..Options::default()
        },
    );
    world.link(0, 1);
    world.run(secs(1));
    world.net.capture();
    world
}

fn in_clear(packet: &Packet) -> bool {
    let marker = b"the payload that must never be seen in clear";
    packet.bytes.windows(marker.len()).any(|window| window == marker)
}

#[test]
fn frames_are_plain_only_if_both_ends_trust() {
    for (a, b) in [(false, false), (true, false), (false, true), (true, true)] {
        let trust = |yes| if yes { subnet() } else { Vec::new() };
        let mut world = world(&[trust(a), trust(b)]);
        assert!(world.passes(0, 1, 1, 200) && world.passes(1, 0, 1, 200));
        let packets = world.net.captured();
        assert_eq!(
            packets.iter().filter(|packet| in_clear(packet)).count(),
            if a && b { 2 } else { 0 }
        );
        let views = world.nodes[0].sleeve.paths(world.now);
        assert_eq!(views[0].encrypted, !(a && b));
    }
}

#[test]
fn plain_frames_are_authentic_and_taken_once() {
    let mut world = world(&[subnet(), subnet()]);
    assert!(world.passes(0, 1, 1, 2500), "halves too");
    assert!(world.passes(0, 1, 2, 200));
    let packet = world.net.captured().into_iter().rfind(in_clear).unwrap();
    assert_eq!(packet.bytes[0], PLAIN);
    world.receive(1, packet.from, &packet.bytes);
    assert_eq!(world.drops(1, DropReason::Replayed), 1);
    world.wire(0, 1, Some(Wire::cut()));
    assert!(!world.passes(0, 1, 3, 200));
    let packet = world.net.captured().into_iter().rfind(in_clear).unwrap();
    for byte in 0..packet.bytes.len() {
        let mut bytes = packet.bytes.clone();
        bytes[byte] ^= 0x20;
        world.receive(1, packet.from, &bytes);
    }
    assert!(world.drops(1, DropReason::Unauthentic) > 200);
    // From an address that is not trusted even the true one is refused.
    world.receive(1, "203.0.113.1:6783".parse().unwrap(), &packet.bytes);
    assert_eq!(world.drops(1, DropReason::PlainRefused), 1);
    let frames = world.nodes[1].frames.len();
    world.receive(1, packet.from, &packet.bytes);
    assert_eq!(world.nodes[1].frames.len(), frames + 1);
}

#[test]
fn an_end_that_does_not_trust_refuses_plain_frames() {
    let mut world = world(&[subnet(), Vec::new()]);
    assert!(world.passes(0, 1, 1, 200));
    let packet = world
        .net
        .captured()
        .into_iter()
        .rfind(|packet| packet.bytes.len() > 200)
        .unwrap();
    // The first byte changed on the way: neither a plain frame nor, changed back at another place, a sealed one.
    let mut bytes = packet.bytes.clone();
    bytes[0] = PLAIN;
    world.receive(1, packet.from, &bytes);
    assert_eq!(world.drops(1, DropReason::PlainRefused), 1);
    world.receive(0, packet.to, &bytes);
    assert_eq!(world.drops(0, DropReason::UnknownSession), 1);
}

#[test]
fn relayed_frames_are_encrypted_whoever_trusts() {
    let trusted = vec![subnet(); 3];
    let mut world = World::with(
        3,
        &Options {
            trusted,
            ..Options::default()
        },
    );
    world.link(0, 1);
    world.link(1, 2);
    world.wire(0, 2, Some(Wire::cut()));
    world.run(secs(1));
    world.relayed(&[0, 1, 2], 1500);
    world.net.capture();
    world.passes(0, 2, 0, 200);
    world.run(ms(300));
    assert!(world.passes(0, 2, 1, 200));
    assert!(!world.net.captured().iter().any(in_clear));
    assert!(world.passes(0, 1, 2, 200));
    assert!(
        world.net.captured().iter().any(in_clear),
        "but those of a direct path are not"
    );
}

/// A router with two addresses receives at one and sends from the other, which only one end trusts: what it sends must be
/// encrypted, or it is refused.
#[test]
fn who_sends_from_another_address_is_asked_whether_that_is_trusted() {
    let trusted = vec![vec![(ip4(2), 32)], vec![(ip4(1), 32)]];
    let mut world = World::with(
        2,
        &Options {
            trusted,
            ..Options::default()
        },
    );
    let (near, far) = (world.nodes[0].address, world.nodes[1].address);
    let other = SocketAddr::new(ip4(77), far.port());
    world.wire(0, 1, Some(Wire::cut()));
    world.net.capture();
    let mut sent = 0;
    for step in 0..20_000 {
        // Each checks its path when the other does not.
        if step == 0 || step == 2000 {
            let (n, peer) = if step == 0 { (0, 1) } else { (1, 0) };
            let (peer, address) = (world.nodes[peer].id, Some(world.nodes[peer].address));
            world.input(n, sleeve::Input::Neighbor { peer, address });
        }
        world.run(ms(1));
        for packet in world.net.captured() {
            let (to, from) = if packet.from == far { (0, other) } else { (1, near) };
            world.receive(to, from, &packet.bytes);
        }
        if step > 3000 && step % 50 == 0 {
            world.send(1, &frame(1, 0, step, 100));
            sent += 1;
        }
    }
    assert_eq!(world.drops(0, DropReason::PlainRefused), 0);
    assert!(world.nodes[0].frames.len() >= sent - 1);
}

fn ip4(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}
