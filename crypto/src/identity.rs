//! Who a router is: an Ed25519 pair that signs and names, an X25519 pair for the handshakes.
//!
//! Both are made together at first launch, kept together as 64 bytes, and never leave the host. The Ed25519
//! public key (RFC 8032) is the router's name; TLS sees it as a raw public key (RFC 7250) in the DER forms of
//! RFC 8410. Signatures are checked by the strict rule everywhere, so that all routers give one verdict.

use crate::derive::Kdf;
use crate::fake;
use crate::suite::Suite;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRngCore;
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// `PrivateKeyInfo` of RFC 8410 §7 up to the 32 bytes of the seed.
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// `SubjectPublicKeyInfo` of RFC 8410 §4 up to the 32 bytes of the key.
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Both key pairs of a router. Wiped when dropped; `Debug` shows the public half only.
#[derive(Clone)]
pub struct Identity {
    signing: SigningKey,
    data: StaticSecret,
    /// Kept because it is asked for often, and costs a multiplication on the curve.
    data_public: [u8; 32],
    suite: Suite,
}

impl Identity {
    /// A new identity from 64 random bytes.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *bytes);
        Self::from_bytes(&bytes)
    }

    /// The identity that [`to_bytes`](Self::to_bytes) gave. Any 64 bytes are an identity.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (mut seed, mut data) = (Zeroizing::new([0; 32]), [0; 32]);
        seed.copy_from_slice(&bytes[..32]);
        data.copy_from_slice(&bytes[32..]);
        let secret = StaticSecret::from(data);
        data.zeroize();
        Self {
            signing: SigningKey::from_bytes(&seed),
            data_public: PublicKey::from(&secret).to_bytes(),
            data: secret,
            suite: Suite::REAL,
        }
    }

    /// The same with another suite, and the public key that goes with it.
    pub(crate) fn behind(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self.data_public = if suite.is_fake() {
            fake::public(self.data.as_bytes())
        } else {
            PublicKey::from(&self.data).to_bytes()
        };
        self
    }

    /// What stands behind its handshakes. Keys that come of them are to be used with the same.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The Ed25519 seed and the X25519 private key, for the state directory.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(self.signing.as_bytes());
        bytes[32..].copy_from_slice(self.data.as_bytes());
        bytes
    }

    /// The Ed25519 public key: the router's name in the mesh.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The X25519 public key, by which others start sessions with this router.
    #[must_use]
    pub fn data_public(&self) -> [u8; 32] {
        self.data_public
    }

    /// The X25519 private key, for the handshakes of this crate only.
    pub(crate) fn data_private(&self) -> &[u8; 32] {
        self.data.as_bytes()
    }

    /// An Ed25519 signature (RFC 8032) over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// The Ed25519 private key as PKCS#8 (RFC 8410 §7, version 1), for TLS.
    #[must_use]
    pub fn pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it beforehand: a vector that grows leaves a copy of the key behind.
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_HEAD.len() + 32));
        der.extend_from_slice(&PKCS8_HEAD);
        der.extend_from_slice(self.signing.as_bytes());
        der
    }

    /// The Ed25519 public key as `SubjectPublicKeyInfo` (RFC 8410 §4), which is this router's raw public key
    /// in TLS (RFC 7250).
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        [&SPKI_HEAD[..], &self.public()].concat()
    }

    /// A key for local use (say, QUIC's reset tokens) that stays the same across restarts. Different labels
    /// give independent keys, and none tells anything of the identity (HKDF-SHA-256, RFC 5869).
    #[must_use]
    pub fn derive(&self, label: &str) -> [u8; 32] {
        *Kdf::new(b"weft identity 1", &*self.to_bytes()).key(&[label.as_bytes()])
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = data_encoding::HEXLOWER.encode(&self.public());
        f.debug_struct("Identity")
            .field("public", &public)
            .finish_non_exhaustive()
    }
}

/// True if `signature` over `message` was made by the owner of `public`. Strict: refuses weak keys and every
/// second encoding of a signature, so a record has exactly one valid form.
#[must_use]
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public).is_ok_and(|key| {
        key.verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    })
}

/// The Ed25519 key inside a `SubjectPublicKeyInfo` (RFC 8410 §4), as TLS hands it over. `None` unless it is
/// exactly such a structure around a key that can verify something.
#[must_use]
pub fn public_from_spki(spki: &[u8]) -> Option<[u8; 32]> {
    let public: [u8; 32] = spki.strip_prefix(&SPKI_HEAD)?.try_into().ok()?;
    let key = VerifyingKey::from_bytes(&public).ok()?;
    (!key.is_weak()).then_some(public)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRng;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;

    #[test]
    fn an_identity_survives_storage() {
        let identity = Identity::generate(&mut TestRng::new(1));
        let again = Identity::from_bytes(&identity.to_bytes());
        assert_eq!(identity.public(), again.public());
        assert_eq!(identity.data_public(), again.data_public());
        assert_eq!(identity.derive("x"), again.derive("x"));
        assert_ne!(
            identity.public(),
            Identity::generate(&mut TestRng::new(2)).public()
        );
    }

    /// RFC 8032 §7.1, test 2.
    #[test]
    fn signatures_match_the_rfc() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&hex(
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        ));
        let identity = Identity::from_bytes(&bytes);
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(identity.public()[..], public[..]);
        let signature = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
        assert_eq!(identity.sign(&[0x72])[..], signature[..]);
    }

    #[test]
    fn signatures_are_checked_strictly() {
        let identity = Identity::generate(&mut TestRng::new(1));
        let signature = identity.sign(b"record");
        assert!(verify(&identity.public(), b"record", &signature));
        assert!(!verify(&identity.public(), b"recorD", &signature));
        for bit in 0..512 {
            let mut forged = signature;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&identity.public(), b"record", &forged), "bit {bit}");
        }
        // The identity point "signs" everything under the lenient rule of RFC 8032.
        let mut weak = [0; 32];
        weak[0] = 1;
        let mut any = [0; 64];
        any[0] = 1;
        assert!(!verify(&weak, b"record", &any));
    }

    #[test]
    fn tls_reads_our_key() {
        let identity = Identity::generate(&mut TestRng::new(1));
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&identity.pkcs8_der()).unwrap();
        assert_eq!(pair.public_key().as_ref(), identity.public());
        assert_eq!(pair.sign(b"m").as_ref(), identity.sign(b"m"));
        assert_eq!(public_from_spki(&identity.spki_der()), Some(identity.public()));
    }

    #[test]
    fn spki_is_exact() {
        let spki = Identity::generate(&mut TestRng::new(1)).spki_der();
        for end in 0..spki.len() {
            assert_eq!(public_from_spki(&spki[..end]), None);
        }
        assert_eq!(public_from_spki(&[&spki[..], &[0]].concat()), None);
        for byte in 0..SPKI_HEAD.len() {
            let mut other = spki.clone();
            other[byte] ^= 1;
            assert_eq!(public_from_spki(&other), None);
        }
        // The identity point: a valid encoding of a key that verifies nothing.
        let weak = [&SPKI_HEAD[..], &[1], &[0; 31]].concat();
        assert_eq!(public_from_spki(&weak), None);
    }

    #[test]
    fn derived_keys_differ_by_label() {
        let identity = Identity::generate(&mut TestRng::new(1));
        assert_ne!(identity.derive("quic reset"), identity.derive("quic token"));
    }

    #[test]
    fn debug_shows_no_private_key() {
        let identity = Identity::generate(&mut TestRng::new(1));
        let bytes = identity.to_bytes();
        let shown = format!("{identity:?}");
        assert!(!shown.contains(&data_encoding::HEXLOWER.encode(&bytes[..32])));
        assert!(!shown.contains(&data_encoding::HEXLOWER.encode(&bytes[32..])));
    }

    proptest! {
        #[test]
        fn any_bytes_as_spki_or_signature(
            spki in prop::collection::vec(any::<u8>(), 0..64),
            key in any::<[u8; 32]>(),
            signature in prop::array::uniform32(any::<u16>()),
        ) {
            let _ = public_from_spki(&spki);
            let _ = public_from_spki(&[&SPKI_HEAD[..], &key].concat());
            let mut bytes = [0; 64];
            for (pair, word) in bytes.chunks_exact_mut(2).zip(signature) {
                pair.copy_from_slice(&word.to_be_bytes());
            }
            prop_assert!(!verify(&key, b"message", &bytes));
        }
    }
}
