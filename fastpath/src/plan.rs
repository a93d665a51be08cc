//! What to do: the difference between what is desired and what is there, as a list of steps.
//!
//! Pure. Doing the steps makes the next plan empty (a property test holds it to that), so the same code attaches,
//! repairs and, with fewer attachments desired, detaches. The order within a plan matters: an interface is
//! complete and guarded before it is up, and bears its final name only then.

pub use crate::fast::Fast;
use crate::fast::{plan_fast, plan_hook, plan_none, wanted};
use crate::gateway::{Gateway, plan_gateway};
use crate::names;
use crate::netns::NetNsRef;
pub use crate::op::{InsideStep, Op};
use crate::plain::plan_plain;
pub use crate::plain::{PORT_STEP, Plain, probe_mac};

use crate::observe::{
    Filter, Gate, Guarded, Hook, HostLink, Inside, InsideLink, Kind, Observed, PortFlags, Queue,
};
use mesh::Mac;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What one router wants of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Name of the bridge. Two routers in one namespace need different ones.
    pub bridge: String,
    /// Address of the bridge; set, so that it does not change with its ports. `None`: leave what the kernel chose.
    pub bridge_mac: Option<Mac>,
    /// MTU of the bridge, its ports and the containers, in bytes.
    pub mtu: u16,
    /// Name of the TAP device, made by [`Tap::create`](crate::tap::Tap::create); usually [`names::tap`].
    pub tap: String,
    /// The fast path, if there is to be one. A kernel that can't lay it leaves the TAP in the bridge.
    pub fast: Option<Fast>,
    /// What serves instead where the kernel takes no eBPF.
    pub plain: Option<Plain>,
    /// What this host does for containers that reach what is outside by it; `None`: there are none.
    pub gateway: Option<Gateway>,
    /// The containers.
    pub attachments: Vec<Attachment>,
}

/// One interface of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The container's namespace.
    pub netns: NetNsRef,
    /// The interface's name there.
    pub ifname: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses with prefix lengths. Others that the container has are left alone, but the guard lets
    /// nothing from them out.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Name of the host's end, which also identifies the attachment.
    pub host_ifname: String,
    /// The namespace is the host's own: it has its own way for multicast.
    #[serde(default)]
    pub is_host: bool,
    /// Somebody limits at the host's end what the container receives: all of it has to come by there.
    #[serde(default)]
    pub limited: bool,
    /// How much it may send and receive.
    #[serde(default)]
    pub limits: Limits,
    /// What it has to do with the host's forwarding.
    #[serde(default)]
    pub gate: Gate,
    /// Somebody else puts the container's end where it belongs, and sets it up there.
    #[serde(default)]
    pub handed: Option<Handed>,
}

/// How much may pass in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Bytes in a second, in the long run; 0 counts as 1.
    pub rate: u64,
    /// Bytes that may pass at once, after a pause.
    pub burst: u64,
}

impl Limit {
    /// How long a burst takes at this rate, in nanoseconds.
    pub(crate) fn depth(self) -> u64 {
        let depth = u128::from(self.burst) * 1_000_000_000 / u128::from(self.rate.max(1));
        // A year and more counts as for ever, and times after that are still numbers.
        u64::try_from(depth).unwrap_or(u64::MAX).min(1 << 55)
    }
}

/// The limits of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of what it sends: what is beyond that the guard drops.
    #[serde(default)]
    pub sends: Option<Limit>,
    /// Of what it receives: that waits for its turn at the host's end.
    #[serde(default)]
    pub receives: Option<Limit>,
}

/// A pair whose other end is handed to somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// What that end is called when it is made, beside the host's.
    pub inner: String,
    /// It was made, and has gone if it is not there: it is not made a second time.
    pub is_made: bool,
}

impl Attachment {
    /// An attachment with a fresh Ethernet address made of `random`.
    #[must_use]
    pub fn new(
        bridge: &str,
        netns: NetNsRef,
        ifname: &str,
        addresses: Vec<(IpAddr, u8)>,
        random: [u8; 6],
    ) -> Self {
        let host_ifname = names::host(bridge, &netns, ifname);
        Self {
            netns,
            ifname: ifname.to_owned(),
            mac: local_mac(random),
            addresses,
            host_ifname,
            is_host: false,
            limited: false,
            limits: Limits::default(),
            gate: Gate::No,
            handed: None,
        }
    }

    fn guard(&self, bridge: &str) -> Guarded {
        let mut addresses: Vec<_> = self.addresses.iter().map(|(address, _)| *address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Guarded::Port {
            mac: self.mac,
            addresses,
            gate: match self.gate {
                Gate::No => (Gate::No, 0),
                gate => (gate, names::number(bridge)),
            },
            limit: self.limits.sends,
        }
    }
}

/// A locally administered unicast address (IEEE 802) made of random bytes.
#[must_use]
pub fn local_mac(random: [u8; 6]) -> Mac {
    let [first, rest @ ..] = random;
    let [b, c, d, e, f] = rest;
    Mac([first & 0xfc | 0x02, b, c, d, e, f])
}

/// How the bridge treats its mesh port, the TAP or the stub: frames for addresses it does not know go there, and it learns nothing from it.
pub const TAP_PORT: PortFlags = PortFlags {
    learning: false,
    unicast_flood: true,
    multicast_flood: true,
    broadcast_flood: true,
    hairpin: false,
    isolated: false,
    locked: Some(false),
};

/// How the bridge treats a container: its one address is entered by hand, and no other may send.
pub const CONTAINER_PORT: PortFlags = PortFlags {
    unicast_flood: false,
    locked: Some(true),
    ..TAP_PORT
};

/// The steps from what is observed to what is desired; none when nothing is missing, or when what is missing can't
/// be had ([`Observed::gone`], [`obstacles`]).
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Op> {
    let mut ops: Vec<_> = observed
        .stale(&desired.bridge, &desired.attachments)
        .map(|name| Op::Delete {
            name: name.to_owned(),
        })
        .collect();
    if bridge_obstacle(desired, observed).is_some() {
        return ops;
    }
    plan_bridge(desired, observed, &mut ops);
    plan_gateway(desired, observed, &mut ops);
    // Without a TAP what there is of a fast path stays as it is, and carries on.
    if let Some(tap) = observed.link(&desired.tap, Kind::Tun) {
        if let Some(fast) = wanted(desired, observed) {
            plan_fast(desired, observed, fast, tap, &mut ops);
        } else {
            let plain = desired.plain.as_ref();
            let plain = plain.filter(|_| observed.filter != Filter::Unavailable);
            match plain {
                Some(plain) => plan_plain(desired, observed, plain, &mut ops),
                None => plan_none(desired, observed, &mut ops),
            }
            let flags = PortFlags {
                isolated: plain.is_some(),
                ..TAP_PORT
            };
            plan_port(desired, &desired.tap, Some(tap), flags, &mut ops);
            plan_raise(&desired.tap, Some(tap), &mut ops);
        }
    }
    for attachment in &desired.attachments {
        plan_attachment(desired, observed, attachment, &mut ops);
    }
    // What is waited for comes about by itself: for all attachments at a time, and at the host's ends together.
    ops.sort_by_key(|op| match op {
        Op::Inside { step, .. } if *step == InsideStep::Await => 1,
        Op::Await { .. } => 2,
        _ => 0,
    });
    ops
}

fn plan_bridge(desired: &Desired, observed: &Observed, ops: &mut Vec<Op>) {
    let (name, mac, mtu) = (desired.bridge.clone(), desired.bridge_mac, desired.mtu);
    let found = observed.link(&name, Kind::Bridge);
    match found {
        None => ops.push(Op::CreateBridge {
            name: name.clone(),
            mac,
            mtu,
        }),
        Some(bridge) => {
            let right = bridge.mtu == u32::from(mtu)
                && bridge.quiet
                && bridge.bridge.is_some_and(|settings| settings.plain)
                && (mac.is_none() || bridge.mac == mac);
            if !right {
                ops.push(Op::SetBridge {
                    name: name.clone(),
                    mac,
                    mtu,
                });
            }
        }
    }
    plan_guard(observed, &name, found, Guarded::Host, ops);
    plan_raise(&name, found, ops);
}

fn plan_guard(observed: &Observed, name: &str, link: Option<&HostLink>, rules: Guarded, ops: &mut Vec<Op>) {
    let guarded = link.is_some_and(|link| link.guard.as_ref() == Some(&rules));
    if observed.guard && !guarded {
        ops.push(Op::Guard {
            name: name.to_owned(),
            rules,
        });
    }
}

pub(crate) fn plan_raise(name: &str, link: Option<&HostLink>, ops: &mut Vec<Op>) {
    let lowered = ops
        .iter()
        .any(|op| matches!(op, Op::SetPort { name: port, .. } if port == name));
    if lowered || !link.is_some_and(|link| link.up) {
        ops.push(Op::Raise {
            name: name.to_owned(),
        });
    }
}

/// Plans a port; true when its bridge forgets what it knew of it.
pub(crate) fn plan_port(
    desired: &Desired,
    name: &str,
    link: Option<&HostLink>,
    flags: PortFlags,
    ops: &mut Vec<Op>,
) -> bool {
    let bridge_is_new = ops.iter().any(|op| matches!(op, Op::CreateBridge { .. }));
    let joined = !bridge_is_new && link.is_some_and(|link| link.in_bridge);
    let right = link.is_some_and(|link| {
        let wanted = |port: PortFlags| PortFlags {
            locked: port.locked.and(flags.locked),
            ..flags
        };
        link.mtu == u32::from(desired.mtu) && link.quiet && link.port.is_some_and(|port| port == wanted(port))
    });
    if !(joined && right) {
        let (name, bridge) = (name.to_owned(), desired.bridge.clone());
        ops.push(Op::SetPort {
            name,
            bridge,
            flags,
            mtu: desired.mtu,
        });
    }
    !joined
}

fn plan_attachment(desired: &Desired, observed: &Observed, attachment: &Attachment, ops: &mut Vec<Op>) {
    let name = &attachment.host_ifname;
    if attachment.handed.is_some() {
        return plan_handed(desired, observed, attachment, ops);
    }
    let Some(Inside::Present {
        link: inside,
        name_taken: false,
        multicast_route,
    }) = observed.inside.get(name)
    else {
        return;
    };
    let existing = observed.links.get(name);
    if existing.is_some_and(|link| link.kind != Kind::Veth) {
        return;
    }
    // A host end whose other end is not where it should be is of no use.
    let whole = existing.filter(|_| inside.is_some());
    if whole.is_none() {
        if existing.is_some() {
            ops.push(Op::Delete { name: name.clone() });
        }
        ops.push(Op::CreateVeth {
            attachment: attachment.clone(),
            mtu: desired.mtu,
        });
    }
    let forgotten = plan_port(desired, name, whole, CONTAINER_PORT, ops);
    plan_forwarding(attachment, whole.filter(|_| !forgotten), ops);
    plan_guard(observed, name, whole, attachment.guard(&desired.bridge), ops);
    plan_queue(desired, attachment, whole, ops);
    plan_port_hook(desired, observed, attachment, whole, ops);
    plan_raise(name, whole, ops);
    plan_inside(
        desired.mtu,
        attachment,
        inside.as_ref().filter(|_| whole.is_some()),
        *multicast_route,
        ops,
    );
    plan_wait(attachment, ops);
}

/// Of a pair that is handed to somebody only the host's end is the router's.
fn plan_handed(desired: &Desired, observed: &Observed, attachment: &Attachment, ops: &mut Vec<Op>) {
    let name = &attachment.host_ifname;
    let found = observed.links.get(name);
    if found.is_some_and(|link| link.kind != Kind::Veth) || observed.inside.get(name) == Some(&Inside::Gone) {
        return;
    }
    if found.is_none() {
        ops.push(Op::CreateVeth {
            attachment: attachment.clone(),
            mtu: desired.mtu,
        });
    }
    let forgotten = plan_port(desired, name, found, CONTAINER_PORT, ops);
    plan_forwarding(attachment, found.filter(|_| !forgotten), ops);
    plan_guard(observed, name, found, attachment.guard(&desired.bridge), ops);
    plan_queue(desired, attachment, found, ops);
    plan_port_hook(desired, observed, attachment, found, ops);
    plan_raise(name, found, ops);
}

/// Somebody else's queue is left alone where none is asked for.
fn plan_queue(desired: &Desired, attachment: &Attachment, link: Option<&HostLink>, ops: &mut Vec<Op>) {
    let Some(limit) = attachment.limits.receives else {
        return;
    };
    let mtu = desired.mtu;
    if link.and_then(|link| link.queue) != Some(Queue::of(limit, mtu)) {
        ops.push(Op::Queue {
            name: attachment.host_ifname.clone(),
            limit,
            mtu,
        });
    }
}

fn plan_port_hook(
    desired: &Desired,
    observed: &Observed,
    attachment: &Attachment,
    link: Option<&HostLink>,
    ops: &mut Vec<Op>,
) {
    let name = &attachment.host_ifname;
    if let Some(fast) = wanted(desired, observed) {
        let hook = Hook::Port {
            vni: fast.vni,
            mac: attachment.mac,
            by_bridge: attachment.is_host || attachment.limited || attachment.limits.receives.is_some(),
        };
        plan_hook(name, link, hook, ops);
    } else if link.is_some_and(|link| link.behind_guard) {
        ops.push(Op::Unhook { name: name.clone() });
    }
}

/// What was brought up or added is usable when the plan is done.
fn plan_wait(attachment: &Attachment, ops: &mut Vec<Op>) {
    let host = &attachment.host_ifname;
    let changes = |op: &Op| match op {
        Op::Raise { .. } => true,
        Op::Inside { step, .. } => matches!(step, InsideStep::Reveal(_) | InsideStep::Address(..)),
        _ => false,
    };
    if ops.iter().any(|op| op.subject() == host && changes(op)) {
        ops.push(Op::Inside {
            host: host.clone(),
            netns: attachment.netns.clone(),
            ifname: attachment.ifname.clone(),
            step: InsideStep::Await,
        });
        ops.push(Op::Await { name: host.clone() });
    }
}

fn plan_forwarding(attachment: &Attachment, link: Option<&HostLink>, ops: &mut Vec<Op>) {
    let entries = link.map(|link| link.forwarded.as_slice()).unwrap_or_default();
    let name = &attachment.host_ifname;
    if !entries.contains(&attachment.mac) {
        ops.push(Op::AddForwarding {
            name: name.clone(),
            mac: attachment.mac,
        });
    }
    let others = entries.iter().filter(|mac| **mac != attachment.mac);
    ops.extend(others.map(|mac| Op::RemoveForwarding {
        name: name.clone(),
        mac: *mac,
    }));
}

/// Plans the container's end. A pair made by this very plan has its address and MTU, and the unfinished name.
fn plan_inside(
    mtu: u16,
    attachment: &Attachment,
    found: Option<&InsideLink>,
    multicast_route: bool,
    ops: &mut Vec<Op>,
) {
    let unfinished = names::unfinished(&attachment.host_ifname);
    let now = found.map_or(unfinished.as_str(), |link| link.name.as_str());
    let mut step = |ifname: &str, step| {
        ops.push(Op::Inside {
            host: attachment.host_ifname.clone(),
            netns: attachment.netns.clone(),
            ifname: ifname.to_owned(),
            step,
        });
    };
    let misnamed = now != attachment.ifname;
    let was_up = found.is_some_and(|link| link.up);
    // Interfaces can be renamed only while down (before Linux 6.2), and lose IPv6 addresses and routes with that.
    let lowered = misnamed && was_up;
    if lowered {
        step(now, InsideStep::Lower);
    }
    if found.is_some_and(|link| link.mac != Some(attachment.mac)) {
        step(now, InsideStep::Mac(attachment.mac));
    }
    if found.is_some_and(|link| link.mtu != u32::from(mtu)) {
        step(now, InsideStep::Mtu(mtu));
    }
    if !found.is_some_and(|link| link.settled) {
        let ipv6 = attachment.addresses.iter().any(|(address, _)| address.is_ipv6());
        step(now, InsideStep::Settle { ipv6 });
    }
    if let Some(limit) = attachment.limits.sends.filter(|_| found.is_none()) {
        // A little slower than the guard has it, and so never beyond.
        let rate = limit.rate - limit.rate / 64;
        step(now, InsideStep::Queue(Limit { rate, ..limit }));
    }
    for &(address, prefix) in &attachment.addresses {
        let there = found.is_some_and(|link| link.addresses.contains(&(address, prefix)));
        if !there || lowered && address.is_ipv6() {
            step(now, InsideStep::Address(address, prefix));
        }
    }
    if misnamed || !was_up {
        step(now, InsideStep::Reveal(attachment.ifname.clone()));
    }
    if !attachment.is_host && (!multicast_route || lowered) {
        step(&attachment.ifname, InsideStep::MulticastRoute);
    }
}

/// Something that is not the router's stands in the way; people have to remove it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// An interface that no router made bears the bridge's name.
    #[error("the interface {0} exists and is not Weft's; choose another name with --bridge")]
    BridgeName(String),
    /// The TAP device is not there: its descriptor was closed, or somebody deleted it. The caller makes a new one.
    #[error("the TAP device {0} is gone")]
    NoTap(String),
    /// The container has another interface of the name asked for.
    #[error("{netns} has another interface named {ifname} already")]
    NameTaken {
        /// Name of the attachment's host end.
        host: String,
        /// The namespace's path.
        netns: String,
        /// The name asked for.
        ifname: String,
    },
    /// Only the guard can limit what a container sends.
    #[error(
        "what a container sends can't be limited on this host: its kernel takes no eBPF guard from this router"
    )]
    NoLimit {
        /// Name of the attachment's host end.
        host: String,
    },
    /// A namespace can't be looked into.
    #[error("{0}: {1}")]
    Unreadable(String, String),
}

fn bridge_obstacle(desired: &Desired, observed: &Observed) -> Option<Obstacle> {
    let taken = observed
        .links
        .get(&desired.bridge)
        .is_some_and(|link| link.kind != Kind::Bridge);
    taken.then(|| Obstacle::BridgeName(desired.bridge.clone()))
}

/// What keeps the desired state from being reached.
#[must_use]
pub fn obstacles(desired: &Desired, observed: &Observed) -> Vec<Obstacle> {
    let mut found: Vec<_> = bridge_obstacle(desired, observed).into_iter().collect();
    if observed.link(&desired.tap, Kind::Tun).is_none() {
        found.push(Obstacle::NoTap(desired.tap.clone()));
    }
    for attachment in &desired.attachments {
        let netns = attachment.netns.path.display().to_string();
        let host = attachment.host_ifname.clone();
        if attachment.limits.sends.is_some() && !observed.guard {
            found.push(Obstacle::NoLimit { host: host.clone() });
        }
        match observed.inside.get(&host) {
            Some(Inside::Unreadable(why)) => found.push(Obstacle::Unreadable(netns, why.clone())),
            Some(Inside::Present { name_taken: true, .. }) => {
                found.push(Obstacle::NameTaken {
                    host,
                    netns,
                    ifname: attachment.ifname.clone(),
                });
            }
            _ => {}
        }
    }
    found
}
