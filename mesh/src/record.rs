//! Signed records.

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
