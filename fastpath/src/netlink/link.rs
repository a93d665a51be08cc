//! Links: bridges, veth pairs, ports, and what all interfaces have.

use super::{Mode, NetlinkError, Socket};
use mesh::{Mac, Vni};
use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeMulticastRouterType, BridgePortState, BridgeStpState, In6AddrGenMode,
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVxlan,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, VxlanDf,
};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// What kind of device a link is, as far as the router cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// A TUN or TAP device.
    Tun,
    /// A VXLAN device, made for programs that set each packet's tunnel.
    Vxlan,
    /// Anything else, a hardware interface for example.
    Other,
}

/// How a bridge treats one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are the kernel's switches, one each"
)]
pub struct PortFlags {
    /// Learns source addresses from what comes in.
    pub learning: bool,
    /// Gets unicast frames nobody else is known to want.
    pub unicast_flood: bool,
    /// Gets multicast frames.
    pub multicast_flood: bool,
    /// Gets broadcast frames.
    pub broadcast_flood: bool,
    /// Gets back what it sent.
    pub hairpin: bool,
    /// Exchanges nothing with other isolated ports.
    pub isolated: bool,
    /// Lets in only frames whose source address is in the forwarding table for this port. `None`: the kernel is
    /// older than 5.18 and can't.
    pub locked: Option<bool>,
}

/// The settings of a bridge that the router minds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeSettings {
    /// Spanning tree off, no forward delay, no multicast snooping, no multicast router port: a plain switch.
    pub plain: bool,
}

/// One link, as a dump shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// The interface neither asks nor answers ARP.
    pub(crate) noarp: bool,
    pub(crate) loopback: bool,
    /// Has a carrier, and the kernel has acted on it: frames pass.
    pub(crate) running: bool,
    /// The bridge it is a port of does not forward for it yet.
    pub(crate) port_waits: bool,
    /// Index of the bridge (or other master) this is a port of.
    pub(crate) master: Option<u32>,
    /// Index of the other end of a veth pair, in its own namespace.
    pub(crate) peer: Option<u32>,
    /// The other end is in another namespace.
    pub(crate) peer_elsewhere: bool,
    pub(crate) port: Option<PortFlags>,
    pub(crate) bridge: Option<BridgeSettings>,
    /// UDP port, when it is a VXLAN device as the router makes it.
    pub(crate) vxlan_port: Option<u16>,
    /// Network and UDP port, when it is a VXLAN device with a fixed table.
    pub(crate) plain: Option<(Vni, u16)>,
    /// Made by a router: it bears our group number.
    pub(crate) ours: bool,
    /// Makes itself an IPv6 link-local address.
    pub(crate) link_local: bool,
}

/// The group number (IFLA_GROUP) of what routers make, "weft" in ASCII. It is set in the same step that makes the
/// device, so there is none without it.
const GROUP: u32 = u32::from_be_bytes(*b"weft");

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn set_flag(message: &mut LinkMessage, flag: LinkFlags, on: bool) {
    message.header.change_mask |= flag;
    message.header.flags.set(flag, on);
}

fn change(socket: &mut Socket, doing: &str, message: LinkMessage) -> Result<(), NetlinkError> {
    socket.change(doing, RouteNetlinkMessage::NewLink(message), Mode::Change)
}

/// All links of the namespace.
pub(crate) fn list(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let mut request = LinkMessage::default();
    request
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let answers = socket.dump("list interfaces", &RouteNetlinkMessage::GetLink(request))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => parse(message),
            _ => None,
        })
        .collect())
}

/// The interface `name`.
/// The interface `name`.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Link, NetlinkError> {
    let doing = format!("find interface {name}");
    let answers = socket.get(&doing, RouteNetlinkMessage::GetLink(named(name)))?;
    let found = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => parse(message),
        _ => None,
    });
    found.ok_or_else(|| NetlinkError::new(doing, Errno::NODEV))
}

/// The index of the interface `name`.
pub(crate) fn index(socket: &mut Socket, name: &str) -> Result<u32, NetlinkError> {
    Ok(find(socket, name)?.index)
}

/// Waits until frames pass the interface `name`, which is up; false when they still don't after a while.
///
/// The kernel acts on a new carrier only a moment after the request that made it. A frame sent in that moment is
/// lost, and if it was an ARP request, the next comes a second later.
pub(crate) fn await_running(socket: &mut Socket, name: &str) -> Result<bool, NetlinkError> {
    const PATIENCE: Duration = Duration::from_millis(500);
    let start = Instant::now();
    loop {
        let link = find(socket, name)?;
        let passes = link.running && !link.port_waits;
        if passes || start.elapsed() > PATIENCE {
            return Ok(passes);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reads a link message; `None` for one without a name.
pub(crate) fn parse(message: LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: Kind::Other,
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        noarp: flags.contains(LinkFlags::Noarp),
        loopback: flags.contains(LinkFlags::Loopback),
        running: flags.contains(LinkFlags::Running),
        port_waits: false,
        master: None,
        peer: None,
        peer_elsewhere: false,
        port: None,
        bridge: None,
        vxlan_port: None,
        plain: None,
        ours: false,
        link_local: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes).ok().map(Mac),
            LinkAttribute::Group(group) => link.ours = group == GROUP,
            LinkAttribute::AfSpecUnspec(families) => link.link_local = has_link_local(&families),
            LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| read_info(&mut link, info)),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn has_link_local(families: &[AfSpecUnspec]) -> bool {
    let modes = families.iter().filter_map(|family| match family {
        AfSpecUnspec::Inet6(settings) => Some(settings),
        _ => None,
    });
    let on = |setting: &AfSpecInet6| matches!(setting, AfSpecInet6::AddrGenMode(mode) if *mode != In6AddrGenMode::None);
    modes.flatten().any(on)
}

fn read_info(link: &mut Link, info: LinkInfo) {
    match info {
        LinkInfo::Kind(InfoKind::Bridge) => link.kind = Kind::Bridge,
        LinkInfo::Kind(InfoKind::Veth) => link.kind = Kind::Veth,
        LinkInfo::Kind(InfoKind::Tun) => link.kind = Kind::Tun,
        LinkInfo::Kind(InfoKind::Vxlan) => link.kind = Kind::Vxlan,
        LinkInfo::Data(InfoData::Vxlan(settings)) => {
            link.vxlan_port = read_vxlan(&settings);
            link.plain = read_plain(&settings);
        }
        LinkInfo::Data(InfoData::Bridge(settings)) => {
            link.bridge = Some(BridgeSettings {
                plain: is_plain(&settings),
            });
        }
        LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
            link.port = Some(read_port(&settings));
            link.port_waits = !settings.contains(&InfoBridgePort::State(BridgePortState::Forwarding));
        }
        _ => {}
    }
}

/// The port, if the device takes packets for every tunnel, with labels, and learns nothing.
fn read_vxlan(settings: &[InfoVxlan]) -> Option<u16> {
    let has = |wanted: InfoVxlan| settings.contains(&wanted);
    let port = settings.iter().find_map(|setting| match setting {
        InfoVxlan::Port(port) => Some(*port),
        _ => None,
    });
    let is_ours =
        has(InfoVxlan::CollectMetadata(true)) && has(InfoVxlan::Gbp) && has(InfoVxlan::Learning(false));
    port.filter(|_| is_ours)
}

/// Network and port, if the device has a table that is filled by hand.
fn read_plain(settings: &[InfoVxlan]) -> Option<(Vni, u16)> {
    let has = |wanted: InfoVxlan| settings.contains(&wanted);
    let port = settings.iter().find_map(|setting| match setting {
        InfoVxlan::Port(port) => Some(*port),
        _ => None,
    });
    let vni = settings.iter().find_map(|setting| match setting {
        InfoVxlan::Id(id) => Some(Vni(*id)),
        _ => None,
    });
    let is_ours = !has(InfoVxlan::CollectMetadata(true)) && has(InfoVxlan::Learning(false));
    vni.zip(port).filter(|_| is_ours)
}

fn read_port(settings: &[InfoBridgePort]) -> PortFlags {
    let has = |wanted: InfoBridgePort| settings.contains(&wanted);
    PortFlags {
        learning: has(InfoBridgePort::Learning(true)),
        unicast_flood: has(InfoBridgePort::UnicastFlood(true)),
        multicast_flood: has(InfoBridgePort::MulticastFlood(true)),
        broadcast_flood: has(InfoBridgePort::BroadcastFlood(true)),
        hairpin: has(InfoBridgePort::HairpinMode(true)),
        isolated: has(InfoBridgePort::Isolated(true)),
        locked: settings.iter().find_map(|setting| match setting {
            InfoBridgePort::Locked(on) => Some(*on),
            _ => None,
        }),
    }
}

/// What makes a bridge a plain switch: no spanning tree, forwarding at once, multicast to every port.
fn plain_switch() -> Vec<InfoBridge> {
    vec![
        InfoBridge::ForwardDelay(0),
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::MulticastSnooping(false),
        InfoBridge::MulticastRouter(BridgeMulticastRouterType::Disabled),
    ]
}

/// What the kernel was built without, it does not list; that is as good as switched off.
fn is_plain(settings: &[InfoBridge]) -> bool {
    let mut wanted = plain_switch();
    wanted.push(InfoBridge::VlanFiltering(false));
    settings.iter().all(|found| {
        let same = |wanted: &&InfoBridge| std::mem::discriminant(*wanted) == std::mem::discriminant(found);
        wanted.iter().find(same).is_none_or(|wanted| wanted == found)
    })
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

/// Takes `name` out of its bridge.
pub(crate) fn release(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Controller(0));
    change(socket, &format!("take {name} out of the bridge"), message)
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

/// Removes an interface (both ends of a veth pair go); nothing happens when it is not there.
pub(crate) fn delete(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let request = RouteNetlinkMessage::DelLink(named(name));
    super::or_missing(socket.change(&format!("remove {name}"), request, Mode::Change))
}

/// Sets the MTU.
pub(crate) fn set_mtu(socket: &mut Socket, name: &str, mtu: u32) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    change(socket, &format!("set the MTU of {name} to {mtu}"), message)
}

/// Sets the Ethernet address.
pub(crate) fn set_mac(socket: &mut Socket, name: &str, mac: Mac) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    change(socket, &format!("set the address of {name} to {mac}"), message)
}

/// Brings the interface up.
pub(crate) fn raise(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut message = named(name);
    set_flag(&mut message, LinkFlags::Up, true);
    change(socket, &format!("bring {name} up"), message)
}

/// Takes the interface down.
pub(crate) fn lower(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut message = named(name);
    set_flag(&mut message, LinkFlags::Up, false);
    change(socket, &format!("take {name} down"), message)
}

/// Gives the interface its final name and brings it up, in one step that nobody sees half done.
pub(crate) fn reveal(socket: &mut Socket, old: &str, new: &str) -> Result<(), NetlinkError> {
    let mut message = LinkMessage::default();
    message.header.index = index(socket, old)?;
    message.attributes.push(LinkAttribute::IfName(new.to_owned()));
    set_flag(&mut message, LinkFlags::Up, true);
    change(socket, &format!("bring {new} up"), message)
}

/// Makes the interface neither ask nor answer ARP, and gives it no IPv6 link-local address: nothing of the host
/// speaks there. Works where `/proc/sys` can't be written.
pub(crate) fn silence(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut message = named(name);
    set_flag(&mut message, LinkFlags::Noarp, true);
    change(socket, &format!("switch off ARP on {name}"), message)?;
    let gone = set_address_generation(socket, name, In6AddrGenMode::None);
    // A kernel without IPv6, or with it switched off at boot, has nothing to silence.
    gone.or_else(|error| {
        let without = [Errno::AFNOSUPPORT, Errno::OPNOTSUPP, Errno::INVAL, Errno::NODEV];
        if without.iter().any(|&errno| error.is(errno)) {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Sets how the interface makes its IPv6 link-local address.
pub(crate) fn set_address_generation(
    socket: &mut Socket,
    name: &str,
    mode: In6AddrGenMode,
) -> Result<(), NetlinkError> {
    let mut message = named(name);
    let setting = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)]);
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![setting]));
    change(socket, &format!("set IPv6 address generation of {name}"), message)
}

/// Makes `name` a port of the bridge with index `bridge`.
pub(crate) fn set_master(socket: &mut Socket, name: &str, bridge: u32) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Controller(bridge));
    change(socket, &format!("put {name} into the bridge"), message)
}

/// Sets how the bridge treats its port `name`, `locked` excepted.
pub(crate) fn set_port(socket: &mut Socket, name: &str, flags: PortFlags) -> Result<(), NetlinkError> {
    change_port(
        socket,
        name,
        vec![
            InfoBridgePort::Learning(flags.learning),
            InfoBridgePort::UnicastFlood(flags.unicast_flood),
            InfoBridgePort::MulticastFlood(flags.multicast_flood),
            InfoBridgePort::BroadcastFlood(flags.broadcast_flood),
            InfoBridgePort::HairpinMode(flags.hairpin),
            InfoBridgePort::Isolated(flags.isolated),
        ],
    )
}

/// Locks the port (kernel 5.18), or unlocks it.
pub(crate) fn lock_port(socket: &mut Socket, name: &str, locked: bool) -> Result<(), NetlinkError> {
    change_port(socket, name, vec![InfoBridgePort::Locked(locked)])
}

fn change_port(socket: &mut Socket, name: &str, data: Vec<InfoBridgePort>) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(data)),
    ]));
    change(socket, &format!("set up bridge port {name}"), message)
}

/// Notes in words what the interface is for (`ip link` shows it).
pub(crate) fn set_alias(socket: &mut Socket, name: &str, alias: &str) -> Result<(), NetlinkError> {
    const IFLA_IFALIAS: u16 = 20;
    let mut message = named(name);
    // Written by hand: the kernel takes the text without a closing zero.
    let text = alias.as_bytes().iter().copied().take(255).collect();
    message
        .attributes
        .push(LinkAttribute::Other(DefaultNla::new(IFLA_IFALIAS, text)));
    change(socket, &format!("note the use of {name}"), message)
}
