//! Marks that neighbours showed and whose records are not here: asked for if they don't come by themselves.

use crate::{Instant, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a record may still come along the tree before it is asked for.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);
/// How long one that was asked may take before another is.
const ANSWER: Duration = Duration::from_millis(700);
/// Marks that one neighbour was the first to show, at a time; a few pings' worth.
pub(crate) const MAX_PER_SOURCE: usize = 128;
/// All marks at a time.
pub(crate) const MAX_MISSING: usize = 4096;
/// Neighbours remembered for each mark.
const MAX_SOURCES: usize = 4;

#[derive(Debug)]
struct Wanted {
    /// Who showed it first.
    first: PeerId,
    /// Who has it and was not asked yet, in the order in which they showed it.
    sources: Vec<PeerId>,
    asked: Option<PeerId>,
    next: Instant,
}

/// What is missing.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    marks: BTreeMap<u64, Wanted>,
    queue: BTreeSet<(Instant, u64)>,
    shares: BTreeMap<PeerId, usize>,
}

impl Missing {
    /// A neighbour showed a mark that is unknown here. False if there is no room for it.
    pub(crate) fn shown(&mut self, now: Instant, mark: u64, by: PeerId) -> bool {
        if let Some(wanted) = self.marks.get_mut(&mark) {
            if wanted.sources.len() < MAX_SOURCES && wanted.asked != Some(by) && !wanted.sources.contains(&by)
            {
                wanted.sources.push(by);
            }
            return true;
        }
        let share = self.shares.entry(by).or_default();
        if *share >= MAX_PER_SOURCE || self.marks.len() >= MAX_MISSING {
            return false;
        }
        *share += 1;
        let next = now + PATIENCE;
        self.queue.insert((next, mark));
        let wanted = Wanted {
            first: by,
            sources: vec![by],
            asked: None,
            next,
        };
        self.marks.insert(mark, wanted);
        true
    }

    /// The record came. Returns who was asked for it.
    pub(crate) fn arrived(&mut self, mark: u64) -> Option<PeerId> {
        if self.marks.is_empty() {
            return None;
        }
        self.remove(mark)?.asked
    }

    fn remove(&mut self, mark: u64) -> Option<Wanted> {
        let wanted = self.marks.remove(&mark)?;
        self.queue.remove(&(wanted.next, mark));
        if let Some(share) = self.shares.get_mut(&wanted.first) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&wanted.first);
            }
        }
        Some(wanted)
    }

    /// What to ask for now, and of whom. `has_link` tells which neighbours are still there. Marks that nobody is
    /// left to be asked for are given up.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        has_link: impl Fn(&PeerId) -> bool,
    ) -> BTreeMap<PeerId, Vec<u64>> {
        let mut asks: BTreeMap<PeerId, Vec<u64>> = BTreeMap::new();
        while let Some((_, mark)) = self.queue.first().filter(|(at, _)| *at <= now).copied() {
            self.queue.pop_first();
            let Some(wanted) = self.marks.get_mut(&mark) else {
                continue;
            };
            wanted.sources.retain(&has_link);
            if wanted.sources.is_empty() {
                self.remove(mark);
                continue;
            }
            let source = wanted.sources.remove(0);
            wanted.asked = Some(source);
            wanted.next = now + ANSWER;
            self.queue.insert((wanted.next, mark));
            asks.entry(source).or_default().push(mark);
        }
        asks
    }

    /// When to look again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::id;

    #[test]
    fn first_it_is_waited_for_then_one_after_the_other_is_asked() {
        let mut missing = Missing::default();
        let mut now = Instant(0);
        for n in [1, 2, 2, 3] {
            assert!(missing.shown(now, 7, id(n)));
        }
        assert!(missing.due(now, |_| true).is_empty());
        for n in [1, 3] {
            now = missing.next_timeout().unwrap();
            let asks = missing.due(now, |peer| *peer != id(2));
            assert_eq!(asks.into_iter().collect::<Vec<_>>(), [(id(n), vec![7])]);
        }
        assert_eq!(missing.arrived(8), None);
        assert_eq!(missing.arrived(7), Some(id(3)));
        assert_eq!((missing.next_timeout(), missing.shares.len()), (None, 0));
        missing.shown(now, 9, id(1));
        assert!(missing.due(now + ANSWER, |_| false).is_empty());
        assert_eq!(
            (missing.len(), missing.shares.len()),
            (0, 0),
            "nobody is left to be asked"
        );
    }

    #[test]
    fn marks_of_nothing_take_no_room_from_others() {
        let mut missing = Missing::default();
        let taken = (0..5000)
            .filter(|mark| missing.shown(Instant(0), *mark, id(1)))
            .count();
        assert_eq!(taken, MAX_PER_SOURCE);
        assert!(missing.shown(Instant(0), 9999, id(2)));
        let mut now = Instant(0);
        while let Some(at) = missing.next_timeout() {
            now = at;
            missing.due(now, |_| true);
        }
        assert!(now <= Instant(0) + PATIENCE + ANSWER, "given up");
    }
}
