//! The core's signer over a router's keys. It stands here because this crate is the one that knows both `mesh`,
//! which asks, and `crypto`, which answers.

use crypto::identity::{self, Identity};
use crypto::keyring::Keyring;
use mesh::{Admission, PeerId, SecretId, Signer};
use std::sync::{Arc, PoisonError, RwLock};

/// Signs with the identity, admits by the secrets that are valid now.
pub struct KeySigner {
    /// This router's keys.
    pub identity: Arc<Identity>,
    /// The secrets, as the driver changes them.
    pub keyring: Arc<RwLock<Keyring>>,
}

impl Signer for KeySigner {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.identity.sign(message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        identity::verify(&origin.0, message, signature)
    }

    fn admissions(&self) -> Vec<Admission> {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let own = self.identity.public();
        let admission = |secret: &crypto::secret::Secret| Admission {
            secret: SecretId(secret.id().0),
            proof: secret.admission(&own),
        };
        keyring.secrets().map(admission).collect()
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        proofs
            .iter()
            .any(|a| keyring.admits(&crypto::secret::SecretId(a.secret.0), &origin.0, &a.proof))
    }
}
