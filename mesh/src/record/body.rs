//! What the known kinds of records carry. Bytes after the known fields are ignored: later versions append.

use super::{Key, PeerInfo, Version, kind};
use crate::ipam::IpamBody;
use crate::topology::in_order;
use crate::{Adjacency, MacsBody, NamesBody, NetworksBody, ShortId};

/// Addresses a router may list.
pub(crate) const MAX_ADDRESSES: usize = 16;
/// Proofs of secrets a router may list: two secrets are valid at a time; the rest is room for overlaps.
const MAX_ADMISSIONS: usize = 8;
/// Characters of a version that are kept for people.
const MAX_VERSION: usize = 64;
/// Links that a router tells; those it has beyond that, nobody else learns of.
pub(crate) const MAX_ADJACENCIES: usize = 1000;

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// What a router says of itself.
    Info(Box<PeerInfo>),
    /// Its links.
    Links(Box<[Adjacency]>),
    /// Some of the MAC addresses behind it.
    Macs(Box<MacsBody>),
    /// Which addresses of a network it owns.
    Ipam(Box<IpamBody>),
    /// Some of the names of what runs on its host.
    Names(Box<NamesBody>),
    /// Which networks there are.
    Networks(Box<NetworksBody>),
    /// Which router is to be the root of the tree along which records spread.
    Root(ShortId),
    /// A kind this version does not know.
    Other,
}

impl Body {
    /// Reads the body of a record with this key and version; `None` if it is not what its kind asks for.
    pub(super) fn read(body: &[u8], key: &Key, version: &Version) -> Option<Self> {
        match key.kind {
            kind::PEER_INFO => PeerInfo::read(body, key, version).map(|info| Self::Info(Box::new(info))),
            kind::LINK_STATE if key.subkey != 0 => None,
            kind::LINK_STATE => read_links(body).map(Self::Links),
            kind::MACS => {
                let (macs, _) = postcard::take_from_bytes::<MacsBody>(body).ok()?;
                Some(Self::Macs(Box::new(macs)))
            }
            kind::IPAM => IpamBody::read(body, key.subkey).map(|ipam| Self::Ipam(Box::new(ipam))),
            kind::NAMES => {
                let (names, _) = postcard::take_from_bytes::<NamesBody>(body).ok()?;
                Some(Self::Names(Box::new(names)))
            }
            kind::NETWORKS if key.subkey != 0 => None,
            kind::NETWORKS => {
                let (networks, _) = postcard::take_from_bytes::<NetworksBody>(body).ok()?;
                Some(Self::Networks(Box::new(networks)))
            }
            kind::ROOT if key.subkey != 0 => None,
            kind::ROOT => {
                let (root, _) = postcard::take_from_bytes(body).ok()?;
                Some(Self::Root(root))
            }
            _ => Some(Self::Other),
        }
    }
}

/// Links in the order of their neighbours. Of several with one neighbour the lowest label counts, so that all
/// routers read the same out of one record, however odd it is.
fn read_links(body: &[u8]) -> Option<Box<[Adjacency]>> {
    let (links, _) = postcard::take_from_bytes::<Vec<Adjacency>>(body).ok()?;
    (links.len() <= MAX_ADJACENCIES).then(|| in_order(links).into_boxed_slice())
}

impl PeerInfo {
    /// Reads the body of a record with this key and version; `None` unless it speaks of its own origin and
    /// epoch. What is only shown to people is cut to printable text, so that no terminal obeys it.
    pub(crate) fn read(body: &[u8], key: &Key, version: &Version) -> Option<Self> {
        let read = postcard::take_from_bytes::<Self>(body).map(|(read, _)| read);
        let mut read = match read {
            Ok(read) => read,
            // Written before there were labels: it ends where port and label, both zero, would follow.
            Err(_) => postcard::from_bytes::<Self>(&[body, &[0, 0]].concat()).ok()?,
        };
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
