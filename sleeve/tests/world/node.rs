//! One router of a world, and what it is made with.

use crypto::{Cipher, Identity, Keyring, Secret};
use mesh::{Drops, Instant, PeerId, PeerInfo, Route, SecretId};
use rand_core::{CryptoRng, RngCore};
use sleeve::io::memory::{Network, Socket};
use sleeve::{Config, Event, Output, Plane, PlaneConfig, Scratch, Sleeve};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// splitmix64: repeatable, and good enough for keys nobody uses.
pub struct Random(pub u64);

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Random {}

pub fn secret(n: u64) -> Secret {
    Secret::generate(&mut Random(1000 + n))
}

pub fn keyring(secrets: &[u64]) -> Keyring {
    Keyring::new(secrets.iter().map(|&n| secret(n)).collect()).unwrap()
}

/// What differs between worlds.
#[derive(Clone)]
pub struct Options {
    pub ipv6: bool,
    pub max_mtu: u16,
    pub trusted: Vec<Vec<(IpAddr, u8)>>,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ipv6: false,
            max_mtu: 1500,
            trusted: Vec::new(),
            seed: 1,
        }
    }
}

pub struct Node {
    pub id: PeerId,
    pub identity: Arc<Identity>,
    pub address: SocketAddr,
    pub epoch: u64,
    pub secrets: Vec<u64>,
    pub plane: Arc<Plane>,
    pub sleeve: Sleeve,
    pub drops: Arc<Drops>,
    pub socket: Socket,
    pub scratch: Scratch,
    pub frames: Vec<Vec<u8>>,
    pub needs: usize,
    pub pongs: Vec<Output>,
    /// Associations for its kernel, and refusals.
    pub esp: Vec<Output>,
    pub logs: Vec<Event>,
    /// Whose trees it wants to know its place in.
    pub used: std::collections::BTreeSet<mesh::ShortId>,
    /// MTU of working direct paths.
    pub direct: BTreeMap<usize, u16>,
    pub downs: usize,
    pub relayed: BTreeMap<usize, Route>,
}

impl Node {
    pub fn new(net: &Network, n: usize, identity: Identity, options: &Options) -> Self {
        let address: SocketAddr = if options.ipv6 {
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16 + 1], 6783).into()
        } else {
            ([192, 0, 2, n as u8 + 1], 6783).into()
        };
        let (id, drops, identity) = (
            PeerId(identity.public()),
            Arc::new(Drops::default()),
            Arc::new(identity),
        );
        let trusted = options.trusted.get(n).cloned().unwrap_or_default();
        let plane = Arc::new(Plane::new(PlaneConfig {
            id,
            drops: Arc::clone(&drops),
            trusted: trusted.clone(),
            container_mtu: 1390,
        }));
        let config = Config {
            id,
            identity: Arc::clone(&identity),
            keyring: keyring(&[1]),
            epoch: 1,
            ciphers: vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305],
            trusted,
            max_mtu: options.max_mtu,
            drops: Arc::clone(&drops),
        };
        let random = Random(options.seed * 7919 + n as u64 + u64::from(options.ipv6));
        let sleeve = Sleeve::new(config, Arc::clone(&plane), Box::new(random), Instant(0));
        Self {
            id,
            identity,
            address,
            epoch: 1,
            secrets: vec![1],
            plane,
            sleeve,
            drops,
            socket: net.socket(address),
            scratch: Scratch::default(),
            frames: Vec::new(),
            needs: 0,
            pongs: Vec::new(),
            esp: Vec::new(),
            logs: Vec::new(),
            used: std::collections::BTreeSet::new(),
            direct: BTreeMap::new(),
            downs: 0,
            relayed: BTreeMap::new(),
        }
    }

    pub fn info(&self) -> PeerInfo {
        let admission = |n: &u64| mesh::Admission {
            secret: SecretId(secret(*n).id().0),
            proof: [0; 16],
        };
        PeerInfo {
            peer: self.id,
            name: "node".parse().unwrap(),
            data_key: self.identity.data_public(),
            epoch: self.epoch,
            instance: 1,
            addresses: vec![self.address],
            admissions: self.secrets.iter().map(admission).collect(),
            version: "0".into(),
            capabilities: 0,
            vxlan_port: 0,
            label: mesh::PeerLabel::NONE,
        }
    }
}
