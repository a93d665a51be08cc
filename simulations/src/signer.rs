//! The core's signer over a simulated router's keys.

use crypto::{Identity, Keyring, identity};
use mesh::{Admission, PeerId, SecretId, Signer};
use std::sync::{Arc, PoisonError, RwLock};

/// Signs with the identity, admits by the secrets that are valid now.
pub(crate) struct Keys {
    pub(crate) identity: Arc<Identity>,
    pub(crate) keyring: Arc<RwLock<Keyring>>,
}

impl Signer for Keys {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.identity.sign(message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        identity::verify(&origin.0, message, signature)
    }

    fn admissions(&self) -> Vec<Admission> {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let own = self.identity.public();
        let admission = |secret: &crypto::Secret| Admission {
            secret: SecretId(secret.id().0),
            proof: secret.admission(&own),
        };
        keyring.secrets().map(admission).collect()
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        proofs
            .iter()
            .any(|proof| keyring.admits(&crypto::SecretId(proof.secret.0), &origin.0, &proof.proof))
    }
}
