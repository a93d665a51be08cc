//! One link.

use super::rtt::Rtt;
use crate::bucket::Bucket;
use crate::outbox::Outbox;
use crate::wire::{Echo, Hello, Message, News, Ping, Pong};
use crate::{Direction, Instant, LinkId, MAX_MESSAGE, Packet, PeerId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Invalid signatures a neighbour may forward per minute.
pub(crate) const SIGNATURE_BUDGET: u32 = 16;
/// Anti-entropy messages that are answered at once, and per minute.
const REPAIR_BURST: u32 = 256;
const REPAIR_RATE: u32 = 3000;

/// Times that a neighbour may choose or leave us as its parent at once, and per minute.
const PARENT_BURST: u32 = 64;
const PARENT_RATE: u32 = 600;
/// Unknown marks that a neighbour may show at once, and per minute.
const MARKS_BURST: u32 = 256;
const MARKS_RATE: u32 = 64 * 60;
/// Kibibytes of records that a neighbour may ask for at once, and per minute.
const GIVE_BURST: u32 = 64 << 10;
const GIVE_RATE: u32 = 60 * (2 << 10);
/// Answers whose echo is waited for.
const ANSWERED: usize = 4;

/// Messages kept while a link is challenged.
const MAX_HELD: usize = 64;

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We said hello and wait for theirs.
    Greeting,
    /// Its router runs already, as far as we know, as another instance; that one's link has until then to
    /// answer the ping with this number.
    Challenged {
        /// When the waiting ends.
        until: Instant,
        /// The link that must prove itself.
        old: LinkId,
        /// The ping it must answer.
        ping: u64,
    },
    /// One end has all the links it takes: it names others to dial, and both close the connection then.
    Full {
        /// When.
        until: Instant,
    },
    /// In use.
    Up {
        /// Since when.
        since: Instant,
    },
    /// The driver was told to close it.
    Closing,
}

/// A connection to another router.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    pub(crate) address: SocketAddr,
    pub(crate) direction: Direction,
    pub(crate) target: Option<String>,
    /// Our count of links, when this one began.
    pub(crate) number: u64,
    pub(crate) phase: Phase,
    /// It had to wait for an older run's link to fail.
    pub(crate) was_challenged: bool,
    /// What came meanwhile, to be read if it is no impostor's.
    pub(crate) held: Vec<Packet>,
    pub(crate) hello: Option<Hello>,
    pub(crate) opened: Instant,
    pub(crate) heard: Instant,
    pub(crate) rtt: Rtt,
    pub(crate) next_ping: Instant,
    /// When it was last found that the other end holds something that is missing here.
    pub(crate) hurried: Option<Instant>,
    pub(crate) signatures: Bucket,
    pub(crate) repairs: Bucket,
    pub(crate) parents: Bucket,
    pub(crate) marks: Bucket,
    pub(crate) gifts: Bucket,
    pings: u64,
    /// When the last ping was sent.
    asked: Instant,
    /// The number of the last answer, and when it came.
    answer: Option<(u64, Instant)>,
    last_answered: u64,
    /// Our own last answers, and when they went.
    answered: VecDeque<(u64, Instant)>,
}

impl Link {
    /// A connection that just came up.
    pub(crate) fn new(
        now: Instant,
        (id, peer, address): (LinkId, PeerId, SocketAddr),
        direction: Direction,
        target: Option<String>,
        number: u64,
    ) -> Self {
        Self {
            id,
            peer,
            address,
            direction,
            target,
            number,
            phase: Phase::Greeting,
            was_challenged: false,
            held: Vec::new(),
            hello: None,
            opened: now,
            heard: now,
            rtt: Rtt::default(),
            next_ping: now,
            hurried: None,
            signatures: Bucket::new(now, SIGNATURE_BUDGET, SIGNATURE_BUDGET),
            repairs: Bucket::new(now, REPAIR_BURST, REPAIR_RATE),
            parents: Bucket::new(now, PARENT_BURST, PARENT_RATE),
            marks: Bucket::new(now, MARKS_BURST, MARKS_RATE),
            gifts: Bucket::new(now, GIVE_BURST, GIVE_RATE),
            pings: 0,
            asked: now,
            answer: None,
            last_answered: 0,
            answered: VecDeque::new(),
        }
    }

    /// Keeps a message for later. One too many is lost; the comparison after the challenge makes up for it.
    pub(crate) fn hold(&mut self, packet: &Packet) {
        let held: usize = self.held.iter().map(Packet::len).sum();
        if self.held.len() < MAX_HELD && held + packet.len() <= MAX_MESSAGE {
            self.held.push(packet.clone());
        }
    }

    /// True while messages other than keepalives make sense on it.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Since when it is up.
    pub(crate) fn up_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Up { since } => Some(since),
            _ => None,
        }
    }

    /// The other end's run.
    pub(crate) fn instance(&self) -> Option<u64> {
        self.hello.as_ref().map(|hello| hello.instance)
    }

    /// Of two links with one router the smaller rank is kept: that dialled by the lower id, of several the
    /// first. Both ends find the same.
    pub(crate) fn rank(&self, own: &PeerId) -> (PeerId, u64) {
        match self.direction {
            Direction::Out => (*own, self.number),
            Direction::In => (
                self.peer,
                self.hello.as_ref().map_or(u64::MAX, |hello| hello.number),
            ),
        }
    }

    /// The number of the next ping, and whether it shall go where it can't be lost: something is wrong already.
    pub(crate) fn next_ping(&self) -> (u64, bool) {
        let is_unanswered = self.pings > self.last_answered;
        (self.pings + 1, is_unanswered || self.direction == Direction::In)
    }

    /// Sends a ping and returns its number. If no answer comes, the next one follows sooner than else.
    pub(crate) fn ping(
        &mut self,
        now: Instant,
        (keepalive, reliable): (Duration, bool),
        news: News,
        out: &mut Outbox,
    ) -> u64 {
        self.pings += 1;
        let held = |at| u32::try_from(now.since(at).as_micros()).ok();
        let echo = self
            .answer
            .take()
            .and_then(|(number, at)| held(at).map(|held_us| Echo { number, held_us }));
        let message = Message::Ping(Ping {
            number: self.pings,
            reliable,
            echo,
            news,
        });
        if reliable {
            out.send(self.id, message);
        } else {
            out.send_lossy(self.id, message);
        }
        self.rtt.sent(now, self.pings);
        self.asked = now;
        self.next_ping = now + keepalive / 2;
        self.pings
    }

    /// Our last ping was answered: the next one has time. The end that was dialled leaves asking to the other.
    pub(crate) fn answered(&mut self, now: Instant, number: u64, keepalive: Duration) {
        self.answer = Some((number, now));
        self.last_answered = self.last_answered.max(number);
        if number == self.pings {
            self.next_ping = self.asked + self.pace(keepalive);
        }
    }

    /// Answers a ping.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        ping: &Ping,
        (keepalive, news): (Duration, News),
        out: &mut Outbox,
    ) {
        if self.answered.len() >= ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((ping.number, now));
        if self.direction == Direction::In && self.is_up() {
            self.next_ping = now + self.pace(keepalive);
        }
        let pong = Message::Pong(Pong {
            number: ping.number,
            news,
        });
        if ping.reliable {
            out.send(self.id, pong);
        } else {
            out.send_lossy(self.id, pong);
        }
    }

    /// The other end tells when an answer of ours came: that is a round trip, too. Returns true if we gave it.
    pub(crate) fn echoed(&mut self, now: Instant, echo: &Echo) -> bool {
        let Some(at) = self
            .answered
            .iter()
            .position(|(number, _)| *number == echo.number)
        else {
            return false;
        };
        if let Some((_, sent)) = self.answered.drain(..=at).next_back()
            && let Some(took) = now
                .since(sent)
                .checked_sub(Duration::from_micros(u64::from(echo.held_us)))
        {
            self.rtt.took(took);
        }
        true
    }

    /// True if a ping is due, or soon enough to go along with others: an idle router wakes once for all its links.
    pub(crate) fn is_ping_due(&self, now: Instant, keepalive: Duration, others_are: bool) -> bool {
        let goes_along = others_are && self.direction == Direction::Out && now >= self.asked + keepalive / 2;
        self.is_up() && (now >= self.next_ping || goes_along)
    }

    /// Time between two pings that are answered. One of the ends asks, and both learn from it that the other lives,
    /// and the round trip time; the other end asks only if it hears of no question.
    fn pace(&self, keepalive: Duration) -> Duration {
        match self.direction {
            Direction::Out => keepalive,
            Direction::In => keepalive * 3 / 2,
        }
    }
}
