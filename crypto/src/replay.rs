//! Which packet counters have been seen: a sliding window of bits, moved by whole blocks (RFC 6479).
//!
//! A packet takes two steps, and the AEAD stands between them: [`check`](ReplayWindow::check) before opening
//! is cheap and changes nothing; [`commit`](ReplayWindow::commit) after opening marks the counter and has the
//! last word, so that of two threads with the same packet only one gets it through.

/// How far behind the highest counter seen a packet may still arrive. Wide, because segmentation offload,
/// several queues and several threads reorder packets by thousands.
pub const WINDOW: u64 = 8192;

const BLOCK_BITS: u64 = u64::BITS as u64;

/// One block more than the window has: the oldest and the newest are both in part outside of it.
const BLOCKS: u64 = WINDOW / BLOCK_BITS + 1;

/// Why a counter is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Replay {
    /// A packet with this counter came already.
    #[error("the packet was seen before")]
    Seen,
    /// The counter lies [`WINDOW`] or more behind the highest seen.
    #[error("the packet is too old to tell whether it was seen before")]
    TooOld,
}

/// The counters seen of one direction of one session.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// The highest counter committed; `None` before the first.
    highest: Option<u64>,
    /// A ring: counter `c` is bit `c % 64` of block `c / 64 % BLOCKS`. Blocks that the window has not yet
    /// reached hold bits of the past and are cleared when it does.
    blocks: [u64; BLOCKS as usize],
}

impl ReplayWindow {
    /// A window that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            highest: None,
            blocks: [0; BLOCKS as usize],
        }
    }

    /// Whether a packet with this counter may be opened. Changes nothing, so unverified packets cost nothing.
    ///
    /// # Errors
    /// [`Replay`] says why not.
    pub fn check(&self, counter: u64) -> Result<(), Replay> {
        let Some(highest) = self.highest else {
            return Ok(());
        };
        if counter > highest {
            return Ok(());
        }
        if highest - counter >= WINDOW {
            return Err(Replay::TooOld);
        }
        let (block, bit) = place(counter);
        if self.blocks[block] & bit == 0 {
            Ok(())
        } else {
            Err(Replay::Seen)
        }
    }

    /// Marks the counter of a packet that has been opened, and only of such.
    ///
    /// # Errors
    /// [`Replay`] if another packet of that counter was committed, or the window moved past it, since the
    /// check: the packet must be dropped.
    pub fn commit(&mut self, counter: u64) -> Result<(), Replay> {
        self.check(counter)?;
        self.slide(counter);
        let (block, bit) = place(counter);
        self.blocks[block] |= bit;
        Ok(())
    }

    /// Moves the window's head to `counter` if that is ahead, clearing the blocks it enters.
    fn slide(&mut self, counter: u64) {
        let Some(highest) = self.highest else {
            self.highest = Some(counter);
            return;
        };
        if counter <= highest {
            return;
        }
        // Block numbers are below 2^58, so these sums do not wrap.
        let (old, new) = (highest / BLOCK_BITS, counter / BLOCK_BITS);
        for block in old + 1..=new.min(old + BLOCKS) {
            self.blocks[(block % BLOCKS) as usize] = 0;
        }
        self.highest = Some(counter);
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

fn place(counter: u64) -> (usize, u64) {
    (
        (counter / BLOCK_BITS % BLOCKS) as usize,
        1 << (counter % BLOCK_BITS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What the window should do, said plainly.
    #[derive(Default)]
    struct Model(BTreeSet<u64>);

    impl Model {
        fn commit(&mut self, counter: u64) -> Result<(), Replay> {
            if self
                .0
                .last()
                .is_some_and(|&highest| highest.saturating_sub(counter) >= WINDOW)
            {
                return Err(Replay::TooOld);
            }
            if self.0.insert(counter) {
                Ok(())
            } else {
                Err(Replay::Seen)
            }
        }
    }

    #[test]
    fn each_counter_passes_once() {
        let mut window = ReplayWindow::new();
        for counter in 0..20_000 {
            assert_eq!(window.check(counter), Ok(()));
            assert_eq!(window.commit(counter), Ok(()));
            assert_eq!(window.commit(counter), Err(Replay::Seen));
        }
        assert_eq!(window.check(0), Err(Replay::TooOld));
    }

    #[test]
    fn the_edge_is_exact() {
        let mut window = ReplayWindow::new();
        window.commit(100_000).unwrap();
        assert_eq!(window.check(100_000 - WINDOW), Err(Replay::TooOld));
        assert_eq!(window.commit(100_001 - WINDOW), Ok(()));
        assert_eq!(window.check(100_001 - WINDOW), Err(Replay::Seen));
    }

    #[test]
    fn checking_changes_nothing() {
        let window = ReplayWindow::new();
        assert_eq!(window.check(u64::MAX), Ok(()));
        assert_eq!(window.check(0), Ok(()));
    }

    #[test]
    fn the_end_of_the_counters() {
        let mut window = ReplayWindow::new();
        for counter in [0, u64::MAX - 1, u64::MAX, u64::MAX - WINDOW + 1] {
            assert_eq!(window.commit(counter), Ok(()));
            assert_eq!(window.commit(counter), Err(Replay::Seen));
        }
        assert_eq!(window.check(u64::MAX - WINDOW), Err(Replay::TooOld));
        assert_eq!(window.check(0), Err(Replay::TooOld));
    }

    /// Runs of neighbours, jumps of about a window, and a start anywhere, the end of the counters included.
    fn counters() -> impl Strategy<Value = Vec<u64>> {
        let start = prop_oneof![Just(0), Just(u64::MAX - 20_000), any::<u64>()];
        let step = prop_oneof![-3i64..4, -200i64..200, -9000i64..9000, -20_000i64..20_000];
        (start, prop::collection::vec(step, 0..300)).prop_map(|(start, steps)| {
            let walk = steps.into_iter().scan(start, |at, step| {
                *at = at.saturating_add_signed(step);
                Some(*at)
            });
            walk.collect()
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(counters in counters()) {
            let (mut window, mut model) = (ReplayWindow::new(), Model::default());
            for counter in counters {
                let before = window.check(counter);
                let expected = model.commit(counter);
                prop_assert_eq!(before, expected);
                prop_assert_eq!(window.commit(counter), expected);
            }
        }
    }
}
