//! The records that came in last, by their marks, and which neighbours are known to have each.
//!
//! What a neighbour was sent, or showed us, it need not be shown again: in a mesh at rest, and on the links of
//! the tree, nothing is left to show.

use crate::Instant;
use crate::index::Index;
use crate::record::Record;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Records that are remembered at a time.
pub(crate) const MAX_RECENT: usize = 4096;
/// How long one is remembered: some pings must fit in.
pub(crate) const KEPT: Duration = Duration::from_secs(10);

/// One neighbour's bit in each entry. Neighbours beyond the number of bits have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// Some neighbours, by slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Had(u64);

impl Had {
    /// And this one.
    pub(crate) fn and(self, slot: Option<Slot>) -> Self {
        Self(self.0 | slot.map_or(0, Slot::bit))
    }
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    at: Instant,
    /// The neighbours that have it, by slot.
    had_by: u64,
}

/// A log of records: each has a number, one more than that before it.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    log: VecDeque<Entry>,
    /// The number of the oldest.
    first: u64,
    /// Positions by mark. Marks are hashes already: who makes some that meet, by many tries, slows down lookups among
    /// a few thousand.
    index: Index,
    slots: u64,
}

/// What the index knows of a number: so many bits, of which no two in the log have the same.
const POSITION: u64 = 0x00ff_ffff;

impl Recent {
    /// A bit for a neighbour, if one is free.
    pub(crate) fn take_slot(&mut self) -> Option<Slot> {
        let slot = self.slots.trailing_ones();
        (slot < u64::BITS).then(|| {
            self.slots |= 1 << slot;
            Slot(slot)
        })
    }

    /// That neighbour is gone.
    pub(crate) fn free_slot(&mut self, slot: Slot) {
        self.slots &= !slot.bit();
        for entry in &mut self.log {
            entry.had_by &= !slot.bit();
        }
    }

    /// A record was taken in.
    pub(crate) fn add(&mut self, now: Instant, record: &Arc<Record>, had_by: Had) {
        self.expire(now);
        if self.knows(record.mark()) {
            return;
        }
        if self.log.len() >= MAX_RECENT {
            self.drop_oldest();
        }
        let position = self.position(self.log.len());
        self.log.push_back(Entry {
            record: Arc::clone(record),
            at: now,
            had_by: had_by.0,
        });
        let (log, first) = (&self.log, self.first);
        self.index
            .insert(record.mark(), position, |other| mark_at(log, first, other));
    }

    /// The record with this mark, if it came in lately.
    pub(crate) fn get(&self, mark: u64) -> Option<&Arc<Record>> {
        self.log.get(self.find(mark)?).map(|entry| &entry.record)
    }

    /// True if this record came in lately, even if a newer one has replaced it since.
    pub(crate) fn knows(&self, mark: u64) -> bool {
        self.find(mark).is_some()
    }

    /// This neighbour has this record.
    pub(crate) fn had_by(&mut self, mark: u64, slot: Option<Slot>) {
        let (Some(slot), Some(at)) = (slot, self.find(mark)) else {
            return;
        };
        if let Some(entry) = self.log.get_mut(at) {
            entry.had_by |= slot.bit();
        }
    }

    fn find(&self, mark: u64) -> Option<usize> {
        let is = |position| mark_at(&self.log, self.first, position) == mark;
        let position = self.index.find(mark, is)?;
        Some(place(self.first, position))
    }

    /// The position of what stands at this place of the log, or will.
    fn position(&self, place: usize) -> u32 {
        ((self.first + place as u64) & POSITION) as u32
    }

    /// The number of the oldest mark.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next mark will have.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// The marks since this number which this neighbour is not known to have. True: those are not all.
    pub(crate) fn to_show(&self, since: u64, slot: Option<Slot>, most: usize) -> (Vec<u64>, bool) {
        let skip = usize::try_from(since.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let bit = slot.map_or(0, Slot::bit);
        let mut unseen = self.log.iter().skip(skip).filter(|entry| entry.had_by & bit == 0);
        let marks: Vec<u64> = unseen
            .by_ref()
            .take(most)
            .map(|entry| entry.record.mark())
            .collect();
        (marks, unseen.next().is_some() || since < self.first)
    }

    /// Forgets what came in too long ago, and the room that it took if nothing is left.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.log.front().is_some_and(|entry| now.since(entry.at) >= KEPT) {
            self.drop_oldest();
        }
        if self.log.is_empty() && self.log.capacity() > 0 {
            (self.log, self.index) = (VecDeque::new(), Index::default());
        }
    }

    fn drop_oldest(&mut self) {
        let position = self.position(0);
        let (log, first) = (&self.log, self.first);
        if let Some(entry) = log.front() {
            self.index
                .remove(entry.record.mark(), position, |other| mark_at(log, first, other));
            self.log.pop_front();
            self.first += 1;
        }
    }
}

/// Where in the log something stands that the index has at this position.
fn place(first: u64, position: u32) -> usize {
    (u64::from(position).wrapping_sub(first) & POSITION) as usize
}

/// The mark there.
fn mark_at(log: &VecDeque<Entry>, first: u64, position: u32) -> u64 {
    log.get(place(first, position))
        .map_or(0, |entry| entry.record.mark())
}

impl Slot {
    fn bit(self) -> u64 {
        1 << self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    fn numbered(counters: std::ops::Range<u64>) -> Vec<Arc<Record>> {
        counters
            .map(|counter| record(1, (9, 0), (1, counter), &[]))
            .collect()
    }

    fn marks(records: &[Arc<Record>]) -> Vec<u64> {
        records.iter().map(|record| record.mark()).collect()
    }

    #[test]
    fn each_neighbour_is_shown_what_it_lacks_and_told_when_that_is_not_all() {
        let mut recent = Recent::default();
        let (a, b) = (recent.take_slot(), recent.take_slot());
        assert_ne!(a, b);
        let records = numbered(0..5);
        for record in &records {
            recent.add(Instant(0), record, Had::default());
        }
        let marks = marks(&records);
        recent.had_by(marks[0], a);
        recent.had_by(99, a);
        assert_eq!(recent.to_show(0, a, 32), (marks[1..].to_vec(), false));
        assert_eq!(recent.to_show(0, b, 2), (marks[..2].to_vec(), true));
        assert_eq!(recent.to_show(3, b, 2), (marks[3..].to_vec(), false));
        assert_eq!(recent.to_show(recent.end(), None, 32), (vec![], false));
        assert_eq!(recent.get(marks[3]), Some(&records[3]));
        recent.free_slot(a.unwrap());
        assert_eq!(recent.take_slot(), a);
        assert_eq!(recent.to_show(0, a, 1), (vec![marks[0]], true));
        let (sent, more) = (numbered(5..6), Had::default().and(a).and(None));
        recent.add(Instant(0), &sent[0], more);
        assert_eq!(recent.to_show(5, a, 9), (vec![], false));
        assert_eq!(recent.to_show(5, b, 9), (vec![sent[0].mark()], false));
    }

    #[test]
    fn numbers_may_be_larger_than_what_the_index_keeps_of_them() {
        let mut recent = Recent {
            first: 5 * (POSITION + 1) - 3,
            ..Recent::default()
        };
        let records = numbered(0..6);
        for record in &records {
            recent.add(Instant(0), record, Had::default());
        }
        for record in &records {
            assert_eq!(recent.get(record.mark()), Some(record));
        }
        recent.drop_oldest();
        assert!(!recent.knows(records[0].mark()) && recent.knows(records[5].mark()));
        recent.expire(Instant(0) + KEPT);
        assert_eq!((recent.first(), recent.end()), (recent.first(), recent.first()));
        assert!(records.iter().all(|record| !recent.knows(record.mark())));
        assert_eq!(recent.log.capacity(), 0);
    }

    #[test]
    fn it_is_bounded_in_number_and_time() {
        let mut recent = Recent::default();
        let records = numbered(0..MAX_RECENT as u64 + 7);
        for record in &records {
            recent.add(Instant(0), record, Had::default());
        }
        let marks = marks(&records);
        assert!(!recent.knows(marks[6]) && recent.knows(marks[7]));
        assert_eq!(recent.to_show(0, None, 1), (vec![marks[7]], true));
        let late = record(2, (9, 0), (1, 1), &[]);
        recent.add(Instant(0) + KEPT, &late, Had::default());
        assert!(!recent.knows(marks[7]) && recent.knows(late.mark()));
        assert_eq!((recent.log.len(), recent.index.iter().count()), (1, 1));
        assert_eq!(
            recent.to_show(recent.end() - 1, None, 9),
            (vec![late.mark()], false)
        );
        let slots: Vec<_> = (0..70).map_while(|_| recent.take_slot()).collect();
        assert_eq!(slots.len(), 64);
    }
}
