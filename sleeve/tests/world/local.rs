//! What a router answers, or refuses, without asking others.

use crate::harness::*;
use crate::relay::chain;
use mesh::DropReason;

fn ethernet(to: [u8; 6], from: usize, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &mac(from).0, &ethertype.to_be_bytes(), payload].concat()
}

fn arp(from: usize, sender: u8, target: u8) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let packet = [
        &head[..],
        &mac(from).0,
        &[10, 0, 0, sender],
        &[0; 6],
        &[10, 0, 0, target],
    ]
    .concat();
    ethernet([0xff; 6], from, 0x0806, &packet)
}

/// An IPv4 packet of `length` bytes between two containers.
fn ipv4(from: usize, to: usize, length: usize, dont_fragment: bool) -> Vec<u8> {
    let [high, low] = (length as u16).to_be_bytes();
    let flags = if dont_fragment { 0x40 } else { 0 };
    let mut packet = vec![0x45, 0, high, low, 0, 1, flags, 0, 64, 253, 0, 0];
    packet.extend([10, 0, 0, from as u8 + 1, 10, 0, 0, to as u8 + 1]);
    packet.resize(length, 0);
    ethernet(mac(to).0, from, 0x0800, &packet)
}

#[test]
fn arp_for_a_remote_address_is_answered_here() {
    let mut world = World::new(2);
    world.send(0, &arp(0, 1, 2));
    let answer = &world.nodes[0].frames[0];
    assert_eq!(answer[..6], mac(0).0);
    assert_eq!(answer[22..28], mac(1).0);
    assert_eq!(world.nodes[0].drops.nonzero().count(), 0, "nothing was flooded");
    // An address nobody holds is asked for everywhere.
    world.send(0, &arp(0, 1, 77));
    assert_eq!(world.drops(0, DropReason::NoSession), 1);
    // One that a port here holds too is left to that port.
    world.nodes[0].plane.attach(VNI, mac(7), &[ip(1)]);
    world.send(0, &arp(0, 1, 2));
    assert_eq!(world.nodes[0].frames.len(), 1);
}

#[test]
fn containers_may_not_use_the_addresses_of_others() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(ms(100));
    world.send(0, &arp(0, 9, 2));
    world.send(0, &ipv4(1, 0, 100, false));
    let mut spoofed = ipv4(0, 1, 100, false);
    spoofed[29] = 9;
    world.send(0, &spoofed);
    assert_eq!(world.drops(0, DropReason::SpoofedAddress), 2);
    assert_eq!(world.drops(0, DropReason::SpoofedMac), 1);
    assert!(world.nodes[1].frames.is_empty());
}

#[test]
fn a_packet_that_must_not_be_fragmented_is_answered_for() {
    let mut world = chain(3);
    world.passes(0, 2, 0, 100);
    world.run(ms(300));
    // 1500 less IP, UDP, room for the longest relay header, seal, prefix and Ethernet header.
    let fits = 1500 - 48 - 111 - 32 - 4 - 14;
    world.nodes[0].frames.clear();
    world.send(0, &ipv4(0, 2, fits, true));
    assert!(world.nodes[0].frames.is_empty());
    world.send(0, &ipv4(0, 2, fits + 1, true));
    let answer = world.nodes[0].frames.pop().unwrap();
    assert_eq!(
        (&answer[..6], answer[23], &answer[34..36]),
        (&mac(0).0[..], 1, &[3, 4][..])
    );
    assert_eq!(answer[26..30], [10, 0, 0, 3], "from the destination");
    assert_eq!(usize::from(u16::from_be_bytes([answer[40], answer[41]])), fits);
    // One that may be fragmented goes in two; so does one for which an answer was just given.
    world.run(ms(50));
    world.nodes[2].frames.clear();
    world.send(0, &ipv4(0, 2, fits + 1, true));
    world.send(0, &ipv4(0, 2, fits + 1, true));
    world.send(0, &ipv4(0, 2, fits + 1, false));
    world.run(ms(50));
    assert_eq!((world.nodes[0].frames.len(), world.nodes[2].frames.len()), (1, 2));
    assert_eq!(world.drops(0, DropReason::TooBig), 0);
}

/// A UDP socket's first packets may not be fragmented, as all of Linux' may not: the first waits for its session, and
/// when that is there nobody can be told any more.
#[test]
fn a_packet_that_waited_and_is_too_big_goes_in_two() {
    let mut world = chain(3);
    let fits = 1500 - 48 - 111 - 32 - 4 - 14;
    for length in [fits + 1, fits] {
        world.send(0, &ipv4(0, 2, length, true));
    }
    world.run(ms(300));
    assert_eq!(world.nodes[0].drops.nonzero().count(), 0);
    let lengths: Vec<_> = world.nodes[2].frames.iter().map(Vec::len).collect();
    assert_eq!(lengths, [fits + 15, fits + 14]);
    // From now on the sender is told.
    world.send(0, &ipv4(0, 2, fits + 1, true));
    assert_eq!(world.nodes[0].frames.len(), 1);
}

#[test]
fn a_route_that_holds_nothing_is_no_reason_to_panic() {
    let mut world = chain(3);
    world.passes(0, 2, 0, 100);
    let peer = world.nodes[2].id;
    for mtu in [0, 1, 60, 100, 135, 194, 195, 196, 230] {
        let route = mesh::Route {
            path: vec![world.nodes[1].id, peer],
            labels: vec![mesh::LinkLabel(3)],
            cost_us: 1,
            mtu,
        };
        world.input(
            0,
            sleeve::Input::Route {
                peer,
                route: Some(route),
            },
        );
        world.send(0, &frame(0, 2, 1, 700));
        world.send(0, &ipv4(0, 2, 700, true));
        world.run(ms(20));
    }
    assert_eq!(world.drops(0, DropReason::TooBig), 9);
}
