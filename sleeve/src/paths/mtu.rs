//! The search for the largest packet a path carries (RFC 8899, Datagram PLPMTUD), as pure steps.
//!
//! The base is proven before a search begins. The search tries the largest size first, then 1500, then halves the
//! interval until it is at most [`STEP`] wide. A size has failed when [`TRIES`] probes of it were lost.

use crate::wire::size::BASE_MTU;

/// The search ends when it would gain no more than this, in bytes.
pub(super) const STEP: u16 = 16;
/// Probes lost in a row that make a size fail (MAX_PROBES of RFC 8899, section 5.1.2).
const TRIES: u8 = 3;
/// What Ethernet carries, and so worth a try of its own.
const ETHERNET: u16 = 1500;

/// What is known of a path's MTU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    /// Proven to pass.
    proven: u16,
    /// Sizes from here on are too large, as far as is known.
    ceiling: u32,
    max: u16,
    /// Size being tried, and how often it was.
    trying: Option<(u16, u8)>,
}

impl Search {
    /// The base has just been proven; `max` is the largest size worth trying.
    pub(super) fn new(max: u16) -> Self {
        let max = max.max(BASE_MTU);
        Self {
            proven: BASE_MTU,
            ceiling: u32::from(max) + 1,
            max,
            trying: None,
        }
    }

    /// Largest size proven to pass.
    pub(super) fn proven(&self) -> u16 {
        self.proven
    }

    /// Size to probe now, or again: `None` when the search is over. Each call is one try.
    pub(super) fn next(&mut self) -> Option<u16> {
        if let Some((size, tries)) = self.trying {
            if tries < TRIES {
                self.trying = Some((size, tries + 1));
                return Some(size);
            }
            self.ceiling = size.into();
        }
        self.trying = self.size().map(|size| (size, 1));
        self.trying.map(|(size, _)| size)
    }

    /// A probe of this size was answered, however late. True if that raised what is proven.
    pub(super) fn passed(&mut self, size: u16) -> bool {
        if size <= self.proven {
            return false;
        }
        self.proven = size;
        self.ceiling = self.ceiling.max(u32::from(size) + 1);
        if self.trying.is_some_and(|(trying, _)| trying <= size) {
            self.trying = None;
        }
        true
    }

    /// True when nothing is left to try.
    pub(super) fn is_over(&self) -> bool {
        self.trying.is_none() && self.size().is_none()
    }

    /// Searches above what is proven once more: the path may have widened.
    pub(super) fn raise(&mut self, max: u16) {
        self.max = max.max(self.proven);
        self.ceiling = u32::from(self.max) + 1;
        self.trying = None;
    }

    fn size(&self) -> Option<u16> {
        let within = |size: u16| size > self.proven && u32::from(size) < self.ceiling;
        if within(self.max) {
            return Some(self.max);
        }
        if within(ETHERNET) {
            return Some(ETHERNET);
        }
        let gap = self.ceiling - u32::from(self.proven);
        if gap <= u32::from(STEP) {
            return None;
        }
        u16::try_from(u32::from(self.proven) + gap / 2).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Searches on a path that carries `real` bytes; returns what was found and how many probes it took.
    fn search(max: u16, real: u16) -> (u16, usize) {
        let mut search = Search::new(max);
        let mut probes = 0;
        while let Some(size) = search.next() {
            probes += 1;
            assert!(probes < 100, "a search ends");
            if size <= real {
                search.passed(size);
            }
        }
        assert!(search.is_over());
        (search.proven(), probes)
    }

    #[test]
    fn the_usual_sizes_are_found_at_once() {
        assert_eq!(search(1500, 1500), (1500, 1));
        assert_eq!(search(9000, 9000), (9000, 1));
        assert_eq!(search(1280, 1280), (1280, 0));
        let (found, probes) = search(9000, 1500);
        assert!((1500..=1500).contains(&found), "{found}");
        assert!(probes < 40);
    }

    #[test]
    fn a_wider_path_is_found_after_a_raise() {
        let mut search = Search::new(1500);
        while let Some(size) = search.next() {
            if size <= 1400 {
                search.passed(size);
            }
        }
        search.raise(1500);
        assert_eq!(search.next(), Some(1500));
        assert!(search.passed(1500));
        assert!(search.is_over());
    }

    proptest! {
        #[test]
        fn what_is_found_passes_and_is_close(max in 0u16.., real in BASE_MTU..) {
            let (found, _) = search(max, real);
            let best = real.min(max.max(BASE_MTU));
            prop_assert!(found <= best);
            prop_assert!(best - found < STEP);
        }
    }
}
