//! A control message on its way between two cores: encoded at most once, decoded at most once.
//!
//! The sender's core makes one out of a message; whoever carries it over a wire takes the bytes, and the receiver
//! makes one out of bytes. A driver that runs both cores in one process passes it on as it is: nothing is encoded
//! or decoded then, and both share the records in it.

use crate::wire::{Message, WireError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A control message, cheap to clone.
#[derive(Clone)]
pub struct Packet(Arc<Inner>);

/// At least one of the two is there from the start.
struct Inner {
    bytes: OnceLock<Vec<u8>>,
    message: OnceLock<Result<Message, WireError>>,
    size: OnceLock<usize>,
}

impl Packet {
    /// Made of a message.
    pub(crate) fn new(message: Message) -> Self {
        Self(Arc::new(Inner {
            bytes: OnceLock::new(),
            message: OnceLock::from(Ok(message)),
            size: OnceLock::new(),
        }))
    }

    /// The same, but that its records are known by these hashes: a recording's records are not what they were.
    pub(crate) fn with_hashes(self, hashes: &[[u8; 16]]) -> Self {
        let bytes = self.bytes().to_vec();
        let mut message = Message::decode(&bytes);
        let batch = match &mut message {
            Ok(Message::Records(batch)) => Some(batch),
            Ok(Message::BookGive(give)) => Some(&mut give.records),
            _ => None,
        };
        if let Some(batch) = batch {
            for (record, hash) in batch.records.iter_mut().zip(hashes) {
                if let Some(record) = Arc::get_mut(record) {
                    record.version.hash = *hash;
                }
            }
        }
        Self(Arc::new(Inner {
            bytes: OnceLock::from(bytes),
            message: OnceLock::from(message),
            size: OnceLock::new(),
        }))
    }

    /// The message inside.
    pub(crate) fn message(&self) -> Result<&Message, WireError> {
        let read = || Message::decode(self.0.bytes.get().map_or(&[], Vec::as_slice));
        self.0.message.get_or_init(read).as_ref().map_err(|error| *error)
    }

    /// True for records, which are most of all messages.
    pub(crate) fn is_records(&self) -> bool {
        matches!(self.message(), Ok(Message::Records(_)))
    }

    /// True for pings and their answers, which are nearly all of the rest.
    pub(crate) fn is_keepalive(&self) -> bool {
        matches!(self.message(), Ok(Message::Ping(_) | Message::Pong(_)))
    }

    /// What a wire carries.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes.get_or_init(|| match self.0.message.get() {
            Some(Ok(message)) => message.encode(),
            _ => Vec::new(),
        })
    }

    /// The number of [`bytes`](Self::bytes), found without encoding.
    #[must_use]
    pub fn len(&self) -> usize {
        *self
            .0
            .size
            .get_or_init(|| match (self.0.bytes.get(), self.0.message.get()) {
                (None, Some(Ok(message))) => message.size(),
                (bytes, _) => bytes.map_or(0, Vec::len),
            })
    }

    /// True for a packet made of no bytes, which is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<u8>> for Packet {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Inner {
            bytes: OnceLock::from(bytes),
            message: OnceLock::new(),
            size: OnceLock::new(),
        }))
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.bytes() == other.bytes()
    }
}

impl Eq for Packet {}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes)", self.len())
    }
}

/// As its bytes, so that recorded inputs can be read by anybody.
impl Serialize for Packet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Packet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Batch;

    #[test]
    fn both_ways_lead_to_the_same() {
        let record = crate::testing::info_record(1, 1, 1);
        let made = Packet::new(Message::Records(Batch::from(vec![Arc::clone(&record)])));
        let length = made.len();
        assert!(made.0.bytes.get().is_none(), "counted without encoding");
        assert_eq!(made.bytes().len(), length);
        let read = Packet::from(made.bytes().to_vec());
        assert_eq!(read, made);
        assert_eq!(read.message(), made.message());
        let Ok(Message::Records(shared)) = made.message() else {
            panic!()
        };
        assert!(Arc::ptr_eq(&shared.records[0], &record));
        assert!(Packet::from(Vec::new()).message().is_err());
    }
}
