//! Which overlay the frames to each router take: sans-IO, one [`Overlay`] per router.
//!
//! A way to another router is the address of the next router on its route, and how many hops it has. It may be used
//! once probes as large as frames come back by it, reflected by the destination's kernel: the kernels between forward
//! probes as they forward frames, so an answer proves every hop, both ways. [`proof`] keeps count.
//!
//! 1. News of routes, labels and direct paths come in as [`Input`]s.
//! 2. `resolve` finds each router's way, or in words [`Why`] there is none. Another way is a new one to prove.
//! 3. `tell` writes what changed into the kernel's tables ([`Output::Hop`]), one entry per router.
//!
//! Frames leave the fast path at once when three probes in a row are lost, when the way changes, or when the first
//! hop is lost. They return when three came back; when the way has several hops, not before it was the same for two
//! seconds, so that relays know it too; and later each time if that goes on. A way that the control plane lost keeps
//! carrying while probes come back, for [`GRACE`]: a router that is restarted looks like that.

mod proof;
#[cfg(test)]
mod tests;
mod why;

pub use why::Why;

use crate::vxlan::Hop;
use mesh::{Instant, PeerId, PeerLabel};
use proof::{Proof, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Most hops of a way: what the TTL can say.
pub const MAX_HOPS: usize = 8;
/// How long a way is kept that probes prove and the control plane lost, and what an earlier run left.
pub const GRACE: Duration = Duration::from_secs(60);
/// How long a way over relays must have been the same before it is used.
pub const STABLE: Duration = Duration::from_secs(2);
/// How long a way whose first hop was lost is kept although there is another, while probes come back: a restart.
pub const RESTART: Duration = Duration::from_secs(3);
/// When frames change to the fast path, if there is no gap before.
pub const CHANGE: Duration = Duration::from_millis(100);

/// What does not change.
#[derive(Debug, Clone)]
pub struct Config {
    /// UDP port of VXLAN, the same on all hosts.
    pub port: u16,
    /// Bytes of the largest packet that containers send.
    pub mtu: u16,
    /// Number of the first probe; random, so that answers to an earlier run's are not taken.
    pub first: u64,
}

/// The direct data path to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direct {
    /// Where.
    pub address: IpAddr,
    /// Frames to it are to be encrypted: one of the two does not trust the other's address.
    pub encrypted: bool,
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
}

/// What is known of a router, and how it is reached.
#[derive(Debug)]
struct Pair {
    label: PeerLabel,
    port: u16,
    addresses: Vec<IpAddr>,
    direct: Option<Direct>,
    route: Option<Vec<PeerId>>,
    way: Result<Way, Why>,
    /// Since when the way is what it is.
    since: Instant,
    /// Since when it is kept although the control plane lost it.
    stale: Option<Instant>,
    /// Until when, at most.
    until: Option<Instant>,
    proof: Proof,
    /// What the kernel was told, and under which label.
    told: Option<(PeerLabel, Hop)>,
    /// The address from which packets are taken as this router's.
    sender: Option<IpAddr>,
    /// Its place in the queue.
    due: Option<Instant>,
}

impl Pair {
    fn new(now: Instant) -> Self {
        Self {
            label: PeerLabel::NONE,
            port: 0,
            addresses: Vec::new(),
            direct: None,
            route: None,
            way: Err(Why::NoFastPath),
            since: now,
            stale: None,
            until: None,
            proof: Proof::new(now),
            told: None,
            sender: None,
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
        let adopted_until = Some(now + GRACE).filter(|_| !hops.is_empty());
        Self {
            config,
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
            number,
            out: Vec::new(),
        }
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
                (pair.port, pair.addresses) = (port, addresses);
                self.renew_around(now, peer);
            }
            Input::Label { peer, label } => self.set_label(now, peer, label),
            Input::PeerGone(peer) => self.forget(now, peer),
            Input::Direct { peer, path } => {
                let pair = self.pair(now, peer);
                if pair.direct != path {
                    pair.direct = path;
                    self.renew_around(now, peer);
                }
            }
            Input::Route { peer, path } => {
                self.pair(now, peer).route = path;
                self.renew(now, peer);
            }
            Input::Answer { from, number } => {
                if let Some(peer) = self.labels.get(&from).copied()
                    && let Some(pair) = self.pairs.get_mut(&peer)
                {
                    let before = pair.proof.is_proven();
                    if pair.proof.answered(now, number) {
                        self.proof_changed(now, peer, before);
                    }
                }
            }
            Input::Tick => self.tick(now),
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
        [pair, sender.map(|since| since + GRACE), self.adopted_until]
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
                _ if way.distance > 1 && !self.is_proven(&way.via) => Why::FirstHop,
                proof::State::Narrow => Why::Narrow {
                    address: way.address,
                    mtu: self.config.mtu,
                },
                proof::State::Silent if way.distance > 1 => Why::SomeHop {
                    distance: way.distance,
                },
                proof::State::Silent if !known => Why::Translated { address: way.address },
                proof::State::Silent => Why::Silent {
                    address: way.address,
                    port: self.config.port,
                },
            });
        }
        if way.distance > 1 && !self.is_proven(&way.via) {
            return Some(Why::FirstHop);
        }
        Some(if pair.proof.held_until().is_some() {
            Why::Flapping
        } else {
            Why::Settling
        })
    }

    fn pair(&mut self, now: Instant, peer: PeerId) -> &mut Pair {
        self.pairs.entry(peer).or_insert_with(|| Pair::new(now))
    }

    fn is_proven(&self, peer: &PeerId) -> bool {
        self.pairs.get(peer).is_some_and(|pair| pair.proof.is_proven())
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
        if self.labels.get(&old) == Some(&peer) {
            self.labels.remove(&old);
        }
        if label.is_some() {
            self.labels.insert(label, peer);
        }
        self.renew_around(now, peer);
    }

    fn forget(&mut self, now: Instant, peer: PeerId) {
        self.set_label(now, peer, PeerLabel::NONE);
        let pair = self.pair(now, peer);
        (pair.port, pair.direct, pair.route) = (0, None, None);
        self.renew_around(now, peer);
        self.set_way(now, peer, Err(Why::NoFastPath));
        self.tell(now, peer);
        if let Some(due) = self.pairs.remove(&peer).and_then(|pair| pair.due) {
            self.queue.remove(&(due, peer));
        }
    }

    /// Something about a router changed: its own way, and of those behind it.
    fn renew_around(&mut self, now: Instant, peer: PeerId) {
        self.renew_sender(now, peer);
        self.renew(now, peer);
        // Whose route begins with it, whether there is a way or not, and whose way does, route or not.
        let begins = |pair: &Pair| pair.route.as_ref().and_then(|path| path.first()) == Some(&peer);
        let behind: Vec<_> = self
            .pairs
            .iter()
            .filter(|(other, pair)| **other != peer && begins(pair))
            .map(|(other, _)| *other)
            .collect();
        let kept = self.behind.get(&peer).into_iter().flatten().copied();
        for other in behind.into_iter().chain(kept.collect::<Vec<_>>()) {
            self.renew(now, other);
        }
    }

    /// Packets are taken from a neighbour's address while both trust each other's.
    fn renew_sender(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        let (label, direct) = (pair.label, pair.direct);
        let plain = direct.filter(|direct| !direct.encrypted && label.is_some());
        let old = pair.sender;
        pair.sender = plain.map(|direct| direct.address).or(old);
        if let Some(Direct { address, .. }) = plain {
            let told = self.senders.insert(address, (label, None));
            if told.map(|(told, _)| told) != Some(label) {
                self.out.push(Output::Sender {
                    address,
                    label: Some(label),
                });
            }
        }
        let Some(old) = old.filter(|old| plain.is_none_or(|direct| direct.address != *old)) else {
            return;
        };
        let others = self
            .pairs
            .iter()
            .any(|(other, pair)| *other != peer && pair.sender == Some(old));
        if others {
            return;
        }
        if direct.is_some() || !label.is_some() {
            // It moved, or wants encryption from now on.
            self.drop_sender(old);
            if let Some(pair) = self.pairs.get_mut(&peer).filter(|_| plain.is_none()) {
                pair.sender = None;
            }
        } else if let Some((_, stale)) = self.senders.get_mut(&old) {
            stale.get_or_insert(now);
        }
    }

    fn drop_sender(&mut self, address: IpAddr) {
        if self.senders.remove(&address).is_some() {
            self.out.push(Output::Sender { address, label: None });
        }
    }

    /// The way to a router as the control plane sees it now.
    fn resolve(&self, pair: &Pair) -> Result<Way, Why> {
        let is_direct = pair.route.as_ref().is_some_and(|path| path.len() == 1);
        if is_direct && pair.direct.is_some_and(|direct| direct.encrypted) {
            return Err(Why::Encrypted);
        }
        if !pair.label.is_some() || pair.port == 0 {
            return Err(Why::NoFastPath);
        }
        if pair.port != self.config.port {
            return Err(Why::OtherPort { port: pair.port });
        }
        let path = pair.route.as_ref().ok_or(Why::NoRoute)?;
        let via = *path.first().ok_or(Why::NoRoute)?;
        let distance = u8::try_from(path.len()).map_err(|_| Why::TooFar)?;
        if usize::from(distance) > MAX_HOPS {
            return Err(Why::TooFar);
        }
        let first = self.pairs.get(&via).ok_or(Why::NoDirect)?;
        let direct = first.direct.ok_or(Why::NoDirect)?;
        if direct.encrypted {
            return Err(Why::Encrypted);
        }
        if first.port != self.config.port || !first.label.is_some() {
            return Err(Why::FirstHop);
        }
        Ok(Way {
            via,
            address: direct.address,
            distance,
        })
    }

    fn renew(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get(&peer) else { return };
        let way = self.resolve(pair);
        let old_first = pair.way.as_ref().ok().and_then(|way| self.pairs.get(&way.via));
        let old_is_lost = old_first.is_none_or(|first| first.direct.is_none());
        let patience = match &way {
            Err(Why::NoRoute | Why::NoDirect) => GRACE,
            Ok(new) if old_is_lost && pair.way.as_ref() != Ok(new) => RESTART,
            _ => Duration::ZERO,
        };
        let until = pair.stale.unwrap_or(now) + patience;
        let keeps = pair.proof.is_proven() && pair.label.is_some() && self.may_keep(pair);
        if keeps && until > now {
            if let Some(pair) = self.pairs.get_mut(&peer) {
                pair.stale.get_or_insert(now);
                pair.until = Some(until);
            }
        } else {
            self.set_way(now, peer, way);
        }
        self.tell(now, peer);
    }

    /// True if a way may stay as it is: its first hop is not known to be elsewhere, or to be encrypted now.
    fn may_keep(&self, pair: &Pair) -> bool {
        let Ok(way) = &pair.way else { return false };
        let first = self.pairs.get(&way.via).and_then(|first| first.direct);
        first.is_none_or(|direct| !direct.encrypted && direct.address == way.address)
    }

    fn set_way(&mut self, now: Instant, peer: PeerId, way: Result<Way, Why>) {
        let label = self.pairs.get(&peer).map(|pair| pair.label);
        let left = label.and_then(|label| self.adopted.get(&label).copied());
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        (pair.stale, pair.until) = (None, None);
        if pair.way == way {
            return;
        }
        let via = |way: &Result<Way, Why>| way.as_ref().ok().map(|way| way.via);
        if let Some(others) = via(&pair.way).and_then(|via| self.behind.get_mut(&via)) {
            others.remove(&peer);
        }
        if let Some(via) = via(&way) {
            self.behind.entry(via).or_default().insert(peer);
        }
        pair.since = now;
        pair.proof.restart(now);
        if let (Some(left), Some(label)) = (left, label)
            && !matches!(way, Err(Why::NoRoute | Why::NoDirect | Why::NoFastPath))
        {
            // What the earlier run proved counts, if it is still the way.
            self.adopted.remove(&label);
            pair.told = Some((label, left));
            if left.carries
                && way
                    .as_ref()
                    .is_ok_and(|way| (way.address, way.distance) == (left.address, left.distance))
            {
                pair.proof.inherit(now);
                pair.since = Instant(now.0.saturating_sub(STABLE.as_micros() as u64));
            }
        }
        pair.way = way;
    }

    /// Tells the kernel what it does not know yet, and when to look again.
    fn tell(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get(&peer) else { return };
        let hop = pair.way.as_ref().ok().map(|way| {
            let relays = self.is_proven(&way.via) || self.was_proven(&way.via);
            let settled = way.distance == 1 || now.since(pair.since) >= STABLE;
            Hop {
                address: way.address,
                distance: way.distance,
                carries: relays && pair.proof.is_proven() && settled && !pair.proof.is_held(now),
                relays,
            }
        });
        let wanted = hop.map(|hop| (pair.label, hop));
        let (told, was_fast) = (pair.told, pair.carries());
        let due = self.next(pair, now);
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        pair.told = wanted;
        let old = std::mem::replace(&mut pair.due, due);
        let is_fast = pair.carries();
        if old != due {
            old.map(|old| self.queue.remove(&(old, peer)));
            due.map(|due| self.queue.insert((due, peer)));
        }
        if told != wanted {
            if let Some((label, _)) = told.filter(|(label, _)| wanted.is_none_or(|(new, _)| new != *label)) {
                self.out.push(Output::Hop { label, hop: None });
            }
            if let Some((label, hop)) = wanted {
                self.out.push(Output::Hop {
                    label,
                    hop: Some(hop),
                });
            }
        }
        if was_fast != is_fast {
            self.out.push(Output::Moved { peer, fast: is_fast });
        }
    }

    /// Tells of a router whose probes came back or did not, and if that changes something, of those behind it.
    fn proof_changed(&mut self, now: Instant, peer: PeerId, before: bool) {
        self.tell(now, peer);
        if self.is_proven(&peer) == before {
            return;
        }
        let behind: Vec<_> = self.behind.get(&peer).into_iter().flatten().copied().collect();
        for other in behind.into_iter().filter(|other| *other != peer) {
            self.tell(now, other);
        }
    }

    /// When something is to be done about a router.
    fn next(&self, pair: &Pair, now: Instant) -> Option<Instant> {
        pair.way.as_ref().ok()?;
        let settled = Some(pair.since + STABLE).filter(|at| *at > now);
        let held = pair.proof.held_until().filter(|at| *at > now);
        [Some(pair.proof.next()), settled, held, pair.until]
            .into_iter()
            .flatten()
            .min()
    }

    fn tick(&mut self, now: Instant) {
        while let Some((at, peer)) = self.queue.first().copied().filter(|(at, _)| *at <= now) {
            self.queue.remove(&(at, peer));
            if let Some(pair) = self.pairs.get_mut(&peer) {
                pair.due = None;
            }
            self.look(now, peer);
        }
        let gone: Vec<_> = self
            .senders
            .iter()
            .filter(|(_, (_, stale))| stale.is_some_and(|since| now.since(since) >= GRACE))
            .map(|(address, _)| *address)
            .collect();
        for address in gone {
            self.drop_sender(address);
        }
        if self.adopted_until.is_some_and(|until| until <= now) {
            self.adopted_until = None;
            for label in std::mem::take(&mut self.adopted).into_keys() {
                self.out.push(Output::Hop { label, hop: None });
            }
            for peer in self.pairs.keys().copied().collect::<Vec<_>>() {
                self.tell(now, peer);
            }
        }
    }

    fn look(&mut self, now: Instant, peer: PeerId) {
        let ways = self.pairs.len();
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        if pair.until.is_some_and(|until| until <= now) {
            return self.renew(now, peer);
        }
        let (label, direct) = (pair.label, pair.way.as_ref().is_ok_and(|way| way.distance == 1));
        let before = pair.proof.is_proven();
        match pair.proof.step(now, self.number, direct, ways) {
            Step::Wait => self.proof_changed(now, peer, before),
            Step::Ask { small } => {
                self.out.push(Output::Probe {
                    to: label,
                    number: self.number,
                    size: if small { proof::SMALL } else { self.config.mtu },
                });
                self.number = self.number.wrapping_add(1);
                self.proof_changed(now, peer, before);
            }
        }
    }
}
