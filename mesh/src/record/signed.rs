//! The envelope of a record: header ‖ body ‖ Ed25519 signature over everything before it.
//!
//! The bytes are kept as they came, so that fields a later version appends survive routers that don't know
//! them, and so that every router hashes and verifies the same thing.

use super::body::Body;
use crate::ipam::IpamBody;
use crate::{Adjacency, MacsBody, NamesBody, NetworksBody, PeerId, PeerInfo, ShortId, Signer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::OnceLock;

/// Largest record in bytes, signature included.
pub(crate) const MAX_RECORD: usize = 16 * 1024;
/// Epochs and counters from here up are refused, so that one can always be added to a stored one.
pub(crate) const MAX_SEQUENCE: u64 = 1 << 62;
/// What a signature is for: no signature of a record means anything elsewhere.
const DOMAIN: &[u8] = b"weft record v1\0";
const SIGNATURE: usize = 64;

/// What a record replaces: the newest record of each key is the one that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Who made and signed it.
    pub(crate) origin: PeerId,
    /// What it is about; see [`kind`](super::kind).
    pub(crate) kind: u8,
    /// Tells records of one kind apart.
    pub(crate) subkey: u64,
}

/// Which of two records of one key is newer: the greater one. The hash only decides between records that
/// two runs with one identity made at the same count; it makes all routers choose alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Boot epoch of the origin, persisted there before use.
    pub(crate) epoch: u64,
    /// Counts the origin's records within the epoch.
    pub(crate) counter: u64,
    /// The first half of the SHA-256 of the record's bytes.
    pub(crate) hash: [u8; 16],
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// More than [`MAX_RECORD`] bytes.
    #[error("larger than a record may be")]
    Oversized,
    /// Too short, no header, or a sequence number out of range.
    #[error("not a record")]
    Malformed,
}

#[derive(Serialize, Deserialize)]
struct Header {
    key: Key,
    epoch: u64,
    counter: u64,
}

/// A record whose header was read; its signature is judged by [`Record::verify`].
///
/// Records are shared, never copied: whoever holds one holds the same as everybody else in the process, and what
/// one of them found out about it, the others need not.
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) version: Version,
    bytes: Box<[u8]>,
    body_at: usize,
    body: OnceLock<Option<Body>>,
    verdict: OnceLock<bool>,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// Reads the header of `bytes`.
    pub(crate) fn parse(bytes: impl Into<Box<[u8]>> + AsRef<[u8]>) -> Result<Self, RecordError> {
        Self::parse_with(bytes, hash)
    }

    fn parse_with(
        bytes: impl Into<Box<[u8]>> + AsRef<[u8]>,
        hash: impl Fn(&[u8]) -> [u8; 16],
    ) -> Result<Self, RecordError> {
        if bytes.as_ref().len() > MAX_RECORD {
            return Err(RecordError::Oversized);
        }
        let bytes: Box<[u8]> = bytes.into();
        let signed = bytes.len().checked_sub(SIGNATURE).ok_or(RecordError::Malformed)?;
        let (header, body) =
            postcard::take_from_bytes::<Header>(&bytes[..signed]).map_err(|_| RecordError::Malformed)?;
        if header.epoch >= MAX_SEQUENCE || header.counter >= MAX_SEQUENCE {
            return Err(RecordError::Malformed);
        }
        let body_at = signed - body.len();
        let version = Version {
            epoch: header.epoch,
            counter: header.counter,
            hash: hash(&bytes),
        };
        Ok(Self {
            key: header.key,
            version,
            bytes,
            body_at,
            body: OnceLock::new(),
            verdict: OnceLock::new(),
        })
    }

    /// Makes and signs a record. `None` if it came out larger than [`MAX_RECORD`].
    pub(crate) fn sign(signer: &dyn Signer, key: Key, epoch: u64, counter: u64, body: &[u8]) -> Option<Self> {
        let mut bytes = postcard::to_stdvec(&Header { key, epoch, counter }).ok()?;
        bytes.extend_from_slice(body);
        let signature = signer.sign(&labelled(&bytes));
        bytes.extend_from_slice(&signature);
        Self::parse_with(bytes, |bytes| signer.hash(bytes)).ok()
    }

    /// The one verdict of all routers: strict verification over the full bytes. It follows from the bytes alone,
    /// so it is found once, whoever asks.
    pub(crate) fn verify(&self, signer: &dyn Signer) -> bool {
        *self.verdict.get_or_init(|| self.judge(signer))
    }

    fn judge(&self, signer: &dyn Signer) -> bool {
        let Some((message, signature)) = self.bytes.split_last_chunk() else {
            return false;
        };
        signer.verify(&self.key.origin, &labelled(message), signature)
    }

    /// The record as it came.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What lies before the body.
    pub(crate) fn header_bytes(&self) -> &[u8] {
        self.bytes.get(..self.body_at).unwrap_or_default()
    }

    /// What lies between header and signature.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        let end = self.bytes.len().saturating_sub(SIGNATURE);
        self.bytes.get(self.body_at..end).unwrap_or_default()
    }

    /// What it says; `None` if its kind is known and the body is not what it should be.
    pub(crate) fn body(&self) -> Option<&Body> {
        let read = || Body::read(self.body_bytes(), &self.key, &self.version);
        self.body.get_or_init(read).as_ref()
    }

    /// What its origin says of itself, if it is that kind of record.
    pub(crate) fn info(&self) -> Option<&PeerInfo> {
        match self.body() {
            Some(Body::Info(info)) => Some(info),
            _ => None,
        }
    }

    /// The links its origin lists; none unless it is that kind of record.
    pub(crate) fn links(&self) -> &[Adjacency] {
        match self.body() {
            Some(Body::Links(links)) => links,
            _ => &[],
        }
    }

    /// The MAC addresses its origin publishes, if it is that kind of record.
    pub(crate) fn macs(&self) -> Option<&MacsBody> {
        match self.body() {
            Some(Body::Macs(macs)) => Some(macs),
            _ => None,
        }
    }

    /// Which addresses of a network its origin owns, if it is that kind of record.
    pub(crate) fn ipam(&self) -> Option<&IpamBody> {
        match self.body() {
            Some(Body::Ipam(ipam)) => Some(ipam),
            _ => None,
        }
    }

    /// The names its origin publishes, if it is that kind of record.
    pub(crate) fn names(&self) -> Option<&NamesBody> {
        match self.body() {
            Some(Body::Names(names)) => Some(names),
            _ => None,
        }
    }

    /// What its origin says of networks, if it is that kind of record.
    pub(crate) fn networks(&self) -> Option<&NetworksBody> {
        match self.body() {
            Some(Body::Networks(networks)) => Some(networks),
            _ => None,
        }
    }

    /// Whom its origin names as the root of the tree along which records spread, if it is that kind of record.
    pub(crate) fn root(&self) -> Option<ShortId> {
        match self.body() {
            Some(Body::Root(root)) => Some(*root),
            _ => None,
        }
    }

    /// Its short name: eight bytes of its hash. Two records have the same only if somebody tried 2^32 of them, and
    /// then only that one's own records suffer.
    pub(crate) fn mark(&self) -> u64 {
        let mut mark = [0; 8];
        mark.copy_from_slice(&self.version.hash[..8]);
        u64::from_be_bytes(mark)
    }
}

fn labelled(message: &[u8]) -> Vec<u8> {
    [DOMAIN, message].concat()
}

pub(super) fn hash(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(bytes)[..16]);
    short
}
