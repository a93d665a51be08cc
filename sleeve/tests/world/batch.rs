//! Many frames at a time: super-frames in, runs of datagrams out, runs on at relays, super-frames out again.

use crate::forest;
use crate::harness::*;
use crate::packets::*;
use mesh::{DropReason, PeerId, Vni};
use sleeve::inbox::Gathers;
use sleeve::io::memory::Wire;
use sleeve::offload::{Gso, Offload, Partial, Protocol, Transport};
use sleeve::wire::size::MAX_DATAGRAM;
use sleeve::{Sink, Via};
use std::net::SocketAddr;

/// What went to the kernel, call by call.
#[derive(Default)]
struct Calls {
    runs: Vec<(SocketAddr, Vec<u8>, usize)>,
    /// What was given to the TAP, and the frames it stands for.
    given: usize,
    frames: Vec<Vec<u8>>,
}

impl Calls {
    fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, Vec<u8>)> {
        self.runs
            .iter()
            .flat_map(|(to, bytes, size)| bytes.chunks(*size).map(|datagram| (*to, datagram.to_vec())))
    }
}

impl Sink for Calls {
    fn datagram(&mut self, _: SocketAddr, _: &[u8]) {
        panic!("all go in runs");
    }
    fn datagrams(&mut self, to: SocketAddr, bytes: &[u8], size: usize) {
        assert!(bytes.len() <= MAX_DATAGRAM && bytes.len().div_ceil(size) <= 64);
        self.runs.push((to, bytes.to_vec(), size));
    }
    fn frame(&mut self, _: Vni, frame: &[u8]) {
        self.given += 1;
        self.frames.push(frame.to_vec());
    }
    fn offloaded(&mut self, _: Vni, frame: &mut [u8], offload: &Offload, _: &Transport) {
        self.given += 1;
        offload.undo(frame, |frame| self.frames.push(frame.to_vec()));
    }
    fn control(&mut self, _: PeerId, _: Via, _: &[u8]) {}
    fn need(&mut self, _: PeerId) {}
    fn alive(&mut self, _: PeerId) {}
    fn group(&mut self, _: Vni) {}
    fn tree(&mut self, _: Vni, _: mesh::ShortId) {}
}

impl World {
    /// A container at `n` gives a super-frame, or several, before anything is flushed.
    fn give(&mut self, n: usize, frames: &[Vec<u8>], gso: Gso) -> Calls {
        let mut calls = Calls::default();
        let node = &mut self.nodes[n];
        for frame in frames {
            let checksum = Transport::parse(frame).map(|transport| transport.partial());
            let offload = Offload {
                checksum,
                segments: Some(gso),
            };
            node.plane
                .outbound_batched(self.now, frame, offload, VNI, &mut node.scratch, &mut calls);
        }
        node.scratch.flush(&mut calls);
        calls
    }

    /// As [`World::send`], of a super-frame.
    fn send_super(&mut self, n: usize, frame: &[u8], gso: Gso) {
        let checksum = Transport::parse(frame).map(|transport| transport.partial());
        let segments = Some(gso);
        self.send_with(n, frame, Offload { checksum, segments });
    }

    /// All that `from` sent to `n` gets there at once.
    fn get(&mut self, n: usize, from: usize, sent: &Calls) -> Calls {
        let (mut calls, source) = (Calls::default(), self.nodes[from].address);
        let node = &mut self.nodes[n];
        node.scratch.inbox.set_gathers(Gathers::TcpAndUdp);
        for (to, mut datagram) in sent.datagrams() {
            assert_eq!(to, node.address);
            node.plane
                .inbound_batched(self.now, source, &mut datagram, &mut node.scratch, &mut calls);
        }
        node.scratch.flush(&mut calls);
        calls
    }
}

/// A relay between two routers, a path over it, and sessions.
fn chain() -> World {
    let mut world = unmet();
    world.passes(0, 2, 0, 100);
    assert!(world.passes(0, 2, 1, 100));
    world
}

/// The same before the two know each other.
fn unmet() -> World {
    let mut world = World::new(3);
    for (a, b) in [(0, 1), (1, 2)] {
        world.link(a, b);
    }
    world.wire(0, 2, Some(Wire::cut()));
    world.run(secs(5));
    world.relayed(&[0, 1, 2], 1500);
    world
}

const TCP: Gso = Gso {
    protocol: Protocol::Tcp,
    size: 1300,
};

#[test]
fn a_super_frame_is_two_runs_and_a_super_frame_again() {
    let mut world = chain();
    let data = noise(62_400);
    let sent = world.give(0, &[packet(0, 1, Protocol::Tcp, 7, &data)], TCP);
    assert_eq!((sent.runs.len(), sent.datagrams().count()), (2, 48));
    // Header, tag, what is before a frame, headers: no room was wasted.
    assert_eq!(sent.runs[0].2, 1300 + 40 + 14 + 8 + 32);
    let got = world.get(1, 0, &sent);
    assert_eq!((got.given, got.frames.len()), (1, 48));
    assert!(stream(&got.frames) == data);
}

#[test]
fn super_frames_share_runs_with_those_before_them() {
    let mut world = chain();
    let frames: Vec<_> = (0..6u32)
        .map(|n| packet(0, 1, Protocol::Tcp, n * 13_000, &noise(13_000)))
        .collect();
    let sent = world.give(0, &frames, TCP);
    assert_eq!((sent.runs.len(), sent.datagrams().count()), (2, 60));
    assert!(stream(&world.get(1, 0, &sent).frames) == noise(13_000).repeat(6));
}

#[test]
fn a_run_in_is_a_run_out_at_a_relay() {
    let mut world = chain();
    let data = noise(44 * 1100);
    let gso = Gso { size: 1100, ..TCP };
    let sent = world.give(0, &[packet(0, 2, Protocol::Tcp, 7, &data)], gso);
    assert_eq!((sent.runs.len(), sent.datagrams().count()), (1, 44));
    let passed = world.get(1, 0, &sent);
    assert_eq!(
        (passed.given, passed.runs.len(), passed.datagrams().count()),
        (0, 1, 44)
    );
    let got = world.get(2, 1, &passed);
    assert_eq!((got.given, got.frames.len()), (1, 44));
    assert!(stream(&got.frames) == data);
}

#[test]
fn a_stream_is_cut_smaller_where_its_path_is_narrow() {
    let mut world = chain();
    let (data, gso) = (noise(40_000), Gso { size: 1400, ..TCP });
    let sent = world.give(0, &[packet(0, 2, Protocol::Tcp, 7, &data)], gso);
    assert!(sent.frames.is_empty(), "nobody has to be told");
    let passed = world.get(1, 0, &sent);
    let got = world.get(2, 1, &passed);
    assert!(stream(&got.frames) == data);
    assert!(got.frames.len() > 40_000 / 1400 + 1);
}

#[test]
fn datagrams_too_big_for_the_path_are_told_of_or_split() {
    let mut world = chain();
    let gso = Gso {
        protocol: Protocol::Udp,
        size: 1330,
    };
    let sent = world.give(0, &[packet(0, 2, Protocol::Udp, 0, &noise(13_300))], gso);
    assert_eq!(sent.frames.len(), 1, "the sender is told once");
    assert_eq!(sent.frames[0][34..36], [3, 4], "of fragmentation needed");
    assert_eq!(sent.datagrams().count(), 2 * 9);
    let passed = world.get(1, 0, &sent);
    let got = world.get(2, 1, &passed);
    assert_eq!(got.frames.len(), 9);
    assert!(stream(&got.frames) == noise(13_300)[1330..]);
}

#[test]
fn a_super_frame_without_a_session_waits_like_frames() {
    let mut world = unmet();
    let (data, gso) = (noise(5 * 1000), Gso { size: 1000, ..TCP });
    world.send_super(0, &packet(0, 2, Protocol::Tcp, 7, &data), gso);
    assert_eq!(world.drops(0, DropReason::NoSession), 0, "they wait");
    world.run(secs(1));
    assert!(stream(&world.nodes[2].frames) == data);
}

#[test]
fn broadcast_goes_in_runs_too() {
    let members = [0, 1, 3, 4, 5, 6];
    let mut forest = forest::Forest::new(7, forest::line(7), &members);
    forest.warm(&[0]);
    let world = &mut forest.world;
    let mut sent = Calls::default();
    let node = &mut world.nodes[0];
    for n in 0..40 {
        let frame = forest::to_all(0, n, 1000);
        node.plane.outbound_batched(
            world.now,
            &frame,
            Offload::default(),
            VNI,
            &mut node.scratch,
            &mut sent,
        );
    }
    node.scratch.flush(&mut sent);
    assert_eq!((sent.runs.len(), sent.datagrams().count()), (1, 40));
    let passed = world.get(1, 0, &sent);
    assert_eq!(
        (passed.frames.len(), passed.runs.len(), passed.datagrams().count()),
        (40, 1, 40)
    );
    // No member: passes on what it can't read.
    let passed = world.get(2, 1, &passed);
    assert_eq!(
        (passed.frames.len(), passed.runs.len(), passed.datagrams().count()),
        (0, 1, 40)
    );
}

#[test]
fn what_is_no_super_frame_is_counted() {
    let mut world = chain();
    let mut broken = packet(0, 1, Protocol::Tcp, 7, &noise(5000));
    broken[23] = 17;
    let sent = world.give(0, &[broken], TCP);
    assert!(sent.runs.is_empty());
    assert_eq!(world.drops(0, DropReason::Malformed), 1);
}

/// A container with a raw socket says where its checksum is to be made: nowhere but in TCP and UDP is that left to the
/// receiver, which would write there what the guard never saw.
#[test]
fn a_checksum_in_the_source_address_does_not_slip_past_the_guard() {
    let mut world = chain();
    let frame = packet(0, 1, Protocol::Udp, 0, &noise(100));
    let mut give = |start, offset| {
        let mut calls = Calls::default();
        let node = &mut world.nodes[0];
        let checksum = Some(Partial { start, offset });
        let offload = Offload {
            checksum,
            segments: None,
        };
        node.plane
            .outbound_batched(world.now, &frame, offload, VNI, &mut node.scratch, &mut calls);
        node.scratch.flush(&mut calls);
        calls.runs.len()
    };
    // Where it belongs; in the lower half of the source; outside.
    assert_eq!([give(34, 6), give(20, 8), give(34, 2000)], [1, 0, 0]);
    assert_eq!(world.drops(0, DropReason::SpoofedAddress), 1);
    assert_eq!(world.drops(0, DropReason::Malformed), 1);
}
