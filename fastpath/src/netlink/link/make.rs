//! Links that are made, each in one step with all that must be right from the start.

use super::{GROUP, change, named};
use crate::netlink::{Mode, NetlinkError, Socket};
use mesh::{Mac, Vni};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeMulticastRouterType, BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, InfoVxlan,
    LinkAttribute, LinkInfo, LinkMessage, VxlanDf,
};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

/// What makes a bridge a plain switch: no spanning tree, forwarding at once, multicast to every port.
pub(super) fn plain_switch() -> Vec<InfoBridge> {
    vec![
        InfoBridge::ForwardDelay(0),
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::MulticastSnooping(false),
        InfoBridge::MulticastRouter(BridgeMulticastRouterType::Disabled),
    ]
}

fn bridge_info(data: Vec<InfoBridge>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(data)),
    ])
}

/// Makes the bridge `name`; it is down.
pub(crate) fn create_bridge(socket: &mut Socket, name: &str, mac: Option<Mac>) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(GROUP));
    message
        .attributes
        .extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message.attributes.push(bridge_info(plain_switch()));
    socket.change(
        &format!("make bridge {name}"),
        RouteNetlinkMessage::NewLink(message),
        Mode::Create,
    )
}

/// Makes an existing bridge a plain switch again.
pub(crate) fn set_plain(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let doing = format!("set up bridge {name}");
    let mut set = |settings| {
        let mut message = named(name);
        message.attributes.push(bridge_info(settings));
        change(socket, &doing, message)
    };
    set(plain_switch())?;
    match set(vec![InfoBridge::VlanFiltering(false)]) {
        Err(error) if error.is(Errno::OPNOTSUPP) => Ok(()), // a kernel without any
        other => other,
    }
}

/// Makes a veth pair: `host` here, `inner` in the namespace `netns`; both down.
pub(crate) fn create_veth(
    socket: &mut Socket,
    host: &str,
    inner: &str,
    netns: &impl AsFd,
    mac: Mac,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let mut peer = named(inner);
    peer.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    peer.attributes.push(LinkAttribute::Mtu(mtu));
    peer.attributes
        .push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
    let mut message = named(host);
    message.attributes.push(LinkAttribute::Group(GROUP));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.push(pair_info(peer));
    socket.change(
        &format!("make veth pair {host}"),
        RouteNetlinkMessage::NewLink(message),
        Mode::Create,
    )
}

/// Makes a VXLAN device without a tunnel of its own: whatever comes to the port arrives by it, and what is sent by it
/// bears its tunnel along (`external`, in iproute2's words). It is down.
pub(crate) fn create_vxlan(socket: &mut Socket, name: &str, port: u16, mtu: u32) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(GROUP));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vxlan),
        LinkInfo::Data(InfoData::Vxlan(vec![
            InfoVxlan::CollectMetadata(true),
            InfoVxlan::Learning(false),
            InfoVxlan::Gbp,
            InfoVxlan::Port(port),
        ])),
    ]));
    socket.change(
        &format!("make VXLAN device {name} at UDP port {port}"),
        RouteNetlinkMessage::NewLink(message),
        Mode::Create,
    )
}

/// Makes a VXLAN device whose table is filled by hand, and whose packets are never fragmented. It is down.
pub(crate) fn create_plain(
    socket: &mut Socket,
    name: &str,
    vni: Vni,
    port: u16,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Group(GROUP));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vxlan),
        LinkInfo::Data(InfoData::Vxlan(vec![
            InfoVxlan::Id(vni.0),
            InfoVxlan::Learning(false),
            InfoVxlan::Port(port),
            InfoVxlan::Df(VxlanDf::Set),
        ])),
    ]));
    socket.change(
        &format!("make VXLAN device {name} with a fixed table at UDP port {port}"),
        RouteNetlinkMessage::NewLink(message),
        Mode::Create,
    )
}

/// Makes the stub and the hatch, a pair of this namespace; both down.
pub(crate) fn create_stub(
    socket: &mut Socket,
    stub: &str,
    hatch: &str,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let mut peer = named(hatch);
    peer.attributes.push(LinkAttribute::Mtu(mtu));
    let mut message = named(stub);
    message.attributes.push(LinkAttribute::Group(GROUP));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.push(pair_info(peer));
    socket.change(
        &format!("make veth pair {stub}"),
        RouteNetlinkMessage::NewLink(message),
        Mode::Create,
    )
}

/// Makes a pair for a wire: `here`, and `there` in the namespace `netns`.
pub(crate) fn create_pair(
    socket: &mut Socket,
    here: &str,
    there: &str,
    netns: &impl AsFd,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let mut peer = named(there);
    peer.attributes.push(LinkAttribute::Mtu(mtu));
    peer.attributes
        .push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
    let mut message = named(here);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.push(pair_info(peer));
    socket.change(
        &format!("lay a wire from {here}"),
        RouteNetlinkMessage::NewLink(message),
        Mode::Create,
    )
}

/// Makes a VXLAN device between two fixed addresses; `port` is that of UDP.
pub(crate) fn create_tunnel(
    socket: &mut Socket,
    name: &str,
    id: u32,
    local: Ipv4Addr,
    remote: Ipv4Addr,
    port: u16,
) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vxlan),
        LinkInfo::Data(InfoData::Vxlan(vec![
            InfoVxlan::Id(id),
            InfoVxlan::Local(local),
            InfoVxlan::Group(remote),
            InfoVxlan::Port(port),
        ])),
    ]));
    socket.change(
        &format!("make the VXLAN device {name}"),
        RouteNetlinkMessage::NewLink(message),
        Mode::Create,
    )
}

fn pair_info(peer: LinkMessage) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ])
}
