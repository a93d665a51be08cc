//! News in, decisions out.

use super::{PLAN, complain};
use crate::router::Router;
use crate::router::desk::Desk;
use crate::router::esp;
use fastpath::kernel::Report;
use fastpath::overlay::{CHANGE, Direct, Input, Output, UNUSED};
use fastpath::vxlan::{Came, Hop, Probe};
use mesh::{FdbChange, Mac, PeerId, PeerLabel, Vni};
use sleeve::PathState;
use std::net::IpAddr;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How often direct paths are looked at, whatever sleeve says of them.
const LOOK: Duration = Duration::from_secs(1);
/// How long packets for the label that this router had before are taken.
const FORMER: Duration = Duration::from_secs(60);

impl Router {
    /// The forwarding table changed.
    pub(in crate::router) fn fast_fdb(&mut self, vni: Vni, change: &FdbChange) {
        let now = self.shore.clock.now();
        let Ok(laid) = &mut self.fast.laid else { return };
        let told = match change {
            FdbChange::Set { mac, peer, .. } => laid.macs.set(now, (vni, *mac), Some(*peer)),
            FdbChange::Remove { mac } => laid.macs.set(now, (vni, *mac), None),
            FdbChange::Members(members) => {
                let members = members.clone();
                return self.feed_fast(Input::Members { vni, members });
            }
        };
        laid.write_macs(told);
    }

    /// An address is attached to this host, or no more.
    pub(in crate::router) fn fast_own(&mut self, vni: Vni, mac: Mac, attached: bool) {
        let now = self.shore.clock.now();
        let Ok(laid) = &mut self.fast.laid else { return };
        let told = laid.macs.set_own(now, (vni, mac), attached);
        laid.write_macs(told);
    }

    /// News for the fast path.
    pub(in crate::router) fn feed_fast(&mut self, input: Input) {
        let now = self.shore.clock.now();
        let Ok(laid) = &mut self.fast.laid else { return };
        laid.overlay.handle_input(now, input);
        for output in laid.overlay.take_outputs() {
            self.fast_output(&output);
        }
    }

    fn fast_output(&mut self, output: &Output) {
        let Ok(laid) = &mut self.fast.laid else { return };
        match *output {
            Output::Hop { label, hop } => {
                let within = if hop.is_some_and(|hop: Hop| hop.carries) {
                    CHANGE
                } else {
                    Duration::ZERO
                };
                complain(laid.tables.set_hop(label, hop, within));
            }
            Output::Sender { address, label } => complain(laid.tables.set_sender(address, label)),
            Output::Probe { to, number, size, by } => {
                let Some(probes) = &laid.probes else { return };
                let from = laid.own;
                let probe = Probe {
                    to,
                    from,
                    number,
                    size,
                };
                let asked = match (&laid.tables, by) {
                    (Desk::Programs(_), _) => probes.ask(probe, by),
                    (desk, _) => {
                        let by = by.and_then(|(address, _)| match address {
                            IpAddr::V4(host) => Some(host),
                            IpAddr::V6(_) => None,
                        });
                        let Some(host) = by.or_else(|| desk.host_of(to)) else {
                            return;
                        };
                        probes.ask_host(host, probe)
                    }
                };
                if let Err(error) = asked {
                    // The hatch is gone or down: the next look of the thread that keeps it mends that.
                    debug!("a probe was not sent: {error}");
                    laid.probes = None;
                }
            }
            Output::Group { vni, ref members } => {
                complain(laid.tables.set_group(vni, members));
            }
            Output::Tree {
                vni,
                source,
                ref place,
            } => {
                complain(laid.tables.set_tree(vni, source, place.as_ref()));
                let is_ready = place.as_ref().is_some_and(|place| place.ready);
                if let Some(was_ready) = laid.trees.get_mut(&vni).filter(|_| !source.is_some())
                    && std::mem::replace(was_ready, is_ready) != is_ready
                {
                    let overlay = if is_ready { "the fast path" } else { "sleeve" };
                    info!(network = vni.0, "frames for groups take {overlay}");
                }
            }
            Output::ProbeTree { vni, number, size } => {
                let Some(probes) = &laid.probes else { return };
                if let Err(error) = probes.ask_tree(vni, laid.own, number, size) {
                    debug!("a probe was not sent: {error}");
                    laid.probes = None;
                }
            }
            Output::Moved { peer, fast } => {
                let name = self.name(&peer);
                if fast {
                    info!(peer = name, "frames take the fast path");
                } else {
                    let why = self.fast.why(&peer, &|peer| self.name(peer)).unwrap_or_default();
                    info!(peer = name, "frames take sleeve: {why}");
                }
            }
        }
    }

    /// Something came by the hatch.
    pub(in crate::router) fn probe_came(&mut self, came: Came) {
        match came {
            Came::Answer { from, number } => self.feed_fast(Input::Answer { from, number }),
            Came::Question {
                to,
                from,
                number,
                size,
            } => {
                let Ok(laid) = &self.fast.laid else { return };
                let host = laid.tables.host_of(from).filter(|_| to == laid.own);
                if let (Some(host), Some(probes)) = (host, &laid.probes) {
                    // What can't be sent is as good as lost on the way.
                    let _ = probes.answer_host(
                        host,
                        Probe {
                            to: from,
                            from: to,
                            number,
                            size,
                        },
                    );
                }
            }
            Came::Tree { vni, source } => {
                let who = self
                    .fast
                    .laid
                    .as_ref()
                    .ok()
                    .and_then(|laid| laid.overlay.who(source));
                if let Some(source) = who.map(|who| who.short()) {
                    self.feed(mesh::Input::UseTree { vni, source });
                }
            }
        }
    }

    /// This router's place in a tree.
    pub(in crate::router) fn fast_tree(&mut self, vni: Vni, source: PeerId, tree: Option<mesh::Tree>) {
        if let (Ok(laid), true) = (&mut self.fast.laid, source == self.settings.id) {
            if tree.is_some() {
                laid.trees.entry(vni).or_default();
            } else {
                laid.trees.remove(&vni);
            }
        }
        self.feed_fast(Input::Tree { vni, source, tree });
    }

    /// Which of this router's trees its containers had frames for.
    fn look_at_trees(&mut self) {
        let Ok(laid) = &self.fast.laid else { return };
        let is_used = |vni: &Vni| laid.tables.tree_used(*vni).is_some_and(|ago| ago < UNUSED);
        let used: Vec<_> = laid.trees.keys().filter(|vni| is_used(vni)).copied().collect();
        for vni in used {
            self.feed_fast(Input::TreeUsed { vni });
        }
    }

    /// Time has come.
    pub(in crate::router) fn fast_timers(&mut self) {
        let now = self.shore.clock.now();
        if self.fast.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        let Ok(laid) = &mut self.fast.laid else { return };
        let expired = laid.macs.expire(now);
        laid.write_macs(expired);
        if now >= laid.last_plan + PLAN && laid.tables.take_news() {
            laid.last_plan = now;
            // What fails is told with the kernel's report.
            let _ = self.converge();
        }
        let Ok(laid) = &mut self.fast.laid else { return };
        if laid.next_heartbeat <= now {
            laid.set_local(now);
        }
        if laid.next_look <= now {
            laid.next_look = now + LOOK;
            // The hatch went down for a moment, and came up again.
            if laid.reader.is_some() && laid.is_deaf() {
                let _ = laid.listen(&self.fast.answers);
            }
            let paths = self.sleeve.paths(now);
            for path in paths {
                self.direct_path(path.peer, Some(&path));
            }
            self.look_at_trees();
        }
        self.esp_timers(now);
        self.feed_fast(Input::Tick);
    }

    /// Sleeve's direct path to a router may have changed.
    pub(in crate::router) fn path_changed(&mut self, peer: PeerId) {
        if self.fast.laid.is_ok() {
            let path = self.sleeve.path(self.shore.clock.now(), &peer);
            self.direct_path(peer, path.as_ref());
        }
    }

    fn direct_path(&mut self, peer: PeerId, path: Option<&sleeve::PathView>) {
        let path = path.filter(|path| path.state != PathState::Probing);
        let found = path.and_then(|path| Some((path.address?.ip().to_canonical(), path.encrypted)));
        let path = match found {
            Some((address, encrypted)) => {
                let cover = self.cover(peer, address, encrypted);
                Some(Direct { address, cover })
            }
            None => {
                self.uncover(peer);
                None
            }
        };
        self.feed_fast(Input::Direct { peer, path });
    }

    /// A router's label on the fast path; this router's own is kept over restarts.
    pub(in crate::router) fn peer_label(&mut self, peer: PeerId, label: PeerLabel) {
        let now = self.shore.clock.now();
        if peer == self.settings.id {
            if label.is_some() && self.memory.label != label.0 {
                self.memory.label = label.0;
                self.persist_memory();
            }
            let Ok(laid) = &mut self.fast.laid else { return };
            if laid.own.is_some() && laid.own != label {
                laid.former = (laid.own, now + FORMER);
            }
            laid.own = label;
            laid.set_local(now);
            return;
        }
        if let Ok(laid) = &mut self.fast.laid {
            let told = laid.macs.set_label(now, peer, label);
            laid.write_macs(told);
        }
        self.feed_fast(Input::Label { peer, label });
    }

    /// A router is no longer known.
    pub(in crate::router) fn fast_forget(&mut self, peer: PeerId) {
        if let Ok(laid) = &mut self.fast.laid {
            laid.macs.forget(&peer);
            laid.capabilities.remove(&peer);
        }
        self.uncover(peer);
        self.feed_fast(Input::PeerGone(peer));
    }

    /// A router's record.
    pub(in crate::router) fn fast_peer(&mut self, info: &mesh::PeerInfo) {
        if let Ok(laid) = &mut self.fast.laid {
            laid.capabilities.insert(info.peer, info.capabilities);
            self.feed_fast(Input::Relay {
                peer: info.peer,
                allowed: info.capabilities & mesh::capability::FAST_RELAY != 0,
            });
            let addresses = info.addresses.iter().map(|address| address.ip().to_canonical());
            self.feed_fast(Input::Peer {
                peer: info.peer,
                port: info.vxlan_port,
                addresses: addresses.collect::<Vec<IpAddr>>(),
            });
        }
    }

    /// The kernel was worked on: is the fast path there? Others hear of it, or that it is not.
    pub(in crate::router) fn look_at_fast(&mut self, report: &Report) {
        let Ok(laid) = &mut self.fast.laid else {
            // The devices are gone by now, and nothing goes past what is removed.
            if let Some(bridge) = self.fast.left.take_if(|_| report.is_reached()) {
                esp::remove_left(&bridge);
            }
            return;
        };
        let devices = [&laid.fast.vxlan, &laid.fast.stub, &laid.fast.hatch];
        let failed = report
            .failed
            .iter()
            .find(|(op, _)| devices.iter().any(|device| *device == op.subject()));
        let mut trouble = failed.map(|(_, error)| format!("this host's kernel has no fast path: {error}"));
        if trouble.is_none() && laid.is_deaf() {
            let listening = laid.listen(&self.fast.answers);
            trouble = listening
                .err()
                .map(|error| format!("this host has no fast path: {error}"));
        }
        let is_news = trouble.is_some() != laid.trouble.is_some();
        laid.trouble = trouble;
        if is_news {
            let port = if laid.trouble.is_none() { laid.fast.port } else { 0 };
            if let Some(why) = &laid.trouble {
                warn!("{why}");
            }
            self.feed(mesh::Input::FastPath { port });
        }
    }
}
