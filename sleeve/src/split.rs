//! Frames too big for their path: sent as exactly two sealed datagrams, put together here.
//!
//! The table is bounded in number and time: at most [`ENTRIES`] frames wait, each at most [`PATIENCE`]. Its buffers
//! are kept and used again, so that a table in use no longer allocates.

use crate::wire::inner::Half;
use mesh::{DropReason, Drops, Instant, PeerId};
use std::time::Duration;

/// Most frames whose other half is waited for.
pub const ENTRIES: usize = 64;
/// How long the other half is waited for.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Halves whose other half has not come yet.
#[derive(Debug, Default)]
pub struct Reassembly {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// `None`: free.
    waiting: Option<Waiting>,
    part: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    peer: PeerId,
    id: u32,
    second: bool,
    since: Instant,
}

impl Reassembly {
    /// Takes one half from `peer`. When it is the one that was missing, the whole plaintext is written into
    /// `whole` and true is returned. What is thrown away is counted.
    pub fn take(
        &mut self,
        now: Instant,
        peer: &PeerId,
        half: Half<'_>,
        whole: &mut Vec<u8>,
        drops: &Drops,
    ) -> bool {
        self.expire(now, drops);
        let same = |entry: &&mut Entry| entry.waiting.is_some_and(|w| w.id == half.id && w.peer == *peer);
        let Some(entry) = self.entries.iter_mut().find(same) else {
            self.keep(now, peer, half, drops);
            return false;
        };
        if entry.waiting.is_some_and(|waiting| waiting.second == half.second) {
            drops.count(DropReason::Replayed);
            return false;
        }
        entry.waiting = None;
        let (first, second) = if half.second {
            (&entry.part[..], half.part)
        } else {
            (half.part, &entry.part[..])
        };
        whole.clear();
        whole.extend_from_slice(first);
        whole.extend_from_slice(second);
        true
    }

    /// Gives up on halves that waited too long.
    pub fn expire(&mut self, now: Instant, drops: &Drops) {
        for entry in &mut self.entries {
            if entry
                .waiting
                .is_some_and(|waiting| now.since(waiting.since) >= PATIENCE)
            {
                entry.waiting = None;
                drops.count(DropReason::ReassemblyTimeout);
            }
        }
    }

    fn keep(&mut self, now: Instant, peer: &PeerId, half: Half<'_>, drops: &Drops) {
        let free = self.entries.iter().position(|entry| entry.waiting.is_none());
        let place = match free {
            Some(place) => place,
            None if self.entries.len() < ENTRIES => {
                self.entries.push(Entry {
                    waiting: None,
                    part: Vec::new(),
                });
                self.entries.len() - 1
            }
            // Full: the one that waited longest is the least likely to be completed.
            None => {
                drops.count(DropReason::Overflow);
                let oldest = self
                    .entries
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, entry)| entry.waiting.map(|w| w.since));
                oldest.map_or(0, |(place, _)| place)
            }
        };
        let entry = &mut self.entries[place];
        entry.waiting = Some(Waiting {
            peer: *peer,
            id: half.id,
            second: half.second,
            since: now,
        });
        entry.part.clear();
        entry.part.extend_from_slice(half.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);

    fn half(id: u32, second: bool, part: &[u8]) -> Half<'_> {
        Half { id, second, part }
    }

    #[test]
    fn either_order_makes_the_whole() {
        let (mut table, drops, mut whole) = (Reassembly::default(), Drops::default(), Vec::new());
        for second_first in [false, true] {
            let parts: [&[u8]; 2] = if second_first { [&[2], &[1]] } else { [&[1], &[2]] };
            let (x, y) = (half(7, second_first, parts[0]), half(7, !second_first, parts[1]));
            assert!(!table.take(Instant(0), &A, x, &mut whole, &drops));
            assert!(
                !table.take(Instant(0), &B, y, &mut whole, &drops),
                "another router's half"
            );
            assert!(table.take(Instant(0), &A, y, &mut whole, &drops));
            assert_eq!(whole, [1, 2]);
            assert!(table.take(Instant(0), &B, x, &mut whole, &drops));
        }
        assert_eq!(drops.nonzero().count(), 0);
    }

    #[test]
    fn duplicates_and_latecomers_are_counted() {
        let (mut table, drops, mut whole) = (Reassembly::default(), Drops::default(), Vec::new());
        assert!(!table.take(Instant(0), &A, half(1, false, &[1]), &mut whole, &drops));
        assert!(!table.take(Instant(1), &A, half(1, false, &[1]), &mut whole, &drops));
        assert_eq!(drops.get(DropReason::Replayed), 1);
        assert!(!table.take(Instant(0) + PATIENCE, &A, half(1, true, &[2]), &mut whole, &drops));
        assert_eq!(drops.get(DropReason::ReassemblyTimeout), 1);
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut table, drops, mut whole) = (Reassembly::default(), Drops::default(), Vec::new());
        for id in 0..200 {
            table.take(Instant(id.into()), &A, half(id, false, &[1]), &mut whole, &drops);
        }
        assert_eq!(table.entries.len(), ENTRIES);
        assert_eq!(drops.get(DropReason::Overflow), 200 - ENTRIES as u64);
        assert!(
            table.take(Instant(200), &A, half(199, true, &[2]), &mut whole, &drops),
            "the newest are kept"
        );
    }
}
