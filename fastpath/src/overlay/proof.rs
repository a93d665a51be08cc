//! Whether a way works: probes, their answers, and how long to distrust a way that failed.

use mesh::Instant;
use std::time::Duration;

/// Bytes of a probe that any way lets through.
pub(super) const SMALL: u16 = 128;
/// So many in a row prove a way, or that it is lost.
const ENOUGH: u8 = 3;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_millis(400);
/// Time between probes while a way is being proven.
const QUICK: Duration = Duration::from_millis(20);
/// Time between probes otherwise.
const CALM: Duration = Duration::from_millis(500);
/// All ways of several hops together are probed this often at most: once per this time.
const SHARE: Duration = Duration::from_millis(4);
/// A way that fails again within this time is flapping.
const MEMORY: Duration = Duration::from_secs(60);
/// Longest distrust.
const LONGEST: Duration = Duration::from_secs(60);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    Ask { small: bool },
}

/// What the probes of a way that is not proven say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet.
    Asking,
    /// Small ones come back, large ones do not.
    Narrow,
    /// None comes back.
    Silent,
}

#[derive(Debug)]
pub(super) struct Proof {
    asked: Option<Asked>,
    next: Instant,
    /// Time between probes once it is proven.
    pace: Duration,
    good: u8,
    bad: u8,
    proven: bool,
    /// The last small probe came back.
    small: bool,
    /// When it was lost last, and how often in a row it was lost soon.
    fell: Option<(Instant, u32)>,
    held: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    number: u64,
    until: Instant,
    small: bool,
}

impl Proof {
    /// Nothing is known, not even of failures.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: None,
            next: now,
            pace: CALM,
            good: 0,
            bad: 0,
            proven: false,
            small: false,
            fell: None,
            held: None,
        }
    }

    /// Another way is to be proven.
    pub(super) fn restart(&mut self, now: Instant) {
        let (fell, held) = (self.fell, self.held);
        *self = Self::new(now);
        (self.fell, self.held) = (fell, held);
    }

    /// An earlier run proved it.
    pub(super) fn inherit(&mut self, now: Instant) {
        (self.proven, self.good, self.next) = (true, ENOUGH, now);
    }

    /// What proved another way beside this one is what counts from now on; failures are remembered.
    pub(super) fn succeed(&mut self, next: Self) {
        let (fell, held) = (self.fell, self.held);
        *self = next;
        (self.fell, self.held) = (fell, held);
    }

    /// Something else is to be proven, but what failed before is remembered.
    pub(super) fn remember(&mut self, old: &Self) {
        (self.fell, self.held) = (old.fell, old.held);
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.held.is_some_and(|until| now < until)
    }

    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held
    }

    pub(super) fn state(&self) -> State {
        match (self.bad, self.small) {
            (bad, _) if bad < ENOUGH => State::Asking,
            (_, true) => State::Narrow,
            (_, false) => State::Silent,
        }
    }

    /// When to call [`step`](Self::step).
    pub(super) fn next(&self) -> Instant {
        self.asked.map_or(self.next, |asked| asked.until)
    }

    /// An answer came; false if it is none to what was asked last.
    pub(super) fn answered(&mut self, now: Instant, number: u64) -> bool {
        let Some(asked) = self.asked.filter(|asked| asked.number == number) else {
            return false;
        };
        self.asked = None;
        if asked.small {
            self.small = true;
            self.count_bad();
            self.next = now + CALM;
            return true;
        }
        (self.good, self.bad) = (self.good.saturating_add(1), 0);
        let is_new = self.good >= ENOUGH && !self.proven;
        self.proven |= is_new;
        self.next = now
            + match (self.proven, is_new) {
                (false, _) => QUICK,
                // Ways that are proven at the same time shall not be asked at the same time for ever.
                (true, true) => self.pace * ((number % 32) as u32 + 1) / 32,
                (true, false) => self.pace,
            };
        true
    }

    /// Counts on in turns of two once it is as high as it gets.
    fn count_bad(&mut self) {
        self.bad = self.bad.checked_add(1).unwrap_or(u8::MAX - 2);
    }

    /// Time has come: `number` is that of the next probe, if one is to be sent. Of `ways` the direct ones are probed
    /// often, the others share.
    pub(super) fn step(&mut self, now: Instant, number: u64, direct: bool, ways: usize) -> Step {
        if self.held.is_some_and(|until| until <= now) {
            self.held = None;
        }
        if let Some(asked) = self.asked {
            if now < asked.until {
                return Step::Wait;
            }
            self.asked = None;
            self.next = now;
            self.lost(now, asked.small);
        }
        if now < self.next {
            return Step::Wait;
        }
        // The first hop's probes tell of most trouble; those of ways behind it take turns.
        let shared = SHARE.saturating_mul(u32::try_from(ways).unwrap_or(u32::MAX));
        self.pace = if direct { CALM } else { CALM.max(shared) };
        // A way that lets nothing through: by turns a small probe, to tell whether size is the matter.
        let small = self.bad >= ENOUGH && self.bad.is_multiple_of(2);
        self.asked = Some(Asked {
            number,
            until: now + PATIENCE,
            small,
        });
        Step::Ask { small }
    }

    fn lost(&mut self, now: Instant, small: bool) {
        if small {
            self.small = false;
        }
        self.good = 0;
        self.count_bad();
        if self.bad < ENOUGH {
            return;
        }
        if self.bad > ENOUGH || !self.proven {
            self.next = now + CALM.saturating_sub(PATIENCE);
        }
        if self.proven {
            self.proven = false;
            let again = self.fell.filter(|(at, _)| now.since(*at) < MEMORY);
            let times = again.map_or(0, |(_, times)| times.saturating_add(1));
            self.fell = Some((now, times));
            let hold = Duration::from_secs(1_u64.checked_shl(times).unwrap_or(u64::MAX)).min(LONGEST);
            self.held = Some(now + hold);
        }
    }
}
