//! What must outlive the process: networks, endpoints and addresses, in one file that is replaced as a whole.

use crate::state;
use anyhow::{Context, Result, bail};
use rand_core::{OsRng, RngCore as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The file in the state directory.
const FILE: &str = "docker.json";
/// Locked by the driver that uses it.
const LOCK: &str = "docker.lock";

/// All of it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Saved {
    /// Tells what is this driver's from what is another's on the same host. Made with the file.
    pub(super) driver: String,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
    /// By pool and address.
    pub(super) addresses: BTreeMap<String, Held>,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    _lock: Option<File>,
}

/// A network as Docker knows it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Network {
    /// The router's name for it; `None`: the default one.
    pub(super) network: Option<String>,
    /// Containers send IPv4 multicast out by it.
    pub(super) multicast: bool,
}

/// A container's place in a network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Endpoint {
    /// Docker's id of the network.
    pub(super) network: String,
    /// With prefix lengths.
    pub(super) addresses: Vec<String>,
    pub(super) mac: String,
    /// Its addresses were allocated under this name by this driver, not by way of Docker.
    pub(super) holder: Option<String>,
    /// It is attached, or to be.
    pub(super) is_joined: bool,
}

/// An address that Docker asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) network: Option<String>,
    /// Under which name the router gave it.
    pub(super) holder: String,
    /// The interface for which it is; without, it is kept for something that is not a container.
    pub(super) mac: Option<String>,
    /// A swarm's manager asked for it, for a task on any node.
    #[serde(default)]
    pub(super) is_swarms: bool,
}

impl Saved {
    /// What an earlier run left.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("state directory {}", folder.display()))?;
        let lock = state::lock(&folder.join(LOCK))
            .with_context(|| format!("state directory {}", folder.display()))?;
        if lock.is_none() {
            bail!(
                "another `weft docker serve` uses {}: give each a --state-dir of its own",
                folder.display()
            );
        }
        let path = folder.join(FILE);
        let mut saved: Self = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is damaged: restore it, or remove it and all Docker networks of weft",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        saved.path = path;
        saved._lock = lock;
        if saved.driver.is_empty() {
            saved.driver = format!("{:016x}", OsRng.next_u64());
        }
        saved.store().map_err(anyhow::Error::msg)?;
        Ok(saved)
    }

    /// Stores it, synced.
    pub(super) fn store(&self) -> Result<(), String> {
        let beside = self.path.with_file_name(format!(".{FILE}.new"));
        let write = || -> std::io::Result<()> {
            let bytes = serde_json::to_vec_pretty(self)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)?;
            let folder = self.path.parent().unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }

    /// Names under which the router holds addresses for something that is there.
    pub(super) fn holders(&self) -> Vec<String> {
        let held = self.addresses.values().map(|held| held.holder.clone());
        let own = self
            .endpoints
            .values()
            .filter_map(|endpoint| endpoint.holder.clone());
        held.chain(own).collect()
    }

    /// Endpoints that are attached, or to be.
    pub(super) fn joined(&self) -> impl Iterator<Item = &String> {
        let joined = self.endpoints.iter().filter(|(_, endpoint)| endpoint.is_joined);
        joined.map(|(id, _)| id)
    }
}
