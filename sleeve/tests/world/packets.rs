//! Packets as a kernel with offloads gives them.

use crate::harness::{ip, mac};
use sleeve::offload::sum::{fold, sum};
use sleeve::offload::{Protocol, Transport};

/// A TCP or UDP packet with the sum of its pseudo header in place of the checksum.
pub fn packet(from: usize, to: usize, protocol: Protocol, sequence: u32, data: &[u8]) -> Vec<u8> {
    let mut segment = [&1000u16.to_be_bytes()[..], &2000u16.to_be_bytes()].concat();
    match protocol {
        Protocol::Tcp => {
            segment.extend(sequence.to_be_bytes());
            segment.extend([0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        }
        Protocol::Udp => segment.extend([&(data.len() as u16 + 8).to_be_bytes()[..], &[0, 0]].concat()),
    }
    segment.extend(data);
    let mut frame = [&mac(to).0[..], &mac(from).0, &[8, 0, 0x45, 0]].concat();
    frame.extend((segment.len() as u16 + 20).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, protocol.number(), 0, 0]);
    for node in [from, to] {
        let std::net::IpAddr::V4(address) = ip(node) else {
            panic!("an IPv6 address")
        };
        frame.extend(address.octets());
    }
    let checksum = !fold(sum(0, &frame[14..34]));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(segment);
    let transport = Transport::parse(&frame).unwrap();
    let pseudo = fold(transport.pseudo_sum(&frame, frame.len() - 34));
    let at = 34 + usize::from(protocol.checksum_at());
    frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

/// The payload of TCP frames, in order; checksums must be right.
pub fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
    let payloads = frames.iter().map(|frame| {
        let transport = Transport::parse(frame).unwrap();
        assert!(transport.is_intact(frame) && transport.header_is_intact(frame));
        &frame[transport.payload..]
    });
    payloads.collect::<Vec<_>>().concat()
}

pub fn noise(length: usize) -> Vec<u8> {
    let bytes = (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8);
    bytes.collect()
}
