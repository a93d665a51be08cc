//! A member that lies: it has the secret, and keys of its own.

use super::host;
use super::stage::Stage;
use crate::HostId;
use crate::invariants::Witness;
use crate::scenario::LieKind;
use crypto::{Identity, Keyring};
use mesh::{Forged, Packet, PeerId, PeerInfo, Signer};
use sleeve::KeySigner;
use std::sync::{Arc, RwLock};

/// Lies are told in so many portions.
pub(super) const PORTIONS: usize = 20;
/// What a liar counts its own records from: far ahead of what its core has reached.
const AHEAD: u64 = 1 << 40;

impl Stage {
    /// One portion of lies. `number` tells it from others.
    pub(super) fn lie(&mut self, liars: &[usize], kind: LieKind, count: usize, number: u64) {
        for &liar in liars {
            let liar = host(liar);
            if kind == LieKind::Garbage {
                self.garbage(liar, count, number);
            }
            for packet in self.lies(liar, kind, count, number) {
                self.world.speak(liar, &packet);
            }
        }
    }

    /// What the liar heard up to now is what it says again later.
    pub(super) fn remember(&mut self, liars: &[usize]) {
        for &liar in liars {
            if let Some(router) = self.world.router(host(liar)) {
                self.heard.insert(liar, router.mesh.heard());
            }
        }
    }

    fn lies(&self, liar: HostId, kind: LieKind, count: usize, number: u64) -> Vec<Packet> {
        let Some(router) = self.world.router(liar) else {
            return Vec::new();
        };
        let (id, epoch) = (router.id(), router.disk.epoch);
        let signer = self.signer(router.disk.identity.clone(), router.disk.keyring.clone());
        let mut random = self.world.fork("lie", number).fork("by", liar.0 as u64);
        match kind {
            LieKind::FalseLinks => {
                let mut forged = Forged::default();
                let everybody: Vec<PeerId> = self.world.hosts().map(|host| self.world.id(host)).collect();
                for at in 0..count {
                    forged.links(
                        &signer,
                        id,
                        (epoch, AHEAD + number * 1000 + at as u64),
                        &everybody,
                    );
                }
                vec![forged.packet()]
            }
            LieKind::OldRecords | LieKind::ForgedRecords => {
                let heard = self.heard.get(&liar.0).cloned().unwrap_or_default();
                let said = if kind == LieKind::OldRecords {
                    heard
                } else {
                    heard.damaged()
                };
                let times = count.div_ceil(said.len().max(1));
                std::iter::repeat_n(said.packet(), times).collect()
            }
            LieKind::Flood => {
                let mut packets = Vec::with_capacity(count);
                for at in 0..count as u64 {
                    packets.push(if at % 2 == 0 {
                        let mut forged = Forged::default();
                        forged.links(&signer, id, (epoch, AHEAD + number * 100_000 + at), &[]);
                        forged.packet()
                    } else {
                        let length = 1 + random.below(400) as usize;
                        let bytes = random
                            .bytes()
                            .into_iter()
                            .cycle()
                            .take(length)
                            .collect::<Vec<_>>();
                        Packet::from(bytes)
                    });
                }
                packets
            }
            LieKind::MintedOrigins => {
                let mut forged = Forged::default();
                for _ in 0..count {
                    let identity = Arc::new(Identity::generate(&mut random));
                    let minted = self.signer(identity.clone(), router.disk.keyring.clone());
                    let peer = PeerId(identity.public());
                    let Ok(name) = mesh::PeerName::try_from("minted".to_owned()) else {
                        continue;
                    };
                    let info = PeerInfo {
                        peer,
                        name,
                        data_key: identity.data_public(),
                        epoch: 2,
                        instance: 1,
                        addresses: Vec::new(),
                        admissions: minted.admissions(),
                        version: "minted".into(),
                        capabilities: 0,
                        vxlan_port: 0,
                        label: mesh::PeerLabel::NONE,
                    };
                    forged.info(&minted, &info, 1);
                    forged.links(&minted, peer, (2, 2), &[id]);
                }
                vec![forged.packet()]
            }
            LieKind::Garbage => Vec::new(),
        }
    }

    /// What a liar signs is genuine all the same.
    fn signer(&self, identity: Arc<Identity>, keyring: Keyring) -> Witness {
        let keyring = Arc::new(RwLock::new(keyring));
        let id = PeerId(identity.public());
        Witness::of(id, KeySigner { identity, keyring }, self.world.ledger())
    }
}
