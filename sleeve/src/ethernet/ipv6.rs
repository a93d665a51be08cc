//! Bounded reading of IPv6: the header, the chain of extension headers, and neighbour discovery.
//!
//! The chain is walked to its end, since receivers do so too and what matters may lie behind it. Each header says
//! how long it is; none is believed beyond the packet, and a packet with more of them than [`MAX_EXTENSIONS`] is
//! refused. A first fragment that does not hold the whole chain is refused as well (RFC 7112): nobody could tell
//! what it is.

use super::parse::{array, be16};
use mesh::Mac;
use std::net::Ipv6Addr;

/// Length of the fixed header.
pub const HEADER: usize = 40;

/// Next-header value of ICMPv6, RFC 4443.
pub const ICMPV6: u8 = 58;

/// Extension headers that are walked.
pub const MAX_EXTENSIONS: usize = 8;

/// Next-header values: hop-by-hop options, routing, destination options (RFC 8200), mobility (RFC 6275), HIP
/// (RFC 7401) and shim6 (RFC 5533), all with a length in units of eight bytes; then those laid out otherwise.
const OPTION_LIKE: [u8; 6] = [0, 43, 60, 135, 139, 140];
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// An IPv6 packet, RFC 8200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6<'a> {
    /// The whole packet, without the frame's padding.
    pub packet: &'a [u8],
    /// From whom; `::` while the sender has no address.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// Left of the way it may go; 255 proves that it comes from this network.
    pub hop_limit: u8,
    /// What the payload is. Of a fragment that is not the first only what the first one goes on with.
    pub protocol: u8,
    /// What follows the extension headers.
    pub payload: &'a [u8],
    /// True if there is any extension header.
    pub extended: bool,
    /// True if there is a fragment header, even of a packet in one piece.
    pub fragment: bool,
    /// The first fragment, or all of a packet: the payload starts with its protocol's header.
    pub first: bool,
}

impl<'a> Ipv6<'a> {
    /// Reads the payload of an IPv6 frame.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let length = HEADER + usize::from(be16(packet, 4)?);
        let packet = packet.get(..length).filter(|packet| packet[0] >> 4 == 6)?;
        let mut parsed = Self {
            packet,
            source: array::<16>(packet, 8)?.into(),
            destination: array::<16>(packet, 24)?.into(),
            hop_limit: packet[7],
            protocol: packet[6],
            payload: packet.get(HEADER..)?,
            extended: false,
            fragment: false,
            first: true,
        };
        for _ in 0..=MAX_EXTENSIONS {
            let Some(length) = parsed.extension_length()? else {
                return Some(parsed);
            };
            parsed.skip(length)?;
        }
        None
    }

    /// The length in bytes of the extension header that the payload starts with; `Some(None)` if it is none.
    fn extension_length(&self) -> Option<Option<usize>> {
        if !self.first {
            return Some(None);
        }
        let in_units = |unit: usize, more: usize| {
            self.payload
                .get(1)
                .map(|&units| Some((usize::from(units) + more) * unit))
        };
        match self.protocol {
            FRAGMENT => Some(Some(8)),
            AUTHENTICATION => in_units(4, 2),
            protocol if OPTION_LIKE.contains(&protocol) => in_units(8, 1),
            _ => Some(None),
        }
    }

    /// Takes an extension header off the payload.
    fn skip(&mut self, length: usize) -> Option<()> {
        let (header, rest) = self.payload.split_at_checked(length)?;
        if self.protocol == FRAGMENT {
            self.fragment = true;
            self.first = be16(header, 2)? >> 3 == 0;
        }
        self.extended = true;
        self.protocol = *header.first()?;
        self.payload = rest;
        Some(())
    }
}

/// The messages of neighbour discovery (RFC 4861) and multicast listener discovery, by their ICMPv6 types.
pub mod icmp {
    /// Reports of who listens to what (RFC 2710, RFC 3810); sent from `::` before there is an address.
    pub const LISTENER_REPORTS: [u8; 3] = [131, 132, 143];
    /// Asks for routers.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Announces a router.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Asks for a neighbour.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Announces a neighbour.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Tells of a better next hop.
    pub const REDIRECT: u8 = 137;
}

/// A neighbour solicitation or advertisement, RFC 4861 sections 4.3 and 4.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// The address asked for or announced.
    pub target: Ipv6Addr,
    /// The link-layer address option: of the sender in a solicitation, of the target in an advertisement.
    pub link_layer: Option<Mac>,
}

impl Neighbor {
    /// Reads the ICMPv6 message of either type. `None` if it is too short or its options are not what a receiver
    /// would accept.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let wanted = match *message.first()? {
            icmp::NEIGHBOR_SOLICITATION => 1,
            icmp::NEIGHBOR_ADVERTISEMENT => 2,
            _ => return None,
        };
        let target = array::<16>(message, 8)?.into();
        let mut options = message.get(24..)?;
        let mut link_layer = None;
        // Each option is at least eight bytes, so a packet's length bounds this.
        while let [kind, units, ..] = *options {
            let (option, rest) = options
                .split_at_checked(usize::from(units) * 8)
                .filter(|_| units > 0)?;
            if kind == wanted {
                let mac = array(option, 2).map(Mac)?;
                if link_layer.is_some_and(|other| other != mac) {
                    return None;
                }
                link_layer = Some(mac);
            }
            options = rest;
        }
        options.is_empty().then_some(Self { target, link_layer })
    }
}

/// The multicast address at which a neighbour is solicited, RFC 4291 section 2.7.1.
#[must_use]
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (a & 0xff), b)
}

/// The link-local address that follows from a MAC address by modified EUI-64, RFC 4291 appendix A.
#[must_use]
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::samples::{self, ONE, TWO};

    /// An IPv6 packet whose first header is `protocol`, and whatever follows.
    fn packet(protocol: u8, rest: &[u8]) -> Vec<u8> {
        samples::ipv6(ONE, TWO, protocol, rest).split_off(14)
    }

    #[test]
    fn every_kind_of_extension_is_walked() {
        let chain = [
            &[43, 0, 5, 2, 0, 0, 0, 0][..],
            &[60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[51, 0, 1, 4, 0, 0, 0, 0],
            &[44, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0],
            &[58, 0, 0, 1, 0, 0, 0, 9],
            b"icmp",
        ];
        let bytes = packet(0, &chain.concat());
        let parsed = Ipv6::parse(&bytes).unwrap();
        assert_eq!((parsed.protocol, parsed.payload), (ICMPV6, &b"icmp"[..]));
        assert!(parsed.extended && parsed.fragment && parsed.first);
        // Without its end the chain leads nowhere, wherever it is cut.
        for cut in 0..chain[..5].concat().len() {
            assert_eq!(
                Ipv6::parse(&packet(0, &chain.concat()[..cut])),
                None,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn later_fragments_end_the_walk() {
        let bytes = packet(44, &[60, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3]);
        let parsed = Ipv6::parse(&bytes).unwrap();
        assert!(parsed.fragment && !parsed.first);
        assert_eq!((parsed.protocol, parsed.payload), (60, &[1, 2, 3][..]));
    }

    #[test]
    fn lengths_are_not_believed_and_chains_are_bounded() {
        assert_eq!(Ipv6::parse(&packet(60, &[58, 255, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(Ipv6::parse(&packet(51, &[58, 9, 0, 0, 0, 0, 0, 0])), None);
        let options =
            |n: usize| [[60, 0, 1, 4, 0, 0, 0, 0].repeat(n), vec![59, 0, 1, 4, 0, 0, 0, 0]].concat();
        assert!(Ipv6::parse(&packet(60, &options(MAX_EXTENSIONS - 1))).is_some());
        assert_eq!(Ipv6::parse(&packet(60, &options(MAX_EXTENSIONS))), None);
        let mut longer_than_it_is = packet(17, b"12345678");
        longer_than_it_is[5] += 1;
        assert_eq!(Ipv6::parse(&longer_than_it_is), None);
    }

    #[test]
    fn neighbour_messages_and_their_options() {
        let message =
            |kind: u8, options: &[u8]| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &TWO.octets(), options].concat();
        let own = [2, 1, 2, 0, 0, 0, 0, 9];
        let parsed = Neighbor::parse(&message(136, &own)).unwrap();
        assert_eq!(
            (parsed.target, parsed.link_layer),
            (TWO, Some(Mac([2, 0, 0, 0, 0, 9])))
        );
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        assert_eq!(
            Neighbor::parse(&message(135, &nonce)).map(|ns| ns.link_layer),
            Some(None)
        );
        let other = [2, 1, 2, 0, 0, 0, 0, 8];
        for odd in [
            &[1, 0][..],
            &[1],
            &[1, 2, 0, 0, 0, 0, 0, 0],
            &[own, other].concat(),
        ] {
            assert_eq!(Neighbor::parse(&message(136, odd)), None, "{odd:?}");
        }
        assert_eq!(Neighbor::parse(&message(135, &[])[..23]), None);
        assert_eq!(Neighbor::parse(&message(134, &[])), None);
    }

    #[test]
    fn derived_addresses() {
        assert_eq!(
            link_local(Mac([0x02, 0x42, 0xac, 0x11, 0, 2])),
            "fe80::42:acff:fe11:2".parse::<Ipv6Addr>().unwrap()
        );
        let target = "2001:db8::12:3456".parse().unwrap();
        assert_eq!(
            solicited_node(target),
            "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap()
        );
    }
}
