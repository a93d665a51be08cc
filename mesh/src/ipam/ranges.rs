//! Maps and sets of ranges of indices: what adjoins and is alike is one entry.

use std::collections::BTreeMap;
use std::collections::btree_map::Range as Entries;

/// A range of indices, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// From the first index up to, but without, `end`.
    pub(crate) const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// How many indices are in it.
    pub(crate) const fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// What both have.
    pub(crate) fn both(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// A value for each of some indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges<V> {
    entries: BTreeMap<u32, (u32, V)>,
    /// Starts of entries that came, changed or went; only if somebody wants to know.
    touched: Option<Vec<u32>>,
}

/// A set of indices.
pub(crate) type Set = Ranges<()>;

impl<V> Default for Ranges<V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            touched: None,
        }
    }
}

impl<V: Copy + PartialEq> Ranges<V> {
    /// From now on [`take_touched`](Self::take_touched) tells what changed.
    pub(crate) fn track(&mut self) {
        self.touched.get_or_insert_default();
    }

    /// The starts of entries that came, changed or went since the last call, each once.
    pub(crate) fn take_touched(&mut self) -> Vec<u32> {
        let mut touched = self.touched.as_mut().map(std::mem::take).unwrap_or_default();
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    fn touch(&mut self, start: u32) {
        if let Some(touched) = &mut self.touched {
            touched.push(start);
        }
    }

    /// The entry that starts here.
    pub(crate) fn starting(&self, start: u32) -> Option<(Span, V)> {
        let (end, value) = self.entries.get(&start)?;
        Some((Span::new(start, *end), *value))
    }

    /// The value of one index.
    pub(crate) fn get(&self, index: u32) -> Option<V> {
        let (_, (end, value)) = self.entries.range(..=index).next_back()?;
        (index < *end).then_some(*value)
    }

    /// Gives all indices in a range this value.
    pub(crate) fn set(&mut self, span: Span, value: V) {
        if span.is_empty() {
            return;
        }
        self.remove(span);
        let Span { mut start, mut end } = span;
        let before = self.entries.range(..start).next_back();
        if let Some((&at, _)) = before.filter(|(_, (until, other))| *until == start && *other == value) {
            self.entries.remove(&at);
            start = at;
        }
        let after = self.entries.get(&end).filter(|(_, other)| *other == value);
        if let Some(&(until, _)) = after {
            self.entries.remove(&end);
            self.touch(end);
            end = until;
        }
        self.entries.insert(start, (end, value));
        self.touch(start);
    }

    /// Takes a range out.
    pub(crate) fn remove(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        let before = self.entries.range_mut(..span.start).next_back();
        if let Some((&at, (end, value))) = before.filter(|(_, (end, _))| *end > span.start) {
            let (rest, value) = (*end, *value);
            *end = span.start;
            self.touch(at);
            if rest > span.end {
                self.entries.insert(span.end, (rest, value));
                self.touch(span.end);
            }
        }
        while let Some((&at, &(end, value))) = self.entries.range(span.start..span.end).next() {
            self.entries.remove(&at);
            self.touch(at);
            if end > span.end {
                self.entries.insert(span.end, (end, value));
                self.touch(span.end);
            }
        }
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) {
        self.remove(Span::new(0, u32::MAX));
    }

    /// True if no index has a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Span, V)> {
        let entry = |(start, (end, value)): (&u32, &(u32, V))| (Span::new(*start, *end), *value);
        self.entries.iter().map(entry)
    }

    /// What is in a range, cut to it.
    pub(crate) fn over(&self, span: Span) -> impl Iterator<Item = (Span, V)> {
        let before = self.entries.range(..span.start).next_back();
        let within: Option<Entries<'_, u32, (u32, V)>> =
            (!span.is_empty()).then(|| self.entries.range(span.start..span.end));
        let all = before.into_iter().chain(within.into_iter().flatten());
        let cut =
            move |(start, (end, value)): (&u32, &(u32, V))| (Span::new(*start, *end).both(span), *value);
        all.map(cut).filter(|(span, _)| !span.is_empty())
    }

    /// The parts of a range that have no value.
    pub(crate) fn gaps(&self, span: Span) -> Vec<Span> {
        let mut gaps = Vec::new();
        let mut at = span.start;
        for (entry, _) in self.over(span) {
            gaps.push(Span::new(at, entry.start));
            at = entry.end;
        }
        gaps.push(Span::new(at, span.end));
        gaps.retain(|gap| !gap.is_empty());
        gaps
    }
}

impl Set {
    /// Adds a range.
    pub(crate) fn add(&mut self, span: Span) {
        self.set(span, ());
    }

    /// True if the index is in it.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.get(index).is_some()
    }

    /// The ranges in order.
    pub(crate) fn spans(&self) -> impl DoubleEndedIterator<Item = Span> {
        self.iter().map(|(span, ())| span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_map_of_ranges_is_a_map(ops in prop::collection::vec((any::<bool>(), 0..64_u32, 0..64_u32, 0..3_u8), 0..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeMap::new());
            ranges.track();
            let mut shadow: BTreeMap<u32, (Span, u8)> = BTreeMap::new();
            for (set, start, end, value) in ops {
                let span = Span::new(start, end);
                if set {
                    ranges.set(span, value);
                } else {
                    ranges.remove(span);
                }
                for index in start..end {
                    if set { model.insert(index, value); } else { model.remove(&index); }
                }
                for at in ranges.take_touched() {
                    match ranges.starting(at) {
                        Some(entry) => drop(shadow.insert(at, entry)),
                        None => drop(shadow.remove(&at)),
                    }
                }
                prop_assert!(shadow.values().copied().eq(ranges.iter()), "what was touched is all that changed");
            }
            for index in 0..64 {
                prop_assert_eq!(ranges.get(index), model.get(&index).copied());
            }
            let all: Vec<_> = ranges.iter().collect();
            prop_assert!(all.iter().all(|(span, _)| !span.is_empty()));
            for pair in all.windows(2) {
                prop_assert!(pair[0].0.end < pair[1].0.start || pair[0].1 != pair[1].1);
            }
            for (start, end) in [(0, 64), (5, 40), (30, 30), (40, 5)] {
                let span = Span::new(start, end);
                let seen: Vec<_> = ranges.over(span).flat_map(|(s, v)| (s.start..s.end).map(move |i| (i, v))).collect();
                let expected: Vec<_> = (start..end).filter_map(|i| model.get(&i).map(|v| (i, *v))).collect();
                prop_assert_eq!(seen, expected);
                let gaps: u32 = ranges.gaps(span).iter().map(|gap| gap.len()).sum();
                prop_assert_eq!(gaps as usize, (start..end).filter(|i| !model.contains_key(i)).count());
            }
        }
    }
}
