//! The marker: 32 random bytes that are in every block of the payload, and the search for them.
//!
//! The search is Horspool's: from the last byte of a window it follows how far the window may move on. With 32
//! bytes it looks at about one byte in thirty, so it keeps pace with a wire even in a build without optimisation.

use rand_core::{OsRng, RngCore};

/// Length of a marker in bytes.
pub(crate) const LENGTH: usize = 32;

/// Something to look for.
#[derive(Debug, Clone)]
pub(crate) struct Needle {
    bytes: Vec<u8>,
    /// How far to move on when a window ends in this byte.
    skips: Box<[usize; 256]>,
}

impl Needle {
    /// A marker nobody has seen before.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; LENGTH];
        OsRng.fill_bytes(&mut bytes);
        Self::new(&bytes)
    }

    /// Prepares the search for `bytes`, which must not be empty.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut skips = Box::new([bytes.len(); 256]);
        for (at, &byte) in bytes.iter().enumerate().take(bytes.len().saturating_sub(1)) {
            if let Some(skip) = skips.get_mut(usize::from(byte)) {
                *skip = bytes.len() - 1 - at;
            }
        }
        Self {
            bytes: bytes.to_vec(),
            skips,
        }
    }

    /// What is looked for.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True when it is somewhere in `hay`.
    pub(crate) fn is_in(&self, hay: &[u8]) -> bool {
        let mut at = 0;
        while let Some(window) = hay.get(at..at + self.bytes.len()) {
            if window == self.bytes {
                return true;
            }
            let last = window.last().copied().unwrap_or_default();
            at += self.skips.get(usize::from(last)).copied().unwrap_or(1);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_at_every_place_and_only_whole() {
        let needle = Needle::random();
        for at in 0..100 {
            let mut hay = vec![0x5a; 100];
            hay.splice(at..at, needle.bytes().iter().copied());
            assert!(needle.is_in(&hay), "at {at}");
            hay.remove(at + 7);
            assert!(!needle.is_in(&hay), "torn at {at}");
        }
        assert!(!needle.is_in(&needle.bytes()[1..]));
        assert!(!needle.is_in(&[]));
    }

    #[test]
    fn repetitions_within_do_not_mislead() {
        let needle = Needle::new(b"abab");
        assert!(needle.is_in(b"aababab"));
        assert!(needle.is_in(b"xxabaabab"));
        assert!(!needle.is_in(b"abaabaaba"));
    }
}
