//! What a container may send: frames from its own addresses, and nothing that steers others.
//!
//! Every frame that comes out of an attached port passes [`check`] first. Refused are
//!
//! - other MAC or IP addresses than the port's, in Ethernet, ARP, IPv4, IPv6 and neighbour discovery;
//! - what only a DHCP server sends, router advertisements and redirects (CVE-2020-10749 and its sisters);
//! - frames for the bridge itself (IEEE 802.1D group addresses, such as spanning tree);
//! - packets that hide what they are: broken or cut headers, neighbour discovery in fragments (RFC 6980).
//!
//! What is neither ARP nor IP passes if its MAC address is right.

use super::ipv6::{ICMPV6, Ipv6, Neighbor, icmp, link_local};
use super::parse::{ARP, Arp, Frame, IPV4, IPV6, Ipv4, UDP, udp_ports};
use mesh::{DropReason, Mac};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which link-local IPv6 addresses a port may use besides those listed as its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkLocal {
    /// The one that follows from its MAC address (modified EUI-64), which the kernel makes unless told otherwise.
    #[default]
    FromMac,
    /// Any in fe80::/10, for containers that make up their own (RFC 7217, RFC 8981).
    Any,
}

/// What is known of an attached port.
#[derive(Debug, Clone, Copy)]
pub struct Port<'a> {
    /// Its MAC address.
    pub mac: Mac,
    /// Its IP addresses.
    pub addresses: &'a [IpAddr],
    /// Its link-local addresses.
    pub link_local: LinkLocal,
    /// It is the host's own and forwards for others: what it sends may have come from any IP address. It still speaks for
    /// its own only in ARP and neighbour discovery.
    pub forwards: bool,
}

impl Port<'_> {
    fn owns4(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&IpAddr::V4(address))
    }

    fn may_send4(&self, source: Ipv4Addr) -> bool {
        self.owns4(source) || self.forwards && !source.is_unspecified()
    }

    fn owns6(&self, address: Ipv6Addr) -> bool {
        let local = match self.link_local {
            LinkLocal::FromMac => address == link_local(self.mac),
            LinkLocal::Any => address.is_unicast_link_local(),
        };
        local || self.addresses.contains(&IpAddr::V6(address))
    }
}

/// Ports of DHCP for IPv4 (RFC 2131) and IPv6 (RFC 8415).
#[derive(Debug, Clone, Copy)]
struct DhcpPorts {
    server: u16,
    client: u16,
}

const DHCP4: DhcpPorts = DhcpPorts {
    server: 67,
    client: 68,
};
const DHCP6: DhcpPorts = DhcpPorts {
    server: 547,
    client: 546,
};

/// Whether `port` may send `frame`; if not, under which reason it is dropped.
///
/// # Errors
/// [`SpoofedMac`](DropReason::SpoofedMac), [`SpoofedAddress`](DropReason::SpoofedAddress),
/// [`DhcpServer`](DropReason::DhcpServer), [`RouterAdvertisement`](DropReason::RouterAdvertisement) (redirects
/// too), [`HostBound`](DropReason::HostBound), or [`Malformed`](DropReason::Malformed) if it can't be told what it
/// is.
pub fn check(frame: &[u8], port: &Port<'_>) -> Result<(), DropReason> {
    let frame = Frame::parse(frame).ok_or(DropReason::Malformed)?;
    if frame.source != port.mac {
        return Err(DropReason::SpoofedMac);
    }
    if is_for_the_bridge(frame.destination) {
        return Err(DropReason::HostBound);
    }
    match frame.ethertype {
        ARP => check_arp(&Arp::parse(frame.payload).ok_or(DropReason::Malformed)?, port),
        IPV4 => check_ipv4(&Ipv4::parse(frame.payload).ok_or(DropReason::Malformed)?, port),
        IPV6 => check_ipv6(&Ipv6::parse(frame.payload).ok_or(DropReason::Malformed)?, port),
        _ => Ok(()),
    }
}

/// The group addresses that no bridge forwards, IEEE 802.1D table 7-10.
fn is_for_the_bridge(destination: Mac) -> bool {
    matches!(destination.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
}

fn check_arp(arp: &Arp, port: &Port<'_>) -> Result<(), DropReason> {
    // RFC 5227: a probe asks in nobody's name, so that no cache takes it in.
    let probe = arp.operation == Arp::REQUEST && arp.sender.is_unspecified();
    ensure(arp.sender_mac == port.mac, DropReason::SpoofedMac)?;
    ensure(probe || port.owns4(arp.sender), DropReason::SpoofedAddress)
}

fn check_ipv4(packet: &Ipv4<'_>, port: &Port<'_>) -> Result<(), DropReason> {
    let ports = if packet.first && packet.protocol == UDP {
        // A first fragment too short for its ports hides them (RFC 1858).
        Some(udp_ports(packet.payload).ok_or(DropReason::Malformed)?)
    } else {
        None
    };
    let asks_for_address = packet.source.is_unspecified()
        && packet.destination == Ipv4Addr::BROADCAST
        && ports == Some((DHCP4.client, DHCP4.server));
    ensure(
        asks_for_address || port.may_send4(packet.source),
        DropReason::SpoofedAddress,
    )?;
    ports.map_or(Ok(()), |ports| check_dhcp(ports, DHCP4))
}

/// Servers are known by either end's port, since clients do not all look at the sender's.
fn check_dhcp((from, to): (u16, u16), dhcp: DhcpPorts) -> Result<(), DropReason> {
    ensure(from != dhcp.server && to != dhcp.client, DropReason::DhcpServer)
}

fn check_ipv6(packet: &Ipv6<'_>, port: &Port<'_>) -> Result<(), DropReason> {
    let nobody = packet.source.is_unspecified();
    ensure(
        nobody || port.forwards || port.owns6(packet.source),
        DropReason::SpoofedAddress,
    )?;
    match packet.protocol {
        // Of a later fragment nothing else is known, but then the first one was looked at.
        _ if !packet.first => ensure(!nobody, DropReason::SpoofedAddress),
        ICMPV6 => check_icmpv6(packet, port),
        UDP => {
            let ports = udp_ports(packet.payload).ok_or(DropReason::Malformed)?;
            check_dhcp(ports, DHCP6)?;
            ensure(!nobody, DropReason::SpoofedAddress)
        }
        _ => ensure(!nobody, DropReason::SpoofedAddress),
    }
}

fn check_icmpv6(packet: &Ipv6<'_>, port: &Port<'_>) -> Result<(), DropReason> {
    let kind = *packet.payload.first().ok_or(DropReason::Malformed)?;
    if matches!(kind, icmp::ROUTER_ADVERTISEMENT | icmp::REDIRECT) {
        return Err(DropReason::RouterAdvertisement);
    }
    let discovery = (icmp::ROUTER_SOLICITATION..=icmp::REDIRECT).contains(&kind);
    ensure(!(discovery && packet.fragment), DropReason::Malformed)?;
    match kind {
        icmp::NEIGHBOR_SOLICITATION | icmp::NEIGHBOR_ADVERTISEMENT => check_neighbor(packet, kind, port),
        icmp::ROUTER_SOLICITATION => Ok(()),
        report if icmp::LISTENER_REPORTS.contains(&report) => Ok(()),
        _ => ensure(!packet.source.is_unspecified(), DropReason::SpoofedAddress),
    }
}

fn check_neighbor(packet: &Ipv6<'_>, kind: u8, port: &Port<'_>) -> Result<(), DropReason> {
    let message = Neighbor::parse(packet.payload).ok_or(DropReason::Malformed)?;
    ensure(
        message.link_layer.is_none_or(|mac| mac == port.mac),
        DropReason::SpoofedMac,
    )?;
    let nobody = packet.source.is_unspecified();
    if kind == icmp::NEIGHBOR_ADVERTISEMENT {
        ensure(!nobody && port.owns6(message.target), DropReason::SpoofedAddress)
    } else {
        // A probe for another's address would keep that one from using it (RFC 4862 section 5.4).
        ensure(!nobody || port.owns6(message.target), DropReason::SpoofedAddress)
    }
}

fn ensure(condition: bool, otherwise: DropReason) -> Result<(), DropReason> {
    if condition { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
mod tests;
