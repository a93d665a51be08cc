//! Bounded reading of Ethernet frames, ARP and IPv4. IPv6 has a file of its own, [`ipv6`](super::ipv6).
//!
//! Each `parse` gives `None` for what no receiver could make sense of: too short, or lengths inside that
//! contradict the bytes there are.

use mesh::Mac;
use std::net::Ipv4Addr;

/// Ethernet header: two addresses and a type.
pub const ETHERNET_HEADER: usize = 14;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP, RFC 826.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// IP protocol number of ICMP, RFC 792.
pub const ICMP: u8 = 1;
/// IP protocol number of UDP, RFC 768.
pub const UDP: u8 = 17;

/// EtherTypes of VLAN tags: IEEE 802.1Q, 802.1ad, and what was used before the latter.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// Below this the field is a length, and an LLC header follows (IEEE 802.3).
const FIRST_ETHERTYPE: u16 = 0x0600;

/// LLC and SNAP header in front of an EtherType, RFC 1042; the last byte of the OUI of RFC 1042 or 802.1H follows.
const SNAP: [u8; 5] = [0xaa, 0xaa, 0x03, 0x00, 0x00];

/// Tags and LLC headers that are looked through.
const MAX_SHIMS: usize = 3;

/// A frame, with what lies between its header and its network packet taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// What the payload is; below 0x600 a kind of its own that carries no network packet.
    pub ethertype: u16,
    /// The network packet and the padding behind it.
    pub payload: &'a [u8],
    /// True if the payload follows the header at once: no VLAN tag, no LLC header. Only such frames are answered,
    /// all others are carried as they are.
    pub plain: bool,
}

impl<'a> Frame<'a> {
    /// Reads a frame. `None` if it is shorter than its headers or has more of them than anybody needs.
    ///
    /// Tags and SNAP headers are looked through because receivers do the same: Linux takes a frame of VLAN 0 for an
    /// untagged one, and filters that did not were evaded that way (CVE-2021-27853, -27854).
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (header, mut payload) = frame.split_at_checked(ETHERNET_HEADER)?;
        let mut ethertype = be16(header, 12)?;
        for shims in 0..=MAX_SHIMS {
            let skip = if TAGS.contains(&ethertype) {
                4
            } else if ethertype < FIRST_ETHERTYPE && carries_snap(payload) {
                8
            } else {
                let [destination, source] = [mac(header, 0)?, mac(header, 6)?];
                return Some(Self {
                    destination,
                    source,
                    ethertype,
                    payload,
                    plain: shims == 0,
                });
            };
            ethertype = be16(payload, skip - 2)?;
            payload = payload.get(skip..)?;
        }
        None
    }
}

fn carries_snap(payload: &[u8]) -> bool {
    payload.starts_with(&SNAP) && matches!(payload.get(SNAP.len()), Some(0x00 | 0xf8))
}

/// An ARP packet for IPv4 over Ethernet, RFC 826.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// The sender's Ethernet address.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 in a probe for duplicates (RFC 5227).
    pub sender: Ipv4Addr,
    /// The Ethernet address of whom it is meant for; means nothing in a request.
    pub target_mac: Mac,
    /// The address asked for, or whom the answer is meant for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Operation of a request.
    pub const REQUEST: u16 = 1;
    /// Operation of a reply.
    pub const REPLY: u16 = 2;
    /// Hardware type Ethernet, protocol type IPv4, the lengths of their addresses.
    pub(super) const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

    /// Reads the payload of an ARP frame. `None` also for other kinds of network.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        packet.starts_with(&Self::PREFIX).then_some(())?;
        Some(Self {
            operation: be16(packet, 6)?,
            sender_mac: mac(packet, 8)?,
            sender: ipv4(packet, 14)?,
            target_mac: mac(packet, 18)?,
            target: ipv4(packet, 24)?,
        })
    }
}

/// An IPv4 packet, RFC 791.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4<'a> {
    /// The whole packet, without the frame's padding.
    pub packet: &'a [u8],
    /// What follows the header and its options.
    pub payload: &'a [u8],
    /// From whom.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// What the payload is.
    pub protocol: u8,
    /// May not be fragmented.
    pub dont_fragment: bool,
    /// The first fragment, or all of a packet: the payload starts with its protocol's header.
    pub first: bool,
}

impl<'a> Ipv4<'a> {
    /// Reads the payload of an IPv4 frame.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let first_byte = *packet.first()?;
        let header = usize::from(first_byte & 0x0f) * 4;
        let total = usize::from(be16(packet, 2)?);
        if first_byte >> 4 != 4 || header < 20 || total < header {
            return None;
        }
        let packet = packet.get(..total)?;
        let fragment = be16(packet, 6)?;
        Some(Self {
            packet,
            payload: packet.get(header..)?,
            source: ipv4(packet, 12)?,
            destination: ipv4(packet, 16)?,
            protocol: *packet.get(9)?,
            dont_fragment: fragment & 0x4000 != 0,
            first: fragment & 0x1fff == 0,
        })
    }
}

/// Source and destination port of a UDP packet or its first fragment.
#[must_use]
pub fn udp_ports(payload: &[u8]) -> Option<(u16, u16)> {
    Some((be16(payload, 0)?, be16(payload, 2)?))
}

/// `N` bytes at an offset.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A 16-bit number in network order.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    array(bytes, at).map(Mac)
}

fn ipv4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    array::<4>(bytes, at).map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::samples;

    #[test]
    fn a_plain_frame() {
        let frame = samples::udp4([10, 0, 0, 1], [10, 0, 0, 2], 4000, 53, b"hello");
        let parsed = Frame::parse(&frame).unwrap();
        assert_eq!((parsed.destination, parsed.source), (samples::B, samples::A));
        assert_eq!(
            (parsed.ethertype, parsed.plain, parsed.payload.len()),
            (IPV4, true, 33)
        );
        let packet = Ipv4::parse(parsed.payload).unwrap();
        assert_eq!(
            (packet.source.octets(), packet.destination.octets()),
            ([10, 0, 0, 1], [10, 0, 0, 2])
        );
        assert_eq!(
            (packet.protocol, packet.dont_fragment, packet.first),
            (UDP, true, true)
        );
        assert_eq!(udp_ports(packet.payload), Some((4000, 53)));
    }

    #[test]
    fn tags_and_snap_headers_are_looked_through() {
        let inner = [IPV4.to_be_bytes().as_slice(), &[0x45]].concat();
        let shims: [&[u8]; 4] = [
            &[0x81, 0, 0, 0],
            &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 0],
            &[0, 50, 0xaa, 0xaa, 3, 0, 0, 0],
            &[0x81, 0, 0, 0, 0, 50, 0xaa, 0xaa, 3, 0, 0, 0xf8],
        ];
        for shim in shims {
            let bytes = [&[0; 12], shim, &inner].concat();
            let frame = Frame::parse(&bytes).unwrap();
            assert_eq!(
                (frame.ethertype, frame.payload, frame.plain),
                (IPV4, &[0x45][..], false),
                "{shim:?}"
            );
        }
        let four_tags = [&[0; 12], [0x81, 0, 0, 0].repeat(4).as_slice(), &inner].concat();
        assert_eq!(Frame::parse(&four_tags), None);
        let spanning_tree = [&[0; 12][..], &[0, 38, 0x42, 0x42, 3]].concat();
        assert_eq!(
            Frame::parse(&spanning_tree).map(|frame| (frame.ethertype, frame.plain)),
            Some((38, true))
        );
    }

    #[test]
    fn padding_is_cut_off_and_short_packets_are_refused() {
        let mut packet = samples::udp4([10, 0, 0, 1], [10, 0, 0, 2], 1, 2, b"xy").split_off(ETHERNET_HEADER);
        let length = packet.len();
        packet.resize(46, 0xee);
        assert_eq!(Ipv4::parse(&packet).unwrap().packet.len(), length);
        for cut in 0..length {
            assert_eq!(Ipv4::parse(&packet[..cut]), None);
        }
        for (at, value) in [(0, 0x44), (0, 0x65), (0, 0x4f), (3, 19)] {
            let mut odd = packet.clone();
            odd[at] = value;
            assert_eq!(Ipv4::parse(&odd), None, "byte {at} = {value:#x}");
        }
    }

    #[test]
    fn arp_is_read_only_for_ipv4_over_ethernet() {
        let frame = samples::arp_request(samples::A, [10, 0, 0, 1], [10, 0, 0, 2]);
        let packet = &frame[ETHERNET_HEADER..];
        let arp = Arp::parse(packet).unwrap();
        assert_eq!((arp.operation, arp.sender_mac), (Arp::REQUEST, samples::A));
        assert_eq!(
            (arp.sender.octets(), arp.target.octets()),
            ([10, 0, 0, 1], [10, 0, 0, 2])
        );
        for cut in 0..28 {
            assert_eq!(Arp::parse(&packet[..cut]), None);
        }
        let mut odd = packet.to_vec();
        odd[4] = 8;
        assert_eq!(Arp::parse(&odd), None);
    }
}
