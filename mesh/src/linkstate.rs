//! When this router tells the mesh of its links anew.
//!
//! Everything told goes to every router of the mesh, so one change is told at once, and while more keep coming they
//! are told together, ever more of them: after 200 ms, 400 ms … 5 s. What ceased to work is told sooner than what
//! came. Costs waver: a change counts only if it is large and lasts, and is told at most once in five seconds.

use crate::{Adjacency, Instant, ShortId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a cost must differ before it is told, and least time between two such tellings.
const PACE: Duration = Duration::from_secs(5);
/// A smaller difference of delay is none, in microseconds.
const LEAST_US: u32 = 2000;

/// Least time between two tellings, while changes keep coming: for what came …
const GAINED: [u32; 6] = [200, 400, 800, 1600, 3200, 5000];
/// … and for what went, in milliseconds.
const LOST: [u32; 6] = [50, 50, 200, 400, 800, 1600];
/// Without any telling for this long, or for so many times the last wait, the next one is told at once.
const CALM: Duration = Duration::from_secs(1);
const CALM_WAITS: u32 = 3;

/// What was told, and since when it is wrong.
#[derive(Debug, Default)]
pub(crate) struct LinkStates {
    told: BTreeMap<ShortId, Told>,
    told_at: Option<Instant>,
    /// Which of the waits is next; tellings since it was calm.
    level: usize,
    drifts: BTreeMap<ShortId, Instant>,
    due: Option<Instant>,
    /// What was told last does not matter any more.
    must: bool,
    /// Something happened that may have changed what there is to tell.
    stirred: bool,
}

#[derive(Debug, Clone)]
struct Told {
    adjacency: Adjacency,
    was_measured: bool,
}

impl LinkStates {
    /// Tell everything at the next look.
    pub(crate) fn renew(&mut self) {
        self.must = true;
        self.stirred = true;
    }

    /// Something happened that may have changed what there is to tell.
    pub(crate) fn stir(&mut self) {
        self.stirred = true;
    }

    /// True if it is time to look. Most inputs are others' records, which change nothing here.
    pub(crate) fn take_stir(&mut self, now: Instant) -> bool {
        std::mem::take(&mut self.stirred) || self.due.is_some_and(|due| due <= now)
    }

    /// Looks whether the links now are to be told; the flag of each says if its delay is measured. `more`: when there
    /// may be further ones.
    pub(crate) fn is_due(
        &mut self,
        now: Instant,
        links: &[(Adjacency, bool)],
        more: Option<Instant>,
    ) -> bool {
        let (mut gained, mut kept, mut lost) = (false, 0, false);
        let mut drifted: Option<Instant> = None;
        for (is, is_measured) in links {
            let Some(told) = self.told.get(&is.neighbor) else {
                gained = true;
                continue;
            };
            let was = &told.adjacency;
            kept += 1;
            lost |= was.label != is.label || is.mtu < was.mtu;
            gained |= is.mtu > was.mtu;
            if differs(was.delay_us(), is.delay_us()) {
                gained |= *is_measured && !told.was_measured;
                let since = *self.drifts.entry(is.neighbor).or_insert(now);
                drifted = Some(drifted.map_or(since, |other| other.min(since)));
            } else {
                self.drifts.remove(&is.neighbor);
            }
        }
        lost |= kept < self.told.len();
        let wait = |ms: u32| Duration::from_millis(u64::from(ms));
        let waits = [
            self.must.then_some(Duration::ZERO),
            lost.then(|| wait(LOST[self.level])),
            gained.then(|| wait(GAINED[self.level])),
        ];
        let after = |wait: Duration| {
            self.told_at
                .filter(|_| !self.is_calm(now))
                .map_or(now, |at| at + wait)
        };
        let changed = waits.into_iter().flatten().map(after).min();
        let drifted = drifted.map(|since| (since + PACE).max(self.told_at.map_or(now, |at| at + PACE)));
        self.due = changed.into_iter().chain(drifted).chain(more).min();
        changed.into_iter().chain(drifted).any(|due| due <= now)
    }

    /// True if nothing was told for so long that the next change is a first one.
    fn is_calm(&self, now: Instant) -> bool {
        let last = self.level.saturating_sub(1);
        let calm = CALM.max(Duration::from_millis(u64::from(GAINED[last])) * CALM_WAITS);
        self.told_at.is_none_or(|at| now.since(at) >= calm)
    }

    /// These links are told now.
    pub(crate) fn tell(&mut self, now: Instant, links: &[(Adjacency, bool)]) {
        let told = |(adjacency, was_measured): &(Adjacency, bool)| {
            (
                adjacency.neighbor,
                Told {
                    adjacency: adjacency.clone(),
                    was_measured: *was_measured,
                },
            )
        };
        self.told = links.iter().map(told).collect();
        self.level = if self.is_calm(now) {
            0
        } else {
            (self.level + 1).min(GAINED.len() - 1)
        };
        self.told_at = Some(now);
        self.drifts.clear();
        self.due = None;
        self.must = false;
    }

    /// True if a link with this neighbour is among those told.
    pub(crate) fn tells(&self, neighbor: ShortId) -> bool {
        self.told.contains_key(&neighbor)
    }

    /// How many links are told.
    pub(crate) fn count(&self) -> usize {
        self.told.len()
    }

    /// When to look again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }
}

/// More than an eighth and more than 2 ms.
pub(crate) fn differs(was: u32, is: u32) -> bool {
    let difference = was.abs_diff(is);
    difference > LEAST_US && u64::from(difference) * 8 > u64::from(was)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::id;
    use crate::{Delay, LinkLabel};

    fn link(delay_us: u64, mtu: u16) -> Vec<(Adjacency, bool)> {
        vec![(
            Adjacency {
                neighbor: id(1).short(),
                label: LinkLabel(1),
                delay: Delay::from_us(delay_us),
                mtu,
            },
            true,
        )]
    }

    #[test]
    fn small_or_short_changes_are_not_told() {
        let at = |s: u64| Instant(s * 1_000_000);
        let mut states = LinkStates::default();
        assert!(states.is_due(at(0), &link(10_000, 0), None));
        states.tell(at(0), &link(10_000, 0));
        assert!(!states.is_due(at(60), &link(11_000, 0), None));
        assert_eq!(states.next_timeout(), None);
        assert!(!states.is_due(at(61), &link(13_000, 0), None));
        assert!(!states.is_due(at(63), &link(10_000, 0), None), "it went away");
        assert!(!states.is_due(at(64), &link(13_000, 0), None));
        assert_eq!(states.next_timeout(), Some(at(69)));
        assert!(states.is_due(at(69), &link(13_000, 0), None));
        states.tell(at(69), &link(13_000, 0));
        assert!(states.is_due(at(70), &link(13_000, 1400), None), "data passes");
        assert!(states.is_due(at(70), &[], None), "gone");
    }

    /// When links are told, in milliseconds, if one more link comes every hundred.
    fn tellings(from: u64, to: u64, states: &mut LinkStates) -> Vec<u64> {
        let mut tellings = Vec::new();
        for ms in from..to {
            let links: Vec<_> = (0..=ms / 100)
                .map(|n| link_with(u8::try_from(n).unwrap()))
                .collect();
            let now = Instant(ms * 1000);
            if states.is_due(now, &links, None) {
                states.tell(now, &links);
                tellings.push(ms);
            }
        }
        tellings
    }

    #[test]
    fn many_changes_are_told_together() {
        let mut states = LinkStates::default();
        assert_eq!(
            tellings(0, 20_000, &mut states),
            [0, 200, 600, 1400, 3000, 6200, 11_200, 16_200],
        );
        // When it has been calm for long enough, the next is a first one again.
        let links: Vec<_> = (0..3).map(link_with).collect();
        let later = Instant(40_000_000);
        assert!(states.is_due(later, &links, None));
        states.tell(later, &links);
        let soon = later + Duration::from_millis(50);
        assert!(states.is_due(soon, &links[..2], None), "what went is told sooner");
        assert!(!states.is_due(soon, &(0..4).map(link_with).collect::<Vec<_>>(), None));
        assert_eq!(states.next_timeout(), Some(later + Duration::from_millis(200)));
    }

    #[test]
    fn one_looks_again_when_there_may_be_more() {
        let mut states = LinkStates::default();
        states.tell(Instant(0), &link(10_000, 0));
        let more = Some(Instant(7));
        assert!(!states.is_due(Instant(5), &link(10_000, 0), more));
        assert_eq!(states.next_timeout(), more);
        states.take_stir(Instant(5));
        assert!(!states.take_stir(Instant(6)) && states.take_stir(Instant(7)));
    }

    fn link_with(n: u8) -> (Adjacency, bool) {
        (
            Adjacency {
                neighbor: id(n).short(),
                label: LinkLabel(1),
                delay: Delay::from_us(1000),
                mtu: 0,
            },
            true,
        )
    }
}
