//! The real kernel: does the steps of a plan by netlink.

use crate::esp::{self, Xfrm};
use crate::gateway::{self, Gateway};
use crate::guard::{Guard, GuardError};
use crate::kernel::{Kernel, KernelError, Round};
use crate::names;
use crate::netlink::link::{BridgeSettings, Kind};
use crate::netlink::{NetlinkError, Socket, address, link, neighbour, nft, or_missing, route, tc};
use crate::netns::{NetNs, NetNsRef};
use crate::observe::{Filter, Guarded, Hook, Observed, PortFlags};
use crate::plan::{Attachment, Desired, InsideStep, Op};
use crate::vxlan::Switch;
use crate::{groups, read, sysctl};
use mesh::{DropReason, Mac};
use netlink_packet_route::link::In6AddrGenMode;
use std::collections::{BTreeMap, BTreeSet};

/// The kernel this process runs on, seen from one namespace: the host's.
#[derive(Debug)]
pub struct Linux {
    host: NetNs,
    guard: Option<Guard>,
    switch: Option<Switch>,
    /// What the kernel had dropped for want of encryption when the fast path was taken into use.
    unencrypted: Option<u64>,
    /// The table with the rule against VXLAN by the wrong interface, once this run has made it.
    filtered: Option<(String, Filter)>,
    /// This kernel takes no such rule.
    no_filter: bool,
    /// The tables of gateways that this run has made.
    gateways: BTreeMap<String, Gateway>,
}

impl Linux {
    /// The kernel as seen from the calling thread's namespace, without the guard.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn new() -> Result<Self, KernelError> {
        Ok(Self::in_netns(NetNs::current()?))
    }

    /// The kernel as seen from `host`, without the guard.
    #[must_use]
    pub fn in_netns(host: NetNs) -> Self {
        Self {
            host,
            guard: None,
            switch: None,
            unencrypted: None,
            filtered: None,
            no_filter: false,
            gateways: BTreeMap::new(),
        }
    }

    /// Takes the eBPF guard into use; the next plan puts it before every port. Without it, locked ports and the
    /// router's own checks remain.
    pub fn set_guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// Takes the programs of the fast path into use; the next plan that wants one lays it.
    pub fn set_switch(&mut self, switch: Switch) {
        self.unencrypted = self.host.visit(esp::dropped).ok().flatten();
        self.switch = Some(switch);
    }

    /// Loads the guard and takes it into use.
    ///
    /// # Errors
    /// As [`Guard::load`].
    pub fn load_guard(&mut self) -> Result<(), GuardError> {
        self.set_guard(Guard::load()?);
        Ok(())
    }
}

impl Kernel for Linux {
    fn observe(
        &mut self,
        desired: &Desired,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Observed, KernelError> {
        if only.is_none() {
            self.survey(&desired.bridge)?;
        }
        let (guard, switch) = (self.guard.as_ref(), self.switch.as_ref());
        let host = self.host.visit(|| read::host(desired, only, guard, switch))??;
        let mut observed = read::all(desired, host, self.guard.is_some(), self.switch.is_some());
        (observed.filter, observed.gateway) = self.tables(&desired.bridge)?;
        Ok(observed)
    }

    fn survey(&mut self, bridge: &str) -> Result<Vec<String>, KernelError> {
        let (names, alive) = self.host.visit(|| read::survey(bridge))??;
        if let Some(guard) = &mut self.guard {
            guard.retain(&alive);
        }
        if let Some(switch) = &mut self.switch {
            switch.retain(&alive);
        }
        Ok(names)
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        let mut round = Round::default();
        self.apply_together(std::slice::from_ref(op), &mut round);
        round.into_result()
    }

    fn apply_together(&mut self, ops: &[Op], round: &mut Round) {
        let begun = match ops {
            [Op::Inside { netns, .. }, ..] => all_inside(netns, ops, round),
            _ => {
                let host = self.host.clone();
                let work = || self.all_on_host(ops, round);
                host.visit(work).map_err(KernelError::from).flatten()
            }
        };
        if let Err(error) = begun {
            round.refuse(ops, error);
        }
    }

    fn announce(&mut self, attachment: &Attachment) {
        let netns = attachment.netns.open();
        let announced = netns.and_then(|netns| Ok(netns.run(|| announce(&attachment.ifname))??));
        if let Err(error) = announced {
            tracing::debug!(interface = attachment.host_ifname, %error, "addresses are not announced");
        }
    }

    fn remove(&mut self, bridge: &str) -> Result<(), KernelError> {
        self.host.visit(|| remove(bridge))?
    }

    fn networks(&mut self, bridge: &str) -> Result<Vec<String>, KernelError> {
        self.host.visit(|| networks(bridge))?
    }

    fn read_counters(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError> {
        let guard = self.guard.as_ref().map(Guard::read_counters).transpose()?;
        let switch = self.switch.as_ref().map(Switch::read_counters).transpose()?;
        let rules = match &self.filtered {
            Some((table, _)) => self.host.visit(|| nft::read(table))?.unwrap_or_default(),
            None => Vec::new(),
        };
        let reasons = [DropReason::VxlanWrongInterface, DropReason::VxlanUnknownSource];
        let (outgoing, incoming): (Vec<&nft::Rule>, Vec<&nft::Rule>) =
            rules.iter().partition(|rule| rule.sealed);
        let dropped = incoming.iter().map(|rule| rule.dropped);
        let filter = Some(reasons.into_iter().zip(dropped).collect::<Vec<_>>());
        let held: u64 = outgoing.iter().map(|rule| rule.dropped).sum();
        let now = self.host.visit(esp::dropped)?;
        let plain = now.zip(self.unencrypted).map(|(now, before)| {
            let count = now.saturating_sub(before).saturating_add(held);
            (DropReason::VxlanPlain, count)
        });
        let all = [guard, switch, filter].into_iter().flatten().flatten();
        Ok(all.chain(plain).collect())
    }
}

impl Linux {
    /// The tables of nftables that belong to a network.
    fn tables(&self, bridge: &str) -> Result<(Filter, Option<Gateway>), KernelError> {
        let (filter, gateway) = (names::filter(bridge), names::gateway(bridge));
        let made = self.gateways.get(&gateway);
        let read = || (nft::read(&filter), gateway::observe(&gateway, made));
        let (rules, gateway) = self.host.visit(read)?;
        let filter = match rules {
            _ if self.no_filter => Filter::Unavailable,
            Err(_) => Filter::Unavailable,
            Ok(rules) => match (rules.iter().find(|rule| !rule.sealed), &self.filtered) {
                (None, _) => Filter::Missing,
                (Some(rule), Some((_, Filter::At { only, sealed, .. }))) => {
                    let is_whole = rules.iter().filter(|rule| rule.sealed).count() == sealed.len();
                    Filter::At {
                        port: rule.port,
                        only: only.clone(),
                        sealed: if is_whole { sealed.clone() } else { BTreeSet::new() },
                    }
                }
                // Another run's, which takes packets from who knows whom: it is replaced or removed.
                (Some(_), _) => Filter::At {
                    port: 0,
                    only: None,
                    sealed: BTreeSet::new(),
                },
            },
        };
        Ok((filter, gateway))
    }

    /// A kernel without is served nevertheless: reverse path filtering is the host's business then.
    fn install_filter(&mut self, table: &str, rule: &Filter) {
        let Filter::At { port, only, sealed } = rule else {
            return;
        };
        match nft::install(table, *port, only.as_ref(), sealed) {
            Ok(()) => self.filtered = Some((table.to_owned(), rule.clone())),
            Err(error) => {
                tracing::warn!("VXLAN is taken by any interface: {error}");
                self.no_filter = true;
            }
        }
    }

    /// Fails if none of the steps could be begun.
    fn all_on_host(&mut self, ops: &[Op], round: &mut Round) -> Result<(), KernelError> {
        let mut socket = Socket::open()?;
        for op in ops {
            round.take(op, || match op {
                Op::Guard { name, rules } => self.guard(&mut socket, name, rules),
                Op::Hook { name, hook } => self.hook(&mut socket, name, hook),
                Op::Delete { name } => self.delete(&mut socket, name),
                Op::Filter { name, rule } => {
                    self.install_filter(name, rule);
                    Ok(())
                }
                Op::Gateway {
                    name,
                    bridge,
                    gateway,
                } => {
                    gateway::install(name, bridge, gateway)?;
                    self.gateways.insert(name.clone(), gateway.clone());
                    Ok(())
                }
                _ => on_host(&mut socket, op),
            });
        }
        Ok(())
    }

    fn delete(&mut self, socket: &mut Socket, name: &str) -> Result<(), KernelError> {
        let index = link::index(socket, name).ok();
        link::delete(socket, name)?;
        if let Some(index) = index {
            self.guard.iter_mut().for_each(|guard| guard.forget(index));
            self.switch.iter_mut().for_each(|switch| switch.forget(index));
        }
        Ok(())
    }

    fn hook(&mut self, socket: &mut Socket, name: &str, hook: &Hook) -> Result<(), KernelError> {
        let switch = self
            .switch
            .as_mut()
            .ok_or_else(|| KernelError::Refused("the fast path's programs are not loaded".to_owned()))?;
        let index = link::index(socket, name)?;
        let other = match hook.other() {
            Some(other) => link::index(socket, other)?,
            None => 0,
        };
        Ok(switch.hook(socket, index, hook, other)?)
    }

    fn guard(&mut self, socket: &mut Socket, name: &str, rules: &Guarded) -> Result<(), KernelError> {
        let guard = self
            .guard
            .as_mut()
            .ok_or_else(|| KernelError::Refused("no guard is loaded".to_owned()))?;
        let index = link::index(socket, name)?;
        Ok(guard.protect(socket, index, rules)?)
    }
}

fn on_host(socket: &mut Socket, op: &Op) -> Result<(), KernelError> {
    match op {
        Op::CreateBridge { name, mac, mtu } => {
            crate::netlink::or_exists(link::create_bridge(socket, name, *mac))?;
            set_bridge(socket, name, *mac, *mtu)
        }
        Op::SetBridge { name, mac, mtu } => set_bridge(socket, name, *mac, *mtu),
        Op::SetPort {
            name,
            bridge,
            flags,
            mtu,
        } => set_port(socket, name, bridge, *flags, *mtu),
        Op::CreateVeth { attachment, mtu } => create_veth(socket, attachment, *mtu),
        Op::CreateStub { stub, hatch, mtu } => {
            link::create_stub(socket, stub, hatch, (*mtu).into())?;
            silence(socket, stub)?;
            silence(socket, hatch)
        }
        Op::CreateVxlan { name, port, mtu } => {
            link::create_vxlan(socket, name, *port, (*mtu).into())?;
            silence(socket, name)
        }
        Op::Unhook { name } => {
            let index = link::index(socket, name)?;
            Ok(or_missing(tc::detach(socket, index, tc::BEHIND_GUARD))?)
        }
        Op::SetAside { name, mtu } => set_aside(socket, name, *mtu),
        Op::AddForwarding { name, mac } => forwarding(socket, name, *mac, neighbour::add),
        Op::RemoveForwarding { name, mac } => forwarding(socket, name, *mac, neighbour::delete),
        Op::Queue { name, limit, mtu } => {
            let index = link::index(socket, name)?;
            Ok(tc::set_queue(socket, index, *limit, *mtu)?)
        }
        Op::Raise { name } => Ok(link::raise(socket, name)?),
        Op::Await { name } => await_running(socket, name),
        Op::Unfilter { name } | Op::NoGateway { name } => Ok(nft::remove(name)?),
        Op::CreatePlain { name, vni, port, mtu } => {
            link::create_plain(socket, name, *vni, *port, (*mtu).into())?;
            silence(socket, name)
        }
        Op::AddRemote { name, mac, host } => {
            let index = link::index(socket, name)?;
            Ok(neighbour::add_remote(socket, index, *mac, *host)?)
        }
        Op::RemoveRemote { name, mac, host } => {
            let index = link::index(socket, name)?;
            Ok(neighbour::delete_remote(socket, index, *mac, *host)?)
        }
        Op::Delete { .. }
        | Op::Guard { .. }
        | Op::Hook { .. }
        | Op::Filter { .. }
        | Op::Gateway { .. }
        | Op::Inside { .. } => Err(KernelError::Refused("this step belongs elsewhere".to_owned())),
    }
}

/// Makes an interface one on which the host is deaf and dumb.
fn silence(socket: &mut Socket, name: &str) -> Result<(), KernelError> {
    let link = link::find(socket, name)?;
    sysctl::write(&link, sysctl::SILENT);
    Ok(link::silence(socket, &link)?)
}

fn set_bridge(socket: &mut Socket, name: &str, mac: Option<Mac>, mtu: u16) -> Result<(), KernelError> {
    silence(socket, name)?;
    link::set_plain(socket, name)?;
    if let Some(mac) = mac {
        link::set_mac(socket, name, mac)?;
    }
    // Set by hand, the bridge keeps it whatever its ports have.
    Ok(link::set_mtu(socket, name, mtu.into())?)
}

fn set_port(
    socket: &mut Socket,
    name: &str,
    bridge: &str,
    flags: PortFlags,
    mtu: u16,
) -> Result<(), KernelError> {
    let bridge = link::index(socket, bridge)?;
    let link = link::find(socket, name)?;
    if link.master != Some(bridge) && link.up {
        // A new port forwards with the kernel's defaults until it is set up: not while it is down.
        link::lower(socket, name)?;
    }
    sysctl::write(&link, sysctl::SILENT);
    link::join(socket, &link, bridge, mtu.into())?;
    if !link::set_port(socket, name, flags)? {
        tracing::warn!(
            port = name,
            "this kernel can't lock bridge ports (needs Linux 5.18)"
        );
    }
    Ok(())
}

fn set_aside(socket: &mut Socket, name: &str, mtu: u16) -> Result<(), KernelError> {
    if link::find(socket, name)?.master.is_some() {
        link::release(socket, name)?;
    }
    silence(socket, name)?;
    Ok(link::set_mtu(socket, name, mtu.into())?)
}

fn create_veth(socket: &mut Socket, attachment: &Attachment, mtu: u16) -> Result<(), KernelError> {
    let host = &attachment.host_ifname;
    let (netns, inner, alias) = match &attachment.handed {
        Some(handed) => (
            NetNs::current()?,
            handed.inner.clone(),
            format!("{}, handed over", handed.inner),
        ),
        None => {
            let alias = format!("{} in {}", attachment.ifname, attachment.netns.path.display());
            (attachment.netns.open()?, names::unfinished(host), alias)
        }
    };
    link::create_veth(socket, host, &inner, &netns, attachment.mac, mtu.into())?;

    if let Err(error) = link::set_alias(socket, host, &alias) {
        tracing::debug!(%error, "an interface goes without a note");
    }
    Ok(())
}

fn forwarding(
    socket: &mut Socket,
    name: &str,
    mac: Mac,
    change: fn(&mut Socket, u32, Mac) -> Result<(), NetlinkError>,
) -> Result<(), KernelError> {
    let index = link::index(socket, name)?;
    Ok(change(socket, index, mac)?)
}

/// Does steps inside one namespace; fails if none could be begun.
fn all_inside(place: &NetNsRef, ops: &[Op], round: &mut Round) -> Result<(), KernelError> {
    let work = || {
        let mut socket = Socket::open()?;
        for op in ops {
            round.take(op, || inside(&mut socket, place, op));
        }
        Ok(())
    };
    place.open().and_then(|netns| netns.run(work))?
}

fn inside(socket: &mut Socket, place: &NetNsRef, op: &Op) -> Result<(), KernelError> {
    let Op::Inside {
        netns, ifname, step, ..
    } = op
    else {
        return Err(KernelError::Refused("this step belongs elsewhere".to_owned()));
    };
    if netns != place {
        return Err(KernelError::Refused(
            "this step belongs into another namespace".to_owned(),
        ));
    }
    match step {
        InsideStep::Mac(mac) => Ok(link::set_mac(socket, ifname, *mac)?),
        InsideStep::Mtu(mtu) => Ok(link::set_mtu(socket, ifname, (*mtu).into())?),
        InsideStep::Settle { ipv6 } => settle(socket, ifname, *ipv6),
        InsideStep::Lower => Ok(link::lower(socket, ifname)?),
        InsideStep::Address(address, prefix) => {
            let index = link::index(socket, ifname)?;
            Ok(address::add(socket, index, *address, *prefix)?)
        }
        InsideStep::Queue(limit) => {
            let link = link::find(socket, ifname)?;
            let mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
            if let Err(error) = tc::set_queue(socket, link.index, *limit, mtu) {
                tracing::debug!(%error, "what is beyond a container's limit is dropped at once");
            }
            Ok(())
        }
        InsideStep::Reveal(name) => Ok(link::reveal(socket, ifname, name)?),
        InsideStep::Await => await_usable(socket, ifname),
        InsideStep::MulticastRoute => {
            let index = link::index(socket, ifname)?;
            Ok(route::add_multicast(socket, index)?)
        }
    }
}

fn await_running(socket: &mut Socket, name: &str) -> Result<(), KernelError> {
    if !link::await_running(socket, name)? {
        tracing::debug!(interface = name, "up, but without a carrier yet");
    }
    Ok(())
}

/// Waits until a container's interface can be used, its IPv6 addresses included.
fn await_usable(socket: &mut Socket, ifname: &str) -> Result<(), KernelError> {
    await_running(socket, ifname)?;
    let index = link::index(socket, ifname)?;
    let own = address::list(socket)?
        .into_iter()
        .filter(|address| address.index == index && address.universal);
    if !groups::await_joined(ifname, own.map(|address| address.address)) {
        tracing::debug!(
            interface = ifname,
            "does not listen to neighbour solicitations yet"
        );
    }
    Ok(())
}

/// The kernel announces an interface's addresses, by ARP and by neighbour discovery, when its Ethernet address is set, be it to
/// what it is.
fn announce(ifname: &str) -> Result<(), NetlinkError> {
    let mut socket = Socket::open()?;
    let link = link::find(&mut socket, ifname)?;
    sysctl::write(&link, sysctl::ANNOUNCING);
    link.mac
        .map_or(Ok(()), |mac| link::set_mac(&mut socket, ifname, mac))
}

fn settle(socket: &mut Socket, ifname: &str, ipv6: bool) -> Result<(), KernelError> {
    let link = link::find(socket, ifname)?;
    sysctl::write(&link, sysctl::CONTAINER);
    if ipv6 {
        sysctl::write(&link, sysctl::WITH_IPV6);
    }
    // The guard knows the link-local address that is made from the Ethernet address, and no other.
    if link.generation.is_some_and(|mode| mode != In6AddrGenMode::Eui64)
        && let Err(error) = link::set_address_generation(socket, ifname, In6AddrGenMode::Eui64)
    {
        tracing::debug!(%error, "no IPv6 link-local address is set up");
    }
    Ok(())
}

/// The bridges of other networks than the default one that a router with this bridge made.
fn networks(bridge: &str) -> Result<Vec<String>, KernelError> {
    let links = link::list(&mut Socket::open()?)?.into_iter();
    let ours =
        links.filter(|link| link.kind == Kind::Bridge && link.ours && names::is_network(bridge, &link.name));
    Ok(ours.map(|link| link.name).collect())
}

fn remove(bridge: &str) -> Result<(), KernelError> {
    let mut socket = Socket::open()?;
    let links = link::list(&mut socket)?;
    let ours = links.iter().filter(|link| match link.kind {
        Kind::Veth => names::is_host(bridge, &link.name) || link.name == names::stub(bridge),
        Kind::Vxlan => link.name == names::vxlan(bridge) || link.name == names::hatch(bridge),
        Kind::Bridge => link.name == bridge && link.ours,
        Kind::Tun => link.name == names::tap(bridge),
        Kind::Other => false,
    });
    let mut results: Vec<_> = ours.map(|found| link::delete(&mut socket, &found.name)).collect();
    // Where there is no nftables there is nothing to remove.
    let tables = [names::filter(bridge), names::gateway(bridge)];
    let there = tables
        .iter()
        .filter(|table| nft::is_there(table).unwrap_or(false));
    results.extend(there.map(|table| nft::remove(table)));
    // Once nothing uses it. A kernel without it has none of ours.
    if let Ok(mut xfrm) = Xfrm::open(bridge, 0, esp::ROLL) {
        results.push(xfrm.remove_all());
    }
    results
        .into_iter()
        .collect::<Result<(), _>>()
        .map_err(KernelError::from)
}

/// Removes all that a router with this bridge name made in the calling thread's namespace, whether it still runs
/// or not: for `weft reset`.
///
/// # Errors
/// What the kernel said; the rest is removed nevertheless.
pub fn remove_all(bridge: &str) -> Result<(), KernelError> {
    let mut linux = Linux::new()?;
    for network in linux.networks(bridge)? {
        linux.remove(&network)?;
    }
    linux.remove(bridge)
}

impl BridgeSettings {
    /// The settings of a bridge as the router makes it.
    #[must_use]
    pub fn wanted() -> Self {
        Self { plain: true }
    }
}
