//! Control messages written from the protocol's description, not with the code under test: what `mesh` keeps to
//! itself is thereby checked against a second opinion.

use mesh::ipam::Pool;
use mesh::{
    Adjacency, Admission, Delay, LinkLabel, Mac, MacsBody, NetworkEntry, NetworksBody, PeerId, PeerInfo,
    PeerName, SecretId, ShortId, Signer, Vni,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::net::{Ipv4Addr, SocketAddr};

/// Kinds of messages.
pub mod kind {
    /// The first on a link.
    pub const HELLO: u8 = 1;
    /// A keepalive.
    pub const PING: u8 = 2;
    /// Its answer.
    pub const PONG: u8 = 3;
    /// The last on a link.
    pub const GOODBYE: u8 = 4;
    /// Signed records.
    pub const RECORDS: u8 = 5;
    /// One hash over everything that the sender holds.
    pub const ROOT: u8 = 6;
    /// A sum for each bucket.
    pub const BUCKETS: u8 = 7;
    /// Bytes for a router further away.
    pub const ROUTED: u8 = 10;
    /// Marks of what the sender holds.
    pub const HELD: u8 = 14;
    /// How what the sender holds differs from that.
    pub const DIFFER: u8 = 15;
    /// Which of that the receiver shall send.
    pub const ASK: u8 = 16;
}

/// Epochs and counters are below this.
pub const MAX_SEQUENCE: u64 = 1 << 62;

/// A message: its kind and its body.
pub fn message<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    postcard::to_extend(body, vec![kind]).expect("a body of plain data")
}

/// A keepalive that shows nothing new.
#[must_use]
pub fn ping(number: u64) -> Vec<u8> {
    let (echo, marks) = (None::<(u64, u32)>, Vec::<[u8; 8]>::new());
    message(kind::PING, &(number, true, echo, marks, false))
}

/// Its answer.
#[must_use]
pub fn pong(number: u64) -> Vec<u8> {
    message(kind::PONG, &(number, Vec::<[u8; 8]>::new(), false))
}

/// What stands in a hello: versions (lowest, highest), name, run, epoch, observed address, number.
pub type Hello = (u16, u16, PeerName, u64, u64, SocketAddr, u64);

/// The hello of a router.
#[must_use]
pub fn hello(name: &str, instance: u64) -> Vec<u8> {
    let name: PeerName = name.parse().expect("a name");
    let observed: SocketAddr = ([198, 51, 100, 1], 6783).into();
    let hello: Hello = (1, 1, name, instance, 1, observed, 1);
    message(kind::HELLO, &hello)
}

/// What a record is about, and how new it is.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Who made it.
    pub origin: PeerId,
    /// What it is about: 1 the router, 2 its links, 3 its containers.
    pub kind: u8,
    /// Which of several.
    pub subkey: u64,
    /// Epoch of its origin.
    pub epoch: u64,
    /// Count within the epoch.
    pub counter: u64,
}

/// A record with the signature that `sign` makes over everything before it.
pub fn record(header: Header, body: &[u8], sign: impl Fn(&[u8]) -> [u8; 64]) -> Vec<u8> {
    let Header {
        origin,
        kind,
        subkey,
        epoch,
        counter,
    } = header;
    let mut bytes = origin.0.to_vec();
    bytes.push(kind);
    for number in [subkey, epoch, counter] {
        varint(&mut bytes, number);
    }
    bytes.extend(body);
    let signature = sign(&bytes);
    bytes.extend(signature);
    bytes
}

/// A message of these records.
#[must_use]
pub fn records(records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![kind::RECORDS];
    varint(&mut message, records.len() as u64);
    for record in records {
        varint(&mut message, record.len() as u64);
        message.extend(record);
    }
    message
}

/// Writes a number as postcard does (LEB128).
fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// What a router says of itself.
#[must_use]
pub fn info(peer: PeerId, epoch: u64) -> PeerInfo {
    PeerInfo {
        peer,
        name: "another".parse().expect("a name"),
        data_key: peer.0,
        epoch,
        instance: 7,
        addresses: vec![([203, 0, 113, peer.0[0]], 6783).into()],
        admissions: vec![proof(&peer)],
        version: "1.0".to_owned(),
        capabilities: 0,
        vxlan_port: 0,
        label: mesh::PeerLabel::NONE,
    }
}

/// The body of a record of links: to each of these routers one, of the label that goes with it.
#[must_use]
pub fn links(neighbors: &[(PeerId, u16)]) -> Vec<u8> {
    let link = |&(neighbor, label): &(PeerId, u16)| Adjacency {
        neighbor: neighbor.short(),
        label: LinkLabel(label),
        delay: Delay::from_us(1000),
        mtu: 1400,
    };
    let body: Vec<_> = neighbors.iter().map(link).collect();
    postcard::to_stdvec(&body).expect("plain data")
}

/// The body of a record of containers, with one of them.
#[must_use]
pub fn macs(vni: Vni, mac: Mac) -> Vec<u8> {
    let entries = vec![(mac, vec![[10, 0, 0, mac.0[5]].into()])];
    postcard::to_stdvec(&MacsBody { vni, entries }).expect("plain data")
}

/// What a router says of networks: their names, numbers, and whether they are there.
#[must_use]
pub fn networks(by: ShortId, said: &[(&str, u64, u32, bool)]) -> Vec<u8> {
    let pool = Pool::new((Ipv4Addr::new(10, 64, 0, 0), 16), None).expect("a usable range");
    let entry = |&(name, stamp, vni, is_there): &(&str, u64, u32, bool)| {
        let entry = NetworkEntry {
            stamp,
            by,
            vni: Vni(vni),
            pool: is_there.then_some(pool),
        };
        (name.to_owned(), entry)
    };
    let entries = said.iter().map(entry).collect();
    postcard::to_stdvec(&NetworksBody { entries }).expect("plain data")
}

/// Signs by keyed hashes that anybody could make, if they were not fuzzers.
pub struct Judge {
    /// Who signs.
    pub own: PeerId,
    /// Takes every signature that begins with zero, too: then edited records get through.
    pub gullible: bool,
}

/// The signature of `origin` over the bytes of a record before it.
#[must_use]
pub fn signature(origin: &PeerId, bytes: &[u8]) -> [u8; 64] {
    hashed(origin, &[b"weft record v1\0", bytes].concat())
}

fn hashed(origin: &PeerId, message: &[u8]) -> [u8; 64] {
    let hash = Sha256::new()
        .chain_update(origin.0)
        .chain_update(message)
        .finalize();
    let mut signature = [1; 64];
    signature[32..].copy_from_slice(&hash);
    signature
}

fn proof(origin: &PeerId) -> Admission {
    let mut proof = [0; 16];
    proof.copy_from_slice(&hashed(origin, b"admission")[32..48]);
    Admission {
        secret: SecretId([5; 8]),
        proof,
    }
}

impl Signer for Judge {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        hashed(&self.own, message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        (self.gullible && signature[0] == 0) || hashed(origin, message) == *signature
    }

    fn admissions(&self) -> Vec<Admission> {
        vec![proof(&self.own)]
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        self.gullible || proofs.contains(&proof(origin))
    }
}
