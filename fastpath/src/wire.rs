//! Networks out of nothing: wires between namespaces, switches, and a look at what passes. The demo and the tests
//! build their hosts of these; the router itself does without.

use crate::kernel::KernelError;
use crate::netlink::{NetlinkError, Socket, address, link, neighbour, or_exists, route};
use crate::netns::NetNs;
use crate::sys;
use mesh::Mac;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `ETH_P_ALL`.
const ALL_PROTOCOLS: u16 = 3;

/// One end of a wire: a namespace and the interface's name there.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The namespace.
    pub netns: &'a NetNs,
    /// The interface.
    pub ifname: &'a str,
}

/// Lays a wire (a veth pair) between two namespaces; both ends are up.
///
/// # Errors
/// When a name is taken, or without privileges.
pub fn connect(left: End<'_>, right: End<'_>, mtu: u16) -> Result<(), KernelError> {
    inside(left.netns, |socket| {
        link::create_pair(socket, left.ifname, right.ifname, right.netns, mtu.into())
    })?;
    inside(right.netns, |socket| link::raise(socket, right.ifname))?;
    inside(left.netns, |socket| link::raise(socket, left.ifname))
}

/// Makes the end of a wire behave as a network card on a cable: what crosses are packets of at most its MTU, which the
/// receiving end may put together. Without this a wire inside one kernel carries super-frames whole, which flatters
/// whatever is measured on it.
///
/// # Errors
/// When the interface is not there, or the kernel does not know these features.
pub fn carry_packets(at: End<'_>) -> Result<(), KernelError> {
    const OFF: &[&str] = &[
        "tx-udp-segmentation",
        "tx-tcp-segmentation",
        "tx-tcp-ecn-segmentation",
        "tx-tcp-mangleid-segmentation",
        "tx-tcp6-segmentation",
    ];
    switch_features(at, OFF, &["rx-gro"])
}

/// Takes from an interface all that it would leave to a device: super-frames, checksums.
///
/// # Errors
/// When the interface is not there, or the kernel does not know these features.
pub fn leave_nothing(at: End<'_>) -> Result<(), KernelError> {
    const OFF: &[&str] = &[
        "tx-checksum-ip-generic",
        "tx-generic-segmentation",
        "tx-udp-segmentation",
        "tx-tcp-segmentation",
        "tx-tcp6-segmentation",
        "rx-gro",
    ];
    switch_features(at, OFF, &[])
}

fn switch_features(at: End<'_>, off: &[&str], on: &[&str]) -> Result<(), KernelError> {
    let set = || -> io::Result<()> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let names = sys::feature_names(&socket, at.ifname)?;
        // Of 32 features each: which are meant, and which of these shall be on.
        let mut blocks = vec![[0_u32; 2]; names.len().div_ceil(32)];
        for (place, name) in names.iter().map(String::as_str).enumerate() {
            let (block, bit) = (&mut blocks[place / 32], 1 << (place % 32));
            let [on, off] = [on.contains(&name), off.contains(&name)];
            block[0] |= if on || off { bit } else { 0 };
            block[1] |= if on { bit } else { 0 };
        }
        sys::set_features(&socket, at.ifname, &blocks)
    };
    let doing = format!("set the features of {}", at.ifname);
    let done = at.netns.run(set)?;
    Ok(done.map_err(|error| NetlinkError::new(doing, error))?)
}

/// Makes a VXLAN device (RFC 7348) between two fixed addresses and brings it up: what the kernel itself does, to
/// compare with. `port` is that of UDP.
///
/// # Errors
/// When the name is taken, or without privileges.
pub fn tunnel(at: End<'_>, id: u32, local: Ipv4Addr, remote: Ipv4Addr, port: u16) -> Result<(), KernelError> {
    inside(at.netns, |socket| {
        link::create_tunnel(socket, at.ifname, id, local, remote, port)?;
        link::raise(socket, at.ifname)
    })
}

/// Makes a switch (a bridge without an address of its own) in a namespace.
///
/// # Errors
/// When the name is taken, or without privileges.
pub fn switch(at: End<'_>) -> Result<(), KernelError> {
    inside(at.netns, |socket| {
        link::create_bridge(socket, at.ifname, None)?;
        let made = link::find(socket, at.ifname)?;
        link::silence(socket, &made)?;
        link::raise(socket, at.ifname)
    })
}

/// Plugs an interface of the switch's namespace into the switch.
///
/// # Errors
/// When one of them is not there.
pub fn plug(switch: End<'_>, ifname: &str) -> Result<(), KernelError> {
    inside(switch.netns, |socket| {
        let index = link::index(socket, switch.ifname)?;
        link::set_master(socket, ifname, index)
    })
}

/// Gives an interface an address, usable at once.
///
/// # Errors
/// When the interface is not there.
pub fn add_address(at: End<'_>, address: IpAddr, prefix: u8) -> Result<(), KernelError> {
    inside(at.netns, |socket| {
        let index = link::index(socket, at.ifname)?;
        address::add(socket, index, address, prefix)
    })
}

/// Enters where a neighbour is, so that nobody need ask.
///
/// # Errors
/// When the interface is not there.
pub fn add_neighbour(at: End<'_>, address: IpAddr, mac: Mac) -> Result<(), KernelError> {
    inside(at.netns, |socket| {
        let index = link::index(socket, at.ifname)?;
        neighbour::add_static(socket, index, address, mac)
    })
}

/// Adds a route by way of a gateway; `0.0.0.0/0` or `::/0` is the default route.
///
/// # Errors
/// When the gateway is on no link.
pub fn add_route(netns: &NetNs, destination: IpAddr, prefix: u8, gateway: IpAddr) -> Result<(), KernelError> {
    inside(netns, |socket| {
        or_exists(route::add_via(socket, destination, prefix, gateway))
    })
}

/// Takes an interface down, as if its cable were cut, or brings it up again.
///
/// # Errors
/// When the interface is not there.
pub fn set_up(at: End<'_>, up: bool) -> Result<(), KernelError> {
    inside(at.netns, |socket| {
        if up {
            link::raise(socket, at.ifname)
        } else {
            link::lower(socket, at.ifname)
        }
    })
}

/// An interface's index in its namespace.
///
/// # Errors
/// When the interface is not there.
pub fn index(at: End<'_>) -> Result<u32, KernelError> {
    inside(at.netns, |socket| link::index(socket, at.ifname))
}

/// Sets an interface's MTU in bytes.
///
/// # Errors
/// When the interface is not there, or can't.
pub fn set_mtu(at: End<'_>, mtu: u16) -> Result<(), KernelError> {
    inside(at.netns, |socket| link::set_mtu(socket, at.ifname, mtu.into()))
}

/// Removes an interface; nothing happens when it is not there.
///
/// # Errors
/// When it can't be removed.
pub fn delete(at: End<'_>) -> Result<(), KernelError> {
    inside(at.netns, |socket| link::delete(socket, at.ifname))
}

/// The names of the interfaces of a namespace.
///
/// # Errors
/// Without privileges to enter it.
pub fn interfaces(netns: &NetNs) -> Result<Vec<String>, KernelError> {
    inside(netns, |socket| {
        Ok(link::list(socket)?.into_iter().map(|link| link.name).collect())
    })
}

/// Takes the guard off an interface, as anybody with privileges may.
///
/// # Errors
/// When the interface is not there, or has none.
pub fn strip_guard(at: End<'_>) -> Result<(), KernelError> {
    inside(at.netns, |socket| {
        let index = link::index(socket, at.ifname)?;
        crate::netlink::tc::detach(socket, index, crate::netlink::tc::INGRESS)
    })
}

fn inside<T: Send>(
    netns: &NetNs,
    work: impl FnOnce(&mut Socket) -> Result<T, NetlinkError> + Send,
) -> Result<T, KernelError> {
    Ok(netns.run(|| work(&mut Socket::open()?))??)
}

/// Sees every frame of one interface, or of a whole namespace, and sends any frame by the interface.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Sees all that passes any interface of the namespace, both ways.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn of_namespace(netns: &NetNs) -> Result<Self, KernelError> {
        Ok(netns.run(|| Self::open(ALL_PROTOCOLS).map(Self))??)
    }

    /// Sees all that passes one interface, both ways, and may send by it.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the interface is not there.
    pub fn of_interface(at: End<'_>) -> Result<Self, KernelError> {
        let opened = at.netns.run(|| {
            let index = link::index(&mut Socket::open()?, at.ifname)?;
            let fd = Self::open(0)?;
            crate::sys::bind_packet(&fd, index, ALL_PROTOCOLS)
                .map_err(|error| NetlinkError::new(format!("listen on {}", at.ifname), error))?;
            Ok::<_, NetlinkError>(Self(fd))
        });
        Ok(opened??)
    }

    fn open(protocol: u16) -> Result<OwnedFd, NetlinkError> {
        let protocol = NonZeroU32::new(protocol.to_be().into()).map(Protocol::from_raw);
        rustix::net::socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(|error| NetlinkError::new("open a packet socket", error))
    }

    /// Makes [`receive`](Self::receive) give up after `timeout` with [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    /// For a timeout of zero.
    pub fn set_timeout(&self, timeout: std::time::Duration) -> io::Result<()> {
        let which = rustix::net::sockopt::Timeout::Recv;
        Ok(rustix::net::sockopt::set_socket_timeout(
            &self.0,
            which,
            Some(timeout),
        )?)
    }

    /// Waits for a frame; one longer than `buffer` is cut.
    ///
    /// # Errors
    /// `WouldBlock` at the timeout; `ENETDOWN` when the interface goes down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = rustix::net::recv(&self.0, buffer, RecvFlags::empty())?;
        Ok(length)
    }

    /// From now on every frame that is sent begins with a `virtio_net_hdr` of ten bytes, which says what of it is left
    /// to the kernel.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn leave_work(&self) -> io::Result<()> {
        crate::sys::leave_work(&self.0)
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// When the interface is down or the frame too long for it.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, frame, SendFlags::empty())?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
