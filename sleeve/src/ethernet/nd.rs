//! Answers to neighbour solicitations (RFC 4861) for addresses behind other routers: what [`arp`](super::arp) is
//! for IPv4.

use super::ipv6::{ICMPV6, Ipv6, Neighbor, icmp, solicited_node};
use super::parse::{Frame, IPV6};
use super::write::{ICMPV6_OFFSET, Writer, icmpv6_is_intact, icmpv6_pseudo_sum};
use mesh::Mac;
use std::net::{IpAddr, Ipv6Addr};

/// Length of a reply.
pub const REPLY: usize = ICMPV6_OFFSET + ADVERTISEMENT;

/// Length of the advertisement with its one option.
const ADVERTISEMENT: usize = 32;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// Only packets of this very network have it, RFC 4861 section 7.1.1.
const HOP_LIMIT: u8 = 255;

const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Writes the advertisement that answers a neighbour solicitation into `reply`, to be sent out of the port it came
/// from. Returns its length; `None` if there is nothing to answer, or no room.
///
/// `lookup` is the same as for [`arp::answer`](super::arp::answer). A probe for duplicates (its source is `::`) is
/// thus answered, to all nodes, only if another router holds the address. Solicitations that RFC 4861 section
/// 7.1.1 tells receivers to discard are not answered.
pub fn answer(frame: &[u8], lookup: impl Fn(IpAddr) -> Option<Mac>, reply: &mut [u8]) -> Option<usize> {
    let frame = Frame::parse(frame).filter(|frame| frame.plain && frame.ethertype == IPV6)?;
    let packet = Ipv6::parse(frame.payload)?;
    let asker = frame.source;
    let target = solicited(&packet)?.target;
    let holder = lookup(target.into()).filter(|holder| *holder != asker && !asker.is_group())?;
    let probe = packet.source.is_unspecified();
    let (to, to_mac, flags) = if probe {
        (ALL_NODES, ALL_NODES_MAC, OVERRIDE)
    } else {
        (packet.source, asker, SOLICITED | OVERRIDE)
    };
    let mut writer = Writer::new(reply);
    writer.ethernet(to_mac, holder, IPV6)?;
    writer.icmpv6_header(target, to, HOP_LIMIT, ADVERTISEMENT)?;
    writer.put(&[icmp::NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0])?;
    writer.put(&target.octets())?;
    // The target's link-layer address, one unit of eight bytes.
    writer.put(&[2, 1])?;
    writer.put(&holder.0)?;
    writer.checksum(
        ICMPV6_OFFSET,
        ICMPV6_OFFSET + 2,
        icmpv6_pseudo_sum(target, to, ADVERTISEMENT),
    )?;
    Some(writer.length())
}

/// The solicitation in a packet, if it is one that may be answered.
fn solicited(packet: &Ipv6<'_>) -> Option<Neighbor> {
    let message = packet.payload;
    let direct = packet.protocol == ICMPV6 && !packet.extended && packet.hop_limit == HOP_LIMIT;
    if !direct || !message.starts_with(&[icmp::NEIGHBOR_SOLICITATION, 0]) {
        return None;
    }
    let solicitation = Neighbor::parse(message)?;
    let probe = packet.source.is_unspecified();
    let bad_probe = probe
        && (solicitation.link_layer.is_some() || packet.destination != solicited_node(solicitation.target));
    let bad = bad_probe || packet.source.is_multicast() || solicitation.target.is_multicast();
    (!bad && icmpv6_is_intact(packet.source, packet.destination, message)).then_some(solicitation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::samples::{A, B, ONE, TWO, neighbor_solicitation};
    use proptest::prelude::*;

    const NOBODY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

    fn remote(address: IpAddr) -> Option<Mac> {
        (address == TWO).then_some(B)
    }

    #[test]
    fn a_solicitation_is_answered_in_the_holders_name() {
        let mut reply = [0; REPLY];
        assert_eq!(
            answer(&neighbor_solicitation(A, ONE, TWO), remote, &mut reply),
            Some(REPLY)
        );
        let golden = [
            // To A from B; IPv6, 32 bytes of ICMPv6, hop limit 255; fd00::2 to fd00::1.
            2, 0, 0, 0, 0, 0xa, 2, 0, 0, 0, 0, 0xb, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255, //
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 1,
            // Advertisement, solicited and overriding. Checksum, worked out by hand:
            // 3 × fd00 + 2 + 1 + 2 + 0020 + 003a + 8800 + 6000 + 0201 + 0200 + 000b = 3e36b → e36e → 1c91.
            136, 0, 0x1c, 0x91, 0x60, 0, 0, 0, //
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 1, 2, 0, 0, 0, 0, 0xb,
        ];
        assert_eq!(reply, golden);
        assert_eq!(
            answer(
                &neighbor_solicitation(A, ONE, TWO),
                remote,
                &mut reply[..REPLY - 1]
            ),
            None
        );
    }

    #[test]
    fn a_probe_is_answered_to_all_nodes_and_only_in_a_conflict() {
        let mut reply = [0; REPLY];
        assert_eq!(
            answer(&neighbor_solicitation(A, NOBODY, TWO), remote, &mut reply),
            Some(REPLY)
        );
        let frame = Frame::parse(&reply).unwrap();
        let packet = Ipv6::parse(frame.payload).unwrap();
        assert_eq!(
            (frame.destination, packet.destination),
            (ALL_NODES_MAC, ALL_NODES)
        );
        assert_eq!(packet.payload[4], OVERRIDE);
        assert!(icmpv6_is_intact(
            packet.source,
            packet.destination,
            packet.payload
        ));
        assert_eq!(
            answer(&neighbor_solicitation(A, NOBODY, ONE), remote, &mut reply),
            None
        );
        assert_eq!(
            answer(&neighbor_solicitation(B, NOBODY, TWO), remote, &mut reply),
            None
        );
    }

    #[test]
    fn what_receivers_discard_is_not_answered() {
        let good = neighbor_solicitation(A, ONE, TWO);
        let with = |at: usize, value: u8| {
            let mut frame = good.clone();
            frame[at] = value;
            frame
        };
        let bad = [
            ("hop limit", with(21, 64)),
            ("code", with(55, 1)),
            ("checksum", with(57, good[57] ^ 1)),
            ("option", with(79, 0)),
            ("type", with(54, 136)),
            ("cut", good[..good.len() - 1].to_vec()),
        ];
        let mut reply = [0; REPLY];
        for (what, frame) in bad {
            assert_eq!(answer(&frame, |_| Some(B), &mut reply), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn replies_parse_and_go_to_the_asker(macs: [u8; 2], ips: [[u8; 15]; 2], probe: bool) {
            let [asker, holder] = macs.map(|n| Mac([2, 0, 0, 0, 0, n]));
            let global = |ip: [u8; 15]| Ipv6Addr::from(std::array::from_fn(|i| if i == 0 { 0xfd } else { ip[i - 1] }));
            let [source, target] = ips.map(global);
            let source = if probe { NOBODY } else { source };
            let mut reply = [0; REPLY];
            let length = answer(&neighbor_solicitation(asker, source, target), |_| Some(holder), &mut reply);
            prop_assert_eq!(length.is_some(), asker != holder);
            if length.is_some() {
                let frame = Frame::parse(&reply).unwrap();
                let packet = Ipv6::parse(frame.payload).unwrap();
                let advertisement = Neighbor::parse(packet.payload).unwrap();
                prop_assert_eq!(frame.destination, if probe { ALL_NODES_MAC } else { asker });
                prop_assert_eq!((frame.source, packet.source, packet.hop_limit), (holder, target, 255));
                prop_assert_eq!(packet.destination, if probe { ALL_NODES } else { source });
                prop_assert_eq!(advertisement, Neighbor { target, link_layer: Some(holder) });
                prop_assert!(icmpv6_is_intact(packet.source, packet.destination, packet.payload));
            }
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..120), at in 0usize..86, value: u8) {
            let mut reply = [0; REPLY];
            answer(&bytes, |_| Some(B), &mut reply);
            let mut mutated = neighbor_solicitation(A, ONE, TWO);
            mutated[at] = value;
            answer(&mutated, |_| Some(B), &mut reply);
        }
    }
}
