//! The header of relayed datagrams: the path as link labels, and the hop's own authentication.
//!
//! ```text
//!  0      1       2        3        4           8             16       24            32      33
//! +------+-------+--------+--------+-----------+-------------+--------+-------------+-------+-----------+
//! | kind | limit | labels | cursor | hop index | hop counter | source | destination | marks | label ... |
//! +------+-------+--------+--------+-----------+-------------+--------+-------------+-------+-----------+
//! | tag (16)                                                                                            |
//! +-----------------------------------------------------------------------------------------------------+
//! | a whole sealed datagram                                                                             |
//! ```
//!
//! *limit* is how many more relays may pass it on; *cursor* the place of the label the receiver is to use. When
//! the cursor has passed the last label, the receiver is the destination. *marks* counts failed-link marks; this
//! version writes none and refuses headers that have any. The tag is made with the relay key of the session
//! between the two ends of this hop, over the header and the first 16 bytes (the header) of what it carries.

use super::{RELAY, SEALED, TAG, data, field};
use mesh::{LinkLabel, ShortId};

/// Most labels one header holds.
pub const MAX_LABELS: usize = 13;
/// Length of the part before the labels.
const FIXED: usize = 33;
/// Longest stretch of bytes a tag is made over.
const MAX_TAGGED: usize = FIXED + 2 * MAX_LABELS + data::LENGTH;

/// Length of header and tag with `labels` labels.
#[must_use]
pub const fn length(labels: usize) -> usize {
    FIXED + 2 * labels + TAG
}

/// A relay header as it is made, or as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayHeader {
    /// How many more relays may pass it on.
    pub limit: u8,
    /// How many labels there are, at most [`MAX_LABELS`].
    pub count: u8,
    /// The place of the next label to use; `count` at the destination.
    pub cursor: u8,
    /// The receiving hop's name for its session with the sending one.
    pub index: u32,
    /// Nonce of the tag, counted per hop.
    pub counter: u64,
    /// The router that sealed what is inside.
    pub source: ShortId,
    /// The router that can open it.
    pub destination: ShortId,
    pub(crate) labels: [u16; MAX_LABELS],
}

/// Why a datagram that claims to be relayed can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// Shorter than its label count asks for.
    Truncated,
    /// Counts that contradict each other, or something inside that is not a sealed datagram.
    Malformed,
}

impl RelayHeader {
    /// The header a source writes; `None` if there are more than [`MAX_LABELS`] labels.
    #[must_use]
    pub fn new(labels: &[LinkLabel], source: ShortId, destination: ShortId) -> Option<Self> {
        let count = u8::try_from(labels.len())
            .ok()
            .filter(|_| labels.len() <= MAX_LABELS)?;
        let mut array = [0; MAX_LABELS];
        for (place, label) in array.iter_mut().zip(labels) {
            *place = label.0;
        }
        Some(Self {
            limit: count,
            count,
            cursor: 0,
            index: 0,
            counter: 0,
            source,
            destination,
            labels: array,
        })
    }

    /// Reads the header of a relayed datagram.
    ///
    /// # Errors
    /// [`Invalid`] says whether it is cut short or makes no sense.
    pub fn parse(datagram: &[u8]) -> Result<Self, Invalid> {
        let count = *datagram.get(2).ok_or(Invalid::Truncated)?;
        if datagram[0] != RELAY || usize::from(count) > MAX_LABELS {
            return Err(Invalid::Malformed);
        }
        if datagram.len() < length(count.into()) + data::SHORTEST {
            return Err(Invalid::Truncated);
        }
        let marks = datagram[32];
        let inner = datagram[length(count.into())];
        if datagram[3] > count || marks != 0 || inner != SEALED {
            return Err(Invalid::Malformed);
        }
        let mut labels = [0; MAX_LABELS];
        for (place, label) in labels
            .iter_mut()
            .zip(datagram[FIXED..FIXED + 2 * usize::from(count)].chunks_exact(2))
        {
            *place = u16::from_be_bytes([label[0], label[1]]);
        }
        Ok(Self {
            limit: datagram[1],
            count,
            cursor: datagram[3],
            index: u32::from_be_bytes(field(datagram, 4).ok_or(Invalid::Truncated)?),
            counter: u64::from_be_bytes(field(datagram, 8).ok_or(Invalid::Truncated)?),
            source: ShortId(field(datagram, 16).ok_or(Invalid::Truncated)?),
            destination: ShortId(field(datagram, 24).ok_or(Invalid::Truncated)?),
            labels,
        })
    }

    /// Length of header and tag.
    #[must_use]
    pub fn length(&self) -> usize {
        length(self.count.into())
    }

    /// The label the receiver is to use; `None` when the receiver is the destination.
    #[must_use]
    pub fn next(&self) -> Option<LinkLabel> {
        self.labels[..usize::from(self.count)]
            .get(usize::from(self.cursor))
            .map(|&label| LinkLabel(label))
    }

    /// Writes the header to the front of `datagram` and its tag, made by `tag` over the bytes it is given,
    /// behind it. False, and the datagram must not be sent, if `tag` gives none or the datagram is shorter than
    /// [`Self::length`] and a data header.
    pub fn write(&self, datagram: &mut [u8], tag: impl FnOnce(&[u8]) -> Option<[u8; TAG]>) -> bool {
        let count = usize::from(self.count);
        let end = FIXED + 2 * count;
        if datagram.len() < end + TAG + data::LENGTH {
            return false;
        }
        datagram[..4].copy_from_slice(&[RELAY, self.limit, self.count, self.cursor]);
        datagram[4..8].copy_from_slice(&self.index.to_be_bytes());
        datagram[8..16].copy_from_slice(&self.counter.to_be_bytes());
        datagram[16..24].copy_from_slice(&self.source.0);
        datagram[24..32].copy_from_slice(&self.destination.0);
        datagram[32] = 0;
        for (place, label) in datagram[FIXED..end].chunks_exact_mut(2).zip(self.labels) {
            place.copy_from_slice(&label.to_be_bytes());
        }
        let Some(tag) = with_tagged(datagram, count, tag) else {
            return false;
        };
        datagram[end..end + TAG].copy_from_slice(&tag);
        true
    }

    /// Hands the bytes that the tag covers, and the tag, to `check`. The datagram is one that was parsed.
    pub fn check(&self, datagram: &[u8], check: impl FnOnce(&[u8], &[u8; TAG]) -> bool) -> bool {
        let count = usize::from(self.count);
        let Some(tag) = field(datagram, FIXED + 2 * count) else {
            return false;
        };
        with_tagged(datagram, count, |bytes| check(bytes, &tag))
    }
}

/// Gives `f` the header and the first 16 bytes of what it carries, in one piece.
fn with_tagged<R>(datagram: &[u8], count: usize, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut bytes = [0; MAX_TAGGED];
    let end = FIXED + 2 * count;
    bytes[..end].copy_from_slice(&datagram[..end]);
    bytes[end..end + data::LENGTH].copy_from_slice(&datagram[end + TAG..end + TAG + data::LENGTH]);
    f(&bytes[..end + data::LENGTH])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn datagram(labels: &[u16]) -> (RelayHeader, Vec<u8>) {
        let labels: Vec<_> = labels.iter().map(|&label| LinkLabel(label)).collect();
        let header = RelayHeader::new(&labels, ShortId([1; 8]), ShortId([2; 8])).unwrap();
        let mut datagram = vec![0; header.length()];
        datagram.extend([SEALED; data::SHORTEST]);
        assert!(header.write(&mut datagram, |bytes| Some([bytes.len() as u8; TAG])));
        (header, datagram)
    }

    #[test]
    fn more_labels_than_fit_are_refused() {
        assert!(RelayHeader::new(&[LinkLabel(1); 14], ShortId([1; 8]), ShortId([2; 8])).is_none());
    }

    proptest! {
        #[test]
        fn headers_round_trip(labels in proptest::collection::vec(any::<u16>(), 0..=MAX_LABELS)) {
            let (header, datagram) = datagram(&labels);
            prop_assert_eq!(RelayHeader::parse(&datagram), Ok(header));
            prop_assert_eq!(header.next(), labels.first().map(|&label| LinkLabel(label)));
            let tag = [datagram.len() as u8 - (data::SHORTEST - data::LENGTH + TAG) as u8; TAG];
            prop_assert!(header.check(&datagram, |bytes, found| bytes[0] == RELAY && *found == tag));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..160), small: bool) {
            if let (true, [first, _, count, ..]) = (small, &mut bytes[..]) {
                *first = RELAY;
                *count %= 16;
            }
            if let Ok(header) = RelayHeader::parse(&bytes) {
                prop_assert!(header.cursor <= header.count);
                header.check(&bytes, |_, _| true);
            }
        }

        #[test]
        fn truncated_headers_are_refused(labels in proptest::collection::vec(any::<u16>(), 0..=MAX_LABELS), cut in 1usize..200) {
            let (_, mut datagram) = datagram(&labels);
            datagram.truncate(datagram.len().saturating_sub(cut));
            prop_assert_eq!(RelayHeader::parse(&datagram), Err(Invalid::Truncated));
        }
    }
}
