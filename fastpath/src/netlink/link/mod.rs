//! Links: bridges, veth pairs, ports, and what all interfaces have. `make` has those that are made, `read` what the
//! kernel tells of them.

mod make;
mod read;

pub(crate) use make::{
    create_bridge, create_pair, create_plain, create_stub, create_tunnel, create_veth, create_vxlan,
    set_plain,
};
pub(crate) use read::parse;

use super::{Mode, NetlinkError, Socket};
use mesh::{Mac, Vni};
use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rustix::io::Errno;
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
    /// How it makes its IPv6 link-local address; `None`: the kernel has no IPv6.
    pub(crate) generation: Option<In6AddrGenMode>,
    pub(crate) settings: Settings,
}

/// What `/proc/sys/net` says of the interface; `None`: the kernel does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) disable_ipv6: Option<i32>,
    pub(crate) accept_ra: Option<i32>,
    pub(crate) dad_transmits: Option<i32>,
    pub(crate) arp_ignore: Option<i32>,
    pub(crate) rp_filter: Option<i32>,
    pub(crate) forwarding: Option<i32>,
    pub(crate) arp_notify: Option<i32>,
    pub(crate) ndisc_notify: Option<i32>,
}

impl Link {
    /// Makes itself an IPv6 link-local address.
    pub(crate) fn link_local(&self) -> bool {
        self.generation.is_some_and(|mode| mode != In6AddrGenMode::None)
    }
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

/// Those of these interfaces that there are.
pub(crate) fn those_of(
    socket: &mut Socket,
    names: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<Link>, NetlinkError> {
    let found = names.into_iter().map(|name| find(socket, name.as_ref()));
    let there = found.filter(|found| !matches!(found, Err(error) if error.is(Errno::NODEV)));
    there.collect()
}

/// The interface `name`.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Link, NetlinkError> {
    let doing = format!("find interface {name}");
    let mut request = named(name);
    request
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let answers = socket.get(&doing, RouteNetlinkMessage::GetLink(request))?;
    let found = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => parse(message),
        _ => None,
    });
    let found = found.ok_or_else(|| NetlinkError::new(doing, Errno::NODEV))?;
    socket.known.insert(name.to_owned(), found.index);
    Ok(found)
}

/// The index of the interface `name`; asked for once in a conversation.
pub(crate) fn index(socket: &mut Socket, name: &str) -> Result<u32, NetlinkError> {
    match socket.known.get(name) {
        Some(index) => Ok(*index),
        None => Ok(find(socket, name)?.index),
    }
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

/// Takes `name` out of its bridge.
pub(crate) fn release(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Controller(0));
    change(socket, &format!("take {name} out of the bridge"), message)
}

/// Removes an interface (both ends of a veth pair go); nothing happens when it is not there.
pub(crate) fn delete(socket: &mut Socket, name: &str) -> Result<(), NetlinkError> {
    socket.known.remove(name);
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
    let index = index(socket, old)?;
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfName(new.to_owned()));
    set_flag(&mut message, LinkFlags::Up, true);
    change(socket, &format!("bring {new} up"), message)?;
    socket.known.remove(old);
    socket.known.insert(new.to_owned(), index);
    Ok(())
}

/// Makes the interface neither ask nor answer ARP, and gives it no IPv6 link-local address: nothing of the host
/// speaks there. Works where `/proc/sys` can't be written.
pub(crate) fn silence(socket: &mut Socket, link: &Link) -> Result<(), NetlinkError> {
    let message = silent(link);
    change(socket, &format!("silence {}", link.name), message)
}

fn silent(link: &Link) -> LinkMessage {
    let mut message = named(&link.name);
    set_flag(&mut message, LinkFlags::Noarp, true);
    if link.link_local() {
        message
            .attributes
            .push(LinkAttribute::AfSpecUnspec(vec![made_by(In6AddrGenMode::None)]));
    }
    message
}

fn made_by(mode: In6AddrGenMode) -> AfSpecUnspec {
    AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)])
}

/// Sets how the interface makes its IPv6 link-local address.
pub(crate) fn set_address_generation(
    socket: &mut Socket,
    name: &str,
    mode: In6AddrGenMode,
) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![made_by(mode)]));
    change(socket, &format!("set IPv6 address generation of {name}"), message)
}

/// Makes `name` a port of the bridge with index `bridge`.
pub(crate) fn set_master(socket: &mut Socket, name: &str, bridge: u32) -> Result<(), NetlinkError> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::Controller(bridge));
    change(socket, &format!("put {name} into the bridge"), message)
}

/// Makes an interface silent, a port of the bridge with index `bridge` if it is none yet, and sets its MTU.
pub(crate) fn join(socket: &mut Socket, link: &Link, bridge: u32, mtu: u32) -> Result<(), NetlinkError> {
    let mut message = silent(link);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    if link.master != Some(bridge) {
        message.attributes.push(LinkAttribute::Controller(bridge));
    }
    change(socket, &format!("put {} into the bridge", link.name), message)
}

/// Sets how the bridge treats its port `name`; false if this kernel can't lock it (needs Linux 5.18).
pub(crate) fn set_port(socket: &mut Socket, name: &str, flags: PortFlags) -> Result<bool, NetlinkError> {
    let plain = vec![
        InfoBridgePort::Learning(flags.learning),
        InfoBridgePort::UnicastFlood(flags.unicast_flood),
        InfoBridgePort::MulticastFlood(flags.multicast_flood),
        InfoBridgePort::BroadcastFlood(flags.broadcast_flood),
        InfoBridgePort::HairpinMode(flags.hairpin),
        InfoBridgePort::Isolated(flags.isolated),
    ];
    let mut whole = plain.clone();
    whole.extend(flags.locked.map(InfoBridgePort::Locked));
    match change_port(socket, name, whole) {
        Err(error) if flags.locked.is_some() && (error.is(Errno::OPNOTSUPP) || error.is(Errno::INVAL)) => {
            change_port(socket, name, plain).map(|()| false)
        }
        other => other.map(|()| true),
    }
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
