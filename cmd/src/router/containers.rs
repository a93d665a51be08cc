//! The containers of this host: what is attached, and what of that works.
//!
//! A change goes: list changed and stored → kernel converged by the `ports` thread → what works now is told to
//! the core (which publishes it) and to the plane (which guards and delivers) → the asker is answered.

use super::keeper::Then;
use super::place::is_in_force;
use super::ports::{Outcome, Ports, Ticket};
use super::{Router, status};
use crate::control::ContainerRef;
use crate::net::Cidr;
use crate::state::Attachment;
use fastpath::kernel::Report;
use fastpath::plan::{Desired, Obstacle, Plain};
use fastpath::{Fast, Handed, NetNs, NetNsRef, names};
use mesh::{Input, Mac, Name, NetworkView, Vni};
use rand_core::{OsRng, RngCore};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;
use tracing::{info, warn};

/// Most addresses of one interface.
const MAX_ADDRESSES: usize = 64;
/// Most names of one container.
const MAX_NAMES: usize = 64;

/// Where an answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Value, String>>;

/// What is attached here.
pub(crate) struct Containers {
    /// The thread that programs the kernel; without it, why nothing can be attached.
    pub(crate) ports: Result<Ports, String>,
    pub(crate) bridge: String,
    pub(crate) bridge_mac: Mac,
    pub(crate) mtu: u16,
    pub(crate) attached: Vec<Attachment>,
    /// Host ends that work, with what was published of them.
    live: BTreeMap<String, (Vni, Mac, Vec<IpAddr>)>,
    asked: BTreeMap<Ticket, Asked>,
    /// What stood in the way of the last unasked repair.
    trouble: Vec<String>,
}

/// A change of the list, on its way to the disk, and who waits for it.
pub(super) struct Change(Asked);

/// Who waits for an outcome.
enum Asked {
    Attach {
        host: String,
        before: Option<Box<Attachment>>,
        answer: Answer,
    },
    Detach {
        answer: Answer,
    },
    Status {
        answer: Answer,
    },
    Reset {
        answer: Answer,
    },
}

impl Containers {
    /// Nothing is programmed before the first [`Router::converge`].
    pub(crate) fn new(
        ports: Result<Ports, String>,
        bridge: String,
        bridge_mac: Mac,
        mtu: u16,
        attached: Vec<Attachment>,
    ) -> Self {
        let (live, asked) = (BTreeMap::new(), BTreeMap::new());
        Self {
            ports,
            bridge,
            bridge_mac,
            mtu,
            attached,
            live,
            asked,
            trouble: Vec::new(),
        }
    }

    /// What is desired of a network, as far as its containers may be in it.
    fn desired(&self, vni: Vni, fast: Option<&Fast>, plain: Option<Plain>, views: &[NetworkView]) -> Desired {
        let bridge = names::of_network(&self.bridge, vni);
        let fast = fast.map(|fast| match vni {
            Vni::DEFAULT => fast.clone(),
            _ => fast.of_network(&bridge, vni),
        });
        let mut mac = self.bridge_mac;
        let [_, number @ ..] = (vni.0 ^ Vni::DEFAULT.0).to_be_bytes();
        mac.0
            .iter_mut()
            .skip(3)
            .zip(number)
            .for_each(|(byte, other)| *byte ^= other);
        let own = self
            .attached
            .iter()
            .filter(|one| one.vni == vni && is_in_force(one, views));
        Desired {
            bridge_mac: Some(mac),
            mtu: self.mtu,
            tap: names::tap(&bridge),
            fast,
            // Further networks go without where there is no eBPF.
            plain: plain.filter(|_| vni == Vni::DEFAULT),
            attachments: own.map(|attachment| attachment.port.clone()).collect(),
            bridge,
        }
    }

    /// The names of each container that can be reached, its network and its addresses.
    pub(super) fn named(&self) -> impl Iterator<Item = (Vni, &[Name], &[IpAddr])> {
        let live = |attachment: &Attachment| self.live.get(&attachment.port.host_ifname);
        let live = self
            .attached
            .iter()
            .filter_map(move |attachment| Some((attachment, live(attachment)?)));
        live.map(|(attachment, (vni, _, addresses))| {
            (*vni, attachment.names.as_slice(), addresses.as_slice())
        })
    }

    fn position(&self, host: &str) -> Option<usize> {
        self.attached
            .iter()
            .position(|attachment| attachment.port.host_ifname == host)
    }
}

impl Containers {
    /// True if this report tells of other trouble than the last: what lasts is logged once.
    fn is_news(&mut self, report: &Report) -> bool {
        let failed = report
            .failed
            .iter()
            .map(|(op, error)| format!("{}: {error}", op.subject()));
        let trouble: Vec<_> = failed
            .chain(report.obstacles.iter().map(ToString::to_string))
            .collect();
        let is_news = trouble != self.trouble;
        self.trouble = trouble;
        is_news
    }
}

impl Router {
    /// Orders the kernel to be as the list says.
    pub(crate) fn converge(&mut self) -> Result<Ticket, String> {
        if self.containers.ports.is_ok() {
            self.make_taps();
        }
        let (fast, views) = (self.fast.wanted(), self.mesh.network_views());
        let plain = self.fast.plain();
        let networks = self.wanted_networks().into_iter();
        let desired = networks
            .map(|vni| self.containers.desired(vni, fast.as_ref(), plain.clone(), &views))
            .collect();
        let ports = self.containers.ports.as_mut().map_err(|why| why.clone())?;
        ports.converge(desired)
    }

    /// `weft attach`.
    pub(crate) fn attach(&mut self, container: ContainerRef, addresses: &[Cidr], answer: Answer) {
        let vni = match self.network(container.network.as_deref()) {
            Ok((vni, _)) => vni,
            Err(error) => return drop(answer.send(Err(error))),
        };
        if !addresses.is_empty() {
            return self.attach_with(&container, addresses, None, answer);
        }
        let own = container
            .want
            .iter()
            .map(|(address, _)| *address)
            .find(|address| self.is_of_range(vni, *address));
        if own.is_none() && !container.want.is_empty() {
            return match others(&container.want, &[]) {
                Ok(addresses) => self.attach_with(&container, &addresses, None, answer),
                Err(error) => drop(answer.send(Err(error))),
            };
        }
        if let Err(why) = &self.containers.ports {
            return drop(answer.send(Err(why.clone())));
        }
        match self.place_of(vni, &container) {
            Ok((_, host)) => self.allocate_for((container, vni), host, own, answer),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Attaches a container with these addresses, which were given out under the name `allocated`, if there is one.
    pub(super) fn attach_with(
        &mut self,
        container: &ContainerRef,
        addresses: &[Cidr],
        allocated: Option<String>,
        answer: Answer,
    ) {
        match self.try_attach(container, addresses, allocated.is_some()) {
            Ok((host, before)) => {
                let before = before.map(Box::new);
                let asked = Asked::Attach { host, before, answer };
                self.persist_attachments(Then::Containers(Change(asked)));
            }
            Err(error) => {
                if let Some((host, (vni, _))) = allocated.zip(self.network(container.network.as_deref()).ok())
                {
                    self.release_unless_attached(vni, &host);
                }
                drop(answer.send(Err(error)));
            }
        }
    }

    /// The list with a change is on disk, or could not be stored.
    pub(super) fn change_stored(&mut self, Change(asked): Change, result: Result<(), String>) {
        // What can't be stored is not attached; what is to go goes all the same.
        let result = result.or_else(|error| match asked {
            Asked::Attach { .. } => Err(error),
            _ => Ok(()),
        });
        match result.and_then(|()| self.converge()) {
            Ok(ticket) => drop(self.containers.asked.insert(ticket, asked)),
            Err(error) => self.answer(Some(asked), Some(error)),
        }
    }

    fn try_attach(
        &mut self,
        container: &ContainerRef,
        addresses: &[Cidr],
        is_allocated: bool,
    ) -> Result<(String, Option<Attachment>), String> {
        let wanted = self.usable(addresses)?;
        let (vni, network) = self.network(container.network.as_deref())?;
        let (netns, host) = self.place_of(vni, container)?;
        let before = self
            .containers
            .position(&host)
            .map(|at| self.containers.attached[at].clone());
        // The number of a namespace that is gone may be another's by now, before anybody has noticed.
        let is_there = |old: &Attachment| {
            NetNsRef::at(&old.port.netns.path).is_ok_and(|there| there.inode == netns.inode)
        };
        let before = before.filter(is_there);
        self.refuse_taken(vni, &host, &wanted)?;
        let mut attachment = before.clone().unwrap_or_else(|| {
            let mut random = [0; 6];
            OsRng.fill_bytes(&mut random);
            let bridge = &self.bridge_of(vni);
            let is_host = NetNs::current().is_ok_and(|own| own.inode() == netns.inode);
            let mut port = fastpath::Attachment::new(bridge, netns, &container.ifname, Vec::new(), random);
            port.is_host = is_host && container.handed.is_none();
            port.handed = container.handed.clone().map(|inner| Handed {
                inner,
                is_made: false,
            });
            port.host_ifname.clone_from(&host);
            Attachment {
                vni,
                network,
                port,
                pid: container.pid,
                name: None,
                key: None,
                is_allocated: false,
                names: Vec::new(),
            }
        });
        for name in &container.names {
            if !attachment.names.contains(name) {
                attachment.names.push(name.clone());
            }
        }
        if attachment.names.len() > MAX_NAMES {
            return Err(format!("a container has at most {MAX_NAMES} names"));
        }
        attachment.is_allocated |= is_allocated;
        attachment.name = container.name.clone().or(attachment.name);
        attachment.key = container.key.clone().or(attachment.key);
        if let Some(mac) = &container.mac {
            let mac: Mac = mac.parse().map_err(|_| format!("{mac:?} is not a MAC address"))?;
            if mac.is_group() || mac == Mac([0; 6]) {
                return Err(format!("{mac} is not the address of one interface"));
            }
            attachment.port.mac = mac;
        }
        for address in wanted {
            if !attachment.port.addresses.contains(&address) {
                attachment.port.addresses.push(address);
            }
        }
        if attachment.port.addresses.len() > MAX_ADDRESSES {
            return Err(format!("an interface has at most {MAX_ADDRESSES} addresses"));
        }
        self.put(&host, Some(attachment));
        Ok((host, before))
    }

    /// `weft detach`.
    pub(crate) fn detach(&mut self, container: &ContainerRef, answer: Answer) {
        let found = self.containers.attached.iter().find(|attachment| {
            let port = &attachment.port;
            let same = port.netns.path == container.netns
                || NetNsRef::at(&container.netns).is_ok_and(|netns| netns.inode == port.netns.inode);
            same && port.ifname == container.ifname
        });
        let Some(host) = found.map(|attachment| attachment.port.host_ifname.clone()) else {
            let text = format!(
                "{} has no interface {} here",
                container.netns.display(),
                container.ifname
            );
            return drop(answer.send(Err(text)));
        };
        self.release_allocated(&host);
        self.put(&host, None);
        self.persist_attachments(Then::Containers(Change(Asked::Detach { answer })));
    }

    /// Detaches all whose keys are meant; that there are none is fine.
    pub(super) fn detach_all(&mut self, is_meant: impl Fn(&str) -> bool, answer: Answer) {
        self.forsake(|container| container.key.as_deref().is_some_and(&is_meant));
        let attached = self.containers.attached.iter();
        let meant = attached.filter(|one| one.key.as_deref().is_some_and(&is_meant));
        let hosts: Vec<_> = meant.map(|one| one.port.host_ifname.clone()).collect();
        if hosts.is_empty() {
            return drop(answer.send(Ok(Value::Null)));
        }
        for host in hosts {
            self.release_allocated(&host);
            self.put(&host, None);
        }
        self.persist_attachments(Then::Containers(Change(Asked::Detach { answer })));
    }

    /// What is attached under a key is called so from now on.
    pub(super) fn set_names(&mut self, key: &str, name: String, names: Vec<Name>, answer: Answer) {
        let mut attached = self.containers.attached.iter_mut();
        let Some(found) = attached.find(|one| one.key.as_deref() == Some(key)) else {
            return drop(answer.send(Err(format!("nothing is attached as {key}"))));
        };
        if names.len() > MAX_NAMES {
            return drop(answer.send(Err(format!("a container has at most {MAX_NAMES} names"))));
        }
        found.name = Some(name);
        found.names = names;
        self.persist_attachments(Then::Nothing);
        self.tell_names();
        let _ = answer.send(Ok(Value::Null));
    }

    /// What is attached under a key.
    pub(super) fn attached(&self, key: &str) -> Result<Value, String> {
        let found = self
            .containers
            .attached
            .iter()
            .find(|one| one.key.as_deref() == Some(key));
        let found = found.ok_or_else(|| format!("nothing is attached as {key}"))?;
        let (port, bridge) = (&found.port, self.bridge_of(found.vni));
        let addresses: Vec<_> = port
            .addresses
            .iter()
            .map(|(at, prefix)| format!("{at}/{prefix}"))
            .collect();
        let domain = self
            .names
            .read(|zone| zone.domain().trim_end_matches('.').to_owned());
        Ok(json!({
            "dns": { "nameservers": self.names.servers(found.vni), "domain": domain },
            "host_ifname": port.host_ifname,
            "ifname": port.ifname,
            "mac": port.mac.to_string(),
            "mtu": self.containers.mtu,
            "bridge": bridge,
            "addresses": addresses,
        }))
    }

    /// Whether containers can be attached.
    pub(super) fn ready(&self) -> Result<Value, String> {
        let ports = self.containers.ports.as_ref();
        ports.map_err(Clone::clone)?;
        self.can_allocate().map(|()| Value::Null)
    }

    /// Answers with the whole status, once the guard's counters are read.
    pub(crate) fn status_when_counted(&mut self, answer: Answer) {
        let ports = self.containers.ports.as_mut().map_err(|why| why.clone());
        match ports.and_then(Ports::counters) {
            Ok(ticket) => drop(self.containers.asked.insert(ticket, Asked::Status { answer })),
            Err(_) => drop(answer.send(status::to_json(&self.status(&BTreeMap::new())))),
        }
    }

    /// The `ports` thread has done something.
    pub(crate) fn port_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Converged { ticket, result } => {
                let asked = ticket.and_then(|ticket| self.containers.asked.remove(&ticket));
                self.converged(result, asked);
            }
            Outcome::Removed { ticket, result } => {
                if let Some(Asked::Reset { answer }) = self.containers.asked.remove(&ticket) {
                    self.removed(result, answer);
                }
            }
            Outcome::Counters { ticket, counters } => {
                if let Some(Asked::Status { answer }) = self.containers.asked.remove(&ticket) {
                    let _ = answer.send(status::to_json(&self.status(&counters)));
                }
            }
        }
    }

    /// `weft reset`: the router removes its interfaces itself, as it is in their namespace.
    pub(crate) fn reset(&mut self, answer: Answer) {
        // Nothing is made any more; the thread ends after this last order.
        self.esp_let_go();
        let ports = std::mem::replace(
            &mut self.containers.ports,
            Err("this router is being reset".into()),
        );
        match ports.map(|mut ports| ports.remove()) {
            Ok(Ok(ticket)) => drop(self.containers.asked.insert(ticket, Asked::Reset { answer })),
            Ok(Err(error)) => self.removed(Err(error), answer),
            Err(_) => self.removed(Ok(()), answer),
        }
    }

    fn removed(&mut self, result: Result<(), String>, answer: Answer) {
        self.stopping = result.is_ok();
        let _ = answer.send(result.map(|()| json!(self.keeper.path())));
    }

    fn converged(&mut self, result: Result<Arc<Report>, String>, asked: Option<Asked>) {
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                warn!("containers: {error}");
                return self.answer(asked, Some(error));
            }
        };
        let no_tap = |obstacle: &Obstacle| matches!(obstacle, Obstacle::NoTap(_));
        // While a device is held its own thread tells when it is lost; this report may be older than the new one.
        if report.obstacles.iter().any(no_tap) {
            self.make_taps();
        }
        self.forget_gone(&report);
        self.publish(&report);
        self.look_at_fast(&report);
        let error = match &asked {
            Some(Asked::Attach { host, .. }) => self.trouble_of(&report, host),
            _ => None,
        };
        if asked.is_none() && self.containers.is_news(&report) {
            report
                .failed
                .iter()
                .for_each(|(op, error)| warn!("{}: {error}", op.subject()));
            report.obstacles.iter().for_each(|obstacle| warn!("{obstacle}"));
        }
        self.answer(asked, error);
    }

    fn answer(&mut self, asked: Option<Asked>, error: Option<String>) {
        match (asked, error) {
            (Some(Asked::Attach { host, before, answer }), Some(error)) => {
                // As it was: a failed attach leaves nothing behind.
                if !before.as_ref().is_some_and(|before| before.is_allocated) {
                    self.release_allocated(&host);
                }
                self.put(&host, before.map(|before| *before));
                self.persist_attachments(Then::Nothing);
                let _ = self.converge();
                let _ = answer.send(Err(error));
            }
            (Some(Asked::Attach { host, answer, .. }), None) => {
                self.note_made(&host);
                let attached = self
                    .containers
                    .position(&host)
                    .map(|at| &self.containers.attached[at]);
                let addresses: Vec<_> = attached.map_or_else(Vec::new, |attachment| {
                    attachment
                        .port
                        .addresses
                        .iter()
                        .map(|(a, prefix)| format!("{a}/{prefix}"))
                        .collect()
                });
                let _ = answer.send(Ok(json!(addresses)));
            }
            (Some(Asked::Detach { answer }), error) => {
                let _ = answer.send(error.map_or(Ok(Value::Null), Err));
            }
            (Some(Asked::Status { answer }), _) => {
                let _ = answer.send(status::to_json(&self.status(&BTreeMap::new())));
            }
            (Some(Asked::Reset { answer }), error) => self.removed(error.map_or(Ok(()), Err), answer),
            (None, _) => {}
        }
    }

    /// A pair that is handed to somebody is made once.
    fn note_made(&mut self, host: &str) {
        let found = self
            .containers
            .position(host)
            .map(|at| &mut self.containers.attached[at]);
        if let Some(handed) = found.and_then(|one| one.port.handed.as_mut())
            && !handed.is_made
        {
            handed.is_made = true;
            self.persist_attachments(Then::Nothing);
        }
    }

    /// Containers that ended take their attachments along.
    fn forget_gone(&mut self, report: &Report) {
        if report.gone.is_empty() {
            return;
        }
        for host in &report.gone {
            self.release_allocated(host);
            if let Some(at) = self.containers.position(host) {
                let gone = self.containers.attached.remove(at);
                info!("{} is gone: detached", gone.port.netns.path.display());
            }
        }
        self.persist_attachments(Then::Nothing);
        let _ = self.converge();
    }

    /// Tells core and plane which containers work now.
    fn publish(&mut self, report: &Report) {
        let views = self.mesh.network_views();
        let works = |one: &&Attachment| {
            is_in_force(one, &views) && self.trouble_of(report, &one.port.host_ifname).is_none()
        };
        let ports = self.containers.attached.iter().filter(works);
        let now: BTreeMap<_, _> = ports
            .map(|one| {
                let addresses = one.port.addresses.iter().map(|(address, _)| *address).collect();
                (one.port.host_ifname.clone(), (one.vni, one.port.mac, addresses))
            })
            .collect();
        let before = std::mem::replace(&mut self.containers.live, now.clone());
        for (host, (vni, mac, _)) in &before {
            if now.get(host).is_none_or(|(_, still, _)| still != mac) {
                let (vni, mac) = (*vni, *mac);
                self.shore.plane.detach(vni, mac);
                self.feed(Input::Detach { vni, mac });
            }
        }
        for (host, (vni, mac, addresses)) in now {
            if before.get(&host) != Some(&(vni, mac, addresses.clone())) {
                self.shore.plane.attach(vni, mac, &addresses);
                self.feed(Input::Attach { vni, mac, addresses });
            }
        }
        let exposed = self.containers.attached.iter().filter(|one| one.port.is_host);
        let exposed =
            exposed.flat_map(|one| one.port.addresses.iter().map(|(address, _)| (*address, one.vni)));
        self.names.expose(exposed.collect());
        self.tell_names();
        let networks = self.containers.attached.iter().map(|one| one.vni);
        self.forward
            .allow(networks.map(|vni| self.bridge_of(vni)).collect());
    }

    /// What was given out for an attachment that did not come to be is free.
    pub(super) fn release_unless_attached(&mut self, vni: Vni, host: &str) {
        let found = self.containers.position(host);
        if !found.is_some_and(|at| self.containers.attached[at].is_allocated) {
            self.release_addresses(vni, host);
        }
    }

    /// The addresses that this router gave an attachment are free.
    fn release_allocated(&mut self, host: &str) {
        let found = self
            .containers
            .position(host)
            .map(|at| &self.containers.attached[at]);
        if let Some(vni) = found.filter(|one| one.is_allocated).map(|one| one.vni) {
            self.release_addresses(vni, host);
        }
    }

    fn trouble_of(&self, report: &Report, host: &str) -> Option<String> {
        let found = self
            .containers
            .position(host)
            .map(|at| self.containers.attached[at].vni);
        trouble_of(report, host, &self.bridge_of(found.unwrap_or(Vni::DEFAULT)))
    }

    fn put(&mut self, host: &str, attachment: Option<Attachment>) {
        let attached = &mut self.containers.attached;
        attached.retain(|other| other.port.host_ifname != host);
        attached.extend(attachment);
    }
}

/// Wanted addresses that are not among those given: each needs a prefix length of its own.
pub(super) fn others(want: &[(IpAddr, Option<u8>)], given: &[Cidr]) -> Result<Vec<Cidr>, String> {
    let rest = want
        .iter()
        .filter(|(address, _)| given.iter().all(|cidr| cidr.address != *address));
    let cidr = |(address, prefix): &(IpAddr, Option<u8>)| match prefix {
        Some(prefix) => Ok(Cidr {
            address: *address,
            prefix: *prefix,
        }),
        None => Err(format!(
            "{address} is not of this router's range, so it needs a prefix length"
        )),
    };
    rest.map(cidr).collect()
}

/// What keeps this attachment, or all of its network, from working.
fn trouble_of(report: &Report, host: &str, bridge: &str) -> Option<String> {
    if report.gone.iter().any(|gone| gone == host) {
        return Some("the container's network namespace is gone".into());
    }
    let failed = report
        .failed
        .iter()
        .find(|(op, _)| op.subject() == host || op.subject() == bridge);
    let obstacle = || {
        report.obstacles.iter().find(|obstacle| match obstacle {
            Obstacle::BridgeName(name) => name == bridge,
            Obstacle::NameTaken { host: taken, .. } => taken == host,
            Obstacle::Unreadable(unreadable, _) => unreadable == host,
            Obstacle::NoTap(_) => false,
        })
    };
    failed
        .map(|(_, error)| error.to_string())
        .or_else(|| obstacle().map(ToString::to_string))
}
