//! The records of all routers: the replicated state.
//!
//! Merging is commutative, associative and idempotent: whatever the order in which records come, routers end
//! with the same ones. For each [`Key`] the greatest [`Version`] stays; records of an epoch before that of
//! their origin's `PeerInfo` are leftovers of an earlier run and go. An origin is taken in only with a
//! `PeerInfo` that proves knowledge of the secret. An origin that could not be reached for ten minutes is
//! collected; what it had reached by then is remembered for a day, so that nobody can play back older records.

#[cfg(test)]
mod tests;

use crate::fdb::MacsBody;
use crate::record::{Key, LinkStateBody, Record, Version, kind};
use crate::{Adjacency, DropReason, Instant, PeerId, PeerInfo, Signer};
use std::collections::BTreeMap;
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
/// How long a collected router's versions are remembered.
pub(crate) const FLOOR_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Time between two looks for routers to collect.
const COLLECT_EVERY: Duration = Duration::from_secs(30);

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merged {
    /// Stored. With it the records of these (kind, subkey) went, which an earlier run of its origin had left.
    New(Vec<(u8, u64)>),
    /// The very record was there already.
    Known,
    /// Refused.
    Refused(DropReason),
}

/// What is known of one router.
#[derive(Debug)]
struct Origin {
    records: BTreeMap<(u8, u64), Record>,
    info: PeerInfo,
    bytes: usize,
    unreachable_since: Option<Instant>,
}

/// The versions of a collected router.
#[derive(Debug)]
struct Floor {
    versions: BTreeMap<(u8, u64), (u64, u64)>,
    until: Instant,
}

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Store {
    origins: BTreeMap<PeerId, Origin>,
    floors: BTreeMap<PeerId, Floor>,
    bytes: usize,
    evicted: Vec<PeerId>,
    next_collection: Instant,
}

impl Store {
    /// Takes in a record, if it is newer than what is there, well-formed, rightly signed, and of a router that
    /// knows the secret.
    pub(crate) fn merge(&mut self, now: Instant, record: Record, signer: &dyn Signer) -> Merged {
        match self.judge(&record, signer) {
            Ok(info) => {
                if let Err(full) = self.make_room(&record) {
                    return Merged::Refused(full);
                }
                Merged::New(self.insert(now, record, info))
            }
            Err(verdict) => verdict,
        }
    }

    /// Stores a record of our own making.
    pub(crate) fn put_own(&mut self, now: Instant, record: Record) {
        let info = (record.key.kind == kind::PEER_INFO)
            .then(|| PeerInfo::read(record.body(), &record.key, &record.version));
        self.insert(now, record, info.flatten());
    }

    /// The `PeerInfo` inside, if the record is one. `Err`: not to be stored.
    fn judge(&self, record: &Record, signer: &dyn Signer) -> Result<Option<PeerInfo>, Merged> {
        let refused = |reason| Err(Merged::Refused(reason));
        let key = &record.key;
        match self.version(key) {
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
        let info = match key.kind {
            kind::PEER_INFO => match PeerInfo::read(record.body(), key, &record.version) {
                None => return refused(DropReason::MalformedRecord),
                info => info,
            },
            _ => match self.origins.get(&key.origin) {
                None => return refused(DropReason::Unadmitted),
                Some(origin) if record.version.epoch < origin.info.epoch => {
                    return refused(DropReason::StaleRecord);
                }
                Some(_) if !is_readable(record) => return refused(DropReason::MalformedRecord),
                Some(_) => None,
            },
        };
        if info
            .as_ref()
            .is_some_and(|info| !signer.admits(&key.origin, &info.admissions))
        {
            return refused(DropReason::Unadmitted);
        }
        if !record.verify(signer) {
            return refused(DropReason::BadSignature);
        }
        Ok(info)
    }

    /// Checks the limits; drops the router that was away longest if there are too many.
    fn make_room(&mut self, record: &Record) -> Result<(), DropReason> {
        let size = record.bytes().len();
        let Some(origin) = self.origins.get(&record.key.origin) else {
            if self.origins.len() >= MAX_ORIGINS || self.bytes + size > MAX_BYTES {
                let longest_away = self
                    .origins
                    .iter()
                    .filter_map(|(id, o)| Some((o.unreachable_since?, *id)));
                let (_, id) = longest_away.min().ok_or(DropReason::StoreFull)?;
                self.remove(&id);
                self.evicted.push(id);
            }
            return Ok(());
        };
        let slot = (record.key.kind, record.key.subkey);
        let replaced = origin.records.get(&slot).map_or(0, |old| old.bytes().len());
        let unknown = origin.records.range((kind::MACS + 1, 0)..).count();
        let is_more = replaced == 0 && record.key.kind != kind::PEER_INFO;
        let full = (is_more && origin.records.len() >= MAX_ORIGIN_RECORDS)
            || (is_more && record.key.kind > kind::MACS && unknown >= MAX_ORIGIN_UNKNOWN)
            || origin.bytes + size > MAX_ORIGIN_BYTES + replaced
            || self.bytes + size > MAX_BYTES + replaced;
        if full { Err(DropReason::StoreFull) } else { Ok(()) }
    }

    fn insert(&mut self, now: Instant, record: Record, info: Option<PeerInfo>) -> Vec<(u8, u64)> {
        let id = record.key.origin;
        let slot = (record.key.kind, record.key.subkey);
        let origin = match (self.origins.remove(&id), info) {
            (Some(mut origin), info) => {
                origin.info = info.unwrap_or(origin.info);
                origin
            }
            (None, Some(info)) => {
                let records = BTreeMap::new();
                Origin {
                    records,
                    info,
                    bytes: 0,
                    unreachable_since: Some(now),
                }
            }
            // Our own records come with `PeerInfo` first; those of others were judged.
            (None, None) => return Vec::new(),
        };
        let origin = self.origins.entry(id).or_insert(origin);
        let epoch = origin.info.epoch;
        let outdated: Vec<_> = origin
            .records
            .iter()
            .filter(|(_, old)| old.version.epoch < epoch)
            .map(|(slot, _)| *slot)
            .collect();
        let mut gone = 0;
        for slot in &outdated {
            gone += origin.records.remove(slot).map_or(0, |old| old.bytes().len());
        }
        let size = record.bytes().len();
        gone += origin
            .records
            .insert(slot, record)
            .map_or(0, |old| old.bytes().len());
        origin.bytes = origin.bytes + size - gone;
        self.bytes = self.bytes + size - gone;
        outdated.into_iter().filter(|old| *old != slot).collect()
    }

    /// Forgets a router and what it was.
    pub(crate) fn remove(&mut self, id: &PeerId) -> bool {
        let Some(origin) = self.origins.remove(id) else {
            return false;
        };
        self.bytes -= origin.bytes;
        true
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
    pub(crate) fn get(&self, key: &Key) -> Option<&Record> {
        self.origins
            .get(&key.origin)?
            .records
            .get(&(key.kind, key.subkey))
    }

    /// What a router says of itself.
    pub(crate) fn info(&self, id: &PeerId) -> Option<&PeerInfo> {
        self.origins.get(id).map(|origin| &origin.info)
    }

    /// All routers, in order.
    pub(crate) fn infos(&self) -> impl Iterator<Item = (&PeerId, &PeerInfo)> {
        self.origins.iter().map(|(id, origin)| (id, &origin.info))
    }

    /// All records of one router, in the order of their keys: `PeerInfo` first.
    pub(crate) fn records(&self, id: &PeerId) -> impl Iterator<Item = &Record> {
        self.origins
            .get(id)
            .into_iter()
            .flat_map(|origin| origin.records.values())
    }

    /// All links a router lists.
    pub(crate) fn adjacencies(&self, id: &PeerId) -> Vec<Adjacency> {
        let chunks = self
            .records(id)
            .filter(|record| record.key.kind == kind::LINK_STATE);
        chunks
            .filter_map(|record| LinkStateBody::read(record.body()))
            .flat_map(|body| body.adjacencies)
            .collect()
    }

    /// One chunk of the MAC addresses a router publishes.
    pub(crate) fn macs(&self, id: &PeerId, subkey: u64) -> Option<MacsBody> {
        read_macs(self.get(&Key {
            origin: *id,
            kind: kind::MACS,
            subkey,
        })?)
    }

    /// Tells which routers there is a way to now.
    pub(crate) fn note_reachable(&mut self, now: Instant, is_reachable: impl Fn(&PeerId) -> bool) {
        for (id, origin) in &mut self.origins {
            origin.unreachable_since = if is_reachable(id) {
                None
            } else {
                origin.unreachable_since.or(Some(now))
            };
        }
    }

    /// Drops routers that were unreachable for too long, and floors that are old. Returns the routers.
    pub(crate) fn collect(&mut self, now: Instant) -> Vec<PeerId> {
        if now < self.next_collection {
            return Vec::new();
        }
        self.next_collection = now + COLLECT_EVERY;
        self.floors.retain(|_, floor| floor.until > now);
        let is_dead = |origin: &Origin| {
            origin
                .unreachable_since
                .is_some_and(|since| now.since(since) >= COLLECT_AFTER)
        };
        let dead: Vec<_> = self
            .origins
            .iter()
            .filter(|(_, o)| is_dead(o))
            .map(|(id, _)| *id)
            .collect();
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
        let mut versions = self
            .floors
            .remove(id)
            .map(|floor| floor.versions)
            .unwrap_or_default();
        for (slot, record) in &origin.records {
            let version = (record.version.epoch, record.version.counter);
            let floor = versions.entry(*slot).or_insert(version);
            *floor = version.max(*floor);
        }
        if versions.len() > MAX_ORIGIN_RECORDS || self.floors.len() >= MAX_ORIGINS {
            return;
        }
        self.floors.insert(
            *id,
            Floor {
                versions,
                until: now + FLOOR_KEPT,
            },
        );
    }

    /// When [`collect`](Self::collect) may have something to do; `None` while every router is reachable.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let away = self
            .origins
            .values()
            .filter_map(|origin| origin.unreachable_since)
            .min();
        let collection = away.map(|since| since + COLLECT_AFTER);
        let expiry = self.floors.values().map(|floor| floor.until).min();
        [collection, expiry]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(self.next_collection))
    }
}

/// True unless the kind is known and the body is not what it should be.
fn is_readable(record: &Record) -> bool {
    match record.key.kind {
        kind::LINK_STATE => LinkStateBody::read(record.body()).is_some(),
        kind::MACS => read_macs(record).is_some(),
        _ => true,
    }
}

fn read_macs(record: &Record) -> Option<MacsBody> {
    postcard::take_from_bytes(record.body())
        .ok()
        .map(|(body, _)| body)
}
