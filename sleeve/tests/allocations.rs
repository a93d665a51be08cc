//! Packets take no allocation once buffers have grown, one at a time or many.
#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "world/forest.rs"]
mod forest;
#[path = "world/harness.rs"]
mod harness;
#[path = "world/node.rs"]
mod node;
#[path = "world/packets.rs"]
mod packets;

use harness::*;
use mesh::{PeerId, Vni};
use sleeve::inbox::Gathers;
use sleeve::io::memory::{Packet, Wire};
use sleeve::offload::{Gso, Offload, Protocol, Transport};
use sleeve::{Plane, Scratch, Sink, Via};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count per thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn note() {
    // A thread that is ending has no counter any more, and nobody who would read it.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator with the arguments it came with; counting touches only a
// thread-local number and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the system's allocator, by way of this one.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the pointer came from the system's allocator, by way of this one.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Counts what comes and keeps nothing.
#[derive(Default)]
struct Tally {
    datagrams: usize,
    frames: usize,
    messages: usize,
}

impl Sink for Tally {
    fn datagram(&mut self, _: SocketAddr, _: &[u8]) {
        self.datagrams += 1;
    }
    fn frame(&mut self, _: Vni, _: &[u8]) {
        self.frames += 1;
    }
    fn offloaded(&mut self, _: Vni, _: &mut [u8], _: &Offload, _: &Transport) {
        self.frames += 1;
    }
    fn control(&mut self, _: PeerId, _: Via, _: &[u8]) {
        self.messages += 1;
    }
    fn need(&mut self, _: PeerId) {}
    fn alive(&mut self, _: PeerId) {}
    fn group(&mut self, _: Vni) {}
    fn tree(&mut self, _: Vni, _: mesh::ShortId) {}
}

/// Gives `packets` to `plane`; returns what came of it and how many allocations that took, without those of the
/// first tenth, in which buffers may grow.
fn receive(world: &World, plane: &Plane, packets: Vec<Packet>) -> (Tally, usize) {
    let (mut tally, mut scratch) = (Tally::default(), Scratch::default());
    let (warm, mut before) = (packets.len() / 10, 0);
    for (n, mut packet) in packets.into_iter().enumerate() {
        if n == warm {
            before = ALLOCATIONS.get();
        }
        let spared = ALLOCATIONS.get();
        plane.inbound(
            world.now,
            packet.from,
            &mut packet.bytes,
            &mut scratch,
            &mut tally,
        );
        assert!(n < warm || ALLOCATIONS.get() == spared, "packet {n}");
    }
    (tally, ALLOCATIONS.get() - before)
}

/// What `send` puts on the wire to node `to`, which does not get it.
fn caught(world: &mut World, from: usize, to: usize, send: impl Fn(&mut World, u32)) -> Vec<Packet> {
    world.wire(from, to, Some(Wire::cut()));
    world.net.capture();
    let _ = world.net.captured();
    for number in 0..1000 {
        send(world, number);
    }
    world.wire(from, to, None);
    let address = world.nodes[to].address;
    world
        .net
        .captured()
        .into_iter()
        .filter(|packet| packet.to == address)
        .collect()
}

#[test]
fn no_allocation_per_received_packet() {
    let trusted = vec![vec![], vec![], vec![], vec![]];
    let mut world = World::with(
        4,
        &Options {
            trusted,
            ..Options::default()
        },
    );
    for (a, b) in [(0, 1), (1, 2)] {
        world.link(a, b);
    }
    world.wire(0, 2, Some(Wire::cut()));
    world.run(secs(1));
    world.relayed(&[0, 1, 2], 1500);
    world.passes(0, 2, 0, 100);
    world.run(secs(1));

    let direct = caught(&mut world, 0, 1, |world, n| world.send(0, &frame(0, 1, n, 1000)));
    let (tally, allocations) = receive(&world, &world.nodes[1].plane, direct);
    assert_eq!((tally.frames, allocations), (1000, 0), "direct");

    let halves = caught(&mut world, 0, 1, |world, n| world.send(0, &frame(0, 1, n, 2000)));
    assert_eq!(halves.len(), 2000);
    let (tally, allocations) = receive(&world, &world.nodes[1].plane, halves);
    assert_eq!((tally.frames, allocations), (1000, 0), "in two halves");

    let relayed = caught(&mut world, 0, 1, |world, n| world.send(0, &frame(0, 2, n, 1000)));
    let (tally, allocations) = receive(&world, &world.nodes[1].plane, relayed.clone());
    assert_eq!((tally.datagrams, allocations), (1000, 0), "at a relay");

    // Refusals: everything once more, and garbage.
    let (tally, allocations) = receive(&world, &world.nodes[1].plane, relayed.clone());
    assert_eq!((tally.datagrams, allocations), (0, 0), "replays");
    let mut garbage = relayed;
    for (n, packet) in garbage.iter_mut().enumerate() {
        packet.bytes.truncate(n % 90);
        packet.bytes.fill(n as u8);
    }
    let (_, allocations) = receive(&world, &world.nodes[1].plane, garbage);
    assert_eq!(allocations, 0, "garbage");

    // At the end of a relayed path.
    world.wire(1, 2, Some(Wire::cut()));
    world.net.capture();
    let _ = world.net.captured();
    for n in 0..1000 {
        world.send(0, &frame(0, 2, n, 1000));
        world.run(ms(3));
    }
    let last = world.nodes[2].address;
    let last = world
        .net
        .captured()
        .into_iter()
        .filter(|p| p.to == last && p.bytes[0] == 3)
        .collect();
    let (tally, allocations) = receive(&world, &world.nodes[2].plane, last);
    assert!(tally.frames >= 990, "{}", tally.frames);
    assert_eq!(allocations, 0, "relayed");
}

#[test]
fn no_allocation_per_group_datagram() {
    let members = [0, 1, 3, 4, 5, 6];
    let mut forest = forest::Forest::new(7, forest::line(7), &members);
    forest.warm(&[0]);
    let send = |world: &mut World, n| world.send(0, &forest::to_all(0, n, 1000));
    let packets = caught(&mut forest.world, 0, 1, send);
    let world = &forest.world;
    let (tally, allocations) = receive(world, &world.nodes[1].plane, packets.clone());
    assert_eq!(
        (tally.frames, tally.datagrams, allocations),
        (1000, 1000, 0),
        "at a member"
    );
    let (tally, allocations) = receive(world, &world.nodes[1].plane, packets);
    assert_eq!((tally.frames, tally.datagrams, allocations), (0, 0, 0), "replays");

    let mut forest = forest::Forest::new(7, forest::line(7), &members);
    forest.warm(&[0]);
    forest.world.wire(2, 3, Some(Wire::cut()));
    let packets = caught(&mut forest.world, 1, 2, |world, n| {
        world.send(0, &forest::to_all(0, n, 1000));
        world.run(ms(2));
    });
    let packets: Vec<_> = packets
        .into_iter()
        .filter(|packet| packet.bytes[0] == 4)
        .collect();
    let world = &forest.world;
    let (tally, allocations) = receive(world, &world.nodes[2].plane, packets);
    assert!(tally.datagrams >= 990, "{}", tally.datagrams);
    assert_eq!((tally.frames, allocations), (0, 0), "at a relay");
}

/// Super-frames out of a container, and the datagrams they became into the next router: neither allocates.
#[test]
fn no_allocation_per_super_frame() {
    let mut world = World::new(3);
    for (a, b) in [(0, 1), (1, 2)] {
        world.link(a, b);
    }
    world.wire(0, 2, Some(Wire::cut()));
    world.run(secs(5));
    world.relayed(&[0, 1, 2], 1500);
    world.passes(0, 2, 0, 100);
    world.run(secs(1));
    // A stream that repeats itself is ten super-frames; datagrams are as many as it takes; a relay makes none.
    for (to, protocol, super_frames, datagrams) in [
        (1, Protocol::Tcp, 10, 0),
        (1, Protocol::Udp, 7, 0),
        (2, Protocol::Tcp, 0, 400),
    ] {
        let gso = Gso { protocol, size: 1000 };
        let frame = packets::packet(0, to, protocol, 7, &packets::noise(40_000));
        let checksum = Transport::parse(&frame).map(|transport| transport.partial());
        let offload = Offload {
            checksum,
            segments: Some(gso),
        };
        let (mut kept, mut tally, mut scratch) = (Kept::default(), Tally::default(), Scratch::default());
        let plane = world.nodes[0].plane.clone();
        for _ in 0..10 {
            plane.outbound_batched(world.now, &frame, offload, VNI, &mut scratch, &mut kept);
        }
        scratch.flush(&mut kept);
        let before = ALLOCATIONS.get();
        for _ in 0..100 {
            plane.outbound_batched(world.now, &frame, offload, VNI, &mut scratch, &mut tally);
        }
        scratch.flush(&mut tally);
        assert_eq!(
            (ALLOCATIONS.get() - before, tally.datagrams),
            (0, 4000),
            "out to {to}"
        );

        let (mut tally, mut scratch) = (Tally::default(), Scratch::default());
        scratch.inbox.set_gathers(Gathers::TcpAndUdp);
        let (plane, from) = (world.nodes[1].plane.clone(), world.nodes[0].address);
        let (warm, mut before) = (kept.0.len() / 2, 0);
        for (n, datagram) in kept.0.iter_mut().enumerate() {
            if n == warm {
                before = ALLOCATIONS.get();
            }
            plane.inbound_batched(world.now, from, datagram, &mut scratch, &mut tally);
        }
        scratch.flush(&mut tally);
        assert_eq!(ALLOCATIONS.get() - before, 0, "in from 0 to {to}");
        assert_eq!((tally.frames, tally.datagrams), (super_frames, datagrams));
    }
}

/// Keeps datagrams.
#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

impl Sink for Kept {
    fn datagram(&mut self, _: SocketAddr, bytes: &[u8]) {
        self.0.push(bytes.to_vec());
    }
    fn frame(&mut self, _: Vni, _: &[u8]) {}
    fn control(&mut self, _: PeerId, _: Via, _: &[u8]) {}
    fn need(&mut self, _: PeerId) {}
    fn alive(&mut self, _: PeerId) {}
    fn group(&mut self, _: Vni) {}
    fn tree(&mut self, _: Vni, _: mesh::ShortId) {}
}
