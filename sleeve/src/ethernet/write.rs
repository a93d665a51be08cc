//! Writing replies into a caller's buffer, and the internet checksum (RFC 1071).

use super::ipv6::{HEADER, ICMPV6};
use mesh::Mac;
use std::net::Ipv6Addr;

/// Appends to a buffer for as long as there is room.
pub(super) struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Appends bytes; `None` if they do not fit.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length.checked_add(bytes.len())?;
        self.buffer.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }

    /// Appends an Ethernet header.
    pub(super) fn ethernet(&mut self, destination: Mac, source: Mac, ethertype: u16) -> Option<()> {
        self.put(&destination.0)?;
        self.put(&source.0)?;
        self.put(&ethertype.to_be_bytes())
    }

    /// Appends the header of an ICMPv6 packet of `length` bytes after it.
    pub(super) fn icmpv6_header(
        &mut self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
        length: usize,
    ) -> Option<()> {
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        self.put(&[0x60, 0, 0, 0, high, low, ICMPV6, hop_limit])?;
        self.put(&source.octets())?;
        self.put(&destination.octets())
    }

    /// Writes the checksum of everything from `start` on, which starts with a sum of its own, at `at`.
    pub(super) fn checksum(&mut self, start: usize, at: usize, initial: u64) -> Option<()> {
        let sum = checksum(initial, self.buffer.get(start..self.length)?);
        self.buffer
            .get_mut(at..at.checked_add(2)?)?
            .copy_from_slice(&sum.to_be_bytes());
        Some(())
    }

    /// Where the next byte goes; at the end the length of all.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

/// The sum over the pseudo header of an ICMPv6 message, RFC 8200 section 8.1.
pub(super) fn icmpv6_pseudo_sum(source: Ipv6Addr, destination: Ipv6Addr, length: usize) -> u64 {
    sum(&source.octets()) + sum(&destination.octets()) + length as u64 + u64::from(ICMPV6)
}

/// True if the checksum of an ICMPv6 message is right.
pub(super) fn icmpv6_is_intact(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> bool {
    checksum(icmpv6_pseudo_sum(source, destination, message.len()), message) == 0
}

/// The complement of the ones' complement sum of all 16-bit words; over data with its right checksum it is zero.
pub(super) fn checksum(initial: u64, bytes: &[u8]) -> u16 {
    let mut total = initial + sum(bytes);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    // The loop leaves sixteen bits.
    !(total as u16)
}

/// The plain sum of all 16-bit words, an odd last byte filled up with zero.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

/// Bytes in front of the ICMPv6 message of a frame without extension headers.
pub(super) const ICMPV6_OFFSET: usize = super::parse::ETHERNET_HEADER + HEADER;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(
            checksum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(checksum(0, &[0x12]), !0x1200);
        assert_eq!(checksum(0, &[0xff, 0xff]), 0);
    }

    #[test]
    fn nothing_is_written_beyond_the_buffer() {
        let mut buffer = [0; 15];
        let mut writer = Writer::new(&mut buffer);
        assert_eq!(writer.ethernet(Mac([1; 6]), Mac([2; 6]), 0x0304), Some(()));
        assert_eq!(writer.put(&[9, 9]), None);
        assert_eq!((writer.put(&[9]), writer.length()), (Some(()), 15));
        assert_eq!(buffer, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 4, 9]);
    }
}
