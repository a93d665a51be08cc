//! Lanes: threads of one router that seal with keys of their own, and open each other's.

use crate::harness::*;
use crate::relay::chain;
use mesh::DropReason;
use sleeve::wire::{self, LANES};

impl World {
    /// As [`World::passes`], sealed in one of the lanes of `from`.
    fn passes_in(&mut self, lane: usize, from: usize, to: usize, number: u32) -> bool {
        self.nodes[from].scratch.set_lane(lane as u8);
        let passed = self.passes(from, to, number, 500);
        self.nodes[from].scratch.set_lane(0);
        passed
    }
}

#[test]
fn what_any_lane_sealed_any_lane_opens() {
    let mut world = chain(3);
    assert!(world.passes(0, 2, 0, 100));
    let mut number = 1;
    for relay in [0, 5] {
        world.nodes[1].scratch.set_lane(relay);
        for opener in [0, 3] {
            world.nodes[2].scratch.set_lane(opener);
            for lane in 0..LANES {
                world.net.capture();
                assert!(world.passes_in(lane, 0, 2, number), "lane {lane}");
                number += 1;
                let said = |n: usize| {
                    let packets = world.net.captured();
                    let to = world.nodes[n].address;
                    let relayed = packets
                        .into_iter()
                        .filter(|packet| packet.bytes[0] == wire::RELAY);
                    let mut packets = relayed.filter(|packet| packet.to == to);
                    packets.next().map(|packet| wire::lane(&packet.bytes))
                };
                assert_eq!(said(1), Some(Some(lane as u8)));
            }
        }
    }
    for node in &world.nodes {
        assert!(node.drops.nonzero().next().is_none());
    }
}

#[test]
fn each_lane_counts_for_itself() {
    let mut world = chain(2);
    assert!(world.passes(0, 1, 0, 100));
    world.net.capture();
    for lane in [6, 7] {
        assert!(world.passes_in(lane, 0, 1, lane as u32));
    }
    let sealed =
        |packet: &&sleeve::io::memory::Packet| packet.bytes[0] == wire::SEALED && packet.bytes[2] > 5;
    let packets = world.net.captured();
    let packets: Vec<_> = packets.iter().filter(sealed).collect();
    assert_eq!(packets.len(), 2);
    assert_eq!(packets[0].bytes[8..16], [0; 8], "a lane begins at nought");
    assert_eq!(packets[1].bytes[8..16], [0; 8], "so does another");
    assert!(packets[0].bytes[16..] != packets[1].bytes[16..]);
    let (from, node) = (world.nodes[0].address, 1);
    // Neither comes twice, nor under the other's name, nor under one that nobody has.
    for packet in &packets {
        world.receive(node, from, &packet.bytes);
    }
    assert_eq!(world.drops(node, DropReason::Replayed), 2);
    let mut renamed = packets[0].bytes.clone();
    renamed[2] = 5;
    world.receive(node, from, &renamed);
    assert_eq!(world.drops(node, DropReason::Unauthentic), 1);
    for lane in [LANES as u8, 255] {
        renamed[2] = lane;
        world.receive(node, from, &renamed);
    }
    assert_eq!(world.drops(node, DropReason::UnknownSession), 2);
    assert!(
        world.passes_in(5, 0, 1, 9),
        "what was renamed has used nothing up"
    );
}

#[test]
fn lanes_are_renewed_with_their_session() {
    let mut world = chain(2);
    assert!(world.passes(0, 1, 0, 100));
    for number in 1..1500 {
        let lane = number as usize % LANES;
        assert!(
            world.passes_in(lane, 0, 1, number),
            "frame {number} in lane {lane}"
        );
    }
}
