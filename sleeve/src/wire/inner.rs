//! What is inside a sealed or plain datagram: the first byte says what.
//!
//! ```text
//! frame:    | kind and flags (1) | VNI (3) | checksum start, offset (2 + 2, if flagged) | Ethernet frame |
//! half:     | kind (1) | which (1) | id (4) | one half of a plaintext as above |
//! message:  | kind (1) | postcard |        see [`crate::message`]
//! ```

use super::field;
use crate::offload::sum::{fold, sum};
use mesh::Vni;

/// A whole Ethernet frame.
pub const FRAME_KIND: u8 = 1;
/// One of two halves of a frame's plaintext.
pub const HALF_KIND: u8 = 2;
/// Flag of a frame: its transport checksum is left to the receiver.
pub const PARTIAL_CHECKSUM: u8 = 0x80;
/// The bits of the first byte that say what kind it is.
const KIND_BITS: u8 = 0x0f;
/// What is before an unflagged frame.
pub const FRAME: usize = 4;
/// What is before a flagged frame.
pub const FLAGGED: usize = FRAME + 4;
/// What is before a half.
pub const HALF: usize = 6;
/// Length of an Ethernet header without VLAN tags.
pub const ETHERNET: usize = 14;

/// A plaintext, told apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Inner<'a> {
    /// A whole frame.
    Frame {
        /// Its network.
        vni: Vni,
        /// Where the checksum is to be made, if it is still to be made.
        partial: Option<Partial>,
        /// The frame, at least an Ethernet header long.
        frame: &'a mut [u8],
    },
    /// A half.
    Half(Half<'a>),
    /// A message for the control half, its kind byte first.
    Message(&'a [u8]),
}

/// Where a partial checksum is to be completed (the meaning of virtio's `csum_start` and `csum_offset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The sum covers the frame from here to its end.
    pub start: u16,
    /// Where the sum goes, counted from `start`.
    pub offset: u16,
}

/// One of two halves of a frame's plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Half<'a> {
    /// The sender's number for the frame.
    pub id: u32,
    /// True: the second half.
    pub second: bool,
    /// Its bytes.
    pub part: &'a [u8],
}

/// Tells what is in `plaintext`; `None` if that makes no sense.
#[must_use]
pub fn parse(plaintext: &mut [u8]) -> Option<Inner<'_>> {
    let first = *plaintext.first()?;
    match first & KIND_BITS {
        FRAME_KIND => parse_frame(first, plaintext),
        HALF_KIND => {
            let second = match *plaintext.get(1)? {
                0 => false,
                1 => true,
                _ => return None,
            };
            let id = u32::from_be_bytes(field(plaintext, 2)?);
            let part = plaintext.get(HALF..).filter(|part| !part.is_empty())?;
            Some(Inner::Half(Half { id, second, part }))
        }
        _ => Some(Inner::Message(plaintext)),
    }
}

fn parse_frame(first: u8, plaintext: &mut [u8]) -> Option<Inner<'_>> {
    let [a, b, c] = field(plaintext, 1)?;
    let vni = Vni(u32::from_be_bytes([0, a, b, c]));
    let (partial, skip) = if first & PARTIAL_CHECKSUM == 0 {
        (None, FRAME)
    } else {
        let start = u16::from_be_bytes(field(plaintext, FRAME)?);
        let offset = u16::from_be_bytes(field(plaintext, FRAME + 2)?);
        (Some(Partial { start, offset }), FLAGGED)
    };
    let frame = plaintext
        .get_mut(skip..)
        .filter(|frame| frame.len() >= ETHERNET)?;
    Some(Inner::Frame { vni, partial, frame })
}

/// What stands before a whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; FLAGGED],
    length: usize,
}

impl Prefix {
    /// For a frame of network `vni` whose checksum is still to be made if there is a `partial`.
    #[must_use]
    pub fn new(vni: Vni, partial: Option<Partial>) -> Self {
        let [_, a, b, c] = vni.0.to_be_bytes();
        let mut bytes = [FRAME_KIND, a, b, c, 0, 0, 0, 0];
        let Some(Partial { start, offset }) = partial else {
            return Self { bytes, length: FRAME };
        };
        bytes[0] |= PARTIAL_CHECKSUM;
        bytes[4..6].copy_from_slice(&start.to_be_bytes());
        bytes[6..].copy_from_slice(&offset.to_be_bytes());
        Self {
            bytes,
            length: FLAGGED,
        }
    }
}

impl std::ops::Deref for Prefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What stands before a half.
#[must_use]
pub fn half_prefix(id: u32, second: bool) -> [u8; HALF] {
    let [a, b, c, d] = id.to_be_bytes();
    [HALF_KIND, second.into(), a, b, c, d]
}

impl Partial {
    /// Completes the checksum in `frame` (RFC 1071; the field holds the sum of the pseudo header). False, and
    /// nothing is changed, if it would lie outside.
    pub fn complete(self, frame: &mut [u8]) -> bool {
        let start = usize::from(self.start);
        let place = start + usize::from(self.offset);
        if start < ETHERNET || place + 2 > frame.len() {
            return false;
        }
        // A sum of zero would mean "no checksum" to UDP; all ones is the same number to everybody.
        let folded = match !fold(sum(0, &frame[start..])) {
            0 => 0xffff,
            sum => sum,
        };
        frame[place..place + 2].copy_from_slice(&folded.to_be_bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_and_halves_round_trip() {
        let mut bytes = Prefix::new(Vni(0x01_02_03), None).to_vec();
        bytes.extend([9; ETHERNET]);
        let Some(Inner::Frame {
            vni,
            partial: None,
            frame,
        }) = parse(&mut bytes)
        else {
            panic!("not a frame")
        };
        assert_eq!((vni, &frame[..]), (Vni(0x01_02_03), &[9; ETHERNET][..]));
        let mut bytes = half_prefix(77, true).to_vec();
        assert_eq!(parse(&mut bytes), None);
        bytes.push(5);
        assert_eq!(
            parse(&mut bytes),
            Some(Inner::Half(Half {
                id: 77,
                second: true,
                part: &[5]
            }))
        );
    }

    #[test]
    fn partial_checksums_are_completed() {
        let mut frame = vec![0; ETHERNET + 7];
        frame[ETHERNET..].copy_from_slice(&[0x12, 0x34, 0, 0, 0xff, 0xff, 0x01]);
        let partial = Partial {
            start: ETHERNET as u16,
            offset: 2,
        };
        assert!(partial.complete(&mut frame));
        let sum: u32 = [
            0x1234u32,
            u32::from(u16::from_be_bytes([frame[16], frame[17]])),
            0xffff,
            0x0100,
        ]
        .iter()
        .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert!(!Partial { start: 14, offset: 6 }.complete(&mut frame));
        assert!(
            !Partial {
                start: 0xffff,
                offset: 0xffff
            }
            .complete(&mut frame)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(Inner::Frame { partial: Some(partial), frame, .. }) = parse(&mut bytes) {
                partial.complete(frame);
            }
        }
    }
}
