//! Keys for IPsec ESP (RFC 4303) between neighbours, whose kernels then carry frames without the router.
//!
//! ```text
//! session, one direction ──HKDF──► EspSecret ──HKDF, with SPI and nonce──► EspKey: AES-256 key, salt
//! ```
//! A session's two directions have different secrets ([`DirectionKeys::esp`](crate::DirectionKeys::esp)), so what one end
//! sends under is what the other receives under. The receiver of a direction chooses SPI and nonce, both at random, for
//! each security association: no two associations ever have the same key, whoever is restarted.

use crate::derive::Kdf;
use std::fmt;
use zeroize::ZeroizeOnDrop;

/// Bytes of the receiver's contribution to a key.
pub const NONCE: usize = 16;
/// Bytes of the key as the kernel wants it: 32 for AES-256, then 4 of salt (RFC 4106 §8.1).
pub const KEY: usize = 36;

/// One direction of one session, as far as ESP is concerned. Wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct EspSecret([u8; 32]);

/// The key of one security association. Wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct EspKey([u8; KEY]);

impl EspSecret {
    /// The secret of a direction, of which `key` is derived.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key of the association with this SPI.
    #[must_use]
    pub fn key(&self, spi: u32, nonce: &[u8; NONCE]) -> EspKey {
        let kdf = Kdf::new(b"weft esp 1", &self.0);
        let part = |purpose: &[u8; 4]| {
            kdf.key(&[b"rfc4106 aes-256-gcm-16 esn ", purpose, nonce, &spi.to_be_bytes()])
        };
        let mut key = [0; KEY];
        key[..32].copy_from_slice(&*part(b"key "));
        key[32..].copy_from_slice(&part(b"salt")[..4]);
        EspKey(key)
    }
}

impl EspKey {
    /// AES key and salt, as the kernel takes them.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl fmt::Debug for EspSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EspSecret")
    }
}

impl fmt::Debug for EspKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EspKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    /// Computed with another implementation (Python's hmac and hashlib, HKDF as RFC 5869 writes it).
    #[test]
    fn test_vectors() {
        let zeros = EspSecret::new([0; 32]).key(0x100, &[0; NONCE]);
        let counting = EspSecret::new(std::array::from_fn(|i| i as u8));
        let nonce = std::array::from_fn(|i| 0xa0 + i as u8);
        assert_eq!(HEXLOWER.encode(zeros.bytes()), ZEROS);
        assert_eq!(
            HEXLOWER.encode(counting.key(0x1234_5678, &nonce).bytes()),
            COUNTING
        );
    }

    const ZEROS: &str = "ef5b55633b6d5a35e94ae8bd508fa17ff4612248682ddeb5817e96d1d888c47507697808";
    const COUNTING: &str = "c5bb5ee6b3f6a72451620122695e72f972cb21324ca6b3021e0ec90df3f638675abbe08b";

    proptest! {
        #[test]
        fn every_input_matters(secret: [u8; 32], spi: u32, nonce: [u8; NONCE], bit in 0..8_u32, at in 0..NONCE) {
            let key = EspSecret::new(secret).key(spi, &nonce);
            let (mut other, mut salted) = (nonce, secret);
            other[at] ^= 1 << bit;
            salted[at] ^= 1 << bit;
            prop_assert_ne!(&key, &EspSecret::new(secret).key(spi, &other));
            prop_assert_ne!(&key, &EspSecret::new(secret).key(spi ^ 1 << bit, &nonce));
            prop_assert_ne!(&key, &EspSecret::new(salted).key(spi, &nonce));
            prop_assert_ne!(&key.bytes()[..32], &[0; 32]);
        }
    }
}
