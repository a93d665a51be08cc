//! What tests of the core share: a signer made of keyed hashes, and records of made-up routers.

use crate::record::{Key, Record, kind};
use crate::{Admission, Config, Drops, Mesh, PeerId, PeerInfo, SecretId, Signer};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Signs for one router. Its secret is the same everywhere.
pub(crate) struct FakeSigner(pub(crate) PeerId);

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts
        .iter()
        .fold(Sha256::new(), Sha256::chain_update)
        .finalize()
        .into()
}

fn signature(origin: &PeerId, message: &[u8]) -> [u8; 64] {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&hash(&[&origin.0, message]));
    both[32..].copy_from_slice(&hash(&[message, &origin.0]));
    both
}

/// A proof of the secret all test routers share.
pub(crate) fn admission(origin: &PeerId) -> Admission {
    let mut proof = [0; 16];
    proof.copy_from_slice(&hash(&[b"secret", &origin.0])[..16]);
    Admission {
        secret: SecretId([1; 8]),
        proof,
    }
}

impl Signer for FakeSigner {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.0, message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], given: &[u8; 64]) -> bool {
        signature(origin, message) == *given
    }

    fn admissions(&self) -> Vec<Admission> {
        vec![admission(&self.0)]
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        proofs.contains(&admission(origin))
    }
}

/// A made-up router.
pub(crate) fn id(n: u8) -> PeerId {
    PeerId([n; 32])
}

/// What it says of itself.
pub(crate) fn info(n: u8, epoch: u64) -> PeerInfo {
    PeerInfo {
        peer: id(n),
        name: format!("host-{n}").parse().unwrap(),
        data_key: [n; 32],
        epoch,
        instance: u64::from(n),
        addresses: Vec::new(),
        admissions: vec![admission(&id(n))],
        version: "0.1".to_owned(),
        capabilities: 0,
        vxlan_port: 0,
        label: crate::PeerLabel::NONE,
    }
}

/// Its `PeerInfo`, signed.
pub(crate) fn info_record(n: u8, epoch: u64, counter: u64) -> Arc<Record> {
    let body = postcard::to_stdvec(&info(n, epoch)).unwrap();
    record(n, (kind::PEER_INFO, 0), (epoch, counter), &body)
}

/// Any record of it, signed.
pub(crate) fn record(
    n: u8,
    (kind, subkey): (u8, u64),
    (epoch, counter): (u64, u64),
    body: &[u8],
) -> Arc<Record> {
    let record = Record::sign(
        &FakeSigner(id(n)),
        Key {
            origin: id(n),
            kind,
            subkey,
        },
        epoch,
        counter,
        body,
    );
    Arc::new(record.unwrap())
}

/// The settings of a made-up router.
pub(crate) fn config(n: u8) -> (Config, Arc<Drops>) {
    let mut config = Config::new(
        id(n),
        format!("host-{n}").parse().unwrap(),
        [n; 32],
        1,
        Arc::new(FakeSigner(id(n))),
    );
    config.instance = u64::from(n);
    let drops = Arc::clone(&config.drops);
    (config, drops)
}

/// A made-up router's core, its first outputs taken.
pub(crate) fn core(n: u8) -> (Mesh, Arc<Drops>) {
    let (config, drops) = config(n);
    let mut mesh = Mesh::new(config, [n; 32], crate::Instant(0));
    while mesh.poll_output().is_some() {}
    (mesh, drops)
}
