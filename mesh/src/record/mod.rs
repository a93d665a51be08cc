//! Signed records: everything routers tell all others travels as one of these.
//!
//! A record is made and signed by its origin, kept and forwarded verbatim by everybody, and replaced only by a
//! newer one of the same [`Key`]. [`signed`] is the envelope, [`body`] what known kinds carry inside,
//! [`stamp`] what those see who watch.

pub(crate) mod body;
pub(crate) mod signed;
mod stamp;

pub(crate) use signed::{Key, Record, RecordError, Version};

pub use stamp::Stamp;

use crate::{PeerId, PeerLabel, PeerName, SecretId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Signs this router's records and judges those of others. Implemented over `crypto`; the core holds no key.
pub trait Signer: Send + Sync {
    /// Ed25519 signature of `message` by this router.
    fn sign(&self, message: &[u8]) -> [u8; 64];
    /// `verify_strict`: the one verdict on which all routers agree.
    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool;
    /// This router's proofs of the secret, one per valid secret.
    fn admissions(&self) -> Vec<Admission>;
    /// True if one of `proofs` shows that `origin` knows a secret that is valid here.
    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool;
    /// What a record that was just signed is known by: the first half of its SHA-256. Only replays, in which records
    /// are not what they were, answer anything else.
    fn hash(&self, record: &[u8]) -> [u8; 16] {
        signed::hash(record)
    }
}

/// Proof that an origin knows a secret: a keyed hash of its id under a key derived from that secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Which secret.
    pub secret: SecretId,
    /// The proof.
    pub proof: [u8; 16],
}

/// The rarely changing record of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Whose.
    pub peer: PeerId,
    /// Nickname.
    pub name: PeerName,
    /// X25519 public key for data sessions.
    pub data_key: [u8; 32],
    /// Boot epoch: larger at each start, persisted before use. Sessions are bound to it.
    pub epoch: u64,
    /// Random number of this run: two runs with one identity differ in it.
    pub instance: u64,
    /// Underlay addresses others may try, best first.
    pub addresses: Vec<SocketAddr>,
    /// Proofs of the secrets it holds; their ids are the ids of its secrets.
    pub admissions: Vec<Admission>,
    /// Program version, for people.
    pub version: String,
    /// Bits of [`capability`]; unknown ones are ignored.
    pub capabilities: u32,
    /// UDP port at which its kernel takes VXLAN (RFC 7348). Zero: it has no fast path.
    pub vxlan_port: u16,
    /// The label it claims for the fast path; who holds it, [`Output::PeerLabel`](crate::Output::PeerLabel) tells.
    pub label: PeerLabel,
}

/// What a router says it can, in [`PeerInfo::capabilities`].
pub mod capability {
    /// Its kernel has IPsec ESP, and may use it.
    pub const ESP: u32 = 1;
    /// It lets relays see frames on the fast path, where hops are encrypted.
    pub const FAST_RELAY: u32 = 2;
}

/// What a record is about. Kinds this version does not know are stored and forwarded all the same.
pub(crate) mod kind {
    /// [`PeerInfo`](super::PeerInfo), subkey 0.
    pub(crate) const PEER_INFO: u8 = 1;
    /// All links of a router, each an [`Adjacency`](crate::Adjacency); subkey 0.
    pub(crate) const LINK_STATE: u8 = 2;
    /// [`MacsBody`](crate::fdb::MacsBody), chunked by subkey.
    pub(crate) const MACS: u8 = 3;
    /// [`IpamBody`](crate::ipam::IpamBody), one per network, which is the subkey.
    pub(crate) const IPAM: u8 = 4;
    /// [`NamesBody`](crate::NamesBody), chunked by subkey.
    pub(crate) const NAMES: u8 = 6;
    /// [`NetworksBody`](crate::NetworksBody), subkey 0.
    pub(crate) const NETWORKS: u8 = 7;
    /// The [`ShortId`](crate::ShortId) of the router from which the tree hangs along which records spread; subkey 0.
    /// Counts only if it comes from the router of lowest id.
    pub(crate) const ROOT: u8 = 8;

    /// True for those of which a router may have as many as their subkeys allow.
    pub(crate) fn is_known(kind: u8) -> bool {
        matches!(
            kind,
            PEER_INFO | LINK_STATE | MACS | IPAM | NAMES | NETWORKS | ROOT
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeSigner, id, info, info_record, record};
    use crate::{Adjacency, Delay, LinkLabel, ShortId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_are_read_as_they_were_made(
            n: u8,
            slot in any::<(u8, u64)>(),
            version in (0..signed::MAX_SEQUENCE, 0..signed::MAX_SEQUENCE),
            body in any::<Vec<u8>>(),
        ) {
            let made = record(n, slot, version, &body);
            let read = Record::parse(made.bytes().to_vec()).unwrap();
            prop_assert_eq!(&read, &*made);
            prop_assert!(read.verify(&FakeSigner(id(0))));
            prop_assert_eq!(read.body_bytes(), &body[..]);
            prop_assert_eq!(read.mark(), made.mark());
            prop_assert_eq!((read.key.kind, read.key.subkey), slot);
        }

        #[test]
        fn no_byte_of_a_record_can_be_changed(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let made = info_record(1, 2, 3);
            let mut bytes = made.bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(read) = Record::parse(bytes) {
                prop_assert!(!read.verify(&FakeSigner(id(0))));
                prop_assert_ne!(read.version.hash, made.version.hash);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(record) = Record::parse(bytes.clone()) {
                let _ = record.body();
            }
            for kind in 0..9 {
                let _ = record(1, (kind, 0), (1, 1), &bytes).body();
            }
        }
    }

    #[test]
    fn records_have_bounds() {
        assert_eq!(Record::parse(vec![0; 1 << 20]), Err(RecordError::Oversized));
        assert_eq!(Record::parse(vec![0; 63]), Err(RecordError::Malformed));
        let key = Key {
            origin: id(1),
            kind: 9,
            subkey: 0,
        };
        let sign = |epoch, size| Record::sign(&FakeSigner(id(1)), key, epoch, 1, &vec![0; size]);
        assert!(sign(1, 16_000).is_some() && sign(1, 16_384).is_none());
        assert!(sign(signed::MAX_SEQUENCE, 0).is_none() && sign(u64::MAX, 0).is_none());
    }

    #[test]
    fn links_are_small_and_as_many_as_a_router_may_tell_fit_in_a_record() {
        let link = |n: u64, label, mtu| Adjacency {
            neighbor: ShortId(n.to_be_bytes()),
            label: LinkLabel(label),
            delay: Delay::from_us(u64::from(n as u32)),
            mtu,
        };
        let made = |links: &[Adjacency]| {
            let body = postcard::to_stdvec(links).unwrap();
            record(1, (kind::LINK_STATE, 0), (1, 1), &[&body[..], b"more"].concat())
        };
        let full: Vec<_> = (0..1000).map(|n| link(n, u16::MAX, u16::MAX)).collect();
        assert_eq!(made(&full).links(), full);
        let over: Vec<_> = (0..1001).map(|n| link(n, 1, 1)).collect();
        assert_eq!(made(&over).body(), None);
        let usual: Vec<_> = (0..8).map(|n| link(n, n as u16 + 1, 1420)).collect();
        let body = postcard::to_stdvec(&usual).unwrap();
        let usual = record(1, (kind::LINK_STATE, 0), (300, 300), &body);
        assert!(usual.bytes().len() <= 200, "{}", usual.bytes().len());
        let elsewhere = record(1, (kind::LINK_STATE, 1), (1, 1), &body);
        assert_eq!(elsewhere.body(), None);
    }

    #[test]
    fn records_of_before_there_were_labels_are_read_as_without() {
        let bytes = postcard::to_stdvec(&info(1, 1)).unwrap();
        for cut in [1, 2] {
            let record = record(1, (kind::PEER_INFO, 0), (1, 1), &bytes[..bytes.len() - cut]);
            assert_eq!(record.info(), Some(&info(1, 1)));
        }
        let record = record(1, (kind::PEER_INFO, 0), (1, 1), &bytes[..bytes.len() - 3]);
        assert_eq!(record.info(), None);
    }

    #[test]
    fn what_is_shown_to_people_is_printable_and_lists_are_cut() {
        let mut long = info(1, 1);
        long.version = "\x1b[31m1.0 é".repeat(50);
        long.addresses = vec!["10.0.0.1:1".parse().unwrap(); 500];
        let mut bytes = postcard::to_stdvec(&long).unwrap();
        bytes.extend([1, 2, 3]);
        let record = record(1, (kind::PEER_INFO, 0), (1, 1), &bytes);
        let read = record.info().unwrap();
        assert!(read.version.len() <= 64 && read.version.starts_with("[31m1.0 "));
        assert_eq!(read.addresses.len(), body::MAX_ADDRESSES);
    }
}
