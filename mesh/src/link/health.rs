//! Local health (after Lifeguard): who is slow himself shall not call others dead.

use crate::Instant;
use std::time::Duration;

/// A timer that fires later than this is a sign that this router is the slow one.
const LATE: Duration = Duration::from_millis(500);
/// Without further signs the patience halves after this time.
const RECOVERY: Duration = Duration::from_secs(10);
/// Patience grows at most to this factor.
const MAX_FACTOR: u32 = 4;

/// How patient this router is with its neighbours.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Doublings of the patience.
    doublings: u32,
    late_at: Option<Instant>,
    resumed_at: Option<Instant>,
}

impl Health {
    /// A timer that was due at `due` fires now.
    pub(crate) fn fired(&mut self, now: Instant, due: Instant) {
        let is_calm = self.late_at.is_none_or(|at| now.since(at) >= RECOVERY);
        if now.since(due) > LATE {
            // Once in a while only: a router that is always late must notice dead neighbours, too.
            if is_calm {
                self.resumed_at = Some(now);
            }
            self.doublings = (self.doublings + 1).min(MAX_FACTOR.trailing_zeros());
            self.late_at = Some(now);
        } else if is_calm && self.doublings > 0 {
            self.doublings -= 1;
            self.late_at = Some(now);
        }
    }

    /// When a link that was last heard then is dead, if a healthy router waits for `window`.
    pub(crate) fn deadline(&self, heard: Instant, window: Duration) -> Instant {
        let patient = heard + window * (1 << self.doublings);
        self.resumed_at
            .map_or(patient, |resumed| patient.max(resumed + window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_when_late_and_returns() {
        let second = Duration::from_secs(1);
        let mut health = Health::default();
        let heard = Instant(0);
        assert_eq!(health.deadline(heard, second), heard + second);
        let now = heard + second * 100;
        health.fired(now, now - second);
        assert_eq!(health.deadline(heard, second), now + second);
        assert_eq!(health.deadline(now, second), now + second * 2);
        let later = now + RECOVERY;
        health.fired(later, later);
        assert_eq!(health.deadline(later, second), later + second);
    }
}
