//! When routes are computed anew: soon after a change, but not for every one of many (after RFC 8405).
//!
//! While changes keep coming and each computation has much to do, as when thousands of routers join, the wait grows
//! with that: everything waits for the same computation anyway, and most of what one finds the next throws away.

use crate::Instant;
use std::time::Duration;

/// Waits after the first change, the next, and all further ones.
const WAITS: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
];
/// What one router that was looked at adds to the longest wait: ten thousand make it two seconds.
const WAIT_PER_ROUTER: Duration = Duration::from_micros(200);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Without changes for this long, the next change counts as a first one.
const CALM: Duration = Duration::from_secs(1);

/// Gathers reasons to compute routes.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    due: Option<Instant>,
    last: Option<Instant>,
    rushes: usize,
    /// What there was to do the last time, as a wait.
    weight: Duration,
}

impl Schedule {
    /// Something changed elsewhere.
    pub(crate) fn request(&mut self, now: Instant) {
        if self.due.is_none() {
            let calm = CALM.max(self.weight);
            let is_calm = self.last.is_none_or(|last| now.since(last) >= calm);
            self.rushes = if is_calm {
                0
            } else {
                (self.rushes + 1).min(WAITS.len() - 1)
            };
            let is_last = self.rushes == WAITS.len() - 1;
            let weight = if is_last { self.weight } else { Duration::ZERO };
            self.due = Some(now + WAITS[self.rushes].max(weight));
        }
    }

    /// What was due is done; it had to look at so many routers.
    pub(crate) fn done(&mut self, routers: usize) {
        let routers = u32::try_from(routers).unwrap_or(u32::MAX);
        self.weight = WAIT_PER_ROUTER.saturating_mul(routers).min(LONGEST_WAIT);
    }

    /// Something changed here: what we send now depends on it.
    pub(crate) fn rush(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// True once it is time.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.last = Some(now);
        }
        is_due
    }

    /// When it is time.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_while_changes_keep_coming() {
        let mut schedule = Schedule::default();
        let mut now = Instant(0);
        for wait in [10, 50, 200, 200] {
            schedule.request(now);
            schedule.request(now + Duration::from_millis(5));
            let due = now + Duration::from_millis(wait);
            assert!(!schedule.take(due - Duration::from_micros(1)));
            assert!(schedule.take(due));
            now = due;
        }
        // The next waits as long as the last had to do.
        schedule.done(5000);
        schedule.request(now);
        assert_eq!(schedule.next_timeout(), Some(now + Duration::from_millis(1000)));
        schedule.rush(now);
        assert!(schedule.take(now));
        schedule.done(100);
        schedule.request(now + CALM);
        assert_eq!(
            schedule.next_timeout(),
            Some(now + CALM + Duration::from_millis(10))
        );
    }
}
