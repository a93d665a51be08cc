//! Seeds of frames, datagrams and what is inside of them.

use super::Seed;
use crate::bytes::join;
use crate::ethernet::{OTHER, OWN};
use crate::world::{VNI, World, address, mac, plain_frame};
use fastpath::esp::message::{self, Lifetime, Mark as Request};
use fastpath::esp::{Direction, Ends, Key, Policy, Sa};
use mesh::{LinkLabel, Mac, ShortId};
use sleeve::message::{Candidates, Keepalive, Message, Nonce, Probe, ProbeAck};
use sleeve::wire::inner::{PARTIAL_CHECKSUM, Prefix, half_prefix};
use sleeve::wire::marks::Mark;
use sleeve::wire::relay::RelayHeader;
use sleeve::wire::{DataHeader, SEALED};
use std::net::Ipv6Addr;

const ONE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const TWO: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn ethernet(to: Mac, kind: u16, packet: &[u8]) -> Vec<u8> {
    [&to.0[..], &OWN.0, &kind.to_be_bytes(), packet].concat()
}

fn arp(operation: u8, target: [u8; 4]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    ethernet(
        Mac::BROADCAST,
        0x0806,
        &[&head[..], &OWN.0, &[10, 0, 0, 1], &[0; 6], &target].concat(),
    )
}

/// UDP in IPv4, not to be fragmented.
fn udp4(ports: [u16; 2], length: usize) -> Vec<u8> {
    let total = (28 + length) as u16;
    let mut packet = vec![
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    for number in [ports[0], ports[1], total - 20, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.resize(total.into(), 0x5a);
    ethernet(OTHER, 0x0800, &packet)
}

fn ipv6(to: Mac, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let head = [0x60, 0, 0, 0, high, low, protocol, 255];
    ethernet(
        to,
        0x86dd,
        &[&head[..], &ONE.octets(), &destination.octets(), payload].concat(),
    )
}

/// A message of neighbour discovery from [`ONE`], its checksum put in.
fn discovery(kind: u8, destination: Ipv6Addr) -> Vec<u8> {
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 2]);
    let mut message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &TWO.octets(), &[1, 1], &OWN.0].concat();
    let pseudo = [
        &ONE.octets()[..],
        &destination.octets(),
        &[0, 0, 0, 32, 0, 0, 0, 58],
    ]
    .concat();
    let mut sum: u32 = [pseudo, message.clone()]
        .concat()
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    ipv6(group, destination, 58, &message)
}

/// A packet whose UDP lies behind options, and a second fragment.
fn extended() -> [Vec<u8>; 2] {
    let options = [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
    let udp = [0x10, 0, 0, 53, 0, 8, 0, 0];
    let fragment = [17, 0, 0, 8, 0, 0, 0, 1, 9, 9, 9, 9];
    [
        ipv6(OTHER, TWO, 0, &[&options[..], &udp].concat()),
        ipv6(OTHER, TWO, 44, &fragment),
    ]
}

pub(super) fn frames() -> Vec<Seed> {
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);
    let question = discovery(135, solicited);
    let [options, fragment] = extended();
    let mut tagged = udp4([1000, 53], 8);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let big6 = ipv6(OTHER, TWO, 17, &[7; 1450]);
    let with_mtu = |mtu: u16, frame: Vec<u8>| [&mtu.to_be_bytes()[..], &frame].concat();
    let several = join(&[
        arp(1, [10, 0, 0, 2]),
        question.clone(),
        plain_frame(0, 1),
        plain_frame(0, 2),
    ]);
    let sizes = join(&[
        udp4([1, 2], 1380),
        udp4([1, 2], 1450),
        big6.clone(),
        ethernet(OTHER, 0x88b5, &[1; 2000]),
    ]);
    let mut seeds = vec![
        ("neighbor_answers", "arp", arp(1, [10, 0, 0, 2])),
        ("neighbor_answers", "solicitation", question.clone()),
        ("too_big_answers", "v4", with_mtu(600, udp4([1, 2], 700))),
        ("too_big_answers", "v6", with_mtu(1300, big6)),
        ("too_big_answers", "fits", with_mtu(1300, udp4([1, 2], 8))),
        ("batched", "streams", join(&streams())),
        ("batched", "as_it_is", join(&[as_it_is()])),
        ("outbound", "several", several),
        ("outbound", "sizes", sizes),
        (
            "outbound",
            "broadcast",
            join(&[ethernet(Mac::BROADCAST, 0x88b5, &[3; 60])]),
        ),
        (
            "outbound",
            "big_broadcast",
            join(&[ethernet(Mac::BROADCAST, 0x88b5, &[3; 1420])]),
        ),
    ];
    let carried = [
        ("arp_request", arp(1, [10, 0, 0, 2])),
        ("arp_reply", arp(2, [10, 0, 0, 2])),
        ("udp4", udp4([1000, 53], 8)),
        ("dhcp_server", udp4([67, 68], 8)),
        ("tagged", tagged),
        ("solicitation", question),
        ("router_advertisement", discovery(134, TWO)),
        ("options", options),
        ("fragment", fragment),
        (
            "snap",
            ethernet(OTHER, 0x0024, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45, 0, 0, 20]),
        ),
    ];
    for (name, frame) in carried {
        seeds.push(("readers", name, frame.clone()));
        seeds.push(("port_guard", name, frame));
    }
    seeds
}

pub(super) fn datagrams() -> Vec<Seed> {
    let frame = [&Prefix::new(VNI, None)[..], &plain_frame(0, 1)].concat();
    let mut partial = frame.clone();
    partial[0] |= PARTIAL_CHECKSUM;
    partial.splice(4..4, [0, 14, 0, 6]);
    let (front, back) = frame.split_at(20);
    let halves =
        [(false, front), (true, back)].map(|(second, part)| [&half_prefix(5, second)[..], part].concat());
    let header = DataHeader {
        plain: false,
        relayed: false,
        lane: 0,
        index: 0x0102_0304,
        counter: 77,
    };
    let sealed = [&header.bytes()[..], &[9; 40]].concat();
    let relay = RelayHeader::new(
        &[LinkLabel(3), LinkLabel(4)],
        None,
        ShortId([1; 8]),
        ShortId([2; 8]),
    )
    .expect("two labels");
    let mut relayed = vec![0; relay.length()];
    relayed.extend([SEALED; 40]);
    assert!(relay.write(&mut relayed, |_| Some([8; 16])));
    let mut marked = relay;
    marked.rest = Some(40_000);
    assert!((1..4).all(|n| marked.marks.add(Mark(n))));
    let mut in_parts = vec![0; marked.length()];
    in_parts.extend([SEALED; 40]);
    assert!(marked.write(&mut in_parts, |_| Some([8; 16])));
    let waiting = [[0, 1, 0, 10], [1, 1, 1, 10], [0, 1, 1, 10], [0, 2, 1, 250]];
    let waiting = waiting.map(|head| [&head[..], b"part"].concat());
    let spoofed = [&Prefix::new(VNI, None)[..], &plain_frame(1, 0)].concat();
    let foreign = [&Prefix::new(mesh::Vni(9), None)[..], &plain_frame(0, 1)].concat();
    let mut seeds = vec![
        ("data_header", "sealed", sealed.clone()),
        ("relay_header", "two_labels", relayed.clone()),
        ("relay_header", "in_parts_and_marked", in_parts),
        ("plaintext", "frame", frame.clone()),
        ("plaintext", "partial", partial.clone()),
        ("plaintext", "half", halves[1].clone()),
        ("halves", "waiting", join(&waiting)),
        ("datagram", "raw_sealed", [&[0][..], &sealed].concat()),
        ("datagram", "raw_relayed", [&[0][..], &relayed].concat()),
        ("datagram", "direct", vec![1, 0, 0, 30, 1]),
        ("datagram", "at_relay", vec![2, 0, 0, 60, 1]),
        ("datagram", "behind_relay", vec![3, 2, 0, 90, 1]),
        ("datagram", "unchanged", vec![1, 0, 0, 0, 0]),
        (
            "sealed_plaintext",
            "frames",
            join(&[frame, partial, spoofed, foreign]),
        ),
        ("sealed_plaintext", "halves", join(&halves)),
    ];
    seeds.extend(messages());
    seeds
}

fn messages() -> Vec<Seed> {
    let seen = address(1);
    let messages = [
        ("keepalive", Message::Keepalive(Keepalive { answer: true })),
        (
            "probe",
            Message::Probe(Probe {
                nonce: 5,
                trusted: true,
            }),
        ),
        (
            "probe_ack",
            Message::ProbeAck(ProbeAck {
                nonce: 5,
                trusted: true,
                seen,
            }),
        ),
        ("ping", Message::Ping(Nonce { nonce: 6 })),
        ("pong", Message::Pong(Nonce { nonce: 6 })),
        (
            "candidates",
            Message::Candidates(Candidates {
                addresses: vec![address(0), address(2)],
                answer: true,
            }),
        ),
    ];
    let mut seeds = Vec::new();
    let mut inside = Vec::new();
    for (name, message) in messages {
        seeds.push(("message", name, message.encode()));
        inside.push([&[2][..], &message.encode()].concat());
    }
    // True handshakes, which come a second time.
    let world = World::new();
    let mut replayed = Vec::new();
    for (from, payload) in &world.spoken {
        if *from == 0 && replayed.len() < 4 {
            replayed.push([&[0][..], payload].concat());
            replayed.push([&[1][..], payload].concat());
        }
    }
    let handshake = world
        .spoken
        .into_iter()
        .map(|(_, payload)| payload)
        .find(|payload| payload.len() > 60);
    seeds.push(("message", "handshake", handshake.unwrap_or_default()));
    seeds.push(("control_half", "inside", join(&inside)));
    seeds.push(("control_half", "replayed", join(&replayed)));
    seeds.push(("sealed_plaintext", "messages", join(&inside)));
    let unknown = [&mac(9).0[..], &mac(0).0, &[0x88, 0xb5], &[0; 30]].concat();
    seeds.push(("outbound", "nowhere", join(&[unknown])));
    seeds
}

/// Two streams and datagrams over both IPs to both routers, one super-frame behind the other.
fn streams() -> Vec<Vec<u8>> {
    let kinds = [0u8, 1, 2, 3, 8, 9, 10, 11, 4, 5];
    let rounds = (0..4).flat_map(|round| kinds.map(|kind| (round, kind)));
    rounds
        .map(|(round, kind)| {
            // Now and then PSH or FIN, and each segment full.
            let flags = [0, 3, 0, 4][round];
            [
                &[0, kind, flags, 0][..],
                &999u16.to_be_bytes(),
                &9000u16.to_be_bytes(),
            ]
            .concat()
        })
        .collect()
}

/// A frame with its header, as a TAP gives it.
fn as_it_is() -> Vec<u8> {
    let header = sleeve::offload::Offload::default().header(0, false);
    [&[1][..], &header, &plain_frame(0, 1)].concat()
}

/// Probes of the fast path: a question, and its answer.
pub(super) fn probes() -> Vec<Seed> {
    let probe = |kind: u8| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb6];
        frame.extend(*b"WPB1");
        frame.extend([0, kind, 0x0a, 1, 0x0b, 2, 0, 1]);
        frame.extend(7_u64.to_be_bytes());
        frame.resize(64, 0);
        frame
    };
    vec![
        ("probe_answer", "question", probe(1)),
        ("probe_answer", "answer", probe(2)),
        ("xfrm", "association", association()),
        ("xfrm", "policy", policy()),
    ]
}

/// An association as the kernel lists it: what makes one is what tells of it.
fn association() -> Vec<u8> {
    let sa = Sa {
        direction: Direction::In,
        ends: Ends {
            here: [10, 9, 0, 1].into(),
            there: [10, 9, 0, 2].into(),
        },
        spi: 4096,
        key: Key([7; 36]),
    };
    let lifetime = Lifetime {
        seconds: 7200,
        packets: 1 << 33,
    };
    message::new_sa(&sa, Request::of_bridge("weft"), 6784, lifetime)
}

fn policy() -> Vec<u8> {
    let policy = Policy {
        direction: Direction::Out,
        there: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].into(),
        port: 6784,
    };
    message::new_policy(policy, Request::of_bridge("weft"))
}
