//! What a recording leaves out. Everything that is not known to be harmless is blank: the lists of inputs, outputs
//! and messages below name every kind, so that whoever adds one decides.
//!
//! Blanks have the length of what they stand for, and blanking twice is blanking once.

use super::Mark;
use crate::fdb::MacsBody;
use crate::ipam::{ASK_BYTE, IpamBody};
use crate::record::{Key, Record, kind};
use crate::wire::{Blob, Message};
use crate::{Adjacency, Input, NamesBody, NetworksBody, Output, Packet, PeerInfo, ShortId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// An input as it is recorded, and the hash of each record in it.
pub(super) fn input(input: &Input) -> (Input, Vec<[u8; 16]>) {
    match input {
        Input::Message { link, packet } => {
            let (packet, hashes) = packet_and_hashes(packet);
            (Input::Message { link: *link, packet }, hashes)
        }
        Input::SendTo { peer, payload } => {
            let payload = vec![0; payload.len()];
            (Input::SendTo { peer: *peer, payload }, Vec::new())
        }
        Input::LinkUp { .. }
        | Input::LinkDown { .. }
        | Input::Oversized { .. }
        | Input::Alive { .. }
        | Input::DialFailed { .. }
        | Input::Probed { .. }
        | Input::PathUp { .. }
        | Input::PathDown { .. }
        | Input::Connect { .. }
        | Input::ForgetTarget { .. }
        | Input::ForgetPeer { .. }
        | Input::Addresses(_)
        | Input::Attach { .. }
        | Input::Detach { .. }
        | Input::Allocate { .. }
        | Input::Release { .. }
        | Input::AddressesKept { .. }
        | Input::Reclaim { .. }
        | Input::Name { .. }
        | Input::UseTree { .. }
        | Input::FastPath { .. }
        | Input::SecretsChanged
        | Input::EpochPersisted(_)
        | Input::Shutdown
        | Input::Tick
        | Input::KnownNetworks(_)
        | Input::AddNetwork { .. }
        | Input::RemoveNetwork { .. } => (input.clone(), Vec::new()),
    }
}

/// An output in short: the same for a core that saw blanks as for one that saw everything.
pub(super) fn mark(output: &Output) -> Mark {
    let (kind, bytes) = match output {
        Output::Send {
            link,
            packet,
            reliable,
        } => ("Send", encoded(&(link, packet_and_hashes(packet), reliable))),
        Output::Deliver { from, payload } => ("Deliver", encoded(&(from, payload.len()))),
        Output::Peer(info) => ("Peer", encoded(&blank_info(info.clone()))),
        Output::Dial { target, expect } => ("Dial", encoded(&(target, expect))),
        Output::Probe { peer, address } => ("Probe", encoded(&(peer, address))),
        Output::Close { link, reason } => ("Close", encoded(&(link, reason))),
        Output::PeerGone(peer) => ("PeerGone", encoded(peer)),
        Output::Neighbor { peer, address } => ("Neighbor", encoded(&(peer, address))),
        Output::Route { peer, route } => ("Route", encoded(&(peer, route))),
        Output::Detour {
            neighbor,
            label,
            route,
        } => ("Detour", encoded(&(neighbor, label, route))),
        Output::PeerLabel { peer, label } => ("PeerLabel", encoded(&(peer, label))),
        Output::Tree { vni, source, tree } => ("Tree", encoded(&(vni, source, tree))),
        Output::Label { label, neighbor } => ("Label", encoded(&(label, neighbor))),
        Output::Fdb(change) => ("Fdb", encoded(change)),
        // Among the values are records, with signatures.
        Output::KeepAddresses { vni, batch } => {
            let keys: Vec<_> = batch
                .changes
                .iter()
                .map(|(key, value)| (key, value.is_some()))
                .collect();
            ("KeepAddresses", encoded(&(vni, batch.number, keys)))
        }
        Output::Allocated { number, result } => ("Allocated", encoded(&(number, result))),
        Output::Reclaimed { number, result } => ("Reclaimed", encoded(&(number, result))),
        Output::Networks(table) => ("Networks", encoded(table)),
        Output::Network { number, result } => ("Network", encoded(&(number, result))),
        Output::Name(change) => ("Name", encoded(change)),
        Output::NameRefused { vni, name } => ("NameRefused", encoded(&(vni, name))),
        Output::PersistEpoch(epoch) => ("PersistEpoch", encoded(epoch)),
        Output::PersistTargets(targets) => ("PersistTargets", encoded(targets)),
        Output::Log(event) => ("Log", encoded(event)),
    };
    let mut hash = [0; 8];
    hash.copy_from_slice(&Sha256::digest(bytes)[..8]);
    Mark {
        kind: kind.to_owned(),
        hash: u64::from_le_bytes(hash),
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    // Encoding fails only for types of unknown length, and none of ours is one.
    postcard::to_stdvec(value).unwrap_or_default()
}

fn packet_and_hashes(packet: &Packet) -> (Packet, Vec<[u8; 16]>) {
    let bytes = packet.bytes();
    let message = match packet.message() {
        Ok(message) => message,
        Err(error) => {
            return (
                Packet::from(unreadable(bytes, |blank| Message::decode(blank) == Err(error))),
                Vec::new(),
            );
        }
    };
    let mut hashes = Vec::new();
    let blank = match message {
        Message::Records(batch) => {
            hashes.extend(batch.records.iter().map(|record| record.version.hash));
            let (kind, body) = bytes.split_at(1);
            let blobs = postcard::take_from_bytes::<Vec<Blob>>(body)
                .map(|(blobs, _)| blobs)
                .unwrap_or_default();
            let blank: Vec<_> = blobs.iter().map(|blob| Blob(blank_record(&blob.0))).collect();
            [kind, &encoded(&blank)].concat()
        }
        Message::Routed(routed) => {
            let mut routed = routed.clone();
            if routed.payload.0.first() == Some(&ASK_BYTE) {
                // Ranges and names; the core looks at them.
                return (packet.clone(), hashes);
            }
            routed.payload = Blob(vec![0; routed.payload.0.len()]);
            Message::Routed(routed).encode()
        }
        Message::BookGive(give) => {
            hashes.extend(give.records.records.iter().map(|record| record.version.hash));
            let (kind, body) = bytes.split_at(1);
            let (last, blobs) = postcard::take_from_bytes::<(bool, Vec<Blob>)>(body)
                .map(|(read, _)| read)
                .unwrap_or_default();
            let blank: Vec<_> = blobs.iter().map(|blob| Blob(blank_record(&blob.0))).collect();
            [kind, &encoded(&(last, blank))].concat()
        }
        // Numbers, names and hashes.
        Message::BookRoot(_) | Message::BookHave(_) => message.encode(),
        Message::Hello(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Goodbye
        | Message::Full
        | Message::Spare(_)
        | Message::Root(_)
        | Message::Buckets(_)
        | Message::Parent(_)
        | Message::Want(_)
        | Message::Held(_)
        | Message::Differ(_)
        | Message::Ask(_) => message.encode(),
    };
    (Packet::from(resized(blank, bytes.len())), hashes)
}

/// What was appended by a later version, or encoded at greater length than needed, is blank.
fn resized(mut blank: Vec<u8>, length: usize) -> Vec<u8> {
    blank.resize(length, 0);
    blank
}

/// Bytes as long as those that could not be read, and as unreadable.
fn unreadable(bytes: &[u8], is_same: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let first = bytes.first().copied();
    let fill = |byte| {
        let rest = bytes.iter().skip(1).map(|_| byte);
        first.into_iter().chain(rest).collect::<Vec<u8>>()
    };
    let cut = || bytes[..bytes.len().min(1)].to_vec();
    [fill(0xff), fill(0)]
        .into_iter()
        .find(|blank| is_same(blank))
        .unwrap_or_else(cut)
}

/// One of a message's blobs: a record, or what claims to be one.
fn blank_record(bytes: &[u8]) -> Vec<u8> {
    match Record::parse(bytes) {
        Ok(record) => {
            let body = blank_body(record.body_bytes(), &record.key, record.body().is_some());
            let header = record.header_bytes();
            resized([header, &body].concat(), bytes.len())
        }
        Err(error) => unreadable(bytes, |blank| Record::parse(blank) == Err(error)),
    }
}

fn blank_body(body: &[u8], key: &Key, is_readable: bool) -> Vec<u8> {
    if !is_readable {
        // No list and no text is that long.
        return vec![0xff; body.len()];
    }
    let blank = match key.kind {
        kind::PEER_INFO => match reencoded(body, blank_info) {
            // Written before there were labels: read with what would follow, which is cut off again below.
            blank if blank.is_empty() => reencoded(&[body, &[0, 0]].concat(), blank_info),
            blank => blank,
        },
        kind::LINK_STATE => reencoded::<Vec<Adjacency>>(body, |links| links),
        kind::MACS => reencoded::<MacsBody>(body, |macs| macs),
        kind::IPAM => reencoded::<IpamBody>(body, |ipam| ipam),
        kind::NAMES => reencoded::<NamesBody>(body, |names| names),
        kind::NETWORKS => reencoded::<NetworksBody>(body, |networks| networks),
        kind::ROOT => reencoded::<ShortId>(body, |root| root),
        // Whatever it is, this version does not look at it.
        _ => Vec::new(),
    };
    resized(blank, body.len())
}

fn reencoded<'a, T: serde::Deserialize<'a> + Serialize>(body: &'a [u8], change: impl Fn(T) -> T) -> Vec<u8> {
    postcard::take_from_bytes(body)
        .map(|(read, _)| encoded(&change(read)))
        .unwrap_or_default()
}

fn blank_info(mut info: PeerInfo) -> PeerInfo {
    info.data_key = [0; 32];
    info.admissions
        .iter_mut()
        .for_each(|admission| admission.proof = [0; 16]);
    info
}
