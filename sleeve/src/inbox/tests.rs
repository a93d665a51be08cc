//! Whatever comes, what is given away and cut again is what came.

use super::*;
use crate::Via;
use crate::ethernet::samples::{self, Tcp};
use mesh::{PeerId, ShortId};
use proptest::prelude::*;
use std::net::SocketAddr;

/// What came out: how many times something was given, and the frames that this stands for.
#[derive(Default)]
struct Out {
    given: usize,
    frames: Vec<Vec<u8>>,
}

impl Sink for Out {
    fn datagram(&mut self, _: SocketAddr, _: &[u8]) {}
    fn frame(&mut self, _: Vni, frame: &[u8]) {
        self.given += 1;
        self.frames.push(frame.to_vec());
    }
    fn offloaded(&mut self, _: Vni, frame: &mut [u8], offload: &Offload, transport: &Transport) {
        self.given += 1;
        // As the kernel will read it.
        let bytes = [
            &offload.header(transport.payload as u16, transport.six)[..],
            frame,
        ]
        .concat();
        let (read, frame) = Offload::read(&bytes).unwrap();
        assert_eq!(read, *offload);
        assert_eq!(Transport::parse(frame), Some(*transport));
        read.undo(&mut frame.to_vec(), |frame| self.frames.push(frame.to_vec()));
    }
    fn control(&mut self, _: PeerId, _: Via, _: &[u8]) {}
    fn need(&mut self, _: PeerId) {}
    fn alive(&mut self, _: PeerId) {}
    fn group(&mut self, _: Vni) {}
    fn tree(&mut self, _: Vni, _: ShortId) {}
}

/// Gives frames, each with its checksum there or left to this end.
fn through(frames: &[(Vec<u8>, bool)]) -> Out {
    let (mut inbox, mut out) = (Inbox::default(), Out::default());
    inbox.set_gathers(Gathers::TcpAndUdp);
    for (frame, partial) in frames {
        let mut frame = frame.clone();
        let transport = Transport::parse(&frame).filter(|_| *partial);
        if let Some(transport) = transport {
            let length = frame.len();
            transport.write_partial_sum(&mut frame, length);
        }
        let partial = transport.map(|transport| transport.partial());
        let arrived = Arrived::new(Vni(1), &mut frame, partial, Gathers::TcpAndUdp).unwrap();
        if !inbox.join(&arrived, &mut out) {
            inbox.begin(arrived, &mut out);
        }
    }
    inbox.flush(&mut out);
    out
}

/// A frame without the identification of what must not be fragmented, which means nothing.
fn without_id(mut frame: Vec<u8>) -> Vec<u8> {
    let transport = Transport::parse(&frame);
    if transport.is_some_and(|transport| !transport.six) && frame[20] & 0x40 != 0 {
        frame[18..20].fill(0);
        frame[24..26].fill(0);
    }
    frame
}

#[test]
fn a_stream_becomes_one_super_frame() {
    for (six, partial) in [(false, true), (true, false)] {
        let frames: Vec<_> = (0..40u32)
            .map(|n| {
                let flags = if n == 39 { 0x18 } else { 0x10 };
                let tcp = Tcp {
                    six,
                    id: n as u16,
                    sequence: n.wrapping_mul(1400).wrapping_sub(5000),
                    flags,
                    ..Tcp::default()
                };
                (tcp.frame(&[n as u8; 1400]), partial)
            })
            .collect();
        let out = through(&frames);
        assert_eq!((out.given, out.frames.len()), (1, 40));
        assert!(out.frames.iter().eq(frames.iter().map(|(frame, _)| frame)));
    }
}

#[test]
fn datagrams_of_one_size_become_one_super_frame() {
    let frames: Vec<_> = (0..20)
        .map(|n| (samples::udp_packet(false, (5, 6), n, &[n as u8; 64]), true))
        .collect();
    let out = through(&frames);
    assert_eq!((out.given, out.frames.len()), (1, 20));
}

#[test]
fn kernels_refuse_more_datagrams_than_they_send() {
    let frames: Vec<_> = (0..200)
        .map(|n| (samples::udp_packet(true, (5, 6), n, &[n as u8; 64]), true))
        .collect();
    let out = through(&frames);
    assert_eq!((out.given, out.frames.len()), (4, 200));
}

#[test]
fn a_bad_checksum_arrives_bad() {
    let good = |n: u32| {
        (Tcp {
            sequence: 1 + n * 10,
            ..Tcp::default()
        })
        .frame(&[7; 10])
    };
    let mut bad = good(1);
    *bad.last_mut().unwrap() ^= 1;
    let frames = [good(0), bad, good(2)].map(|frame| (frame, false));
    let out = through(&frames);
    assert_eq!(out.frames, frames.map(|(frame, _)| frame));
    // And one that comes first is not healed by those that follow.
    let mut first = good(0);
    *first.last_mut().unwrap() ^= 1;
    let frames = [(first, false), (good(1), true)];
    assert_eq!(through(&frames).frames[0], frames[0].0);
}

#[test]
fn more_than_a_packet_holds_is_two() {
    let frames: Vec<_> = (0..60u32)
        .map(|n| {
            (
                Tcp {
                    sequence: 1 + n * 1400,
                    ..Tcp::default()
                }
                .frame(&[1; 1400]),
                true,
            )
        })
        .collect();
    let out = through(&frames);
    assert_eq!((out.given, out.frames.len()), (2, 60));
}

#[derive(Debug, Clone)]
struct Step {
    port: u16,
    tcp: bool,
    six: bool,
    partial: bool,
    length: usize,
    flags: u8,
    gap: u32,
    window: u16,
    /// What is wrong with it: nothing mostly; a flipped bit, padding, an odd time to live, another kind of frame.
    odd: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop::sample::select(vec![0, 1, 99, 100, 100, 100, 100, 101]);
    let flags = prop::sample::select(vec![0x10u8, 0x10, 0x10, 0x18, 0x11, 0x50, 0x90, 0x02, 0x14]);
    let gap = prop::sample::select(vec![0u32, 0, 0, 0, 1, 100]);
    let window = prop::sample::select(vec![500u16, 500, 500, 501]);
    let step = (1u16..4, any::<[bool; 3]>(), length, flags, gap, window, 0u8..24);
    let step = step.prop_map(
        |(port, [tcp, six, partial], length, flags, gap, window, odd)| Step {
            port,
            tcp: tcp || port == 1,
            six,
            partial,
            length,
            flags,
            gap,
            window,
            odd,
        },
    );
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn what_comes_out_is_what_went_in(steps in steps()) {
        let mut next = std::collections::BTreeMap::new();
        let frames: Vec<_> = steps.iter().enumerate().map(|(n, step)| {
            let next = next.entry((step.port, step.six, step.tcp)).or_insert(0u32);
            let sequence = next.wrapping_add(step.gap);
            *next = sequence.wrapping_add(step.length as u32);
            let data: Vec<_> = (0..step.length).map(|at| (at * 7 + n) as u8).collect();
            let ports = (step.port, 9);
            let id = if step.odd == 5 { 3 } else { n as u16 };
            let tcp = Tcp { six: step.six, ports, id, sequence, flags: step.flags, window: step.window, ..Tcp::default() };
            let mut frame = if step.tcp { tcp.frame(&data) } else { samples::udp_packet(step.six, ports, id, &data) };
            match step.odd {
                0 => *frame.last_mut().unwrap() ^= 1,
                1 => frame.extend([0; 6]),
                2 if !step.six => frame[22] ^= 1,
                3 => frame[12..14].copy_from_slice(&[0x88, 0xb5]),
                4 => frame[0] ^= 2,
                _ => {}
            }
            (frame, step.partial && step.odd > 5)
        }).collect();
        let out = through(&frames);
        prop_assert_eq!(out.frames.len(), frames.len());
        let key = |frame: &[u8]| {
            let transport = Transport::parse(frame)?;
            let ports = &frame[transport.transport..transport.transport + 4];
            Some((frame[0], transport.six, transport.protocol, ports.to_vec()))
        };
        let keys: std::collections::HashSet<_> = frames.iter().map(|(frame, _)| key(frame)).collect();
        for flow in keys {
            let of = |frames: Vec<Vec<u8>>| {
                let same = frames.into_iter().filter(|frame| key(frame) == flow);
                same.map(without_id).collect::<Vec<_>>()
            };
            let came = frames.iter().map(|(frame, _)| frame.clone()).collect();
            prop_assert_eq!(of(came), of(out.frames.clone()));
        }
    }
}
