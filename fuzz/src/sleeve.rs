//! Datagrams and what is inside of them. The headers by themselves, then whole routers of [`world`](crate::world).

use crate::bytes::{Bytes, edited, pieces};
use crate::caught::Caught;
use crate::ethernet::{forbidden, well_formed};
use crate::world::{FOREIGN, VNI, World, address, mac, plain_frame};
use mesh::{DropReason, Drops, Instant, PeerId};
use sleeve::message::{MAX_CANDIDATES, Message};
use sleeve::split::Reassembly;
use sleeve::wire::inner::{self, Half, Inner};
use sleeve::wire::relay::{self, RelayHeader};
use sleeve::wire::{DataHeader, TAG, data};
use sleeve::{Input, Via};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// Header of a sealed or plain datagram: parsed, written, parsed.
pub fn data_header(input: &[u8]) {
    let Some(header) = DataHeader::parse(input) else {
        return;
    };
    assert!(input.len() >= data::SHORTEST);
    let mut again = input.to_vec();
    again[..data::LENGTH].copy_from_slice(&header.bytes());
    assert_eq!(DataHeader::parse(&again), Some(header));
    // Only unknown flags and the reserved byte are lost.
    assert!((0..data::LENGTH).all(|place| matches!(place, 1 | 3) || again[place] == input[place]));
}

/// Relay header: parsed, written, parsed; nothing else is accepted that would be written otherwise.
pub fn relay_header(input: &[u8]) {
    let Ok(header) = RelayHeader::parse(input) else {
        return;
    };
    assert!(header.cursor <= header.count && usize::from(header.count) <= relay::MAX_LABELS);
    assert_eq!(header.next().is_none(), header.cursor == header.count);
    let (mut again, mut covered) = (input.to_vec(), 0);
    assert!(header.write(&mut again, |bytes| {
        covered = bytes.len();
        Some([0xaa; TAG])
    }));
    assert_eq!(covered, header.length() - TAG + data::LENGTH);
    assert!(header.check(&again, |bytes, tag| bytes.len() == covered && *tag == [0xaa; TAG]));
    assert_eq!(RelayHeader::parse(&again), Ok(header));
    again[header.length() - TAG..header.length()]
        .copy_from_slice(&input[header.length() - TAG..header.length()]);
    assert_eq!(again, input);
    let short = header.length() + data::SHORTEST - 1;
    assert!(RelayHeader::parse(&input[..short]).is_err());
}

/// A plaintext: frames have a header's length, checksums come out right, halves read back.
pub fn plaintext(input: &[u8]) {
    let mut bytes = input.to_vec();
    match inner::parse(&mut bytes) {
        Some(Inner::Frame { vni, partial, frame }) => {
            assert!(vni.0 <= mesh::Vni::MAX && frame.len() >= inner::ETHERNET);
            let before = frame.to_vec();
            let completed = partial.is_some_and(|partial| partial.complete(frame));
            if let (Some(partial), true) = (partial, completed) {
                let place = usize::from(partial.start) + usize::from(partial.offset);
                assert_eq!(frame[..place], before[..place]);
                assert_eq!(frame[place + 2..], before[place + 2..]);
            } else {
                assert_eq!(frame, before);
            }
        }
        Some(Inner::Half(half)) => {
            let again = [&inner::half_prefix(half.id, half.second)[..], half.part].concat();
            assert_eq!(again[1..], input[1..]);
        }
        Some(Inner::Message(message)) => assert_eq!(message, input),
        None => {}
    }
}

/// A control half's message: decoded, encoded, decoded.
pub fn message(input: &[u8]) {
    let Some(message) = Message::decode(input) else {
        return;
    };
    if let Message::Candidates(candidates) = &message {
        assert!(candidates.addresses.len() <= MAX_CANDIDATES);
    }
    let bytes = message.encode();
    assert_eq!(bytes.first(), input.first());
    assert_eq!(Message::decode(&bytes).as_ref(), Some(&message));
    let padded = [&bytes[..], &[0; 100]].concat();
    assert_eq!(Message::decode(&padded), Some(message));
}

/// Halves in any order, against a table without bounds. Pieces: sender, id, which, milliseconds that pass, part.
pub fn halves(input: &[u8]) {
    let (mut table, drops, mut now) = (Reassembly::default(), Drops::default(), Instant(0));
    let mut waiting: BTreeMap<(u8, u8), (bool, Vec<u8>, Instant)> = BTreeMap::new();
    for piece in pieces(input) {
        let mut bytes = Bytes(piece);
        let (sender, id, second) = (bytes.byte() % 3, bytes.byte(), bytes.byte() & 1 == 1);
        now = now + Duration::from_millis(bytes.byte().into());
        waiting.retain(|_, (_, _, since)| now.since(*since) < sleeve::split::PATIENCE);
        let half = Half {
            id: id.into(),
            second,
            part: bytes.0,
        };
        let mut whole = b"left over".to_vec();
        let complete = table.take(now, &PeerId([sender; 32]), half, &mut whole, &drops);
        match waiting.get(&(sender, id)) {
            Some((other, part, _)) if *other != second => {
                let expected = if second { [part, bytes.0] } else { [bytes.0, part] };
                assert!(complete && whole == expected.concat());
                waiting.remove(&(sender, id));
            }
            Some(_) => assert!(!complete),
            None => {
                assert!(!complete);
                waiting.insert((sender, id), (second, bytes.0.to_vec(), now));
            }
        }
    }
    // Fewer pieces than places: none had to go for want of room.
    assert_eq!(drops.get(DropReason::Overflow), 0);
}

/// Until when a kept world is used; its sessions are good until long after.
const YOUNG: Instant = Instant(100_000_000);

thread_local! {
    /// Kept between inputs, for handshakes are slow. Inputs leave nothing behind in it but counters.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

pub(crate) fn in_world(f: impl FnOnce(&mut World)) {
    WORLD.with_borrow_mut(|slot| {
        let mut world = slot.take().unwrap_or_default();
        f(&mut world);
        world.check();
        // Not put back after a failure, nor when its sessions are about to grow old.
        *slot = (world.now < YOUNG).then_some(world);
    });
}

/// A datagram that nobody sealed, or one that was edited on its way. First byte: which.
pub fn datagram(input: &[u8]) {
    let mut bytes = Bytes(input);
    let choice = bytes.byte();
    in_world(|world| match choice % 4 {
        0 => {
            let caught = world.receive(1, address(0), bytes.0);
            assert!(caught.frames.is_empty() && caught.datagrams.is_empty() && caught.inputs.is_empty());
        }
        1 => edited_direct(world, bytes.0),
        2 => edited_at_relay(world, bytes.0),
        _ => edited_behind_relay(world, bytes.0),
    });
}

fn one(caught: Caught) -> Vec<u8> {
    let [(_, bytes)] = <[_; 1]>::try_from(caught.datagrams).expect("one datagram");
    bytes
}

fn edited_direct(world: &mut World, script: &[u8]) {
    let genuine = one(world.send(0, &plain_frame(0, 1)));
    let forged = edited(&genuine, script);
    let frames = world.receive(1, address(0), &forged).frames.len();
    assert_eq!(frames, usize::from(forged == genuine));
    // Forgeries spoil nothing: the genuine one counts if it did not come yet.
    let later = world.receive(1, address(0), &genuine).frames.len();
    assert_eq!(frames + later, 1);
}

/// The relay's tag covers its header and that of what is inside; the rest is the destination's to judge.
fn edited_at_relay(world: &mut World, script: &[u8]) {
    let genuine = one(world.send(0, &plain_frame(0, 2)));
    let forged = edited(&genuine, script);
    let caught = world.receive(1, address(0), &forged);
    assert!(caught.frames.is_empty());
    let header = relay::RelayHeader::parse(&genuine).expect("made by a router");
    let covered = header.length() + data::LENGTH;
    let same = forged.get(..covered) == Some(&genuine[..covered]);
    assert!(caught.datagrams.is_empty() || same);
    let frames = world.carry(1, caught.datagrams);
    assert_eq!(frames.len(), usize::from(forged == genuine));
}

fn edited_behind_relay(world: &mut World, script: &[u8]) {
    let first = one(world.send(0, &plain_frame(0, 2)));
    let genuine = one(world.receive(1, address(0), &first));
    let forged = edited(&genuine, script);
    let caught = world.receive(2, address(1), &forged);
    assert_eq!(caught.frames.len(), usize::from(forged == genuine));
    assert!(caught.datagrams.is_empty());
}

/// Plaintexts that another router of the mesh sealed, one a piece: it knows the secret, but is not to be believed.
pub fn sealed_plaintext(input: &[u8]) {
    in_world(|world| {
        // Halves that other inputs left behind are given up.
        world.now = world.now + sleeve::split::PATIENCE;
        for piece in pieces(input) {
            let Some(datagram) = world.seal(0, 1, piece) else {
                continue;
            };
            let caught = world.receive(1, address(0), &datagram);
            assert!(caught.datagrams.is_empty() && caught.frames.len() <= 1);
            for (vni, frame) in &caught.frames {
                assert_eq!(*vni, VNI);
                assert!(frame.len() >= inner::ETHERNET && frame[6..12] != mac(1).0);
            }
            for input in caught.inputs {
                let Input::Message { from, via, bytes } = input else {
                    continue;
                };
                assert_eq!((from, via), (world.routers[0].id, Via::Direct(address(0))));
                assert_eq!(bytes, piece);
            }
        }
    });
}

/// Frames from a container, one a piece: nothing leaves that [`forbidden`] names, answers are well-formed, and what
/// leaves comes out unchanged, once, at each router that it is for.
pub fn outbound(input: &[u8]) {
    in_world(|world| {
        for frame in pieces(input) {
            let caught = world.send(0, frame);
            assert!(
                caught.datagrams.len() <= 4,
                "at most two datagrams for each of two routers"
            );
            assert!(caught.datagrams.is_empty() || !forbidden(frame));
            assert!(
                caught
                    .datagrams
                    .iter()
                    .all(|(to, bytes)| *to == address(1) && bytes.len() <= 1500 - 28)
            );
            for (vni, answer) in &caught.frames {
                assert_eq!(*vni, VNI);
                assert!(!forbidden(frame));
                well_formed(answer);
                assert!(answer[..6] == mac(0).0 || answer[0] & 1 == 1);
            }
            let split = caught.datagrams.len();
            let arrived = world.carry(0, caught.datagrams);
            assert!(
                arrived
                    .iter()
                    .all(|(_, vni, arrived)| *vni == VNI && arrived == frame)
            );
            let to: Vec<usize> = arrived.iter().map(|(to, ..)| *to).collect();
            let group = frame.first().is_some_and(|first| first & 1 == 1);
            let expected: &[usize] = match frame.get(..6) {
                _ if split == 0 => &[],
                _ if group => &[1, 2],
                Some(to) if *to == mac(1).0 => &[1],
                _ => &[2],
            };
            let mut sorted = to;
            sorted.sort_unstable();
            // Of a frame for several some may be too big for the longer way.
            assert!(sorted == expected || (group && sorted == [1]));
        }
        let caught = world.routers[0].plane.clone();
        let mut nothing = Caught::default();
        caught.outbound(
            world.now,
            &plain_frame(0, 1),
            FOREIGN,
            &mut sleeve::Scratch::default(),
            &mut nothing,
        );
        assert!(nothing.datagrams.is_empty() && nothing.frames.is_empty());
    });
}

/// Payloads of the control plane and messages inside a session, one a piece, to a whole control half. First byte of
/// each: how it comes. Whatever it was, sessions and paths stay, and a moment later all is as before.
pub fn control_half(input: &[u8]) {
    let mut world = World::new();
    let (friend, stranger) = (world.routers[0].id, PeerId([9; 32]));
    for piece in pieces(input) {
        let mut bytes = Bytes(piece);
        let choice = bytes.byte();
        let (payload, message) = (bytes.0.to_vec(), bytes.0.to_vec());
        let input = match choice % 4 {
            0 => Input::Control {
                from: friend,
                payload,
            },
            1 => Input::Control {
                from: stranger,
                payload,
            },
            2 => Input::Message {
                from: friend,
                via: Via::Direct(address(0)),
                bytes: message,
            },
            _ => Input::Message {
                from: friend,
                via: Via::Relayed,
                bytes: message,
            },
        };
        world.input(1, input);
        world.now = world.now + Duration::from_millis(choice.into());
    }
    world.check();
    world.run(Duration::from_secs(3));
    world.check();
    assert_eq!(world.routers[1].sleeve.sessions(world.now).len(), 2);
    assert_eq!(world.routers[1].sleeve.paths(world.now).len(), 2);
}
