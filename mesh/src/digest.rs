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
