//! The header of relayed datagrams: the path as link labels, and the hop's own authentication.
//!
//! ```text
//!  0      1       2        3        4           8             16       24            32      33
//! +------+-------+--------+--------+-----------+-------------+--------+-------------+-------+-----------+
//! | kind | limit | labels | lane,  | hop index | hop counter | source | destination | marks | label ... |
//! |      |       |        | cursor |           |             |        |             |       |           |
//! +------+-------+--------+--------+-----------+-------------+--------+-------------+-------+-----------+
//! | remaining cost (4), only in a path in parts | mark (4) ...                                          |
//! +-----------------------------------------------------------------------------------------------------+
//! | tag (16)                                                                                            |
//! +-----------------------------------------------------------------------------------------------------+
//! | a whole sealed datagram                                                                             |
//! ```
//!
//! *limit* is how many more relays may pass it on, a safety net; *lane* (the high four bits) says whose keys of the sending
//! hop made the tag; *cursor* (the low four) is the place of the label the receiver is to use. When the cursor has passed the last label, the receiver is the destination. The tag is made with the relay
//! key of the session between the two ends of this hop, over the header and the first 16 bytes (the header) of what
//! it carries.
//!
//! The low four bits of *marks* count failed-link [marks](super::marks). A relay whose next link has failed adds
//! that link's mark and writes a path of its own in place of the rest; no path written later leads over a marked
//! link. The bit 0x80 of *marks* says that the path goes on behind the last label: [`MAX_LABELS`] were not enough,
//! so the receiver there writes the next part, if the destination is nearer to it than *remaining cost* (in
//! microseconds, from the router that wrote this part). The other three bits are zero, or the header is refused.
//!
//! A path only ever gets a new part for less cost, or a new way for one more of at most eight marks: so whatever
//! the views of the routers on it, it ends.

use super::marks::{MAX_MARKS, Mark, Marks};
use super::{LANES, RELAY, SEALED, TAG, data, field};
use mesh::{LinkLabel, ShortId};

/// Most labels one header holds.
pub const MAX_LABELS: usize = 13;
/// What a source allows in relays: far more than any path takes.
const LIMIT: u8 = u8::MAX;
/// Length of the part before the labels.
const FIXED: usize = 33;
/// In the byte before the labels: the path goes on behind them.
const IN_PARTS: u8 = 0x80;
/// Length of the longest header, without its tag.
const LONGEST: usize = FIXED + 2 * MAX_LABELS + 4 + 4 * MAX_MARKS;
/// Longest stretch of bytes a tag is made over.
const MAX_TAGGED: usize = LONGEST + data::LENGTH;

/// Length of the longest header with its tag: what a source leaves room for, so that relays can write marks, and
/// another path.
pub const MAX_LENGTH: usize = LONGEST + TAG;

/// A relay header as it is made, or as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayHeader {
    /// How many more relays may pass it on.
    pub limit: u8,
    /// How many labels there are, at most [`MAX_LABELS`].
    pub count: u8,
    /// The place of the next label to use; `count` at the end of the path, or of this part of it.
    pub cursor: u8,
    /// The lane of the sending hop.
    pub lane: u8,
    /// The receiving hop's name for its session with the sending one.
    pub index: u32,
    /// Nonce of the tag, counted per hop.
    pub counter: u64,
    /// The router that sealed what is inside.
    pub source: ShortId,
    /// The router that can open it.
    pub destination: ShortId,
    /// The path goes on behind the last label, where the destination must be nearer than this, in microseconds.
    pub rest: Option<u32>,
    /// Links that failed.
    pub marks: Marks,
    pub(crate) labels: [u16; MAX_LABELS],
}

/// Why a datagram that claims to be relayed can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// Shorter than its counts ask for.
    Truncated,
    /// Counts that contradict each other, or something inside that is not a sealed datagram.
    Malformed,
}

impl RelayHeader {
    /// The header a source writes: over these labels, and on from there if there is a `rest`. `None` if there are
    /// more than [`MAX_LABELS`] labels.
    #[must_use]
    pub fn new(
        labels: &[LinkLabel],
        rest: Option<u32>,
        source: ShortId,
        destination: ShortId,
    ) -> Option<Self> {
        let blank = Self {
            limit: LIMIT,
            count: 0,
            cursor: 0,
            lane: 0,
            index: 0,
            counter: 0,
            source,
            destination,
            rest: None,
            marks: Marks::default(),
            labels: [0; MAX_LABELS],
        };
        blank.along(labels.iter().copied(), rest)
    }

    /// The same header with another path from here on. `None` if there are more than [`MAX_LABELS`] labels.
    #[must_use]
    pub fn along(&self, labels: impl IntoIterator<Item = LinkLabel>, rest: Option<u32>) -> Option<Self> {
        let mut array = [0; MAX_LABELS];
        let mut count = 0;
        for label in labels {
            *array.get_mut(usize::from(count))? = label.0;
            count += 1;
        }
        Some(Self {
            count,
            cursor: 0,
            rest,
            labels: array,
            ..*self
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
        let more = *datagram.get(FIXED - 1).ok_or(Invalid::Truncated)?;
        let (marked, in_parts) = (usize::from(more & !IN_PARTS), more & IN_PARTS != 0);
        if marked > MAX_MARKS {
            return Err(Invalid::Malformed);
        }
        let length = length(count, in_parts, marked);
        if datagram.len() < length + data::SHORTEST {
            return Err(Invalid::Truncated);
        }
        let (lane, cursor) = (datagram[3] >> 4, datagram[3] & 0x0f);
        if usize::from(lane) >= LANES || cursor > count || datagram[length] != SEALED {
            return Err(Invalid::Malformed);
        }
        let mut labels = [0; MAX_LABELS];
        let mut end = FIXED + 2 * usize::from(count);
        for (place, label) in labels.iter_mut().zip(datagram[FIXED..end].chunks_exact(2)) {
            *place = u16::from_be_bytes([label[0], label[1]]);
        }
        let mut rest = None;
        if in_parts {
            rest = Some(u32::from_be_bytes(
                field(datagram, end).ok_or(Invalid::Truncated)?,
            ));
            end += 4;
        }
        let mut marks = Marks::default();
        for at in (end..end + 4 * marked).step_by(4) {
            let mark = u32::from_be_bytes(field(datagram, at).ok_or(Invalid::Truncated)?);
            if !marks.add(Mark(mark)) {
                return Err(Invalid::Malformed);
            }
        }
        Ok(Self {
            limit: datagram[1],
            count,
            cursor,
            lane,
            index: u32::from_be_bytes(field(datagram, 4).ok_or(Invalid::Truncated)?),
            counter: u64::from_be_bytes(field(datagram, 8).ok_or(Invalid::Truncated)?),
            source: ShortId(field(datagram, 16).ok_or(Invalid::Truncated)?),
            destination: ShortId(field(datagram, 24).ok_or(Invalid::Truncated)?),
            rest,
            marks,
            labels,
        })
    }

    /// Length of header and tag.
    #[must_use]
    pub fn length(&self) -> usize {
        length(self.count, self.rest.is_some(), self.marks.count())
    }

    /// All labels, used or not.
    pub(crate) fn labels(&self) -> &[u16] {
        &self.labels[..usize::from(self.count)]
    }

    /// The label the receiver is to use; `None` at the end of the path, or of this part of it.
    #[must_use]
    pub fn next(&self) -> Option<LinkLabel> {
        self.labels()
            .get(usize::from(self.cursor))
            .map(|&label| LinkLabel(label))
    }

    /// Writes the header to the front of `datagram` and its tag, made by `tag` over the bytes it is given,
    /// behind it. False, and the datagram must not be sent, if `tag` gives none or the datagram is shorter than
    /// [`Self::length`] and a data header.
    pub fn write(&self, datagram: &mut [u8], tag: impl FnOnce(&[u8]) -> Option<[u8; TAG]>) -> bool {
        if datagram.len() < self.length() + data::LENGTH {
            return false;
        }
        let labels_end = FIXED + 2 * usize::from(self.count);
        datagram[0] = RELAY;
        datagram[2] = self.count;
        datagram[16..24].copy_from_slice(&self.source.0);
        datagram[24..32].copy_from_slice(&self.destination.0);
        for (place, label) in datagram[FIXED..labels_end].chunks_exact_mut(2).zip(self.labels) {
            place.copy_from_slice(&label.to_be_bytes());
        }
        let in_parts = if self.rest.is_some() { IN_PARTS } else { 0 };
        // At most eight.
        datagram[FIXED - 1] = in_parts | self.marks.count() as u8;
        let words = self.rest.iter().chain(self.marks.words());
        for (place, word) in datagram[labels_end..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        self.write_step(datagram, tag)
    }

    /// As [`Self::write`], onto a datagram that this header was read from: only what changes at each hop, which is
    /// limit, lane, cursor, index and counter.
    pub fn write_step(&self, datagram: &mut [u8], tag: impl FnOnce(&[u8]) -> Option<[u8; TAG]>) -> bool {
        let end = self.length() - TAG;
        if datagram.len() < end + TAG + data::LENGTH {
            return false;
        }
        datagram[1] = self.limit;
        datagram[3] = self.lane << 4 | self.cursor;
        datagram[4..8].copy_from_slice(&self.index.to_be_bytes());
        datagram[8..16].copy_from_slice(&self.counter.to_be_bytes());
        let Some(tag) = with_tagged(datagram, end, tag) else {
            return false;
        };
        datagram[end..end + TAG].copy_from_slice(&tag);
        true
    }

    /// Hands the bytes that the tag covers, and the tag, to `check`. The datagram is one that was parsed.
    pub fn check(&self, datagram: &[u8], check: impl FnOnce(&[u8], &[u8; TAG]) -> bool) -> bool {
        let end = self.length() - TAG;
        let Some(tag) = field(datagram, end) else {
            return false;
        };
        with_tagged(datagram, end, |bytes| check(bytes, &tag))
    }
}

/// Length of header and tag.
const fn length(count: u8, in_parts: bool, marks: usize) -> usize {
    FIXED + 2 * count as usize + if in_parts { 4 } else { 0 } + 4 * marks + TAG
}

/// Gives `f` the header, which ends at `end`, and the first 16 bytes of what it carries, in one piece.
fn with_tagged<R>(datagram: &[u8], end: usize, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut bytes = [0; MAX_TAGGED];
    bytes[..end].copy_from_slice(&datagram[..end]);
    bytes[end..end + data::LENGTH].copy_from_slice(&datagram[end + TAG..end + TAG + data::LENGTH]);
    f(&bytes[..end + data::LENGTH])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_header()(
            labels in proptest::collection::vec(any::<u16>(), 0..=MAX_LABELS),
            rest: Option<u32>,
            marks in proptest::collection::vec(any::<u32>(), 0..=MAX_MARKS),
            lane in 0..LANES as u8,
        ) -> RelayHeader {
            let labels: Vec<_> = labels.into_iter().map(LinkLabel).collect();
            let mut header = RelayHeader::new(&labels, rest, ShortId([1; 8]), ShortId([2; 8])).unwrap();
            assert!(marks.into_iter().all(|mark| header.marks.add(Mark(mark))));
            header.lane = lane;
            header
        }
    }

    fn datagram(header: &RelayHeader) -> Vec<u8> {
        let mut datagram = vec![0; header.length()];
        datagram.extend([SEALED; data::SHORTEST]);
        assert!(header.write(&mut datagram, |bytes| Some([bytes.len() as u8; TAG])));
        datagram
    }

    #[test]
    fn more_labels_than_fit_are_refused() {
        assert!(RelayHeader::new(&[LinkLabel(1); 14], None, ShortId([1; 8]), ShortId([2; 8])).is_none());
    }

    #[test]
    fn a_header_of_the_common_kind_is_as_short_as_ever() {
        let header = RelayHeader::new(&[LinkLabel(1); 3], None, ShortId([1; 8]), ShortId([2; 8])).unwrap();
        assert_eq!(header.length(), 33 + 6 + 16);
        assert_eq!(MAX_LENGTH, 33 + 26 + 4 + 32 + 16);
    }

    proptest! {
        #[test]
        fn headers_round_trip(header in any_header()) {
            let datagram = datagram(&header);
            prop_assert!(header.length() <= MAX_LENGTH);
            prop_assert_eq!(RelayHeader::parse(&datagram), Ok(header));
            prop_assert_eq!(header.next().is_some(), header.count > 0);
            let tag = [(header.length() - TAG + data::LENGTH) as u8; TAG];
            prop_assert!(header.check(&datagram, |bytes, found| bytes[0] == RELAY && *found == tag));
        }

        #[test]
        fn a_step_changes_what_it_should(header in any_header(), limit: u8, index: u32, counter: u64) {
            let mut datagram = datagram(&header);
            let stepped = RelayHeader { limit, cursor: header.count, index, counter, ..header };
            prop_assert!(stepped.write_step(&mut datagram, |_| Some([7; TAG])));
            prop_assert_eq!(RelayHeader::parse(&datagram), Ok(stepped));
            let mut whole = datagram.clone();
            prop_assert!(stepped.write(&mut whole, |_| Some([7; TAG])));
            prop_assert_eq!(whole, datagram);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), small: bool) {
            if let (true, [first, _, count, cursor, ..]) = (small, &mut bytes[..]) {
                *first = RELAY;
                *count %= 16;
                *cursor %= 0x80;
            }
            if let (true, Some(marks)) = (small, bytes.get_mut(32)) {
                *marks &= 0x8f;
            }
            if let Ok(header) = RelayHeader::parse(&bytes) {
                prop_assert!(header.cursor <= header.count && header.marks.count() <= MAX_MARKS);
                header.check(&bytes, |_, _| true);
            }
        }

        #[test]
        fn truncated_headers_are_refused(header in any_header(), cut in 1usize..200) {
            let mut datagram = datagram(&header);
            datagram.truncate(datagram.len().saturating_sub(cut));
            prop_assert_eq!(RelayHeader::parse(&datagram), Err(Invalid::Truncated));
        }
    }
}
