//! The digest of everything that happens in a world: two runs of one seed must have the same.

use mesh::Instant;
use sha2::{Digest, Sha256};
use std::fmt;

/// The digest so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Sha256);

/// A digest that can be compared and shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceHash([u8; 32]);

impl Trace {
    /// Something happened: what, between or at whom, and the bytes involved.
    pub(crate) fn note(&mut self, at: Instant, what: &str, who: [usize; 2], bytes: &[u8]) {
        self.0.update(at.0.to_le_bytes());
        self.0.update(what.as_bytes());
        for number in who {
            self.0.update((number as u64).to_le_bytes());
        }
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The digest of all that was noted.
    pub(crate) fn hash(&self) -> TraceHash {
        TraceHash(self.0.clone().finalize().into())
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
