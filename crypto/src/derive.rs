//! Key derivation: HKDF with SHA-256 (RFC 5869), the one way in which a key becomes several.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key from which others are derived. `salt` names the purpose or binds the context, so that the same input
/// under another salt gives unrelated keys.
pub(crate) struct Kdf(Hkdf<Sha256>);

impl Kdf {
    /// HKDF-Extract (RFC 5869 §2.2).
    pub(crate) fn new(salt: &[u8], input: &[u8]) -> Self {
        Self(Hkdf::new(Some(salt), input))
    }

    /// HKDF-Expand (RFC 5869 §2.3) to 32 bytes; the info is the concatenation of `parts`. Of two infos from
    /// the same key, neither may be a prefix-ambiguous spelling of the other: put fixed-length parts last.
    pub(crate) fn key(&self, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        #[expect(
            clippy::expect_used,
            reason = "fails only for an output longer than 255 hashes"
        )]
        self.0
            .expand_multi_info(parts, &mut *key)
            .expect("one hash of output");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869 appendix A.1 (its first 32 bytes).
    #[test]
    fn matches_the_rfc() {
        let salt: [u8; 13] = std::array::from_fn(|i| i as u8);
        let info: [u8; 10] = std::array::from_fn(|i| 0xf0 + i as u8);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        let kdf = Kdf::new(&salt, &[0x0b; 22]);
        assert_eq!(data_encoding::HEXLOWER.encode(&*kdf.key(&[&info])), expected);
        assert_eq!(kdf.key(&[&info[..3], &info[3..]]), kdf.key(&[&info]));
    }
}
