//! Routes: the multicast route of a container, and the way toward an address.

use super::{Mode, NetlinkError, Socket};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr};

/// 224.0.0.0/4, all IPv4 multicast groups (RFC 5771).
const MULTICAST: (Ipv4Addr, u8) = (Ipv4Addr::new(224, 0, 0, 0), 4);

fn multicast(interface: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = MULTICAST.1;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message
        .attributes
        .push(RouteAttribute::Destination(RouteAddress::Inet(MULTICAST.0)));
    message.attributes.push(RouteAttribute::Oif(interface));
    message
}

/// Adds a route by way of a gateway.
pub(crate) fn add_via(
    socket: &mut Socket,
    destination: IpAddr,
    prefix: u8,
    gateway: IpAddr,
) -> Result<(), NetlinkError> {
    let mut message = RouteMessage::default();
    message.header.address_family = if destination.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message
        .attributes
        .push(RouteAttribute::Destination(destination.into()));
    message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    let doing = format!("add a route to {destination}/{prefix} by {gateway}");
    socket.change(&doing, RouteNetlinkMessage::NewRoute(message), Mode::Create)
}

/// Sends IPv4 multicast out by `interface`, unless it has a way already.
pub(crate) fn add_multicast(socket: &mut Socket, interface: u32) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::NewRoute(multicast(interface));
    super::or_exists(socket.change("add the multicast route", request, Mode::Create))
}

/// True when the namespace's main table has a route for all of IPv4 multicast.
pub(crate) fn has_multicast(socket: &mut Socket) -> Result<bool, NetlinkError> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let answers = socket.dump("list routes", &RouteNetlinkMessage::GetRoute(request))?;
    let wanted = RouteAttribute::Destination(RouteAddress::Inet(MULTICAST.0));
    Ok(answers.iter().any(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => {
            route.header.table == RouteHeader::RT_TABLE_MAIN
                && route.header.destination_prefix_length == MULTICAST.1
                && route.attributes.contains(&wanted)
        }
        _ => false,
    }))
}

/// The kernel's way toward an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) interface: u32,
    pub(crate) source: Option<IpAddr>,
    pub(crate) gateway: Option<IpAddr>,
    /// The MTU set on the route or learnt for it, where there is one.
    pub(crate) mtu: Option<u32>,
}

/// Asks which way a packet to `destination` would go.
pub(crate) fn toward(socket: &mut Socket, destination: IpAddr) -> Result<Way, NetlinkError> {
    let doing = format!("find the route to {destination}");
    let mut message = RouteMessage::default();
    let (family, length) = match destination {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message
        .attributes
        .push(RouteAttribute::Destination(destination.into()));
    let answers = socket.get(&doing, RouteNetlinkMessage::GetRoute(message))?;
    let found = answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => read(route),
        _ => None,
    });
    found.ok_or_else(|| NetlinkError::new(doing, rustix::io::Errno::NETUNREACH))
}

fn read(route: &RouteMessage) -> Option<Way> {
    let mut way = Way {
        interface: 0,
        source: None,
        gateway: None,
        mtu: None,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => way.interface = *index,
            RouteAttribute::PrefSource(address) => way.source = ip(address),
            RouteAttribute::Gateway(address) => way.gateway = ip(address),
            RouteAttribute::Metrics(metrics) => {
                way.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (way.interface != 0).then_some(way)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
