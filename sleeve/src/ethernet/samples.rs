//! Frames for tests, put together byte by byte, with checksums of an implementation of their own.

use mesh::Mac;
use std::net::Ipv6Addr;

pub(crate) const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub(crate) const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
pub(crate) const ONE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const TWO: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// Ones' complement sum, carry by carry.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (total, carry) = sum.overflowing_add(word);
        sum = total + u16::from(carry);
    }
    (!sum).to_be_bytes()
}

pub(crate) fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &ethertype.to_be_bytes(), payload].concat()
}

/// A request of `asker`, to everybody.
pub(crate) fn arp_request(asker: Mac, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let packet = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &asker.0, &sender, &[0; 6], &target].concat();
    ethernet(Mac::BROADCAST, asker, 0x0806, &packet)
}

/// From A to B, with the fragment field given (0x4000: don't fragment).
pub(crate) fn ipv4(
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
pub(crate) fn udp4(source: [u8; 4], destination: [u8; 4], from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    ipv4(source, destination, 0x4000, 17, &udp(from, to, data))
}

pub(crate) fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap().to_be_bytes();
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length, &[0, 0], data].concat()
}

/// From A to B, hop limit 255.
pub(crate) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [0x60, 0, 0, 0, high, low, protocol, 255];
    let packet = [&header[..], &source.octets(), &destination.octets(), payload].concat();
    ethernet(B, A, 0x86dd, &packet)
}

/// An ICMPv6 message with its checksum put in.
pub(crate) fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
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
pub(crate) fn neighbor(kind: u8, target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let option = option.map_or(vec![], |(kind, mac)| [&[kind, 1][..], &mac.0].concat());
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &option].concat()
}

/// What `asker` sends to find `target`; from `::` it is a probe for duplicates.
pub(crate) fn neighbor_solicitation(asker: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&[a, b, c]);
    let option = (!source.is_unspecified()).then_some((1, asker));
    let mut frame = icmpv6(source, group.into(), neighbor(135, target, option));
    frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, a, b, c]);
    frame[6..12].copy_from_slice(&asker.0);
    frame
}

/// What a TCP segment says.
#[derive(Debug, Clone)]
pub(crate) struct Tcp {
    pub six: bool,
    pub ports: (u16, u16),
    pub id: u16,
    pub sequence: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            six: false,
            ports: (1000, 2000),
            id: 7,
            sequence: 1,
            flags: 0x10,
            window: 500,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        }
    }
}

impl Tcp {
    /// From A to B, its checksums there.
    pub(crate) fn frame(&self, data: &[u8]) -> Vec<u8> {
        let mut header = [&self.ports.0.to_be_bytes()[..], &self.ports.1.to_be_bytes()].concat();
        header.extend(self.sequence.to_be_bytes());
        header.extend([0, 0, 0, 9]);
        header.extend([((20 + self.options.len()) / 4 * 16) as u8, self.flags]);
        header.extend(self.window.to_be_bytes());
        header.extend([0, 0, 0, 0]);
        header.extend(&self.options);
        packet(self.six, 6, self.id, [&header, data].concat(), 16)
    }
}

/// From A to B, with its checksums: `segment` has nothing at `at`, where its own belongs.
pub(crate) fn packet(six: bool, protocol: u8, id: u16, mut segment: Vec<u8>, at: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(segment.len()).unwrap().to_be_bytes();
    let (four, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let addresses = if six {
        [ONE.octets(), TWO.octets()].concat()
    } else {
        [four, other].concat()
    };
    let sum = checksum(&[&addresses[..], &[0, protocol, high, low], &segment].concat());
    segment[at..at + 2].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
    if six {
        return ipv6(ONE, TWO, protocol, &segment);
    }
    let mut frame = ipv4(four, other, 0x4000, protocol, &segment);
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame
}

/// From A to B, with its checksums.
pub(crate) fn udp_packet(six: bool, ports: (u16, u16), id: u16, data: &[u8]) -> Vec<u8> {
    packet(six, 17, id, udp(ports.0, ports.1, data), 6)
}
