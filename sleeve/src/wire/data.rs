//! The header of sealed and plain datagrams. It is the associated data of the AEAD.
//!
//! ```text
//!  0      1       2      3          4                 8                          16
//! +------+-------+------+----------+-----------------+--------------------------+
//! | kind | flags | lane | reserved | receiver index  | counter                  |
//! +------+-------+------+----------+-----------------+--------------------------+
//! ```

use super::{Kind, PLAIN, SEALED, TAG, field};

/// Length of the header.
pub const LENGTH: usize = 16;
/// The shortest datagram: header, one byte that says what is inside, tag.
pub const SHORTEST: usize = LENGTH + 1 + TAG;

/// Flag: sealed for a relayed path. What was taken out of a relayed datagram can't pass for a direct one.
const RELAYED: u8 = 1;

/// Header of a sealed or plain datagram. Other flags and the reserved byte are zero in this version; a receiver
/// ignores them, for they are authenticated all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// Authenticated only.
    pub plain: bool,
    /// Made to travel inside a relayed datagram.
    pub relayed: bool,
    /// Whose keys of the sender's lanes: below [`LANES`](super::LANES).
    pub lane: u8,
    /// The receiver's name for the session.
    pub index: u32,
    /// The nonce; never used twice under one key.
    pub counter: u64,
}

impl DataHeader {
    /// Reads the header of a sealed or plain datagram. `None` for other kinds and for truncated ones.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let plain = match Kind::of(datagram)? {
            Kind::Sealed => false,
            Kind::Plain => true,
            Kind::Relay | Kind::Group => return None,
        };
        if datagram.len() < SHORTEST {
            return None;
        }
        Some(Self {
            plain,
            relayed: datagram[1] & RELAYED != 0,
            lane: datagram[2],
            index: u32::from_be_bytes(field(datagram, 4)?),
            counter: u64::from_be_bytes(field(datagram, 8)?),
        })
    }

    /// The header as it goes on the wire.
    #[must_use]
    pub fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = if self.plain { PLAIN } else { SEALED };
        bytes[1] = if self.relayed { RELAYED } else { 0 };
        bytes[2] = self.lane;
        bytes[4..8].copy_from_slice(&self.index.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_round_trip(plain: bool, relayed: bool, lane: u8, index: u32, counter: u64) {
            let header = DataHeader { plain, relayed, lane, index, counter };
            let mut datagram = header.bytes().to_vec();
            prop_assert_eq!(datagram[0] & 0x40, 0);
            prop_assert_eq!(DataHeader::parse(&datagram), None);
            datagram.resize(SHORTEST, 0);
            prop_assert_eq!(DataHeader::parse(&datagram), Some(header));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let parsed = DataHeader::parse(&bytes);
            prop_assert!(parsed.is_none() || bytes.len() >= SHORTEST);
        }
    }
}
