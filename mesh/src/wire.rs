//! Messages between neighbours: one kind byte, then the body in postcard.
//!
//! Bytes after the known fields are ignored, so that later versions can append. Whatever arrives, decoding
//! neither panics nor allocates more than a small multiple of the message.

use crate::record::{Record, RecordError};
use crate::{PeerId, PeerName, ShortId, Vni};
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
    /// Step 2: one sum per bucket; none if the roots are the same.
    Buckets(Vec<u64>),
    /// Bytes for a router further away.
    Routed(Routed),
    /// Whether the receiver is the sender's parent in the tree along which records spread.
    Parent(bool),
    /// The receiver shall send the records with these marks, which it showed.
    Want(Marks),
    /// Step 3: what the sender holds in the buckets that differ.
    Held(Held),
    /// Step 4: what of that the receiver shall send, and what the sender holds instead.
    Differ(Differ),
    /// Step 5: what of that the receiver shall send.
    Ask(Ask),
    /// In the place of a hello: the sender has all the links it takes. Records of others to dial follow.
    Full,
    /// Books of addresses, step 1: sum over all that is in it.
    BookRoot(u64),
    /// Step 2, if it differs: which versions the sender has.
    BookHave(BookHave),
    /// Step 3: what the receiver has not.
    BookGive(BookGive),
    /// The receiver shall close this link as soon as it can do without. True: the sender has more than it can bear.
    /// False: it is of no use to the sender, so only if it is of none to the receiver, either.
    Spare(bool),
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

/// What the sender holds in some buckets: all of it whose marks are in a range. Buckets and marks are in ascending
/// order, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Which buckets; only one if the range is not all there is.
    pub(crate) buckets: Vec<u8>,
    /// First mark of the range.
    pub(crate) from: u64,
    /// Last mark of the range.
    pub(crate) to: u64,
    /// The marks.
    pub(crate) marks: Marks,
}

/// The answer to a [`Held`], or a part of it: how the sender's records differ from that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Differ {
    /// The buckets of the list.
    pub(crate) buckets: Vec<u8>,
    /// What was listed and is not here, in ascending order; in the last part.
    pub(crate) want: Marks,
    /// What is here and was not listed, in ascending order of marks.
    pub(crate) have: Vec<Have>,
    /// Another part follows.
    pub(crate) more: bool,
}

/// The name and the version of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Have {
    /// Its mark, as eight bytes.
    pub(crate) mark: [u8; 8],
    /// Whose.
    pub(crate) origin: ShortId,
    /// What it is about.
    pub(crate) kind: u8,
    /// Tells records of one kind apart.
    pub(crate) subkey: u64,
    /// The origin's epoch.
    pub(crate) epoch: u64,
    /// The origin's count.
    pub(crate) counter: u64,
}

/// Records that the receiver said it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Their buckets, in ascending order.
    pub(crate) buckets: Vec<u8>,
    /// Their marks, in ascending order.
    pub(crate) marks: Marks,
}

/// What the sender has of the book, between two names of routers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BookHave {
    /// The first name.
    pub(crate) from: [u8; 8],
    /// The end, not included; `None`: to the last.
    pub(crate) until: Option<[u8; 8]>,
    /// What there is between them.
    pub(crate) entries: Vec<BookEntry>,
}

/// A record of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BookEntry {
    /// Whose.
    pub(crate) origin: ShortId,
    /// About which network.
    pub(crate) vni: u32,
    /// The origin's epoch.
    pub(crate) epoch: u64,
    /// The origin's count.
    pub(crate) counter: u64,
}

impl BookEntry {
    /// That of a record.
    pub(crate) fn new(vni: Vni, record: &Record) -> Self {
        Self {
            origin: record.key.origin.short(),
            vni: vni.0,
            epoch: record.version.epoch,
            counter: record.version.counter,
        }
    }
}

/// Records of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BookGive {
    /// That was all.
    pub(crate) last: bool,
    /// They.
    pub(crate) records: Batch,
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
            Self::Routed(body) => pack(10, body),
            Self::Parent(body) => pack(12, body),
            Self::Want(body) => pack(13, body),
            Self::Full => pack(11, &()),
            Self::Spare(body) => pack(17, body),
            Self::BookRoot(body) => pack(18, body),
            Self::BookHave(body) => pack(19, body),
            Self::BookGive(body) => pack(20, &(body.last, Blobs(&body.records.records))),
            Self::Held(body) => pack(14, body),
            Self::Differ(body) => pack(15, body),
            Self::Ask(body) => pack(16, body),
        }
    }

    /// How many bytes [`encode`](Self::encode) makes.
    pub(crate) fn size(&self) -> usize {
        1 + match self {
            Self::Hello(body) => size(body),
            Self::Ping(body) => size(body),
            Self::Pong(body) => size(body),
            Self::Goodbye | Self::Full => 0,
            Self::Spare(body) => size(body),
            Self::BookRoot(body) => size(body),
            Self::BookHave(body) => size(body),
            Self::BookGive(body) => size(&(body.last, Blobs(&body.records.records))),
            Self::Records(body) => size(&Blobs(&body.records)),
            Self::Root(body) => size(body),
            Self::Buckets(body) => size(body),
            Self::Routed(body) => size(body),
            Self::Parent(body) => size(body),
            Self::Want(body) => size(body),
            Self::Held(body) => size(body),
            Self::Differ(body) => size(body),
            Self::Ask(body) => size(body),
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
            10 => Self::Routed(unpack(body)?),
            12 => Self::Parent(unpack(body)?),
            13 => Self::Want(unpack(body)?),
            11 => Self::Full,
            17 => Self::Spare(unpack(body)?),
            18 => Self::BookRoot(unpack(body)?),
            19 => Self::BookHave(unpack(body)?),
            20 => {
                let (last, records) = unpack(body)?;
                let records = Batch::read(records);
                Self::BookGive(BookGive { last, records })
            }
            14 => Self::Held(unpack(body)?),
            15 => Self::Differ(unpack(body)?),
            16 => Self::Ask(unpack(body)?),
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
mod tests;
