//! What goes over the wires, counted per router.

use std::ops::{Add, Sub};

/// What packets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// QUIC's and the secret's handshakes, path MTU discovery, ends of connections.
    Handshake,
    /// Control messages on streams.
    Control,
    /// Control messages that may be lost: keepalives and their answers.
    Keepalive,
    /// Packets that only acknowledge.
    Ack,
    /// Frames of containers, and messages inside sessions.
    Data,
    /// Probes of direct paths, and of round trips to routers that are not linked.
    Probe,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Handshake,
        Self::Control,
        Self::Keepalive,
        Self::Ack,
        Self::Data,
        Self::Probe,
    ];

    /// For people and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Control => "control",
            Self::Keepalive => "keepalive",
            Self::Ack => "ack",
            Self::Data => "data",
            Self::Probe => "probe",
        }
    }
}

/// So many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Messages: what the router handed over as one piece.
    pub messages: u64,
    /// IP packets.
    pub packets: u64,
    /// Bytes of the packets, IP and UDP headers included.
    pub bytes: u64,
}

/// What one router, or all, sent and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    sent: [Count; Class::ALL.len()],
    received: [Count; Class::ALL.len()],
}

impl Traffic {
    /// What was sent, whether it arrived or not.
    #[must_use]
    pub fn sent(&self, class: Class) -> Count {
        self.sent[class as usize]
    }

    /// What arrived.
    #[must_use]
    pub fn received(&self, class: Class) -> Count {
        self.received[class as usize]
    }

    /// All that was sent.
    #[must_use]
    pub fn all_sent(&self) -> Count {
        self.sent.into_iter().fold(Count::default(), Add::add)
    }

    /// All that arrived.
    #[must_use]
    pub fn all_received(&self) -> Count {
        self.received.into_iter().fold(Count::default(), Add::add)
    }

    /// Bytes sent and received that are not containers' frames: what the mesh costs.
    #[must_use]
    pub fn control_bytes(&self) -> u64 {
        let of = |counts: &[Count]| counts.iter().map(|count| count.bytes).sum::<u64>();
        let data = Class::Data as usize;
        of(&self.sent) + of(&self.received) - self.sent[data].bytes - self.received[data].bytes
    }

    pub(crate) fn send(&mut self, class: Class, messages: u64, packets: u64, bytes: u64) {
        self.sent[class as usize].more(messages, packets, bytes);
    }

    pub(crate) fn receive(&mut self, class: Class, messages: u64, packets: u64, bytes: u64) {
        self.received[class as usize].more(messages, packets, bytes);
    }
}

impl Count {
    fn more(&mut self, messages: u64, packets: u64, bytes: u64) {
        self.messages += messages;
        self.packets += packets;
        self.bytes += bytes;
    }
}

impl Add for Count {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.more(other.messages, other.packets, other.bytes);
        self
    }
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(other.messages),
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: std::array::from_fn(|class| self.sent[class] + other.sent[class]),
            received: std::array::from_fn(|class| self.received[class] + other.received[class]),
        }
    }
}

/// What came since an earlier count.
impl Sub for Traffic {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            sent: std::array::from_fn(|class| self.sent[class] - other.sent[class]),
            received: std::array::from_fn(|class| self.received[class] - other.received[class]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut traffic = Traffic::default();
        traffic.send(Class::Control, 1, 2, 2000);
        let before = traffic;
        traffic.send(Class::Ack, 0, 1, 60);
        traffic.receive(Class::Data, 1, 1, 500);
        let count = |messages, packets, bytes| Count {
            messages,
            packets,
            bytes,
        };
        assert_eq!(traffic.all_sent(), count(1, 3, 2060));
        assert_eq!((traffic - before).all_sent(), count(0, 1, 60));
        assert_eq!((traffic + before).sent(Class::Control), count(2, 4, 4000));
        assert_eq!(traffic.control_bytes(), 2060);
        assert_eq!(Class::ALL.map(|class| class as usize), [0, 1, 2, 3, 4, 5]);
    }
}
