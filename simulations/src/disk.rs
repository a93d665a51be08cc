//! What a router keeps when its process ends.

use crypto::{Identity, Keyring};
use mesh::{Mac, Vni};
use sleeve::KeySigner;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};

/// A router's state directory. A copy of it is a backup; put back later it is an old disk, put into another host
/// it is a clone.
#[derive(Clone)]
pub struct Disk {
    /// Its keys.
    pub identity: Arc<Identity>,
    /// Its secrets.
    pub keyring: Keyring,
    /// The largest epoch ever used.
    pub epoch: u64,
    /// What it dials, found earlier.
    pub targets: Vec<String>,
    /// The containers' ports.
    pub ports: Vec<Port>,
}

/// A container's port, as its router knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its network.
    pub vni: Vni,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl Disk {
    /// That of a router that never ran.
    #[must_use]
    pub fn new(identity: Identity, keyring: Keyring) -> Self {
        Self {
            identity: Arc::new(identity),
            keyring,
            epoch: 0,
            targets: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// What signs by its identity and judges by these secrets.
    pub(crate) fn signer(&self, keyring: &Arc<RwLock<Keyring>>) -> KeySigner {
        KeySigner {
            identity: Arc::clone(&self.identity),
            keyring: Arc::clone(keyring),
        }
    }
}
