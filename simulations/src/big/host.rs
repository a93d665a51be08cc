//! A host with its router: the core itself, and its ends of connections.

use super::event::{Connection, Event, TIMER, What};
use super::line::{self, End, Stage};
use super::path::DataPath;
use super::signer::FakeSigner;
use super::terms::{Reach, Terms, address, micros};
use crate::connection::{HANDSHAKE_TIME, IDLE};
use crate::probe::{ANSWER, QUESTION};
use crate::{Class, Random, Traffic};
use mesh::ipam::Setup;
use mesh::{
    Config, Direction, FdbChange, Input, Instant, LinkId, Mesh, Output, Packet, PeerId, PeerName, Vni,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Proven on every direct data path.
pub(super) const MTU: u16 = 1420;
/// A probe and its answer on the wire, in bytes: with headers of IPv4 and UDP.
const PROBE: (u64, u64) = (QUESTION as u64 + 28, ANSWER as u64 + 28);
/// Tries of a first packet within the time of a handshake: at once, after one second, after three.
const TRIES: u64 = 3;

/// What became of a request for an address: its number, and the address.
pub type Allocated = (u64, Result<Vec<(std::net::IpAddr, u8)>, mesh::ipam::Refusal>);

/// What a router keeps between its runs.
#[derive(Clone, Default)]
struct Disk {
    addresses: mesh::ipam::Stored,
    epoch: u64,
    targets: Vec<String>,
}

/// One host.
pub(super) struct Host {
    pub(super) number: u32,
    pub(super) id: PeerId,
    /// In a box, as it is taken out while it works.
    pub(super) mesh: Option<Box<Mesh>>,
    pub(super) traffic: Traffic,
    /// When it heard of the watched address in this watch.
    pub(super) seen: Option<u64>,
    /// When a link came up last.
    pub(super) linked: Option<u64>,
    /// Routes that were published.
    pub(super) routes: u64,
    disk: Disk,
    /// A copy of it from earlier.
    backup: Option<Disk>,
    /// What became of requests for addresses.
    pub(super) allocated: Vec<Allocated>,
    /// Over all that happened here.
    pub(super) trace: u64,
    ends: BTreeMap<Connection, End>,
    pub(super) paths: BTreeMap<PeerId, DataPath>,
    pub(super) started: u64,
    /// How often a router was launched.
    runs: u64,
    dials: u32,
    sequence: u64,
    wake: Option<u64>,
    pub(super) pending: VecDeque<Input>,
}

impl Host {
    pub(super) fn new(number: u32, terms: &Terms) -> Self {
        Self {
            number,
            id: terms.id(number),
            mesh: None,
            traffic: Traffic::default(),
            seen: None,
            linked: None,
            routes: 0,
            disk: Disk::default(),
            backup: None,
            allocated: Vec::new(),
            trace: 0,
            ends: BTreeMap::new(),
            paths: BTreeMap::new(),
            started: 0,
            runs: 0,
            dials: 0,
            sequence: 0,
            wake: None,
            pending: VecDeque::new(),
        }
    }

    /// The process is gone without a word.
    pub(super) fn crash(&mut self) {
        self.mesh = None;
        self.ends.clear();
        self.paths.clear();
        self.wake = None;
        self.pending.clear();
    }

    pub(super) fn lose_disk(&mut self, terms: &Terms) {
        self.crash();
        (self.disk, self.backup) = (Disk::default(), None);
        self.id = terms.id(self.number);
    }

    pub(super) fn back_up(&mut self) {
        self.backup = Some(self.disk.clone());
    }

    pub(super) fn restore(&mut self) {
        if let Some(backup) = self.backup.clone() {
            self.crash();
            self.disk = backup;
        }
    }

    /// Its links, and the hosts at their other ends.
    pub(super) fn links(&self) -> impl Iterator<Item = (Connection, u32)> {
        let up = self.ends.iter().filter(|(_, end)| end.is_up());
        up.map(|(on, end)| (*on, end.peer))
    }

    /// The hosts at the other ends of its links.
    pub(super) fn linked_with(&self) -> impl Iterator<Item = u32> {
        self.links().map(|(_, host)| host)
    }

    /// An event that somebody outside makes happen here.
    pub(super) fn own_event(&mut self, at: u64, what: What) -> Event {
        self.sequence += 1;
        Event {
            at,
            to: self.number,
            from: self.number,
            sequence: self.sequence,
            on: 0,
            what,
        }
    }

    /// Something happens. What follows from it is added to `planned`.
    pub(super) fn happen(&mut self, event: Event, terms: &Terms, planned: &mut Vec<Event>) {
        let Event {
            at, on, from, what, ..
        } = event;
        if let What::Wake = what {
            if self.wake != Some(at) {
                return;
            }
            self.wake = None;
        }
        self.note(at, u64::from(from) << 32 ^ what.trace());
        match what {
            What::Launch(targets) => self.launch(at, &targets, terms),
            _ if self.mesh.is_none() => return,
            What::Wake => self.pending.push_back(Input::Tick),
            What::Path(peer) => self.path_tried(at, on, peer, terms),
            What::Alone(peer, since) => self.with_reach(at, terms, planned, |host, reach| {
                host.look_after(peer, since, reach);
            }),
            What::Check(since) => self.with_reach(at, terms, planned, |host, reach| {
                host.answer_check(from, since, reach);
            }),
            What::Checked => self.checked(terms.id(from)),
            What::Probe(sent) => self.with_reach(at, terms, planned, |host, reach| {
                host.answer_probe(from, sent, reach);
            }),
            What::Probed(sent) => {
                self.traffic.receive(Class::Probe, 1, 1, PROBE.1);
                let (peer, rtt) = (terms.id(from), Some(Duration::from_micros(at - sent)));
                self.pending.push_back(Input::Probed { peer, rtt });
            }
            What::Nowhere(target, own) => self.dial_failed(target, "nobody is there", own),
            what => self.with_reach(at, terms, planned, |host, reach| {
                host.on_wire(on, from, what, reach);
            }),
        }
        self.work(at, terms, planned);
    }

    /// One end of a link is there, as if it had been dialled by `this` end or by the other one.
    pub(super) fn place(
        &mut self,
        now: u64,
        on: Connection,
        with: u32,
        direction: Direction,
        (terms, planned): (&Terms, &mut Vec<Event>),
    ) {
        self.ends.insert(on, End::new(now, with, Stage::Up));
        self.with_reach(now, terms, planned, |host, reach| {
            host.link_up(on, with, direction, None, reach);
        });
        self.work(now, terms, planned);
    }

    /// The number of a connection that this host dials.
    pub(super) fn next_connection(&mut self) -> Connection {
        self.dials += 1;
        u64::from(self.number) << 32 | u64::from(self.dials)
    }

    /// The first link, if there is one.
    pub(super) fn first_link(&self) -> Option<LinkId> {
        self.links().next().map(|(on, _)| LinkId(on))
    }

    /// Gives the core an input from outside.
    pub(super) fn input(&mut self, now: u64, input: Input, terms: &Terms, planned: &mut Vec<Event>) {
        if self.mesh.is_some() {
            self.pending.push_back(input);
            self.work(now, terms, planned);
        }
    }

    fn note(&mut self, at: u64, what: u64) {
        let mixed = (self.trace ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what;
        self.trace = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }

    fn with_reach<R>(
        &mut self,
        now: u64,
        terms: &Terms,
        planned: &mut Vec<Event>,
        act: impl FnOnce(&mut Self, &mut Reach<'_>) -> R,
    ) -> R {
        let mut sequence = self.sequence;
        let mut reach = Reach {
            now,
            terms,
            from: self.number,
            sequence: &mut sequence,
            planned,
        };
        let result = act(self, &mut reach);
        self.sequence = sequence;
        result
    }

    fn launch(&mut self, now: u64, targets: &[u32], terms: &Terms) {
        self.crash();
        self.disk.epoch += 1;
        self.runs += 1;
        self.started = now;
        let random = Random::new(terms.seed).fork("router", u64::from(self.number) << 16 | self.runs);
        let Ok(name) = format!("r{}", self.number).parse::<PeerName>() else {
            return;
        };
        let data_key = random.fork("data key", 0).bytes();
        let signer = std::sync::Arc::new(FakeSigner(self.id));
        let mut config = Config::new(self.id, name, data_key, self.disk.epoch, signer);
        config.instance = self.runs << 32 | u64::from(self.number);
        config.addresses = vec![address(self.number, false)];
        config.max_links = terms.max_links.unwrap_or(config.max_links);
        config.discovery = terms.discovery;
        let given = targets.iter().map(|target| address(*target, false).to_string());
        config.addresses_of = Setup {
            networks: terms
                .addresses
                .iter()
                .map(|settings| (Vni(0), settings.clone()))
                .collect(),
            stored: self.disk.addresses.clone(),
            knows_others: !targets.is_empty() || !self.disk.targets.is_empty(),
        };
        config.targets = given.chain(self.disk.targets.iter().cloned()).collect();
        let mesh = Mesh::new(config, random.fork("core", 0).bytes(), Instant(0));
        self.mesh = Some(Box::new(mesh));
    }

    fn dial_failed(&mut self, target: String, error: &str, own: bool) {
        let error = error.to_owned();
        self.pending.push_back(Input::DialFailed { target, error, own });
    }

    /// What came over a wire, or is due on a connection.
    fn on_wire(&mut self, on: Connection, from: u32, what: What, reach: &mut Reach<'_>) {
        let (now, link) = (reach.now, LinkId(on));
        if let What::Initial = what {
            return self.answer(on, from, reach);
        }
        let Some(end) = self.ends.get_mut(&on) else {
            return;
        };
        match what {
            What::Answer => self.answered(on, reach),
            What::Confirm if !end.is_up() => {
                end.stage = Stage::Up;
                end.heard = now;
                line::handshake_came(&mut self.traffic, 2);
                self.link_up(on, from, Direction::In, None, reach);
            }
            What::Message(packet, bytes) => {
                end.came(now, bytes, &mut self.traffic);
                if end.is_up() {
                    self.pending.push_back(Input::Message { link, packet });
                }
            }
            What::Lossy(packet, bytes) => {
                end.came_lossy(now, bytes, &mut self.traffic);
                if end.is_up() {
                    self.pending.push_back(Input::Message { link, packet });
                }
            }
            What::Closed(reason) => self.over(on, format!("closed by the other router: {reason}")),
            What::HandshakeDue if !end.is_up() => {
                let end = self.ends.remove(&on);
                if let Some(Stage::Dialling { target, .. }) = end.map(|end| end.stage) {
                    line::first(&mut self.traffic, TRIES - 1);
                    self.dial_failed(target, "no answer", false);
                }
            }
            What::IdleDue => {
                let due = end.heard + micros(IDLE);
                if due <= now {
                    self.over(on, "nothing came for too long".to_owned());
                } else {
                    reach.plan(due, self.number, on, What::IdleDue);
                }
            }
            What::Retry => end.retry(on, &mut self.traffic, reach),
            _ => {}
        }
    }

    fn dial(&mut self, target: String, expect: Option<PeerId>, reach: &mut Reach<'_>) {
        let to = target
            .parse()
            .ok()
            .and_then(|address| reach.terms.host_at(&address));
        let Some(to) = to.filter(|to| *to != self.number) else {
            let own = to.is_some();
            let at = reach.now + if own { 1000 } else { micros(HANDSHAKE_TIME) };
            return reach.plan(at, self.number, 0, What::Nowhere(target, own));
        };
        let on = self.next_connection();
        let stage = Stage::Dialling { target, expect };
        self.ends.insert(on, End::new(reach.now, to, stage));
        line::first(&mut self.traffic, 1);
        reach.plan(
            reach.now + micros(HANDSHAKE_TIME),
            self.number,
            on,
            What::HandshakeDue,
        );
        if !reach.terms.is_cut(self.number, to) {
            let at = reach.now + reach.terms.delay(self.number, to);
            reach.plan(at, to, on, What::Initial);
        }
    }

    /// Asks whether a router runs there.
    fn probe(&mut self, address: &SocketAddr, reach: &mut Reach<'_>) {
        let to = reach.terms.host_at(address).filter(|to| *to != self.number);
        self.traffic.send(Class::Probe, 1, 1, PROBE.0);
        if let Some(to) = to.filter(|to| !reach.terms.is_cut(self.number, *to)) {
            let at = reach.now + reach.terms.delay(self.number, to);
            reach.plan(at, to, 0, What::Probe(reach.now));
        }
    }

    fn answer_probe(&mut self, from: u32, sent: u64, reach: &mut Reach<'_>) {
        self.traffic.receive(Class::Probe, 1, 1, PROBE.0);
        self.traffic.send(Class::Probe, 1, 1, PROBE.1);
        if !reach.terms.is_cut(self.number, from) {
            let at = reach.now + reach.terms.delay(self.number, from);
            reach.plan(at, from, 0, What::Probed(sent));
        }
    }

    /// The handshake is two round trips: an answer that crosses the wire three times in one.
    fn answer(&mut self, on: Connection, from: u32, reach: &mut Reach<'_>) {
        self.ends.insert(on, End::new(reach.now, from, Stage::Listening));
        reach.plan(
            reach.now + micros(HANDSHAKE_TIME),
            self.number,
            on,
            What::HandshakeDue,
        );
        line::first(&mut self.traffic, 1);
        line::proofs(&mut self.traffic, 1);
        if !reach.terms.is_cut(self.number, from) {
            let at = reach.now + 3 * reach.terms.delay(self.number, from);
            reach.plan(at, from, on, What::Answer);
        }
    }

    fn answered(&mut self, on: Connection, reach: &mut Reach<'_>) {
        let Some(end) = self.ends.get_mut(&on) else {
            return;
        };
        let to = end.peer;
        let Stage::Dialling { target, expect } = std::mem::replace(&mut end.stage, Stage::Up) else {
            return;
        };
        line::handshake_came(&mut self.traffic, 1);
        line::proofs(&mut self.traffic, 2);
        end.heard = reach.now;
        if expect.is_some_and(|expected| expected != reach.terms.id(to)) {
            self.ends.remove(&on);
            return self.dial_failed(target, "another router answers there", false);
        }
        if !reach.terms.is_cut(self.number, to) {
            let at = reach.now + reach.terms.delay(self.number, to);
            reach.plan(at, to, on, What::Confirm);
        }
        self.link_up(on, to, Direction::Out, Some(target), reach);
    }

    fn link_up(
        &mut self,
        on: Connection,
        with: u32,
        direction: Direction,
        target: Option<String>,
        reach: &mut Reach<'_>,
    ) {
        reach.plan(reach.now + micros(IDLE), self.number, on, What::IdleDue);
        self.linked = Some(reach.now);
        self.pending.push_back(Input::LinkUp {
            link: LinkId(on),
            peer: reach.terms.id(with),
            address: address(with, false),
            direction,
            target,
        });
    }

    fn over(&mut self, on: Connection, reason: String) {
        let Some(end) = self.ends.remove(&on) else {
            return;
        };
        match end.stage {
            Stage::Up => self.pending.push_back(Input::LinkDown {
                link: LinkId(on),
                reason,
            }),
            Stage::Dialling { target, .. } => self.dial_failed(target, "closed", false),
            Stage::Listening => {}
        }
    }

    /// Gives the core what is for it, and does what it wants, until it wants nothing more.
    fn work(&mut self, now: u64, terms: &Terms, planned: &mut Vec<Event>) {
        let Some(mut mesh) = self.mesh.take() else {
            return;
        };
        let local = Instant(now - self.started);
        self.with_reach(now, terms, planned, |host, reach| {
            loop {
                while let Some(output) = mesh.poll_output() {
                    host.output(output, reach);
                }
                let Some(input) = host.pending.pop_front() else {
                    break;
                };
                mesh.handle_input(local, input);
            }
        });
        if let Some((at, _)) = mesh.poll_timeout() {
            self.sleep(now, self.started.saturating_add(at.0), planned);
        }
        self.mesh = Some(mesh);
    }

    fn sleep(&mut self, now: u64, at: u64, planned: &mut Vec<Event>) {
        let at = at.max(now + 1);
        if self.wake.is_some_and(|wake| wake <= at) {
            return;
        }
        self.wake = Some(at);
        let mut event = self.own_event(at, What::Wake);
        event.from = TIMER;
        planned.push(event);
    }

    fn output(&mut self, output: Output, reach: &mut Reach<'_>) {
        match output {
            Output::Dial { target, expect } => self.dial(target, expect, reach),
            Output::Probe { address, .. } => self.probe(&address, reach),
            Output::Close { link, reason } => self.close(link, reason, reach),
            Output::Send {
                link,
                packet,
                reliable,
            } => self.send(link, packet, reliable, reach),
            Output::Neighbor { peer, address: None } => self.link_gone(peer, reach),
            Output::Neighbor { peer, .. } => self.try_path(peer, reach),
            Output::PersistEpoch(epoch) => {
                self.disk.epoch = epoch;
                self.pending.push_back(Input::EpochPersisted(epoch));
            }
            Output::KeepAddresses { vni, batch } => {
                for (key, value) in batch.changes {
                    match value {
                        Some(value) => drop(self.disk.addresses.insert(key, value)),
                        None => drop(self.disk.addresses.remove(&key)),
                    }
                }
                let number = batch.number;
                self.pending.push_back(Input::AddressesKept { vni, number });
            }
            Output::Allocated { number, result } => self.allocated.push((number, result)),
            Output::PersistTargets(targets) => self.disk.targets = targets,
            Output::Route { .. } => self.routes += 1,
            Output::Fdb(fdb) => {
                let watched = reach.terms.watched;
                if matches!(fdb.change, FdbChange::Set { mac, .. } if Some(mac) == watched) {
                    self.seen = self.seen.or(Some(reach.now));
                }
            }
            _ => {}
        }
    }

    fn send(&mut self, link: LinkId, packet: Packet, reliable: bool, reach: &mut Reach<'_>) {
        if reach.terms.holds_records && packet.is_of_records() {
            return;
        }
        let Some(end) = self.ends.get_mut(&link.0).filter(|end| end.is_up()) else {
            return;
        };
        if reliable {
            end.send(link.0, packet, &mut self.traffic, reach);
        } else {
            end.send_lossy(link.0, packet, &mut self.traffic, reach);
        }
    }

    fn close(&mut self, link: LinkId, reason: &'static str, reach: &mut Reach<'_>) {
        let Some(end) = self.ends.get(&link.0) else {
            return;
        };
        let peer = end.peer;
        if !reach.terms.is_cut(self.number, peer) {
            let at = end.closes_at(reach);
            reach.plan(at, peer, link.0, What::Closed(reason));
        }
        self.over(link.0, reason.to_owned());
    }
}
