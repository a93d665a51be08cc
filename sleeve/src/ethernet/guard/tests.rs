//! Each way to pretend to be another, and what honest containers send.

use super::*;
use crate::ethernet::samples::*;
use proptest::prelude::*;
use std::net::IpAddr;

const OWN4: [u8; 4] = [10, 0, 0, 1];
const OTHER4: [u8; 4] = [10, 0, 0, 2];
const NOBODY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
/// What A makes of its MAC address.
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0xa);
const OTHER_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn judged_as(frame: &[u8], link_local: LinkLocal, forwards: bool) -> Result<(), DropReason> {
    let addresses = [IpAddr::from(OWN4), IpAddr::from(ONE)];
    let port = Port {
        mac: A,
        addresses: &addresses,
        link_local,
        forwards,
    };
    check(frame, &port)
}

fn judged_with(frame: &[u8], link_local: LinkLocal) -> Result<(), DropReason> {
    judged_as(frame, link_local, false)
}

fn judged(frame: &[u8]) -> Result<(), DropReason> {
    judged_with(frame, LinkLocal::FromMac)
}

fn message6(source: Ipv6Addr, message: Vec<u8>) -> Vec<u8> {
    icmpv6(source, ALL_NODES, message)
}

/// A packet with these headers in front of an ICMPv6 message. The first byte of each says what it is itself, and is
/// replaced by what comes next.
fn behind(headers: &[&[u8]], message: &[u8]) -> Vec<u8> {
    let first = headers[0][0];
    let mut bytes = headers.concat();
    let mut at = 0;
    for (index, header) in headers.iter().enumerate() {
        bytes[at] = headers.get(index + 1).map_or(58, |next| next[0]);
        at += header.len();
    }
    ipv6(ONE, ALL_NODES, first, &[&bytes, message].concat())
}

#[test]
fn own_addresses_pass() {
    let dhcp_client = ipv4([0; 4], [255; 4], 0, 17, &udp(68, 67, b"discover"));
    let report = [&[58, 0, 5, 2, 0, 0, 0, 0][..], &[143, 0, 0, 0, 0, 0, 0, 0]].concat();
    let honest = [
        arp_request(A, OWN4, OTHER4),
        arp_request(A, [0; 4], OTHER4),
        arp_request(A, OWN4, OWN4),
        udp4(OWN4, OTHER4, 4000, 53, b"query"),
        ipv4(OWN4, OTHER4, 0, 6, b"tcp"),
        ipv4(OWN4, OTHER4, 0x00b9, 17, b"later fragment"),
        dhcp_client,
        ipv6(ONE, TWO, 17, &udp(4000, 53, b"query")),
        ipv6(LOCAL, TWO, 17, &udp(546, 547, b"solicit")),
        message6(ONE, vec![128, 0, 0, 0, 1, 2, 3, 4]),
        message6(LOCAL, vec![133, 0, 0, 0, 0, 0, 0, 0]),
        neighbor_solicitation(A, ONE, TWO),
        neighbor_solicitation(A, NOBODY, ONE),
        neighbor_solicitation(A, NOBODY, LOCAL),
        message6(ONE, neighbor(136, ONE, Some((2, A)))),
        ipv6(NOBODY, ALL_NODES, 0, &report),
        ipv6(ONE, TWO, 44, &[17, 0, 0x05, 0xc1, 0, 0, 0, 1, 1, 2, 3]),
        ethernet(B, A, 0x88b5, b"some other protocol"),
        ethernet(B, A, 0x0026, &[0xaa, 0xaa, 3, 0, 0, 0xc, 0x20, 0]),
    ];
    for frame in honest {
        assert_eq!(judged(&frame), Ok(()), "{frame:02x?}");
    }
}

#[test]
fn other_macs_are_refused() {
    let mut sender = arp_request(A, OWN4, OTHER4);
    sender[22..28].copy_from_slice(&B.0);
    let spoofed = [
        ethernet(A, B, 0x88b5, b"from B"),
        arp_request(B, OWN4, OTHER4),
        sender,
        message6(ONE, neighbor(136, ONE, Some((2, B)))),
        message6(ONE, neighbor(135, TWO, Some((1, B)))),
    ];
    for frame in spoofed {
        assert_eq!(judged(&frame), Err(DropReason::SpoofedMac), "{frame:02x?}");
    }
}

#[test]
fn other_addresses_are_refused() {
    let mut reply_from_nobody = arp_request(A, [0; 4], OTHER4);
    reply_from_nobody[21] = 2;
    let spoofed = [
        arp_request(A, OTHER4, [10, 0, 0, 3]),
        reply_from_nobody,
        udp4(OTHER4, OWN4, 1, 2, b""),
        ipv4(OTHER4, OWN4, 0x00b9, 17, b"later fragment"),
        ipv4([0; 4], OTHER4, 0, 17, &udp(68, 67, b"not to everybody")),
        ipv4([0; 4], [255; 4], 0, 17, &udp(68, 69, b"")),
        ipv4([0; 4], [255; 4], 0, 6, b"tcp"),
        ipv6(TWO, ONE, 17, &udp(1, 2, b"")),
        ipv6(OTHER_LOCAL, ONE, 17, &udp(1, 2, b"")),
        ipv6(NOBODY, ONE, 17, &udp(1, 2, b"")),
        ipv6(NOBODY, ONE, 6, b"tcp"),
        ipv6(NOBODY, ONE, 44, &[17, 0, 0x05, 0xc1, 0, 0, 0, 1, 1, 2, 3]),
        message6(NOBODY, vec![128, 0, 0, 0, 1, 2, 3, 4]),
        message6(NOBODY, neighbor(136, ONE, None)),
        message6(ONE, neighbor(136, TWO, Some((2, A)))),
        neighbor_solicitation(A, NOBODY, TWO),
    ];
    for frame in spoofed {
        assert_eq!(judged(&frame), Err(DropReason::SpoofedAddress), "{frame:02x?}");
    }
}

#[test]
fn who_forwards_sends_packets_of_others_and_claims_nobodys_address() {
    let forwarded = |frame: &[u8]| judged_as(frame, LinkLocal::FromMac, true);
    for frame in [
        udp4(OTHER4, OWN4, 1, 2, b""),
        ipv4(OTHER4, OWN4, 0x00b9, 17, b"later fragment"),
        ipv6(TWO, ONE, 17, &udp(1, 2, b"")),
    ] {
        assert_eq!(forwarded(&frame), Ok(()), "{frame:02x?}");
    }
    for frame in [
        arp_request(A, OTHER4, [10, 0, 0, 3]),
        ipv4([0; 4], [255; 4], 0, 6, b"tcp"),
        ipv6(NOBODY, ONE, 6, b"tcp"),
        message6(ONE, neighbor(136, TWO, Some((2, A)))),
    ] {
        assert_eq!(forwarded(&frame), Err(DropReason::SpoofedAddress), "{frame:02x?}");
    }
    let answer = udp4(OTHER4, OWN4, 67, 68, b"");
    assert_eq!(forwarded(&answer), Err(DropReason::DhcpServer));
}

#[test]
fn self_made_link_local_addresses_are_a_matter_of_choice() {
    let frame = ipv6(OTHER_LOCAL, ONE, 17, &udp(1, 2, b""));
    assert_eq!(judged_with(&frame, LinkLocal::Any), Ok(()));
    assert_eq!(
        judged_with(&ipv6(TWO, ONE, 59, b""), LinkLocal::Any),
        Err(DropReason::SpoofedAddress)
    );
}

#[test]
fn dhcp_servers_are_refused() {
    let first_fragment = [&[17, 0, 0, 1, 0, 0, 0, 7][..], &udp(547, 546, b"")].concat();
    let options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(547, 4000, b"")].concat();
    let servers = [
        udp4(OWN4, [255; 4], 67, 68, b"offer"),
        udp4(OWN4, OTHER4, 67, 67, b"relayed"),
        udp4(OWN4, OTHER4, 1067, 68, b"offer"),
        ipv4(OWN4, OTHER4, 0x2000, 17, &udp(67, 68, b"first fragment")),
        ipv6(ONE, TWO, 17, &udp(547, 546, b"advertise")),
        ipv6(ONE, TWO, 17, &udp(4000, 546, b"advertise")),
        ipv6(ONE, TWO, 44, &first_fragment),
        ipv6(ONE, TWO, 60, &options),
    ];
    for frame in servers {
        assert_eq!(judged(&frame), Err(DropReason::DhcpServer), "{frame:02x?}");
    }
}

#[test]
fn routers_are_refused_however_deep_they_hide() {
    let hop_by_hop: &[u8] = &[0, 0, 1, 4, 0, 0, 0, 0];
    let destination: &[u8] = &[60, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let routing: &[u8] = &[43, 0, 4, 0, 0, 0, 0, 0];
    let atomic: &[u8] = &[44, 0, 0, 0, 0, 0, 0, 1];
    let first: &[u8] = &[44, 0, 0, 1, 0, 0, 0, 1];
    for kind in [134, 137] {
        let message = [kind, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let plain = message6(LOCAL, message.to_vec());
        let mut tagged = plain.clone();
        tagged.splice(12..12, [0x81, 0, 0, 0]);
        let mut snap = plain.clone();
        snap.splice(12..12, [0, 64, 0xaa, 0xaa, 3, 0, 0, 0]);
        let hidden = [
            plain,
            tagged,
            snap,
            behind(&[hop_by_hop], &message),
            behind(&[hop_by_hop, routing, destination], &message),
            behind(&[atomic], &message),
            behind(&[destination, first, destination], &message),
            behind(&[atomic, atomic], &message),
        ];
        for frame in hidden {
            assert_eq!(
                judged(&frame),
                Err(DropReason::RouterAdvertisement),
                "{frame:02x?}"
            );
        }
    }
}

#[test]
fn what_hides_its_kind_is_refused() {
    let solicitation = neighbor(135, TWO, None);
    let odd = [
        // Neighbour discovery in fragments, even in one.
        ipv6(
            ONE,
            TWO,
            44,
            &[&[58, 0, 0, 0, 0, 0, 0, 1][..], &solicitation].concat(),
        ),
        ipv6(
            ONE,
            TWO,
            44,
            &[&[58, 0, 0, 1, 0, 0, 0, 1][..], &[133, 0, 0, 0, 0, 0, 0, 0]].concat(),
        ),
        // First fragments that end before it shows what they are.
        ipv6(ONE, TWO, 44, &[58, 0, 0, 1, 0, 0, 0, 1]),
        ipv6(ONE, TWO, 44, &[60, 0, 0, 1, 0, 0, 0, 1, 58, 1, 0, 0, 0, 0, 0, 0]),
        ipv6(ONE, TWO, 44, &[17, 0, 0, 1, 0, 0, 0, 1, 2, 35]),
        ipv4(OWN4, OTHER4, 0x2000, 17, &[0, 67]),
        // An option without a length.
        message6(
            ONE,
            [neighbor(136, ONE, None), vec![2, 0, 0, 0, 0, 0, 0, 0]].concat(),
        ),
        ethernet(B, A, 0x0800, &[0x46; 20]),
        ethernet(B, A, 0x86dd, &[0x60; 39]),
        ethernet(B, A, 0x0806, &[0, 6, 8, 0, 6, 4]),
        A.0.repeat(2),
        vec![],
    ];
    for frame in odd {
        assert_eq!(judged(&frame), Err(DropReason::Malformed), "{frame:02x?}");
    }
}

#[test]
fn the_bridge_is_not_for_containers() {
    let spanning_tree = ethernet(Mac([0x01, 0x80, 0xc2, 0, 0, 0]), A, 38, &[0x42, 0x42, 3]);
    assert_eq!(judged(&spanning_tree), Err(DropReason::HostBound));
    let beyond = ethernet(Mac([0x01, 0x80, 0xc2, 0, 0, 0x10]), A, 38, &[0x42, 0x42, 3]);
    assert_eq!(judged(&beyond), Ok(()));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..150)) {
        let _ = judged(&bytes);
        let _ = judged(&ethernet(B, A, 0x86dd, &bytes));
        let _ = judged(&ipv6(ONE, TWO, 0, &bytes));
        let _ = judged(&ipv6(ONE, TWO, 44, &bytes));
        let _ = judged(&ipv4(OWN4, OTHER4, 0, 17, &bytes));
    }

    #[test]
    fn damaged_frames_are_judged(which in 0usize..4, damage in prop::collection::vec((0usize..110, any::<u8>()), 1..4), cut in 0usize..20) {
        let mut frame = match which {
            0 => neighbor_solicitation(A, ONE, TWO),
            1 => arp_request(A, OWN4, OTHER4),
            2 => ipv4(OWN4, OTHER4, 0x4000, 17, &udp(4000, 53, &[7; 60])),
            _ => behind(&[&[0, 0, 1, 4, 0, 0, 0, 0], &[44, 0, 0, 1, 0, 0, 0, 1]], &neighbor(136, ONE, Some((2, A)))),
        };
        for (at, value) in damage {
            let at = at % frame.len();
            frame[at] = value;
        }
        frame.truncate(frame.len() - cut);
        let _ = judged(&frame);
        let mut reply = [0; crate::ethernet::too_big::MAX_REPLY];
        crate::ethernet::too_big::judge(&frame, 20, &mut reply);
        crate::ethernet::nd::answer(&frame, |_| Some(B), &mut reply);
        crate::ethernet::arp::answer(&frame, |_| Some(B), &mut reply);
    }

    /// However the headers in front are arranged, nothing that a receiver would take for a router passes.
    #[test]
    fn no_chain_of_headers_lets_a_router_pass(kinds in prop::collection::vec((0usize..4, 0u8..3), 1..9)) {
        let headers: Vec<Vec<u8>> = kinds.iter().map(|&(kind, units)| {
            let kind = [0, 43, 60, 44][kind];
            let mut header = vec![0; if kind == 44 { 8 } else { 8 + 8 * usize::from(units) }];
            header[0] = kind;
            header[1] = if kind == 44 { 0 } else { units };
            header
        }).collect();
        let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
        let frame = behind(&headers, &[134, 0, 0, 0, 64, 0, 7, 8]);
        prop_assert_eq!(judged(&frame), Err(DropReason::RouterAdvertisement));
        prop_assert!(judged(&frame[..frame.len() - 8]).is_err());
    }

    #[test]
    fn a_frame_from_another_mac_never_passes(bytes in prop::collection::vec(any::<u8>(), 14..60)) {
        prop_assume!(bytes[6..12] != A.0);
        prop_assert!(judged(&bytes).is_err());
    }
}
