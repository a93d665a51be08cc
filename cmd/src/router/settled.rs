//! What the `ports` thread has done: what works now is told to the core and the plane, what is gone is forgotten, and who
//! waited is answered.

use super::Router;
use super::containers::Asked;
use super::keeper::Then;
use super::place::is_in_force;
use super::ports::Outcome;
use super::status;
use crate::state::Attachment;
use fastpath::kernel::Report;
use fastpath::names;
use fastpath::plan::Obstacle;
use mesh::{Input, Vni};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::{info, warn};

impl Router {
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
                    let _ = answer.send(status::to_json(&self.status(&counters)).map_err(Into::into));
                }
            }
        }
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
            Some(Asked::Attach { host, .. }) => {
                self.trouble_of(&report, host).or_else(|| no_limit(&report, host))
            }
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

    pub(super) fn answer(&mut self, asked: Option<Asked>, error: Option<String>) {
        match (asked, error) {
            (Some(Asked::Attach { host, before, answer }), Some(error)) => {
                self.undo_attach(&host, before);
                let _ = answer.send(Err(error.into()));
            }
            (Some(Asked::Attach { host, answer, .. }), None) => {
                self.note_made(&host);
                self.announce(&host);
                let attached = self
                    .containers
                    .position(&host)
                    .map(|at| &self.containers.attached[at]);
                let attached = attached.map(|attached| self.shown(attached));
                let _ = answer.send(attached.ok_or_else(|| "it was detached meanwhile".into()));
            }
            (Some(Asked::Detach { answer }), error) => {
                let _ = answer
                    .map(|answer| answer.send(error.map_or(Ok(Value::Null), |error| Err(error.into()))));
            }
            (Some(Asked::Status { answer }), _) => {
                let _ = answer.send(status::to_json(&self.status(&BTreeMap::new())).map_err(Into::into));
            }
            (Some(Asked::Reset { answer }), error) => self.removed(error.map_or(Ok(()), Err), answer),
            (None, _) => {}
        }
    }

    /// All is as it was before: a failed attach leaves nothing behind.
    fn undo_attach(&mut self, host: &str, before: Option<Box<Attachment>>) {
        let asked = self.containers.asked.values_mut().chain(self.keeper.changes());
        let mut later = asked.filter_map(|asked| match asked {
            Asked::Attach {
                host: other, before, ..
            } if other == host => Some(before),
            _ => None,
        });
        // Who asked for the same interface after that found this in the list, and is answered later: theirs is the last word,
        // and should it fail, too, all is as it was before both.
        if let Some(theirs) = later.next() {
            if theirs.is_some() {
                *theirs = before;
            }
            return;
        }
        drop(later);
        // What was detached meanwhile stays so.
        if self.containers.position(host).is_none() {
            return;
        }
        if !before.as_ref().is_some_and(|before| before.is_allocated) {
            self.release_allocated(host);
        }
        self.put(host, before.map(|before| *before));
        self.persist_attachments(Then::Nothing);
        let _ = self.converge();
    }

    /// Others may have heard of a container that had the addresses of this one before. What is handed to somebody is announced
    /// by them, once it is where it belongs.
    fn announce(&mut self, host: &str) {
        let found = self
            .containers
            .position(host)
            .map(|at| &self.containers.attached[at].port);
        let own = found.filter(|port| port.handed.is_none()).cloned();
        if let (Some(port), Ok(ports)) = (own, &mut self.containers.ports) {
            ports.announce(port);
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
                let gone = &self.containers.attached[at].port.netns.path;
                info!("{} is gone: detached", gone.display());
            }
            self.put(host, None);
        }
        self.persist_attachments(Then::Nothing);
        let _ = self.converge();
    }

    /// What keeps this attachment from working; of one that reaches what is outside by this host, also what keeps that.
    fn trouble_of(&self, report: &Report, host: &str) -> Option<String> {
        let at = self.containers.position(host);
        let found = at.map(|at| &self.containers.attached[at]);
        let vni = found.map_or(Vni::DEFAULT, |one| one.vni);
        let bridge = self.bridge_of(vni);
        let own = trouble_of(report, host, &bridge);
        if !found.is_some_and(|one| one.gateway) {
            return own;
        }
        let exposed = self.containers.exposed(vni);
        let outside = || exposed.and_then(|one| trouble_of(report, &one.port.host_ifname, &bridge));
        let table = || trouble_of(report, &names::gateway(&bridge), &bridge);
        own.or_else(outside).or_else(table)
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
                self.fast_own(vni, mac, false);
                self.feed(Input::Detach { vni, mac });
            }
        }
        for (host, (vni, mac, addresses)) in now {
            if before.get(&host) != Some(&(vni, mac, addresses.clone())) {
                self.shore.plane.attach(vni, mac, &addresses);
                self.fast_own(vni, mac, true);
                self.feed(Input::Attach { vni, mac, addresses });
            }
        }
        self.publish_gateways();
        let exposed = self.containers.attached.iter().filter(|one| one.port.is_host);
        let exposed =
            exposed.flat_map(|one| one.port.addresses.iter().map(|(address, _)| (*address, one.vni)));
        self.names.expose(exposed.collect());
        self.tell_names();
        let networks = self.containers.attached.iter().map(|one| one.vni);
        self.forward
            .allow(networks.map(|vni| self.bridge_of(vni)).collect());
    }
}

/// A container is not begun without the limit that it is to have; one that was begun goes on, should the guard be lost.
fn no_limit(report: &Report, host: &str) -> Option<String> {
    let mut obstacles = report.obstacles.iter();
    let found = obstacles
        .find(|obstacle| matches!(obstacle, Obstacle::NoLimit { host: unlimited } if unlimited == host));
    found.map(ToString::to_string)
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
            Obstacle::NoTap(_) | Obstacle::NoLimit { .. } => false,
        })
    };
    failed
        .map(|(_, error)| error.to_string())
        .or_else(|| obstacle().map(ToString::to_string))
}
