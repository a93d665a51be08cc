//! Signatures and proofs of the secret of a world in which nobody cheats: keyed hashes, so that ten thousand routers
//! do not spend the machine on Ed25519.

use mesh::{Admission, PeerId, SecretId, Signer};
use sha2::{Digest, Sha256};

/// The world's one secret, by its id.
const SECRET: SecretId = SecretId(*b"big one\0");

/// Signs for one router. Records are shared, so what it found about one, no other has to.
pub(super) struct FakeSigner(pub(super) PeerId);

fn keyed(purpose: &[u8], origin: &PeerId, message: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(purpose).chain_update(origin.0);
    hash.chain_update(message).finalize().into()
}

fn signature(origin: &PeerId, message: &[u8]) -> [u8; 64] {
    let half = keyed(b"signature", origin, message);
    let mut both = [0; 64];
    both[..32].copy_from_slice(&half);
    both[32..].copy_from_slice(&half);
    both
}

fn proof(origin: &PeerId) -> Admission {
    let mut proof = [0; 16];
    proof.copy_from_slice(&keyed(b"admission", origin, &SECRET.0)[..16]);
    let secret = SECRET;
    Admission { secret, proof }
}

impl Signer for FakeSigner {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.0, message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], given: &[u8; 64]) -> bool {
        signature(origin, message) == *given
    }

    fn admissions(&self) -> Vec<Admission> {
        vec![proof(&self.0)]
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        proofs.contains(&proof(origin))
    }
}
