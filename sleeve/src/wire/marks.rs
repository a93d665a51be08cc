//! Failed links as a relay header names them (after Lakshminarayanan et al., "Achieving Convergence-Free Routing
//! using Failure-Carrying Packets", SIGCOMM 2007).
//!
//! A mark is four bytes made of both ends' short ids: enough to tell whether a path leads over that link, for
//! whoever knows the path. Two links with one mark (one pair in four thousand million) cost a way that could have
//! been used, nothing else.

use mesh::ShortId;

/// Most marks one header carries.
pub const MAX_MARKS: usize = 8;

/// A link, whichever way it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(pub u32);

impl Mark {
    /// The mark of the link between two routers.
    #[must_use]
    pub fn of(one: ShortId, other: ShortId) -> Self {
        let mixed = mix(one) ^ mix(other);
        Self((mixed >> 32) as u32)
    }
}

/// The finaliser of splitmix64: short ids that differ in few bits shall not cancel each other out.
fn mix(short: ShortId) -> u64 {
    let mut z = u64::from_be_bytes(short.0).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The marks of one header, in the order in which they were added.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    count: u8,
    marks: [u32; MAX_MARKS],
}

impl PartialEq for Marks {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl Eq for Marks {}

impl Marks {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.into()
    }

    /// Whether this link is marked.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.words().contains(&mark.0)
    }

    /// Whether any link of a path is marked.
    #[must_use]
    pub fn meet(&self, path: &[Mark]) -> bool {
        self.count > 0 && path.iter().any(|mark| self.has(*mark))
    }

    /// Adds one. False if there is no room for it.
    #[must_use]
    pub fn add(&mut self, mark: Mark) -> bool {
        let Some(place) = self.marks.get_mut(usize::from(self.count)) else {
            return false;
        };
        *place = mark.0;
        self.count += 1;
        true
    }

    /// As they are written.
    pub(super) fn words(&self) -> &[u32] {
        &self.marks[..usize::from(self.count)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn links_have_marks_of_their_own() {
        let ids: Vec<_> = (0..100).map(|n| ShortId([n; 8])).collect();
        let pairs = || (0..100).flat_map(|a| (0..a).map(move |b| (a, b)));
        let marks: BTreeSet<_> = pairs().map(|(a, b)| Mark::of(ids[a], ids[b]).0).collect();
        assert_eq!(marks.len(), pairs().count());
        assert!(pairs().all(|(a, b)| Mark::of(ids[a], ids[b]) == Mark::of(ids[b], ids[a])));
    }

    #[test]
    fn a_ninth_mark_finds_no_room() {
        let mut marks = Marks::default();
        assert!(!marks.meet(&[Mark(0)]));
        assert!((0..8).all(|n| marks.add(Mark(n))));
        assert!(!marks.add(Mark(8)) && marks.count() == 8);
        assert!(marks.meet(&[Mark(9), Mark(7)]) && !marks.meet(&[Mark(8), Mark(9)]));
    }
}
