//! Where the headers of a TCP or UDP packet are: everything that cutting and putting together needs to know.

use super::sum::{fold, sum};
use super::{Partial, Protocol};
use crate::wire::field;

/// Length of an Ethernet header without tags.
const ETHERNET: usize = 14;
/// VLAN tags that are looked through.
const MAX_TAGS: usize = 2;
/// EtherTypes of VLAN tags, IEEE 802.1Q and 802.1ad.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// IPv6 extension headers that are looked through: hop-by-hop and destination options (RFC 8200). Kernels leave TCP
/// behind them to be cut as well. Behind others the checksum is over another address, or there is but a fragment.
const OPTIONS: [u8; 2] = [0, 60];
/// Such headers in one packet, no more than RFC 8200 section 4.1 has; and bytes in all of them.
const MAX_OPTIONS: usize = 3;
pub(super) const MAX_OPTIONS_LENGTH: usize = 512;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// A whole, unfragmented TCP or UDP packet in an Ethernet frame without anything behind it. IPv6 with no extension
/// headers but options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// Which.
    pub protocol: Protocol,
    /// IPv6, not IPv4.
    pub six: bool,
    /// Where the IP header starts.
    pub network: usize,
    /// Where the TCP or UDP header starts.
    pub transport: usize,
    /// Where the payload starts.
    pub payload: usize,
}

impl Transport {
    /// Reads the headers of `frame`, which ends with its packet. `None` for everything else, such as frames with
    /// padding, fragments and other protocols: they are carried as they are.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut network = ETHERNET;
        let mut ethertype = u16::from_be_bytes(field(frame, 12)?);
        for _ in 0..MAX_TAGS {
            if TAGS.contains(&ethertype) {
                ethertype = u16::from_be_bytes(field(frame, network + 2)?);
                network += 4;
            }
        }
        let (six, transport, length, number) = match ethertype {
            IPV4 => {
                let header: [u8; IPV4_HEADER] = field(frame, network)?;
                let length = usize::from(header[0] & 0x0f) * 4;
                let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
                // Neither a first nor a later fragment.
                if header[0] >> 4 != 4 || length < IPV4_HEADER || header[6] & 0x3f != 0 || header[7] != 0 {
                    return None;
                }
                (false, network + length, total, header[9])
            }
            IPV6 => {
                let header: [u8; 8] = field(frame, network)?;
                if header[0] >> 4 != 6 {
                    return None;
                }
                let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
                let (transport, number) = behind_options(frame, network + IPV6_HEADER, header[6])?;
                (true, transport, IPV6_HEADER + length, number)
            }
            _ => return None,
        };
        if network + length != frame.len() {
            return None;
        }
        let (protocol, payload) = match number {
            6 => {
                let header: [u8; TCP_HEADER] = field(frame, transport)?;
                let length = usize::from(header[12] >> 4) * 4;
                (length >= TCP_HEADER).then_some((Protocol::Tcp, transport + length))?
            }
            17 => {
                let header: [u8; UDP_HEADER] = field(frame, transport)?;
                let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
                (transport + length == frame.len()).then_some((Protocol::Udp, transport + UDP_HEADER))?
            }
            _ => return None,
        };
        (payload <= frame.len()).then_some(Self {
            protocol,
            six,
            network,
            transport,
            payload,
        })
    }

    /// True if the IP header has options, or IPv6 extension headers follow it.
    #[must_use]
    pub fn has_options(&self) -> bool {
        let header = if self.six { IPV6_HEADER } else { IPV4_HEADER };
        self.transport != self.network + header
    }

    /// Where the checksum is.
    #[must_use]
    pub fn partial(&self) -> Partial {
        Partial {
            // Two tags, the longest IPv4 header or that of IPv6 with options: far below 2^16.
            start: self.transport as u16,
            offset: self.protocol.checksum_at(),
        }
    }

    /// The sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) for a transport header and payload
    /// of `length` bytes, with the addresses that stand in `headers`.
    #[must_use]
    pub fn pseudo_sum(&self, headers: &[u8], length: usize) -> u64 {
        let addresses = if self.six {
            self.network + 8..self.network + IPV6_HEADER
        } else {
            self.network + 12..self.network + IPV4_HEADER
        };
        let addresses = headers.get(addresses).unwrap_or(&[]);
        sum(length as u64 + u64::from(self.protocol.number()), addresses)
    }

    /// True if the transport checksum of `frame` is there and right. UDP may go without one; that counts as wrong.
    #[must_use]
    pub fn is_intact(&self, frame: &[u8]) -> bool {
        let at = self.transport + usize::from(self.protocol.checksum_at());
        if self.protocol == Protocol::Udp && frame.get(at..at + 2) == Some(&[0, 0]) {
            return false;
        }
        let Some(bytes) = frame.get(self.transport..) else {
            return false;
        };
        fold(sum(self.pseudo_sum(frame, bytes.len()), bytes)) == 0xffff
    }

    /// True if the IP header's own checksum is right; IPv6 has none.
    #[must_use]
    pub fn header_is_intact(&self, frame: &[u8]) -> bool {
        self.six
            || frame
                .get(self.network..self.transport)
                .is_some_and(|header| fold(sum(0, header)) == 0xffff)
    }

    /// Writes the length of what follows the Ethernet header, `frame` bytes of frame in all, into the IP and UDP
    /// headers, and `id` and the checksum into that of IPv4.
    pub(crate) fn write_lengths(&self, headers: &mut [u8], frame: usize, id: u16) {
        let put = |headers: &mut [u8], at: usize, number: u16| {
            headers[at..at + 2].copy_from_slice(&number.to_be_bytes());
        };
        // Whoever calls this keeps IP packets below 2^16 bytes.
        if self.six {
            put(
                headers,
                self.network + 4,
                (frame - self.network - IPV6_HEADER) as u16,
            );
        } else {
            put(headers, self.network + 2, (frame - self.network) as u16);
            put(headers, self.network + 4, id);
            put(headers, self.network + 10, 0);
            let sum = !fold(sum(0, &headers[self.network..self.transport]));
            put(headers, self.network + 10, sum);
        }
        if self.protocol == Protocol::Udp {
            put(headers, self.transport + 4, (frame - self.transport) as u16);
        }
    }

    /// Puts the sum of the pseudo header where the checksum is to be, for a frame of `frame` bytes.
    pub(crate) fn write_partial_sum(&self, headers: &mut [u8], frame: usize) {
        let partial = fold(self.pseudo_sum(headers, frame - self.transport));
        let at = self.transport + usize::from(self.protocol.checksum_at());
        headers[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    }

    /// IPv4's identification; 0 for IPv6.
    pub(crate) fn id(&self, headers: &[u8]) -> u16 {
        let id = || field(headers, self.network + 4).map_or(0, u16::from_be_bytes);
        if self.six { 0 } else { id() }
    }
}

/// Where what follows IPv6's options begins, and what that is.
fn behind_options(frame: &[u8], start: usize, mut number: u8) -> Option<(usize, u8)> {
    let mut at = start;
    for _ in 0..MAX_OPTIONS {
        if OPTIONS.contains(&number) {
            let [next, units] = field(frame, at)?;
            number = next;
            at += (usize::from(units) + 1) * 8;
        }
    }
    (at - start <= MAX_OPTIONS_LENGTH).then_some((at, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::samples::{self, ONE, TWO};

    #[test]
    fn packets_are_told_from_what_only_looks_like_them() {
        let udp = samples::udp4([10, 0, 0, 1], [10, 0, 0, 2], 4000, 53, b"hello");
        let parsed = Transport::parse(&udp).unwrap();
        assert_eq!(
            parsed,
            Transport {
                protocol: Protocol::Udp,
                six: false,
                network: 14,
                transport: 34,
                payload: 42
            }
        );
        let mut tagged = udp.clone();
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        assert_eq!(Transport::parse(&tagged).unwrap().payload, 46);
        let six = samples::ipv6(ONE, TWO, 17, &samples::udp(1, 2, b"x"));
        assert_eq!(Transport::parse(&six).unwrap().payload, 62);
        let padded = [&udp[..], &[0; 10]].concat();
        let fragment = samples::ipv4(
            [10, 0, 0, 1],
            [10, 0, 0, 2],
            0x2000,
            17,
            &samples::udp(1, 2, b"x"),
        );
        let later = samples::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 5, 17, &samples::udp(1, 2, b"x"));
        let options = [17, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0];
        for extension in [0, 60] {
            let extended = Transport::parse(&samples::ipv6(ONE, TWO, extension, &options)).unwrap();
            assert_eq!((extended.transport, extended.payload), (62, 70));
            assert!(extended.has_options() && !parsed.has_options());
        }
        let [routed, fragment_of_one] = [43, 44].map(|kind| samples::ipv6(ONE, TWO, kind, &options));
        let long = [&[17, 64, 1, 254][..], &[0; 516], &options[8..]].concat();
        let long = samples::ipv6(ONE, TWO, 60, &long);
        for odd in [&padded, &fragment, &later, &routed, &fragment_of_one, &long] {
            assert_eq!(Transport::parse(odd), None);
        }
        for cut in 0..udp.len() {
            assert_eq!(Transport::parse(&udp[..cut]), None);
        }
    }
}
