//! What the known kinds of records carry. Bytes after the known fields are ignored: later versions append.

use super::{Key, PeerInfo, Version};
use crate::Adjacency;
use serde::{Deserialize, Serialize};

/// Addresses a router may list.
pub(crate) const MAX_ADDRESSES: usize = 16;
/// Proofs of secrets a router may list: two secrets are valid at a time; the rest is room for overlaps.
const MAX_ADMISSIONS: usize = 8;
/// Characters of a version that are kept for people.
const MAX_VERSION: usize = 64;
/// Adjacencies in one record; a router with more uses several subkeys.
pub(crate) const MAX_ADJACENCIES: usize = 256;

/// One chunk of a router's links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkStateBody {
    /// The links, at most [`MAX_ADJACENCIES`].
    pub(crate) adjacencies: Vec<Adjacency>,
}

impl LinkStateBody {
    /// Reads a body; `None` if it is none or holds too many links.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (read, _) = postcard::take_from_bytes::<Self>(body).ok()?;
        (read.adjacencies.len() <= MAX_ADJACENCIES).then_some(read)
    }
}

impl PeerInfo {
    /// Reads the body of a record with this key and version; `None` unless it speaks of its own origin and
    /// epoch. What is only shown to people is cut to printable text, so that no terminal obeys it.
    pub(crate) fn read(body: &[u8], key: &Key, version: &Version) -> Option<Self> {
        let (mut read, _) = postcard::take_from_bytes::<Self>(body).ok()?;
        read.addresses.truncate(MAX_ADDRESSES);
        read.admissions.truncate(MAX_ADMISSIONS);
        read.version = read
            .version
            .chars()
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .take(MAX_VERSION)
            .collect();
        (read.peer == key.origin && read.epoch == version.epoch && key.subkey == 0).then_some(read)
    }
}
