//! One thing to dial, and how its tries went.

use crate::{Instant, PeerId};
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::time::Duration;

/// Wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest wait, counted from the start of the last try, for routers that the mesh reaches.
pub(crate) const REACHABLE_WAIT: Duration = Duration::from_secs(12);
/// After so many tries an address where nobody ever answered is left to the ordinary backoff.
const UNPROVEN_TRIES: u32 = 20;
/// A link that lived so long makes its target's next try a first one.
pub(crate) const STEADY: Duration = Duration::from_secs(60);

/// Names a target: the text to dial, and who must answer there, if that is fixed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TargetId {
    /// `HOST:PORT` or `IP:PORT`.
    pub(crate) text: String,
    /// Nobody else is accepted.
    pub(crate) pin: Option<PeerId>,
}

impl TargetId {
    /// Reads `PEERID@HOST:PORT` or `HOST:PORT`.
    pub(crate) fn parse(text: &str) -> Self {
        let pinned = text
            .split_once('@')
            .and_then(|(id, rest)| Some((id.parse().ok()?, rest)));
        match pinned {
            Some((id, rest)) => Self {
                text: rest.to_owned(),
                pin: Some(id),
            },
            None => Self {
                text: text.to_owned(),
                pin: None,
            },
        }
    }

    /// The inverse of [`parse`](Self::parse).
    pub(crate) fn store(&self) -> String {
        match self.pin {
            Some(pin) => format!("{pin}@{}", self.text),
            None => self.text.clone(),
        }
    }
}

/// Why a target is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Given by the operator.
    Given,
    /// A router was linked there in an earlier run.
    Stored,
    /// Found in a router's record.
    Discovered,
}

/// How far a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not being dialled; it may be from then on.
    Waiting(Instant),
    /// The driver was asked to dial.
    Dialling(Instant),
    /// There is a connection, or a link already.
    Connected,
    /// It is this router itself.
    Own,
}

/// One thing to dial.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) source: Source,
    pub(crate) stage: Stage,
    /// Who answered there last.
    pub(crate) peer: Option<PeerId>,
    /// Tries since the last steady link.
    pub(crate) tries: u32,
    pub(crate) started: Instant,
    /// A router was linked there in this run.
    pub(crate) proven: bool,
    pub(crate) error: Option<String>,
    /// The router there had all the links it takes, when it was asked last.
    pub(crate) full: bool,
}

impl Target {
    /// A target that may be dialled from `first` on.
    pub(crate) fn new(source: Source, peer: Option<PeerId>, first: Instant) -> Self {
        Self {
            source,
            stage: Stage::Waiting(first),
            peer,
            tries: 0,
            started: first,
            proven: false,
            error: None,
            full: false,
        }
    }

    /// The driver dials it.
    pub(crate) fn dialled(&mut self, now: Instant) {
        self.stage = Stage::Dialling(now);
        self.started = now;
        self.tries = self.tries.saturating_add(1);
    }

    /// The try failed, or its link ended: wait, longer each time, and not just as long as others do.
    pub(crate) fn failed(&mut self, now: Instant, error: Option<String>, rng: &mut StdRng) {
        if error.is_some() {
            self.error = error;
        }
        self.stage = Stage::Waiting(now + backoff(self.tries, rng));
    }

    /// The mesh reaches the router that is expected here: try again soon, so that the two are direct again
    /// shortly after what parted them has ended. An address that never worked is not worth that for ever.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if self.full || !self.proven && self.tries >= UNPROVEN_TRIES {
            return;
        }
        if let Stage::Waiting(at) = self.stage {
            let soon = (self.started + REACHABLE_WAIT).max(now + FIRST_WAIT / 2);
            self.stage = Stage::Waiting(at.min(soon));
        }
    }
}

/// 1 s × 1.5 for each further try up to 60 s, give or take a fifth.
fn backoff(tries: u32, rng: &mut StdRng) -> Duration {
    let wait = (1..tries.min(16)).fold(FIRST_WAIT, |wait, _| (wait * 3 / 2).min(LONGEST_WAIT));
    wait * rng.random_range(800..=1200) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn backs_off_up_to_a_minute() {
        let mut rng = StdRng::from_seed([1; 32]);
        for (tries, seconds) in [(0, 1.0), (1, 1.0), (2, 1.5), (3, 2.25), (12, 60.0), (9999, 60.0)] {
            let wait = backoff(tries, &mut rng).as_secs_f64();
            assert!(
                (seconds * 0.79..=seconds * 1.21).contains(&wait),
                "{tries} tries: {wait} s"
            );
        }
    }

    #[test]
    fn texts_round_trip() {
        let id = PeerId([7; 32]);
        for text in [
            "h:1".to_owned(),
            "[::1]:6783".to_owned(),
            format!("{id}@h:1"),
            "x@h:1".to_owned(),
        ] {
            assert_eq!(TargetId::parse(&text).store(), text);
        }
        assert_eq!(TargetId::parse(&format!("{id}@h:1")).pin, Some(id));
    }
}
