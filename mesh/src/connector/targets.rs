//! All targets: what is dialled, address by address.

use super::around::Around;
use super::target::{STEADY, Source, Stage, Target, TargetId};
use crate::bucket::Bucket;
use crate::outbox::Outbox;
use crate::{Direction, Instant, Output, PeerId};
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Targets of any kind.
pub(super) const MAX_TARGETS: usize = 16_384;
/// Routers that are not to be discovered.
const MAX_FORGOTTEN: usize = 4096;
/// Addresses of one router that are dialled at a time.
const DIALS_PER_PEER: usize = 3;
/// Dials of discovered targets at a time.
const MAX_DIALS: usize = 64;
/// Addresses of routers that were linked, kept for the next run.
const LEARNT: usize = 16;
/// Of those so many are dialled at once, the others one after the other.
const LEARNT_AT_ONCE: u32 = 4;
const LEARNT_PACE: Duration = Duration::from_millis(250);
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
/// Head start of the lower id, where all dial all.
const HEAD_START: Duration = Duration::from_secs(1);

/// Whom this router wants to dial, besides those that the operator named.
#[derive(Clone, Copy)]
pub(super) enum Aim<'a> {
    /// Everybody, up to so many links; and up to the second number to reach those that the mesh does not reach: two
    /// parts of it must not do without each other because both are well linked.
    All(usize, usize),
    /// Who is wanted.
    These {
        /// Who that is.
        is_wanted: &'a dyn Fn(&PeerId) -> bool,
        /// Links are too few: those of the run before are wanted, too.
        is_needy: bool,
    },
}

/// All targets.
#[derive(Debug)]
pub(super) struct Targets {
    own: PeerId,
    targets: BTreeMap<TargetId, Target>,
    /// Which target the driver dials under which text; one at a time for each text.
    dials: BTreeMap<String, TargetId>,
    forgotten: BTreeSet<PeerId>,
    /// Where routers were linked, latest first.
    learnt: VecDeque<TargetId>,
    persisted: Option<Vec<String>>,
    /// What is to be stored may have changed.
    is_dirty: bool,
    /// How often discovered addresses may be dialled again: of the dead, of those behind a cut.
    repeats: Bucket,
}

impl Targets {
    /// These to begin with.
    pub(super) fn new(now: Instant, own: PeerId, texts: &[String]) -> Self {
        let mut targets = Self {
            own,
            targets: BTreeMap::new(),
            dials: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            learnt: VecDeque::new(),
            persisted: None,
            is_dirty: true,
            repeats: Bucket::new(now, REPEAT_BURST, REPEATS_PER_MINUTE),
        };
        let mut stored = 0_u32;
        for id in texts
            .iter()
            .map(|text| TargetId::parse(text))
            .filter(|id| id.pin != Some(own))
        {
            if id.pin.is_none() {
                targets.add(now, id, Source::Given);
                continue;
            }
            if targets.learnt.len() < LEARNT {
                targets.learnt.push_back(id.clone());
            }
            stored += 1;
            let wait = LEARNT_PACE * stored.saturating_sub(LEARNT_AT_ONCE);
            targets.add(now + wait, id, Source::Stored);
        }
        targets
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
    pub(super) fn connect(&mut self, now: Instant, texts: &[String], replace: bool) {
        self.is_dirty = true;
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
    }

    /// The operator wants a target dropped.
    pub(super) fn forget_target(&mut self, text: &str) {
        self.is_dirty = true;
        let wanted = TargetId::parse(text);
        let matches =
            |id: &TargetId| id.text == wanted.text && (wanted.pin.is_none() || id.pin == wanted.pin);
        self.targets.retain(|id, _| !matches(id));
        self.learnt.retain(|id| !matches(id));
    }

    /// The operator wants a router's targets dropped, and it not discovered.
    pub(super) fn forget_peer(&mut self, peer: PeerId) {
        self.is_dirty = true;
        self.drop_targets(&peer, |_| true);
        self.learnt.retain(|id| id.pin != Some(peer));
        if self.forgotten.len() < MAX_FORGOTTEN {
            self.forgotten.insert(peer);
        }
    }

    /// Whether the operator wants no link with this router.
    pub(super) fn is_forgotten(&self, peer: &PeerId) -> bool {
        self.forgotten.contains(peer)
    }

    /// Whether the operator named this router, or an address where it answers.
    pub(super) fn is_given(&self, peer: &PeerId) -> bool {
        let mut given = self.targets.values().filter(|t| t.source == Source::Given);
        given.any(|target| target.peer.as_ref() == Some(peer))
    }

    /// A router was collected: what was discovered of it goes.
    pub(super) fn peer_gone(&mut self, peer: &PeerId) {
        self.drop_targets(peer, |source| source == Source::Discovered);
    }

    fn drop_targets(&mut self, peer: &PeerId, which: impl Fn(Source) -> bool) {
        self.targets.retain(|id, target| {
            !which(target.source) || (id.pin != Some(*peer) && target.peer != Some(*peer))
        });
    }

    /// A connection came up. False if it is no longer wanted.
    pub(super) fn link_up(&mut self, peer: PeerId, direction: Direction, target: Option<&str>) -> bool {
        let id = target.and_then(|text| self.dials.remove(text));
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
    pub(super) fn linked(&mut self, peer: PeerId, address: SocketAddr, discovery: bool) {
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
        if discovery && !is_given {
            self.is_dirty = true;
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
    pub(super) fn turned_away(&mut self, peer: &PeerId) {
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
    pub(super) fn ended(
        &mut self,
        now: Instant,
        peer: &PeerId,
        text: Option<&str>,
        reason: &str,
        lived: Option<Duration>,
        rng: &mut StdRng,
    ) {
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
    pub(super) fn lost(&mut self, now: Instant, peer: &PeerId, rng: &mut StdRng) {
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
    pub(super) fn failed(&mut self, now: Instant, text: &str, error: String, own: bool, rng: &mut StdRng) {
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

    /// Gives up dials that the driver never answered.
    pub(super) fn expire(&mut self, now: Instant, rng: &mut StdRng) {
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

    /// Brings the discovered targets in line with who is wanted and what the records say.
    pub(super) fn discover(&mut self, now: Instant, around: &Around<'_>, aim: Aim<'_>) {
        let is_wanted = |peer: &PeerId| match aim {
            Aim::All(..) => true,
            Aim::These { is_wanted, .. } => is_wanted(peer),
        };
        self.targets.retain(|id, target| {
            target.source != Source::Discovered
                || !matches!(target.stage, Stage::Waiting(_))
                || id.pin.filter(is_wanted).is_some_and(|peer| {
                    let told = around.store.info(&peer).into_iter();
                    let mut told = told.flat_map(|info| &info.addresses);
                    told.any(|address| address.to_string() == id.text)
                })
        });
        if let Aim::All(..) = aim {
            let all: Vec<PeerId> = around.store.infos().map(|(peer, _)| *peer).collect();
            for peer in all {
                self.want(now, around, peer, HEAD_START);
            }
        }
    }

    /// Takes the addresses that a router tells as targets. `head_start`: that the lower id of two has.
    pub(super) fn want(&mut self, now: Instant, around: &Around<'_>, peer: PeerId, head_start: Duration) {
        if peer == self.own || self.is_forgotten(&peer) || around.links.with(&peer).is_some() {
            return;
        }
        let head_start = if self.own > peer {
            head_start
        } else {
            Duration::ZERO
        };
        for (at, address) in (0..).zip(around.dialable(&peer)) {
            let id = TargetId {
                text: address.to_string(),
                pin: Some(peer),
            };
            if !self.targets.contains_key(&id) {
                let group = at / u32::try_from(DIALS_PER_PEER).unwrap_or(1);
                self.add(now + head_start + STAGGER * group, id, Source::Discovered);
            }
        }
    }

    /// Those of these routers of which every address was tried in vain.
    pub(super) fn hopeless<'a>(&self, of: impl Iterator<Item = &'a PeerId>) -> Vec<PeerId> {
        let mut hopeful = BTreeSet::new();
        for target in self.targets.values() {
            let was_tried = matches!(target.stage, Stage::Waiting(_)) && target.tries > 0;
            if let Some(peer) = target.peer.filter(|_| !was_tried && target.stage != Stage::Own) {
                hopeful.insert(peer);
            }
        }
        of.filter(|peer| !hopeful.contains(*peer)).copied().collect()
    }

    /// Dials what is due. Returns when to call again.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        around: &Around<'_>,
        aim: Aim<'_>,
        is_shunned: &dyn Fn(&PeerId) -> bool,
        out: &mut Outbox,
    ) -> Option<Instant> {
        let mut busy: BTreeMap<PeerId, usize> = BTreeMap::new();
        let mut next: Option<Instant> = None;
        for target in self.dials.values().filter_map(|id| self.targets.get(id)) {
            if let Some(peer) = target.peer {
                *busy.entry(peer).or_default() += 1;
            }
            if let Stage::Dialling(since) = target.stage {
                next = next.into_iter().chain([since + DIAL_TIMEOUT]).min();
            }
        }
        let links = around.links.iter().count();
        let mut due: Vec<_> = Vec::new();
        for (id, target) in &mut self.targets {
            if !is_open(target, around, aim) || target.peer.is_some_and(|peer| is_shunned(&peer)) {
                continue;
            }
            if matches!(aim, Aim::All(..)) && target.peer.is_some_and(|peer| around.is_reachable(&peer)) {
                target.hasten(now);
            }
            match target.stage {
                Stage::Waiting(at) if at <= now => due.push((target.source, id.clone())),
                Stage::Waiting(at) => next = next.into_iter().chain([at]).min(),
                _ => {}
            }
        }
        // Each router goes through the others in an order of its own, so that not all of them dial the same few.
        let place = |id: &TargetId| id.pin.map_or(0, |peer| place(&self.own, &peer));
        due.sort_by_cached_key(|(source, id)| (*source, place(id), id.clone()));
        for (source, id) in due {
            let Some(target) = self.targets.get_mut(&id) else {
                continue;
            };
            let dials = target.peer.and_then(|peer| busy.get(&peer)).copied();
            let dials = dials.unwrap_or_default();
            let most = match aim {
                Aim::All(_, most) if target.peer.is_some_and(|peer| !around.is_reachable(&peer)) => most,
                Aim::All(most, _) => most,
                Aim::These { .. } => usize::MAX,
            };
            let has_room = source != Source::Discovered
                || (dials > 0 || links + busy.len() < most) && busy.len() < MAX_DIALS;
            if !has_room || dials >= DIALS_PER_PEER || self.dials.contains_key(&id.text) {
                continue;
            }
            let is_repeated = source == Source::Discovered && target.tries > 0;
            if is_repeated && !self.repeats.take(now) {
                next = next.into_iter().chain([now + REPEAT_PACE]).min();
                break;
            }
            target.dialled(now);
            if let Some(peer) = target.peer {
                *busy.entry(peer).or_default() += 1;
            }
            next = next.into_iter().chain([now + DIAL_TIMEOUT]).min();
            out.push(Output::Dial {
                target: id.text.clone(),
                expect: id.pin,
            });
            self.dials.insert(id.text.clone(), id);
        }
        next
    }

    /// Whether one that may be dead may be dialled: it counts as a repeated dial.
    pub(super) fn may_guess(&mut self, now: Instant) -> bool {
        self.repeats.take(now)
    }

    /// Has the targets stored if they changed.
    pub(super) fn persist(&mut self, out: &mut Outbox) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
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
    pub(super) fn iter(&self) -> impl Iterator<Item = (&TargetId, &Target)> {
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
fn is_open(target: &Target, around: &Around<'_>, aim: Aim<'_>) -> bool {
    let is_due = match (aim, target.source) {
        (Aim::All(..), _) => true,
        // One that has no room need not be asked again while the mesh reaches it.
        (Aim::These { is_needy, .. }, Source::Given) => {
            is_needy || !target.full || !target.peer.is_some_and(|peer| around.is_reachable(&peer))
        }
        (Aim::These { is_needy, .. }, Source::Stored) => is_needy,
        // Who was wanted and linked is wanted again before it is dialled again.
        (Aim::These { is_wanted, .. }, Source::Discovered) => target.peer.as_ref().is_some_and(is_wanted),
    };
    is_due && target.peer.is_none_or(|peer| around.links.with(&peer).is_none())
}
