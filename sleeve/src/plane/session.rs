//! A session as the data half knows it: keys, counters, replay windows.

use crate::wire::{self, DataHeader};
use crypto::replay::ReplayWindow;
use crypto::{Cipher, EspSecret, OpenKey, SealKey, Suite};
use mesh::{DropReason, Instant, SecretId};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// From this age on nothing is sealed or opened any more.
pub(crate) const REJECT_AFTER: Duration = Duration::from_secs(180);
/// From so many packets on nothing is sealed any more; a session is renewed long before.
pub(super) const REJECT_AFTER_PACKETS: u64 = 1 << 32;

/// What a handshake gives.
pub(crate) struct SessionParts<'a> {
    /// Our receiver index: the other end writes it.
    pub index: u32,
    /// The other end's receiver index.
    pub their_index: u32,
    /// What stands behind the keys: this router's own.
    pub suite: Suite,
    pub cipher: Cipher,
    pub secret: SecretId,
    pub initiator: bool,
    pub born: Instant,
    /// Keys of the direction away from here.
    pub send: Keys<'a>,
    /// Keys of the direction to here.
    pub receive: Keys<'a>,
}

/// The keys of one direction.
pub(crate) struct Keys<'a> {
    /// Seals frames and messages.
    pub data: &'a [u8; 32],
    /// Makes the tags of relay headers.
    pub relay: &'a [u8; 32],
    /// Makes keys for the kernel.
    pub esp: &'a [u8; 32],
}

/// How a datagram is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealing {
    /// Authenticated only.
    pub plain: bool,
    /// It is to be relayed.
    pub relayed: bool,
}

pub(crate) struct Session {
    pub index: u32,
    pub their_index: u32,
    pub cipher: Cipher,
    pub secret: SecretId,
    pub initiator: bool,
    pub born: Instant,
    seal: SealKey,
    open: OpenKey,
    relay_seal: SealKey,
    relay_open: OpenKey,
    /// For what the kernel encrypts away from here, and to here.
    pub esp_send: EspSecret,
    pub esp_receive: EspSecret,
    sealed: AtomicU64,
    relay_sealed: AtomicU64,
    window: Mutex<ReplayWindow>,
    relay_window: Mutex<ReplayWindow>,
    /// When a packet was last opened, in microseconds; 0: none was.
    heard: AtomicU64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(parts: &SessionParts<'_>) -> Self {
        let cipher = parts.cipher;
        let seal = |key| SealKey::behind(parts.suite, cipher, key);
        let open = |key| OpenKey::behind(parts.suite, cipher, key);
        Self {
            index: parts.index,
            their_index: parts.their_index,
            cipher,
            secret: parts.secret,
            initiator: parts.initiator,
            born: parts.born,
            seal: seal(parts.send.data),
            open: open(parts.receive.data),
            relay_seal: seal(parts.send.relay),
            relay_open: open(parts.receive.relay),
            esp_send: EspSecret::new(*parts.send.esp),
            esp_receive: EspSecret::new(*parts.receive.esp),
            sealed: AtomicU64::new(0),
            relay_sealed: AtomicU64::new(0),
            window: Mutex::default(),
            relay_window: Mutex::default(),
            heard: AtomicU64::new(0),
        }
    }

    /// Young enough to be used.
    pub(crate) fn usable(&self, now: Instant) -> bool {
        now.since(self.born) < REJECT_AFTER && self.sealed() < REJECT_AFTER_PACKETS
    }

    /// Packets sealed so far.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed
            .load(Ordering::Relaxed)
            .max(self.relay_sealed.load(Ordering::Relaxed))
    }

    /// When a packet under this session was last opened.
    pub(crate) fn heard(&self) -> Option<Instant> {
        Some(self.heard.load(Ordering::Relaxed))
            .filter(|&at| at != 0)
            .map(Instant)
    }

    /// Notes that a packet was opened. True if it was the first.
    pub(crate) fn hear(&self, now: Instant) -> bool {
        let now = now.0.max(1);
        match self.heard.load(Ordering::Relaxed) {
            // Only one of several threads is the first.
            0 => self.heard.swap(now, Ordering::Relaxed) == 0,
            last => {
                if last < now {
                    self.heard.store(now, Ordering::Relaxed);
                }
                false
            }
        }
    }

    /// Seals the datagram that begins at `start` of `out`: room for the header, then the plaintext. The tag is
    /// appended.
    pub(crate) fn seal(&self, kind: Sealing, out: &mut Vec<u8>, start: usize) -> Result<(), DropReason> {
        let Sealing { plain, relayed } = kind;
        let counter = self.sealed.fetch_add(1, Ordering::Relaxed);
        let header = DataHeader {
            plain,
            relayed,
            lane: 0,
            index: self.their_index,
            counter,
        }
        .bytes();
        let body = start + wire::data::LENGTH;
        let (Some(place), true) = (out.get_mut(start..body), counter < REJECT_AFTER_PACKETS) else {
            return Err(DropReason::NoSession);
        };
        place.copy_from_slice(&header);
        let tag = if plain {
            self.seal.tag(counter, &out[start..])
        } else {
            self.seal.seal_in_place(counter, &header, &mut out[body..])
        };
        out.extend_from_slice(&tag.map_err(|_| DropReason::NoSession)?);
        Ok(())
    }

    /// Opens a datagram in place and tells where its plaintext is. Nothing changes unless it is authentic and new.
    pub(crate) fn open(&self, header: &DataHeader, datagram: &mut [u8]) -> Result<Range<usize>, DropReason> {
        locked(&self.window)
            .check(header.counter)
            .map_err(|_| DropReason::Replayed)?;
        let end = datagram.len() - wire::TAG;
        let (head, body) = datagram.split_at_mut(wire::data::LENGTH);
        if header.plain {
            let (bytes, tag) = datagram.split_at(end);
            let tag = wire::field(tag, 0).ok_or(DropReason::Truncated)?;
            self.open
                .check(header.counter, bytes, &tag)
                .map_err(|_| DropReason::Unauthentic)?;
        } else {
            self.open
                .open_in_place(header.counter, head, body)
                .map_err(|_| DropReason::Unauthentic)?;
        }
        // Another thread may have taken the same packet meanwhile: commit decides.
        locked(&self.window)
            .commit(header.counter)
            .map_err(|_| DropReason::Replayed)?;
        Ok(wire::data::LENGTH..end)
    }

    /// The next counter of relay headers to this neighbour.
    pub(crate) fn next_relay_counter(&self) -> Result<u64, DropReason> {
        let counter = self.relay_sealed.fetch_add(1, Ordering::Relaxed);
        if counter < REJECT_AFTER_PACKETS {
            Ok(counter)
        } else {
            Err(DropReason::NoSession)
        }
    }

    /// The tag of a relay header to this neighbour; `counter` comes from [`Self::next_relay_counter`].
    pub(crate) fn relay_tag(&self, counter: u64, bytes: &[u8]) -> Option<[u8; wire::TAG]> {
        self.relay_seal.tag(counter, bytes).ok()
    }

    /// Checks the tag of a hop from this neighbour, for which `tagged` gives the bytes that it covers and the tag.
    /// Nothing changes unless it is authentic and new.
    pub(crate) fn hop_check(
        &self,
        counter: u64,
        tagged: impl FnOnce(&dyn Fn(&[u8], &[u8; wire::TAG]) -> bool) -> bool,
    ) -> Result<(), DropReason> {
        locked(&self.relay_window)
            .check(counter)
            .map_err(|_| DropReason::RelayReplayed)?;
        if !tagged(&|bytes, tag| self.relay_open.check(counter, bytes, tag).is_ok()) {
            return Err(DropReason::RelayUnauthentic);
        }
        locked(&self.relay_window)
            .commit(counter)
            .map_err(|_| DropReason::RelayReplayed)
    }
}

/// A window stays valid whatever happened to a thread that held it.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
