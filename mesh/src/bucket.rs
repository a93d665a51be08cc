//! Token bucket: how much a neighbour or an origin may ask of us.

use crate::Instant;

/// Fills with time up to `burst` tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    burst: u32,
    per_minute: u32,
    /// Tokens in millionths, so that slow rates lose nothing to rounding.
    level: u64,
    at: Instant,
}

const MICRO: u64 = 1_000_000;

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(now: Instant, burst: u32, per_minute: u32) -> Self {
        Self {
            burst,
            per_minute,
            level: u64::from(burst) * MICRO,
            at: now,
        }
    }

    /// Takes one token; false if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_some(now, 1)
    }

    /// Takes so many tokens; false, and none is taken, if there are fewer.
    pub(crate) fn take_some(&mut self, now: Instant, tokens: u32) -> bool {
        self.fill(now);
        let taken = self.level.checked_sub(u64::from(tokens) * MICRO);
        self.level = taken.unwrap_or(self.level);
        taken.is_some()
    }

    /// True when nothing was taken for so long that forgetting the bucket changes nothing.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level == u64::from(self.burst) * MICRO
    }

    fn fill(&mut self, now: Instant) {
        let passed = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let gained = passed.saturating_mul(u64::from(self.per_minute)) / 60;
        self.level = self
            .level
            .saturating_add(gained)
            .min(u64::from(self.burst) * MICRO);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn gives_the_burst_then_the_rate() {
        let mut now = Instant(5);
        let mut bucket = Bucket::new(now, 3, 60);
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 3);
        now = now + Duration::from_secs(1);
        assert!(bucket.take(now));
        assert!(!bucket.take(now));
        assert!(!bucket.take_some(now, 2));
        assert!(!bucket.is_full(now + Duration::from_millis(2999)));
        assert!(bucket.is_full(now + Duration::from_secs(3)));
    }
}
