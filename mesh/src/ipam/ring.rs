//! One network's addresses as this router sees them: which division of the pool it is in, who owns what in it, and
//! what the others said last.

use super::body::{Claim, IpamBody, MAX_STRAYS, Reclaimed, RingId};
use super::give::DRY;
use super::keep::{Changes, Damaged, Read, State, Stored};
use super::pool::Pool;
use super::ranges::{Ranges, Set, Span};
use super::space::Space;
use super::spare::Spare;
use super::{Act, Answer, Around, IpamEvent, Settings, Waiting};
use crate::record::{Record, Version};
use crate::{Instant, PeerId, Vni};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long a router that knew others waits for one of them before it goes on without.
pub(crate) const UNCONFIRMED_AFTER: Duration = Duration::from_secs(10);
/// How long what a stranger claims in another division counts after it can't be reached any more.
pub(crate) const STRANGER: Duration = Duration::from_secs(10);
/// Records in a book from which on only those of routers that can be reached are added: nobody fills it with names that
/// were made up.
pub(super) const MANY: usize = 8192;
/// How often a router looks again at what it waits for.
const LOOK: Duration = Duration::from_millis(250);
/// How often a router looks at what it promised not to use, and at who is missed for long.
const PATROL: Duration = Duration::from_secs(5);

/// Who owns a range, since how many changes of hands. Nobody: who owned it has given it to somebody unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) peer: Option<PeerId>,
    pub(crate) epoch: u64,
}

/// How sure this router is that its disk tells all it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// It waits for a neighbour that may know better, until then.
    Waiting(Instant),
    /// A neighbour had nothing newer, or told it; or there never was one.
    Confirmed,
    /// Nobody came in time.
    Unconfirmed,
}

/// The addresses of one network.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(super) own: PeerId,
    pub(super) vni: Vni,
    pub(super) pool: Pool,
    /// The first division waits for the majority of so many routers.
    pub(super) init: Option<usize>,
    /// How long a router may be missed before a majority takes over what it promised not to use; `None`: never.
    pub(super) reclaim_after: Option<Duration>,
    pub(super) spare: Spare,
    pub(super) state: State,
    /// The serial that was on disk at the start: a record of an earlier run that has a greater one tells what the disk
    /// has forgotten.
    read_serial: u64,
    /// There was a division on disk at the start: the disk may have forgotten what was done in it.
    had_ring: bool,
    pub(super) view: Ranges<Holder>,
    /// The newest record of each router that ever was heard of, this one included.
    pub(super) book: BTreeMap<PeerId, Arc<Record>>,
    /// Sum of their marks.
    pub(super) sum: u64,
    pub(super) space: Space,
    /// Routers that claim what its owner has not given up, as far as is known here.
    pub(super) denied: BTreeSet<PeerId>,
    /// Routers in another division, and since when.
    pub(super) foreign: BTreeMap<PeerId, Instant>,
    /// Routers that were told another pool.
    pub(super) misfits: BTreeSet<PeerId>,
    /// Addresses that are owned here and not to be given out: others have them, or claim them.
    pub(super) avoid: Set,
    /// Something has changed since that was worked out.
    pub(super) is_avoid_stale: bool,
    pub(super) trust: Trust,
    /// A neighbour has told what it knows in this run.
    pub(super) has_exchanged: bool,
    /// Routers whose records tell of strays, or of ranges taken over.
    pub(super) strayers: BTreeSet<PeerId>,
    pub(super) reclaimers: BTreeSet<PeerId>,
    /// How many others can be reached, and since when it is so many.
    pub(super) seen: (usize, Instant),
    pub(super) waiting: VecDeque<Waiting>,
    /// Whom this router asked for space, and when.
    pub(super) asked: Option<(PeerId, Instant)>,
    /// Who had nothing to give.
    pub(super) dry: BTreeMap<PeerId, Instant>,
    pub(super) changes: Changes,
    /// The last batch that was ordered, and the last that is stored.
    pub(super) ordered: u64,
    pub(super) stored: u64,
    /// Answers that wait for a batch.
    pub(super) answers: VecDeque<(u64, Answer)>,
    /// A record is to be issued once this batch is stored.
    pub(super) publish: Option<u64>,
    /// What this router owns, gave or uses elsewhere has changed.
    pub(super) is_changed: bool,
    /// How much is free according to the last record.
    pub(super) told_free: u32,
    pub(super) acts: VecDeque<Act>,
    pub(super) rng: StdRng,
    pub(super) due: Option<Instant>,
}

impl Ring {
    /// What was stored, taken up again. `knows_others`: this router was told whom to dial, or met others earlier.
    pub(crate) fn load(
        (own, vni): (PeerId, Vni),
        settings: &Settings,
        stored: &Stored,
        knows_others: bool,
        now: Instant,
        rng: StdRng,
    ) -> Result<Self, Damaged> {
        let Read {
            state,
            view,
            records,
            used,
            freed,
            spare,
        } = Read::of(vni, stored)?;
        let waits = knows_others || state.has_met;
        let mut ring = Self {
            own,
            vni,
            pool: settings.pool,
            init: settings.init,
            reclaim_after: settings.reclaim,
            spare: Spare::restore(&spare),
            read_serial: state.serial,
            had_ring: state.ring.is_some(),
            state,
            view: Ranges::default(),
            book: BTreeMap::new(),
            sum: 0,
            space: Space::default(),
            denied: BTreeSet::new(),
            foreign: BTreeMap::new(),
            misfits: BTreeSet::new(),
            avoid: Set::default(),
            is_avoid_stale: true,
            trust: if waits {
                Trust::Waiting(now + UNCONFIRMED_AFTER)
            } else {
                Trust::Confirmed
            },
            has_exchanged: false,
            strayers: BTreeSet::new(),
            reclaimers: BTreeSet::new(),
            seen: (0, now),
            waiting: VecDeque::new(),
            asked: None,
            dry: BTreeMap::new(),
            changes: Changes::default(),
            ordered: 0,
            stored: 0,
            answers: VecDeque::new(),
            publish: None,
            is_changed: false,
            told_free: 0,
            acts: VecDeque::new(),
            rng,
            due: None,
        };
        let size = ring.pool.size();
        if view.iter().any(|(span, _)| span.end > size) || used.iter().any(|(index, _)| *index >= size) {
            return Err(Damaged);
        }
        for (index, holder) in used {
            ring.space.take(index, &holder);
        }
        for (span, holder) in view {
            ring.view.set(span, holder);
            if holder.peer == Some(own) {
                ring.space.gain(ring.usable(span));
            }
        }
        ring.view.track();
        freed
            .into_iter()
            .for_each(|(number, index)| ring.space.restore_freed(number, index));
        for record in records {
            ring.enter(now, record);
        }
        let origins: Vec<_> = ring.book.keys().copied().collect();
        ring.denied
            .extend(origins.iter().filter(|origin| **origin != own));
        ring.retry_denied();
        ring.publish = Some(0);
        ring.settle(now);
        Ok(ring)
    }

    /// The part of a range that may be given out.
    pub(super) fn usable(&self, span: Span) -> Span {
        span.both(Span::new(1, self.pool.size() - 1))
    }

    /// What a router's newest record says.
    pub(super) fn told(&self, peer: &PeerId) -> Option<&IpamBody> {
        self.book.get(peer)?.ipam()
    }

    /// What a router's newest record says, if it is in the same division.
    pub(super) fn member(&self, peer: &PeerId) -> Option<&IpamBody> {
        self.told(peer)
            .filter(|body| Some(body.ring) == self.state.ring && body.pool == self.pool)
    }

    /// True if addresses may be given out and away.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self.trust, Trust::Waiting(_))
    }

    /// The newest record of each router.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.book.values()
    }

    /// How many these are.
    pub(crate) fn count(&self) -> usize {
        self.book.len()
    }

    /// The version of a router's newest record.
    pub(crate) fn version(&self, peer: &PeerId) -> Option<Version> {
        self.book.get(peer).map(|record| record.version)
    }

    /// What addresses are taken from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether the state was compared with a neighbour's.
    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    /// How many addresses could be given out.
    pub(crate) fn free(&self) -> u32 {
        self.space.free()
    }

    /// Sum of the marks of all newest records.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// Puts a record into the book. False if what is there is as new.
    fn enter(&mut self, now: Instant, record: Arc<Record>) -> bool {
        let origin = record.key.origin;
        let old = self.book.get(&origin);
        if old.is_some_and(|old| old.version >= record.version) || record.ipam().is_none() {
            return false;
        }
        self.sum = self
            .sum
            .wrapping_sub(old.map_or(0, |old| old.mark()))
            .wrapping_add(record.mark());
        self.book.insert(origin, record);
        self.dry.remove(&origin);
        self.place(now, origin);
        true
    }

    /// Notes whether a router is in the same division.
    fn place(&mut self, now: Instant, origin: PeerId) {
        let Some((pool, ring)) = self.told(&origin).map(|body| (body.pool, body.ring)) else {
            return;
        };
        if origin == self.own {
            return;
        }
        if pool != self.pool {
            if self.misfits.insert(origin) {
                self.acts
                    .push_back(Act::Log(IpamEvent::OtherPool { peer: origin, pool }));
            }
            return;
        }
        self.misfits.remove(&origin);
        let [strays, reclaims] = self.told(&origin).map_or([false; 2], |body| {
            [!body.strays.is_empty(), !body.reclaimed.is_empty()]
        });
        note(&mut self.strayers, origin, strays);
        note(&mut self.reclaimers, origin, reclaims);
        if self.state.ring == Some(ring) {
            self.foreign.remove(&origin);
            if self.state.fence.remove(&origin) {
                self.is_changed = true;
            }
        } else {
            self.foreign.insert(origin, now);
        }
    }

    /// A router's record came. False if it is not news.
    pub(crate) fn learn(&mut self, now: Instant, record: &Arc<Record>, around: &dyn Around) -> bool {
        let origin = record.key.origin;
        let is_new = !self.book.contains_key(&origin);
        if is_new && self.book.len() >= MANY && !around.is_reachable(&origin) {
            return false;
        }
        if !self.enter(now, Arc::clone(record)) {
            return false;
        }
        self.changes.record(self.vni, record);
        if origin == self.own {
            self.remember(now);
        } else {
            if !self.state.has_met {
                self.state.has_met = true;
                self.is_changed = true;
            }
            self.heed(origin);
        }
        self.is_avoid_stale = true;
        // Those of a higher one come to this router's. Looked at first: where divisions of hundreds meet, each of their
        // records would be a walk through all others.
        let is_lower = |body: &IpamBody| self.state.ring.is_none_or(|own| body.ring < own);
        if self.foreign.contains_key(&origin) && self.told(&origin).is_some_and(is_lower) {
            self.adopt_lower(now, around);
        }
        self.open_fence();
        // Others are asked only when this one has become worth it: where hundreds join, each of their records would be a
        // walk through all of them in vain.
        self.look_on(now, around, self.has_enough(&origin));
        true
    }

    /// This router issues all its records anew.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.publish.get_or_insert(0);
        self.settle(now);
    }

    /// This router's own record was made.
    pub(crate) fn issued(&mut self, now: Instant, record: &Arc<Record>) {
        if self.enter(now, Arc::clone(record)) {
            self.changes.record(self.vni, record);
            self.spare_told(now);
        }
        self.settle(now);
    }

    /// Somebody has a record of this router's that its disk does not know: it has forgotten what it did.
    fn remember(&mut self, now: Instant) {
        let Some(body) = self.told(&self.own).cloned() else {
            return;
        };
        if body.pool != self.pool || body.serial <= self.read_serial {
            return;
        }
        self.read_serial = body.serial;
        self.state.serial = self.state.serial.max(body.serial);
        self.is_changed = true;
        if self.state.ring != Some(body.ring) {
            self.enter_ring(now, body.ring);
        }
        self.state.reclaimed.clone_from(&body.reclaimed);
        self.remember_grants(&body.grants);
        self.remember_spare(&body.spare);
        let mut claimed = Set::default();
        body.claims.iter().for_each(|claim| claimed.add(claim.span()));
        let owned: Vec<_> = self.owned().collect();
        for (span, epoch) in owned {
            for gap in claimed.gaps(span) {
                self.hold(gap, Holder { peer: None, epoch });
            }
        }
        self.denied.insert(self.own);
        self.retry_denied();
        self.denied.remove(&self.own);
    }

    /// Joins a lower division of which somebody can be reached, or any if there is none here.
    pub(super) fn adopt_lower(&mut self, now: Instant, around: &dyn Around) {
        let ring = |peer: &PeerId| self.told(peer).map(|body| body.ring);
        let reachable = self.foreign.keys().filter(|peer| around.is_reachable(peer));
        let Some(lowest) = reachable.filter_map(ring).min() else {
            return;
        };
        if self.state.ring.is_some_and(|own| own <= lowest) {
            return;
        }
        if let Some(left) = self.state.ring {
            let is_missed = |peer: &&PeerId| {
                let version = self.version(peer).map(|version| (version.epoch, version.counter));
                **peer != self.own
                    && self.member(peer).is_some()
                    && version.is_some_and(|version| !self.is_reclaimed(peer, version))
            };
            let members: Vec<_> = self.book.keys().filter(is_missed).copied().collect();
            let lost = self.owned().map(|(span, _)| span.len()).sum();
            self.state.fence.extend(members);
            self.acts.push_back(Act::Log(IpamEvent::Joined {
                left,
                ring: lowest,
                lost,
            }));
        }
        self.enter_ring(now, lowest);
        self.retry_denied();
        self.is_changed = true;
    }

    /// Waits no longer for routers that somebody has given up.
    fn open_fence(&mut self) {
        if self.state.reclaimed.is_empty() && self.reclaimers.is_empty() {
            return;
        }
        let is_over = |peer: &&PeerId| {
            let version = self.version(peer).map(|version| (version.epoch, version.counter));
            self.is_reclaimed(peer, version.unwrap_or_default())
        };
        let over: Vec<_> = self.state.fence.iter().filter(is_over).copied().collect();
        for peer in over {
            self.state.fence.remove(&peer);
            self.is_changed = true;
        }
    }

    /// From now on this router is in this division, with nothing. What the others in it say is to be taken next.
    fn enter_ring(&mut self, now: Instant, ring: RingId) {
        let owned: Vec<_> = self.owned().map(|(span, _)| span).collect();
        owned.into_iter().for_each(|span| self.lose(span));
        self.view.clear();
        self.state.ring = Some(ring);
        self.state.grants.clear();
        self.state.reclaimed.clear();
        self.dry.clear();
        self.asked = None;
        let origins: Vec<_> = self.book.keys().copied().collect();
        for origin in &origins {
            self.place(now, *origin);
        }
        self.denied = origins
            .into_iter()
            .filter(|peer| *peer != self.own && self.member(peer).is_some())
            .collect();
    }

    /// What this router owns, in order.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (Span, u64)> {
        let own = Some(self.own);
        self.view
            .iter()
            .filter(move |(_, holder)| holder.peer == own)
            .map(|(span, holder)| (span, holder.epoch))
    }

    fn lose(&mut self, span: Span) {
        for number in self.space.freed_in(span) {
            self.changes.freed(self.vni, number, None);
        }
        self.space.lose(span);
    }

    /// A range is somebody's from now on.
    pub(super) fn hold(&mut self, span: Span, holder: Holder) {
        let before: Vec<_> = self
            .view
            .over(span)
            .filter(|(_, holder)| holder.peer == Some(self.own))
            .collect();
        let was_owned = before.iter().map(|(span, _)| span.len()).sum::<u32>();
        if holder.peer == Some(self.own) {
            self.is_changed |= was_owned != span.len() || before.iter().any(|(_, old)| *old != holder);
            let mut owned = Set::default();
            before.iter().for_each(|(span, _)| owned.add(*span));
            for gap in owned.gaps(span) {
                self.asked = None;
                self.space.gain(self.usable(gap));
            }
        } else {
            self.is_changed |= was_owned > 0;
            before.into_iter().for_each(|(span, _)| self.lose(span));
        }
        self.view.set(span, holder);
        self.is_avoid_stale = true;
    }

    /// Addresses that containers here have and other routers own.
    fn strays(&self) -> Set {
        let mut strays = Set::default();
        for index in self.space.used().keys().filter(|index| !self.is_owned(**index)) {
            strays.add(Span::new(*index, index + 1));
        }
        strays
    }

    pub(super) fn is_owned(&self, index: u32) -> bool {
        self.view
            .get(index)
            .is_some_and(|holder| holder.peer == Some(self.own))
    }

    /// What this router's next record says; `None` while it has nothing to say.
    pub(crate) fn body(&mut self) -> Option<IpamBody> {
        let ring = self.state.ring?;
        if !self.is_settled() || self.publish.is_some_and(|batch| batch > self.stored) {
            return None;
        }
        self.publish = None;
        self.told_free = self.space.free();
        let claim = |(span, epoch): (Span, u64)| Claim {
            start: span.start,
            len: span.len(),
            epoch,
        };
        let mut strays: Vec<_> = self
            .strays()
            .spans()
            .map(|span| (span.start, span.len()))
            .collect();
        // Too many for a record: the nearest are told as one, with what lies between.
        while strays.len() > MAX_STRAYS {
            strays = strays
                .chunks(2)
                .filter_map(|pair| {
                    let (first, last) = (pair.first()?, pair.last()?);
                    Some((first.0, last.0 + last.1 - first.0))
                })
                .collect();
        }
        Some(IpamBody {
            vni: self.vni,
            pool: self.pool,
            ring,
            serial: self.state.serial,
            free: self.told_free,
            claims: self.owned().map(claim).collect(),
            grants: self.state.grants.clone(),
            strays,
            reclaimed: self.state.reclaimed.clone(),
            spare: self.spare.told(),
        })
    }

    /// True if a router was given up in this version, or a later one, by somebody in the same division.
    pub(super) fn is_reclaimed(&self, peer: &PeerId, version: (u64, u64)) -> bool {
        let listed = |list: &[Reclaimed]| {
            list.iter()
                .any(|one| one.whole && one.peer == *peer && one.version >= version)
        };
        listed(&self.state.reclaimed)
            || self
                .reclaimers
                .iter()
                .filter_map(|by| self.member(by))
                .any(|body| listed(&body.reclaimed))
    }

    /// What happened to this router's addresses is ordered to be stored, and told when it is.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.is_changed {
            self.is_changed = false;
            self.state.serial += 1;
            self.prune_grants();
            self.changes.state(self.vni, &self.state);
            self.publish = Some(self.ordered + 1);
        }
        for start in self.view.take_touched() {
            self.changes.view(self.vni, start, self.view.starting(start));
        }
        if !self.changes.is_empty() {
            self.ordered += 1;
            self.acts.push_back(Act::Keep(self.changes.take(self.ordered)));
        } else if self.publish.is_some_and(|batch| batch > self.ordered) {
            self.publish = Some(self.ordered);
        }
        let (free, told) = (self.space.free(), self.told_free);
        if self.publish.is_none()
            && (free > told.saturating_mul(2) || free < told / 2 || (free < 2) != (told < 2))
        {
            self.publish = Some(0);
        }
        if self.is_settled()
            && self.state.ring.is_some()
            && self.publish.is_some_and(|batch| batch <= self.stored)
        {
            self.acts.push_back(Act::Issue);
        }
        // What is waited for already comes no later for this: else news in a row would put it off for good.
        let planned = self.due.filter(|due| now < *due);
        self.due = self
            .next_look(now)
            .map(|next| planned.map_or(next, |due| due.min(next)));
    }

    /// A batch is on disk, and all before it.
    pub(crate) fn kept(&mut self, now: Instant, number: u64) {
        self.stored = self.stored.max(number);
        while let Some((_, answer)) = self.answers.pop_front_if(|(batch, _)| *batch <= number) {
            self.acts.push_back(Act::Answer(answer));
        }
        self.settle(now);
    }

    /// A neighbour told all it knew that was news here. Of what this router's disk may have forgotten, only those can know
    /// that are in the same division: a newcomer's silence says nothing.
    pub(crate) fn exchanged(&mut self, now: Instant, with: &PeerId, around: &dyn Around) {
        self.has_exchanged = true;
        let counts = !self.had_ring || self.member(with).is_some();
        if counts && self.trust != Trust::Confirmed {
            self.trust = Trust::Confirmed;
            self.publish.get_or_insert(0);
            self.retry_denied();
            self.is_avoid_stale = true;
        }
        self.look(now, around);
    }

    /// What the driver shall do.
    pub(crate) fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When to [`look`](Self::look) again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn next_look(&self, now: Instant) -> Option<Instant> {
        let until = match self.trust {
            Trust::Waiting(until) => Some(until),
            _ => None,
        };
        let waits = !self.waiting.is_empty()
            || !self.foreign.is_empty()
            || !self.state.fence.is_empty()
            || (self.state.ring.is_none() && self.seen.0 > 0)
            || self.asked.is_some();
        let soon = (waits && self.is_settled()).then(|| now + LOOK);
        let tends = self.reclaim_after.is_some() || !self.spare.promised().is_empty();
        let later = tends.then(|| now + PATROL);
        let again = self.is_low().then(|| now + DRY);
        until.into_iter().chain(soon).chain(later).chain(again).min()
    }

    /// Looks what can be done now: time has passed, or something has changed.
    pub(crate) fn look(&mut self, now: Instant, around: &dyn Around) {
        if let Trust::Waiting(until) = self.trust
            && until <= now
        {
            self.trust = Trust::Unconfirmed;
            self.publish.get_or_insert(0);
            self.retry_denied();
            self.acts.push_back(Act::Log(IpamEvent::Unconfirmed));
        }
        self.stop_waiting(now);
        let count = around.count();
        if count != self.seen.0 {
            self.seen = (count, now);
        }
        if count > 0 && !self.state.has_met {
            self.state.has_met = true;
            self.is_changed = true;
        }
        if self.is_settled() {
            self.adopt_lower(now, around);
            self.tend_spare(now, around);
        }
        self.look_on(now, around, true);
    }

    /// The same, when no other division has come or come near. `asks`: whether there may be somebody to ask for more.
    fn look_on(&mut self, now: Instant, around: &dyn Around, asks: bool) {
        if self.is_settled() {
            self.found_if_due(now, around);
            self.serve(now, around);
            if asks {
                self.ask_if_low(now, around);
            }
        }
        self.settle(now);
    }
}

fn note(set: &mut BTreeSet<PeerId>, peer: PeerId, is_in: bool) {
    if is_in {
        set.insert(peer);
    } else {
        set.remove(&peer);
    }
}
