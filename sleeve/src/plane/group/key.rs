//! Group keys: the source's end, which seals, and a member's, which opens.

use crate::plane::session::{REJECT_AFTER, REJECT_AFTER_PACKETS, locked};
use crate::wire::GroupHeader;
use crate::wire::group::{LENGTH, SOURCE};
use crate::wire::{self};
use crypto::{OpenKey, ReplayWindow, SealKey};
use mesh::{DropReason, Instant};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The source's end of a group key.
#[derive(Debug)]
pub(crate) struct Seal {
    pub id: u32,
    key: SealKey,
    sealed: AtomicU64,
    /// From when on it is in use, in microseconds; 0: it is not yet.
    since: AtomicU64,
}

impl Seal {
    pub(crate) fn new(id: u32, key: SealKey) -> Self {
        Self {
            id,
            key,
            sealed: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// It is in use from now on, if it was not before.
    pub(crate) fn begin(&self, now: Instant) {
        let _ = self
            .since
            .compare_exchange(0, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Since when it is in use.
    pub(crate) fn since(&self) -> Option<Instant> {
        Some(self.since.load(Ordering::Relaxed))
            .filter(|&at| at != 0)
            .map(Instant)
    }

    /// Frames sealed so far.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Young enough to be used.
    pub(crate) fn usable(&self, now: Instant) -> bool {
        let young = self.since().is_none_or(|since| now.since(since) < REJECT_AFTER);
        young && self.sealed() < REJECT_AFTER_PACKETS
    }

    /// Seals the group datagram in `out`: room for the header, then the plaintext. Writes the source's part of the
    /// header and appends the tag. `None`, and it must not be sent, if the key is used up.
    pub(super) fn seal(&self, header: GroupHeader, out: &mut Vec<u8>) -> Option<GroupHeader> {
        let counter = self.sealed.fetch_add(1, Ordering::Relaxed);
        if counter >= REJECT_AFTER_PACKETS {
            return None;
        }
        let header = GroupHeader {
            key: self.id,
            counter,
            ..header
        };
        let source = header.source_part();
        out.get_mut(LENGTH - SOURCE..LENGTH)?.copy_from_slice(&source);
        let tag = self
            .key
            .seal_in_place(counter, &source, out.get_mut(LENGTH..)?)
            .ok()?;
        out.extend_from_slice(&tag);
        Some(header)
    }
}

/// A member's end of another source's group key.
pub(super) struct Open {
    pub id: u32,
    pub given: Instant,
    key: OpenKey,
    window: Mutex<ReplayWindow>,
    /// When a frame was first opened with it, or its source was forgotten, in microseconds; 0: neither.
    since: AtomicU64,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Open {
    pub(super) fn new(given: Instant, id: u32, key: OpenKey) -> Self {
        Self {
            id,
            given,
            key,
            window: Mutex::default(),
            since: AtomicU64::new(0),
        }
    }

    /// Its time runs from now on, if it did not before.
    pub(super) fn begin(&self, now: Instant) {
        let _ = self
            .since
            .compare_exchange(0, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Its time runs.
    pub(super) fn is_used(&self) -> bool {
        self.since.load(Ordering::Relaxed) != 0
    }

    /// Young enough to be used: its source has given it up after that time.
    pub(super) fn usable(&self, now: Instant) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since == 0 || now.since(Instant(since)) < REJECT_AFTER
    }

    /// A frame of this counter was not seen before. Changes nothing.
    pub(super) fn check(&self, counter: u64) -> Result<(), DropReason> {
        locked(&self.window)
            .check(counter)
            .map_err(|_| DropReason::Replayed)
    }

    /// Opens a group datagram in place and tells where its plaintext is. Nothing changes unless it is authentic
    /// and new.
    pub(super) fn open(
        &self,
        now: Instant,
        header: &GroupHeader,
        datagram: &mut [u8],
    ) -> Result<Range<usize>, DropReason> {
        let source: [u8; SOURCE] = wire::field(datagram, LENGTH - SOURCE).ok_or(DropReason::Truncated)?;
        let body = datagram.get_mut(LENGTH..).ok_or(DropReason::Truncated)?;
        let length = self
            .key
            .open_in_place(header.counter, &source, body)
            .map_err(|_| DropReason::Unauthentic)?;
        // The same frame may have come another way meanwhile: commit decides.
        locked(&self.window)
            .commit(header.counter)
            .map_err(|_| DropReason::Replayed)?;
        self.begin(now);
        Ok(LENGTH..LENGTH + length)
    }
}
