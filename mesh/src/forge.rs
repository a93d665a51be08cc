//! What a liar says: records and messages that no honest core makes, for tests and simulations.
//!
//! Nothing in here is of use to an attacker that he could not write himself; who has no key forges nothing that
//! passes.

use crate::record::{Key, Record, kind};
use crate::wire::{Batch, Message};
use crate::{Adjacency, Delay, LinkLabel, MacsBody, Mesh, Packet, PeerId, PeerInfo, Signer, Vni};
use std::sync::Arc;

/// Records, ready to be sent.
#[derive(Debug, Clone, Default)]
pub struct Forged(Vec<Arc<Record>>);

impl Forged {
    /// Adds a `PeerInfo` of the signer's. False if it is too large for a record.
    pub fn info(&mut self, signer: &dyn Signer, info: &PeerInfo, counter: u64) -> bool {
        let body = postcard::to_stdvec(info).unwrap_or_default();
        let key = key(info.peer, kind::PEER_INFO, 0);
        self.sign(signer, key, (info.epoch, counter), &body)
    }

    /// Adds a record in which the signer, `origin`, claims links with `neighbors`.
    pub fn links(
        &mut self,
        signer: &dyn Signer,
        origin: PeerId,
        version: (u64, u64),
        neighbors: &[PeerId],
    ) -> bool {
        let claim = |(at, neighbor): (usize, &PeerId)| Adjacency {
            neighbor: neighbor.short(),
            label: LinkLabel(u16::try_from(at + 1).unwrap_or(u16::MAX)),
            delay: Delay::from_us(1),
            mtu: 1500,
        };
        let links: Vec<_> = neighbors.iter().enumerate().map(claim).collect();
        let body = postcard::to_stdvec(&links).unwrap_or_default();
        self.sign(signer, key(origin, kind::LINK_STATE, 0), version, &body)
    }

    /// Adds a record in which the signer, `origin`, publishes no MAC addresses under a subkey.
    pub fn macs(&mut self, signer: &dyn Signer, origin: PeerId, version: (u64, u64), subkey: u64) -> bool {
        let vni = Vni(u32::try_from(subkey >> 16).unwrap_or(u32::MAX));
        let entries = Vec::new();
        let body = postcard::to_stdvec(&MacsBody { vni, entries }).unwrap_or_default();
        self.sign(signer, key(origin, kind::MACS, subkey), version, &body)
    }

    fn sign(&mut self, signer: &dyn Signer, key: Key, version: (u64, u64), body: &[u8]) -> bool {
        let record = Record::sign(signer, key, version.0, version.1, body);
        let is_made = record.is_some();
        self.0.extend(record.map(Arc::new));
        is_made
    }

    /// The same records with the last byte of each changed, which is one of its signature.
    #[must_use]
    pub fn damaged(&self) -> Self {
        let damage = |record: &Arc<Record>| {
            let mut bytes = record.bytes().to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            Record::parse(bytes).ok().map(Arc::new)
        };
        Self(self.0.iter().filter_map(damage).collect())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The control message that carries them.
    #[must_use]
    pub fn packet(self) -> Packet {
        Packet::new(Message::Records(Batch {
            records: self.0,
            refused: Vec::new(),
        }))
    }
}

fn key(origin: PeerId, kind: u8, subkey: u64) -> Key {
    Key { origin, kind, subkey }
}

impl Mesh {
    /// All records that this router holds of others, as they are now: to be said again later.
    #[must_use]
    pub fn heard(&self) -> Forged {
        let others = self
            .store
            .infos()
            .map(|(id, _)| id)
            .filter(|id| **id != self.own.id);
        Forged(others.flat_map(|id| self.store.records(id)).cloned().collect())
    }
}
