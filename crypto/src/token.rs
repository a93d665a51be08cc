//! The text form shared by secrets and invites: a prefix, then base32 (RFC 4648, lower case, no padding) of
//! the bytes and a checksum of four bytes, which tells a mistyped token from a wrong one.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const CHECKSUM_LEN: usize = 4;

/// The text is no token: not base32 in the one form that is written, or with a checksum that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// `prefix`, then `body` and its checksum in base32.
pub(crate) fn write(prefix: &str, body: &[u8]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() + CHECKSUM_LEN));
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&checksum(prefix, body));
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + text_len(body.len())));
    text.push_str(prefix);
    BASE32_NOPAD.encode_append(&bytes, &mut text);
    text.make_ascii_lowercase();
    text
}

/// The body of `text`, what follows `prefix` in a token. The caller has bounded its length.
pub(crate) fn read(prefix: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, Broken> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Broken);
    }
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    let mut bytes = Zeroizing::new(BASE32_NOPAD.decode(upper.as_bytes()).map_err(|_| Broken)?);
    let body_len = bytes.len().checked_sub(CHECKSUM_LEN).ok_or(Broken)?;
    if bytes[body_len..] != checksum(prefix, &bytes[..body_len]) {
        return Err(Broken);
    }
    bytes.truncate(body_len);
    Ok(bytes)
}

/// How many characters follow the prefix for a body of so many bytes.
pub(crate) const fn text_len(body: usize) -> usize {
    ((body + CHECKSUM_LEN) * 8).div_ceil(5)
}

fn checksum(prefix: &str, body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::new()
        .chain_update(b"weft token ")
        .chain_update(prefix)
        .chain_update(body)
        .finalize();
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&digest[..CHECKSUM_LEN]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = write("p-", &body);
            prop_assert_eq!(text.len(), 2 + text_len(body.len()));
            prop_assert_eq!(&*read("p-", &text[2..]).unwrap(), &body);
            prop_assert_eq!(read("q-", &text[2..]), Err(Broken));
        }

        #[test]
        fn any_text(text in ".{0,80}") {
            prop_assert!(read("p-", &text).is_err());
        }
    }
}
