//! Messages between neighbours: one kind byte, then the body in postcard.
//!
//! Bytes after the known fields are ignored, so that later versions can append. Whatever arrives, decoding
//! neither panics nor allocates more than a small multiple of the message.

use crate::record::{Key, Record, RecordError, Version};
use crate::{PeerId, PeerName};
use postcard::ser_flavors::Size;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Lowest protocol version this program speaks.
pub(crate) const VERSION_MIN: u16 = 1;
/// Highest protocol version this program speaks.
pub(crate) const VERSION_MAX: u16 = 1;

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// First on every link, in both directions.
    Hello(Hello),
    /// Asks for a [`Pong`](Message::Pong).
    Ping(Ping),
    /// Answers a ping.
    Pong(Pong),
    /// The sender stops: drop the link and tell everybody.
    Goodbye,
    /// Signed records, each as its origin made it.
    Records(Batch),
    /// Anti-entropy, step 1: hash over all records of reachable origins.
    Root([u8; 32]),
    /// Step 2, when the roots differ: one hash per bucket.
    Buckets(Vec<u64>),
    /// Step 3: what the sender holds in the buckets that differ.
    Keys(Keys),
    /// Step 4: the receiver shall send the records of these keys.
    Pull(Vec<Key>),
    /// Bytes for a router further away.
    Routed(Routed),
    /// Whether the receiver is the sender's parent in the tree along which records spread.
    Parent(bool),
    /// The receiver shall send the records with these marks, which it showed.
    Want(Marks),
    /// In the place of a hello: the sender has all the links it takes. Records of others to dial follow.
    Full,
}

/// Records that travel together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch {
    /// Those that are records.
    pub(crate) records: Vec<Arc<Record>>,
    /// What was wrong with others that came along; never sent.
    pub(crate) refused: Vec<RecordError>,
}

/// Introduces one end of a link to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Lowest protocol version the sender speaks.
    pub(crate) version_min: u16,
    /// Highest one.
    pub(crate) version_max: u16,
    /// Nickname.
    pub(crate) name: PeerName,
    /// Random number of the sender's run.
    pub(crate) instance: u64,
    /// The sender's epoch.
    pub(crate) epoch: u64,
    /// The receiver's address as the sender sees it.
    pub(crate) observed: SocketAddr,
    /// The sender's count of its links; both ends rank links by the dialler's.
    pub(crate) number: u64,
}

/// A question whether the other end lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ping {
    /// Comes back in the answer.
    pub(crate) number: u64,
    /// True: the answer shall travel on the ordered stream, where it can't be lost.
    pub(crate) reliable: bool,
    /// The last answer that the sender got.
    pub(crate) echo: Option<Echo>,
    /// What the sender has that is new.
    pub(crate) news: News,
}

/// Tells the other end when its answer came, so that it knows the round trip time without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Echo {
    /// The number of the [`Pong`].
    pub(crate) number: u64,
    /// How long ago it came, in microseconds.
    pub(crate) held_us: u32,
}

/// The answer to a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pong {
    /// That of the ping.
    pub(crate) number: u64,
    /// What the sender has that is new.
    pub(crate) news: News,
}

/// Records that came in lately and that the receiver may not have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct News {
    /// Their marks.
    pub(crate) marks: Marks,
    /// There are more of them than are listed.
    pub(crate) more: bool,
}

/// Short names of records, eight bytes each: see [`Record::mark`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Marks(pub(crate) Vec<u64>);

/// What the sender holds in some buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// Which buckets.
    pub(crate) buckets: Vec<u8>,
    /// False: the list below was cut, so a key that is missing from it means nothing.
    pub(crate) complete: bool,
    /// Everything the sender holds in them.
    pub(crate) held: Vec<(Key, Version)>,
}

/// Bytes on their way along a path that their origin chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routed {
    /// Who sent them; known to be true only by trust in each hop.
    pub(crate) origin: PeerId,
    /// The hops, destination last.
    pub(crate) path: Vec<PeerId>,
    /// Index in `path` of the router that receives this message.
    pub(crate) cursor: u8,
    /// Opaque.
    pub(crate) payload: Blob,
}

/// Bytes, encoded as one piece.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// No kind this version knows.
    #[error("a message of unknown kind")]
    Unknown,
    /// Empty, or the body is cut or nonsense.
    #[error("a malformed message")]
    Malformed,
}

impl Message {
    /// The message as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(body) => pack(1, body),
            Self::Ping(body) => pack(2, body),
            Self::Pong(body) => pack(3, body),
            Self::Goodbye => pack(4, &()),
            Self::Records(body) => pack(5, &Blobs(&body.records)),
            Self::Root(body) => pack(6, body),
            Self::Buckets(body) => pack(7, body),
            Self::Keys(body) => pack(8, body),
            Self::Pull(body) => pack(9, body),
            Self::Routed(body) => pack(10, body),
            Self::Parent(body) => pack(12, body),
            Self::Want(body) => pack(13, body),
            Self::Full => pack(11, &()),
        }
    }

    /// How many bytes [`encode`](Self::encode) makes.
    pub(crate) fn size(&self) -> usize {
        1 + match self {
            Self::Hello(body) => size(body),
            Self::Ping(body) => size(body),
            Self::Pong(body) => size(body),
            Self::Goodbye | Self::Full => 0,
            Self::Records(body) => size(&Blobs(&body.records)),
            Self::Root(body) => size(body),
            Self::Buckets(body) => size(body),
            Self::Keys(body) => size(body),
            Self::Pull(body) => size(body),
            Self::Routed(body) => size(body),
            Self::Parent(body) => size(body),
            Self::Want(body) => size(body),
        }
    }

    /// Reads a message.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (&kind, body) = bytes.split_first().ok_or(WireError::Malformed)?;
        Ok(match kind {
            1 => Self::Hello(unpack(body)?),
            2 => Self::Ping(unpack(body)?),
            3 => Self::Pong(unpack(body)?),
            4 => Self::Goodbye,
            5 => Self::Records(Batch::read(unpack(body)?)),
            6 => Self::Root(unpack(body)?),
            7 => Self::Buckets(unpack(body)?),
            8 => Self::Keys(unpack(body)?),
            9 => Self::Pull(unpack(body)?),
            10 => Self::Routed(unpack(body)?),
            12 => Self::Parent(unpack(body)?),
            13 => Self::Want(unpack(body)?),
            11 => Self::Full,
            _ => return Err(WireError::Unknown),
        })
    }
}

fn pack<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    // Encoding fails only for types of unknown length, and none of ours is one.
    postcard::to_extend(body, vec![kind]).unwrap_or_default()
}

fn size<T: Serialize + ?Sized>(body: &T) -> usize {
    postcard::serialize_with_flavor(body, Size::default()).unwrap_or_default()
}

impl Batch {
    fn read(blobs: Vec<&[u8]>) -> Self {
        let mut batch = Self::default();
        for blob in blobs {
            match Record::parse(blob) {
                Ok(record) => batch.records.push(Arc::new(record)),
                Err(error) => batch.refused.push(error),
            }
        }
        batch
    }
}

impl From<Vec<Arc<Record>>> for Batch {
    fn from(records: Vec<Arc<Record>>) -> Self {
        Self {
            records,
            refused: Vec::new(),
        }
    }
}

/// Records as they are written: each as one piece.
struct Blobs<'a>(&'a [Arc<Record>]);

impl Serialize for Blobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|record| Piece(record.bytes())))
    }
}

struct Piece<'a>(&'a [u8]);

impl Serialize for Piece<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|mark| mark.to_be_bytes()))
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let marks = Vec::<[u8; 8]>::deserialize(deserializer)?;
        Ok(Self(marks.into_iter().map(u64::from_be_bytes).collect()))
    }
}

fn unpack<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    postcard::take_from_bytes(body)
        .map(|(value, _)| value)
        .map_err(|_| WireError::Malformed)
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

struct BlobVisitor;

impl Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer() -> impl Strategy<Value = PeerId> {
        any::<[u8; 32]>().prop_map(PeerId)
    }

    fn key() -> impl Strategy<Value = Key> {
        (peer(), any::<u8>(), any::<u64>()).prop_map(|(origin, kind, subkey)| Key { origin, kind, subkey })
    }

    fn held() -> impl Strategy<Value = (Key, Version)> {
        (key(), any::<u64>(), any::<u64>(), any::<[u8; 16]>())
            .prop_map(|(key, epoch, counter, hash)| (key, Version { epoch, counter, hash }))
    }

    fn blob() -> impl Strategy<Value = Blob> {
        prop::collection::vec(any::<u8>(), 0..99).prop_map(Blob)
    }

    fn record() -> impl Strategy<Value = Arc<Record>> {
        (
            any::<u8>(),
            any::<(u8, u64)>(),
            prop::collection::vec(any::<u8>(), 0..99),
        )
            .prop_map(|(n, slot, body)| crate::testing::record(n, slot, (1, 2), &body))
    }

    fn marks() -> impl Strategy<Value = Marks> {
        prop::collection::vec(any::<u64>(), 0..40).prop_map(Marks)
    }

    fn news() -> impl Strategy<Value = News> {
        (marks(), any::<bool>()).prop_map(|(marks, more)| News { marks, more })
    }

    fn hello() -> impl Strategy<Value = Hello> {
        let address = (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
        ("[!-~]{1,63}", any::<(u16, u16, u64, u64, u64)>(), address).prop_map(|(name, numbers, observed)| {
            let (version_min, version_max, instance, epoch, number) = numbers;
            Hello {
                version_min,
                version_max,
                name: name.parse().unwrap(),
                instance,
                epoch,
                observed,
                number,
            }
        })
    }

    fn routed() -> impl Strategy<Value = Routed> {
        (peer(), prop::collection::vec(peer(), 0..9), any::<u8>(), blob()).prop_map(
            |(origin, path, cursor, payload)| Routed {
                origin,
                path,
                cursor,
                payload,
            },
        )
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            hello().prop_map(Message::Hello),
            (any::<(u64, bool)>(), any::<Option<(u64, u32)>>(), news()).prop_map(
                |((number, reliable), echo, news)| {
                    let echo = echo.map(|(number, held_us)| Echo { number, held_us });
                    Message::Ping(Ping {
                        number,
                        reliable,
                        echo,
                        news,
                    })
                }
            ),
            (any::<u64>(), news()).prop_map(|(number, news)| Message::Pong(Pong { number, news })),
            any::<bool>().prop_map(Message::Parent),
            marks().prop_map(Message::Want),
            Just(Message::Goodbye),
            Just(Message::Full),
            prop::collection::vec(record(), 0..9).prop_map(|records| Message::Records(records.into())),
            any::<[u8; 32]>().prop_map(Message::Root),
            prop::collection::vec(any::<u64>(), 0..300).prop_map(Message::Buckets),
            (any::<(Vec<u8>, bool)>(), prop::collection::vec(held(), 0..9)).prop_map(
                |((buckets, complete), held)| {
                    Message::Keys(Keys {
                        buckets,
                        complete,
                        held,
                    })
                }
            ),
            prop::collection::vec(key(), 0..9).prop_map(Message::Pull),
            routed().prop_map(Message::Routed),
        ]
    }

    proptest! {
        #[test]
        fn messages_round_trip_whatever_is_appended(message in message(), more in any::<Vec<u8>>()) {
            let mut bytes = message.encode();
            prop_assert_eq!(message.size(), bytes.len());
            bytes.extend(more);
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), kind in 0..15_u8) {
            let _ = Message::decode(&bytes);
            let _ = Message::decode(&[&[kind], &bytes[..]].concat());
        }

        #[test]
        fn damaged_messages_are_read_or_refused(message in message(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = message.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Message::decode(&bytes);
            let _ = Message::decode(&bytes[..at]);
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_of_that_size() {
        for kind in 0..15 {
            let bytes = [&[kind][..], &[0xff; 9], &[1]].concat();
            assert!(Message::decode(&bytes).is_err() || [3, 4, 11].contains(&kind));
        }
    }
}
