//! What the two messages of a session handshake carry, encrypted.
//!
//! The offer in message 1: initiator's epoch (8 bytes), counter (8), receiver index (4), number of ciphers
//! (1), their ids (1 each). The answer in message 2: receiver index (4), cipher (1). Big endian. What follows
//! in either is ignored, for later versions to use.

use super::MAX_CIPHERS;
use crate::aead::Cipher;

/// The payload of message 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) epoch: u64,
    pub(super) counter: u64,
    pub(super) index: u32,
    /// On reading, ciphers that this version does not know are left out.
    pub(super) ciphers: Vec<Cipher>,
}

/// The payload of message 2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) index: u32,
    /// `None`: one that this version does not know.
    pub(super) cipher: Option<Cipher>,
}

impl Offered {
    /// The caller has bounded the ciphers.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 8 + 4 + 1 + self.ciphers.len());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.counter.to_be_bytes());
        bytes.extend_from_slice(&self.index.to_be_bytes());
        bytes.push(self.ciphers.len() as u8);
        bytes.extend(self.ciphers.iter().map(|cipher| cipher.id()));
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&epoch, rest) = bytes.split_first_chunk()?;
        let (&counter, rest) = rest.split_first_chunk()?;
        let (&index, rest) = rest.split_first_chunk()?;
        let (&count, rest) = rest.split_first()?;
        let ids = rest
            .get(..usize::from(count))
            .filter(|ids| ids.len() <= MAX_CIPHERS)?;
        Some(Self {
            epoch: u64::from_be_bytes(epoch),
            counter: u64::from_be_bytes(counter),
            index: u32::from_be_bytes(index),
            ciphers: ids.iter().filter_map(|&id| Cipher::from_id(id)).collect(),
        })
    }
}

impl Answer {
    pub(super) fn write(index: u32, cipher: Cipher) -> [u8; 5] {
        let [a, b, c, d] = index.to_be_bytes();
        [a, b, c, d, cipher.id()]
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&index, rest) = bytes.split_first_chunk()?;
        let cipher = Cipher::from_id(*rest.first()?);
        Some(Self {
            index: u32::from_be_bytes(index),
            cipher,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(epoch: u64, counter: u64, index: u32, count in 0..MAX_CIPHERS, more: [u8; 3]) {
            let ciphers = Cipher::ALL.into_iter().cycle().take(count).collect();
            let offered = Offered { epoch, counter, index, ciphers };
            let bytes = [&offered.write()[..], &more].concat();
            prop_assert_eq!(Offered::read(&bytes), Some(offered));
            let bytes = [&Answer::write(index, Cipher::Aes256Gcm)[..], &more].concat();
            prop_assert_eq!(Answer::read(&bytes), Some(Answer { index, cipher: Some(Cipher::Aes256Gcm) }));
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Offered::read(&bytes).is_none_or(|offered| offered.ciphers.len() <= MAX_CIPHERS));
            prop_assert_eq!(Answer::read(&bytes).is_some(), bytes.len() >= 5);
        }
    }
}
