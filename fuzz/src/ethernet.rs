//! Frames of containers: what is read, refused and answered, against second readings that know less but are simple.

use crate::bytes::Bytes;
use mesh::Mac;
use sleeve::ethernet::guard::{self, LinkLocal, Port};
use sleeve::ethernet::ipv6::{Ipv6, Neighbor, link_local};
use sleeve::ethernet::parse::{Arp, Frame, Ipv4, udp_ports};
use sleeve::ethernet::too_big::{self, Verdict};
use sleeve::ethernet::{arp, nd};
use std::net::{IpAddr, Ipv6Addr};

/// The port of the container whose frames these are.
pub const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// A container behind another router.
pub const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Its own addresses.
pub const OWN_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
];
/// The other's addresses.
pub const OTHER_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
];

/// Every reader over the same frame: what they give lies inside of it.
pub fn readers(input: &[u8]) {
    let Some(frame) = Frame::parse(input) else { return };
    let inside = |part: &[u8]| {
        part.is_empty() || {
            let (whole, part) = (input.as_ptr_range(), part.as_ptr_range());
            whole.start <= part.start && part.end <= whole.end
        }
    };
    assert!(input.len() >= 14 && input[..6] == frame.destination.0 && input[6..12] == frame.source.0);
    assert!(inside(frame.payload) && (!frame.plain || frame.payload.len() == input.len() - 14));
    if let Some(packet) = Ipv4::parse(frame.payload) {
        assert!(inside(packet.packet) && inside(packet.payload));
        assert!(packet.payload.len() + 20 <= packet.packet.len());
        // Any payload has ports or none.
        let _: Option<(u16, u16)> = udp_ports(packet.payload);
    }
    if let Some(packet) = Ipv6::parse(frame.payload) {
        assert!(inside(packet.packet) && inside(packet.payload));
        assert!(packet.payload.len() + 40 <= packet.packet.len());
        assert!(packet.first || packet.fragment);
        assert!(packet.extended || packet.payload.len() + 40 == packet.packet.len());
        assert!(Neighbor::parse(packet.payload).is_none_or(|_| packet.payload.len() >= 24));
    }
    if let Some(arp) = Arp::parse(frame.payload) {
        assert_eq!(frame.payload[14..18], arp.sender.octets());
    }
}

/// The guard lets nothing through that [`forbidden`] names.
pub fn port_guard(input: &[u8]) {
    let strict = Port {
        mac: OWN,
        addresses: &OWN_ADDRESSES,
        link_local: LinkLocal::FromMac,
        forwards: false,
    };
    let verdict = guard::check(input, &strict);
    assert!(!(verdict.is_ok() && forbidden(input)));
    let lenient = Port {
        link_local: LinkLocal::Any,
        ..strict
    };
    assert!(verdict.is_err() || guard::check(input, &lenient).is_ok());
    let gateway = Port {
        forwards: true,
        ..strict
    };
    assert!(verdict.is_err() || guard::check(input, &gateway).is_ok());
    let nobody = Port { mac: OTHER, ..strict };
    assert!(verdict.is_err() || guard::check(input, &nobody).is_err());
}

/// True for frames that must not leave [`OWN`]. A simple reading: it knows VLAN tags, but no extension headers.
#[must_use]
pub fn forbidden(frame: &[u8]) -> bool {
    let at = |place: usize, length: usize| frame.get(place..place + length);
    let (Some(to), Some(from)) = (at(0, 6), at(6, 6)) else {
        return true;
    };
    if from != OWN.0 || (to[..5] == [1, 0x80, 0xc2, 0, 0] && to[5] < 16) {
        return true;
    }
    let mut place = 12;
    while matches!(at(place, 2), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0])) {
        place += 4;
    }
    let packet = frame.get(place + 2..).unwrap_or_default();
    let field = |place: usize, length: usize| packet.get(place..place + length).unwrap_or_default();
    match at(place, 2) {
        Some([8, 6]) => {
            let probe = field(6, 2) == [0, 1] && field(14, 4) == [0; 4];
            field(8, 6) != OWN.0 || !(probe || field(14, 4) == [10, 0, 0, 1])
        }
        Some([8, 0]) => forbidden_ipv4(packet),
        Some([0x86, 0xdd]) => {
            let own = [
                OWN_ADDRESSES[1],
                link_local(OWN).into(),
                Ipv6Addr::UNSPECIFIED.into(),
            ];
            let source = <[u8; 16]>::try_from(field(8, 16)).map(|bytes| IpAddr::V6(bytes.into()));
            let steers = field(6, 1) == [58] && matches!(field(40, 1), [134 | 137]);
            let serves = field(6, 1) == [17] && (field(40, 2) == [2, 0x23] || field(42, 2) == [2, 0x22]);
            steers || serves || source.is_ok_and(|source| !own.contains(&source))
        }
        Some(_) => false,
        None => true,
    }
}

fn forbidden_ipv4(packet: &[u8]) -> bool {
    let field = |place: usize, length: usize| packet.get(place..place + length).unwrap_or_default();
    let ports = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    let is_udp = field(9, 1) == [17] && matches!(field(6, 2), [high, 0] if high & 0x1f == 0);
    let serves = is_udp && (field(ports, 2) == [0, 67] || field(ports + 2, 2) == [0, 68]);
    let asks = is_udp && field(12, 4) == [0; 4] && field(ports, 4) == [0, 68, 0, 67];
    serves || !(asks || field(12, 4) == [10, 0, 0, 1])
}

/// Who holds an address, for the answers.
fn holder(address: IpAddr) -> Option<Mac> {
    OTHER_ADDRESSES.contains(&address).then_some(OTHER)
}

/// Answers to ARP and neighbour solicitations: whole, for the asker, in the holder's name.
pub fn neighbor_answers(input: &[u8]) {
    let mut reply = [0xee; 100];
    if let Some(length) = arp::answer(input, holder, &mut reply) {
        assert_eq!(length, arp::REPLY);
        well_formed(&reply[..length]);
        assert_eq!((&reply[..6], &reply[6..12]), (&input[6..12], &OTHER.0[..]));
        assert_eq!(reply[28..32], [10, 0, 0, 2]);
        let exact = arp::answer(input, holder, &mut reply[..length]);
        assert_eq!(exact, Some(length));
        assert_eq!(arp::answer(input, holder, &mut reply[..length - 1]), None);
    }
    if let Some(length) = nd::answer(input, holder, &mut reply) {
        assert_eq!(length, nd::REPLY);
        well_formed(&reply[..length]);
        assert!(reply[..6] == input[6..12] || reply[..6] == [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(
            (reply[54], &reply[6..12], &reply[80..86]),
            (136, &OTHER.0[..], &OTHER.0[..])
        );
        assert_eq!(nd::answer(input, holder, &mut reply[..length - 1]), None);
    }
    assert!(
        reply[arp::REPLY.max(nd::REPLY)..]
            .iter()
            .all(|&byte| byte == 0xee)
    );
}

/// Answers to frames that are too big. First two bytes: the path's MTU.
pub fn too_big_answers(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (mtu, frame) = (bytes.short(), bytes.0);
    let mut reply = [0xee; too_big::MAX_REPLY + 1];
    match too_big::judge(frame, mtu, &mut reply) {
        Verdict::Fits => assert!(frame.len() <= 14 + usize::from(mtu)),
        Verdict::Split => assert!(frame.len() > 14 + usize::from(mtu)),
        Verdict::TooBig(length) => {
            assert!(frame.len() > 14 + usize::from(mtu) && length <= too_big::MAX_REPLY);
            let reply = &reply[..length];
            well_formed(reply);
            assert_eq!((&reply[..6], &reply[6..12]), (&frame[6..12], &frame[..6]));
            assert_eq!(
                too_big::receiver(reply).map(|mac| mac.0.to_vec()),
                Some(frame[6..12].to_vec())
            );
            // An answer is never answered, nor larger than what it answers.
            assert!(length <= frame.len() + 48);
            let mut again = [0; too_big::MAX_REPLY];
            assert!(!matches!(
                too_big::judge(reply, 0, &mut again),
                Verdict::TooBig(_)
            ));
            let told = if reply[12] == 8 {
                [reply[40], reply[41]]
            } else {
                [reply[60], reply[61]]
            };
            let least = if reply[12] == 8 { 0 } else { 1280 };
            assert_eq!(u16::from_be_bytes(told), mtu.max(least));
        }
    }
    assert_eq!(reply[too_big::MAX_REPLY], 0xee);
}

/// Fails unless a frame made by a router holds together: lengths, header checksum, ICMP checksums.
pub fn well_formed(frame: &[u8]) {
    let packet = &frame[14..];
    match [frame[12], frame[13]] {
        [8, 6] => assert_eq!(packet.len(), 28),
        [8, 0] => {
            assert_eq!(
                usize::from(u16::from_be_bytes([packet[2], packet[3]])),
                packet.len()
            );
            assert_eq!((packet[0], packet[9], sum(&packet[..20])), (0x45, 1, 0xffff));
            assert_eq!(sum(&packet[20..]), 0xffff);
        }
        [0x86, 0xdd] => {
            assert_eq!(
                usize::from(u16::from_be_bytes([packet[4], packet[5]])),
                packet.len() - 40
            );
            assert_eq!((packet[0], packet[6]), (0x60, 58));
            let length = (packet.len() - 40) as u32;
            let pseudo = [
                &packet[8..40],
                &length.to_be_bytes(),
                &[0, 0, 0, 58],
                &packet[40..],
            ]
            .concat();
            assert_eq!(sum(&pseudo), 0xffff);
        }
        other => panic!("a router made a frame of type {other:x?}"),
    }
}

/// Ones' complement sum (RFC 1071), carry by carry; all ones over data with its right checksum.
fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum: u16, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}
