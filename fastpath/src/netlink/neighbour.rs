//! The forwarding tables of bridges, and where neighbours are.

use super::{Mode, NetlinkError, Socket};
use mesh::Mac;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

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
