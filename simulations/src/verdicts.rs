//! Signatures are verified once for all routers of a world: fifty routers would find the same fifty times.

use mesh::{Admission, PeerId, Signer};
use sleeve::KeySigner;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// So many verdicts are kept; then all are forgotten.
const MOST: usize = 100_000;

/// What was found, by signature: about whose, over what.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<HashMap<[u8; 64], Verdict>>);

struct Verdict {
    origin: PeerId,
    message: Box<[u8]>,
    holds: bool,
}

impl Verdicts {
    /// The router's own keys, with verdicts that all routers share.
    pub(crate) fn shared(self: &Arc<Self>, own: KeySigner) -> SharedSigner {
        let verdicts = Arc::clone(self);
        SharedSigner { own, verdicts }
    }

    fn find(
        &self,
        origin: &PeerId,
        message: &[u8],
        signature: &[u8; 64],
        look: impl FnOnce() -> bool,
    ) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |found: &&Verdict| found.origin == *origin && *found.message == *message;
        if let Some(found) = known.get(signature).filter(same) {
            return found.holds;
        }
        let holds = look();
        if known.len() >= MOST {
            known.clear();
        }
        let (origin, message) = (*origin, message.into());
        known.insert(
            *signature,
            Verdict {
                origin,
                message,
                holds,
            },
        );
        holds
    }
}

/// A router's signer.
pub(crate) struct SharedSigner {
    own: KeySigner,
    verdicts: Arc<Verdicts>,
}

impl Signer for SharedSigner {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.own.sign(message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        let look = || self.own.verify(origin, message, signature);
        self.verdicts.find(origin, message, signature, look)
    }

    fn admissions(&self) -> Vec<Admission> {
        self.own.admissions()
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        self.own.admits(origin, proofs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_about_one_origin_message_and_signature() {
        let verdicts = Verdicts::default();
        let find = |origin: u8, message: &[u8], signature: u8, holds: Option<bool>| {
            let look = || holds.unwrap_or_else(|| panic!("looked again"));
            verdicts.find(&PeerId([origin; 32]), message, &[signature; 64], look)
        };
        assert!(find(1, b"a", 1, Some(true)));
        assert!(find(1, b"a", 1, None));
        assert!(!find(2, b"a", 1, Some(false)));
        assert!(!find(1, b"b", 1, Some(false)));
        assert!(!find(1, b"a", 2, Some(false)));
        assert!(!find(1, b"a", 2, None));
    }
}
