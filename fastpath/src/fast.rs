//! The plan for the fast path's devices: the stub as the bridge's one mesh port, the hatch behind it, and VXLAN.
//!
//! ```text
//!  containers ── bridge ── stub ─┬─► VXLAN device ── underlay
//!                                └─► TAP ── router (sleeve)
//! ```
//! The stub stands where the TAP stands without fast path: the TAP goes with the router's process, and the bridge
//! must keep its way to the mesh. A program is there before frames are.

use crate::names;
use crate::observe::{Filter, Hook, HostLink, Kind, Observed};
use crate::op::Op;
use crate::plan::{Desired, TAP_PORT, plan_port, plan_raise};
use mesh::Vni;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What one network's fast path is to be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fast {
    /// The bridge's network.
    pub vni: Vni,
    /// Name of the stub.
    pub stub: String,
    /// Name of the stub's other end.
    pub hatch: String,
    /// Name of the VXLAN device; networks of one router share it.
    pub vxlan: String,
    /// Its UDP port, the same on all hosts.
    pub port: u16,
    /// The router's probes enter and leave by this hatch: that of one network only.
    pub probes: bool,
    /// Where nothing may go unencrypted.
    pub sealed: BTreeSet<IpAddr>,
}

impl Fast {
    /// The fast path of the router with this bridge.
    #[must_use]
    pub fn of_bridge(bridge: &str, vni: Vni, port: u16) -> Self {
        Self {
            vni,
            stub: names::stub(bridge),
            hatch: names::hatch(bridge),
            vxlan: names::vxlan(bridge),
            port,
            probes: true,
            sealed: BTreeSet::new(),
        }
    }

    /// The fast path of another network of the same router.
    #[must_use]
    pub fn of_network(&self, bridge: &str, vni: Vni) -> Self {
        Self {
            vxlan: self.vxlan.clone(),
            probes: false,
            ..Self::of_bridge(bridge, vni, self.port)
        }
    }
}

/// The fast path that is to be laid now, as far as the kernel can.
pub(crate) fn wanted<'a>(desired: &'a Desired, observed: &Observed) -> Option<&'a Fast> {
    desired.fast.as_ref().filter(|_| observed.switch)
}

/// Steps for all of it; the TAP is there already.
pub(crate) fn plan_fast(
    desired: &Desired,
    observed: &Observed,
    fast: &Fast,
    tap: &HostLink,
    ops: &mut Vec<Op>,
) {
    let vxlan = observed.link(&fast.vxlan, Kind::Vxlan);
    let right = vxlan.filter(|link| link.vxlan_port == Some(fast.port));
    if right.is_none() {
        if observed.links.contains_key(&fast.vxlan) {
            ops.push(Op::Delete {
                name: fast.vxlan.clone(),
            });
        }
        ops.push(Op::CreateVxlan {
            name: fast.vxlan.clone(),
            port: fast.port,
            mtu: desired.mtu,
        });
    }
    let stub = observed.link(&fast.stub, Kind::Veth);
    let hatch = observed.link(&fast.hatch, Kind::Veth);
    // Each goes with the other.
    let (stub, hatch) = stub.zip(hatch).unzip();
    if stub.is_none() {
        for name in [&fast.stub, &fast.hatch] {
            if observed.links.contains_key(name) {
                ops.push(Op::Delete { name: name.clone() });
            }
        }
        ops.push(Op::CreateStub {
            stub: fast.stub.clone(),
            hatch: fast.hatch.clone(),
            mtu: desired.mtu,
        });
    }
    let vni = fast.vni;
    let at_stub = Hook::Stub {
        vni,
        tap: desired.tap.clone(),
    };
    let at_tap = Hook::Tap {
        vni,
        stub: fast.stub.clone(),
    };
    // The port is one for all networks, and so is its filter.
    let rule = Filter::At {
        port: fast.port,
        only: None,
        sealed: fast.sealed.clone(),
    };
    if fast.probes && observed.filter != Filter::Unavailable && observed.filter != rule {
        ops.push(Op::Filter {
            name: names::filter(&desired.bridge),
            rule,
        });
    }
    aside(&fast.vxlan, right, Some(Hook::Vxlan), desired.mtu, ops);
    let at_hatch = fast.probes.then_some(Hook::Hatch);
    aside(&fast.hatch, hatch, at_hatch, desired.mtu, ops);
    plan_hook(&fast.stub, stub, at_stub, ops);
    aside(&desired.tap, Some(tap), Some(at_tap), desired.mtu, ops);
    plan_port(desired, &fast.stub, stub, TAP_PORT, ops);
    plan_raise(&fast.stub, stub, ops);
}

/// A device that is no port of the bridge.
fn aside(name: &str, link: Option<&HostLink>, hook: Option<Hook>, mtu: u16, ops: &mut Vec<Op>) {
    plan_aside(name, link, mtu, ops);
    if let Some(hook) = hook {
        plan_hook(name, link, hook, ops);
    }
    plan_raise(name, link, ops);
}

pub(crate) fn plan_aside(name: &str, link: Option<&HostLink>, mtu: u16, ops: &mut Vec<Op>) {
    let right = link.is_some_and(|link| link.quiet && !link.in_bridge && link.mtu == u32::from(mtu));
    if !right {
        ops.push(Op::SetAside {
            name: name.to_owned(),
            mtu,
        });
    }
}

pub(crate) fn plan_hook(name: &str, link: Option<&HostLink>, hook: Hook, ops: &mut Vec<Op>) {
    if link.and_then(|link| link.hook.as_ref()) != Some(&hook) {
        ops.push(Op::Hook {
            name: name.to_owned(),
            hook,
        });
    }
}

/// Steps that take the fast path away where none is wanted.
pub(crate) fn plan_none(desired: &Desired, observed: &Observed, ops: &mut Vec<Op>) {
    let bridge = &desired.bridge;
    let is_there = |name: &String, kind| observed.link(name, kind).is_some();
    // Each end of the pair goes with the other.
    let pair = [names::stub(bridge), names::hatch(bridge)]
        .into_iter()
        .find(|name| is_there(name, Kind::Veth));
    let vxlan = [names::vxlan(bridge), names::hatch(bridge)]
        .into_iter()
        .filter(|name| is_there(name, Kind::Vxlan));
    ops.extend(pair.into_iter().chain(vxlan).map(|name| Op::Delete { name }));
    if matches!(observed.filter, Filter::At { .. }) {
        ops.push(Op::Unfilter {
            name: names::filter(bridge),
        });
    }
}
