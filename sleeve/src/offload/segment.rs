//! A super-frame, cut into the frames that it stands for, as the kernel would cut it.
//!
//! Each gets a copy of the headers with its own lengths, IPv4 identification and TCP sequence number. Of TCP's flags
//! only the last has FIN and PSH, and only the first CWR (RFC 3168). The checksum stays partial.

use super::transport::MAX_OPTIONS_LENGTH;
use super::{Gso, Partial, Protocol, Transport};
use crate::wire::field;

/// The longest headers of a super-frame: Ethernet with two tags, IPv6 with options, TCP with options.
pub const MAX_HEADERS: usize = 14 + 8 + 40 + MAX_OPTIONS_LENGTH + 60;

/// TCP's flags, the byte at 13.
const FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The frames of a super-frame, one after the other.
#[derive(Debug)]
pub struct Segments<'a> {
    headers: [u8; MAX_HEADERS],
    transport: Transport,
    payload: &'a [u8],
    size: usize,
    at: usize,
    id: u16,
    sequence: u32,
    flags: u8,
}

/// One frame: its headers, then its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// All headers, Ethernet's first.
    pub headers: &'a [u8],
    /// What follows them.
    pub payload: &'a [u8],
    /// Where the checksum is still to be made.
    pub checksum: Partial,
}

impl Segment<'_> {
    /// Writes the frame, its checksum completed, over what is in `whole`.
    pub fn write(&self, whole: &mut Vec<u8>) {
        whole.clear();
        whole.extend_from_slice(self.headers);
        whole.extend_from_slice(self.payload);
        // It lies inside: the headers were parsed.
        self.checksum.complete(whole);
    }

    /// Its length.
    #[must_use]
    pub fn len(&self) -> usize {
        self.headers.len() + self.payload.len()
    }

    /// True for no frame there is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Segments<'a> {
    /// Reads a super-frame. `None` if it is not what `gso` and `checksum` say.
    #[must_use]
    pub fn new(frame: &'a [u8], gso: Gso, checksum: Option<Partial>) -> Option<Self> {
        let transport = Transport::parse(frame)?;
        let right = transport.protocol == gso.protocol && checksum == Some(transport.partial());
        if !right || gso.size == 0 {
            return None;
        }
        let (head, payload) = frame.split_at(transport.payload);
        let mut headers = [0; MAX_HEADERS];
        headers.get_mut(..head.len())?.copy_from_slice(head);
        let (sequence, flags) = match transport.protocol {
            Protocol::Tcp => (
                field(head, transport.transport + 4)?,
                head[transport.transport + FLAGS],
            ),
            Protocol::Udp => ([0; 4], 0),
        };
        Some(Self {
            id: transport.id(head),
            sequence: u32::from_be_bytes(sequence),
            flags,
            headers,
            transport,
            payload,
            size: gso.size.into(),
            at: 0,
        })
    }

    /// The longest of its frames.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.transport.payload + self.size.min(self.payload.len())
    }

    /// Makes frames no longer than `room`, if the protocol lets itself be cut anywhere. False if it does not, or
    /// there is no room for as much as a byte of it.
    pub fn fit(&mut self, room: usize) -> bool {
        if self.longest() <= room {
            return true;
        }
        let size = room.saturating_sub(self.transport.payload);
        let fits = self.transport.protocol == Protocol::Tcp && size > 0;
        if fits {
            self.size = size;
        }
        fits
    }

    /// The next frame.
    #[expect(
        clippy::should_implement_trait,
        reason = "it lends its headers, as no Iterator can"
    )]
    pub fn next(&mut self) -> Option<Segment<'_>> {
        let first = self.at == 0;
        if self.at >= self.payload.len() && !first {
            return None;
        }
        let end = (self.at + self.size).min(self.payload.len());
        let payload = &self.payload[self.at..end];
        let Transport {
            transport,
            payload: length,
            protocol,
            ..
        } = self.transport;
        let headers = &mut self.headers[..length];
        let frame = length + payload.len();
        self.transport.write_lengths(headers, frame, self.id);
        if protocol == Protocol::Tcp {
            headers[transport + 4..transport + 8].copy_from_slice(&self.sequence.to_be_bytes());
            let mut flags = self.flags;
            if end < self.payload.len() {
                flags &= !(FIN | PSH);
            }
            if !first {
                flags &= !CWR;
            }
            headers[transport + FLAGS] = flags;
        }
        self.transport.write_partial_sum(headers, frame);
        self.id = self.id.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        // An empty payload is one frame, not endless ones.
        self.at = end.max(1);
        Some(Segment {
            headers,
            payload,
            checksum: self.transport.partial(),
        })
    }
}

#[cfg(test)]
mod tests;
