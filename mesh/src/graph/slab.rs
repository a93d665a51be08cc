//! The two-way links of all known routers: one slab of packed entries, four bytes for each end of a link.
//!
//! Searches run over these entries alone; labels and MTUs stay in the shared records and are looked up only for
//! the few paths that are told. A router's entries lie together; a list that outgrows its room moves to the end,
//! and when holes make up a sixteenth of the slab, everything moves together again.

use crate::{Delay, Number};

/// Bits of an entry that hold the number of the other end.
const NUMBER_BITS: u32 = 17;
/// Routers that have a place here. The store takes in fewer; links with numbers above are not there.
pub(crate) const MAX_NUMBERS: usize = 1 << NUMBER_BITS;
const DATA: u32 = 1 << 30;
const LABEL: u32 = 1 << 31;

/// One end of a two-way link, as the router at this end tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u32);

impl Entry {
    /// A link to `to`; `data`: both ends have a data path, `label`: this end's label names the link.
    pub(crate) fn new(to: Number, delay: Delay, data: bool, label: bool) -> Self {
        let flags = if data { DATA } else { 0 } | if label { LABEL } else { 0 };
        Self(to.0 & Self::MASK | u32::from(delay.code()) << NUMBER_BITS | flags)
    }

    const MASK: u32 = (1 << NUMBER_BITS) - 1;

    /// The other end.
    pub(crate) fn to(self) -> Number {
        Number(self.0 & Self::MASK)
    }

    /// One-way delay from this end, in microseconds.
    pub(crate) fn delay_us(self) -> u32 {
        Delay::of_code((self.0 >> NUMBER_BITS) as u8).us()
    }

    /// True if both ends have a data path: broadcast may pass.
    pub(crate) fn carries_data(self) -> bool {
        self.0 & DATA != 0
    }

    /// True if this end relays data over it.
    pub(crate) fn relays(self) -> bool {
        self.0 & (DATA | LABEL) == DATA | LABEL
    }
}

/// The lists of all routers, by number.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    entries: Vec<Entry>,
    start: Vec<u32>,
    len: Vec<u16>,
    /// Entries that belong to nobody any more.
    holes: usize,
}

/// Entries that a list of this length has room for.
fn room(len: usize) -> usize {
    len.next_multiple_of(2)
}

impl Slab {
    /// Makes room for this many numbers.
    pub(crate) fn grow(&mut self, numbers: usize) {
        super::extend(&mut self.start, numbers.min(MAX_NUMBERS), 0);
        super::extend(&mut self.len, numbers.min(MAX_NUMBERS), 0);
    }

    /// The links of a router, in no particular order.
    pub(crate) fn list(&self, of: Number) -> &[Entry] {
        let (Some(&start), Some(&len)) = (self.start.get(of.index()), self.len.get(of.index())) else {
            return &[];
        };
        &self.entries[start as usize..][..usize::from(len)]
    }

    /// The end at `from` of its link with `to`.
    pub(crate) fn get(&self, from: Number, to: Number) -> Option<Entry> {
        self.list(from).iter().find(|entry| entry.to() == to).copied()
    }

    /// Adds an entry, or replaces the one with the same other end. False if it was there just so.
    pub(crate) fn set(&mut self, from: Number, entry: Entry) -> bool {
        if from.index() >= self.start.len() {
            return false;
        }
        let start = self.start[from.index()] as usize;
        let len = usize::from(self.len[from.index()]);
        let list = &mut self.entries[start..start + len];
        if let Some(old) = list.iter_mut().find(|old| old.to() == entry.to()) {
            return std::mem::replace(old, entry) != entry;
        }
        if len == usize::from(u16::MAX) {
            return false;
        }
        let at = if len < room(len) {
            start + len
        } else {
            self.move_to_end(from) + len
        };
        self.entries[at] = entry;
        self.len[from.index()] += 1;
        true
    }

    /// Removes the entry at `from` of its link with `to`; false if there was none.
    pub(crate) fn remove(&mut self, from: Number, to: Number) -> bool {
        let list = self.list(from);
        let Some(at) = list.iter().position(|entry| entry.to() == to) else {
            return false;
        };
        let len = list.len();
        let start = self.start[from.index()] as usize;
        self.entries.swap(start + at, start + len - 1);
        self.holes += room(len) - room(len - 1);
        self.len[from.index()] -= 1;
        true
    }

    /// Moves a full list to where there is room for one more entry; returns its new start.
    fn move_to_end(&mut self, from: Number) -> usize {
        if self.holes * 16 > self.entries.len() + 512 {
            self.compact();
        }
        let start = self.start[from.index()] as usize;
        let len = usize::from(self.len[from.index()]);
        let wanted = room(len + 1);
        super::reserve(&mut self.entries, wanted);
        let is_last = start + room(len) == self.entries.len();
        let new = if is_last { start } else { self.entries.len() };
        if !is_last {
            self.entries.extend_from_within(start..start + len);
            self.holes += room(len);
        }
        self.entries.resize(new + wanted, Entry(0));
        self.start[from.index()] = u32::try_from(new).unwrap_or(u32::MAX);
        new
    }

    /// Puts the lists together, in the order of their routers.
    fn compact(&mut self) {
        let used = self.len.iter().map(|&len| room(usize::from(len))).sum::<usize>();
        let mut entries = Vec::with_capacity(used + used / 16 + 16);
        for (start, &len) in self.start.iter_mut().zip(&self.len) {
            let old = &self.entries[*start as usize..][..usize::from(len)];
            *start = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            entries.extend_from_slice(old);
            entries.resize(entries.len().next_multiple_of(2), Entry(0));
        }
        self.entries = entries;
        self.holes = 0;
    }

    /// Bytes that all this takes.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * 4 + self.start.capacity() * 4 + self.len.capacity() * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn lists_are_what_was_put_in(steps in prop::collection::vec((0u32..6, 0u32..12, 0u8..4), 1..400)) {
            let mut slab = Slab::default();
            slab.grow(6);
            let mut model: BTreeMap<(u32, u32), Entry> = BTreeMap::new();
            for (from, to, what) in steps {
                let (from, to) = (Number(from), Number(to));
                if what == 0 {
                    prop_assert_eq!(slab.remove(from, to), model.remove(&(from.0, to.0)).is_some());
                } else {
                    let entry = Entry::new(to, Delay::from_us(u64::from(what) * 77), what == 1, what == 2);
                    prop_assert_eq!(entry.to(), to);
                    let is_new = model.insert((from.0, to.0), entry) != Some(entry);
                    prop_assert_eq!(slab.set(from, entry), is_new);
                }
                if what == 3 && to.0 == 0 {
                    slab.compact();
                }
            }
            for from in 0..6 {
                let mut list: Vec<_> = slab.list(Number(from)).to_vec();
                list.sort_by_key(|entry| entry.to());
                let expected: Vec<_> = model.range((from, 0)..(from + 1, 0)).map(|(_, entry)| *entry).collect();
                prop_assert_eq!(list, expected);
            }
        }
    }

    #[test]
    fn lists_that_come_and_go_leave_no_endless_holes() {
        let mut slab = Slab::default();
        slab.grow(100);
        for round in 0..200u32 {
            for from in 0..100 {
                for to in 0..8 {
                    slab.set(
                        Number(from),
                        Entry::new(Number((from + to + round) % 1000), Delay::from_us(1), true, true),
                    );
                }
            }
            for from in 0..100 {
                for to in 0..4 {
                    slab.remove(Number(from), Number((from + to + round) % 1000));
                }
                assert!(slab.list(Number(from)).len() >= 4);
            }
            for from in 0..100 {
                let list = slab.list(Number(from)).to_vec();
                for entry in list.iter().filter(|_| list.len() > 100) {
                    slab.remove(Number(from), entry.to());
                }
            }
        }
        let used: usize = (0..100).map(|from| slab.list(Number(from)).len()).sum();
        assert!(
            slab.entries.len() < used * 3 / 2 + 1024,
            "{} for {used}",
            slab.entries.len()
        );
    }
}
