//! The containers of this host: what is attached, and what of that works.
//!
//! A change goes: list changed and stored (`attach`) → kernel converged by the `ports` thread → what works now is told to
//! the core (which publishes it) and to the plane (which guards and delivers) → the asker is answered (`settled`).

use super::keeper::Then;
use super::place::is_in_force;
use super::ports::{Ports, Ticket};
use super::{Router, status};
use crate::control::Refused;
use crate::state::{self, Attachment};
use fastpath::kernel::Report;
use fastpath::observe::Gate;
use fastpath::plan::{Desired, Plain};
use fastpath::{Fast, names};
use mesh::{Mac, Name, NetworkView, Vni};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::sync::oneshot;
use tracing::info;

/// Where an answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Value, Refused>>;

/// What is attached here.
pub(crate) struct Containers {
    /// The thread that programs the kernel; without it, why nothing can be attached.
    pub(crate) ports: Result<Ports, String>,
    pub(crate) bridge: String,
    pub(crate) bridge_mac: Mac,
    pub(crate) mtu: u16,
    pub(crate) attached: Vec<Attachment>,
    /// When this host was booted, as the kernel names it.
    pub(super) boot: Option<String>,
    /// Host ends that work, with what was published of them.
    pub(super) live: BTreeMap<String, (Vni, Mac, Vec<IpAddr>)>,
    pub(super) asked: BTreeMap<Ticket, Asked>,
    /// What stood in the way of the last unasked repair.
    trouble: Vec<String>,
}

/// A change of the list, on its way to the disk, and who waits for it.
pub(super) struct Change(pub(super) Asked);

/// Who waits for an outcome.
pub(super) enum Asked {
    Attach {
        host: String,
        before: Option<Box<Attachment>>,
        answer: Answer,
    },
    Detach {
        /// `None`: it was nobody's wish.
        answer: Option<Answer>,
    },
    Status {
        answer: Answer,
    },
    Reset {
        answer: Answer,
    },
}

impl Containers {
    /// Nothing is programmed before the first [`Router::converge`]. Containers of another boot are left out.
    pub(crate) fn new(
        ports: Result<Ports, String>,
        bridge: String,
        bridge_mac: Mac,
        mtu: u16,
        mut attached: Vec<Attachment>,
    ) -> Self {
        let boot = state::boot();
        for gone in attached.extract_if(.., |one| one.is_of_another_boot(boot.as_deref())) {
            info!(
                "{} went with this host's last boot: detached",
                gone.port.netns.path.display()
            );
        }
        let (live, asked) = (BTreeMap::new(), BTreeMap::new());
        Self {
            ports,
            bridge,
            bridge_mac,
            mtu,
            attached,
            boot,
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
        let gateway = Self::gateway(own.clone());
        let is_used = gateway.is_some();
        let port = |one: &Attachment| fastpath::Attachment {
            gate: match one.port.is_host {
                true if is_used => Gate::Host,
                false if one.gateway => Gate::Through,
                _ => Gate::No,
            },
            ..one.port.clone()
        };
        Desired {
            bridge_mac: Some(mac),
            mtu: self.mtu,
            tap: names::tap(&bridge),
            fast,
            // Further networks go without where there is no eBPF.
            plain: plain.filter(|_| vni == Vni::DEFAULT),
            gateway,
            attachments: own.map(port).collect(),
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

    pub(super) fn position(&self, host: &str) -> Option<usize> {
        self.attached
            .iter()
            .position(|attachment| attachment.port.host_ifname == host)
    }
}

impl Containers {
    /// True if this report tells of other trouble than the last: what lasts is logged once.
    pub(super) fn is_news(&mut self, report: &Report) -> bool {
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

    /// Whether containers can be attached.
    pub(super) fn ready(&self) -> Result<Value, Refused> {
        let ports = self.containers.ports.as_ref();
        ports.map_err(String::as_str)?;
        self.can_allocate().map(|()| Value::Null)
    }

    /// Answers with the whole status, once the guard's counters are read.
    pub(crate) fn status_when_counted(&mut self, answer: Answer) {
        let ports = self.containers.ports.as_mut().map_err(|why| why.clone());
        match ports.and_then(Ports::counters) {
            Ok(ticket) => drop(self.containers.asked.insert(ticket, Asked::Status { answer })),
            Err(_) => {
                let status = status::to_json(&self.status(&BTreeMap::new()));
                let _ = answer.send(status.map_err(Refused::from));
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

    pub(super) fn removed(&mut self, result: Result<(), String>, answer: Answer) {
        self.stopping = result.is_ok();
        let _ = answer.send(result.map(|()| json!(self.keeper.path())).map_err(Refused::from));
    }

    /// What was given out for an attachment that did not come to be is free.
    pub(super) fn release_unless_attached(&mut self, vni: Vni, host: &str) {
        let found = self.containers.position(host);
        if !found.is_some_and(|at| self.containers.attached[at].is_allocated) {
            self.release_addresses(vni, host);
        }
    }

    /// The addresses that this router gave an attachment are free.
    pub(super) fn release_allocated(&mut self, host: &str) {
        let found = self
            .containers
            .position(host)
            .map(|at| &self.containers.attached[at]);
        if let Some(vni) = found.filter(|one| one.is_allocated).map(|one| one.vni) {
            self.release_addresses(vni, host);
        }
    }

    /// Detaches these.
    pub(super) fn remove(&mut self, hosts: Vec<String>, answer: Option<Answer>) {
        if hosts.is_empty() {
            return drop(answer.map(|answer| answer.send(Ok(Value::Null))));
        }
        for host in hosts {
            self.release_allocated(&host);
            self.put(&host, None);
        }
        self.persist_attachments(Then::Containers(Change(Asked::Detach { answer })));
    }

    /// Replaces what is attached with this host end.
    pub(super) fn put(&mut self, host: &str, attachment: Option<Attachment>) {
        self.gateways.is_look_due |= attachment.is_none();
        let attached = &mut self.containers.attached;
        attached.retain(|other| other.port.host_ifname != host);
        attached.extend(attachment);
    }
}
