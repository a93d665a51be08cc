//! Frames for tests, put together byte by byte, with checksums of an implementation of their own.

use mesh::Mac;
use std::net::Ipv6Addr;

pub(super) const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub(super) const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
pub(super) const ONE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(super) const TWO: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// Ones' complement sum, carry by carry.
pub(super) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (total, carry) = sum.overflowing_add(word);
        sum = total + u16::from(carry);
    }
    (!sum).to_be_bytes()
}

pub(super) fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &ethertype.to_be_bytes(), payload].concat()
}

/// A request of `asker`, to everybody.
pub(super) fn arp_request(asker: Mac, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let packet = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &asker.0, &sender, &[0; 6], &target].concat();
    ethernet(Mac::BROADCAST, asker, 0x0806, &packet)
}

/// From A to B, with the fragment field given (0x4000: don't fragment).
pub(super) fn ipv4(
    source: [u8; 4],
    destination: [u8; 4],
    fragment: u16,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let mut header = vec![
        0x45, 0, length[0], length[1], 0x12, 0x34, high, low, 64, protocol, 0, 0,
    ];
    header.extend([source, destination].concat());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    ethernet(B, A, 0x0800, &[&header, payload].concat())
}

/// From A to B, not to be fragmented; without UDP checksum.
pub(super) fn udp4(source: [u8; 4], destination: [u8; 4], from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    ipv4(source, destination, 0x4000, 17, &udp(from, to, data))
}

pub(super) fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap().to_be_bytes();
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length, &[0, 0], data].concat()
}

/// From A to B, hop limit 255.
pub(super) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [0x60, 0, 0, 0, high, low, protocol, 255];
    let packet = [&header[..], &source.octets(), &destination.octets(), payload].concat();
    ethernet(B, A, 0x86dd, &packet)
}

/// An ICMPv6 message with its checksum put in.
pub(super) fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let [high, low] = u16::try_from(message.len()).unwrap().to_be_bytes();
    let pseudo = [
        &source.octets()[..],
        &destination.octets(),
        &[0, 0, high, low, 0, 0, 0, 58],
    ]
    .concat();
    let sum = checksum(&[pseudo, message.clone()].concat());
    message[2..4].copy_from_slice(&sum);
    ipv6(source, destination, 58, &message)
}

/// A solicitation or advertisement with one option of the given kind.
pub(super) fn neighbor(kind: u8, target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let option = option.map_or(vec![], |(kind, mac)| [&[kind, 1][..], &mac.0].concat());
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &option].concat()
}

/// What `asker` sends to find `target`; from `::` it is a probe for duplicates.
pub(super) fn neighbor_solicitation(asker: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&[a, b, c]);
    let option = (!source.is_unspecified()).then_some((1, asker));
    let mut frame = icmpv6(source, group.into(), neighbor(135, target, option));
    frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, a, b, c]);
    frame[6..12].copy_from_slice(&asker.0);
    frame
}
