//! All chance in a world, keys included, comes from its seed.

use rand_core::{CryptoRng, Error, RngCore};
use std::time::Duration;

/// A seeded generator (SplitMix64): fast, and good enough for worlds that guard nothing.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for one purpose. Draws from it change nothing for the others, so that a run with one
    /// fault less stays alike in all the rest.
    #[must_use]
    pub fn fork(&self, purpose: &str, number: u64) -> Self {
        let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let named = purpose.bytes().fold(self.0 ^ 0xcbf2_9ce4_8422_2325, mix);
        let mut fork = Self(number.to_le_bytes().into_iter().fold(named, mix));
        Self(fork.next_u64())
    }

    /// True for that share of calls, 0 to 1.
    pub fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.share() < share
    }

    /// A number from 0 up to, but not including, 1.
    pub fn share(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `bound`; zero if that is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is of the order of bound / 2⁶⁴.
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// A time of at least `least` and less than `most`, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.below(span))
    }

    /// Thirty-two random bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

/// What is asked for where keys are made; here it only has to be the same in every run.
impl CryptoRng for Random {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_differ_and_repeat() {
        let root = Random::new(7);
        let first = |purpose, number| root.fork(purpose, number).next_u64();
        assert_eq!(first("keys", 1), first("keys", 1));
        assert_ne!(first("keys", 1), first("keys", 2));
        assert_ne!(first("keys", 1), first("core", 1));
        assert_ne!(first("keys", 1), Random::new(8).fork("keys", 1).next_u64());
    }

    #[test]
    fn shares_are_about_right() {
        let mut random = Random::new(1);
        let hits = (0..10_000).filter(|_| random.chance(0.3)).count();
        assert!((2800..3200).contains(&hits), "{hits}");
        assert!(!random.chance(0.0) && random.chance(1.0));
        assert_eq!(random.below(0), 0);
    }
}
