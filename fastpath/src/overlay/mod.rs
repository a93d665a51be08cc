//! Which overlay the frames to each router take: sans-IO, one [`Overlay`] per router.
//!
//! A way to another router is the address of the next router on its route, and how many hops it has. It may be used
//! once probes as large as frames come back by it, reflected by the destination's kernel: the kernels between forward
//! probes as they forward frames, so an answer proves every hop, both ways. `proof` keeps count.
//!
//! 1. News of routes, labels and direct paths come in as [`Input`]s.
//! 2. `resolve` finds each router's way, or in words [`Why`] there is none. Another way is a new one to prove.
//! 3. `tell` writes what changed into the kernel's tables ([`Output::Hop`]), one entry per router.
//!
//! Another way than the one in use is proven beside it, and takes its place in one write (`way`). Frames leave the
//! fast path at once when three probes in a row are lost, or when the first hop is lost. They return when three came back; when the way has several hops, not before it was the same for two
//! seconds, so that relays know it too; and later each time if that goes on. A way that the control plane lost keeps
//! carrying while probes come back, for [`GRACE`]: a router that is restarted looks like that.

mod group;
mod moves;
mod proof;
#[cfg(test)]
mod tests;
mod way;
mod why;

pub use group::UNUSED;
pub use why::Why;

use crate::esp::NoEsp;
use crate::vxlan::{Hop, Place};
use group::Groups;
use mesh::{Instant, PeerId, PeerLabel, Tree, Vni};
use proof::Proof;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Most hops of a way: what the TTL can say.
pub const MAX_HOPS: u8 = 8;
/// How long a way is kept that probes prove and the control plane lost, and what an earlier run left, unless
/// [`Config::grace`] says otherwise.
pub const GRACE: Duration = Duration::from_secs(60);
/// How long a way over relays must have been the same before it is used.
pub const STABLE: Duration = Duration::from_secs(2);
/// When frames change to the fast path, if there is no gap before.
pub const CHANGE: Duration = Duration::from_millis(100);

/// What does not change.
#[derive(Debug, Clone)]
pub struct Config {
    /// UDP port of VXLAN, the same on all hosts.
    pub port: u16,
    /// Bytes of the largest packet that containers send.
    pub mtu: u16,
    /// Most hops of a way, up to [`MAX_HOPS`].
    pub hops: u8,
    /// How long a way is kept that probes prove and the control plane lost, and what an earlier run left.
    pub grace: Duration,
    /// Number of the first probe; random, so that answers to an earlier run's are not taken.
    pub first: u64,
}

/// The direct data path to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direct {
    /// Where.
    pub address: IpAddr,
    /// What keeps others from reading frames on it.
    pub cover: Cover,
}

/// What keeps others from reading frames on a direct path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Nothing need be: both trust each other's address.
    Plain,
    /// The kernel encrypts: nothing passes there unencrypted ([`esp`](crate::esp)).
    Esp,
    /// Frames are to be encrypted, and the kernel can't do it.
    Missing(NoEsp),
}

impl Direct {
    /// Why the fast path may not be taken there.
    fn barred(&self) -> Option<Why> {
        match self.cover {
            Cover::Plain | Cover::Esp => None,
            Cover::Missing(why) => Some(Why::NoEsp(why)),
        }
    }
}

/// News.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// What a router's record says.
    Peer {
        /// Who.
        peer: PeerId,
        /// Its UDP port for VXLAN; 0: it has no fast path.
        port: u16,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// Whether a router lets relays see frames where hops are encrypted (`--fast-relay`). Until it is said: no.
    Relay {
        /// Who.
        peer: PeerId,
        /// It does.
        allowed: bool,
    },
    /// A router's label.
    Label {
        /// Who.
        peer: PeerId,
        /// Its label, or none.
        label: PeerLabel,
    },
    /// Nothing is known of it any more.
    PeerGone(PeerId),
    /// The direct path to a router, if there is one.
    Direct {
        /// Who.
        peer: PeerId,
        /// The path.
        path: Option<Direct>,
    },
    /// The route to a router, if there is one.
    Route {
        /// Who.
        peer: PeerId,
        /// The hops, the router itself last.
        path: Option<Vec<PeerId>>,
    },
    /// The other routers with ports in a network.
    Members {
        /// The network.
        vni: Vni,
        /// Who.
        members: Vec<PeerId>,
    },
    /// This router's place in a source's tree; its own has a root.
    Tree {
        /// The network.
        vni: Vni,
        /// Whose tree.
        source: PeerId,
        /// The place; none: it has none any more.
        tree: Option<Tree>,
    },
    /// Containers of this host had frames for this router's own tree a moment ago.
    TreeUsed {
        /// In which network.
        vni: Vni,
    },
    /// A probe came back.
    Answer {
        /// From whom.
        from: PeerLabel,
        /// Its number.
        number: u64,
    },
    /// Nothing happened but time.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell the kernel how the router with this label is reached.
    Hop {
        /// The label.
        label: PeerLabel,
        /// The way; none: not at all.
        hop: Option<Hop>,
    },
    /// Tell the kernel from whom packets from this address are.
    Sender {
        /// The address.
        address: IpAddr,
        /// The neighbour; none: of nobody.
        label: Option<PeerLabel>,
    },
    /// Send a probe.
    Probe {
        /// To whom.
        to: PeerLabel,
        /// Its number.
        number: u64,
        /// Bytes of the packet.
        size: u16,
        /// The address and the distance of a way that the kernel does not know yet; none: by the one it knows.
        by: Option<(IpAddr, u8)>,
    },
    /// Tell the kernel who gets copies of frames for groups; nobody: these take a tree, or sleeve.
    Group {
        /// The network.
        vni: Vni,
        /// The other members.
        members: Vec<PeerLabel>,
    },
    /// Tell the kernel this router's place in a tree.
    Tree {
        /// The network.
        vni: Vni,
        /// Whose tree; [`PeerLabel::NONE`]: this router's own.
        source: PeerLabel,
        /// The place; none: it has none.
        place: Option<Place>,
    },
    /// Send a probe along this router's own tree.
    ProbeTree {
        /// The network.
        vni: Vni,
        /// Its number.
        number: u64,
        /// Bytes of the packet.
        size: u16,
    },
    /// Frames to a router take the other overlay from now on.
    Moved {
        /// To whom.
        peer: PeerId,
        /// They take the fast path.
        fast: bool,
    },
}

/// A way to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    via: PeerId,
    address: IpAddr,
    distance: u8,
    /// The kernel encrypts what goes to that address.
    covered: bool,
}

/// A way that is being proven while another is in use.
#[derive(Debug)]
struct Next {
    way: Way,
    settles: Instant,
    proof: Proof,
}

/// What is known of a router, and how it is reached.
#[derive(Debug)]
struct Pair {
    label: PeerLabel,
    port: u16,
    /// Its record is known, and with it the port.
    is_told: bool,
    relay: bool,
    addresses: Vec<IpAddr>,
    direct: Option<Direct>,
    route: Option<Vec<PeerId>>,
    way: Result<Way, Why>,
    /// When the way will have been the same for long enough, if relays must know it too.
    settles: Instant,
    /// Since when it is kept although the control plane lost it.
    stale: Option<Instant>,
    /// Until when, at most.
    until: Option<Instant>,
    proof: Proof,
    /// The way that is to take its place, once it is proven.
    next: Option<Next>,
    /// What the kernel was told, and under which label.
    told: Option<(PeerLabel, Hop)>,
    /// Its place in the queue.
    due: Option<Instant>,
}

impl Pair {
    fn new(now: Instant) -> Self {
        Self {
            label: PeerLabel::NONE,
            port: 0,
            is_told: false,
            relay: false,
            addresses: Vec::new(),
            direct: None,
            route: None,
            way: Err(Why::NoFastPath),
            settles: now,
            stale: None,
            until: None,
            proof: Proof::new(now),
            next: None,
            told: None,
            due: None,
        }
    }

    fn carries(&self) -> bool {
        self.told.is_some_and(|(_, hop)| hop.carries)
    }
}

/// Decides for one router.
#[derive(Debug)]
pub struct Overlay {
    config: Config,
    /// This router lets relays see frames where hops are encrypted.
    relay: bool,
    pairs: BTreeMap<PeerId, Pair>,
    /// Who has which label.
    labels: BTreeMap<PeerLabel, PeerId>,
    /// Who is reached by way of whom.
    behind: BTreeMap<PeerId, BTreeSet<PeerId>>,
    /// When to look at whom.
    queue: BTreeSet<(Instant, PeerId)>,
    /// Neighbours' addresses that are in the kernel, and since when without reason.
    senders: BTreeMap<IpAddr, (PeerLabel, Option<Instant>)>,
    /// Ways that an earlier run left and nobody claimed yet, and until when.
    adopted: BTreeMap<PeerLabel, Hop>,
    adopted_until: Option<Instant>,
    groups: Groups,
    number: u64,
    out: Vec<Output>,
}

impl Overlay {
    /// Starts with what an earlier run left in the kernel, if it did.
    #[must_use]
    pub fn new(
        config: Config,
        now: Instant,
        hops: BTreeMap<PeerLabel, Hop>,
        senders: BTreeMap<IpAddr, PeerLabel>,
    ) -> Self {
        let number = config.first;
        let adopted_until = Some(now + config.grace).filter(|_| !hops.is_empty());
        Self {
            config,
            relay: false,
            pairs: BTreeMap::new(),
            labels: BTreeMap::new(),
            behind: BTreeMap::new(),
            queue: BTreeSet::new(),
            senders: senders
                .into_iter()
                .map(|(address, label)| (address, (label, Some(now))))
                .collect(),
            adopted: hops,
            adopted_until,
            groups: Groups::default(),
            number,
            out: Vec::new(),
        }
    }

    /// Lets relays see this host's frames, and passes those of others, where hops are encrypted (`--fast-relay`).
    #[must_use]
    pub fn with_relays(mut self, allowed: bool) -> Self {
        self.relay = allowed;
        self
    }

    /// The same with what an earlier run left of copies and trees for groups.
    #[must_use]
    pub fn with_groups(
        mut self,
        now: Instant,
        groups: BTreeMap<Vni, Vec<PeerLabel>>,
        trees: BTreeSet<(Vni, PeerLabel)>,
    ) -> Self {
        self.groups.inherit(now, self.config.grace, groups, trees);
        self
    }

    /// Takes in news. Drain [`take_outputs`](Self::take_outputs) afterwards.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Peer {
                peer,
                port,
                addresses,
            } => {
                let pair = self.pair(now, peer);
                (pair.port, pair.is_told, pair.addresses) = (port, true, addresses);
                self.renew_around(now, peer);
            }
            Input::Relay { peer, allowed } => {
                if std::mem::replace(&mut self.pair(now, peer).relay, allowed) != allowed {
                    self.renew_over(now, peer);
                    self.trees_of(now, peer);
                }
            }
            Input::Label { peer, label } => self.set_label(now, peer, label),
            Input::PeerGone(peer) => self.forget(now, peer),
            Input::Direct { peer, path } => {
                let pair = self.pair(now, peer);
                if pair.direct != path {
                    let cover = |direct: Option<Direct>| direct.map(|direct| direct.cover);
                    let is_other = cover(pair.direct) != cover(path);
                    pair.direct = path;
                    self.renew_around(now, peer);
                    if is_other {
                        self.trees_of(now, peer);
                    }
                }
            }
            Input::Route { peer, path } => {
                self.pair(now, peer).route = path;
                self.renew(now, peer);
            }
            Input::Members { vni, members } => self.set_members(now, vni, members),
            Input::Tree { vni, source, tree } => self.set_tree(now, vni, source, tree),
            Input::TreeUsed { vni } => self.tree_used(now, vni),
            Input::Answer { from, number } => {
                if let Some(peer) = self.labels.get(&from).copied()
                    && !self.tree_answered(now, peer, number)
                    && let Some(pair) = self.pairs.get_mut(&peer)
                {
                    let before = pair.proof.is_proven();
                    let next = pair.next.as_mut();
                    if pair.proof.answered(now, number)
                        || next.is_some_and(|next| next.proof.answered(now, number))
                    {
                        self.proof_changed(now, peer, before);
                    }
                }
            }
            Input::Tick => {
                self.tick(now);
                self.tick_groups(now);
            }
        }
    }

    /// What is to be done.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// When to hand in the next [`Tick`](Input::Tick).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pair = self.queue.first().map(|(at, _)| *at);
        let sender = self.senders.values().filter_map(|(_, stale)| *stale).min();
        let sender = sender.map(|since| since + self.config.grace);
        [pair, sender, self.adopted_until, self.groups.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// True if frames to this router take the fast path.
    #[must_use]
    pub fn is_fast(&self, peer: &PeerId) -> bool {
        self.pairs.get(peer).is_some_and(Pair::carries)
    }

    /// Why frames to this router don't take the fast path; `None`: they do.
    #[must_use]
    pub fn why(&self, peer: &PeerId) -> Option<Why> {
        let Some(pair) = self.pairs.get(peer) else {
            return Some(Why::NoFastPath);
        };
        if pair.carries() {
            return pair.stale.map(|_| Why::Stale);
        }
        let way = match &pair.way {
            Ok(way) => way,
            Err(why) => return Some(why.clone()),
        };
        if !pair.proof.is_proven() {
            let known = way.distance > 1 || pair.addresses.contains(&way.address);
            return Some(match pair.proof.state() {
                proof::State::Asking => Why::Proving,
                _ if way.distance > 1 && !self.is_proven(&way.via) => Why::FirstHop { via: way.via },
                proof::State::Narrow => Why::Narrow {
                    address: way.address,
                    mtu: self.config.mtu,
                },
                proof::State::Silent if way.distance == 1 && self.is_covered(&way.via) => {
                    Why::SilentEsp { address: way.address }
                }
                proof::State::Silent if way.distance > 1 => {
                    let (from, to) = self.slow_hop(pair).unwrap_or((way.via, *peer));
                    Why::SomeHop { from, to }
                }
                proof::State::Silent if !known => Why::Translated { address: way.address },
                proof::State::Silent => Why::Silent {
                    address: way.address,
                    port: self.config.port,
                },
            });
        }
        if way.distance > 1 && !self.is_proven(&way.via) {
            return Some(Why::FirstHop { via: way.via });
        }
        Some(if pair.proof.held_until().is_some() {
            Why::Flapping
        } else {
            Why::Settling
        })
    }

    /// To whom the first hop of a route with relays leads.
    #[must_use]
    pub fn first_hop(&self, peer: &PeerId) -> Option<PeerId> {
        let path = self.pairs.get(peer)?.route.as_ref()?;
        path.first().copied().filter(|first| first != peer)
    }

    /// True if frames to this router take the fast path although the control plane lost it.
    #[must_use]
    pub fn is_stale(&self, peer: &PeerId) -> bool {
        let pair = self.pairs.get(peer);
        pair.is_some_and(|pair| pair.carries() && pair.stale.is_some())
    }

    /// The first hop of a router's route behind which probes of this router come back from nobody.
    fn slow_hop(&self, pair: &Pair) -> Option<(PeerId, PeerId)> {
        let path = pair.route.as_ref()?;
        let hops = || path.iter().copied().zip(path.iter().copied().skip(1));
        hops()
            .find(|(_, to)| !self.is_proven(to))
            .or_else(|| hops().next_back())
    }

    /// Whether probes come back from a neighbour, straight; `None` if none are sent.
    #[must_use]
    pub fn answers(&self, peer: &PeerId) -> Option<bool> {
        let pair = self.pairs.get(peer)?;
        let way = pair.way.as_ref().ok().filter(|way| way.distance == 1)?;
        Some(way.via == *peer && pair.proof.is_proven())
    }

    /// Who has this label.
    #[must_use]
    pub fn who(&self, label: PeerLabel) -> Option<PeerId> {
        self.labels.get(&label).copied()
    }

    fn pair(&mut self, now: Instant, peer: PeerId) -> &mut Pair {
        self.pairs.entry(peer).or_insert_with(|| Pair::new(now))
    }

    fn is_proven(&self, peer: &PeerId) -> bool {
        self.pairs.get(peer).is_some_and(|pair| pair.proof.is_proven())
    }

    /// True if the kernel encrypts what goes to this neighbour.
    fn is_covered(&self, peer: &PeerId) -> bool {
        let direct = self.pairs.get(peer).and_then(|pair| pair.direct);
        direct.is_some_and(|direct| direct.cover == Cover::Esp)
    }

    /// True if an earlier run proved the first hop to it, and this one has not looked yet.
    fn was_proven(&self, peer: &PeerId) -> bool {
        let left = self
            .pairs
            .get(peer)
            .and_then(|pair| self.adopted.get(&pair.label));
        left.is_some_and(|left| left.relays && left.distance == 1)
    }

    fn set_label(&mut self, now: Instant, peer: PeerId, label: PeerLabel) {
        let pair = self.pair(now, peer);
        let old = std::mem::replace(&mut pair.label, label);
        if old == label {
            return;
        }
        pair.proof = Proof::new(now);
        pair.next = None;
        self.drop_senders(old);
        if self.labels.get(&old) == Some(&peer) {
            self.labels.remove(&old);
        }
        if label.is_some() {
            self.labels.insert(label, peer);
        }
        self.renew_around(now, peer);
        self.drop_trees(old);
        self.trees_of(now, peer);
    }
}
