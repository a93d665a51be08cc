//! Frames over relays.

use crate::harness::*;
use mesh::DropReason;
use sleeve::{Input, Output, PingError};

/// A chain of routers, each linked with the next only; the ends have a route along it.
pub fn chain(count: usize) -> World {
    chain_with(count, &Options::default())
}

pub fn chain_with(count: usize, options: &Options) -> World {
    let mut world = World::with(count, options);
    for n in 1..count {
        world.link(n - 1, n);
    }
    // No two others can reach each other.
    for a in 0..count {
        for b in a + 2..count {
            world.wire(a, b, Some(sleeve::io::memory::Wire::cut()));
        }
    }
    world.run(secs(1));
    let path: Vec<_> = (0..count).collect();
    world.relayed(&path, 1500);
    world
}

#[test]
fn frames_pass_one_relay_and_three() {
    for (count, ipv6) in [(3, false), (5, false), (4, true)] {
        let mut world = chain_with(
            count,
            &Options {
                ipv6,
                ..Options::default()
            },
        );
        let last = count - 1;
        for number in 1..50 {
            assert!(world.passes(0, last, number, 1300));
            assert!(world.passes(last, 0, number, 1300));
        }
        for relay in 1..last {
            assert!(world.nodes[relay].frames.is_empty());
            assert!(world.nodes[relay].drops.nonzero().next().is_none());
        }
    }
}

#[test]
fn first_frames_wait_for_their_session_but_not_for_ever() {
    let mut world = chain(3);
    for number in 0..10 {
        world.send(0, &frame(0, 2, number, 100));
    }
    assert_eq!(world.drops(0, DropReason::NoSession), 2, "eight are kept");
    world.run(ms(100));
    assert_eq!(
        world.nodes[2].frames,
        (0..8).map(|n| frame(0, 2, n, 100)).collect::<Vec<_>>()
    );
    let mut world = chain(3);
    world.lose_control = usize::MAX;
    world.net.capture();
    world.send(0, &frame(0, 2, 1, 700));
    world.run(secs(9));
    assert!(
        !world.net.captured().iter().any(|packet| packet.bytes[0] == 3),
        "none leaves without a session"
    );
    world.lose_control = 0;
    world.run(secs(10));
    assert!(world.nodes[2].frames.is_empty());
    assert_eq!(world.drops(0, DropReason::NoSession), 1);
    assert!(world.passes(0, 2, 2, 100));
}

#[test]
fn every_wire_sees_ciphertext_only() {
    let mut world = chain(4);
    world.net.capture();
    world.passes(0, 3, 0, 100);
    for number in 1..100 {
        assert!(world.passes(0, 3, number, 1000));
        assert!(world.passes(1, 2, number, 1000));
    }
    let marker = b"the payload that must never be seen in clear";
    let packets = world.net.captured();
    assert!(packets.len() > 400);
    for packet in packets {
        assert!(!packet.bytes.windows(marker.len()).any(|window| window == marker));
        assert_eq!(packet.bytes[0] & 0x40, 0, "QUIC's bit is clear");
    }
}

#[test]
fn relays_refuse_what_they_should() {
    let mut world = chain(3);
    world.passes(0, 2, 0, 100);
    world.run(ms(500));
    world.net.capture();
    assert!(world.passes(0, 2, 1, 100));
    let packets = world.net.captured();
    let first = packets
        .iter()
        .find(|packet| packet.bytes[0] == 3 && packet.to == world.nodes[1].address)
        .unwrap();
    let second = packets
        .iter()
        .find(|packet| packet.bytes[0] == 3 && packet.to == world.nodes[2].address)
        .unwrap();
    // Replayed at the relay, and at the destination.
    world.receive(1, first.from, &first.bytes);
    assert_eq!(world.drops(1, DropReason::RelayReplayed), 1);
    world.receive(2, second.from, &second.bytes);
    assert_eq!(world.drops(2, DropReason::RelayReplayed), 1);
    // Reflected to the one that sent it.
    world.receive(0, first.to, &first.bytes);
    assert_eq!(world.drops(0, DropReason::UnknownSession), 1);
    // What is inside the relayed datagram is of no use to who sees it.
    world.receive(2, second.from, &second.bytes[33 + 2 + 16..]);
    assert_eq!(world.drops(2, DropReason::Replayed), 1);
    assert!(world.passes(0, 2, 2, 100));
    // Not even if it has not been there before: it says that it came over a relay.
    world.wire(1, 2, Some(sleeve::io::memory::Wire::cut()));
    let _ = world.net.captured();
    assert!(!world.passes(0, 2, 3, 100));
    let packets = world.net.captured();
    let relayed = packets
        .iter()
        .find(|p| p.bytes[0] == 3 && p.to == world.nodes[2].address)
        .unwrap();
    world.receive(2, relayed.from, &relayed.bytes[33 + 2 + 16..]);
    assert_eq!(world.drops(2, DropReason::Malformed), 1);
}

#[test]
fn changed_relay_headers_are_refused() {
    let mut world = chain(3);
    world.passes(0, 2, 0, 100);
    world.run(ms(500));
    world.wire(0, 1, Some(sleeve::io::memory::Wire::cut()));
    world.net.capture();
    world.send(0, &frame(0, 2, 1, 100));
    let packet = world
        .net
        .captured()
        .into_iter()
        .find(|packet| packet.bytes[0] == 3)
        .unwrap();
    // Anywhere in header or tag, or in the header of what is inside.
    for bit in 8..(33 + 2 + 16 + 16) * 8 {
        let mut bytes = packet.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        world.receive(1, packet.from, &bytes);
    }
    let refused: u64 = world.nodes[1].drops.nonzero().map(|(_, count)| count).sum();
    assert_eq!(refused, 66 * 8);
    assert!(world.drops(1, DropReason::RelayUnauthentic) > 400);
    world.net.capture();
    world.receive(1, packet.from, &packet.bytes);
    assert!(
        world
            .net
            .captured()
            .iter()
            .any(|packet| packet.to == world.nodes[2].address),
        "the true one goes on"
    );
}

#[test]
fn an_unknown_label_is_counted_and_one_at_rest_still_works() {
    let mut world = chain(3);
    world.passes(0, 2, 0, 100);
    world.run(ms(500));
    // The link is gone, its direct path is not.
    world.nodes[1].plane.set_label(mesh::LinkLabel(3), None);
    assert!(world.passes(0, 2, 1, 100));
    // Another neighbour has got the label, which does not know the way.
    let other = world.nodes[0].id;
    world.nodes[1].plane.set_label(mesh::LinkLabel(3), Some(other));
    assert!(!world.passes(0, 2, 2, 100));
    assert_eq!(world.drops(0, DropReason::Malformed), 1);
    world.relayed_by(&[0, 1, 2], &[9], 1500);
    assert!(!world.passes(0, 2, 3, 100));
    assert_eq!(world.drops(1, DropReason::UnknownLabel), 1);
}

#[test]
fn a_route_with_too_few_labels_counts_as_none() {
    let mut world = chain(3);
    let peer = world.nodes[2].id;
    for (labels, hops, fits) in [(13, 14, true), (14, 15, true), (13, 20, true), (12, 14, false)] {
        let path = vec![world.nodes[1].id; hops];
        let route = mesh::Route {
            path,
            labels: vec![mesh::LinkLabel(3); labels],
            cost_us: 1,
            mtu: 1500,
        };
        world.input(
            0,
            Input::Route {
                peer,
                route: Some(route),
            },
        );
        world.run(ms(500));
        let before = world.drops(0, DropReason::NoRoute);
        world.send(0, &frame(0, 2, 1, 100));
        world.run(ms(500));
        assert_eq!(
            world.drops(0, DropReason::NoRoute) == before,
            fits,
            "{labels}, {hops}"
        );
    }
}

#[test]
fn pings_tell_path_and_round_trip_of_every_hop() {
    let mut world = chain(4);
    world.relayed(&[0, 1, 2], 1500);
    let peer = world.nodes[3].id;
    for (id, hops) in [(0, Some(1)), (1, Some(2)), (2, Some(3)), (3, None)] {
        world.input(0, Input::Ping { id, peer, hops });
    }
    world.run(secs(2));
    let pongs = std::mem::take(&mut world.nodes[0].pongs);
    assert_eq!(pongs.len(), 4);
    for pong in pongs {
        let Output::Pong { id, peer, rtt, path } = pong else {
            panic!("{pong:?}")
        };
        let hops = [1, 2, 3, 3][id as usize];
        let expected: Vec<_> = (1..=hops).map(|n| world.nodes[n].id).collect();
        assert_eq!((path.last(), &path), (Some(&peer), &expected));
        assert!(
            rtt >= ms(2 * hops as u64) && rtt < ms(2 * hops as u64 + 5),
            "{rtt:?} over {hops} hops"
        );
    }
}

#[test]
fn pings_say_why_they_failed() {
    let mut world = chain(3);
    let (peer, stranger) = (world.nodes[2].id, mesh::PeerId([9; 32]));
    world.input(
        0,
        Input::Ping {
            id: 1,
            peer: stranger,
            hops: None,
        },
    );
    world.input(
        0,
        Input::Ping {
            id: 2,
            peer,
            hops: Some(3),
        },
    );
    world.input(
        0,
        Input::Ping {
            id: 3,
            peer,
            hops: Some(0),
        },
    );
    let failed = |why, id| Output::PingFailed { id, why };
    let expected = [
        failed(PingError::NoRoute, 1),
        failed(PingError::NoSuchHop, 2),
        failed(PingError::NoSuchHop, 3),
    ];
    assert_eq!(std::mem::take(&mut world.nodes[0].pongs), expected);
    world.lose_control = usize::MAX;
    world.input(
        0,
        Input::Ping {
            id: 4,
            peer,
            hops: None,
        },
    );
    world.run(secs(4));
    assert_eq!(
        std::mem::take(&mut world.nodes[0].pongs),
        [failed(PingError::NoSession, 4)]
    );
    world.lose_control = 0;
    world.run(secs(10));
    world.wire(1, 2, Some(sleeve::io::memory::Wire::cut()));
    world.input(
        0,
        Input::Ping {
            id: 5,
            peer,
            hops: None,
        },
    );
    world.run(secs(4));
    assert_eq!(
        std::mem::take(&mut world.nodes[0].pongs),
        [failed(PingError::NoAnswer, 5)]
    );
}
