//! Small networks of namespaces, for the demo and for tests: wires between hosts that exist only on this machine.
//!
//! Nothing here is marked as made by a router, so no router takes these interfaces for its own and none removes
//! them. They vanish with their namespaces.

use crate::netlink::{Mode, NetlinkError, Socket, address, link};
use crate::netns::{NetNs, NetNsError};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// One end of a wire: the namespace it lies in, and the interface's name there.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The namespace.
    pub netns: &'a NetNs,
    /// The interface's name, 1 to 15 bytes.
    pub name: &'a str,
}

impl End<'_> {
    /// Gives the interface an address with its prefix length; usable at once.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses the address.
    pub fn add_address(self, address: IpAddr, prefix: u8) -> Result<(), NetNsError> {
        self.with(|socket| {
            let index = link::index(socket, self.name)?;
            address::add(socket, index, address, prefix)
        })
    }

    /// Brings the interface up, or takes it down: the other end then has no carrier, as if the cable were pulled.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn set_up(self, up: bool) -> Result<(), NetNsError> {
        self.with(|socket| {
            if up {
                link::raise(socket, self.name)
            } else {
                link::lower(socket, self.name)
            }
        })
    }

    /// The interface's index in its namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn index(self) -> Result<u32, NetNsError> {
        self.with(|socket| link::index(socket, self.name))
    }

    fn with<T: Send>(
        self,
        work: impl FnOnce(&mut Socket) -> Result<T, NetlinkError> + Send,
    ) -> Result<T, NetNsError> {
        Ok(self.netns.run(|| work(&mut Socket::open()?))??)
    }
}

/// Lays a wire (a veth pair) between two namespaces, with an MTU in bytes; both ends are up.
///
/// # Errors
/// When an interface of that name exists, or the privileges don't allow it.
pub fn lay_wire(one: End<'_>, other: End<'_>, mtu: u32) -> Result<(), NetNsError> {
    let mut far = LinkMessage::default();
    far.attributes.push(LinkAttribute::IfName(other.name.to_owned()));
    far.attributes.push(LinkAttribute::Mtu(mtu));
    far.attributes
        .push(LinkAttribute::NetNsFd(other.netns.as_fd().as_raw_fd()));
    let mut near = LinkMessage::default();
    near.attributes.push(LinkAttribute::IfName(one.name.to_owned()));
    near.attributes.push(LinkAttribute::Mtu(mtu));
    near.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
    ]));
    let doing = format!("lay a wire from {} to {}", one.name, other.name);
    one.with(|socket| socket.change(&doing, RouteNetlinkMessage::NewLink(near), Mode::Create))?;
    one.set_up(true)?;
    other.set_up(true)
}
