//! Round trip time, measured on keepalives.

use crate::Instant;
use std::collections::VecDeque;

/// Pings that may be unanswered at a time; older ones are given up.
const OUTSTANDING: usize = 8;

/// Smoothed as RFC 6298 does: each sample counts one eighth.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    smoothed_us: Option<u64>,
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
        let sample = u64::try_from(now.since(sent).as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        self.smoothed_us = Some(match self.smoothed_us {
            Some(smoothed) => smoothed - smoothed / 8 + sample / 8,
            None => sample,
        });
        Some(sent)
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
    }
}
