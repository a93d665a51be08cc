//! Anti-entropy: finds out in a few small messages what two neighbours hold that the other lacks.
//!
//! Root (32 bytes) → 256 sums (8 bytes each) → marks of the records in the buckets that differ (8 bytes each) →
//! which of these are missing, and what there is instead → records, both ways. So it repairs both ends at once. A
//! mark does not tell of which record it is; that is said, with its version, of those records alone that one end
//! has and the other does not list. An older version is so never asked for, nor given.
//!
//! All lists come in messages of less than 64 KiB: a neighbour answers the first while the last is under way.

use crate::record::{Key, Record};
use crate::store::Store;
use crate::store::sums::{Sums, bucket};
use crate::wire::{Ask, Differ, Have, Held, Marks};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Marks in one list, and records named in one answer: what is said of 1,024 records fits into 64 KiB whatever their
/// versions.
pub(crate) const MAX_LISTED: usize = 1024;

/// What the sums tell about these buckets.
pub(crate) fn list(sums: &Sums, buckets: &[u8]) -> Vec<Held> {
    let mut lists: Vec<Held> = Vec::new();
    for &bucket in buckets {
        let marks = sorted(sums.covered(bucket).iter().map(|record| record.mark()));
        match lists.last_mut() {
            Some(last) if last.is_whole() && last.marks.0.len() + marks.len() <= MAX_LISTED => {
                last.buckets.push(bucket);
                last.marks.0.extend(marks);
            }
            _ => lists.extend(cut(bucket, &marks)),
        }
    }
    for list in &mut lists {
        list.marks = Marks(sorted(list.marks.0.drain(..)));
    }
    lists
}

/// One bucket, in as many lists as it takes.
fn cut(bucket: u8, marks: &[u64]) -> Vec<Held> {
    let mut from = 0;
    let mut left = marks;
    let mut lists = Vec::new();
    loop {
        let (now, rest) = left.split_at(left.len().min(MAX_LISTED));
        let end = now.last().filter(|_| !rest.is_empty());
        let to = end.copied().unwrap_or(u64::MAX);
        lists.push(Held {
            buckets: vec![bucket],
            from,
            to,
            marks: Marks(now.to_vec()),
        });
        if rest.is_empty() {
            return lists;
        }
        (from, left) = (to + 1, rest);
    }
}

/// How our records differ from a neighbour's list: what to ask for, and what to tell of.
pub(crate) fn answer(sums: &Sums, theirs: &Held) -> Vec<Differ> {
    let in_range = |record: &&Arc<Record>| (theirs.from..=theirs.to).contains(&record.mark());
    let all = theirs.buckets.iter().flat_map(|bucket| sums.all(*bucket));
    let known = sorted(all.filter(in_range).map(|record| record.mark()));
    let listed = &theirs.marks.0;
    let want = listed.iter().filter(|mark| known.binary_search(mark).is_err());
    let want = Marks(want.copied().collect());
    // Bucket by bucket: what admits routers comes first.
    let ours = theirs.buckets.iter().flat_map(|bucket| sums.covered(*bucket));
    let unlisted = ours
        .filter(in_range)
        .filter(|record| listed.binary_search(&record.mark()).is_err());
    let unlisted: Vec<Have> = unlisted.map(|record| name(record)).collect();
    let part = |have: &[Have]| {
        let mut have = have.to_vec();
        have.sort_unstable_by_key(|have| have.mark);
        have.dedup_by_key(|have| have.mark);
        Differ {
            buckets: theirs.buckets.clone(),
            want: Marks::default(),
            have,
            more: true,
        }
    };
    let mut parts: Vec<Differ> = unlisted.chunks(MAX_LISTED).map(part).collect();
    if parts.is_empty() {
        parts.push(part(&[]));
    }
    if let Some(last) = parts.last_mut() {
        (last.want, last.more) = (want, false);
    }
    parts
}

/// What to ask for after a part of an answer. `older` gets the marks of those of our records of which the other end
/// has newer ones.
pub(crate) fn question(store: &Store, theirs: &Differ, older: &mut BTreeSet<u64>) -> Option<Ask> {
    let (mut buckets, mut marks) = (BTreeSet::new(), Vec::new());
    for have in &theirs.have {
        let (kind, subkey) = (have.kind, have.subkey);
        let origin = store.named(have.origin);
        let ours = origin.and_then(|origin| store.get(&Key { origin, kind, subkey }));
        if ours.is_none_or(|ours| version(&name(ours)) < version(have)) {
            buckets.insert(bucket(have.origin, kind, subkey));
            marks.push(u64::from_be_bytes(have.mark));
            older.extend(ours.map(|ours| ours.mark()));
        }
    }
    let ask = Ask {
        buckets: buckets.into_iter().collect(),
        marks: Marks(marks),
    };
    Some(ask).filter(|ask| !ask.marks.0.is_empty())
}

/// The records with these marks, in the order of their keys, but what admits routers first.
pub(crate) fn find(sums: &Sums, buckets: &[u8], marks: &[u64]) -> Vec<Arc<Record>> {
    if marks.is_empty() {
        return Vec::new();
    }
    let all = buckets.iter().flat_map(|bucket| sums.all(*bucket));
    let found = all.filter(|record| marks.binary_search(&record.mark()).is_ok());
    let mut found: Vec<_> = found.map(Arc::clone).collect();
    found.sort_unstable_by_key(|record| {
        let key = &record.key;
        (key.kind != crate::record::kind::PEER_INFO, *key)
    });
    found
}

impl Held {
    fn is_whole(&self) -> bool {
        (self.from, self.to) == (0, u64::MAX)
    }

    /// False for a list that nobody makes who means well.
    pub(crate) fn is_sound(&self) -> bool {
        let marks = &self.marks.0;
        let is_in_range = marks.first().is_none_or(|first| *first >= self.from)
            && marks.last().is_none_or(|last| *last <= self.to);
        is_list(&self.buckets)
            && (self.is_whole() || self.buckets.len() == 1)
            && (self.to == u64::MAX || marks.len() == MAX_LISTED)
            && self.from <= self.to
            && is_in_range
            && is_list(marks)
    }
}

impl Differ {
    /// False for an answer that nobody gives who means well.
    pub(crate) fn is_sound(&self) -> bool {
        let have = self.have.iter().map(|have| have.mark);
        let is_last = self.want.0.is_empty() || !self.more;
        is_last && is_list(&self.buckets) && is_list(&self.want.0) && is_list(&have.collect::<Vec<_>>())
    }
}

impl Ask {
    /// False for a question that nobody asks who means well.
    pub(crate) fn is_sound(&self) -> bool {
        is_list(&self.buckets) && is_list(&self.marks.0)
    }
}

/// In ascending order, none twice, and not too many.
fn is_list<T: Ord>(values: &[T]) -> bool {
    values.len() <= MAX_LISTED && values.is_sorted_by(|a, b| a < b)
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn name(record: &Record) -> Have {
    Have {
        mark: record.mark().to_be_bytes(),
        origin: record.key.origin.short(),
        kind: record.key.kind,
        subkey: record.key.subkey,
        epoch: record.version.epoch,
        counter: record.version.counter,
    }
}

/// What decides which of two records of one key is newer, but for the last eight bytes of their hashes.
fn version(have: &Have) -> (u64, u64, [u8; 8]) {
    (have.epoch, have.counter, have.mark)
}

#[cfg(test)]
mod tests;
