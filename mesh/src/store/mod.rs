//! The records of all routers: the replicated state.
//!
//! Merging is commutative, associative and idempotent: whatever the order in which records come, routers end
//! with the same ones. For each [`Key`] the greatest [`Version`] stays; records of an epoch before that of
//! their origin's `PeerInfo` are leftovers of an earlier run and go. An origin is taken in only with a
//! `PeerInfo` that proves knowledge of the secret. An origin that could not be reached for ten minutes is
//! collected; what it had reached by then is remembered for a day, so that nobody can play back older records.

mod origins;
mod slots;
pub(crate) mod sums;
#[cfg(test)]
mod tests;

pub(crate) use sums::Sums;

use crate::graph::Known;
use crate::record::{Key, Record, Version, kind};
use crate::{Adjacency, DropReason, Instant, Number, PeerId, PeerInfo, ShortId, Signer, Size, Stamp};
use origins::{Origin, Origins};
use slots::{INFO, LINKS, Slots, slot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Routers that are remembered.
pub(crate) const MAX_ORIGINS: usize = 65_536;
/// Records of one router.
pub(crate) const MAX_ORIGIN_RECORDS: usize = 1200;
/// Records of one router whose kind this version does not know.
pub(crate) const MAX_ORIGIN_UNKNOWN: usize = 64;
/// Bytes of the records of one router.
pub(crate) const MAX_ORIGIN_BYTES: usize = 4 << 20;
/// Bytes of all records.
pub(crate) const MAX_BYTES: usize = 256 << 20;
/// Time without a way to a router after which it is collected.
pub(crate) const COLLECT_AFTER: Duration = Duration::from_secs(600);
/// Routers that could not be reached for so long are not passed on.
pub(crate) const PASSED_ON: Duration = Duration::from_secs(60);
/// How long a collected router's versions are remembered.
pub(crate) const FLOOR_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a `PeerInfo` that is remembered as well: with the longest lists it has fewer.
const INFO_KEPT: usize = 1024;
/// Time between two looks for routers to collect.
const COLLECT_EVERY: Duration = Duration::from_secs(30);

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merged {
    /// Stored.
    New(Replaced),
    /// The very record was there already.
    Known,
    /// Refused.
    Refused(DropReason),
}

/// What went with a record that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Replaced {
    /// (kind, subkey) of those which an earlier run of its origin had left.
    pub(crate) outdated: Vec<(u8, u64)>,
    /// In what its origin has said of its links until now, if that is gone.
    pub(crate) links: Option<Arc<Record>>,
}

/// The versions of a collected router.
#[derive(Debug)]
struct Floor {
    versions: BTreeMap<(u8, u64), (u64, u64)>,
    until: Instant,
    /// Its `PeerInfo`, unless that is oddly large: who comes back with an older one, from a backup, learns from it which
    /// epochs it has had.
    info: Option<Arc<Record>>,
}

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Store {
    origins: Origins,
    floors: BTreeMap<PeerId, Floor>,
    bytes: usize,
    evicted: Vec<PeerId>,
    /// Those that are gone, with their numbers, until the graph has heard of it.
    gone: Vec<(PeerId, Number)>,
    /// What was taken in, for somebody who watches.
    pub(crate) taken: Option<Vec<Stamp>>,
    next_collection: Instant,
    own: Option<PeerId>,
    sums: Sums,
    /// Sum of the marks of the records of all reachable routers.
    reached: u64,
    /// Routers without a way to them, by the time since when.
    away: BTreeSet<(Instant, PeerId)>,
    /// Those of them that are still covered.
    fading: BTreeSet<(Instant, PeerId)>,
    /// When floors end.
    floor_ends: BTreeSet<(Instant, PeerId)>,
}

impl Store {
    /// Takes in a record, if it is newer than what is there, well-formed, rightly signed, and of a router that
    /// knows the secret.
    pub(crate) fn merge(&mut self, now: Instant, record: Arc<Record>, signer: &dyn Signer) -> Merged {
        if let Err(verdict) = self.judge(&record, signer) {
            return verdict;
        }
        match self.make_room(&record) {
            Ok(()) => {
                self.taken.iter_mut().for_each(|taken| taken.push(record.stamp()));
                Merged::New(self.insert(now, record))
            }
            Err(full) => Merged::Refused(full),
        }
    }

    /// Stores a record of our own making. Returns what went with it.
    pub(crate) fn put_own(&mut self, now: Instant, record: Arc<Record>) -> Replaced {
        let id = record.key.origin;
        let replaced = self.insert(now, record);
        self.note_reachable(now, &id, true);
        self.own = Some(id);
        replaced
    }

    /// `Err`: not to be stored.
    fn judge(&self, record: &Record, signer: &dyn Signer) -> Result<(), Merged> {
        let refused = |reason| Err(Merged::Refused(reason));
        let key = &record.key;
        // Looked up once: with ten thousand routers that costs more than all else here.
        let origin = self.origins.get(&key.origin);
        let stored = |slot| origin.and_then(|origin| origin.records.get(slot));
        match stored(slot(record)).map(|stored| &stored.version) {
            Some(stored) if *stored == record.version => return Err(Merged::Known),
            Some(stored) if *stored > record.version => return refused(DropReason::StaleRecord),
            _ => {}
        }
        if self
            .floor(key)
            .is_some_and(|floor| (record.version.epoch, record.version.counter) < floor)
        {
            return refused(DropReason::StaleRecord);
        }
        let is_info = key.kind == kind::PEER_INFO;
        match stored(INFO).and_then(|record| record.info()) {
            None if !is_info => return refused(DropReason::Unadmitted),
            Some(info) if !is_info && record.version.epoch < info.epoch => {
                return refused(DropReason::StaleRecord);
            }
            _ => {}
        }
        if record.body().is_none() {
            return refused(DropReason::MalformedRecord);
        }
        if record
            .info()
            .is_some_and(|info| !signer.admits(&key.origin, &info.admissions))
        {
            return refused(DropReason::Unadmitted);
        }
        if !record.verify(signer) {
            return refused(DropReason::BadSignature);
        }
        if origin.is_none() && self.origins.number(key.origin.short()).is_some() {
            return refused(DropReason::IdentityClash);
        }
        self.has_room(record, origin).map_err(Merged::Refused)
    }

    /// The router with this short id. There is never more than one: links name routers by it.
    pub(crate) fn named(&self, short: ShortId) -> Option<PeerId> {
        self.origins
            .number(short)
            .and_then(|number| self.origins.id(number))
            .copied()
    }

    /// Checks the limits of what one router may have.
    fn has_room(&self, record: &Record, origin: Option<&Origin>) -> Result<(), DropReason> {
        let Some(origin) = origin else { return Ok(()) };
        let size = record.bytes().len();
        let replaced = origin
            .records
            .get(slot(record))
            .map_or(0, |old| old.bytes().len());
        let is_more = replaced == 0 && record.key.kind != kind::PEER_INFO;
        let is_unknown = is_more && !kind::is_known(record.key.kind);
        let unknown = || {
            let records = origin.records.iter();
            records.filter(|record| !kind::is_known(record.key.kind)).count()
        };
        let full = (is_more && origin.records.len() >= MAX_ORIGIN_RECORDS)
            || (is_unknown && unknown() >= MAX_ORIGIN_UNKNOWN)
            || origin.bytes as usize + size > MAX_ORIGIN_BYTES + replaced;
        if full { Err(DropReason::StoreFull) } else { Ok(()) }
    }

    /// Drops the routers that were away longest, as many as it takes, if there are too many or they say too much: what is
    /// left of them must not keep out what is new of those that are there.
    fn make_room(&mut self, record: &Record) -> Result<(), DropReason> {
        let (own, size) = (record.key.origin, record.bytes().len());
        let origin = self.origins.get(&own);
        let is_new = origin.is_none();
        let old = origin.and_then(|origin| origin.records.get(slot(record)));
        let replaced = old.map_or(0, |old| old.bytes().len());
        while is_new && self.origins.len() >= MAX_ORIGINS || self.bytes + size > MAX_BYTES + replaced {
            let mut others = self.away.iter().map(|(_, id)| *id).filter(|id| *id != own);
            let id = others.next().ok_or(DropReason::StoreFull)?;
            self.remove(&id);
            self.evicted.push(id);
        }
        Ok(())
    }

    fn insert(&mut self, now: Instant, record: Arc<Record>) -> Replaced {
        let id = record.key.origin;
        let place = slot(&record);
        let Some(origin) = self.origins.get_mut(&id) else {
            // Our own records come with `PeerInfo` first; those of others were judged.
            if record.info().is_some() {
                self.add(now, record);
            }
            return Replaced::default();
        };
        let newest = record
            .info()
            .or_else(|| origin.records.get(INFO).and_then(|record| record.info()));
        let epoch = newest.map_or(0, |info| info.epoch);
        let outdated: Vec<_> = origin
            .records
            .iter()
            .filter(|old| old.version.epoch < epoch)
            .map(|old| slot(old))
            .collect();
        let counts = u64::from(origin.is_reachable);
        let size = record.bytes().len();
        self.sums.add(&record, origin.is_covered);
        self.reached = self.reached.wrapping_add(record.mark() * counts);
        let replaced = origin.records.insert(record);
        let others = outdated.iter().filter(|old| **old != place);
        let others: Vec<_> = others.filter_map(|old| origin.records.remove(*old)).collect();
        let mut gone = 0;
        for old in others.iter().chain(&replaced) {
            gone += old.bytes().len();
            self.sums.remove(old, origin.is_covered);
            self.reached = self.reached.wrapping_sub(old.mark() * counts);
        }
        origin.bytes = origin.bytes + small(size) - small(gone);
        self.bytes = self.bytes + size - gone;
        let mut all = others.into_iter().chain(replaced);
        let links = all.find(|old| slot(old) == LINKS);
        let outdated = outdated.into_iter().filter(|old| *old != place).collect();
        Replaced { outdated, links }
    }

    /// A router that was not known.
    fn add(&mut self, now: Instant, info: Arc<Record>) {
        let id = info.key.origin;
        self.away.insert((now, id));
        self.fading.insert((now, id));
        self.sums.add(&info, true);
        let bytes = info.bytes().len();
        self.bytes += bytes;
        let mut records = Slots::default();
        records.insert(info);
        self.origins.add(Origin {
            records,
            since: now,
            bytes: small(bytes),
            is_reachable: false,
            is_covered: true,
        });
    }

    /// Forgets a router and what it was.
    pub(crate) fn remove(&mut self, id: &PeerId) -> bool {
        let Some((number, origin)) = self.origins.remove(id) else {
            return false;
        };
        self.gone.push((*id, number));
        self.bytes -= origin.bytes as usize;
        for record in origin.records.iter() {
            self.sums.remove(record, origin.is_covered);
        }
        if origin.is_reachable {
            self.reached = self.reached.wrapping_sub(origin.marks());
        } else {
            self.away.remove(&(origin.since, *id));
            self.fading.remove(&(origin.since, *id));
        }
        true
    }

    /// The number that a router had which is gone; it rests until [`free`](Self::free).
    pub(crate) fn take_gone(&mut self, id: &PeerId) -> Option<Number> {
        let at = self.gone.iter().position(|(gone, _)| gone == id)?;
        Some(self.gone.swap_remove(at).1)
    }

    /// A number has rested long enough.
    pub(crate) fn free(&mut self, number: Number) {
        self.origins.free(number);
    }

    /// The number of a router.
    pub(crate) fn find(&self, id: &PeerId) -> Option<Number> {
        self.origins.find(id)
    }

    /// How many routers are known, this one included.
    pub(crate) fn count(&self) -> usize {
        self.origins.len()
    }

    /// Routers, those remembered only by their versions, bytes of records.
    pub(crate) fn sizes(&self) -> [Size; 3] {
        [
            Size::new("routers known", self.origins.len(), MAX_ORIGINS),
            Size::new("routers remembered", self.floors.len(), MAX_ORIGINS),
            Size::new("bytes of records", self.bytes, MAX_BYTES),
        ]
    }

    /// The routers that had to make room for others since the last call.
    pub(crate) fn take_evicted(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.evicted)
    }

    fn floor(&self, key: &Key) -> Option<(u64, u64)> {
        self.floors
            .get(&key.origin)?
            .versions
            .get(&(key.kind, key.subkey))
            .copied()
    }

    /// The version that is stored under a key.
    pub(crate) fn version(&self, key: &Key) -> Option<&Version> {
        self.get(key).map(|record| &record.version)
    }

    /// The record that is stored under a key.
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.origins.get(&key.origin)?.records.get((key.kind, key.subkey))
    }

    /// The newest record under a key that is still here: of a router that was collected its `PeerInfo`.
    pub(crate) fn newest(&self, key: &Key) -> Option<&Arc<Record>> {
        let remembered = || self.floors.get(&key.origin)?.info.as_ref();
        self.get(key)
            .or_else(|| remembered().filter(|info| info.key == *key))
    }

    fn of_kind(&self, origin: &PeerId, kind: u8, subkey: u64) -> Option<&Arc<Record>> {
        self.get(&Key {
            origin: *origin,
            kind,
            subkey,
        })
    }

    /// What a router says of itself.
    pub(crate) fn info(&self, id: &PeerId) -> Option<&PeerInfo> {
        self.of_kind(id, kind::PEER_INFO, 0)?.info()
    }

    /// All routers, in order.
    pub(crate) fn infos(&self) -> impl Iterator<Item = (&PeerId, &PeerInfo)> {
        let infos = self.origins.sorted().into_iter();
        infos.filter_map(|(_, origin)| {
            let record = origin.records.get(INFO)?;
            Some((&record.key.origin, record.info()?))
        })
    }

    /// All records of one router, in the order of their keys: `PeerInfo` first.
    pub(crate) fn records(&self, id: &PeerId) -> impl Iterator<Item = &Arc<Record>> {
        self.origins
            .get(id)
            .into_iter()
            .flat_map(|origin| origin.records.iter())
    }

    /// How many records of one router there are.
    pub(crate) fn records_of(&self, id: &PeerId) -> usize {
        self.origins.get(id).map_or(0, |origin| origin.records.len())
    }

    /// In which a router says what links it has.
    pub(crate) fn links_record(&self, id: &PeerId) -> Option<&Arc<Record>> {
        self.origins.get(id)?.records.get(LINKS)
    }

    /// Tells that there is a way to a router now, or none any more. To this router there always is one.
    pub(crate) fn note_reachable(&mut self, now: Instant, id: &PeerId, is_reachable: bool) {
        let Some(origin) = self.origins.get_mut(id).filter(|_| self.own != Some(*id)) else {
            return;
        };
        if std::mem::replace(&mut origin.is_reachable, is_reachable) == is_reachable {
            return;
        }
        let since = std::mem::replace(&mut origin.since, now);
        if is_reachable {
            self.away.remove(&(since, *id));
            self.fading.remove(&(since, *id));
            self.reached = self.reached.wrapping_add(origin.marks());
            if !std::mem::replace(&mut origin.is_covered, true) {
                origin.records.iter().for_each(|record| self.sums.cover(record));
            }
        } else {
            self.away.insert((now, *id));
            self.fading.insert((now, *id));
            self.reached = self.reached.wrapping_sub(origin.marks());
        }
    }

    /// What is compared with neighbours: the records of all routers but those that nobody reaches any more. Those
    /// that could not be reached for a short while are among them: a router that has just been heard of is not
    /// reached yet, and its records would be missed by a neighbour that comes at this moment.
    pub(crate) fn sums(&self) -> &Sums {
        &self.sums
    }

    /// One hash over all of that.
    pub(crate) fn root(&mut self) -> [u8; 32] {
        self.sums.root()
    }

    /// Leaves out of it who could not be reached for too long.
    pub(crate) fn fade(&mut self, now: Instant) {
        while let Some((since, id)) = self.fading.first().copied() {
            if now.since(since) < PASSED_ON {
                break;
            }
            self.fading.pop_first();
            if let Some(origin) = self.origins.get_mut(&id) {
                origin.is_covered = false;
                origin.records.iter().for_each(|record| self.sums.uncover(record));
            }
        }
    }

    /// True if there is a way to this other router.
    pub(crate) fn is_reached(&self, id: &PeerId) -> bool {
        let origin = self.origins.get(id).filter(|_| self.own != Some(*id));
        origin.is_some_and(|origin| origin.is_reachable)
    }

    /// The other routers to which there is a way, in order.
    pub(crate) fn others_reached(&self) -> impl Iterator<Item = PeerId> {
        self.infos().map(|(id, _)| *id).filter(|id| self.is_reached(id))
    }

    /// How many these are.
    pub(crate) fn count_reached(&self) -> usize {
        self.origins.len().saturating_sub(self.away.len() + 1)
    }

    /// Sum of the marks of the records of all reachable routers, this one included.
    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    /// Drops routers that were unreachable for too long, and floors that are old. Returns the routers, in order.
    pub(crate) fn collect(&mut self, now: Instant) -> Vec<PeerId> {
        if now < self.next_collection {
            return Vec::new();
        }
        self.next_collection = now + COLLECT_EVERY;
        while let Some((_, id)) = self.floor_ends.first().filter(|(end, _)| *end <= now).copied() {
            self.floor_ends.pop_first();
            self.floors.remove(&id);
        }
        let is_dead = |(since, _): &&(Instant, PeerId)| now.since(*since) >= COLLECT_AFTER;
        let mut dead: Vec<_> = self.away.iter().take_while(is_dead).map(|(_, id)| *id).collect();
        dead.sort_unstable();
        for id in &dead {
            self.keep_floor(now, id);
            self.remove(id);
        }
        dead
    }

    fn keep_floor(&mut self, now: Instant, id: &PeerId) {
        let Some(origin) = self.origins.get(id) else {
            return;
        };
        let old = self.floors.remove(id);
        if let Some(floor) = &old {
            self.floor_ends.remove(&(floor.until, *id));
        }
        let mut versions = old.map(|floor| floor.versions).unwrap_or_default();
        for record in origin.records.iter() {
            let version = (record.version.epoch, record.version.counter);
            let floor = versions.entry(slot(record)).or_insert(version);
            *floor = version.max(*floor);
        }
        if versions.len() > MAX_ORIGIN_RECORDS || self.floors.len() >= MAX_ORIGINS {
            return;
        }
        let info = origin.records.get(INFO).map(Arc::clone);
        let info = info.filter(|info| info.bytes().len() <= INFO_KEPT);
        let until = now + FLOOR_KEPT;
        self.floor_ends.insert((until, *id));
        self.floors.insert(
            *id,
            Floor {
                versions,
                until,
                info,
            },
        );
    }

    /// When [`collect`](Self::collect) may have something to do; `None` while every router is reachable.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let collection = self.away.first().map(|(since, _)| *since + COLLECT_AFTER);
        let expiry = self.floor_ends.first().map(|(end, _)| *end);
        [collection, expiry]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(self.next_collection))
    }
}

/// What routers say of their links, as the graph asks for it.
impl Known for Store {
    fn numbers(&self) -> usize {
        self.origins.bound()
    }

    fn number(&self, short: ShortId) -> Option<Number> {
        self.origins.number(short)
    }

    fn id(&self, number: Number) -> Option<&PeerId> {
        self.origins.id(number)
    }

    fn links(&self, of: Number) -> &[Adjacency] {
        let record = self.origins.at(of).and_then(|origin| origin.records.get(LINKS));
        record.map_or(&[], |record| record.links())
    }

    fn root_named_by(&self, of: Number) -> Option<Number> {
        let root = self.origins.at(of)?.records.get((kind::ROOT, 0))?.root()?;
        self.origins.number(root)
    }
}

/// Bytes of one router's records, of which there are at most [`MAX_ORIGIN_BYTES`].
fn small(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
