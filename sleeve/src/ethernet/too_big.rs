//! What becomes of a packet that is too big for its path: its sender is told, or it is carried in two.
//!
//! Path MTU discovery is the sender's job where it asked for it (IPv4 with "don't fragment", RFC 1191) and always
//! in IPv6 (RFC 8201). The answer seems to come from the packet's destination, since no router shows in the
//! containers' network. Everything else, and all that must not be answered, is split by the caller into two sealed
//! datagrams.

use super::ipv6::{self, ICMPV6, Ipv6};
use super::parse::{ETHERNET_HEADER, Frame, ICMP, IPV4, IPV6, Ipv4};
use super::write::{ICMPV6_OFFSET, Writer, icmpv6_pseudo_sum};
use mesh::Mac;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The MTU below which no IPv6 link is, RFC 8200 section 5.
pub const MIN_IPV6_MTU: u16 = 1280;

/// The longest answer, in bytes: a buffer of this size takes any.
pub const MAX_REPLY: usize = ETHERNET_HEADER + MIN_IPV6_MTU as usize;

const IPV4_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// The most an ICMPv4 error is long without its frame's header, RFC 1812 section 4.3.2.3.
const MAX_ICMPV4: usize = 576;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is small enough: send it.
    Fits,
    /// It must not be sent. Its sender shall get the answer of this many bytes that was written.
    TooBig(usize),
    /// It shall be carried in two pieces.
    Split,
}

/// Judges a frame from a container by `mtu`, the largest network packet that goes through on its path, in bytes
/// (without the frame's header), and writes the answer to its sender into `reply` where one is due.
///
/// A TCP super-frame is cut into segments before, and those are judged. An IPv6 sender is never told less than
/// [`MIN_IPV6_MTU`]; what it then sends is split. Neither ICMP errors nor redirects, group traffic, later fragments
/// and senders that are no single host are answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4), nor is
/// anything if `reply` is too short.
pub fn judge(frame: &[u8], mtu: u16, reply: &mut [u8]) -> Verdict {
    if frame.len() <= ETHERNET_HEADER + usize::from(mtu) {
        return Verdict::Fits;
    }
    answer(frame, mtu, reply).map_or(Verdict::Split, Verdict::TooBig)
}

fn answer(frame: &[u8], mtu: u16, reply: &mut [u8]) -> Option<usize> {
    let frame = Frame::parse(frame).filter(|frame| frame.plain && !frame.destination.is_group())?;
    let mut writer = Writer::new(reply);
    writer.ethernet(frame.source, frame.destination, frame.ethertype)?;
    match frame.ethertype {
        IPV4 => answer_ipv4(&Ipv4::parse(frame.payload)?, mtu, &mut writer)?,
        IPV6 => answer_ipv6(&Ipv6::parse(frame.payload)?, mtu.max(MIN_IPV6_MTU), &mut writer)?,
        _ => return None,
    }
    Some(writer.length())
}

fn answer_ipv4(packet: &Ipv4<'_>, mtu: u16, writer: &mut Writer<'_>) -> Option<()> {
    let too_big = packet.dont_fragment && packet.packet.len() > usize::from(mtu);
    let hosts = is_host4(packet.source) && is_host4(packet.destination);
    if !too_big || !hosts || !packet.first || is_icmpv4_error(packet) {
        return None;
    }
    let quote = packet
        .packet
        .get(..packet.packet.len().min(MAX_ICMPV4 - IPV4_HEADER - ICMP_HEADER))?;
    let length = u16::try_from(IPV4_HEADER + ICMP_HEADER + quote.len())
        .ok()?
        .to_be_bytes();
    let start = writer.length();
    // Type of service 0xc0 (network control) as routers use it, no id, don't fragment, 64 hops.
    writer.put(&[0x45, 0xc0, length[0], length[1], 0, 0, 0x40, 0, 64, ICMP, 0, 0])?;
    writer.put(&packet.destination.octets())?;
    writer.put(&packet.source.octets())?;
    writer.checksum(start, start + 10, 0)?;
    let start = writer.length();
    let [high, low] = mtu.to_be_bytes();
    // Destination unreachable, fragmentation needed.
    writer.put(&[3, 4, 0, 0, 0, 0, high, low])?;
    writer.put(quote)?;
    writer.checksum(start, start + 2, 0)
}

fn answer_ipv6(packet: &Ipv6<'_>, mtu: u16, writer: &mut Writer<'_>) -> Option<()> {
    let too_big = packet.packet.len() > usize::from(mtu);
    let hosts = is_host6(packet.source) && is_host6(packet.destination);
    if !too_big || !hosts || !packet.first || is_icmpv6_error(packet) {
        return None;
    }
    let room = usize::from(MIN_IPV6_MTU) - ipv6::HEADER - ICMP_HEADER;
    let quote = packet.packet.get(..packet.packet.len().min(room))?;
    let length = ICMP_HEADER + quote.len();
    writer.icmpv6_header(packet.destination, packet.source, 64, length)?;
    writer.put(&[2, 0, 0, 0])?;
    writer.put(&u32::from(mtu).to_be_bytes())?;
    writer.put(quote)?;
    let pseudo = icmpv6_pseudo_sum(packet.destination, packet.source, length);
    writer.checksum(ICMPV6_OFFSET, ICMPV6_OFFSET + 2, pseudo)
}

/// Destination unreachable, source quench, redirect, time exceeded, parameter problem; or too short to tell.
fn is_icmpv4_error(packet: &Ipv4<'_>) -> bool {
    packet.protocol == ICMP
        && packet
            .payload
            .first()
            .is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12))
}

/// All types below 128, and redirects; or too short to tell.
fn is_icmpv6_error(packet: &Ipv6<'_>) -> bool {
    let redirect = ipv6::icmp::REDIRECT;
    packet.protocol == ICMPV6
        && packet
            .payload
            .first()
            .is_none_or(|&kind| kind < 128 || kind == redirect)
}

/// True for addresses that one host can have. Broadcasts into a subnet don't look different from them, but are
/// sent to the broadcast MAC address.
fn is_host4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    !(first == 0 || first >= 224 || address.is_loopback())
}

fn is_host6(address: Ipv6Addr) -> bool {
    !(address.is_multicast() || address.is_unspecified() || address.is_loopback())
}

/// The MAC address an answer of [`judge`] goes to, for delivery out of the right port.
#[must_use]
pub fn receiver(reply: &[u8]) -> Option<Mac> {
    Frame::parse(reply).map(|frame| frame.destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::samples::*;
    use proptest::prelude::*;

    const OWN4: [u8; 4] = [10, 0, 0, 1];
    const OTHER4: [u8; 4] = [10, 0, 0, 2];

    fn judged(frame: &[u8], mtu: u16) -> (Verdict, Vec<u8>) {
        let mut reply = vec![0xee; MAX_REPLY];
        let verdict = judge(frame, mtu, &mut reply);
        reply.truncate(if let Verdict::TooBig(length) = verdict {
            length
        } else {
            0
        });
        (verdict, reply)
    }

    #[test]
    fn an_ipv4_sender_is_told_by_icmp() {
        let frame = udp4(OWN4, OTHER4, 4000, 53, &[7; 1400]);
        assert_eq!(judged(&frame, 1428).0, Verdict::Fits);
        let (verdict, reply) = judged(&frame, 1300);
        assert_eq!(verdict, Verdict::TooBig(14 + 576));
        let header = [
            2, 0, 0, 0, 0, 0xa, 2, 0, 0, 0, 0, 0xb, 8, 0, // from B to A; checksum by hand:
            // 45c0 + 0240 + 4000 + 4001 + 0a00 + 0002 + 0a00 + 0001 = dc04 → 23fb.
            0x45, 0xc0, 0x02, 0x40, 0, 0, 0x40, 0, 64, 1, 0x23, 0xfb, 10, 0, 0, 2, 10, 0, 0, 1,
        ];
        assert_eq!(reply[..34], header);
        assert_eq!(
            (&reply[34..36], &reply[38..42]),
            (&[3, 4][..], &[0, 0, 0x05, 0x14][..])
        );
        assert_eq!(reply[42..], frame[14..14 + 548]);
        assert_eq!(
            (checksum(&reply[14..34]), checksum(&reply[34..])),
            ([0, 0], [0, 0])
        );
        assert_eq!(receiver(&reply), Some(A));
    }

    #[test]
    fn an_ipv6_sender_is_told_by_icmp_but_never_less_than_the_minimum() {
        let frame = ipv6(ONE, TWO, 17, &udp(4000, 53, &[7; 1400]));
        let (verdict, reply) = judged(&frame, 1300);
        assert_eq!(verdict, Verdict::TooBig(MAX_REPLY));
        let header = [0x60, 0, 0, 0, 0x04, 0xd8, 58, 64];
        assert_eq!(
            (&reply[..14], &reply[14..22]),
            (&ethernet(A, B, 0x86dd, &[])[..], &header[..])
        );
        assert_eq!(
            (&reply[22..38], &reply[38..54]),
            (&TWO.octets()[..], &ONE.octets()[..])
        );
        assert_eq!(
            (&reply[54..56], &reply[58..62]),
            (&[2, 0][..], &[0, 0, 0x05, 0x14][..])
        );
        assert_eq!(reply[62..], frame[14..14 + 1232]);
        assert_eq!(reply, icmpv6_as_router(&reply[54..]));
        let (_, reply) = judged(&frame, 1170);
        assert_eq!(reply[58..62], [0, 0, 0x05, 0x00]);
        // What is as small as IPv6 asks for is carried whatever it takes.
        let minimal = ipv6(ONE, TWO, 17, &udp(4000, 53, &[7; 1280 - 48]));
        assert_eq!((minimal.len(), judged(&minimal, 1170).0), (1294, Verdict::Split));
    }

    /// The same message from TWO to ONE with a checksum of the samples' own.
    fn icmpv6_as_router(message: &[u8]) -> Vec<u8> {
        let mut frame = icmpv6(TWO, ONE, message.to_vec());
        frame[..12].copy_from_slice(&[A.0, B.0].concat());
        frame[21] = 64;
        frame
    }

    #[test]
    fn what_must_not_be_answered_is_split() {
        let mut to_group = udp4(OWN4, OTHER4, 1, 2, &[7; 1400]);
        to_group[0] = 1;
        let mut tagged = udp4(OWN4, OTHER4, 1, 2, &[7; 1400]);
        tagged.splice(12..12, [0x81, 0, 0, 0]);
        let icmp = |kind: u8| [&[kind, 0][..], &[0; 1400]].concat();
        let all = [
            ipv4(OWN4, OTHER4, 0, 17, &udp(1, 2, &[7; 1400])),
            ipv4(OWN4, OTHER4, 0x4001, 17, &[7; 1400]),
            ipv4(OWN4, OTHER4, 0x4000, 1, &icmp(3)),
            udp4(OWN4, [224, 0, 0, 251], 1, 2, &[7; 1400]),
            udp4([0; 4], OTHER4, 1, 2, &[7; 1400]),
            to_group,
            tagged,
            ipv6(ONE, TWO, 58, &icmp(1)),
            ipv6(ONE, TWO, 58, &icmp(137)),
            ipv6(
                ONE,
                TWO,
                44,
                &[&[17, 0, 0, 8, 0, 0, 0, 1][..], &[7; 1400]].concat(),
            ),
            ipv6(
                ONE,
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb),
                17,
                &udp(1, 2, &[7; 1400]),
            ),
            ipv6(Ipv6Addr::UNSPECIFIED, TWO, 17, &udp(1, 2, &[7; 1400])),
            ethernet(B, A, 0x88b5, &[7; 1400]),
            // Little in a lot of padding.
            [udp4(OWN4, OTHER4, 1, 2, b"small"), vec![0; 1400]].concat(),
        ];
        for frame in all {
            assert_eq!(judged(&frame, 1300).0, Verdict::Split, "{:02x?}", &frame[..60]);
        }
        let echo = ipv4(OWN4, OTHER4, 0x4000, 1, &icmp(8));
        assert!(matches!(judged(&echo, 1300).0, Verdict::TooBig(_)));
        assert_eq!(judge(&echo, 1300, &mut [0; 100]), Verdict::Split);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200), mtu in 0u16..300) {
            judged(&bytes, mtu);
            judged(&ethernet(B, A, 0x86dd, &bytes), mtu);
            judged(&ipv6(ONE, TWO, 0, &bytes), mtu);
            judged(&ipv4(OWN4, OTHER4, 0x4000, 1, &bytes), mtu);
        }

        #[test]
        fn answers_parse_and_are_never_answered(size in 1200usize..9000, mtu in 1000u16..9000, six: bool) {
            let frame = if six {
                ipv6(ONE, TWO, 6, &vec![7; size])
            } else {
                ipv4(OWN4, OTHER4, 0x4000, 6, &vec![7; size])
            };
            let (verdict, reply) = judged(&frame, mtu);
            prop_assert_eq!(verdict == Verdict::Fits, frame.len() - 14 <= usize::from(mtu));
            if verdict != Verdict::Fits && !six {
                let packet = Ipv4::parse(&reply[14..]).unwrap();
                prop_assert_eq!((packet.source.octets(), packet.destination.octets()), (OTHER4, OWN4));
                prop_assert_eq!((checksum(&reply[14..34]), checksum(&reply[34..])), ([0, 0], [0, 0]));
            }
            if verdict != Verdict::Fits && six {
                prop_assert_eq!(verdict == Verdict::Split, frame.len() - 14 <= 1280);
                prop_assert!(verdict == Verdict::Split || reply == icmpv6_as_router(&reply[54..]));
            }
            prop_assert!(!matches!(judged(&reply, 100).0, Verdict::TooBig(_)));
        }
    }
}
