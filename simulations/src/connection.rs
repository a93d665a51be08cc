//! One QUIC connection between two hosts, as far as the daemon sees of it: a stream each way that loses nothing and
//! keeps its order, a handshake on it, an end.

use crate::window::Window;
use crate::{Class, HostId};
use crypto::{LinkInitiator, LinkResponder};
use mesh::{Instant, LinkId, PeerId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// From the first packet to the proof of the secret, on either side.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// A connection on which nothing came for so long ends without a word (RFC 9000, section 10.1).
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// Acknowledgements may be held back so long (RFC 9000, section 18.2), so retransmission waits for it.
const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
/// Until the round trip is known it counts as a third of a second (RFC 9002, section 6.2.2), three of which are waited.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Keepalives are sent every second, and the answer to one brings back what is missing.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// The smallest IP packet with which a connection can begin: 1200 bytes (RFC 9000, section 14), UDP and IP headers.
pub(crate) const FIRST_PACKET: usize = 1248;
/// A packet that only acknowledges: IP and UDP headers, QUIC's short header, an ACK frame, the tag.
pub(crate) const ACK: u64 = 65;
/// What each end sends besides until a connection rests: the rest of TLS, acknowledgements, and the probes of path MTU
/// discovery, which are most of it. Packets and bytes, as `tests/calibration` sees them of quinn.
pub(crate) const SETTLING: (u64, u64) = (11, 6_800);
/// Headers and tag around a message.
pub(crate) const OVERHEAD: usize = 60;

/// Bytes of a message that fit in a packet. Path MTU discovery, which finds room for more, is not counted on.
const ROOM: usize = FIRST_PACKET - OVERHEAD;

/// Why a connection is closed, as the other end learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// Not wanted, or no longer.
    Closed,
    /// The secret is another one.
    SecretRefused,
    /// Both ends are the same router.
    SelfLink,
    /// The handshake makes no sense.
    Protocol,
}

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// The dialler's first.
    Initial,
    /// The answer, which shows the identity of the answering end.
    Welcome,
    /// A message of the proof of the secret.
    Proof(Vec<u8>),
    /// A control message.
    Message(mesh::Packet),
}

impl Packet {
    /// The bytes inside.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Initial | Self::Welcome => &[],
            Self::Proof(bytes) => bytes,
            Self::Message(packet) => packet.bytes(),
        }
    }

    /// What it is for.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Initial | Self::Welcome | Self::Proof(_) => Class::Handshake,
            Self::Message(_) => Class::Control,
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Initial | Self::Welcome => ROOM,
            Self::Proof(bytes) => bytes.len(),
            Self::Message(packet) => packet.len(),
        }
    }

    /// IP packets that it goes in.
    pub(crate) fn packets(&self) -> u32 {
        u32::try_from(self.length().div_ceil(ROOM))
            .unwrap_or(u32::MAX)
            .max(1)
    }

    /// The bytes of all of them.
    pub(crate) fn wire_bytes(&self) -> u64 {
        (self.length() + self.packets() as usize * OVERHEAD) as u64
    }

    /// The size of one of them, counted from the end: all are full but the last.
    pub(crate) fn size(&self, nth: u32) -> usize {
        let before = (self.packets() - 1) as usize * ROOM;
        let length = if nth == 0 { self.length() - before } else { ROOM };
        length + OVERHEAD
    }
}

/// How far an end is.
pub(crate) enum Stage {
    /// The dialler waits for the first answer.
    Dialling,
    /// The dialler waits for the second message of the proof.
    Offering(LinkInitiator),
    /// The other end waits for the first packet, then for the first message of the proof.
    Listening,
    /// The other end waits for the third message.
    Answering(LinkResponder),
    /// It is a link.
    Up(LinkId),
    /// It is over, or the process is gone.
    Closed,
}

/// One end.
pub(crate) struct End {
    pub(crate) host: HostId,
    /// The run of the router there; `None` until the first packet reaches one.
    pub(crate) run: Option<u64>,
    /// Where it sends.
    pub(crate) remote: SocketAddr,
    pub(crate) stage: Stage,
    /// What did not pass yet.
    pub(crate) waiting: VecDeque<Packet>,
    /// A retransmission is planned.
    pub(crate) retrying: bool,
    tries: u32,
    /// Packets of the first message in `waiting` that did not pass yet; 0: it was not begun.
    pub(crate) left: u32,
    pub(crate) window: Window,
    /// Nothing sent later arrives at the other end before.
    pub(crate) last_arrival: Instant,
    /// When something came last.
    pub(crate) heard: Instant,
}

impl End {
    fn new(now: Instant, host: HostId, run: Option<u64>, remote: SocketAddr, stage: Stage) -> Self {
        Self {
            host,
            run,
            remote,
            stage,
            waiting: VecDeque::new(),
            retrying: false,
            tries: 0,
            left: 0,
            window: Window::new(),
            last_arrival: now,
            heard: now,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        match self.stage {
            Stage::Up(link) => Some(link),
            _ => None,
        }
    }

    /// Nothing passed lately.
    pub(crate) fn is_backing_off(&self) -> bool {
        self.tries > 0
    }

    /// A packet passed.
    pub(crate) fn passed(&mut self) {
        self.tries = 0;
    }

    /// A packet did not: how long until the next try (RFC 9002, section 6.2).
    pub(crate) fn backoff(&mut self, round_trip: Duration) -> Duration {
        let (first, most) = match self.stage {
            // Nothing was heard yet, so the round trip is not known.
            Stage::Dialling => (FIRST_BACKOFF, HANDSHAKE_TIME),
            _ => (round_trip + round_trip / 2 + MAX_ACK_DELAY, MAX_BACKOFF),
        };
        self.tries += 1;
        (first * (1 << self.tries.min(8)) / 2).min(most.max(first))
    }
}

/// A connection. The first end dialled.
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    /// Keying material that only these two ends have, in the place of TLS's (RFC 8446, section 7.5).
    pub(crate) exporter: [u8; 32],
    pub(crate) target: String,
    pub(crate) expect: Option<PeerId>,
    /// Which of its secrets the dialler offers, oldest first.
    pub(crate) secret: usize,
    /// The other end has moved away: nothing passes any more.
    pub(crate) severed: bool,
}

impl Connection {
    /// A connection whose first packet is about to be sent.
    pub(crate) fn new(
        now: Instant,
        from: (HostId, u64),
        to: HostId,
        (source, remote): (SocketAddr, SocketAddr),
        exporter: [u8; 32],
        (target, expect): (String, Option<PeerId>),
    ) -> Self {
        Self {
            ends: [
                End::new(now, from.0, Some(from.1), remote, Stage::Dialling),
                End::new(now, to, None, source, Stage::Listening),
            ],
            exporter,
            target,
            expect,
            secret: 0,
            severed: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends.iter().all(End::is_closed)
    }
}

/// All connections that are not over, by their numbers.
#[derive(Default)]
pub(crate) struct Connections {
    /// By number. One that is over leaves its place empty: numbers are never used again.
    places: Vec<Option<Box<Connection>>>,
    standing: usize,
}

impl Connections {
    /// The number of the next one.
    pub(crate) fn next_number(&self) -> u64 {
        self.places.len() as u64
    }

    /// Takes in the next one.
    pub(crate) fn push(&mut self, connection: Connection) {
        self.places.push(Some(Box::new(connection)));
        self.standing += 1;
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Connection> {
        self.places.get(usize::try_from(number).ok()?)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Connection> {
        self.places.get_mut(usize::try_from(number).ok()?)?.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, number: u64) {
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| self.places.get_mut(number));
        self.standing -= usize::from(place.and_then(Option::take).is_some());
    }

    /// Forgets those that are over.
    pub(crate) fn drop_over(&mut self) {
        for place in &mut self.places {
            let over = place.take_if(|connection| connection.is_over());
            self.standing -= usize::from(over.is_some());
        }
    }

    /// In the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Connection)> {
        let places = (0..).zip(&self.places);
        places.filter_map(|(number, place)| Some((number, place.as_deref()?)))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.places.iter_mut().flatten().map(Box::as_mut)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_go_in_full_packets_and_a_rest() {
        let message = |length| Packet::Message(mesh::Packet::from(vec![0; length]));
        assert_eq!(
            (message(100).packets(), message(100).size(0)),
            (1, 100 + OVERHEAD)
        );
        assert_eq!(
            (message(ROOM).packets(), message(ROOM).size(0)),
            (1, FIRST_PACKET)
        );
        let long = message(2 * ROOM + 7);
        assert_eq!(
            [2, 1, 0].map(|nth| long.size(nth)),
            [FIRST_PACKET, FIRST_PACKET, 7 + OVERHEAD]
        );
        assert_eq!(
            (Packet::Initial.packets(), Packet::Initial.size(0)),
            (1, FIRST_PACKET)
        );
    }

    #[test]
    fn retransmissions_back_off_to_a_second() {
        let mut end = End::new(
            Instant(0),
            HostId(0),
            None,
            ([192, 0, 2, 1], 1).into(),
            Stage::Listening,
        );
        let round_trip = Duration::from_millis(50);
        let waits: Vec<_> = (0..6).map(|_| end.backoff(round_trip).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        end.passed();
        assert_eq!(end.backoff(round_trip).as_millis(), 100);
    }
}
