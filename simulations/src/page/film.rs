//! What is seen of a run, moment after moment, kept as changes only.

use super::{LinkLife, State};
use std::collections::{BTreeMap, BTreeSet};

/// Changes kept, of links and states together. After that the film stands still, and says since when.
const MAX_CHANGES: usize = 2_000_000;

/// A run as it is being filmed.
#[derive(Debug, Clone, Default)]
pub struct Film {
    states: Vec<Vec<(u64, State)>>,
    links: BTreeMap<(u32, u32), Vec<u64>>,
    standing: BTreeSet<(u32, u32)>,
    last_ms: u64,
    changes: usize,
    stopped_ms: Option<u64>,
}

impl Film {
    /// How things are at this moment: each router's state, in the order of their numbers (new ones join at the end),
    /// and the links that stand. Moments come in order.
    pub fn look(&mut self, at_ms: u64, states: &[State], links: impl IntoIterator<Item = (u32, u32)>) {
        self.last_ms = self.last_ms.max(at_ms);
        if self.changes >= MAX_CHANGES {
            self.stopped_ms.get_or_insert(at_ms);
            return;
        }
        self.states
            .resize(self.states.len().max(states.len()), Vec::new());
        for (life, state) in self.states.iter_mut().zip(states) {
            if life.last().is_none_or(|(_, last)| last != state) {
                life.push((at_ms, *state));
                self.changes += 1;
            }
        }
        let now: BTreeSet<_> = links.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        for link in now.symmetric_difference(&self.standing) {
            self.links.entry(*link).or_default().push(at_ms);
            self.changes += 1;
        }
        self.standing = now;
    }

    /// At this moment all is as it was at the last look.
    pub fn pass(&mut self, at_ms: u64) {
        self.last_ms = self.last_ms.max(at_ms);
    }

    /// When it was last looked at.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Since when it shows no changes, if there were too many.
    #[must_use]
    pub fn stopped_ms(&self) -> Option<u64> {
        self.stopped_ms
    }

    /// Each router's states, with the time of each change.
    #[must_use]
    pub fn states(&self) -> &[Vec<(u64, State)>] {
        &self.states
    }

    /// All links that ever stood.
    pub fn links(&self) -> impl Iterator<Item = LinkLife> + '_ {
        self.links.iter().map(|(&(a, b), turns)| LinkLife {
            a,
            b,
            turns: turns.clone(),
        })
    }

    /// How many of the running routers are settled, in thousandths, with the time of each change.
    #[must_use]
    pub fn curve(&self) -> Vec<(u64, u16)> {
        let mut turns: BTreeMap<u64, [i64; 2]> = BTreeMap::new();
        for life in &self.states {
            let mut before = [0; 2];
            for (at, state) in life {
                let after = [
                    i64::from(*state != State::Down),
                    i64::from(*state == State::Settled),
                ];
                let turn = turns.entry(*at).or_default();
                (0..2).for_each(|which| turn[which] += after[which] - before[which]);
                before = after;
            }
        }
        let mut curve: Vec<(u64, u16)> = Vec::new();
        let [mut running, mut settled] = [0, 0];
        for (at, turn) in turns {
            (running, settled) = (running + turn[0], settled + turn[1]);
            let share = (settled * 1000)
                .checked_div(running)
                .and_then(|share| u16::try_from(share).ok());
            let share = share.unwrap_or(0);
            if curve.last().is_none_or(|(_, last)| *last != share) {
                curve.push((at, share));
            }
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Down, Settled, Unsettled};

    #[test]
    fn only_changes_are_kept() {
        let mut film = Film::default();
        film.look(0, &[Unsettled, Unsettled], [(1, 0)]);
        film.look(50, &[Unsettled, Settled], [(0, 1), (1, 0)]);
        film.look(100, &[Settled, Settled, Down], []);
        film.look(150, &[Settled, Settled, Unsettled], [(1, 2)]);
        assert_eq!(film.states()[1], [(0, Unsettled), (50, Settled)]);
        assert_eq!(film.states()[2], [(100, Down), (150, Unsettled)]);
        let links: Vec<_> = film.links().map(|link| (link.a, link.b, link.turns)).collect();
        assert_eq!(links, [(0, 1, vec![0, 100]), (1, 2, vec![150])]);
        assert_eq!(film.curve(), [(0, 0), (50, 500), (100, 1000), (150, 666)]);
        assert_eq!((film.last_ms(), film.stopped_ms()), (150, None));
    }

    #[test]
    fn nothing_runs_nothing_is_settled() {
        let mut film = Film::default();
        assert!(film.curve().is_empty());
        film.look(0, &[Down], []);
        assert_eq!(film.curve(), [(0, 0)]);
    }
}
