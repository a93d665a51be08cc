//! Events, and the order in which they happen: by time, then by numbers that follow from what the hosts did alone,
//! whichever thread did it.

use mesh::{Packet, PeerId};
use std::cmp::Ordering;
use std::collections::BTreeMap;

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
    /// A data path whose link is gone is to be looked after, by what is known of it since then.
    Alone(PeerId, u64),
    /// Somebody checks the data path that there has been since then.
    Check(u64),
    /// It was checked, and works.
    Checked,
    /// Somebody asks whether a router runs here, since then.
    Probe(u64),
    /// One does, and this was sent then.
    Probed(u64),
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
            Self::Alone(_, since) => (17, *since),
            Self::Check(since) => (18, *since),
            Self::Checked => (19, 0),
            Self::Probe(sent) => (15, *sent),
            Self::Probed(sent) => (16, *sent),
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

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// What is yet to happen: events of the same slot of time lie together and are put in order only
/// when it comes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Those that come next, in order, the last first.
    next: Vec<Event>,
    /// The first slot that is not among them.
    opened: u64,
    later: BTreeMap<u64, Vec<Event>>,
    /// Room that was used.
    spare: Vec<Vec<Event>>,
}

/// Microseconds in a slot of the queue: less than any wire's delay, so that hardly anything is planned into the slot
/// that is open.
const SLOT: u64 = 100;
/// Used room that is kept.
const MAX_SPARE: usize = 64;

impl Queue {
    pub(super) fn plan(&mut self, event: Event) {
        let slot = event.at / SLOT;
        if slot >= self.opened {
            let spare = &mut self.spare;
            let events = self
                .later
                .entry(slot)
                .or_insert_with(|| spare.pop().unwrap_or_default());
            return events.push(event);
        }
        let at = self.next.partition_point(|other| *other > event);
        self.next.insert(at, event);
    }

    /// When the next happens; `u64::MAX` if none does.
    pub(super) fn next(&mut self) -> u64 {
        while self.next.is_empty() {
            let Some((slot, mut events)) = self.later.pop_first() else {
                return u64::MAX;
            };
            events.sort_unstable_by(|a, b| b.cmp(a));
            let used = std::mem::replace(&mut self.next, events);
            if self.spare.len() < MAX_SPARE {
                self.spare.push(used);
            }
            self.opened = slot + 1;
        }
        self.next.last().map_or(u64::MAX, |event| event.at)
    }

    /// The next one, if it happens before `end`.
    pub(super) fn pop(&mut self, end: u64) -> Option<Event> {
        if self.next() < end { self.next.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn event(at: u64, sequence: u64) -> Event {
        Event {
            at,
            to: 1,
            from: 2,
            sequence,
            on: 0,
            what: What::Wake,
        }
    }

    #[test]
    fn what_is_planned_happens_in_order_also_what_is_planned_late() {
        let mut random = Random::new(1);
        let (mut queue, mut planned, mut happened) = (Queue::default(), Vec::new(), Vec::new());
        let mut now = 0;
        for sequence in 0..2000 {
            let at = now + random.below(5000);
            planned.push((at, sequence));
            queue.plan(event(at, sequence));
            if random.below(3) == 0 {
                let event = queue.pop(now + 700);
                now = event.as_ref().map_or(now + 700, |event| event.at);
                happened.extend(event.map(|event| (event.at, event.sequence)));
            }
        }
        happened.extend(std::iter::from_fn(|| queue.pop(u64::MAX)).map(|event| (event.at, event.sequence)));
        planned.sort_unstable();
        assert_eq!(happened, planned);
        assert_eq!(queue.next(), u64::MAX);
    }
}
