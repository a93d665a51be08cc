//! The world: hosts, the network between them, and the one queue of all that is still to happen.
//!
//! Routers are woken by events and answer with acts; acts become events again. Nothing else happens.

use crate::clock::Clock;
use crate::connection::{CloseCode, Connections, Packet};
use crate::hosts::Host;
use crate::invariants::Seen;
use crate::links::Number;
use crate::nat::Nat;
use crate::network::{Lanes, Passage};
use crate::nonces::Nonces;
use crate::probe::Probe;
use crate::router::Act;
use crate::trace::Trace;
use crate::verdicts::Verdicts;
use crate::ways::Way;
use crate::{Class, HostId, Network, Random, Router, TraceHash, Violation};
use crypto::{Keyring, Secret};
use mesh::{DropReason, Input, Instant, LinkId, PeerId};
use sleeve::wire::size;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Wakings of one router at one instant after which it counts as spinning.
const MAX_WAKINGS: u32 = 100;
/// What a spinning router is slowed down to.
const SPIN: Duration = Duration::from_millis(1);
/// What a packet of the fast path has on the wire beyond what stands for it here: IPv6, UDP, VXLAN.
const VXLAN_HEADERS: usize = 46;

/// Something that will happen.
pub(crate) enum Event {
    Wake {
        host: HostId,
        run: u64,
    },
    Datagram {
        from: SocketAddr,
        to: HostId,
        bytes: Vec<u8>,
    },
    Packet {
        number: Number,
        end: usize,
        packet: Packet,
    },
    Lossy {
        number: Number,
        end: usize,
        packet: mesh::Packet,
    },
    Retry {
        number: Number,
        end: usize,
    },
    Closed {
        number: Number,
        end: usize,
        code: CloseCode,
        reason: String,
    },
    HandshakeDue {
        number: Number,
        end: usize,
    },
    IdleDue {
        number: Number,
        end: usize,
    },
    Down {
        host: HostId,
        run: u64,
        link: LinkId,
        reason: String,
    },
    DialFailed {
        host: HostId,
        run: u64,
        target: String,
        error: String,
        own: bool,
    },
    Leave {
        host: HostId,
        run: u64,
    },
    /// A probe arrives, or its answer.
    Probe(Probe),
    Probed(Probe),
}

/// A datagram as the network saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Sender.
    pub from: HostId,
    /// Receiver.
    pub to: HostId,
    /// The datagram.
    pub bytes: Vec<u8>,
}

/// A world.
pub struct World {
    /// The wires, which may be changed at any time.
    pub network: Network,
    pub(crate) seed: u64,
    /// Where every generator comes from; never drawn from itself.
    pub(crate) random: Random,
    /// What becomes of packets.
    pub(crate) chance: Random,
    lanes: Lanes,
    pub(crate) clock: Clock<Event>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) addresses: BTreeMap<SocketAddr, HostId>,
    pub(crate) nats: Vec<Nat>,
    pub(crate) connections: Connections,
    /// What all routers begin with unless told otherwise.
    pub(crate) keyring: Keyring,
    pub(crate) violations: Vec<Violation>,
    /// Keepalives and answers sent so far.
    pub(crate) lossy_count: u64,
    pub(crate) nonces: Nonces,
    /// Whether new identities are fake ones.
    pub(crate) fake_crypto: bool,
    /// What routers found of signatures.
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) seen: Seen,
    trace: Trace,
    captured: Option<Vec<Captured>>,
}

impl World {
    /// An empty world, in which everything follows from `seed`.
    #[must_use]
    #[allow(clippy::expect_used)] // only for none, three, or twice the same
    pub fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        let secret = Secret::generate(&mut random.fork("secret", 0));
        Self {
            network: Network::default(),
            seed,
            chance: random.fork("network", 0),
            lanes: Lanes::new(),
            clock: Clock::new(),
            hosts: Vec::new(),
            addresses: BTreeMap::new(),
            nats: Vec::new(),
            connections: Connections::default(),
            keyring: Keyring::new(vec![secret]).expect("one secret makes a keyring"),
            violations: Vec::new(),
            lossy_count: 0,
            nonces: Nonces::default(),
            fake_crypto: false,
            verdicts: Arc::default(),
            seen: Seen::default(),
            trace: Trace::default(),
            captured: None,
            random,
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The digest of everything that happened so far.
    #[must_use]
    pub fn trace_hash(&self) -> TraceHash {
        self.trace.hash()
    }

    /// A generator for the one who writes the story: faults, traffic.
    #[must_use]
    pub fn fork(&self, purpose: &str, number: u64) -> Random {
        self.random.fork(purpose, number)
    }

    /// What was seen that must never be.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// From now on every datagram sent is kept, whether it arrives or not.
    pub fn capture(&mut self) {
        self.captured.get_or_insert_default();
    }

    /// What was captured since the last call.
    pub fn captured(&mut self) -> Vec<Captured> {
        self.captured.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Events that are planned, connections that stand: both must stay bounded.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.clock.len(), self.connections.len())
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        while let Some(event) = self.clock.next(end) {
            if let Some(event) = self.unless_paused(event) {
                self.happen(event);
            }
        }
    }

    /// The event, unless the process it is for stands still: then it happens when that goes on, messages before
    /// timers, as the daemon has it.
    fn unless_paused(&mut self, event: Event) -> Option<Event> {
        let host = match &event {
            Event::Wake { host, .. }
            | Event::Down { host, .. }
            | Event::DialFailed { host, .. }
            | Event::Leave { host, .. }
            | Event::Datagram { to: host, .. }
            | Event::Probe(Probe { to: host, .. })
            | Event::Probed(Probe { from: host, .. }) => *host,
            Event::Packet { number, end, .. }
            | Event::Lossy { number, end, .. }
            | Event::Retry { number, end }
            | Event::Closed { number, end, .. }
            | Event::HandshakeDue { number, end }
            | Event::IdleDue { number, end } => self.connections.get(*number)?.ends[*end].host,
        };
        let place = &mut self.hosts[host.0];
        if place.paused <= self.clock.now() {
            return Some(event);
        }
        let mut at = place.paused;
        if let Event::Wake { run, .. } = &event {
            if place.run != *run || place.wake != Some(self.clock.now()) {
                return None;
            }
            at = at + Duration::from_micros(1);
            place.wake = Some(at);
        }
        self.clock.plan(at, event);
        None
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { host, run } => self.wake(host, run),
            Event::Datagram { from, to, bytes } => {
                self.note("datagram", [to.0, bytes.len()], &bytes);
                self.with_router(to, |router| router.datagram(from, bytes));
            }
            Event::Packet { number, end, packet } => {
                self.note("packet", [number as usize, end], packet.bytes());
                self.packet(number, end, packet);
            }
            Event::Lossy { number, end, packet } => {
                self.note("lossy", [number as usize, end], packet.bytes());
                self.lossy(number, end, packet);
            }
            Event::Retry { number, end } => self.retry(number, end),
            Event::Closed {
                number,
                end,
                code,
                reason,
            } => {
                self.note("closed", [number as usize, end], reason.as_bytes());
                self.closed(number, end, code, &reason);
            }
            Event::HandshakeDue { number, end } => self.handshake_due(number, end),
            Event::IdleDue { number, end } => self.idle_due(number, end),
            Event::Down {
                host,
                run,
                link,
                reason,
            } if self.is_run(host, run) => {
                self.note("down", [host.0, link.0 as usize], reason.as_bytes());
                self.with_router(host, |router| router.link_down(link, reason));
            }
            Event::DialFailed {
                host,
                run,
                target,
                error,
                own,
            } if self.is_run(host, run) => {
                self.note("dial failed", [host.0, 0], target.as_bytes());
                self.router_input(host, Input::DialFailed { target, error, own });
            }
            Event::Leave { host, run } if self.is_run(host, run) => {
                self.close_all(host);
                self.crash(host);
            }
            Event::Probe(probe) => self.answer_probe(probe),
            Event::Probed(probe) if self.is_run(probe.from, probe.run) => {
                self.note("probed", [probe.from.0, probe.to.0], &[]);
                let rtt = Some(self.clock.now().since(probe.sent));
                let peer = probe.peer;
                self.router_input(probe.from, Input::Probed { peer, rtt });
            }
            Event::Probed(_) | Event::Down { .. } | Event::DialFailed { .. } | Event::Leave { .. } => {}
        }
    }

    fn is_run(&self, host: HostId, run: u64) -> bool {
        self.hosts[host.0].run == run && self.hosts[host.0].router.is_some()
    }

    fn wake(&mut self, host: HostId, run: u64) {
        let now = self.clock.now();
        // Another waking may have been planned instead.
        if !self.is_run(host, run) || self.hosts[host.0].wake != Some(now) {
            return;
        }
        self.note("wake", [host.0, 0], &[]);
        let place = &mut self.hosts[host.0];
        place.wake = None;
        place.wakings = if place.woken == now { place.wakings + 1 } else { 0 };
        place.woken = now;
        if place.wakings == MAX_WAKINGS {
            self.violated(Violation::Spins { host, at: now });
        }
        self.with_router(host, Router::timers);
    }

    pub(crate) fn note(&mut self, what: &str, who: [usize; 2], bytes: &[u8]) {
        self.trace.note(self.clock.now(), what, who, bytes);
    }

    /// Hands the router of a host, if there is one, to `work`, and does what it then wants done.
    pub(crate) fn with_router(&mut self, host: HostId, work: impl FnOnce(&mut Router)) {
        let now = self.clock.now();
        let Some(router) = &mut self.hosts[host.0].router else {
            return;
        };
        router.set_now(now);
        work(router);
        let mut acts = router.take_acts();
        self.look_at_records(host);
        for act in acts.drain(..) {
            self.act(host, act);
        }
        if let Some(router) = &mut self.hosts[host.0].router {
            router.give_back(acts);
        }
        self.plan_wake(host);
    }

    pub(crate) fn router_input(&mut self, host: HostId, input: Input) {
        self.with_router(host, |router| router.input(input));
    }

    fn plan_wake(&mut self, host: HostId) {
        let now = self.clock.now();
        let place = &mut self.hosts[host.0];
        let Some(next) = place.router.as_mut().and_then(Router::next_timer) else {
            return;
        };
        let next = if place.wakings >= MAX_WAKINGS {
            next.max(now + SPIN)
        } else {
            next.max(now)
        };
        if place.wake.is_none_or(|wake| next < wake) {
            place.wake = Some(next);
            let run = place.run;
            self.clock.plan(next, Event::Wake { host, run });
        }
    }

    fn act(&mut self, host: HostId, act: Act) {
        match act {
            Act::Dial { target, expect } => self.dial(host, target, expect),
            Act::Probe { peer, address } => self.probe(host, peer, address),
            Act::Close { link, reason } => self.close_link(host, link, reason),
            Act::Send {
                link,
                packet,
                reliable,
            } => self.send_over(host, link, packet, reliable),
            Act::Datagram { to, bytes } => self.send_datagram(host, to, bytes),
            Act::Vxlan { to, bytes } => self.send_vxlan(host, to, bytes),
            Act::Frame { vni, bytes } => {
                self.note("frame", [host.0, bytes.len()], &bytes);
                self.hand_to_containers(host, vni, &bytes, None);
            }
        }
    }

    /// A packet of the fast path: nothing in it is sealed, which is what trust means.
    fn send_vxlan(&mut self, host: HostId, to: SocketAddr, bytes: Vec<u8>) {
        let Some(Way { host: to, seen: from }) = self.way(host, to) else {
            return;
        };
        let passage = self.carry(host, to, bytes.len() + VXLAN_HEADERS, (Class::Data, 1));
        let Some(Passage { at, again }) = passage else {
            return;
        };
        if let Some(at) = again {
            let bytes = bytes.clone();
            self.clock.plan(at, Event::Datagram { from, to, bytes });
        }
        self.clock.plan(at, Event::Datagram { from, to, bytes });
    }

    fn send_datagram(&mut self, host: HostId, to: SocketAddr, bytes: Vec<u8>) {
        self.look_for_clear_text(host, &bytes);
        let way = self.way(host, to);
        self.look_for_nonce(host, to, way.as_ref().map(|way| way.host), &bytes);
        let Some(Way {
            host: to_host,
            seen: from,
        }) = way
        else {
            return;
        };
        if let Some(captured) = &mut self.captured {
            let bytes = bytes.clone();
            captured.push(Captured {
                from: host,
                to: to_host,
                bytes,
            });
        }
        let size = bytes.len() + size::outer(to);
        let Some(Passage { at, again }) = self.carry(host, to_host, size, (Class::Data, 1)) else {
            return;
        };
        let to = to_host;
        if let Some(at) = again {
            let bytes = bytes.clone();
            self.clock.plan(at, Event::Datagram { from, to, bytes });
        }
        self.clock.plan(at, Event::Datagram { from, to, bytes });
    }

    /// What becomes of a packet of that size. `messages`: how many begin with it.
    pub(crate) fn carry(
        &mut self,
        from: HostId,
        to: HostId,
        size: usize,
        (class, messages): (Class, u64),
    ) -> Option<Passage> {
        let now = self.clock.now();
        let (lanes, chance) = (&mut self.lanes, &mut self.chance);
        let passage = self.network.carry((from, to), size, now, lanes, chance);
        self.hosts[from.0].traffic.send(class, messages, 1, size as u64);
        if passage.is_some() {
            self.hosts[to.0].traffic.receive(class, messages, 1, size as u64);
        }
        passage
    }

    /// Counts packets that are not modelled one by one: the further ones of a long message, acknowledgements.
    pub(crate) fn count_more(&mut self, from: HostId, to: HostId, class: Class, packets: u64, bytes: u64) {
        self.hosts[from.0].traffic.send(class, 0, packets, bytes);
        self.hosts[to.0].traffic.receive(class, 0, packets, bytes);
    }

    /// The host with that address.
    pub(crate) fn host_at(&self, address: SocketAddr) -> Option<HostId> {
        self.addresses.get(&address).copied()
    }

    /// The identity of the router whose disk is in that host.
    #[must_use]
    pub fn id(&self, host: HostId) -> PeerId {
        self.hosts[host.0].id()
    }

    /// What tells one sight of a host's router from the next: its run, its changes, the digest of its records.
    pub(crate) fn mark(&self, host: HostId) -> Option<(u64, u64, u64)> {
        let place = &self.hosts[host.0];
        let router = place.router.as_ref()?;
        Some((place.run, router.changes(), router.mesh.digest()))
    }

    /// The router that runs on a host.
    #[must_use]
    pub fn router(&self, host: HostId) -> Option<&Router> {
        self.hosts[host.0].router.as_ref()
    }

    /// Counts a drop of a router's.
    pub(crate) fn count(&self, host: HostId, reason: DropReason) {
        if let Some(router) = self.router(host) {
            router.drops.count(reason);
        }
    }
}
