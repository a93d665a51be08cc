//! Events, and the order in which they happen: by time, then by numbers that follow from what the hosts did alone,
//! whichever thread did it.

use mesh::{Packet, PeerId};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Number of a connection: its dialler's, and the dialler's count. Never used again.
pub(super) type Connection = u64;

/// What happens at a host.
#[derive(Debug)]
pub(super) enum What {
    /// Its router starts, and dials these hosts.
    Launch(Vec<u32>),
    /// Somebody dials.
    Initial,
    /// The dialled end shows who it is and proves the secret: the third latency of the handshake is over, and the
    /// fourth.
    Answer,
    /// The dialler proves it, too.
    Confirm,
    /// A control message.
    Message(Packet, u32),
    /// One that could have got lost: a keepalive, or the answer to one.
    Lossy(Packet, u32),
    /// The other end has closed.
    Closed(&'static str),
    /// The time for the handshake is over.
    HandshakeDue,
    /// Perhaps nothing came for too long.
    IdleDue,
    /// What did not pass is tried again.
    Retry,
    /// The direct data path of a new link was tried.
    Path(PeerId),
    /// A dial came to nothing, because nobody can be there.
    Nowhere(String, bool),
    /// The core's timer.
    Wake,
}

impl What {
    /// For the trace: which, and how large.
    pub(super) fn trace(&self) -> u64 {
        let (kind, size) = match self {
            Self::Launch(targets) => (1, targets.len() as u64),
            Self::Initial => (2, 0),
            Self::Answer => (3, 0),
            Self::Confirm => (4, 0),
            Self::Message(_, size) => (5, u64::from(*size)),
            Self::Lossy(_, size) => (6, u64::from(*size)),
            Self::Closed(reason) => (7, reason.len() as u64),
            Self::HandshakeDue => (8, 0),
            Self::IdleDue => (9, 0),
            Self::Retry => (10, 0),
            Self::Path(_) => (11, 0),
            Self::Nowhere(target, _) => (13, target.len() as u64),
            Self::Wake => (14, 0),
        };
        kind << 56 | size
    }
}

/// Something that happens at a host.
#[derive(Debug)]
pub(super) struct Event {
    /// When, in microseconds.
    pub(super) at: u64,
    /// Where.
    pub(super) to: u32,
    /// Who made it happen; [`TIMER`] for a core's timers, which run after all that came in at that time.
    pub(super) from: u32,
    /// Counts what that one made happen.
    pub(super) sequence: u64,
    /// On which connection, if on one.
    pub(super) on: Connection,
    pub(super) what: What,
}

/// In the place of a sender.
pub(super) const TIMER: u32 = u32::MAX;

impl Event {
    fn key(&self) -> (u64, u32, u32, u64) {
        (self.at, self.to, self.from, self.sequence)
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first to happen is the greatest, as a heap gives the greatest.
impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// What is yet to happen.
#[derive(Debug, Default)]
pub(super) struct Queue(BinaryHeap<Event>);

impl Queue {
    pub(super) fn plan(&mut self, event: Event) {
        self.0.push(event);
    }

    /// When the next happens; `u64::MAX` if none does.
    pub(super) fn next(&self) -> u64 {
        self.0.peek().map_or(u64::MAX, |event| event.at)
    }

    /// The next one, if it happens before `end`.
    pub(super) fn pop(&mut self, end: u64) -> Option<Event> {
        if self.next() < end { self.0.pop() } else { None }
    }
}
