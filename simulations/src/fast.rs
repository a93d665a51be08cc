//! A host's fast path: the daemon's own decisions (`fastpath::overlay`) over the model of its kernel's programs
//! (`fastpath::model`).
//!
//! Packets travel the simulated wires as any other datagram does, with [`TAG`] in front: no packet of sleeve begins so.
//! Unlike a real one, this kernel goes with its router.

use crate::Port;
use fastpath::esp::NoEsp;
use fastpath::model::{Kernel, Packet, Step};
use fastpath::overlay::{Config, Cover, Direct, GRACE, Input, MAX_HOPS, Output, Overlay};
use fastpath::vxlan::{Came, Probe, probe_frame, tree_probe_frame};
use mesh::{FdbChange, Instant, Mac, PeerId, PeerInfo, PeerLabel, Vni};
use sleeve::PathView;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// First byte of the packets.
pub(crate) const TAG: u8 = 0xf5;
/// UDP port that records name.
pub(crate) const PORT: u16 = 6784;
/// How often direct paths and the use of trees are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is to be done for it.
pub(crate) enum Want {
    Send(IpAddr, Vec<u8>),
    Frame(Vni, Vec<u8>),
    UseTree(Vni, PeerId),
}

/// One host's.
pub(crate) struct Fast {
    overlay: Overlay,
    kernel: Kernel,
    labels: BTreeMap<PeerId, PeerLabel>,
    behind: BTreeMap<(Vni, Mac), PeerId>,
    next_look: Instant,
    wants: Vec<Want>,
}

impl Fast {
    pub(crate) fn new(mtu: u16, first: u64) -> Self {
        let config = Config {
            port: PORT,
            mtu,
            hops: MAX_HOPS,
            grace: GRACE,
            first,
        };
        let now = Instant(0);
        Self {
            overlay: Overlay::new(config, now, BTreeMap::new(), BTreeMap::new()),
            kernel: Kernel::new(PeerLabel::NONE),
            labels: BTreeMap::new(),
            behind: BTreeMap::new(),
            next_look: now,
            wants: Vec::new(),
        }
    }

    /// What was asked for since the last call.
    pub(crate) fn take_wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    pub(crate) fn due(&self) -> Instant {
        self.overlay
            .poll_timeout()
            .map_or(self.next_look, |at| at.min(self.next_look))
    }

    pub(crate) fn is_fast(&self, peer: &PeerId) -> bool {
        self.overlay.is_fast(peer)
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// True when it is time to hand in all direct paths.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        self.feed(now, Input::Tick);
        if now < self.next_look {
            return false;
        }
        self.next_look = now + LOOK;
        for vni in self.kernel.take_used() {
            self.feed(now, Input::TreeUsed { vni });
        }
        true
    }

    pub(crate) fn attach(&mut self, port: &Port) {
        self.kernel.locals.insert((port.vni, port.mac));
        self.kernel.networks.insert(port.vni);
    }

    pub(crate) fn detach(&mut self, vni: Vni, mac: Mac) {
        self.kernel.locals.remove(&(vni, mac));
    }

    pub(crate) fn peer(&mut self, now: Instant, info: &PeerInfo) {
        let (peer, port) = (info.peer, info.vxlan_port);
        let addresses = info.addresses.iter().map(std::net::SocketAddr::ip).collect();
        self.feed(
            now,
            Input::Peer {
                peer,
                port,
                addresses,
            },
        );
    }

    pub(crate) fn label(&mut self, now: Instant, own: PeerId, peer: PeerId, label: PeerLabel) {
        if peer == own {
            self.kernel.label = label;
            return;
        }
        self.labels.insert(peer, label);
        let of: Vec<_> = self
            .behind
            .iter()
            .filter(|(_, of)| **of == peer)
            .map(|(key, _)| *key)
            .collect();
        of.into_iter().for_each(|key| self.tell_mac(key));
        self.feed(now, Input::Label { peer, label });
    }

    pub(crate) fn gone(&mut self, now: Instant, peer: PeerId) {
        self.labels.remove(&peer);
        self.feed(now, Input::PeerGone(peer));
    }

    pub(crate) fn direct(&mut self, now: Instant, peer: PeerId, path: Option<&PathView>) {
        let path = path.filter(|path| path.state != sleeve::PathState::Probing);
        let path = path.and_then(|path| {
            Some(Direct {
                address: path.address?.ip(),
                // No simulated kernel encrypts.
                cover: if path.encrypted {
                    Cover::Missing(NoEsp::Here)
                } else {
                    Cover::Plain
                },
            })
        });
        self.feed(now, Input::Direct { peer, path });
    }

    pub(crate) fn fdb(&mut self, now: Instant, vni: Vni, change: &FdbChange) {
        match change {
            FdbChange::Set { mac, peer, .. } => {
                self.behind.insert((vni, *mac), *peer);
                self.tell_mac((vni, *mac));
            }
            FdbChange::Remove { mac } => {
                self.behind.remove(&(vni, *mac));
                self.tell_mac((vni, *mac));
            }
            FdbChange::Members(members) => {
                let members = members.clone();
                self.feed(now, Input::Members { vni, members });
            }
        }
    }

    fn tell_mac(&mut self, key: (Vni, Mac)) {
        let label = self
            .behind
            .get(&key)
            .and_then(|peer| self.labels.get(peer))
            .copied();
        match label.filter(|label| label.is_some()) {
            Some(label) => drop(self.kernel.macs.insert(key, label)),
            None => drop(self.kernel.macs.remove(&key)),
        }
    }

    /// A frame of a container of this host; true if sleeve is to carry it.
    pub(crate) fn outbound(&mut self, vni: Vni, frame: &[u8]) -> bool {
        let steps = self.kernel.mesh_out(vni, frame);
        let is_elsewhere = steps.contains(&Step::Elsewhere);
        self.take(Instant(0), steps);
        is_elsewhere
    }

    /// A packet from the underlay.
    pub(crate) fn inbound(&mut self, now: Instant, from: IpAddr, bytes: &[u8]) {
        if let Some(packet) = Packet::decode(bytes) {
            let steps = self.kernel.mesh_in(from, &packet);
            self.take(now, steps);
        }
    }

    fn take(&mut self, now: Instant, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Send(to, packet) => {
                    let bytes = [&[TAG][..], &packet.encode()].concat();
                    self.wants.push(Want::Send(to, bytes));
                }
                Step::Deliver(vni, frame) => self.wants.push(Want::Frame(vni, frame)),
                Step::Hatch(frame) => match Came::read(&frame) {
                    Some(Came::Answer { from, number }) => self.feed(now, Input::Answer { from, number }),
                    Some(Came::Tree { vni, source }) => {
                        let source = self.overlay.who(source);
                        self.wants.extend(source.map(|source| Want::UseTree(vni, source)));
                    }
                    Some(Came::Question { .. }) | None => {}
                },
                Step::Elsewhere => {}
            }
        }
    }

    pub(crate) fn feed(&mut self, now: Instant, input: Input) {
        self.overlay.handle_input(now, input);
        for output in self.overlay.take_outputs() {
            match output {
                Output::Hop { label, hop } => match hop {
                    Some(hop) => drop(self.kernel.hops.insert(label, hop)),
                    None => drop(self.kernel.hops.remove(&label)),
                },
                Output::Sender { address, label } => self.kernel.set_sender(address, label),
                Output::Group { vni, members } => drop(self.kernel.groups.insert(vni, members)),
                Output::Tree { vni, source, place } => match place {
                    Some(place) => drop(self.kernel.trees.insert((vni, source), place)),
                    None => drop(self.kernel.trees.remove(&(vni, source))),
                },
                Output::Probe { to, number, size, by } => {
                    let frame = probe_frame(
                        Probe {
                            to,
                            from: self.kernel.label,
                            number,
                            size,
                        },
                        by,
                    );
                    let steps = self.kernel.hatch_out(&frame);
                    self.take(now, steps);
                }
                Output::ProbeTree { vni, number, size } => {
                    let frame = tree_probe_frame(vni, self.kernel.label, number, size);
                    let steps = self.kernel.hatch_out(&frame);
                    self.take(now, steps);
                }
                Output::Moved { .. } => {}
            }
        }
    }

    /// The networks for which frames for groups take the fast path now.
    pub(crate) fn spreads(&self) -> BTreeSet<Vni> {
        let copies = self
            .kernel
            .groups
            .iter()
            .filter(|(_, members)| !members.is_empty());
        let ready = self.kernel.trees.iter();
        let ready = ready.filter(|((_, source), place)| !source.is_some() && place.ready);
        copies
            .map(|(vni, _)| *vni)
            .chain(ready.map(|((vni, _), _)| *vni))
            .collect()
    }
}
