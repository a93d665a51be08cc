//! Virtual time: the clock, and everything that is still to happen.

use mesh::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A clock that jumps from one planned event to the next. What is planned for the same instant happens in the
/// order in which it was planned.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    now: Instant,
    /// When, which in the order of planning, and where the event is kept.
    planned: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    count: u64,
}

impl<E> Clock<E> {
    /// A clock at zero with nothing planned.
    pub(crate) fn new() -> Self {
        Self {
            now: Instant(0),
            planned: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Plans an event. One in the past happens now.
    pub(crate) fn plan(&mut self, at: Instant, event: E) {
        self.count += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.planned.push(Reverse((at.max(self.now), self.count, place)));
    }

    /// Goes to the next event, if that is not later than `end`; else to `end`.
    pub(crate) fn next(&mut self, end: Instant) -> Option<E> {
        match self.planned.peek() {
            Some(&Reverse((at, _, place))) if at <= end => {
                self.planned.pop();
                self.free.push(place);
                self.now = at;
                self.events[place].take()
            }
            _ => {
                self.now = self.now.max(end);
                None
            }
        }
    }

    /// How much is planned.
    pub(crate) fn len(&self) -> usize {
        self.planned.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order() {
        let mut clock = Clock::new();
        for (at, event) in [(5, 'c'), (2, 'a'), (5, 'd'), (2, 'b'), (9, 'e')] {
            clock.plan(Instant(at), event);
        }
        let mut seen = String::new();
        while let Some(event) = clock.next(Instant(6)) {
            seen.push(event);
            if event == 'a' {
                clock.plan(Instant(0), 'x');
            }
        }
        assert_eq!(
            (seen.as_str(), clock.now(), clock.len()),
            ("abxcd", Instant(6), 1)
        );
    }
}
