//! What a relay costs, in nanoseconds per datagram. Run with `--release -- --ignored --nocapture relay_cost`.

use crate::harness::*;
use crate::relay::chain;
use mesh::{PeerId, ShortId, Vni};
use sleeve::io::memory::{Packet, Wire};
use sleeve::{Plane, Scratch, Sink, Via};
use std::net::SocketAddr;
use std::time::Instant;

/// Datagrams per run.
const COUNT: u32 = 20_000;

/// Counts datagrams.
#[derive(Default)]
struct Tally(usize);

impl Sink for Tally {
    fn datagram(&mut self, _: SocketAddr, bytes: &[u8]) {
        self.0 += std::hint::black_box(bytes).len().min(1);
    }
    fn frame(&mut self, _: Vni, _: &[u8]) {}
    fn control(&mut self, _: PeerId, _: Via, _: &[u8]) {}
    fn need(&mut self, _: PeerId) {}
    fn alive(&mut self, _: PeerId) {}
    fn group(&mut self, _: Vni) {}
    fn tree(&mut self, _: Vni, _: ShortId) {}
}

/// Datagrams that node 0 sends node 1 to relay, none of which arrives.
fn relayed(world: &mut World, to: usize, length: usize) -> Vec<Packet> {
    world.wire(0, 1, Some(Wire::cut()));
    world.net.capture();
    let _ = world.net.captured();
    for number in 0..COUNT {
        world.send(0, &frame(0, to, number, length));
    }
    world.wire(0, 1, None);
    let relay = world.nodes[1].address;
    let packets = world.net.captured().into_iter();
    packets.filter(|packet| packet.to == relay).collect()
}

/// Nanoseconds per datagram.
fn cost(now: mesh::Instant, plane: &Plane, packets: Vec<Packet>) -> f64 {
    let (mut tally, mut scratch) = (Tally::default(), Scratch::default());
    let count = packets.len();
    let mut packets = packets;
    let start = Instant::now();
    for packet in &mut packets {
        plane.inbound(now, packet.from, &mut packet.bytes, &mut scratch, &mut tally);
    }
    let time = start.elapsed();
    assert_eq!(tally.0, count);
    time.as_secs_f64() * 1e9 / count as f64
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

#[test]
#[ignore = "measures; wants --release"]
fn relay_cost() {
    for length in [100, 1000] {
        let mut world = chain(4);
        world.passes(0, 3, 0, 100);
        world.run(ms(500));
        let runs = (0..9).map(|_| {
            let packets = relayed(&mut world, 3, length);
            cost(world.now, &world.nodes[1].plane, packets)
        });
        println!(
            "relay, frames of {length} bytes: {:.0} ns",
            median(runs.collect())
        );
    }
}
