//! Latencies of big worlds, computed from nothing but the two hosts: nothing is kept per pair.

use crate::{HostId, Random};
use rand_core::RngCore;
use std::time::Duration;

/// Where the latency between two hosts comes from; the same both ways.
#[derive(Debug, Clone, PartialEq)]
pub enum Profile {
    /// Of each pair anything between the two, all equally likely, whatever that of others is.
    Hashed {
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
        /// Other seeds, other latencies.
        seed: u64,
    },
    /// Hosts lie in a square, anywhere: the distance counts. Neighbours of neighbours are near.
    Plane {
        /// Between two hosts at one place.
        least: Duration,
        /// From corner to corner.
        most: Duration,
        /// Other seeds, other places.
        seed: u64,
    },
}

impl Profile {
    /// Between two hosts.
    #[must_use]
    pub fn latency(&self, a: HostId, b: HostId) -> Duration {
        let (least, most, share) = match *self {
            Self::Hashed { least, most, seed } => {
                let (low, high) = (a.min(b).0 as u64, a.max(b).0 as u64);
                let share = draw(seed, low << 32 | high).share();
                (least, most, share)
            }
            Self::Plane { least, most, seed } => {
                let ((ax, ay), (bx, by)) = (place(seed, a), place(seed, b));
                let square = (ax - bx) * (ax - bx) + (ay - by) * (ay - by);
                (least, most, (square / 2.0).sqrt())
            }
        };
        let span = most.saturating_sub(least).as_micros() as u64 as f64;
        least + Duration::from_micros((span * share) as u64)
    }

    /// No pair's is below.
    #[must_use]
    pub fn least(&self) -> Duration {
        match self {
            Self::Hashed { least, .. } | Self::Plane { least, .. } => *least,
        }
    }
}

fn draw(seed: u64, number: u64) -> Random {
    Random::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn place(seed: u64, host: HostId) -> (f64, f64) {
    let mut random = draw(seed, host.0 as u64);
    random.next_u64();
    (random.share(), random.share())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_the_same_both_ways_and_within_bounds() {
        let (least, most) = (Duration::from_micros(500), Duration::from_millis(100));
        for profile in [
            Profile::Hashed { least, most, seed: 7 },
            Profile::Plane { least, most, seed: 7 },
        ] {
            let mut sum = Duration::ZERO;
            for a in 0..100 {
                for b in 0..100 {
                    let latency = profile.latency(HostId(a), HostId(b));
                    assert_eq!(latency, profile.latency(HostId(b), HostId(a)));
                    assert!(latency >= least && latency <= most);
                    sum += latency;
                }
            }
            let mean = sum / 10_000;
            assert!(mean > most / 4 && mean < most * 3 / 5, "{mean:?}");
        }
    }

    #[test]
    fn in_a_plane_those_near_one_are_near_each_other() {
        let most = Duration::from_millis(100);
        let plane = Profile::Plane {
            least: Duration::ZERO,
            most,
            seed: 1,
        };
        let latency = |a, b| plane.latency(HostId(a), HostId(b));
        for (a, b, c) in (0..50).flat_map(|a| (0..50).map(move |b| (a, b, (a + b) / 2))) {
            assert!(latency(a, b) <= latency(a, c) + latency(c, b) + Duration::from_micros(2));
        }
    }
}
