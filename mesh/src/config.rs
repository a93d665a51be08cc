//! What a router's core is told once, at its start.

use crate::ipam::Setup;
use crate::wire::{VERSION_MAX, VERSION_MIN};
use crate::{Drops, PeerId, PeerLabel, PeerName, Signer};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Settings of one run. [`Config::new`] fills in the defaults.
#[derive(Clone)]
pub struct Config {
    /// This router's identity.
    pub id: PeerId,
    /// Its nickname.
    pub name: PeerName,
    /// Its X25519 public key, for data sessions.
    pub data_key: [u8; 32],
    /// This run's epoch: larger than that of every earlier run, and on disk already. Below 2⁶².
    pub epoch: u64,
    /// A random number for this run: two runs with one identity differ in it.
    pub instance: u64,
    /// Signs our records and judges those of others.
    pub signer: Arc<dyn Signer>,
    /// Counts everything that is thrown away.
    pub drops: Arc<Drops>,
    /// Whether addresses found in other routers' records are dialled. Default: true.
    pub discovery: bool,
    /// In meshes of up to so many other routers all are linked with all; in larger ones each has about eight links, at
    /// rest no more than twelve. Never are more than twice as many taken. Default: 32.
    pub max_links: usize,
    /// What to dial: given ones, and what the last [`PersistTargets`](crate::Output::PersistTargets) held.
    /// `HOST:PORT`, `IP:PORT`, or `PEERID@` before either: then nobody else is accepted there.
    pub targets: Vec<String>,
    /// Underlay addresses others may dial, best first; replaced by [`Input::Addresses`](crate::Input).
    pub addresses: Vec<SocketAddr>,
    /// Program version, for people.
    pub version: String,
    /// Lowest and highest protocol version that hellos offer: this program's, unless a simulation plays another.
    pub versions: (u16, u16),
    /// Bits of [`capability`](crate::capability).
    pub capabilities: u32,
    /// UDP port at which this host's kernel takes VXLAN; zero, the default: it has no fast path, or not yet
    /// ([`Input::FastPath`](crate::Input::FastPath)).
    pub vxlan_port: u16,
    /// The label of the last run, if there is a fast path and was one.
    pub label: PeerLabel,
    /// Networks whose addresses are given out here. Default: none.
    pub addresses_of: Setup,
    /// Time between two keepalives on a link. Default: 1 s.
    pub keepalive: Duration,
    /// Keepalive intervals without any sign of life after which a link is dead. Default: 3.
    pub keepalive_misses: u32,
}

impl Config {
    /// The settings of a router with discovery and without targets.
    #[must_use]
    pub fn new(id: PeerId, name: PeerName, data_key: [u8; 32], epoch: u64, signer: Arc<dyn Signer>) -> Self {
        Self {
            id,
            name,
            data_key,
            epoch,
            instance: 0,
            signer,
            drops: Arc::default(),
            discovery: true,
            max_links: 32,
            targets: Vec::new(),
            addresses: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            versions: (VERSION_MIN, VERSION_MAX),
            capabilities: 0,
            vxlan_port: 0,
            label: PeerLabel::NONE,
            addresses_of: Setup::default(),
            keepalive: Duration::from_secs(1),
            keepalive_misses: 3,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("epoch", &self.epoch)
            .field("instance", &self.instance)
            .field("discovery", &self.discovery)
            .field("max_links", &self.max_links)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}
