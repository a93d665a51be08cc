//! Anti-entropy: finds out in a few small messages what two neighbours hold that the other lacks.
//!
//! Root (32 bytes) → 256 buckets (8 bytes each) → keys with versions → pull and push. It covers the routers
//! that are reachable, so the dead are not passed around for ever, and it repairs both ends at once.

use crate::PeerId;
use crate::record::{Key, Version};
use crate::store::Store;
use crate::wire::Keys;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Buckets into which keys are spread.
pub(crate) const BUCKETS: usize = 256;
/// Keys with versions in one message; 2,048 of them fill about two thirds of it.
pub(crate) const MAX_KEYS: usize = 2048;

/// Hashes over everything a router holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Over all buckets.
    pub(crate) root: [u8; 32],
    /// One for each bucket.
    pub(crate) buckets: Vec<u64>,
}

impl Summary {
    /// Of the records of those origins that `covers` names.
    pub(crate) fn of(store: &Store, covers: impl Fn(&PeerId) -> bool) -> Self {
        let mut hashers = vec![Sha256::new(); BUCKETS];
        for (key, version) in covered(store, covers) {
            let hasher = &mut hashers[usize::from(bucket(&key))];
            hasher.update(key_bytes(&key));
            hasher.update(version.epoch.to_be_bytes());
            hasher.update(version.counter.to_be_bytes());
            hasher.update(version.hash);
        }
        let buckets: Vec<u64> = hashers
            .into_iter()
            .map(|hasher| first_eight(&hasher.finalize()))
            .collect();
        let mut root = Sha256::new();
        for bucket in &buckets {
            root.update(bucket.to_be_bytes());
        }
        Self {
            root: root.finalize().into(),
            buckets,
        }
    }

    /// The buckets in which another router holds something else.
    pub(crate) fn differing(&self, theirs: &[u64]) -> Vec<u8> {
        let pairs = self.buckets.iter().zip(theirs).enumerate();
        pairs
            .filter(|(_, (ours, theirs))| ours != theirs)
            .filter_map(|(i, _)| u8::try_from(i).ok())
            .collect()
    }
}

/// What is held in these buckets, in messages of bounded size.
pub(crate) fn list(store: &Store, covers: impl Fn(&PeerId) -> bool, buckets: &[u8]) -> Vec<Keys> {
    let mut by_bucket: BTreeMap<u8, Vec<(Key, Version)>> =
        buckets.iter().map(|bucket| (*bucket, Vec::new())).collect();
    for (key, version) in covered(store, covers) {
        if let Some(held) = by_bucket.get_mut(&bucket(&key)) {
            held.push((key, version));
        }
    }
    let mut messages: Vec<Keys> = Vec::new();
    for (bucket, mut held) in by_bucket {
        let complete = held.len() <= MAX_KEYS;
        held.truncate(MAX_KEYS);
        match messages.last_mut() {
            Some(last) if complete && last.complete && last.held.len() + held.len() <= MAX_KEYS => {
                last.buckets.push(bucket);
                last.held.append(&mut held);
            }
            _ => messages.push(Keys {
                buckets: vec![bucket],
                complete,
                held,
            }),
        }
    }
    messages
}

/// What follows from a neighbour's list: the keys to ask for, and the keys whose records it lacks.
pub(crate) fn compare(
    store: &Store,
    covers: impl Fn(&PeerId) -> bool,
    theirs: &Keys,
) -> (Vec<Key>, Vec<Key>) {
    let held: BTreeMap<Key, Version> = theirs.held.iter().copied().collect();
    let pull = held
        .iter()
        .filter(|(key, version)| store.version(key).is_none_or(|ours| ours < *version));
    let pull = pull.map(|(key, _)| *key).collect();
    let lacks = |key: &Key, ours: &Version| match held.get(key) {
        Some(version) => version < ours,
        None => theirs.complete && theirs.buckets.contains(&bucket(key)),
    };
    let push = covered(store, covers)
        .filter(|(key, version)| lacks(key, version))
        .map(|(key, _)| key)
        .collect();
    (pull, push)
}

fn covered(store: &Store, covers: impl Fn(&PeerId) -> bool) -> impl Iterator<Item = (Key, Version)> {
    let origins = store.infos().map(|(id, _)| id).filter(move |id| covers(id));
    origins
        .flat_map(|id| store.records(id))
        .map(|record| (record.key, record.version))
}

fn bucket(key: &Key) -> u8 {
    Sha256::digest(key_bytes(key))[0]
}

fn key_bytes(key: &Key) -> [u8; 41] {
    let mut bytes = [0; 41];
    bytes[..32].copy_from_slice(&key.origin.0);
    bytes[32] = key.kind;
    bytes[33..].copy_from_slice(&key.subkey.to_be_bytes());
    bytes
}

fn first_eight(hash: &[u8]) -> u64 {
    hash.iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instant;
    use crate::record::Record;
    use crate::testing::{FakeSigner, id, info_record, record};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn store(records: &[Arc<Record>]) -> Store {
        let mut store = Store::default();
        for record in records {
            store.merge(Instant(0), record.clone(), &FakeSigner(id(0)));
        }
        store
    }

    /// One end sends its list; the other asks and gives. Returns what is exchanged.
    fn exchange(ours: &mut Store, theirs: &mut Store) -> usize {
        let differing = Summary::of(ours, |_| true).differing(&Summary::of(theirs, |_| true).buckets);
        let mut moved = 0;
        for keys in list(theirs, |_| true, &differing) {
            let (pull, push) = compare(ours, |_| true, &keys);
            moved += pull.len() + push.len();
            let pulled: Vec<_> = pull.iter().filter_map(|key| theirs.get(key)).cloned().collect();
            let pushed: Vec<_> = push.iter().filter_map(|key| ours.get(key)).cloned().collect();
            pulled
                .into_iter()
                .for_each(|record| drop(ours.merge(Instant(0), record, &FakeSigner(id(0)))));
            pushed
                .into_iter()
                .for_each(|record| drop(theirs.merge(Instant(0), record, &FakeSigner(id(0)))));
        }
        moved
    }

    proptest! {
        #[test]
        fn one_exchange_repairs_both_ends(common in 0..60_u64, a in 0..9_u64, b in 0..9_u64) {
            let of = |n: u8, versions: std::ops::Range<u64>| {
                let records = versions.map(move |subkey| record(n, (9, subkey), (1, subkey + 2), &[]));
                std::iter::once(info_record(n, 1, 1)).chain(records)
            };
            let shared: Vec<_> = of(1, 0..common).collect();
            let newer = record(1, (9, 0), (1, 999), &[]);
            let mut ours = store(&shared.iter().cloned().chain(of(2, 0..a)).chain([newer]).collect::<Vec<_>>());
            let mut theirs = store(&shared.into_iter().chain(of(3, 0..b)).collect::<Vec<_>>());
            prop_assert_eq!(exchange(&mut ours, &mut theirs) as u64, a + b + 3);
            prop_assert_eq!(Summary::of(&ours, |_| true), Summary::of(&theirs, |_| true));
            prop_assert_eq!(exchange(&mut ours, &mut theirs), 0);
        }
    }

    #[test]
    fn lists_are_bounded_and_tell_when_they_are_cut() {
        let records: Vec<_> = (1..=250_u8)
            .flat_map(|n| {
                let more = (0..60).map(move |subkey| record(n, (9, subkey), (1, 2), &[]));
                std::iter::once(info_record(n, 1, 1)).chain(more)
            })
            .collect();
        let store = store(&records);
        let all: Vec<u8> = (0..=255).collect();
        let messages = list(&store, |_| true, &all);
        assert_eq!(
            messages.iter().map(|keys| keys.held.len()).sum::<usize>(),
            records.len()
        );
        for keys in &messages {
            assert!(keys.complete);
            assert!(crate::wire::Message::Keys(keys.clone()).encode().len() < crate::MAX_MESSAGE);
        }
        assert_eq!(
            list(&store, |_| false, &all)
                .iter()
                .map(|keys| keys.held.len())
                .sum::<usize>(),
            0
        );
    }
}
