//! When this router tells the mesh of its links anew.
//!
//! At once when a link comes or goes, or when data can or can no longer pass one; when many do, the first is told
//! at once and the rest a moment later together, because everything told goes over every link of the mesh. Costs
//! waver: a change counts only if it is large and lasts, and is told at most once in five seconds.

use crate::{Adjacency, Instant, ShortId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a cost must differ before it is told, and least time between two such tellings.
const PACE: Duration = Duration::from_secs(5);
/// A smaller difference of delay is none, in microseconds.
const LEAST_US: u32 = 2000;

/// Least time between two tellings of links that come and go, while they keep doing so.
const BURST_PACES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(50),
    Duration::from_millis(200),
];
/// After so much time without any telling the next one is told at once.
const CALM: Duration = Duration::from_secs(1);

/// What was told, and since when it is wrong.
#[derive(Debug, Default)]
pub(crate) struct LinkStates {
    told: BTreeMap<ShortId, Told>,
    told_at: Option<Instant>,
    /// Tellings since it was calm.
    rushes: usize,
    drifts: BTreeMap<ShortId, Instant>,
    due: Option<Instant>,
    /// What was told last does not matter any more.
    must: bool,
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
    }

    /// Looks whether the links now are to be told; the flag of each says if its delay is measured.
    pub(crate) fn is_due(&mut self, now: Instant, links: &[(Adjacency, bool)]) -> bool {
        let neighbors = links.iter().map(|(adjacency, _)| &adjacency.neighbor);
        let mut urgent = !neighbors.eq(self.told.keys());
        let mut due: Option<Instant> = None;
        for (adjacency, is_measured) in links {
            let Some(told) = self.told.get(&adjacency.neighbor) else {
                continue;
            };
            let (was, is) = (&told.adjacency, adjacency);
            let differs = differs(was.delay_us(), is.delay_us());
            urgent |= was.label != is.label || (was.mtu == 0) != (is.mtu == 0);
            urgent |= differs && *is_measured && !told.was_measured;
            if differs {
                let since = *self.drifts.entry(is.neighbor).or_insert(now);
                due = Some(due.map_or(since + PACE, |due| due.min(since + PACE)));
            } else {
                self.drifts.remove(&is.neighbor);
            }
            if was.mtu != is.mtu {
                due = Some(now);
            }
        }
        let after = |wait: Duration| self.told_at.map_or(now, |at| at + wait);
        self.due = if self.must {
            Some(now)
        } else if urgent {
            Some(after(BURST_PACES[self.rushes]).max(now))
        } else {
            due.map(|due| due.max(after(PACE)))
        };
        self.due.is_some_and(|due| due <= now)
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
        let is_calm = self.told_at.is_none_or(|at| now.since(at) >= CALM);
        self.rushes = if is_calm {
            0
        } else {
            (self.rushes + 1).min(BURST_PACES.len() - 1)
        };
        self.told_at = Some(now);
        self.drifts.clear();
        self.due = None;
        self.must = false;
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
        assert!(states.is_due(at(0), &link(10_000, 0)));
        states.tell(at(0), &link(10_000, 0));
        assert!(!states.is_due(at(60), &link(11_000, 0)));
        assert_eq!(states.next_timeout(), None);
        assert!(!states.is_due(at(61), &link(13_000, 0)));
        assert!(!states.is_due(at(63), &link(10_000, 0)), "it went away");
        assert!(!states.is_due(at(64), &link(13_000, 0)));
        assert_eq!(states.next_timeout(), Some(at(69)));
        assert!(states.is_due(at(69), &link(13_000, 0)));
        states.tell(at(69), &link(13_000, 0));
        assert!(states.is_due(at(70), &link(13_000, 1400)), "data passes");
        assert!(states.is_due(at(70), &[]), "gone");
    }

    #[test]
    fn many_changes_are_told_together() {
        let mut states = LinkStates::default();
        let mut tellings = 0;
        for ms in 0..1000 {
            let links: Vec<_> = (0..=ms / 10)
                .map(|n| link_with(u8::try_from(n).unwrap()))
                .collect();
            let now = Instant(ms * 1000);
            if states.is_due(now, &links) {
                states.tell(now, &links);
                tellings += 1;
            }
            assert!(ms > 0 || tellings == 1, "the first is told at once");
        }
        assert!((5..=9).contains(&tellings), "{tellings}");
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
