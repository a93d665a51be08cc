//! One link.

use super::rtt::Rtt;
use crate::bucket::Bucket;
use crate::outbox::Outbox;
use crate::wire::{Hello, Message, Ping};
use crate::{Direction, Instant, LinkId, MAX_MESSAGE, Packet, PeerId};
use std::net::SocketAddr;

/// Invalid signatures a neighbour may forward per minute.
pub(crate) const SIGNATURE_BUDGET: u32 = 16;
/// Anti-entropy messages that are answered at once, and per minute.
const REPAIR_BURST: u32 = 256;
const REPAIR_RATE: u32 = 3000;

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
    pub(crate) signatures: Bucket,
    pub(crate) repairs: Bucket,
    pings: u64,
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
            signatures: Bucket::new(now, SIGNATURE_BUDGET, SIGNATURE_BUDGET),
            repairs: Bucket::new(now, REPAIR_BURST, REPAIR_RATE),
            pings: 0,
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

    /// Sends a ping and returns its number.
    pub(crate) fn ping(&mut self, now: Instant, reliable: bool, out: &mut Outbox) -> u64 {
        self.pings += 1;
        let message = Message::Ping(Ping {
            number: self.pings,
            reliable,
        });
        if reliable {
            out.send(self.id, message);
        } else {
            out.send_lossy(self.id, message);
        }
        self.rtt.sent(now, self.pings);
        self.pings
    }
}
