//! No router takes in a record that its origin never signed, or an older one than before, or anything of somebody who
//! does not know the secret.
//!
//! Every key in a world signs by a [`Witness`], liars' keys too, so the [`Ledger`] has all records that are genuine.
//! What a core takes in is held against it at once.

use super::Violation;
use crate::{HostId, World};
use mesh::{Admission, PeerId, SecretId, Signer, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kind of a record in which a router says who it is.
const INFO: u8 = 1;

/// A record's place among others: epoch, counter, hash.
type Version = (u64, u64, [u8; 16]);

/// All that was ever signed. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Signed>>);

#[derive(Debug, Default)]
struct Signed {
    keys: BTreeMap<(PeerId, u8, u64), Key>,
    secrets: BTreeMap<PeerId, BTreeSet<SecretId>>,
}

/// What records replace one another.
#[derive(Debug)]
struct Key {
    number: usize,
    /// In the order in which they were signed.
    versions: Vec<Version>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Signed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sign(&self, stamp: Stamp) {
        let mut signed = self.lock();
        let number = signed.keys.len();
        let key = signed.keys.entry((stamp.origin, stamp.kind, stamp.subkey));
        let versions = Vec::new();
        let key = key.or_insert(Key { number, versions });
        key.versions.push(stamp.version);
    }

    /// The number of a key, and the place of its last version, counted from one.
    #[cfg(test)]
    pub(super) fn last(&self, key: (PeerId, u8, u64)) -> (usize, u32) {
        let signed = self.lock();
        let key = &signed.keys[&key];
        (key.number, key.versions.len() as u32)
    }

    #[cfg(test)]
    pub(super) fn forget_secrets(&self, origin: PeerId) {
        self.lock().secrets.insert(origin, BTreeSet::new());
    }

    /// Identities that ever said who they are.
    pub(super) fn identities(&self) -> usize {
        self.lock().secrets.len()
    }
}

/// Signs for a router, and has it noted.
pub(crate) struct Witness {
    own: PeerId,
    signer: Box<dyn Signer>,
    ledger: Ledger,
}

impl Witness {
    pub(crate) fn of(own: PeerId, signer: impl Signer + 'static, ledger: Ledger) -> Self {
        let signer = Box::new(signer);
        Self { own, signer, ledger }
    }
}

impl Signer for Witness {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signer.sign(message)
    }

    fn verify(&self, origin: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        self.signer.verify(origin, message, signature)
    }

    fn admissions(&self) -> Vec<Admission> {
        let admissions = self.signer.admissions();
        let mut signed = self.ledger.lock();
        let secrets = signed.secrets.entry(self.own).or_default();
        secrets.extend(admissions.iter().map(|admission| admission.secret));
        admissions
    }

    fn admits(&self, origin: &PeerId, proofs: &[Admission]) -> bool {
        self.signer.admits(origin, proofs)
    }

    // Asked of each record that was just signed.
    fn hash(&self, record: &[u8]) -> [u8; 16] {
        if let Some(stamp) = Stamp::of(record) {
            self.ledger.sign(stamp);
        }
        self.signer.hash(record)
    }
}

/// Which version each run of a router took in last, by the numbers that the ledger gives.
#[derive(Debug, Default)]
pub(super) struct Latest(BTreeMap<HostId, (u64, Vec<u32>)>);

impl Latest {
    /// The last version of a key at a host: its place in the ledger, counted from one; zero: none.
    pub(super) fn of(&mut self, host: HostId, run: u64, key: usize) -> &mut u32 {
        let (known, latest) = self.0.entry(host).or_default();
        if *known != run {
            (*known, *latest) = (run, Vec::new());
        }
        if latest.len() <= key {
            latest.resize(key + 1, 0);
        }
        &mut latest[key]
    }
}

impl World {
    /// Holds what a router took in since the last call against what was signed.
    pub(crate) fn look_at_records(&mut self, host: HostId) {
        let (at, place) = (self.clock.now(), &mut self.hosts[host.0]);
        let Some(router) = &mut place.router else { return };
        let taken = router.mesh.take_records();
        if taken.is_empty() {
            return;
        }
        let (run, keyring) = (place.run, &router.disk.keyring);
        let mut found = Vec::new();
        let ledger = self.seen.ledger.clone();
        let signed = ledger.lock();
        for stamp in taken {
            let Stamp { origin, kind, .. } = stamp;
            let key = signed.keys.get(&(origin, kind, stamp.subkey));
            let place =
                key.and_then(|key| key.versions.iter().rposition(|version| *version == stamp.version));
            let (Some(key), Some(place)) = (key, place) else {
                found.push(Violation::Forged { host, at, origin });
                continue;
            };
            let latest = self.seen.records.of(host, run, key.number);
            let before = (*latest as usize)
                .checked_sub(1)
                .and_then(|before| key.versions.get(before));
            if before.is_some_and(|before| *before >= stamp.version) {
                found.push(Violation::Older {
                    host,
                    at,
                    origin,
                    kind,
                });
            }
            *latest = u32::try_from(place + 1).unwrap_or(u32::MAX);
            let had = signed.secrets.get(&origin);
            let knows =
                |had: &BTreeSet<SecretId>| keyring.ids().iter().any(|id| had.contains(&SecretId(id.0)));
            if kind == INFO && !had.is_some_and(knows) {
                found.push(Violation::Stranger { host, at, origin });
            }
        }
        drop(signed);
        found.into_iter().for_each(|violation| self.violated(violation));
    }
}
