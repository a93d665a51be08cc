//! How much of long messages an end may have on its way: QUIC's congestion window (RFC 9002, section 7), counted in
//! packets and round trips.
//!
//! Only long messages are held back by it. Messages of one packet, nearly all there are, never fill it.

use mesh::Instant;
use std::time::Duration;

/// Packets that may be on their way before anything was acknowledged: 12,000 bytes in packets of 1200.
const INITIAL: u32 = 10;
/// Never fewer (RFC 9002, section 7.2).
const MINIMUM: u32 = 2;
/// Never more: the daemon's send window of a mebibyte.
const MOST: u32 = 873;
/// What is left of a window in percent after a loss, as CUBIC has it (RFC 9438, section 4.6).
const AFTER_LOSS: u32 = 70;

/// A congestion window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    size: u32,
    /// Nothing was lost yet: it doubles with each round trip that fills it.
    starting: bool,
    /// Packets sent in this round trip, and whether one of them was lost.
    used: u32,
    lost: bool,
    /// When what was sent first in this round trip is acknowledged.
    round_ends: Instant,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            size: INITIAL,
            starting: true,
            used: 0,
            lost: false,
            round_ends: Instant(0),
        }
    }

    /// Packets that may be sent now. If a round trip has passed the next one begins.
    pub(crate) fn room(&mut self, now: Instant, round_trip: Duration) -> u32 {
        if now >= self.round_ends {
            self.adapt();
            self.round_ends = now + round_trip;
        }
        self.size - self.used.min(self.size)
    }

    /// When there is room again.
    pub(crate) fn round_ends(&self) -> Instant {
        self.round_ends
    }

    /// So many packets were sent, so many of them lost.
    pub(crate) fn sent(&mut self, packets: u32, lost: u32) {
        self.used += packets;
        self.lost |= lost > 0;
    }

    fn adapt(&mut self) {
        let was_full = self.used >= self.size;
        if self.lost {
            self.starting = false;
            self.size = (self.size * AFTER_LOSS / 100).max(MINIMUM);
        } else if was_full && self.starting {
            self.size = (self.size * 2).min(MOST);
        } else if was_full {
            self.size = (self.size + 1).min(MOST);
        }
        (self.used, self.lost) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    /// Fills the window for so many round trips, one packet lost in those named, and tells its sizes.
    fn sizes(rounds: u64, lossy: &[u64]) -> Vec<u32> {
        let mut window = Window::new();
        let round = |round: u64| {
            let room = window.room(Instant(0) + ROUND_TRIP * round as u32, ROUND_TRIP);
            window.sent(room, u32::from(lossy.contains(&round)));
            room
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn it_doubles_until_something_is_lost_and_grows_slowly_then() {
        assert_eq!(sizes(4, &[]), [10, 20, 40, 80]);
        assert_eq!(sizes(5, &[2]), [10, 20, 40, 28, 29]);
        assert_eq!(sizes(9, &[0, 1, 2, 3, 4, 5, 6, 7]).last(), Some(&MINIMUM));
        assert_eq!(sizes(20, &[]).last(), Some(&MOST));
    }

    #[test]
    fn it_grows_only_when_it_was_full() {
        let mut window = Window::new();
        for round in 0..5 {
            let now = Instant(0) + ROUND_TRIP * round;
            assert_eq!(window.room(now, ROUND_TRIP), INITIAL);
            window.sent(3, 0);
            assert_eq!(window.room(now, ROUND_TRIP), INITIAL - 3);
        }
    }
}
