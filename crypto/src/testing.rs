//! What the tests share: a generator with a seed.

use rand_core::{CryptoRng, Error, RngCore};
use sha2::{Digest, Sha256};

/// SHA-256 of (seed, counter), eight bytes at a time: the same numbers for the same seed, everywhere.
pub(crate) struct TestRng {
    seed: u64,
    counter: u64,
}

impl TestRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }
}

impl RngCore for TestRng {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(self.counter.to_be_bytes());
        u64::from_be_bytes(hash.finalize()[..8].try_into().unwrap())
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        rand_core::impls::fill_bytes_via_next(self, dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoRng for TestRng {}

/// A generator that has broken down: every draw fails.
pub(crate) struct BrokenRng;

impl RngCore for BrokenRng {
    fn next_u32(&mut self) -> u32 {
        panic!("a draw that cannot fail was taken from a broken generator")
    }

    fn next_u64(&mut self) -> u64 {
        panic!("a draw that cannot fail was taken from a broken generator")
    }

    fn fill_bytes(&mut self, _: &mut [u8]) {
        panic!("a draw that cannot fail was taken from a broken generator")
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::from(std::num::NonZeroU32::MIN))
    }
}

impl CryptoRng for BrokenRng {}
