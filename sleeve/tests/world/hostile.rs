//! Datagrams that nobody should have sent.

use crate::harness::*;
use crate::relay::chain;
use mesh::{DropReason, PeerId, Vni};
use rand_core::RngCore;
use sleeve::io::memory::Wire;
use sleeve::{Scratch, Sink, Via};
use std::net::SocketAddr;

#[test]
fn garbage_is_counted_and_hurts_nobody() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(1));
    let before: u64 = world.nodes[1].drops.nonzero().map(|(_, count)| count).sum();
    let mut random = Random(5);
    let stranger = "203.0.113.7:9".parse().unwrap();
    let mut number = 0;
    for round in 0..100 {
        for _ in 0..1000 {
            let mut bytes = vec![0; (random.next_u32() % 200) as usize];
            random.fill_bytes(&mut bytes);
            if let (true, Some(first)) = (random.next_u32().is_multiple_of(2), bytes.first_mut()) {
                *first %= 5;
            }
            world.receive(1, stranger, &bytes);
        }
        number += 1;
        assert!(world.passes(0, 1, number, 100), "in round {round}");
    }
    let after: u64 = world.nodes[1].drops.nonzero().map(|(_, count)| count).sum();
    assert_eq!(after - before, 100_000);
    assert!(world.nodes[1].frames.len() == 100 && world.nodes[1].downs == 0);
}

#[test]
fn replayed_truncated_reflected_and_flipped_datagrams_are_refused() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(1));
    world.net.capture();
    assert!(world.passes(0, 1, 1, 300));
    let packet = world
        .net
        .captured()
        .into_iter()
        .find(|packet| packet.bytes.len() > 300)
        .unwrap();
    let elsewhere = "203.0.113.7:9".parse().unwrap();
    world.receive(1, packet.from, &packet.bytes);
    world.receive(1, elsewhere, &packet.bytes);
    assert_eq!(world.drops(1, DropReason::Replayed), 2);
    world.receive(0, packet.to, &packet.bytes);
    assert_eq!(world.drops(0, DropReason::UnknownSession), 1);
    // A datagram that never arrived, so that only its changes can be why it is refused.
    world.wire(0, 1, Some(Wire::cut()));
    assert!(!world.passes(0, 1, 2, 300));
    let packet = world
        .net
        .captured()
        .into_iter()
        .find(|packet| packet.bytes.len() > 300)
        .unwrap();
    let frames = world.nodes[1].frames.len();
    for length in 0..packet.bytes.len() {
        world.receive(1, packet.from, &packet.bytes[..length]);
    }
    for bit in 0..packet.bytes.len() * 8 {
        let mut bytes = packet.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        world.receive(1, packet.from, &bytes);
    }
    let mut longer = packet.bytes.clone();
    longer.push(0);
    world.receive(1, packet.from, &longer);
    assert_eq!(world.nodes[1].frames.len(), frames);
    world.receive(1, packet.from, &packet.bytes);
    assert_eq!(
        world.nodes[1].frames.len(),
        frames + 1,
        "the true one still counts"
    );
}

#[test]
fn mutated_datagrams_never_panic() {
    let mut world = chain(3);
    world.passes(0, 2, 0, 100);
    world.run(secs(1));
    world.net.capture();
    for number in 1..5 {
        world.passes(0, 2, number, 1450);
        world.passes(1, 0, number, 90);
    }
    let packets = world.net.captured();
    let mut random = Random(9);
    for _ in 0..20_000 {
        let packet = &packets[random.next_u32() as usize % packets.len()];
        let mut bytes = packet.bytes.clone();
        for _ in 0..1 + random.next_u32() % 4 {
            let place = random.next_u32() as usize % bytes.len();
            bytes[place] = random.next_u32() as u8;
        }
        bytes.truncate(1 + random.next_u32() as usize % (bytes.len() + 20));
        for n in 0..3 {
            world.receive(n, packet.from, &bytes);
        }
    }
    world.run(secs(10));
    assert!(world.passes(0, 2, 9, 100));
}

#[test]
fn packets_on_a_lossy_and_doubling_wire_come_once() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(1));
    let wire = Wire {
        duplicates: 0.5,
        loss: 0.05,
        ..Default::default()
    };
    world.wire(0, 1, Some(wire));
    let mut delivered = 0;
    for number in 0..500 {
        // Counts a frame that came twice as a failure.
        delivered += u32::from(world.passes(0, 1, number, 1430));
    }
    assert!((440..500).contains(&delivered), "{delivered}");
    assert!(world.drops(1, DropReason::Replayed) > 100);
}

#[test]
fn a_packet_that_several_threads_get_is_delivered_once() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(1));
    world.wire(0, 1, Some(Wire::cut()));
    world.net.capture();
    for number in 0..2000 {
        world.send(0, &frame(0, 1, number, 100));
    }
    let packets = world.net.captured();
    let (plane, now) = (&world.nodes[1].plane, world.now);
    let deliver = || {
        let (mut count, mut scratch) = (Frames::default(), Scratch::default());
        for packet in &packets {
            plane.inbound(
                now,
                packet.from,
                &mut packet.bytes.clone(),
                &mut scratch,
                &mut count,
            );
        }
        count.0
    };
    let delivered: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(deliver)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(delivered, 2000);
}

/// Counts frames.
#[derive(Default)]
struct Frames(usize);

impl Sink for Frames {
    fn datagram(&mut self, _: SocketAddr, _: &[u8]) {}
    fn frame(&mut self, _: Vni, _: &[u8]) {
        self.0 += 1;
    }
    fn control(&mut self, _: PeerId, _: Via, _: &[u8]) {}
    fn need(&mut self, _: PeerId) {}
    fn alive(&mut self, _: PeerId) {}
    fn group(&mut self, _: Vni) {}
    fn tree(&mut self, _: Vni, _: mesh::ShortId) {}
}
