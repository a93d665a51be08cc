//! Signatures and proofs of the secret as keyed hashes: deterministic, and good enough where nobody cheats.

use mesh::{Admission, PeerId, SecretId, Signer};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};

/// The secrets that are valid at one host.
#[derive(Clone)]
pub struct Secrets(Arc<Mutex<Vec<[u8; 8]>>>);

impl Secrets {
    pub fn new(secret: &[u8; 8]) -> Self {
        Self(Arc::new(Mutex::new(vec![*secret])))
    }

    pub fn set(&self, secrets: &[[u8; 8]]) {
        *self.0.lock().unwrap() = secrets.to_vec();
    }

    fn get(&self) -> Vec<[u8; 8]> {
        self.0.lock().unwrap().clone()
    }

    pub fn shares(&self, other: &Self) -> bool {
        let theirs = other.get();
        self.get().iter().any(|secret| theirs.contains(secret))
    }
}

pub struct FakeSigner {
    pub own: PeerId,
    pub secrets: Secrets,
}

fn signature(origin: &PeerId, message: &[u8]) -> [u8; 64] {
    let half = Sha256::new()
        .chain_update(origin.0)
        .chain_update(message)
        .finalize();
    let mut both = [0; 64];
    both[..32].copy_from_slice(&half);
    both[32..].copy_from_slice(&half);
    both
}

fn proof(secret: &[u8; 8], origin: &PeerId) -> Admission {
    let hash = Sha256::new()
        .chain_update(b"admission")
        .chain_update(secret)
        .chain_update(origin.0)
        .finalize();
    let mut proof = [0; 16];
    proof.copy_from_slice(&hash[..16]);
    Admission {
        secret: SecretId(*secret),
        proof,
    }
}

impl Signer for FakeSigner {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.own, message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], given: &[u8; 64]) -> bool {
        signature(origin, message) == *given
    }

    fn admissions(&self) -> Vec<Admission> {
        self.secrets
            .get()
            .iter()
            .map(|secret| proof(secret, &self.own))
            .collect()
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        self.secrets
            .get()
            .iter()
            .any(|secret| proofs.contains(&proof(secret, origin)))
    }
}
