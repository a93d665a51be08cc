//! The steps of which a plan consists.

use crate::gateway::Gateway;
use crate::netns::NetNsRef;
use crate::observe::{Filter, Guarded, Hook, PortFlags};
use crate::plan::{Attachment, Limit};
use mesh::{Mac, Vni};
use std::net::{IpAddr, Ipv4Addr};

/// One step. Each may be done again without harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Make the bridge, a plain switch, with its address, MTU and silence; it stays down.
    CreateBridge {
        /// Its name.
        name: String,
        /// Its address.
        mac: Option<Mac>,
        /// Its MTU.
        mtu: u16,
    },
    /// Give an existing bridge the settings it should have.
    SetBridge {
        /// Its name.
        name: String,
        /// Its address.
        mac: Option<Mac>,
        /// Its MTU.
        mtu: u16,
    },
    /// Make an interface of the host's a port of the bridge, silent and with these settings. It is taken down
    /// before it changes bridges, so that it never forwards with the wrong settings.
    SetPort {
        /// The interface.
        name: String,
        /// The bridge.
        bridge: String,
        /// How the bridge shall treat it.
        flags: PortFlags,
        /// Its MTU.
        mtu: u16,
    },
    /// Make the pair of an attachment; both ends are down, the inner one under [`unfinished`](crate::names::unfinished).
    CreateVeth {
        /// The attachment.
        attachment: Attachment,
        /// MTU of both ends.
        mtu: u16,
    },
    /// Make the pair of stub and hatch; both are down, and silent.
    CreateStub {
        /// The stub.
        stub: String,
        /// The hatch.
        hatch: String,
        /// MTU of both.
        mtu: u16,
    },
    /// Make the VXLAN device; it is down, and silent.
    CreateVxlan {
        /// Its name.
        name: String,
        /// Its UDP port.
        port: u16,
        /// Its MTU.
        mtu: u16,
    },
    /// Make an interface that is no port of the bridge silent, set its MTU, and take it out if it is in.
    SetAside {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u16,
    },
    /// Hang a program of the fast path before an interface, in place of the one that may hang there.
    Hook {
        /// The interface.
        name: String,
        /// Which, and what it is told.
        hook: Hook,
    },
    /// Take the program behind the guard off an interface.
    Unhook {
        /// The interface.
        name: String,
    },
    /// Make the rule that takes VXLAN only by the interface that leads to its sender.
    Filter {
        /// Name of the table.
        name: String,
        /// What it says.
        rule: Filter,
    },
    /// Make a VXLAN device with a fixed table; it is down, and silent.
    CreatePlain {
        /// Its name.
        name: String,
        /// Its network.
        vni: Vni,
        /// Its UDP port.
        port: u16,
        /// Its MTU.
        mtu: u16,
    },
    /// Tell such a device at which host an address is.
    AddRemote {
        /// The device.
        name: String,
        /// The address.
        mac: Mac,
        /// The host.
        host: Ipv4Addr,
    },
    /// Take such an entry back.
    RemoveRemote {
        /// The device.
        name: String,
        /// The address.
        mac: Mac,
        /// The host.
        host: Ipv4Addr,
    },
    /// Remove it.
    Unfilter {
        /// Name of the table.
        name: String,
    },
    /// Forward for a network's containers, and make its table, in place of one that may be there.
    Gateway {
        /// Name of the table.
        name: String,
        /// The network's bridge.
        bridge: String,
        /// What it says.
        gateway: Gateway,
    },
    /// Remove that table.
    NoGateway {
        /// Its name.
        name: String,
    },
    /// Tell the bridge which address is behind a port.
    AddForwarding {
        /// The port.
        name: String,
        /// The address.
        mac: Mac,
    },
    /// Take such an entry back.
    RemoveForwarding {
        /// The port.
        name: String,
        /// The address.
        mac: Mac,
    },
    /// Hang the guard before an interface of the host's, in place of the guard that may hang there.
    Guard {
        /// The interface.
        name: String,
        /// What it enforces.
        rules: Guarded,
    },
    /// Let what leaves by an interface wait for its turn, in place of how it may do so now.
    Queue {
        /// The interface.
        name: String,
        /// How fast, and how much at once.
        limit: Limit,
        /// Its MTU.
        mtu: u16,
    },
    /// Bring an interface of the host's up.
    Raise {
        /// The interface.
        name: String,
    },
    /// Wait, but not for long, until frames pass an interface of the host's.
    Await {
        /// The interface.
        name: String,
    },
    /// Remove an interface of the host's; the other end of a pair goes with it.
    Delete {
        /// The interface.
        name: String,
    },
    /// Do something inside a container's namespace.
    Inside {
        /// Name of the attachment's host end.
        host: String,
        /// The namespace.
        netns: NetNsRef,
        /// The interface's name there, before this step.
        ifname: String,
        /// What to do.
        step: InsideStep,
    },
}

/// A step in a container's namespace, about one interface there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsideStep {
    /// Set the Ethernet address.
    Mac(Mac),
    /// Set the MTU.
    Mtu(u16),
    /// Ignore router advertisements, make addresses usable at once, and allow IPv6 if it will be needed.
    Settle {
        /// The interface gets an IPv6 address.
        ipv6: bool,
    },
    /// Take the interface down, because it bears a wrong name.
    Lower,
    /// Add an address.
    Address(IpAddr, u8),
    /// Let what leaves by the interface wait for its turn. It is for the container's own good, whose frames the guard would drop,
    /// and the container's own to change: it is done once, and that it can't be had is no failure.
    Queue(Limit),
    /// Give the interface its final name and bring it up.
    Reveal(String),
    /// Wait, but not for long, until frames pass the interface and its addresses can be found.
    Await,
    /// Send IPv4 multicast out by this interface, unless it has a way already.
    MulticastRoute,
}

impl Op {
    /// The attachment (name of its host end) or the interface this step is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::CreateVeth { attachment, .. } => &attachment.host_ifname,
            Self::CreateStub { stub, .. } => stub,
            Self::Inside { host, .. } => host,
            Self::CreateBridge { name, .. }
            | Self::SetBridge { name, .. }
            | Self::SetPort { name, .. }
            | Self::AddForwarding { name, .. }
            | Self::RemoveForwarding { name, .. }
            | Self::CreateVxlan { name, .. }
            | Self::CreatePlain { name, .. }
            | Self::AddRemote { name, .. }
            | Self::RemoveRemote { name, .. }
            | Self::SetAside { name, .. }
            | Self::Hook { name, .. }
            | Self::Unhook { name }
            | Self::Filter { name, .. }
            | Self::Unfilter { name }
            | Self::Gateway { name, .. }
            | Self::NoGateway { name }
            | Self::Guard { name, .. }
            | Self::Queue { name, .. }
            | Self::Raise { name }
            | Self::Await { name }
            | Self::Delete { name } => name,
        }
    }

    /// The namespace inside which it is done, if that is not the host's.
    pub(crate) fn place(&self) -> Option<&NetNsRef> {
        match self {
            Self::Inside { netns, .. } => Some(netns),
            _ => None,
        }
    }

    /// True when nothing more can be done about the subject once this step has failed.
    pub(crate) fn is_vital(&self) -> bool {
        matches!(
            self,
            Self::CreateBridge { .. } | Self::CreateVeth { .. } | Self::SetPort { .. }
        ) || matches!(
            self,
            Self::Guard { .. } | Self::CreateStub { .. } | Self::CreateVxlan { .. } | Self::Hook { .. }
        ) || matches!(self, Self::CreatePlain { .. })
    }
}
