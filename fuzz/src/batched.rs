//! The fast way of frames, many at a time, beside the simple one: the same frames come out.

use crate::bytes::{Bytes, pieces};
use crate::sleeve::in_world;
use crate::world::{World, addresses, mac};
use sleeve::offload::sum::{fold, sum};
use sleeve::offload::{Gso, Offload, Protocol, Segments, Transport};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What surely fits all paths: longer frames may be answered for or split, depending on the time.
const FITS: usize = 1250;
/// The longest payload of a super-frame that is made.
const LONGEST: usize = 20_000;

/// A frame as a TAP gives it.
struct Given {
    offload: Offload,
    frame: Vec<u8>,
}

/// Frames and super-frames of a container, one a piece: one after the other without offloads and batches, and all at
/// once with both. First byte of a piece: made here, or as it is, with its header; see `made`.
pub fn batched(input: &[u8]) {
    let mut sequences = BTreeMap::new();
    let given: Vec<_> = pieces(input)
        .into_iter()
        .filter_map(|piece| {
            let mut bytes = Bytes(piece);
            if bytes.byte() & 1 == 0 {
                return Some(made(bytes, &mut sequences));
            }
            let (offload, frame) = Offload::read(bytes.0).ok()?;
            let frame = frame.to_vec();
            Some(Given { offload, frame })
        })
        .collect();
    in_world(|world| {
        let all: Vec<_> = given
            .iter()
            .map(|given| (given.offload, &given.frame[..]))
            .collect();
        let caught = world.send_batched(0, &all);
        let fast = world.carry_batched(0, caught.datagrams);
        if given.iter().all(is_plain) {
            let simple = given.iter().flat_map(|given| one_by_one(world, given)).collect();
            let (fast, simple) = (by_flow(fast), by_flow(simple));
            for (flow, frames) in &simple {
                assert_eq!(fast.get(flow), Some(frames), "{flow:02x?}");
            }
            assert_eq!(fast.len(), simple.len());
        }
    });
}

/// True if both ways must agree on it.
fn is_plain(given: &Given) -> bool {
    let Offload { checksum, segments } = given.offload;
    let known = Transport::parse(&given.frame).map(|transport| transport.partial());
    match segments {
        None => given.frame.len() <= FITS && (checksum.is_none() || checksum == known),
        Some(gso) => Segments::new(&given.frame, gso, checksum).is_none_or(|all| all.longest() <= FITS),
    }
}

/// What arrives of it the simple way.
fn one_by_one(world: &mut World, given: &Given) -> Vec<(usize, mesh::Vni, Vec<u8>)> {
    let Offload { checksum, segments } = given.offload;
    if segments.is_some_and(|gso| Segments::new(&given.frame, gso, checksum).is_none()) {
        return vec![];
    }
    let mut frames = vec![];
    given
        .offload
        .undo(&mut given.frame.clone(), |frame| frames.push(frame.to_vec()));
    let mut arrived = vec![];
    for frame in frames {
        let caught = world.send(0, &frame);
        arrived.extend(world.carry(0, caught.datagrams));
    }
    arrived
}

/// What arrived where, flow by flow, each in its order. Identifications of what must not be fragmented mean nothing.
fn by_flow(arrived: Vec<(usize, mesh::Vni, Vec<u8>)>) -> BTreeMap<(usize, Vec<u8>), Vec<Vec<u8>>> {
    let mut flows = BTreeMap::<_, Vec<_>>::new();
    for (to, _, mut frame) in arrived {
        let mut flow = vec![];
        if let Some(Transport {
            protocol,
            six,
            network,
            transport,
            ..
        }) = Transport::parse(&frame)
        {
            flow.extend_from_slice(&frame[..network]);
            flow.extend_from_slice(&frame[transport..transport + 4]);
            flow.extend([u8::from(six), protocol.number()]);
            if !six && frame[network + 6] & 0x40 != 0 {
                frame[network + 4..network + 6].fill(0);
                frame[network + 10..network + 12].fill(0);
            }
        }
        flows.entry((to, flow)).or_default().push(frame);
    }
    flows
}

/// A TCP or UDP packet of a flow that may go on. Bytes: what it is (bits: UDP, IPv6, checksum there and one frame,
/// and to whom), TCP's flags, what is missing of the stream before it, size of segments, length.
fn made(mut bytes: Bytes<'_>, sequences: &mut BTreeMap<u8, u32>) -> Given {
    let (kind, flags, gap) = (bytes.byte(), bytes.byte(), bytes.byte());
    let (udp, six, whole) = (kind & 1 != 0, kind & 2 != 0, kind & 4 != 0);
    let to = 1 + usize::from(kind >> 3 & 1);
    let size = 1 + bytes.short() % 1100;
    let most = if whole { 1100 } else { LONGEST };
    let length = usize::from(bytes.short()) % most;
    let sequence = sequences.entry(kind & 0x0b).or_insert(0u32);
    let start = sequence.wrapping_add((gap / 200).into());
    *sequence = start.wrapping_add(length as u32);
    let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
    let mut segment = [0x03, 0xe8, 0x07, 0xd0].to_vec();
    if udp {
        segment.extend(((length + 8) as u16).to_be_bytes());
        segment.extend([0, 0]);
    } else {
        let flags = [0x10, 0x10, 0x10, 0x18, 0x11, 0x90, 0x50, 0x02][usize::from(flags & 7)];
        segment.extend(start.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    }
    segment.extend((0..length).map(|at| (at * 13) as u8 ^ gap));
    let mut frame = [&mac(to).0[..], &mac(0).0].concat();
    let total = segment.len() as u16;
    let [from, to] = [0, to].map(|router| addresses(router)[usize::from(six)]);
    let bytes = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if six {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([protocol.number(), 64]);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((total + 20).to_be_bytes());
        frame.extend([0, gap, 0x40, 0, 64, protocol.number(), 0, 0]);
    }
    frame.extend([bytes(from), bytes(to)].concat());
    if !six {
        let sum = !fold(sum(0, &frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame.extend(segment);
    let transport = Transport::parse(&frame).expect("a packet");
    let pseudo = fold(transport.pseudo_sum(&frame, total.into()));
    let at = transport.transport + usize::from(protocol.checksum_at());
    frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    let checksum = Some(transport.partial());
    if whole {
        transport.partial().complete(&mut frame);
        return Given {
            offload: Offload::default(),
            frame,
        };
    }
    let segments = Some(Gso { protocol, size });
    Given {
        offload: Offload { checksum, segments },
        frame,
    }
}
