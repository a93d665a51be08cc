//! What this router owns: which addresses are free, in which order they are given out, who has the others.
//!
//! Addresses that nobody had come first, in ascending order; those that were freed come after all others, the one
//! that was freed longest ago first.

use super::ranges::{Set, Span};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Free and used addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Space {
    /// Owned and free, and never used.
    fresh: Set,
    /// Owned and free again, oldest first, each with its number.
    freed: VecDeque<(u64, u32)>,
    /// Those, in order. What is in the queue and not in here was taken out of its turn.
    freed_set: BTreeSet<u32>,
    next: u64,
    /// Who has what, owned or not. One holder may have several.
    used: BTreeMap<u32, String>,
    holders: BTreeSet<(String, u32)>,
    /// How many are in `fresh`.
    fresh_len: u32,
}

impl Space {
    /// How many addresses could be given out.
    pub(crate) fn free(&self) -> u32 {
        self.fresh_len + u32::try_from(self.freed_set.len()).unwrap_or(u32::MAX)
    }

    /// What nobody ever had, in order.
    pub(crate) fn fresh(&self) -> impl Iterator<Item = Span> {
        self.fresh.spans()
    }

    /// Who has which address.
    pub(crate) fn used(&self) -> &BTreeMap<u32, String> {
        &self.used
    }

    /// What a holder has.
    pub(crate) fn of(&self, holder: &str) -> Option<u32> {
        let from = (holder.to_owned(), 0);
        let (found, index) = self.holders.range(from..).next()?;
        (found == holder).then_some(*index)
    }

    /// A range is owned from now on.
    pub(crate) fn gain(&mut self, span: Span) {
        let mut at = span.start;
        let taken: Vec<u32> = self
            .used
            .range(span.start..span.end)
            .map(|(index, _)| *index)
            .collect();
        for index in taken.into_iter().chain([span.end]) {
            for gap in self.fresh.gaps(Span::new(at, index)) {
                self.fresh_len += gap.len();
            }
            self.fresh.add(Span::new(at, index));
            at = index + 1;
        }
    }

    /// A range is no longer owned. Who has an address in it keeps it.
    pub(crate) fn lose(&mut self, span: Span) {
        self.fresh_len -= self.fresh.over(span).map(|(part, ())| part.len()).sum::<u32>();
        self.fresh.remove(span);
        let freed: Vec<u32> = self.freed_set.range(span.start..span.end).copied().collect();
        for index in &freed {
            self.freed_set.remove(index);
        }
        // All at once: each by itself would look through all of them.
        self.freed
            .retain(|(_, index)| !(span.start..span.end).contains(index));
    }

    fn unqueue(&mut self, index: u32) {
        self.freed_set.remove(&index);
        // Found near the front when it is given out; elsewhere only while ranges change hands.
        if let Some(at) = self.freed.iter().position(|(_, other)| *other == index) {
            self.freed.remove(at);
        }
    }

    /// The address to give out next, none of those to avoid.
    pub(crate) fn next(&self, avoid: &Set, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
        let fresh = self
            .fresh
            .spans()
            .flat_map(|span| avoid.gaps(span))
            .flat_map(|span| span.start..span.end);
        let freed = self
            .freed
            .iter()
            .map(|(_, index)| *index)
            .filter(|index| !avoid.has(*index));
        fresh.chain(freed).find(|index| !is_taken(*index))
    }

    /// True if this address could be given out.
    pub(crate) fn is_free(&self, index: u32) -> bool {
        self.fresh.has(index) || self.freed_set.contains(&index)
    }

    /// Somebody has this address from now on.
    pub(crate) fn take(&mut self, index: u32, holder: &str) {
        if self.fresh.has(index) {
            self.fresh_len -= 1;
            self.fresh.remove(Span::new(index, index + 1));
        }
        if self.freed_set.contains(&index) {
            self.unqueue(index);
        }
        self.used.insert(index, holder.to_owned());
        self.holders.insert((holder.to_owned(), index));
    }

    /// Nobody has this address any more; if it is owned, it is the last to be given out again. True if somebody had it.
    pub(crate) fn release(&mut self, index: u32, is_owned: bool) -> bool {
        let Some(holder) = self.used.remove(&index) else {
            return false;
        };
        self.holders.remove(&(holder, index));
        if is_owned {
            self.freed.push_back((self.next, index));
            self.freed_set.insert(index);
            self.next += 1;
        }
        true
    }

    /// An address that was freed in an earlier run, by its number then. It is no longer fresh.
    pub(crate) fn restore_freed(&mut self, number: u64, index: u32) {
        if self.fresh.has(index) {
            self.fresh_len -= 1;
            self.fresh.remove(Span::new(index, index + 1));
            self.freed.push_back((number, index));
            self.freed_set.insert(index);
        }
        self.next = self.next.max(number + 1);
    }

    /// The number of an address that was freed last.
    pub(crate) fn last_freed(&self) -> Option<(u64, u32)> {
        self.freed.back().copied()
    }

    /// The numbers of freed addresses in a range.
    pub(crate) fn freed_in(&self, span: Span) -> Vec<u64> {
        if self.freed_set.range(span.start..span.end).next().is_none() {
            return Vec::new();
        }
        let within = |(_, index): &&(u64, u32)| span.start <= *index && *index < span.end;
        self.freed
            .iter()
            .filter(within)
            .map(|(number, _)| *number)
            .collect()
    }

    /// A range to give away: the upper half of the longest that is free, but no more than half of all that is, and
    /// never the last address.
    pub(crate) fn half(&self, avoid: &Set, all_but: u32) -> Option<Span> {
        let most = self.free() / 2;
        let longest = |spans: &mut dyn Iterator<Item = Span>| {
            spans
                .flat_map(|span| avoid.gaps(span))
                .max_by_key(|span| (span.len(), span.start))
        };
        let mut freed = Set::default();
        let fresh = longest(&mut self.fresh.spans());
        let span = match fresh {
            Some(span) => span,
            None => {
                self.freed_set
                    .iter()
                    .for_each(|index| freed.add(Span::new(*index, index + 1)));
                longest(&mut freed.spans())?
            }
        };
        let len = span.len().div_ceil(2).min(most).min(all_but);
        (len > 0).then(|| Span::new(span.end - len, span.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: u32) -> bool {
        false
    }

    fn span(start: u32, end: u32) -> Span {
        Span::new(start, end)
    }

    #[test]
    fn freed_addresses_come_last_and_in_their_order() {
        let (mut space, avoid) = (Space::default(), Set::default());
        space.gain(span(10, 14));
        for (at, holder) in [(10, "a"), (11, "b"), (12, "c")] {
            assert_eq!(space.next(&avoid, none), Some(at));
            space.take(at, holder);
        }
        assert!(space.release(11, true) && space.release(10, true) && !space.release(10, true));
        assert_eq!(space.free(), 3);
        for at in [13, 11, 10] {
            assert_eq!(space.next(&avoid, none), Some(at));
            space.take(at, "x");
        }
        assert_eq!((space.next(&avoid, none), space.free()), (None, 0));
        assert_eq!(
            (space.of("c"), space.of("a"), space.of("x")),
            (Some(12), None, Some(10))
        );
    }

    #[test]
    fn what_is_avoided_or_taken_is_passed_over() {
        let (mut space, mut avoid) = (Space::default(), Set::default());
        space.gain(span(0, 100));
        avoid.add(span(0, 50));
        assert_eq!(space.next(&avoid, |index| index < 60), Some(60));
        assert_eq!(space.next(&avoid, |_| true), None);
    }

    #[test]
    fn what_is_used_stays_used_whoever_owns_it() {
        let mut space = Space::default();
        space.gain(span(0, 10));
        space.take(3, "a");
        space.lose(span(0, 5));
        assert_eq!((space.free(), space.used().len()), (5, 1));
        space.gain(span(0, 5));
        assert_eq!(space.free(), 9);
        space.gain(span(0, 10));
        assert_eq!((space.free(), space.is_free(3)), (9, false));
        space.lose(span(0, 10));
        assert!(space.release(3, false));
        assert_eq!((space.free(), space.is_free(3)), (0, false));
    }

    #[test]
    fn half_is_given_and_one_is_kept() {
        let (mut space, avoid) = (Space::default(), Set::default());
        space.gain(span(0, 16));
        assert_eq!(space.half(&avoid, 100), Some(span(8, 16)));
        assert_eq!(space.half(&avoid, 2), Some(span(14, 16)));
        space.lose(span(1, 16));
        assert_eq!(space.half(&avoid, 100), None);
        space.gain(span(1, 4));
        (0..4).for_each(|index| space.take(index, "x"));
        assert!((1..4).all(|index| space.release(index, true)));
        assert_eq!(
            space.half(&avoid, 100),
            Some(span(3, 4)),
            "also of what was freed"
        );
    }
}
