//! The forwarding tables of bridges, and where neighbours are.

use super::{Mode, NetlinkError, Socket};
use mesh::Mac;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr};

/// One static entry of a bridge's forwarding table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Index of the port.
    pub(crate) port: u32,
    pub(crate) mac: Mac,
}

/// The static entries of all bridges.
pub(crate) fn list(socket: &mut Socket) -> Result<Vec<Entry>, NetlinkError> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Bridge;
    let answers = socket.dump(
        "list forwarding entries",
        &RouteNetlinkMessage::GetNeighbour(request),
    )?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) => parse(message),
            _ => None,
        })
        .collect())
}

fn parse(message: &NeighbourMessage) -> Option<Entry> {
    let has = |wanted: fn(&NeighbourAttribute) -> bool| message.attributes.iter().any(wanted);
    let in_bridge = has(|attribute| matches!(attribute, NeighbourAttribute::Controller(_)))
        && !has(|attribute| matches!(attribute, NeighbourAttribute::Vlan(_)));
    if !in_bridge || message.header.state != NeighbourState::Noarp {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => {
            let mac = Mac(bytes.as_slice().try_into().ok()?);
            Some(Entry {
                port: message.header.ifindex,
                mac,
            })
        }
        _ => None,
    })
}

fn entry(port: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    // NOARP is a static entry. PERMANENT would mean an address of the bridge itself.
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

/// The entries of VXLAN devices' own tables: device, address, and the IPv4 host where it is.
pub(crate) fn list_remotes(socket: &mut Socket) -> Result<Vec<(u32, Mac, Ipv4Addr)>, NetlinkError> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Bridge;
    let answers = socket.dump("list VXLAN tables", &RouteNetlinkMessage::GetNeighbour(request))?;
    let remote = |answer: &RouteNetlinkMessage| {
        let RouteNetlinkMessage::NewNeighbour(message) = answer else {
            return None;
        };
        let (mut mac, mut host) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.as_slice().try_into().ok().map(Mac);
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => host = Some(*address),
                NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                    host = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
                }
                _ => {}
            }
        }
        Some((message.header.ifindex, mac?, host?))
    };
    Ok(answers.iter().filter_map(remote).collect())
}

fn remote(device: u32, mac: Mac, host: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = device;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet(host)),
    ];
    message
}

/// Says at which host `mac` is, in the table of the VXLAN device with index `device`.
pub(crate) fn add_remote(
    socket: &mut Socket,
    device: u32,
    mac: Mac,
    host: Ipv4Addr,
) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::NewNeighbour(remote(device, mac, host));
    socket.change(&format!("enter {mac} at {host}"), request, Mode::Ensure)
}

/// Removes that entry; nothing happens when it is not there.
pub(crate) fn delete_remote(
    socket: &mut Socket,
    device: u32,
    mac: Mac,
    host: Ipv4Addr,
) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::DelNeighbour(remote(device, mac, host));
    super::or_missing(socket.change(&format!("forget {mac} at {host}"), request, Mode::Change))
}

/// Says that `mac` is behind the bridge port with index `port`, for good.
pub(crate) fn add(socket: &mut Socket, port: u32, mac: Mac) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::NewNeighbour(entry(port, mac));
    socket.change(&format!("add forwarding entry {mac}"), request, Mode::Ensure)
}

/// Removes that entry; nothing happens when it is not there.
pub(crate) fn delete(socket: &mut Socket, port: u32, mac: Mac) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::DelNeighbour(entry(port, mac));
    super::or_missing(socket.change(&format!("remove forwarding entry {mac}"), request, Mode::Change))
}

/// Says that `address` has this MAC address on the interface with index `index`, so that nobody asks.
pub(crate) fn add_static(
    socket: &mut Socket,
    index: u32,
    address: IpAddr,
    mac: Mac,
) -> Result<(), NetlinkError> {
    let mut message = NeighbourMessage::default();
    let (family, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    let request = RouteNetlinkMessage::NewNeighbour(message);
    socket.change(&format!("enter neighbour {address}"), request, Mode::Ensure)
}
