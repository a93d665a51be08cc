//! What goes over the stream of a connection: each message whole and in order, whatever becomes of its packets.
//!
//! A message of one packet is one event. A longer one takes as many round trips as the congestion
//! [window](crate::window) makes of it; it arrives with its last packet, and what was lost is sent again.

use crate::connection::{ACK, Packet};
use crate::links::Number;
use crate::world::Event;
use crate::{Class, World};
use mesh::Instant;
use std::time::Duration;

/// What became of packets sent at once.
struct Burst {
    passed: u32,
    lost: u32,
    /// Of the message, still to send.
    left: u32,
    /// When the last of those that passed arrives.
    at: Instant,
}

impl World {
    /// Puts a message on the stream.
    pub(crate) fn transmit(&mut self, number: Number, end: usize, packet: Packet) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        if !connection.ends[end].is_closed() {
            connection.ends[end].waiting.push_back(packet);
            self.pump(number, end);
        }
    }

    /// A retransmission is due, or the next round trip of a long message.
    pub(crate) fn retry(&mut self, number: Number, end: usize) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.ends[end].retrying = false;
            self.pump(number, end);
        }
    }

    /// Sends what waits, up to the first message that does not pass whole.
    fn pump(&mut self, number: Number, end: usize) {
        let Some((from, to)) = self.parties(number, end) else {
            return;
        };
        let now = self.now();
        while let Some(packet) = self.next_waiting(number, end) {
            let burst = self.burst(number, end, &packet);
            let is_whole = burst.as_ref().is_some_and(|burst| burst.left == 0);
            // Most messages pass at once, and need none.
            let round_trip = if is_whole {
                Duration::ZERO
            } else {
                self.network.round_trip(from, to)
            };
            let connection = self.connections.get_mut(number);
            let (Some(burst), Some(connection)) = (burst, connection) else {
                return;
            };
            let near = &mut connection.ends[end];
            near.left = burst.left;
            if burst.passed > 0 {
                near.passed();
                near.last_arrival = burst.at;
            }
            let (is_sent, at) = match (burst.left, burst.passed, burst.lost) {
                (0, _, _) => (true, near.last_arrival),
                // No room in the window.
                (_, 0, 0) => (false, near.window.round_ends().max(now)),
                (_, 0, _) => (false, now + near.backoff(round_trip)),
                // The acknowledgements of what passed say what is missing (RFC 9002, section 6.1).
                (_, _, 1..) => (false, now + round_trip + round_trip / 8),
                _ => (false, now + round_trip),
            };
            if !is_sent {
                near.waiting.push_front(packet);
                near.retrying = true;
                self.clock.plan(at, Event::Retry { number, end });
            } else {
                let end = 1 - end;
                self.clock.plan(at, Event::Packet { number, end, packet });
            }
            // Every second packet of a long message is acknowledged.
            let acks = u64::from(burst.passed.div_ceil(2));
            self.count_more(to, from, Class::Ack, acks, acks * ACK);
        }
    }

    /// The message that is sent next; `None` while one waits to be sent again.
    fn next_waiting(&mut self, number: Number, end: usize) -> Option<Packet> {
        let near = &mut self.connections.get_mut(number)?.ends[end];
        (!near.retrying).then(|| near.waiting.pop_front()).flatten()
    }

    /// Sends as much of a message as may be sent now.
    fn burst(&mut self, number: Number, end: usize, packet: &Packet) -> Option<Burst> {
        let (now, is_there) = (self.now(), self.is_there(number, 1 - end));
        let connection = self.connections.get_mut(number)?;
        let other = connection.ends[1 - end].host;
        let near = &mut connection.ends[end];
        let total = packet.packets();
        let left = if near.left == 0 { total } else { near.left };
        let count = match total {
            1 => 1,
            // A probe, until something passes (RFC 9002, section 6.2.4).
            _ if near.is_backing_off() => 1,
            _ => {
                let (from, to) = (near.host, other);
                left.min(near.window.room(now, self.network.round_trip(from, to)))
            }
        };
        let (mut passed, mut at) = (0, near.last_arrival);
        for nth in (left - count..left).rev() {
            let messages = u64::from(nth + 1 == total);
            let passage = self.carry_along(number, end, packet.size(nth), (packet.class(), messages));
            if let Some(passage) = passage.filter(|_| is_there) {
                passed += 1;
                at = at.max(passage.at);
            }
        }
        let lost = count - passed;
        if total > 1 {
            let near = &mut self.connections.get_mut(number)?.ends[end];
            near.window.sent(count, lost);
        }
        Some(Burst {
            passed,
            lost,
            left: left - passed,
            at,
        })
    }
}
