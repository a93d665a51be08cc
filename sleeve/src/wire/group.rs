//! The header of group datagrams: a broadcast frame on its way along its source's tree.
//!
//! ```text
//!  0      1       2      3          4           8             16
//! +------+-------+------+----------+-----------+-------------+-----------+
//! | kind | limit | lane | reserved | hop index | hop counter | hop tag   |     this hop's, written anew by each relay
//! +------+-------+------+----------+-----------+-------------+-----------+
//!  32        40         41      44       48        56
//! +--------+----------+-------+--------+---------+------------+-----+
//! | source | reserved |  VNI  | key id | counter | ciphertext | tag |     the source's, never changed
//! +--------+----------+-------+--------+---------+------------+-----+
//! ```
//!
//! *limit* is how many more routers may pass it on, *lane* says whose keys of the sending hop made the tag. The hop tag is made as that of a relayed datagram
//! ([`super::relay`]): with the relay key and the relay counter of the session between the two ends of this hop,
//! over the first 16 bytes and the source's 24. The first byte keeps the two kinds of tags apart. The source's
//! 24 bytes are the associated data of the ciphertext, which holds a frame as in [`super::inner`].
//!
//! Relays find the branches by source and network, so the network's number stands in clear here: whoever sees the
//! wire learns that some source sends to a group in that network, and how much. It stands under the seal as well, as
//! in every frame, and both must agree.

use super::{GROUP, TAG, field};
use mesh::{ShortId, Vni};

/// Length of the part that each hop writes, its tag included.
pub const HOP: usize = 16 + TAG;
/// Length of the source's part before the ciphertext.
pub const SOURCE: usize = 24;
/// Length of the header.
pub const LENGTH: usize = HOP + SOURCE;
/// The shortest datagram: header, one byte that says what is inside, tag.
pub const SHORTEST: usize = LENGTH + 1 + TAG;
/// Bytes of the hop's part before its tag.
const FIXED: usize = 16;

/// Header of a group datagram. The reserved bytes are zero in this version; a receiver ignores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// How many more routers may pass it on.
    pub limit: u8,
    /// The lane of the sending hop.
    pub lane: u8,
    /// The receiving hop's name for its session with the sending one.
    pub index: u32,
    /// Nonce of the hop's tag.
    pub hop_counter: u64,
    /// The router that sealed it.
    pub source: ShortId,
    /// The network to whose members it goes.
    pub vni: Vni,
    /// The source's name for the group key.
    pub key: u32,
    /// The nonce under the group key.
    pub counter: u64,
}

impl GroupHeader {
    /// Reads the header of a group datagram; `None` for other kinds and for truncated ones.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        if *datagram.first()? != GROUP || datagram.len() < SHORTEST {
            return None;
        }
        let [_, a, b, c] = field(datagram, HOP + 8)?;
        Some(Self {
            limit: datagram[1],
            lane: datagram[2],
            index: u32::from_be_bytes(field(datagram, 4)?),
            hop_counter: u64::from_be_bytes(field(datagram, 8)?),
            source: ShortId(field(datagram, HOP)?),
            vni: Vni(u32::from_be_bytes([0, a, b, c])),
            key: u32::from_be_bytes(field(datagram, HOP + 12)?),
            counter: u64::from_be_bytes(field(datagram, HOP + 16)?),
        })
    }

    /// The source's part: the associated data of the ciphertext.
    #[must_use]
    pub fn source_part(&self) -> [u8; SOURCE] {
        let mut bytes = [0; SOURCE];
        bytes[..8].copy_from_slice(&self.source.0);
        bytes[8..12].copy_from_slice(&(self.vni.0 & Vni::MAX).to_be_bytes());
        bytes[12..16].copy_from_slice(&self.key.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// Writes the hop's part to the front of `datagram`, and its tag, made by `tag` over the bytes it is given.
    /// The source's part must be there already. False, and the datagram must not be sent, if `tag` gives none or
    /// the datagram is too short.
    pub fn write_hop(&self, datagram: &mut [u8], tag: impl FnOnce(&[u8]) -> Option<[u8; TAG]>) -> bool {
        if datagram.len() < LENGTH {
            return false;
        }
        datagram[..4].copy_from_slice(&[GROUP, self.limit, self.lane, 0]);
        datagram[4..8].copy_from_slice(&self.index.to_be_bytes());
        datagram[8..16].copy_from_slice(&self.hop_counter.to_be_bytes());
        let Some(tag) = tag(&tagged(datagram)) else {
            return false;
        };
        datagram[FIXED..HOP].copy_from_slice(&tag);
        true
    }

    /// Hands the bytes that the hop's tag covers, and the tag, to `check`. The datagram is one that was parsed.
    pub fn check(datagram: &[u8], check: impl FnOnce(&[u8], &[u8; TAG]) -> bool) -> bool {
        match field(datagram, FIXED) {
            Some(tag) if datagram.len() >= LENGTH => check(&tagged(datagram), &tag),
            _ => false,
        }
    }
}

/// The hop's part without its tag and the source's part, in one piece. The datagram has both.
fn tagged(datagram: &[u8]) -> [u8; FIXED + SOURCE] {
    let mut bytes = [0; FIXED + SOURCE];
    bytes[..FIXED].copy_from_slice(&datagram[..FIXED]);
    bytes[FIXED..].copy_from_slice(&datagram[HOP..LENGTH]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn header()(
            limit: u8, lane: u8, index: u32, hop_counter: u64, source: [u8; 8], vni in 0..=Vni::MAX, key: u32, counter: u64,
        ) -> GroupHeader {
            GroupHeader { limit, lane, index, hop_counter, source: ShortId(source), vni: Vni(vni), key, counter }
        }
    }

    fn datagram(header: &GroupHeader) -> Vec<u8> {
        let mut datagram = vec![0; SHORTEST];
        datagram[HOP..LENGTH].copy_from_slice(&header.source_part());
        assert!(header.write_hop(&mut datagram, |bytes| Some([bytes.len() as u8; TAG])));
        datagram
    }

    proptest! {
        #[test]
        fn headers_round_trip(header in header()) {
            let datagram = datagram(&header);
            prop_assert_eq!(datagram[0] & 0x40, 0);
            prop_assert_eq!(GroupHeader::parse(&datagram), Some(header));
            prop_assert!(GroupHeader::check(&datagram, |bytes, tag| bytes.len() == 40 && *tag == [40; TAG]));
            for end in 0..SHORTEST {
                prop_assert_eq!(GroupHeader::parse(&datagram[..end]), None);
            }
        }

        #[test]
        fn the_tag_covers_all_but_itself(header in header(), at in 0usize..LENGTH, bit in 0u8..8) {
            let mut datagram = datagram(&header);
            let before = tagged(&datagram);
            datagram[at] ^= 1 << bit;
            prop_assert_eq!(tagged(&datagram) == before, (FIXED..HOP).contains(&at));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), named: bool) {
            if let (true, Some(first)) = (named, bytes.first_mut()) {
                *first = GROUP;
            }
            let parsed = GroupHeader::parse(&bytes);
            prop_assert_eq!(parsed.is_some(), bytes.len() >= SHORTEST && bytes[0] == GROUP);
            prop_assert!(parsed.is_none_or(|header| header.vni.0 <= Vni::MAX));
            GroupHeader::check(&bytes, |_, _| true);
        }
    }
}
