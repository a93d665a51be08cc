//! Segmentation and checksum offload: what a kernel leaves to the device, done at the two ends of a path.
//!
//! With offloads on, a TAP gives a *super-frame*, a TCP or UDP packet of up to 64 KiB that the device is to cut, and
//! takes one just so; and it leaves transport checksums to the device, with the sum of the pseudo header in their
//! place ("partial"). Sleeve cuts a super-frame into the frames that the path has room for ([`Segments`]), each of
//! which travels as a datagram of its own, and says under the seal where the checksum is still to be made
//! ([`Partial`]). The receiver puts frames that follow each other together again ([`Inbox`](crate::inbox::Inbox)) and
//! leaves their checksum to its own kernel, which never makes it for a container on the same host.
//!
//! What a peer says of a frame is not believed: the receiver reads the headers itself ([`Transport`]) and makes its
//! own [`Offload`] from that.
//!
//! | file | what it does |
//! |---|---|
//! | `vnet` | the header of ten bytes in front of what a TAP gives and takes |
//! | `transport` | where the headers of a TCP or UDP packet are |
//! | `segment` | a super-frame, cut |
//! | `sum` | the internet checksum (RFC 1071), eight bytes at a time |

pub mod segment;
pub mod sum;
pub mod transport;
pub mod vnet;

pub use crate::wire::inner::Partial;
pub use segment::Segments;
pub use transport::Transport;

/// What is left to do with a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Where its checksum is to be made; `None`: it is whole, or it has none.
    pub checksum: Option<Partial>,
    /// How it is to be cut; `None`: it is one frame.
    pub segments: Option<Gso>,
}

/// How a super-frame is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Its transport protocol.
    pub protocol: Protocol,
    /// Bytes of payload in each frame but the last.
    pub size: u16,
}

/// Transport protocols that are cut and put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 9293. Its stream may be cut anywhere.
    Tcp,
    /// RFC 768. Its datagrams keep their size.
    Udp,
}

impl Protocol {
    /// Its number in IP headers.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where the checksum stands in its header.
    #[must_use]
    pub const fn checksum_at(self) -> u16 {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

impl Offload {
    /// Does what is left to do, and hands each frame to `each`. What is not as it says is handed on as it is.
    pub fn undo(&self, frame: &mut [u8], mut each: impl FnMut(&[u8])) {
        let Some(gso) = self.segments else {
            if let Some(partial) = self.checksum {
                partial.complete(frame);
            }
            return each(frame);
        };
        let Some(mut segments) = Segments::new(frame, gso, self.checksum) else {
            return each(frame);
        };
        let mut whole = Vec::new();
        while let Some(segment) = segments.next() {
            segment.write(&mut whole);
            each(&whole);
        }
    }
}
