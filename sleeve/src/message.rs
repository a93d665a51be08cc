//! Messages of the control halves: inside sessions (probes, pings, rekeys, keys for the kernel), and over the control plane as opaque
//! payloads (first handshakes, addresses).
//!
//! One byte says which, postcard follows. Bytes behind a message are ignored: probes are padded with them to the
//! size they measure, and later versions append fields.

use crypto::esp::NONCE;
use mesh::ShortId;
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::net::{IpAddr, SocketAddr};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Most addresses taken from one message.
pub const MAX_CANDIDATES: usize = 16;

/// A message between control halves. The kind byte of each is given by [`Message::kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Nothing, but under a session's keys: it confirms the session.
    Keepalive(Keepalive),
    /// Asks the other end of a direct path to answer.
    Probe(Probe),
    /// Answers a probe, to the address it came from.
    ProbeAck(ProbeAck),
    /// The operator asks for a round trip.
    Ping(Nonce),
    /// The answer to a ping.
    Pong(Nonce),
    /// First message of a session handshake.
    Handshake1(Handshake1),
    /// Second message of a session handshake.
    Handshake2(Handshake2),
    /// Where the sender may be reached.
    Candidates(Candidates),
    /// The key to what the sender sends along its tree in one network.
    GroupKey(GroupKey),
    /// The sender has a group key, and knows from whom to take what is sealed under it.
    GroupKeyAck(GroupKeyAck),
    /// Frames will come along a tree in which the sender's parent is the receiver.
    TreeUsed(TreeUsed),
    /// The sender's kernel wants to encrypt towards the receiver's.
    EspAsk(EspAsk),
    /// The sender's kernel opens what is encrypted so.
    EspOffer(EspOffer),
    /// It does not.
    EspRefuse(EspRefuse),
}

/// See [`Message::EspAsk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EspAsk {
    /// Random; the answer repeats it.
    pub number: u64,
    /// The sender's underlay address.
    pub here: IpAddr,
    /// The receiver's, as the sender knows it.
    pub there: IpAddr,
}

/// See [`Message::EspOffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EspOffer {
    /// The question's.
    pub number: u64,
    /// The index of the association at the sender of this.
    pub spi: u32,
    /// Random, part of what the key is made of.
    pub nonce: [u8; NONCE],
    /// The index, at the receiver of this, of the session from which the key is made.
    pub session: u32,
}

/// See [`Message::EspRefuse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EspRefuse {
    /// The question's.
    pub number: u64,
    /// [`EspRefusal::number`](crate::EspRefusal::number).
    pub why: u8,
}

/// See [`Message::Keepalive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// The other end shall answer with one that asks for nothing.
    pub answer: bool,
}

/// See [`Message::Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Random; the answer repeats it.
    pub nonce: u64,
    /// The sender trusts the address it sends this to.
    pub trusted: bool,
}

/// See [`Message::ProbeAck`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeAck {
    /// The probe's.
    pub nonce: u64,
    /// The sender trusts the address the probe came from.
    pub trusted: bool,
    /// The address the probe came from.
    pub seen: SocketAddr,
}

/// A number that the answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce {
    /// Random.
    pub nonce: u64,
}

/// See [`Message::Handshake1`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake1 {
    /// The initiator's receiver index, so that the answer finds its initiation.
    pub index: u32,
    /// Noise message 1.
    pub noise: Vec<u8>,
}

/// See [`Message::Handshake2`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake2 {
    /// The index of the initiation that this answers.
    pub index: u32,
    /// Noise message 2.
    pub noise: Vec<u8>,
}

/// See [`Message::Candidates`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// Best first.
    pub addresses: Vec<SocketAddr>,
    /// The other end shall send its own.
    pub answer: bool,
}

/// See [`Message::GroupKey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupKey {
    /// The network.
    pub vni: u32,
    /// The sender's name for the key.
    pub id: u32,
    /// The number of the AEAD it is for.
    pub cipher: u8,
    /// The key.
    pub secret: GroupSecret,
}

/// See [`Message::GroupKeyAck`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupKeyAck {
    /// The network.
    pub vni: u32,
    /// The name of the key, as it was given.
    pub id: u32,
}

/// See [`Message::TreeUsed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeUsed {
    /// The network.
    pub vni: u32,
    /// Whose tree.
    pub source: ShortId,
}

/// The bytes of a group key. Wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct GroupSecret([u8; 32]);

impl GroupSecret {
    /// A new one.
    pub fn generate(rng: &mut dyn CryptoRngCore) -> Self {
        let mut secret = Self([0; 32]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for GroupSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupSecret")
    }
}

/// Room for any message of fixed size, so that the bytes of a key are not left behind by a buffer that grew.
const ROOM: usize = 64;

const KEEPALIVE: u8 = 3;
const PROBE: u8 = 4;
const PROBE_ACK: u8 = 5;
const PING: u8 = 6;
const PONG: u8 = 7;
const HANDSHAKE_1: u8 = 8;
const HANDSHAKE_2: u8 = 9;
const CANDIDATES: u8 = 10;
const GROUP_KEY: u8 = 11;
const GROUP_KEY_ACK: u8 = 12;
const TREE_USED: u8 = 13;
const ESP_ASK: u8 = 14;
const ESP_OFFER: u8 = 15;
const ESP_REFUSE: u8 = 16;

impl Message {
    /// The byte that names this kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Keepalive(_) => KEEPALIVE,
            Self::Probe(_) => PROBE,
            Self::ProbeAck(_) => PROBE_ACK,
            Self::Ping(_) => PING,
            Self::Pong(_) => PONG,
            Self::Handshake1(_) => HANDSHAKE_1,
            Self::Handshake2(_) => HANDSHAKE_2,
            Self::Candidates(_) => CANDIDATES,
            Self::GroupKey(_) => GROUP_KEY,
            Self::GroupKeyAck(_) => GROUP_KEY_ACK,
            Self::TreeUsed(_) => TREE_USED,
            Self::EspAsk(_) => ESP_ASK,
            Self::EspOffer(_) => ESP_OFFER,
            Self::EspRefuse(_) => ESP_REFUSE,
        }
    }

    /// The bytes of this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ROOM);
        bytes.push(self.kind());
        let encoded = match self {
            Self::Keepalive(body) => postcard::to_extend(body, bytes),
            Self::Probe(body) => postcard::to_extend(body, bytes),
            Self::ProbeAck(body) => postcard::to_extend(body, bytes),
            Self::Ping(body) | Self::Pong(body) => postcard::to_extend(body, bytes),
            Self::Handshake1(body) => postcard::to_extend(body, bytes),
            Self::Handshake2(body) => postcard::to_extend(body, bytes),
            Self::Candidates(body) => postcard::to_extend(body, bytes),
            Self::GroupKey(body) => postcard::to_extend(body, bytes),
            Self::GroupKeyAck(body) => postcard::to_extend(body, bytes),
            Self::TreeUsed(body) => postcard::to_extend(body, bytes),
            Self::EspAsk(body) => postcard::to_extend(body, bytes),
            Self::EspOffer(body) => postcard::to_extend(body, bytes),
            Self::EspRefuse(body) => postcard::to_extend(body, bytes),
        };
        // Writing plain data into a growing vector can't fail; an empty message would be refused by its reader.
        encoded.unwrap_or_default()
    }

    /// Reads a message; `None` if it makes no sense or is of an unknown kind.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, body) = bytes.split_first()?;
        match *kind {
            KEEPALIVE => read(body).map(Self::Keepalive),
            PROBE => read(body).map(Self::Probe),
            PROBE_ACK => read(body).map(Self::ProbeAck),
            PING => read(body).map(Self::Ping),
            PONG => read(body).map(Self::Pong),
            HANDSHAKE_1 => read(body).map(Self::Handshake1),
            HANDSHAKE_2 => read(body).map(Self::Handshake2),
            CANDIDATES => read(body).map(|mut body: Candidates| {
                body.addresses.truncate(MAX_CANDIDATES);
                Self::Candidates(body)
            }),
            GROUP_KEY => read(body).map(Self::GroupKey),
            GROUP_KEY_ACK => read(body).map(Self::GroupKeyAck),
            TREE_USED => read(body).map(Self::TreeUsed),
            ESP_ASK => read(body).map(Self::EspAsk),
            ESP_OFFER => read(body).map(Self::EspOffer),
            ESP_REFUSE => read(body).map(Self::EspRefuse),
            _ => None,
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    postcard::take_from_bytes(body).ok().map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn examples() -> Vec<Message> {
        let seen = "[2001:db8::1]:6783".parse().unwrap();
        vec![
            Message::Keepalive(Keepalive { answer: true }),
            Message::Probe(Probe {
                nonce: 1,
                trusted: false,
            }),
            Message::ProbeAck(ProbeAck {
                nonce: u64::MAX,
                trusted: true,
                seen,
            }),
            Message::Ping(Nonce { nonce: 3 }),
            Message::Pong(Nonce { nonce: 4 }),
            Message::Handshake1(Handshake1 {
                index: 5,
                noise: vec![6; 150],
            }),
            Message::Handshake2(Handshake2 {
                index: 7,
                noise: vec![],
            }),
            Message::Candidates(Candidates {
                addresses: vec![seen; 3],
                answer: true,
            }),
            Message::GroupKey(GroupKey {
                vni: 1,
                id: u32::MAX,
                cipher: 2,
                secret: GroupSecret([9; 32]),
            }),
            Message::GroupKeyAck(GroupKeyAck { vni: 1 << 24, id: 0 }),
            Message::EspAsk(EspAsk {
                number: 10,
                here: seen.ip(),
                there: "192.0.2.1".parse().unwrap(),
            }),
            Message::EspOffer(EspOffer {
                number: u64::MAX,
                spi: u32::MAX,
                nonce: [11; NONCE],
                session: 12,
            }),
            Message::EspRefuse(EspRefuse { number: 13, why: 255 }),
        ]
    }

    #[test]
    fn messages_round_trip_with_anything_behind_them() {
        for message in examples() {
            let mut bytes = message.encode();
            assert_eq!(Message::decode(&bytes).as_ref(), Some(&message));
            bytes.resize(1400, 0xff);
            assert_eq!(Message::decode(&bytes), Some(message));
        }
    }

    #[test]
    fn truncated_messages_are_refused() {
        for message in examples() {
            let bytes = message.encode();
            for end in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..end]), None, "{message:?} cut at {end}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(kind in 0u8..18, mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            bytes.insert(0, kind);
            if let Some(Message::Candidates(body)) = Message::decode(&bytes) {
                prop_assert!(body.addresses.len() <= MAX_CANDIDATES);
            }
        }
    }
}
