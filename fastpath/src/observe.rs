//! What is there: the part of the kernel's state that the plan compares with what is desired.

use crate::gateway::Gateway;
use crate::names;
use crate::plan::Limit;
use mesh::{Mac, Vni};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

pub use crate::netlink::link::{BridgeSettings, Kind, PortFlags};
pub use crate::netlink::tc::Queue;

/// All that matters to one router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The links of the host's namespace that bear one of this router's names, by name.
    pub links: BTreeMap<String, HostLink>,
    /// What each desired attachment looks like from inside, by the name of its host end.
    pub inside: BTreeMap<String, Inside>,
    /// The eBPF guard could be loaded, so ports and bridge are to be guarded by it.
    pub guard: bool,
    /// The programs of the fast path could be loaded, so it is to be laid.
    pub switch: bool,
    /// The rule that takes VXLAN only by the interface that leads to its sender.
    pub filter: Filter,
    /// The table of a network whose containers reach what is outside by this host, and forwarding is on.
    pub gateway: Option<Gateway>,
}

/// That rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Filter {
    /// The kernel has no nftables, or not all of it that is needed: it goes without.
    Unavailable,
    /// It is not there.
    #[default]
    Missing,
    /// It is there.
    At {
        /// For this UDP port.
        port: u16,
        /// The only addresses packets are taken from; none: the programs see to that.
        only: Option<BTreeSet<IpAddr>>,
        /// The addresses to which nothing may go unencrypted.
        sealed: BTreeSet<IpAddr>,
    },
}

/// A link in the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// Its number.
    pub index: u32,
    /// What it is; a bridge that no router made counts as [`Kind::Other`].
    pub kind: Kind,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
    /// The host itself says and answers nothing there: no ARP, no IPv6.
    pub quiet: bool,
    /// It is a port of this router's bridge.
    pub in_bridge: bool,
    /// How its bridge treats it, when it is a port.
    pub port: Option<PortFlags>,
    /// The settings, when it is a bridge.
    pub bridge: Option<BridgeSettings>,
    /// The static addresses in the bridge's forwarding table for this port.
    pub forwarded: Vec<Mac>,
    /// What the guard's program on it enforces.
    pub guard: Option<Guarded>,
    /// UDP port, when it is a VXLAN device as the router makes it.
    pub vxlan_port: Option<u16>,
    /// Network and UDP port, when it is a VXLAN device as it is made where there is no eBPF.
    pub plain: Option<(Vni, u16)>,
    /// The fixed table of such a device: at which host an address is.
    pub remotes: BTreeMap<Mac, Ipv4Addr>,
    /// Where what leaves by it waits for its turn, if that is to be so.
    pub queue: Option<Queue>,
    /// What of the fast path hangs before it.
    pub hook: Option<Hook>,
    /// A program hangs there behind the guard, be it this run's or an earlier one's.
    pub behind_guard: bool,
}

/// A program of the fast path, and what it was told. `vxlan.bpf.c` says what each does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// Before what a container sends, behind the guard; and what is for its address is delivered by it.
    Port {
        /// Its network.
        vni: Vni,
        /// Its address.
        mac: Mac,
        /// What is for it goes over the bridge, and out by its own queue: it is the host's own interface, or limited.
        by_bridge: bool,
    },
    /// Before what leaves by the stub, the bridge's mesh port.
    Stub {
        /// The bridge's network.
        vni: Vni,
        /// Where to send what the fast path does not reach.
        tap: String,
    },
    /// Before what comes in by the VXLAN device.
    Vxlan,
    /// Before what the router writes to the TAP.
    Tap {
        /// The bridge's network.
        vni: Vni,
        /// Where to deliver it.
        stub: String,
    },
    /// Before what leaves by the hatch, the stub's other end.
    Hatch,
}

impl Hook {
    /// The other interface that the program is told of.
    pub(crate) fn other(&self) -> Option<&str> {
        match self {
            Self::Stub { tap: other, .. } | Self::Tap { stub: other, .. } => Some(other),
            Self::Port { .. } | Self::Vxlan | Self::Hatch => None,
        }
    }
}

/// What a port has to do with the host's forwarding for containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// Nothing.
    #[default]
    No,
    /// Its container reaches what is outside by the host; what the two send each other goes past the bridge.
    Through,
    /// It is the host's own: IP packets of others, too, come out of it.
    Host,
}

/// What the guard lets through on one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// Nothing: frames for the host itself.
    Host,
    /// Frames from this container only.
    Port {
        /// Its Ethernet address.
        mac: Mac,
        /// Its IP addresses, in order.
        addresses: Vec<IpAddr>,
        /// What it has to do with forwarding, in the network of this number.
        gate: (Gate, u32),
        /// How much it may send.
        limit: Option<Limit>,
    },
}

/// An attachment as seen from the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// The namespace does not exist any more.
    Gone,
    /// The namespace can't be looked into now.
    Unreadable(String),
    /// Where it is, is somebody else's business.
    Handed,
    /// The namespace is there.
    Present {
        /// The container's end of the pair, under whatever name.
        link: Option<InsideLink>,
        /// Something that is not ours has the name the container's end should get.
        name_taken: bool,
        /// The namespace has a route for all of IPv4 multicast.
        multicast_route: bool,
    },
}

/// The container's end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsideLink {
    /// Its name now.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
    /// Router advertisements are ignored and duplicate-address detection is off.
    pub settled: bool,
    /// Its addresses with prefix lengths, IPv6 link-local ones excepted.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Observed {
    /// The link `name`, when it is of that kind.
    pub(crate) fn link(&self, name: &str, kind: Kind) -> Option<&HostLink> {
        self.links.get(name).filter(|link| link.kind == kind)
    }

    /// Attachments (names of host ends) whose namespace does not exist any more. The caller drops them.
    #[must_use]
    pub fn gone(&self) -> Vec<String> {
        let gone = self.inside.iter().filter(|(_, inside)| **inside == Inside::Gone);
        gone.map(|(host, _)| host.clone()).collect()
    }

    /// Host ends of this router that no attachment wants.
    pub(crate) fn stale<'a>(
        &'a self,
        bridge: &'a str,
        wanted: &'a [crate::plan::Attachment],
    ) -> impl Iterator<Item = &'a str> {
        self.links
            .iter()
            .filter(move |(name, link)| names::is_host(bridge, name) && link.kind == Kind::Veth)
            .map(|(name, _)| name.as_str())
            .filter(move |name| !wanted.iter().any(|attachment| attachment.host_ifname == *name))
    }
}
