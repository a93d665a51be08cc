//! What the programs decide, in Rust: `vxlan/vxlan.bpf.c` line by line, without a kernel.
//!
//! The simulator forwards by it, and `tests/vxlan/model.rs` holds it to the programs: it sends both the same packets and
//! compares what they drop, and why. Left out is what only a kernel has: times at which flows change overlay, devices,
//! and a router that shows no life.

use crate::vxlan::{Hop, MOST_MEMBERS, PROBE_TYPE, Place};
use mesh::{DropReason, Mac, PeerLabel, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// TTL that stands for one relay.
const FAR: u8 = 32;
const GROUP_BIT: u32 = 1 << 19;
const PROBE_MAGIC: [u8; 4] = *b"WPB1";
const ASKS: u16 = 1;
const ANSWERS: u16 = 2;
const ASKS_TREE: u16 = 3;
const ETHERNET: usize = 14;
/// Bytes of a probe after the Ethernet header.
const PROBE: usize = 36;

/// A VXLAN packet as the programs see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The network; 0: probes.
    pub vni: Vni,
    /// Group policy: a label, and perhaps the A bit.
    pub policy: u32,
    /// Outer TTL.
    pub ttl: u8,
    /// The Ethernet frame.
    pub frame: Vec<u8>,
}

impl Packet {
    /// As bytes, for a simulated wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.vni.0.to_be_bytes().to_vec();
        bytes.extend(self.policy.to_be_bytes());
        bytes.push(self.ttl);
        bytes.extend(&self.frame);
        bytes
    }

    /// The same back; `None` for anything shorter than its head.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (vni, rest) = bytes.split_first_chunk()?;
        let (policy, rest) = rest.split_first_chunk()?;
        let (ttl, frame) = rest.split_first()?;
        Some(Self {
            vni: Vni(u32::from_be_bytes(*vni)),
            policy: u32::from_be_bytes(*policy),
            ttl: *ttl,
            frame: frame.to_vec(),
        })
    }
}

/// What becomes of a frame or packet. What is dropped leaves no step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sent to the host at this address.
    Send(IpAddr, Packet),
    /// Into the network on this host: to one container, or to all.
    Deliver(Vni, Vec<u8>),
    /// To the router, by the hatch.
    Hatch(Vec<u8>),
    /// To the TAP, and so to sleeve.
    Elsewhere,
}

/// One host's tables, and what was dropped.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// This router's label.
    pub label: PeerLabel,
    /// How routers are reached.
    pub hops: BTreeMap<PeerLabel, Hop>,
    /// The neighbours packets are taken from.
    pub senders: BTreeMap<IpAddr, PeerLabel>,
    /// Behind which router addresses are.
    pub macs: BTreeMap<(Vni, Mac), PeerLabel>,
    /// Addresses that are attached here.
    pub locals: BTreeSet<(Vni, Mac)>,
    /// Networks with a bridge here.
    pub networks: BTreeSet<Vni>,
    /// Who gets copies of frames for groups.
    pub groups: BTreeMap<Vni, Vec<PeerLabel>>,
    /// Places in trees; [`PeerLabel::NONE`]: this router's own.
    pub trees: BTreeMap<(Vni, PeerLabel), Place>,
    /// Where each neighbour is.
    neighbours: BTreeMap<PeerLabel, IpAddr>,
    /// Networks in which a frame met this router's own tree since [`take_used`](Self::take_used).
    used: BTreeSet<Vni>,
    drops: BTreeMap<DropReason, u64>,
}

impl Kernel {
    /// The kernel of the router with this label, with empty tables.
    #[must_use]
    pub fn new(label: PeerLabel) -> Self {
        Self {
            label,
            ..Self::default()
        }
    }

    /// As [`Tables::set_sender`](crate::vxlan::Tables::set_sender).
    pub fn set_sender(&mut self, address: IpAddr, label: Option<PeerLabel>) {
        match label {
            Some(label) => {
                self.neighbours.insert(label, address);
                self.senders.insert(address, label);
            }
            None => {
                if let Some(label) = self.senders.remove(&address)
                    && self.neighbours.get(&label) == Some(&address)
                {
                    self.neighbours.remove(&label);
                }
            }
        }
    }

    /// What was dropped so far, by reason.
    #[must_use]
    pub fn drops(&self) -> &BTreeMap<DropReason, u64> {
        &self.drops
    }

    /// The networks in which a frame met this router's own tree since this was last asked.
    pub fn take_used(&mut self) -> BTreeSet<Vni> {
        std::mem::take(&mut self.used)
    }

    fn count(&mut self, reason: DropReason) {
        *self.drops.entry(reason).or_default() += 1;
    }

    fn drop(&mut self, reason: DropReason) -> Vec<Step> {
        self.count(reason);
        Vec::new()
    }

    /// `mesh_out`: the bridge hands a frame to the mesh.
    pub fn mesh_out(&mut self, vni: Vni, frame: &[u8]) -> Vec<Step> {
        let Some(to) = mac(frame, 0) else {
            return self.drop(DropReason::VxlanTruncated);
        };
        if to.0[0] & 1 != 0 {
            return self.spread(vni, to, frame);
        }
        let Some(label) = self.macs.get(&(vni, to)).copied() else {
            return vec![Step::Elsewhere];
        };
        match self.hops.get(&label) {
            Some(hop) if hop.carries => vec![send(hop, vni, label, hop.distance - 1, frame)],
            _ => vec![Step::Elsewhere],
        }
    }

    fn spread(&mut self, vni: Vni, to: Mac, frame: &[u8]) -> Vec<Step> {
        let is_arp = frame.get(12..14) == Some(&[8, 6]);
        if is_arp || to.0[..3] == [0x33, 0x33, 0xff] {
            return vec![Step::Elsewhere];
        }
        let own = self.trees.get(&(vni, PeerLabel::NONE)).cloned();
        if own.is_some() {
            self.used.insert(vni);
        }
        let group = self
            .groups
            .get(&vni)
            .filter(|group| (1..=MOST_MEMBERS).contains(&group.len()));
        if let Some(group) = group {
            let way = |label: &PeerLabel| Some((*label, *self.hops.get(label).filter(|hop| hop.carries)?));
            let ways: Option<Vec<_>> = group.iter().map(way).collect();
            return ways.map_or(vec![Step::Elsewhere], |ways| {
                let copy = |(label, hop): (PeerLabel, Hop)| send(&hop, vni, label, hop.distance - 1, frame);
                ways.into_iter().map(copy).collect()
            });
        }
        match own.filter(|own| own.ready && own.depth > 0) {
            Some(own) => self.branch(&own, vni, self.label, own.depth - 1, PeerLabel::NONE, frame),
            None => vec![Step::Elsewhere],
        }
    }

    /// To each child but the one it came from.
    fn branch(
        &mut self,
        tree: &Place,
        vni: Vni,
        source: PeerLabel,
        relays: u8,
        from: PeerLabel,
        frame: &[u8],
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for child in &tree.children {
            match self.neighbours.get(child).filter(|_| *child != from) {
                Some(address) => {
                    let policy = u32::from(source.0) | GROUP_BIT;
                    steps.push(wrap(*address, vni, policy, relays, frame));
                }
                None if *child == from => self.count(DropReason::VxlanLoop),
                None => self.count(DropReason::VxlanUnproven),
            }
        }
        steps
    }

    /// `hatch_out`: the router sends a probe.
    pub fn hatch_out(&mut self, frame: &[u8]) -> Vec<Step> {
        let Some(probe) = Probe::read(frame) else {
            return Vec::new();
        };
        if probe.kind == ASKS_TREE {
            let vni = Vni(probe.via());
            let own = self.trees.get(&(vni, PeerLabel::NONE)).cloned();
            return match own.filter(|own| own.depth > 0) {
                Some(own) => self.branch(&own, vni, self.label, own.depth - 1, PeerLabel::NONE, frame),
                None => Vec::new(),
            };
        }
        let hop = match probe.distance {
            0 => self.hops.get(&probe.to).copied(),
            distance => u8::try_from(distance).ok().map(|distance| Hop {
                address: probe.address,
                distance,
                carries: false,
                relays: false,
            }),
        };
        let hop = hop.filter(|hop| hop.distance > 0);
        hop.map(|hop| send(&hop, Vni(0), probe.to, hop.distance - 1, frame))
            .into_iter()
            .collect()
    }

    /// `mesh_in`: a packet comes from the underlay.
    pub fn mesh_in(&mut self, from: IpAddr, packet: &Packet) -> Vec<Step> {
        let Some(sender) = self.senders.get(&from).copied() else {
            return self.drop(DropReason::VxlanUnknownSource);
        };
        if packet.frame.len() < ETHERNET {
            return self.drop(DropReason::VxlanTruncated);
        }
        let label = PeerLabel((packet.policy & 0xffff) as u16);
        if packet.policy & GROUP_BIT != 0 {
            return self.follow(packet, label, sender);
        }
        if !label.is_some() {
            return self.drop(DropReason::VxlanNoLabel);
        }
        if label == self.label {
            return match packet.vni {
                Vni(0) if packet.frame.get(12..14) == Some(&PROBE_TYPE.to_be_bytes()) => {
                    self.probed(&packet.frame)
                }
                Vni(0) => self.drop(DropReason::VxlanNotAttached),
                vni => self.deliver(vni, &packet.frame),
            };
        }
        let Some(hop) = self.hops.get(&label).copied() else {
            return self.drop(DropReason::VxlanUnknownLabel);
        };
        let relays = packet.ttl / FAR;
        if hop.address == from {
            return self.drop(DropReason::VxlanLoop);
        }
        if relays == 0 || hop.distance > relays {
            return self.drop(DropReason::VxlanHopLimit);
        }
        if !hop.relays {
            return self.drop(DropReason::VxlanUnproven);
        }
        vec![send(&hop, packet.vni, label, relays - 1, &packet.frame)]
    }

    fn follow(&mut self, packet: &Packet, source: PeerLabel, sender: PeerLabel) -> Vec<Step> {
        let (vni, frame) = (packet.vni, &packet.frame);
        if !source.is_some() || vni.0 == 0 || frame[0] & 1 == 0 {
            return self.drop(DropReason::VxlanNoLabel);
        }
        if source == self.label {
            return self.drop(DropReason::VxlanLoop);
        }
        let is_probe = frame.get(12..14) == Some(&PROBE_TYPE.to_be_bytes());
        let tree = self.trees.get(&(vni, source)).cloned();
        let Some(tree) = tree.clone().filter(|tree| tree.parent == sender) else {
            self.count(DropReason::VxlanNotParent);
            let is_news = is_probe && tree.is_none();
            return is_news.then(|| Step::Hatch(frame.clone())).into_iter().collect();
        };
        let relays = packet.ttl / FAR;
        let mut steps = Vec::new();
        if relays > 0 {
            steps = self.branch(&tree, vni, source, relays - 1, sender, frame);
        } else if !tree.children.is_empty() {
            self.count(DropReason::VxlanHopLimit);
        }
        if is_probe {
            let probe = Probe::read(frame)
                .filter(|probe| probe.kind == ASKS_TREE && probe.from == source && probe.via() == vni.0);
            if probe.is_none() {
                self.count(DropReason::VxlanTruncated);
                return steps;
            }
            steps.push(Step::Hatch(frame.clone()));
            if self.networks.contains(&vni) {
                steps.extend(self.answer(frame, self.label, source));
            }
        } else if self.networks.contains(&vni) {
            steps.extend(self.deliver(vni, frame));
        }
        steps
    }

    fn probed(&mut self, frame: &[u8]) -> Vec<Step> {
        match Probe::read(frame) {
            None => self.drop(DropReason::VxlanTruncated),
            Some(probe) if probe.kind == ANSWERS => vec![Step::Hatch(frame.to_vec())],
            Some(probe) if probe.kind == ASKS => self.answer(frame, probe.to, probe.from),
            Some(_) => self.drop(DropReason::VxlanUnknownLabel),
        }
    }

    fn answer(&mut self, frame: &[u8], own: PeerLabel, asker: PeerLabel) -> Vec<Step> {
        let Some(hop) = self.hops.get(&asker).copied() else {
            return self.drop(DropReason::VxlanUnknownLabel);
        };
        let mut frame = frame.to_vec();
        for (at, field) in [(18, ANSWERS), (20, asker.0), (22, own.0)] {
            frame[at..at + 2].copy_from_slice(&field.to_be_bytes());
        }
        vec![send(&hop, Vni(0), asker, hop.distance - 1, &frame)]
    }

    fn deliver(&mut self, vni: Vni, frame: &[u8]) -> Vec<Step> {
        let (Some(to), Some(from)) = (mac(frame, 0), mac(frame, 6)) else {
            return self.drop(DropReason::VxlanTruncated);
        };
        if self.locals.contains(&(vni, from)) {
            return self.drop(DropReason::VxlanSpoofed);
        }
        let is_here = if to.0[0] & 1 != 0 {
            self.networks.contains(&vni)
        } else {
            self.locals.contains(&(vni, to))
        };
        if is_here {
            vec![Step::Deliver(vni, frame.to_vec())]
        } else {
            self.drop(DropReason::VxlanNotAttached)
        }
    }
}

fn mac(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(at..)?.first_chunk().copied().map(Mac)
}

fn wrap(to: IpAddr, vni: Vni, policy: u32, relays: u8, frame: &[u8]) -> Step {
    let ttl = relays * FAR + (FAR - 1);
    let frame = frame.to_vec();
    Step::Send(
        to,
        Packet {
            vni,
            policy,
            ttl,
            frame,
        },
    )
}

fn send(hop: &Hop, vni: Vni, label: PeerLabel, relays: u8, frame: &[u8]) -> Step {
    wrap(hop.address, vni, label.0.into(), relays, frame)
}

/// The fields of a probe that decide.
struct Probe {
    kind: u16,
    to: PeerLabel,
    from: PeerLabel,
    distance: u16,
    address: IpAddr,
}

impl Probe {
    fn read(frame: &[u8]) -> Option<Self> {
        let is_probe = frame.get(12..14) == Some(&PROBE_TYPE.to_be_bytes());
        let body = frame.get(ETHERNET..ETHERNET + PROBE).filter(|_| is_probe)?;
        let field = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
        let address: [u8; 16] = *body.get(20..)?.first_chunk()?;
        body.starts_with(&PROBE_MAGIC).then_some(Self {
            kind: field(4)?,
            to: PeerLabel(field(6)?),
            from: PeerLabel(field(8)?),
            distance: field(10)?,
            address: IpAddr::from(address).to_canonical(),
        })
    }

    /// The first word of `via`: of a probe along a tree the network.
    fn via(&self) -> u32 {
        let octets = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]])
    }
}
