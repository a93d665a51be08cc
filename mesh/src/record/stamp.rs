//! What tells a record from all others: for those who watch which ones a router takes in.

use super::signed::Record;
use crate::{Mesh, PeerId};

/// Which record it is. Of two with the same origin, kind and subkey the greater one is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Who made it.
    pub origin: PeerId,
    /// What it is about.
    pub kind: u8,
    /// Tells records of one kind apart.
    pub subkey: u64,
    /// Boot epoch of its origin, its number in that epoch, and the first half of the hash of its bytes.
    pub version: (u64, u64, [u8; 16]),
}

impl Stamp {
    /// Of a record's bytes; `None` if they are none.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Record::parse(bytes).ok().map(|record| record.stamp())
    }
}

impl Record {
    pub(crate) fn stamp(&self) -> Stamp {
        let version = &self.version;
        Stamp {
            origin: self.key.origin,
            kind: self.key.kind,
            subkey: self.key.subkey,
            version: (version.epoch, version.counter, version.hash),
        }
    }
}

impl Mesh {
    /// From now on it is noted which records of others are taken in. A simulator compares that with what was signed.
    pub fn watch_records(&mut self) {
        self.store.taken.get_or_insert_default();
    }

    /// The records taken in since the last call, oldest first; none unless they are [watched](Self::watch_records).
    pub fn take_records(&mut self) -> Vec<Stamp> {
        self.store.taken.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
