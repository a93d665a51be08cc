//! The header that stands in front of each frame on a TAP with `IFF_VNET_HDR` (`struct virtio_net_hdr`, as in
//! `linux/virtio_net.h`), in the byte order of this machine.
//!
//! ```text
//!  0       1      2               4           6                8                10
//! +-------+------+---------------+-----------+----------------+-----------------+
//! | flags | kind | header length | gso size  | checksum start | checksum offset |
//! +-------+------+---------------+-----------+----------------+-----------------+
//! ```

use super::{Gso, Offload, Partial, Protocol};

/// Length of the header.
pub const LENGTH: usize = 10;

/// Flag: the checksum is to be made.
const NEEDS_CHECKSUM: u8 = 1;
/// Kinds of super-frames.
const NONE: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
/// Flag of a kind: the first segment carries a congestion mark of TCP.
const ECN: u8 = 0x80;

/// Why a header makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not whole.
    #[error("a frame without its whole header")]
    Truncated,
    /// A kind of super-frame that was not asked for.
    #[error("a super-frame of kind {0}, which was not asked for")]
    Kind(u8),
    /// A super-frame to be cut into nothing, or one whose checksum is said to be there already.
    #[error("a super-frame without a size, or with a checksum")]
    Size,
}

impl Offload {
    /// Reads the header off what a TAP gave; returns the frame behind it as well.
    ///
    /// # Errors
    /// [`Invalid`] for what no kernel should give.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Invalid> {
        let (header, frame) = bytes.split_first_chunk::<LENGTH>().ok_or(Invalid::Truncated)?;
        let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let checksum = (header[0] & NEEDS_CHECKSUM != 0).then(|| Partial {
            start: number(6),
            offset: number(8),
        });
        let protocol = match header[1] & !ECN {
            NONE => None,
            TCP4 | TCP6 => Some(Protocol::Tcp),
            UDP => Some(Protocol::Udp),
            other => return Err(Invalid::Kind(other)),
        };
        let size = number(4);
        if protocol.is_some() && (size == 0 || checksum.is_none()) {
            return Err(Invalid::Size);
        }
        let segments = protocol.map(|protocol| Gso { protocol, size });
        Ok((Self { checksum, segments }, frame))
    }

    /// The header for a frame whose headers end after `headers` bytes; `six`: it is IPv6.
    #[must_use]
    pub fn header(&self, headers: u16, six: bool) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut put = |at: usize, number: u16| bytes[at..at + 2].copy_from_slice(&number.to_ne_bytes());
        if let Some(partial) = self.checksum {
            put(6, partial.start);
            put(8, partial.offset);
        }
        if let Some(gso) = self.segments {
            put(2, headers);
            put(4, gso.size);
        }
        bytes[0] = if self.checksum.is_some() {
            NEEDS_CHECKSUM
        } else {
            0
        };
        bytes[1] = match self.segments.map(|gso| gso.protocol) {
            None => NONE,
            Some(Protocol::Tcp) if six => TCP6,
            Some(Protocol::Tcp) => TCP4,
            Some(Protocol::Udp) => UDP,
        };
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_round_trip(start: u16, offset: u16, size in 1u16.., tcp: bool, six: bool, headers: u16, what in 0..3) {
            let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
            let offload = Offload {
                checksum: (what > 0).then_some(Partial { start, offset }),
                segments: (what > 1).then_some(Gso { protocol, size }),
            };
            let mut bytes = offload.header(headers, six).to_vec();
            bytes.extend_from_slice(b"frame");
            prop_assert_eq!(Offload::read(&bytes), Ok((offload, &b"frame"[..])));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let read = Offload::read(&bytes);
            prop_assert!(read.is_err() || bytes.len() >= LENGTH);
        }
    }

    #[test]
    fn what_no_kernel_gives_is_refused() {
        assert_eq!(Offload::read(&[0; 9]), Err(Invalid::Truncated));
        assert_eq!(
            Offload::read(&[1, 3, 0, 0, 9, 9, 0, 0, 0, 0]),
            Err(Invalid::Kind(3))
        );
        assert_eq!(Offload::read(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Invalid::Size));
        assert_eq!(Offload::read(&[0, 5, 0, 0, 9, 9, 0, 0, 0, 0]), Err(Invalid::Size));
    }
}
