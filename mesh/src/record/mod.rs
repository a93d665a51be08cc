//! Signed records: everything routers tell all others travels as one of these.
//!
//! A record is made and signed by its origin, kept and forwarded verbatim by everybody, and replaced only by a
//! newer one of the same [`Key`]. [`signed`] is the envelope, [`body`] what known kinds carry inside.

pub(crate) mod body;
pub(crate) mod signed;

pub(crate) use body::LinkStateBody;
pub(crate) use signed::{Key, Record, RecordError, Version};

use crate::{PeerId, PeerName, SecretId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Signs this router's records and judges those of others. Implemented over `crypto`; the core holds no key.
pub trait Signer: Send + Sync {
    /// Ed25519 signature of `message` by this router.
    fn sign(&self, message: &[u8]) -> [u8; 64];
    /// `verify_strict`: the one verdict on which all routers agree.
    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool;
    /// This router's proofs of the secret, one per valid secret.
    fn admissions(&self) -> Vec<Admission>;
    /// True if one of `proofs` shows that `origin` knows a secret that is valid here.
    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool;
}

/// Proof that an origin knows a secret: a keyed hash of its id under a key derived from that secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Which secret.
    pub secret: SecretId,
    /// The proof.
    pub proof: [u8; 16],
}

/// The rarely changing record of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Whose.
    pub peer: PeerId,
    /// Nickname.
    pub name: PeerName,
    /// X25519 public key for data sessions.
    pub data_key: [u8; 32],
    /// Boot epoch: larger at each start, persisted before use. Sessions are bound to it.
    pub epoch: u64,
    /// Random number of this run: two runs with one identity differ in it.
    pub instance: u64,
    /// Underlay addresses others may try, best first.
    pub addresses: Vec<SocketAddr>,
    /// Proofs of the secrets it holds; their ids are the ids of its secrets.
    pub admissions: Vec<Admission>,
    /// Program version, for people.
    pub version: String,
    /// Bits for features of later versions; unknown ones are ignored.
    pub capabilities: u32,
}

/// What a record is about. Kinds this version does not know are stored and forwarded all the same.
pub(crate) mod kind {
    /// [`PeerInfo`](super::PeerInfo), subkey 0.
    pub(crate) const PEER_INFO: u8 = 1;
    /// [`LinkStateBody`](super::LinkStateBody), chunked by subkey.
    pub(crate) const LINK_STATE: u8 = 2;
    /// [`MacsBody`](crate::fdb::MacsBody), chunked by subkey.
    pub(crate) const MACS: u8 = 3;
}
