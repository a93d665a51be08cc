//! A kernel in memory, for tests without privileges. It obeys the same steps and forgets what Linux forgets: an
//! interface that goes down loses routes and IPv6 addresses, a port that leaves its bridge loses its settings.

use crate::gateway::Gateway;
use crate::kernel::{Kernel, KernelError};
use crate::names;
use crate::observe::{BridgeSettings, Filter, Hook, HostLink, Inside, InsideLink, Kind, Observed, Queue};
use crate::plan::{Desired, InsideStep, Op};
use mesh::{DropReason, Mac};
use std::collections::{BTreeMap, BTreeSet};

/// The kernel in memory. Its state is open to the test.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    /// All links of the host, those of others included.
    pub links: BTreeMap<String, HostLink>,
    /// The namespaces' view of each attachment, by host end. What is not in here is an empty namespace.
    pub inside: BTreeMap<String, Inside>,
    /// The guard is loaded.
    pub guard: bool,
    /// The programs of the fast path are loaded.
    pub switch: bool,
    /// The rule against VXLAN by the wrong interface.
    pub filter: Filter,
    /// What it does for containers that reach what is outside by it.
    pub gateway: Option<Gateway>,
    /// What [`Kernel::read_counters`] reports.
    pub counters: Vec<(DropReason, u64)>,
    /// Every step done, in order.
    pub log: Vec<Op>,
    last_index: u32,
}

/// A link as the kernel makes it, before anything is set.
#[must_use]
pub fn bare_link(kind: Kind) -> HostLink {
    HostLink {
        index: 1,
        kind,
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        mtu: 1500,
        up: false,
        quiet: false,
        in_bridge: false,
        port: None,
        bridge: None,
        forwarded: Vec::new(),
        guard: None,
        vxlan_port: None,
        plain: None,
        remotes: BTreeMap::new(),
        queue: None,
        hook: None,
        behind_guard: false,
    }
}

impl FakeKernel {
    /// A kernel without links.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a link; a TAP device for example, which is made elsewhere.
    pub fn add_link(&mut self, name: &str, kind: Kind) {
        self.last_index += 1;
        self.links.insert(
            name.to_owned(),
            HostLink {
                index: self.last_index,
                ..bare_link(kind)
            },
        );
    }

    /// Deletes a link as anybody may, with what hangs on it.
    pub fn delete_link(&mut self, name: &str) {
        let removed = self.links.remove(name);
        // Stub and hatch are a pair: their names differ in the second letter.
        if let Some(rest) = name.strip_prefix("ws").or_else(|| name.strip_prefix("wh")) {
            self.links.remove(&format!("ws{rest}"));
            self.links.remove(&format!("wh{rest}"));
        }
        match removed.map(|link| link.kind) {
            // Ports are those of the router's bridge: one that only bears the name of a device has none of them.
            Some(Kind::Bridge) if !["ws", "wh", "wx"].iter().any(|of| name.starts_with(of)) => {
                self.links.values_mut().for_each(leave_bridge);
            }
            Some(Kind::Veth) => {
                if let Some(Inside::Present {
                    link,
                    multicast_route,
                    ..
                }) = self.inside.get_mut(name)
                {
                    *multicast_route &= link.is_none();
                    *link = None;
                }
            }
            _ => {}
        }
    }

    /// Ends the namespace of an attachment, and with it the pair.
    pub fn end_namespace(&mut self, host: &str) {
        self.links.remove(host);
        self.inside.insert(host.to_owned(), Inside::Gone);
    }

    fn link(&mut self, name: &str) -> Result<&mut HostLink, KernelError> {
        self.links
            .get_mut(name)
            .ok_or_else(|| refused("no interface", name))
    }

    fn present(&mut self, host: &str) -> Result<(&mut Option<InsideLink>, &mut bool), KernelError> {
        let inside = self.inside.entry(host.to_owned()).or_insert_with(empty);
        match inside {
            Inside::Present {
                link,
                multicast_route,
                ..
            } => Ok((link, multicast_route)),
            _ => Err(refused("no namespace for", host)),
        }
    }

    fn set_bridge(&mut self, name: &str, mac: Option<Mac>, mtu: u16) -> Result<(), KernelError> {
        let link = self.link(name)?;
        link.bridge = Some(BridgeSettings::wanted());
        link.mac = mac.or(link.mac);
        (link.mtu, link.quiet) = (mtu.into(), true);
        Ok(())
    }

    fn on_host(&mut self, op: &Op) -> Result<(), KernelError> {
        match op {
            Op::CreateBridge { name, mac, mtu } => {
                if !self.links.contains_key(name) {
                    self.add_link(name, Kind::Bridge);
                }
                self.set_bridge(name, *mac, *mtu)?;
            }
            Op::SetBridge { name, mac, mtu } => self.set_bridge(name, *mac, *mtu)?,
            Op::SetPort {
                name,
                bridge,
                flags,
                mtu,
            } => {
                self.link(bridge)?;
                let link = self.link(name)?;
                if !link.in_bridge {
                    leave_bridge(link);
                    (link.in_bridge, link.up) = (true, false);
                }
                (link.port, link.quiet, link.mtu) = (Some(*flags), true, (*mtu).into());
            }
            Op::CreateVeth { attachment, mtu } => {
                let name = &attachment.host_ifname;
                if self.links.contains_key(name) {
                    return Err(refused("there is already", name));
                }
                *self.present(name)?.0 = Some(InsideLink {
                    name: names::unfinished(name),
                    mac: Some(attachment.mac),
                    mtu: (*mtu).into(),
                    up: false,
                    settled: false,
                    addresses: Vec::new(),
                });
                self.add_link(name, Kind::Veth);
            }
            Op::CreateStub { stub, hatch, mtu } => {
                for name in [stub, hatch] {
                    if self.links.contains_key(name) {
                        return Err(refused("there is already", name));
                    }
                    self.add_link(name, Kind::Veth);
                    let link = self.link(name)?;
                    (link.quiet, link.mtu) = (true, (*mtu).into());
                }
            }
            Op::CreatePlain { name, vni, port, mtu } => {
                if self.links.contains_key(name) {
                    return Err(refused("there is already", name));
                }
                self.add_link(name, Kind::Vxlan);
                let link = self.link(name)?;
                (link.quiet, link.mtu, link.plain) = (true, (*mtu).into(), Some((*vni, *port)));
            }
            Op::AddRemote { name, mac, host } => {
                if self.link(name)?.remotes.insert(*mac, *host).is_some() {
                    return Err(refused("there is already an entry of", name));
                }
            }
            Op::RemoveRemote { name, mac, .. } => drop(self.link(name)?.remotes.remove(mac)),
            Op::CreateVxlan { name, port, mtu } => {
                if self.links.contains_key(name) {
                    return Err(refused("there is already", name));
                }
                self.add_link(name, Kind::Vxlan);
                let link = self.link(name)?;
                (link.quiet, link.mtu, link.vxlan_port) = (true, (*mtu).into(), Some(*port));
            }
            Op::SetAside { name, mtu } => {
                let link = self.link(name)?;
                leave_bridge(link);
                (link.quiet, link.mtu) = (true, (*mtu).into());
            }
            Op::Hook { name, hook } => {
                if let Some(other) = hook.other() {
                    self.link(other)?;
                }
                let link = self.link(name)?;
                link.hook = Some(hook.clone());
                link.behind_guard = matches!(hook, Hook::Port { .. });
            }
            Op::Filter { rule, .. } => self.filter = rule.clone(),
            Op::Gateway { gateway, .. } => self.gateway = Some(gateway.clone()),
            Op::NoGateway { .. } => self.gateway = None,
            Op::Unfilter { .. } => self.filter = Filter::Missing,
            Op::Unhook { name } => {
                let link = self.link(name)?;
                (link.hook, link.behind_guard) = (None, false);
            }
            Op::AddForwarding { name, mac } => self.link(name)?.forwarded.push(*mac),
            Op::RemoveForwarding { name, mac } => self.link(name)?.forwarded.retain(|known| known != mac),
            Op::Guard { name, rules } => self.link(name)?.guard = Some(rules.clone()),
            Op::Queue { name, limit, mtu } => self.link(name)?.queue = Some(Queue::of(*limit, *mtu)),
            Op::Raise { name } => self.link(name)?.up = true,
            Op::Await { name } => {
                self.link(name)?;
            }
            Op::Delete { name } => self.delete_link(name),
            Op::Inside {
                host, ifname, step, ..
            } => self.within(host, ifname, step)?,
        }
        Ok(())
    }

    fn within(&mut self, host: &str, ifname: &str, step: &InsideStep) -> Result<(), KernelError> {
        let (link, multicast_route) = self.present(host)?;
        let link = link
            .as_mut()
            .filter(|link| link.name == ifname)
            .ok_or_else(|| refused("no interface inside", ifname))?;
        match step {
            InsideStep::Mac(mac) => link.mac = Some(*mac),
            InsideStep::Queue(_) => {}
            InsideStep::Mtu(mtu) => link.mtu = (*mtu).into(),
            InsideStep::Settle { .. } => link.settled = true,
            InsideStep::Lower => {
                link.up = false;
                link.addresses.retain(|(address, _)| address.is_ipv4());
                *multicast_route = false;
            }
            InsideStep::Address(address, prefix) => {
                link.addresses.retain(|known| known != &(*address, *prefix));
                link.addresses.push((*address, *prefix));
            }
            InsideStep::Reveal(_) if link.up && link.name != ifname => {
                return Err(refused("renamed while up:", ifname));
            }
            InsideStep::Reveal(name) => {
                link.name.clone_from(name);
                link.up = true;
            }
            InsideStep::Await => {}
            InsideStep::MulticastRoute if !link.up => return Err(refused("no route while down:", ifname)),
            InsideStep::MulticastRoute => *multicast_route = true,
        }
        Ok(())
    }
}

fn refused(why: &str, what: &str) -> KernelError {
    KernelError::Refused(format!("{why} {what}"))
}

fn empty() -> Inside {
    Inside::Present {
        link: None,
        name_taken: false,
        multicast_route: false,
    }
}

fn leave_bridge(link: &mut HostLink) {
    link.in_bridge = false;
    link.port = None;
    link.forwarded.clear();
}

impl Kernel for FakeKernel {
    fn observe(
        &mut self,
        desired: &Desired,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Observed, KernelError> {
        let relevant = |name: &String| {
            let bridge = &desired.bridge;
            name == bridge
                || *name == desired.tap
                || names::is_host(bridge, name) && only.is_none_or(|only| only.contains(name))
                || names::is_fast(bridge, name)
        };
        let wanted = desired
            .attachments
            .iter()
            .map(|attachment| &attachment.host_ifname);
        Ok(Observed {
            links: self
                .links
                .clone()
                .into_iter()
                .filter(|(name, _)| relevant(name))
                .collect(),
            inside: wanted
                .map(|host| (host.clone(), self.inside.get(host).cloned().unwrap_or_else(empty)))
                .collect(),
            guard: self.guard,
            switch: self.switch,
            filter: self.filter.clone(),
            gateway: self.gateway.clone(),
        })
    }

    fn survey(&mut self, bridge: &str) -> Result<Vec<String>, KernelError> {
        let links = self.links.iter();
        let ours = links.filter(|(name, link)| names::is_host(bridge, name) && link.kind == Kind::Veth);
        Ok(ours.map(|(name, _)| name.clone()).collect())
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        self.on_host(op)?;
        self.log.push(op.clone());
        Ok(())
    }

    fn remove(&mut self, bridge: &str) -> Result<(), KernelError> {
        let ours = |name: &str| {
            let own = [bridge, &names::tap(bridge)].contains(&name);
            own || names::is_host(bridge, name) || names::is_fast(bridge, name)
        };
        let names: Vec<_> = self.links.keys().filter(|name| ours(name)).cloned().collect();
        names.iter().for_each(|name| self.delete_link(name));
        Ok(())
    }

    fn read_counters(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError> {
        Ok(self.counters.clone())
    }
}
