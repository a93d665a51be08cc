//! Decides what is dialled, and when.
//!
//! Targets come from the operator, from an earlier run, or (discovery) from the addresses other routers list in
//! their records. A target whose router is linked is not dialled. Of two routers that discover each other the
//! lower id dials at once and the higher a second later, so that they seldom collide.

use crate::bucket::Bucket;
use crate::graph::Graph;
use crate::link::Links;
use crate::outbox::Outbox;
use crate::store::Store;
use crate::target::{STEADY, Source, Stage, Target, TargetId};
use crate::topology::{Recorded, Told};
use crate::{Direction, Instant, Output, PeerId};
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Targets of any kind.
const MAX_TARGETS: usize = 16_384;
/// Routers that are not to be discovered.
const MAX_FORGOTTEN: usize = 4096;
/// Routers that are kept off for a while.
const MAX_SHUNNED: usize = 1024;
/// Addresses of one router that are dialled at a time.
const DIALS_PER_PEER: usize = 3;
/// Dials of discovered targets at a time.
const MAX_DIALS: usize = 64;
/// Addresses of routers that were linked, kept for the next run.
const LEARNT: usize = 16;
/// A dial that the driver has not answered by then counts as failed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between the first few addresses of a router and the next few.
const STAGGER: Duration = Duration::from_millis(500);
/// Dials of discovered addresses beyond the first, at once and per minute. Each costs a few kilobytes: when most of a
/// large mesh dies, the rest must not spend its days dialling the dead.
const REPEAT_BURST: u32 = 24;
const REPEATS_PER_MINUTE: u32 = 30;
/// A router without room is asked again as late as one that failed so often.
const FULL_TRIES: u32 = 12;
/// When to look again while that is used up.
const REPEAT_PACE: Duration = Duration::from_secs(2);
/// Head start of the lower id.
const HEAD_START: Duration = Duration::from_secs(1);

/// What the connector looks at.
pub(crate) struct Around<'a> {
    pub(crate) links: &'a Links,
    pub(crate) store: &'a Store,
    /// Routers the mesh reaches.
    pub(crate) told: &'a Told<Recorded>,
    pub(crate) graph: &'a Graph,
    /// This router's own addresses.
    pub(crate) addresses: &'a [SocketAddr],
}

impl Around<'_> {
    fn is_reachable(&self, peer: &PeerId) -> bool {
        let number = self.told.find(peer);
        number.is_some_and(|number| self.graph.spread.tree.reaches(number))
    }
}

/// All targets.
#[derive(Debug)]
pub(crate) struct Connector {
    own: PeerId,
    discovery: bool,
    max_links: usize,
    targets: BTreeMap<TargetId, Target>,
    /// Which target the driver dials under which text; one at a time for each text.
    dials: BTreeMap<String, TargetId>,
    forgotten: BTreeSet<PeerId>,
    shunned: BTreeMap<PeerId, Instant>,
    /// Where routers were linked, latest first.
    learnt: VecDeque<TargetId>,
    persisted: Option<Vec<String>>,
    changed: bool,
    next: Option<Instant>,
    stopped: bool,
    /// How often discovered addresses may be dialled again: of the dead, of those behind a cut.
    repeats: Bucket,
}

impl Connector {
    /// With these targets to begin with.
    pub(crate) fn new(
        now: Instant,
        own: PeerId,
        discovery: bool,
        max_links: usize,
        targets: &[String],
    ) -> Self {
        let mut connector = Self {
            own,
            discovery,
            max_links,
            targets: BTreeMap::new(),
            dials: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            shunned: BTreeMap::new(),
            learnt: VecDeque::new(),
            persisted: None,
            changed: true,
            next: None,
            stopped: false,
            repeats: Bucket::new(now, REPEAT_BURST, REPEATS_PER_MINUTE),
        };
        for id in targets
            .iter()
            .map(|text| TargetId::parse(text))
            .filter(|id| id.pin != Some(own))
        {
            let source = if id.pin.is_some() {
                Source::Stored
            } else {
                Source::Given
            };
            if source == Source::Stored && connector.learnt.len() < LEARNT {
                connector.learnt.push_back(id.clone());
            }
            connector.add(now, id, source);
        }
        connector
    }

    /// Dials nothing any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.next = None;
    }

    fn add(&mut self, now: Instant, id: TargetId, source: Source) {
        if self.targets.len() < MAX_TARGETS || self.targets.contains_key(&id) {
            let pin = id.pin;
            let target = self
                .targets
                .entry(id)
                .or_insert_with(|| Target::new(source, pin, now));
            target.source = target.source.min(source);
        }
    }

    /// The operator wants these dialled now, and kept.
    pub(crate) fn connect(&mut self, now: Instant, texts: &[String], replace: bool) {
        if replace {
            self.targets
                .retain(|_, target| target.source == Source::Discovered);
            self.learnt.clear();
        }
        for text in texts {
            let id = TargetId::parse(text);
            self.add(now, id.clone(), Source::Given);
            if let Some(target) = self
                .targets
                .get_mut(&id)
                .filter(|t| matches!(t.stage, Stage::Waiting(_)))
            {
                target.stage = Stage::Waiting(now);
                target.tries = 0;
            }
        }
        self.changed = true;
    }

    /// The operator wants a target dropped.
    pub(crate) fn forget_target(&mut self, text: &str) {
        let wanted = TargetId::parse(text);
        let matches =
            |id: &TargetId| id.text == wanted.text && (wanted.pin.is_none() || id.pin == wanted.pin);
        self.targets.retain(|id, _| !matches(id));
        self.learnt.retain(|id| !matches(id));
        self.changed = true;
    }

    /// The operator wants a router's targets dropped, and it not discovered.
    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.drop_targets(&peer, |_| true);
        self.learnt.retain(|id| id.pin != Some(peer));
        if self.forgotten.len() < MAX_FORGOTTEN {
            self.forgotten.insert(peer);
        }
        self.changed = true;
    }

    /// A router was collected: what was discovered of it goes.
    pub(crate) fn peer_gone(&mut self, peer: &PeerId) {
        self.drop_targets(peer, |source| source == Source::Discovered);
    }

    fn drop_targets(&mut self, peer: &PeerId, which: impl Fn(Source) -> bool) {
        self.targets.retain(|id, target| {
            !which(target.source) || (id.pin != Some(*peer) && target.peer != Some(*peer))
        });
    }

    /// Keeps off a router that misbehaved.
    pub(crate) fn shun(&mut self, peer: PeerId, until: Instant) {
        if self.shunned.len() < MAX_SHUNNED {
            self.shunned.insert(peer, until);
        }
    }

    /// True while this router is kept off.
    pub(crate) fn is_shunned(&self, now: Instant, peer: &PeerId) -> bool {
        self.shunned.get(peer).is_some_and(|until| *until > now)
    }

    /// Something changed that may be a reason to dial.
    pub(crate) fn look_again(&mut self) {
        self.changed = true;
    }

    /// A connection came up. False if it is no longer wanted.
    pub(crate) fn link_up(&mut self, peer: PeerId, direction: Direction, target: Option<&str>) -> bool {
        let id = target.and_then(|text| self.dials.remove(text));
        self.changed = true;
        let target = id.as_ref().and_then(|id| self.targets.get_mut(id));
        let is_wanted = direction == Direction::In || target.is_some() || !self.forgotten.contains(&peer);
        if let Some(target) = target {
            target.stage = Stage::Connected;
            target.peer = Some(peer);
        }
        if is_wanted {
            self.forgotten.remove(&peer);
        }
        is_wanted
    }

    /// A link is in use with this router, at this address.
    pub(crate) fn linked(&mut self, peer: PeerId, address: SocketAddr) {
        self.changed = true;
        let text = address.to_string();
        for (id, target) in self
            .targets
            .iter_mut()
            .filter(|(_, target)| target.peer == Some(peer))
        {
            target.error = None;
            target.full = false;
            target.proven |= id.text == text || target.stage == Stage::Connected;
        }
        let is_given = self
            .targets
            .iter()
            .any(|(id, t)| id.text == text && t.source == Source::Given);
        if self.discovery && !is_given {
            let id = TargetId {
                text,
                pin: Some(peer),
            };
            self.learnt.retain(|known| *known != id);
            self.learnt.push_front(id);
            self.learnt.truncate(LEARNT);
        }
    }

    /// The router at this target has all the links it takes: there is no hurry to ask it again.
    pub(crate) fn turned_away(&mut self, peer: &PeerId) {
        for target in self
            .targets
            .values_mut()
            .filter(|target| target.peer.as_ref() == Some(peer))
        {
            target.full = true;
            target.tries = target.tries.max(FULL_TRIES);
        }
    }

    /// A connection ended.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        peer: &PeerId,
        text: Option<&str>,
        reason: &str,
        lived: Option<Duration>,
        rng: &mut StdRng,
    ) {
        self.changed = true;
        let is_steady = lived.is_some_and(|lived| lived >= STEADY);
        for (id, target) in self
            .targets
            .iter_mut()
            .filter(|(_, target)| target.peer.as_ref() == Some(peer))
        {
            if is_steady {
                target.tries = 0;
            }
            if target.stage == Stage::Connected && Some(id.text.as_str()) == text {
                target.failed(now, Some(reason.to_owned()), rng);
            }
        }
    }

    /// No link with this router is left: its targets wait a moment before they are dialled again.
    pub(crate) fn lost(&mut self, now: Instant, peer: &PeerId, rng: &mut StdRng) {
        self.changed = true;
        let head_start = if self.own > *peer {
            HEAD_START
        } else {
            Duration::ZERO
        };
        for target in self
            .targets
            .values_mut()
            .filter(|target| target.peer.as_ref() == Some(peer))
        {
            if let Stage::Waiting(_) = target.stage {
                target.failed(now + head_start, None, rng);
            }
        }
    }

    /// A dial ended without a connection. `own`: it reached this router itself.
    pub(crate) fn failed(&mut self, now: Instant, text: &str, error: String, own: bool, rng: &mut StdRng) {
        self.changed = true;
        let dialled = self.dials.remove(text);
        if own {
            for (_, target) in self.targets.iter_mut().filter(|(id, _)| id.text == text) {
                target.stage = Stage::Own;
                target.error = Some("this is the router itself".to_owned());
            }
        } else if let Some(target) = dialled.and_then(|id| self.targets.get_mut(&id)) {
            target.failed(now, Some(error), rng);
        }
    }

    /// True if [`poll`](Self::poll) has something to do.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.stopped && (self.changed || self.next.is_some_and(|next| next <= now))
    }

    /// When it has, if nothing else happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Dials what is due, and has the targets stored if they changed.
    pub(crate) fn poll(&mut self, now: Instant, around: &Around<'_>, rng: &mut StdRng, out: &mut Outbox) {
        self.changed = false;
        self.shunned.retain(|_, until| *until > now);
        self.expire_dials(now, rng);
        self.discover(now, around);
        self.dial(now, around, out);
        self.persist(out);
    }

    fn expire_dials(&mut self, now: Instant, rng: &mut StdRng) {
        let targets = &mut self.targets;
        self.dials.retain(|_, id| match targets.get_mut(id) {
            Some(target) => match target.stage {
                Stage::Dialling(since) if now.since(since) >= DIAL_TIMEOUT => {
                    target.failed(now, Some("no answer".to_owned()), rng);
                    false
                }
                Stage::Dialling(_) => true,
                _ => false,
            },
            None => true,
        });
    }

    /// Brings the discovered targets in line with what the records say.
    fn discover(&mut self, now: Instant, around: &Around<'_>) {
        if !self.discovery {
            return;
        }
        self.targets.retain(|id, target| {
            target.source != Source::Discovered
                || !matches!(target.stage, Stage::Waiting(_))
                || id
                    .pin
                    .and_then(|peer| around.store.info(&peer))
                    .is_some_and(|info| {
                        info.addresses
                            .iter()
                            .any(|address| address.to_string() == id.text)
                    })
        });
        for (peer, info) in around.store.infos() {
            if *peer == self.own || self.forgotten.contains(peer) || around.links.with(peer).is_some() {
                continue;
            }
            let head_start = if self.own > *peer {
                HEAD_START
            } else {
                Duration::ZERO
            };
            let addresses = info
                .addresses
                .iter()
                .filter(|a| is_dialable(a) && !around.addresses.contains(a));
            for (at, address) in (0..).zip(addresses) {
                let id = TargetId {
                    text: address.to_string(),
                    pin: Some(*peer),
                };
                if !self.targets.contains_key(&id) {
                    let group = at / u32::try_from(DIALS_PER_PEER).unwrap_or(1);
                    self.add(now + head_start + STAGGER * group, id, Source::Discovered);
                }
            }
        }
    }

    fn dial(&mut self, now: Instant, around: &Around<'_>, out: &mut Outbox) {
        let mut busy: BTreeMap<PeerId, usize> = BTreeMap::new();
        for target in self.dials.values().filter_map(|id| self.targets.get(id)) {
            if let Some(peer) = target.peer {
                *busy.entry(peer).or_default() += 1;
            }
        }
        let mut next = self
            .dials
            .values()
            .filter_map(|id| match self.targets.get(id)?.stage {
                Stage::Dialling(since) => Some(since + DIAL_TIMEOUT),
                _ => None,
            })
            .min();
        let links = around.links.iter().count();
        let mut order: Vec<_> = Vec::new();
        for (id, target) in &mut self.targets {
            if !is_open(target, around) || self.shunned.contains_key(&target.peer.unwrap_or(self.own)) {
                continue;
            }
            if target.peer.is_some_and(|peer| around.is_reachable(&peer)) {
                target.hasten(now);
            }
            if let Stage::Waiting(at) = target.stage {
                order.push((at, target.source, id.clone()));
            }
        }
        let (mut due, later): (Vec<_>, Vec<_>) = order.into_iter().partition(|(at, ..)| *at <= now);
        next = next.into_iter().chain(later.into_iter().map(|(at, ..)| at)).min();
        // Each router goes through the others in an order of its own, so that not all of them dial the same few.
        let place = |id: &TargetId| id.pin.map_or(0, |peer| place(&self.own, &peer));
        due.sort_by_cached_key(|(_, source, id)| (*source, place(id), id.clone()));
        for (_, source, id) in due {
            let Some(target) = self.targets.get_mut(&id) else {
                continue;
            };
            let dials = target
                .peer
                .and_then(|peer| busy.get(&peer))
                .copied()
                .unwrap_or_default();
            // Whom the mesh has lost is worth a link more: two parts of it must not do without each other because
            // both are well linked.
            let is_lost = target.peer.is_some_and(|peer| !around.is_reachable(&peer));
            let most = if is_lost {
                self.max_links.saturating_mul(2)
            } else {
                self.max_links
            };
            let has_room = source != Source::Discovered
                || (dials > 0 || links + busy.len() < most) && busy.len() < MAX_DIALS;
            if !has_room || dials >= DIALS_PER_PEER || self.dials.contains_key(&id.text) {
                continue;
            }
            let is_repeated = source == Source::Discovered && target.tries > 0;
            if is_repeated && !self.repeats.take(now) {
                next = Some(next.map_or(now + REPEAT_PACE, |next| next.min(now + REPEAT_PACE)));
                break;
            }
            target.dialled(now);
            if let Some(peer) = target.peer {
                *busy.entry(peer).or_default() += 1;
            }
            let timeout = now + DIAL_TIMEOUT;
            next = Some(next.map_or(timeout, |next| next.min(timeout)));
            out.push(Output::Dial {
                target: id.text.clone(),
                expect: id.pin,
            });
            self.dials.insert(id.text.clone(), id);
        }
        // Those kept off come back when their time is over.
        self.next = next.into_iter().chain(self.shunned.values().copied()).min();
    }

    fn persist(&mut self, out: &mut Outbox) {
        let given = self
            .targets
            .iter()
            .filter(|(_, target)| target.source == Source::Given);
        let given: BTreeSet<String> = given.map(|(id, _)| id.store()).collect();
        let learnt: Vec<String> = self
            .learnt
            .iter()
            .map(TargetId::store)
            .filter(|text| !given.contains(text))
            .collect();
        let list: Vec<String> = given.into_iter().chain(learnt).collect();
        let sorted = |list: &Vec<String>| list.iter().cloned().collect::<BTreeSet<_>>();
        if self.persisted.as_ref().map(sorted) != Some(sorted(&list)) {
            self.persisted = Some(list.clone());
            out.push(Output::PersistTargets(list));
        }
    }

    /// All targets, in the order of their texts.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&TargetId, &Target)> {
        self.targets.iter()
    }
}

/// Where a router stands in the order in which another goes through all.
fn place(own: &PeerId, other: &PeerId) -> u64 {
    let word = |id: &PeerId| id.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mixed = (word(own) ^ word(other).rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// True if dialling makes sense as far as links go.
fn is_open(target: &Target, around: &Around<'_>) -> bool {
    target.peer.is_none_or(|peer| around.links.with(&peer).is_none())
}

fn is_dialable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}
