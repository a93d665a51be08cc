//! Round trip time, measured on keepalives.

use crate::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Answers among which the quickest counts for routing.
const FLOOR_OF: usize = 8;
/// Pings that may be unanswered at a time; older ones are given up.
const OUTSTANDING: usize = 8;

/// Smoothed for people, as RFC 6298 does: each sample counts one eighth. For routing, the quickest of the last few:
/// queues and busy hosts only ever add, and a path must not lose to its own detour because of them.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    smoothed_us: Option<u64>,
    recent_us: VecDeque<u64>,
    sent: VecDeque<(u64, Instant)>,
}

impl Rtt {
    /// A ping with this number was sent.
    pub(crate) fn sent(&mut self, now: Instant, number: u64) {
        if self.sent.len() >= OUTSTANDING {
            self.sent.pop_front();
        }
        self.sent.push_back((number, now));
    }

    /// Its answer came. Returns when it was sent; `None` if nobody asked.
    pub(crate) fn answered(&mut self, now: Instant, number: u64) -> Option<Instant> {
        let at = self.sent.iter().position(|(sent, _)| *sent == number)?;
        let (_, sent) = self.sent.remove(at)?;
        self.took(now.since(sent));
        Some(sent)
    }

    /// A round trip took this long.
    pub(crate) fn took(&mut self, time: Duration) {
        let sample = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        self.smoothed_us = Some(match self.smoothed_us {
            Some(smoothed) => smoothed - smoothed / 8 + sample / 8,
            None => sample,
        });
        if self.recent_us.len() >= FLOOR_OF {
            self.recent_us.pop_front();
        }
        self.recent_us.push_back(sample);
    }

    /// The quickest of the last answers in microseconds, once there was one.
    pub(crate) fn floor_us(&self) -> Option<u64> {
        self.recent_us.iter().min().copied()
    }

    /// The smoothed round trip time in microseconds, once there was an answer.
    pub(crate) fn smoothed_us(&self) -> Option<u64> {
        self.smoothed_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooths_and_ignores_strangers() {
        let mut rtt = Rtt::default();
        rtt.sent(Instant(0), 1);
        assert_eq!(rtt.answered(Instant(9), 2), None);
        assert_eq!(rtt.answered(Instant(8000), 1), Some(Instant(0)));
        assert_eq!(rtt.answered(Instant(8000), 1), None);
        assert_eq!(rtt.smoothed_us(), Some(8000));
        rtt.sent(Instant(10_000), 2);
        rtt.answered(Instant(26_000), 2);
        assert_eq!(rtt.smoothed_us(), Some(9000));
        assert_eq!(rtt.floor_us(), Some(8000));
    }

    #[test]
    fn one_quick_answer_outweighs_slow_ones_until_it_is_old() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.floor_us(), None);
        for (number, took) in [(1, 50_000), (2, 300), (3, 90_000)] {
            rtt.sent(Instant(0), number);
            rtt.answered(Instant(took), number);
        }
        assert_eq!(rtt.floor_us(), Some(300));
        for number in 4..4 + FLOOR_OF as u64 {
            rtt.sent(Instant(0), number);
            rtt.answered(Instant(7000), number);
        }
        assert_eq!(rtt.floor_us(), Some(7000));
    }
}
