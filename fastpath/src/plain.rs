//! The plan where eBPF can't be loaded: VXLAN devices with fixed tables, for direct neighbours only.
//!
//! ```text
//!  containers ── bridge ─┬─ VXLAN device (the network's VNI) ── underlay
//!                        └─ TAP ── router (sleeve)
//! ```
//! The bridge is told which addresses are behind the VXLAN device, and the device at which host each of them is. Whatever
//! is not in there goes to the TAP: the device gets no flooded frame, and both ports are isolated from each other, so
//! that nothing that came from one overlay leaves by the other. A second device, VNI 0, is the hatch for probes, which
//! the routers answer themselves here. Packets are taken from neighbours by the rule in `netlink::nft`; a kernel without
//! nftables has no fast path at all then.

use crate::names;
use crate::observe::{Filter, HostLink, Kind, Observed, PortFlags};
use crate::op::Op;
use crate::plan::{Desired, plan_port, plan_raise};
use mesh::{Mac, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// How far the port that fast paths without eBPF use is from the one that those with it use: each would drop what the
/// other sends.
pub const PORT_STEP: u16 = 1;

/// What it is to be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// The bridge's network.
    pub vni: Vni,
    /// Name of its device.
    pub vxlan: String,
    /// Name of the device for probes.
    pub hatch: String,
    /// Their UDP port.
    pub port: u16,
    /// Addresses behind other routers, and at which host they are.
    pub macs: BTreeMap<Mac, Ipv4Addr>,
    /// The neighbours from whom packets are taken, and who are probed.
    pub senders: BTreeSet<Ipv4Addr>,
}

impl Plain {
    /// The fast path without eBPF of the router with this bridge; nothing is behind it yet.
    #[must_use]
    pub fn of_bridge(bridge: &str, vni: Vni, port: u16) -> Self {
        Self {
            vni,
            vxlan: names::vxlan(bridge),
            hatch: names::hatch(bridge),
            port,
            macs: BTreeMap::new(),
            senders: BTreeSet::new(),
        }
    }
}

/// The made-up address to which probes for a host are sent.
#[must_use]
pub fn probe_mac(host: Ipv4Addr) -> Mac {
    let [a, b, c, d] = host.octets();
    Mac([2, 0x57, a, b, c, d])
}

/// How the bridge treats the device: nothing goes there but what it is told of.
pub(crate) const PLAIN_PORT: PortFlags = PortFlags {
    learning: false,
    unicast_flood: false,
    multicast_flood: false,
    broadcast_flood: false,
    hairpin: false,
    isolated: true,
    locked: Some(false),
};

/// Steps for all of it.
pub(crate) fn plan_plain(desired: &Desired, observed: &Observed, plain: &Plain, ops: &mut Vec<Op>) {
    let rule = Filter::At {
        port: plain.port,
        only: Some(plain.senders.iter().copied().map(IpAddr::V4).collect()),
        sealed: BTreeSet::new(),
    };
    if observed.filter != rule {
        ops.push(Op::Filter {
            name: names::filter(&desired.bridge),
            rule,
        });
    }
    if observed.link(&names::stub(&desired.bridge), Kind::Veth).is_some() {
        ops.push(Op::Delete {
            name: names::stub(&desired.bridge),
        });
    }
    let probes = plain
        .senders
        .iter()
        .map(|host| (probe_mac(*host), *host))
        .collect();
    let data = (&plain.vxlan, plain.vni, &plain.macs);
    let hatch = (&plain.hatch, Vni(0), &probes);
    for (name, vni, remotes) in [data, hatch] {
        let link = observed.link(name, Kind::Vxlan);
        let link = link.filter(|link| link.plain == Some((vni, plain.port)));
        if link.is_none() {
            if observed.links.contains_key(name) {
                ops.push(Op::Delete { name: name.clone() });
            }
            ops.push(Op::CreatePlain {
                name: name.clone(),
                vni,
                port: plain.port,
                mtu: desired.mtu,
            });
        }
        plan_remotes(name, link, remotes, ops);
        if *name == plain.vxlan {
            let forgets = plan_port(desired, name, link, PLAIN_PORT, ops);
            plan_forwarding(name, link.filter(|_| !forgets), remotes, ops);
        } else {
            crate::fast::plan_aside(name, link, desired.mtu, ops);
        }
        plan_raise(name, link, ops);
    }
}

fn plan_remotes(name: &str, link: Option<&HostLink>, wanted: &BTreeMap<Mac, Ipv4Addr>, ops: &mut Vec<Op>) {
    let there = link.map(|link| &link.remotes);
    for (mac, host) in there.into_iter().flatten() {
        if wanted.get(mac) != Some(host) {
            ops.push(Op::RemoveRemote {
                name: name.to_owned(),
                mac: *mac,
                host: *host,
            });
        }
    }
    for (mac, host) in wanted {
        if there.and_then(|there| there.get(mac)) != Some(host) {
            ops.push(Op::AddRemote {
                name: name.to_owned(),
                mac: *mac,
                host: *host,
            });
        }
    }
}

fn plan_forwarding(name: &str, link: Option<&HostLink>, wanted: &BTreeMap<Mac, Ipv4Addr>, ops: &mut Vec<Op>) {
    let there = link.map(|link| link.forwarded.as_slice()).unwrap_or_default();
    for mac in there.iter().filter(|mac| !wanted.contains_key(mac)) {
        ops.push(Op::RemoveForwarding {
            name: name.to_owned(),
            mac: *mac,
        });
    }
    for mac in wanted.keys().filter(|mac| !there.contains(mac)) {
        ops.push(Op::AddForwarding {
            name: name.to_owned(),
            mac: *mac,
        });
    }
}
