//! What two routers compare to find out whether they hold the same: sums over records, kept up to date change by
//! change.
//!
//! Each record belongs to one of 256 buckets, which follows from its key. A bucket holds its records, for lists of
//! them, and the sum of their hashes (of 16 bytes, modulo 2^128), to which a record is added when it comes and from
//! which it is taken when it goes. So nothing here ever walks the store.
//!
//! Sums of hashes differ if anything differs, but for one in 2^128 and a liar: who signs hundreds of records can
//! choose them, with much work, so that the sum of some is that of others. Two routers of which one holds these and
//! the other one those would not notice while nothing else in that bucket changes. All that comes of it is that his
//! records are not repaired between the two, and what is hidden of others needs to be missing at one of them just
//! then; both still get what is passed on. A neighbour that wants to withhold records may as well say nothing. No
//! record is ever taken in because of a sum: records are signed.

use crate::ShortId;
use crate::directory::grow_slowly;
use crate::index::mix;
use crate::record::{Record, kind};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Into which records are spread.
pub(crate) const BUCKETS: usize = 256;
/// Those of `PeerInfo`. They come first, so that what admits a router is asked for, and given, before the rest.
const INFO_BUCKETS: u64 = 64;
/// Any number: it only has to be the same everywhere.
const SEED: u64 = 0x7765_6674_5f73_756d;

/// The bucket of a record: the same at all routers, and the same for all versions of it.
pub(crate) fn bucket(origin: ShortId, kind: u8, subkey: u64) -> u8 {
    let origin = u64::from_be_bytes(origin.0);
    let hash = mix(origin ^ mix(subkey, SEED ^ u64::from(kind)), SEED) >> 32;
    let others = BUCKETS as u64 - INFO_BUCKETS;
    let bucket = match kind {
        kind::PEER_INFO => hash % INFO_BUCKETS,
        _ => INFO_BUCKETS + hash % others,
    };
    u8::try_from(bucket).unwrap_or(u8::MAX)
}

/// Records whose keys lead here.
#[derive(Debug, Clone, Default)]
struct Bucket {
    /// Those that are covered come first.
    records: Vec<Arc<Record>>,
    /// How many are.
    covered: usize,
    /// Of their hashes.
    sum: u128,
}

/// All records, and the sums over those that are covered: compared with neighbours and passed on.
#[derive(Debug)]
pub(crate) struct Sums {
    buckets: Vec<Bucket>,
    /// As long as nothing changes.
    root: Option<[u8; 32]>,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            buckets: vec![Bucket::default(); BUCKETS],
            root: None,
        }
    }
}

impl Sums {
    /// A record is stored.
    pub(crate) fn add(&mut self, record: &Arc<Record>, is_covered: bool) {
        let bucket = &mut self.buckets[of(record)];
        grow_slowly(&mut bucket.records);
        bucket.records.push(Arc::clone(record));
        if is_covered {
            self.cover(record);
        }
    }

    /// A record is gone.
    pub(super) fn remove(&mut self, record: &Arc<Record>, is_covered: bool) {
        if is_covered {
            self.uncover(record);
        }
        let bucket = &mut self.buckets[of(record)];
        if let Some(at) = bucket.find(record) {
            bucket.records.swap_remove(at);
        }
    }

    /// A record counts from now on; it did not before.
    pub(super) fn cover(&mut self, record: &Arc<Record>) {
        let bucket = &mut self.buckets[of(record)];
        if let Some(at) = bucket.find(record).filter(|at| *at >= bucket.covered) {
            bucket.records.swap(at, bucket.covered);
            bucket.covered += 1;
            bucket.sum = bucket.sum.wrapping_add(number(record));
            self.root = None;
        }
    }

    /// A record counts no longer; it did until now.
    pub(super) fn uncover(&mut self, record: &Arc<Record>) {
        let bucket = &mut self.buckets[of(record)];
        if let Some(at) = bucket.find(record).filter(|at| *at < bucket.covered) {
            bucket.covered -= 1;
            bucket.records.swap(at, bucket.covered);
            bucket.sum = bucket.sum.wrapping_sub(number(record));
            self.root = None;
        }
    }

    /// One hash over all sums.
    pub(crate) fn root(&mut self) -> [u8; 32] {
        *self.root.get_or_insert_with(|| {
            let sums = self.buckets.iter().map(|bucket| bucket.sum.to_be_bytes());
            sums.fold(Sha256::new(), Sha256::chain_update).finalize().into()
        })
    }

    /// The sums in short.
    pub(crate) fn short(&self) -> Vec<u64> {
        let short = |sum: u128| (sum >> 64) as u64 ^ sum as u64;
        self.buckets.iter().map(|bucket| short(bucket.sum)).collect()
    }

    /// The buckets in which another router holds something else.
    pub(crate) fn differing(&self, theirs: &[u64]) -> Vec<u8> {
        let pairs = self.short().into_iter().zip(theirs).enumerate();
        pairs
            .filter(|(_, (ours, theirs))| ours != *theirs)
            .filter_map(|(at, _)| u8::try_from(at).ok())
            .collect()
    }

    /// The covered records of a bucket, in no order that means anything.
    pub(crate) fn covered(&self, bucket: u8) -> &[Arc<Record>] {
        let bucket = &self.buckets[usize::from(bucket)];
        bucket.records.get(..bucket.covered).unwrap_or_default()
    }

    /// All records of a bucket, in no order that means anything.
    pub(crate) fn all(&self, bucket: u8) -> &[Arc<Record>] {
        &self.buckets[usize::from(bucket)].records
    }
}

impl Bucket {
    fn find(&self, record: &Arc<Record>) -> Option<usize> {
        self.records.iter().position(|other| Arc::ptr_eq(other, record))
    }
}

/// Where a record's bucket stands.
fn of(record: &Record) -> usize {
    let key = &record.key;
    usize::from(bucket(key.origin.short(), key.kind, key.subkey))
}

fn number(record: &Record) -> u128 {
    u128::from_be_bytes(record.version.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::id;

    fn of(n: u8, kind: u8, subkey: u64) -> u8 {
        bucket(id(n).short(), kind, subkey)
    }

    #[test]
    fn buckets_are_the_same_everywhere_and_evenly_filled() {
        // Routers that reckon otherwise never agree: a change here is a new version of the protocol.
        let known = [of(1, 1, 0), of(2, 1, 0), of(1, 2, 0), of(1, 3, 0), of(1, 3, 1)];
        assert_eq!(known, [11, 60, 241, 74, 100]);
        let mut many = vec![0; BUCKETS];
        (0..19_200).for_each(|subkey| many[usize::from(of(1, 3, subkey))] += 1);
        assert!(
            many[64..].iter().all(|count| (50..=150).contains(count)),
            "{many:?}"
        );
        let infos: Vec<u8> = (0..=255).map(|n| of(n, 1, 0)).collect();
        assert!(infos.iter().all(|bucket| *bucket < 64));
        assert!((0..64).filter(|bucket| infos.contains(bucket)).count() > 50);
    }
}
