//! A session as the data half knows it: keys, counters, replay windows, of each lane and each way.
//!
//! A lane seals with its own keys and counts for itself, so lanes share neither a lock nor a counter. What another router's
//! lane sealed is opened by whichever lane of this one gets it: there is one window for each of the *sender's* lanes, with a
//! lock that nobody else wants unless the kernel gave a datagram to another lane than it usually does. A lane's keys are
//! derived when it is first heard of, at most [`LANES`] times in a session's life.

use crate::wire::{self, DataHeader, LANES};
use crypto::replay::ReplayWindow;
use crypto::{Cipher, DirectionKeys, EspSecret, OpenKey, SealKey, Suite};
use mesh::{DropReason, Instant, SecretId};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
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
    pub send: &'a DirectionKeys,
    /// Keys of the direction to here.
    pub receive: &'a DirectionKeys,
}

/// Whether that is the tag of those bytes.
pub(crate) type TagCheck<'a> = dyn Fn(&[u8], &[u8; wire::TAG]) -> bool + 'a;

/// How a datagram is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealing {
    /// Whose keys.
    pub lane: u8,
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
    suite: Suite,
    send: DirectionKeys,
    receive: DirectionKeys,
    outward: [OnceLock<Box<Outward>>; LANES],
    inward: [OnceLock<Box<Inward>>; LANES],
    /// As many packets as have at least been sealed in one lane, give or take [`COUNTED`].
    sealed: AtomicU64,
    /// When a packet was last opened, in microseconds; 0: none was.
    heard: AtomicU64,
}

/// Packets between two looks at how much a lane's keys have been used.
const COUNTED: u64 = 1 << 12;

/// What a lane seals with.
pub(crate) struct Outward {
    data: SealKey,
    relay: SealKey,
    sealed: AtomicU64,
    relay_sealed: AtomicU64,
}

/// What is opened with that the other end's lane sealed.
struct Inward {
    data: OpenKey,
    relay: OpenKey,
    window: Mutex<ReplayWindow>,
    relay_window: Mutex<ReplayWindow>,
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
        Self {
            index: parts.index,
            their_index: parts.their_index,
            cipher: parts.cipher,
            secret: parts.secret,
            initiator: parts.initiator,
            born: parts.born,
            suite: parts.suite,
            send: parts.send.clone(),
            receive: parts.receive.clone(),
            outward: std::array::from_fn(|_| OnceLock::new()),
            inward: std::array::from_fn(|_| OnceLock::new()),
            sealed: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    /// Young enough to be used.
    pub(crate) fn usable(&self, now: Instant) -> bool {
        now.since(self.born) < REJECT_AFTER && self.sealed() < REJECT_AFTER_PACKETS
    }

    /// For what the kernel encrypts away from here.
    pub(crate) fn esp_send(&self) -> EspSecret {
        self.send.esp()
    }

    /// For what the other end's kernel encrypts to here.
    pub(crate) fn esp_receive(&self) -> EspSecret {
        self.receive.esp()
    }

    /// Packets sealed so far in the lane that sealed most.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Packets sealed so far in all lanes.
    pub(crate) fn total(&self) -> u64 {
        let lanes = self.outward.iter().filter_map(OnceLock::get);
        lanes.map(|lane| lane.sealed.load(Ordering::Relaxed)).sum()
    }

    /// What a lane of this router seals with.
    fn outward(&self, lane: u8) -> Result<&Outward, DropReason> {
        let place = self.outward.get(usize::from(lane)).ok_or(DropReason::NoSession)?;
        Ok(place.get_or_init(|| {
            let keys = self.send.lane(lane);
            let key = |key| SealKey::behind(self.suite, self.cipher, key);
            Box::new(Outward {
                data: key(&keys.data),
                relay: key(&keys.relay),
                sealed: AtomicU64::new(0),
                relay_sealed: AtomicU64::new(0),
            })
        }))
    }

    /// What a lane of the other router sealed is opened with.
    fn inward(&self, lane: u8) -> Result<&Inward, DropReason> {
        let place = self
            .inward
            .get(usize::from(lane))
            .ok_or(DropReason::UnknownSession)?;
        Ok(place.get_or_init(|| {
            let keys = self.receive.lane(lane);
            let key = |key| OpenKey::behind(self.suite, self.cipher, key);
            Box::new(Inward {
                data: key(&keys.data),
                relay: key(&keys.relay),
                window: Mutex::default(),
                relay_window: Mutex::default(),
            })
        }))
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
        let Sealing { lane, plain, relayed } = kind;
        let keys = self.outward(lane)?;
        let counter = keys.sealed.fetch_add(1, Ordering::Relaxed);
        self.note(counter);
        let header = DataHeader {
            plain,
            relayed,
            lane,
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
            keys.data.tag(counter, &out[start..])
        } else {
            keys.data.seal_in_place(counter, &header, &mut out[body..])
        };
        out.extend_from_slice(&tag.map_err(|_| DropReason::NoSession)?);
        Ok(())
    }

    /// Opens a datagram in place and tells where its plaintext is. Nothing changes unless it is authentic and new.
    pub(crate) fn open(&self, header: &DataHeader, datagram: &mut [u8]) -> Result<Range<usize>, DropReason> {
        let keys = self.inward(header.lane)?;
        locked(&keys.window)
            .check(header.counter)
            .map_err(|_| DropReason::Replayed)?;
        let end = datagram.len() - wire::TAG;
        let (head, body) = datagram.split_at_mut(wire::data::LENGTH);
        if header.plain {
            let (bytes, tag) = datagram.split_at(end);
            let tag = wire::field(tag, 0).ok_or(DropReason::Truncated)?;
            keys.data
                .check(header.counter, bytes, &tag)
                .map_err(|_| DropReason::Unauthentic)?;
        } else {
            keys.data
                .open_in_place(header.counter, head, body)
                .map_err(|_| DropReason::Unauthentic)?;
        }
        // Another thread may have taken the same packet meanwhile: commit decides.
        locked(&keys.window)
            .commit(header.counter)
            .map_err(|_| DropReason::Replayed)?;
        Ok(wire::data::LENGTH..end)
    }

    /// A lane's next counter of relay headers to this neighbour, and what makes the tag.
    pub(crate) fn next_relay(&self, lane: u8) -> Result<(u64, &Outward), DropReason> {
        let keys = self.outward(lane)?;
        let counter = keys.relay_sealed.fetch_add(1, Ordering::Relaxed);
        self.note(counter);
        if counter < REJECT_AFTER_PACKETS {
            Ok((counter, keys))
        } else {
            Err(DropReason::NoSession)
        }
    }

    /// A lane has sealed so many packets before this one.
    fn note(&self, counter: u64) {
        if counter.is_multiple_of(COUNTED) {
            self.sealed.fetch_max(counter, Ordering::Relaxed);
        }
    }

    /// Checks the tag of a hop from this neighbour, for which `tagged` gives the bytes that it covers and the tag.
    /// Nothing changes unless it is authentic and new.
    pub(crate) fn hop_check(
        &self,
        lane: u8,
        counter: u64,
        tagged: impl FnOnce(&TagCheck<'_>) -> bool,
    ) -> Result<(), DropReason> {
        let keys = self.inward(lane)?;
        locked(&keys.relay_window)
            .check(counter)
            .map_err(|_| DropReason::RelayReplayed)?;
        if !tagged(&|bytes, tag| keys.relay.check(counter, bytes, tag).is_ok()) {
            return Err(DropReason::RelayUnauthentic);
        }
        locked(&keys.relay_window)
            .commit(counter)
            .map_err(|_| DropReason::RelayReplayed)
    }
}

impl Outward {
    /// The tag of a relay header to this neighbour; `counter` comes from [`Session::next_relay`].
    pub(crate) fn relay_tag(&self, counter: u64, bytes: &[u8]) -> Option<[u8; wire::TAG]> {
        self.relay.tag(counter, bytes).ok()
    }
}

/// A window stays valid whatever happened to a thread that held it.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
