//! What a router keeps on disk between runs: identity, secrets, epoch, targets, attachments.
//!
//! Every file is readable by root only, and replaced as a whole: written beside, synced, renamed, and the
//! directory synced, so that a power cut leaves the old or the new one. A disk that can't be written stops the
//! launch: an identity that is lost at the next boot is worse than none.

use crate::address_store::AddressStore;
use crate::docker::PLUGIN_STATE;
use anyhow::{Context, Result, bail};
use crypto::identity::Identity;
use crypto::keyring::Keyring;
use crypto::secret::Secret;
use mesh::ipam::Stored;
use rand_core::OsRng;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// All files of a router's.
const FILES: [&str; 8] = [
    "identity",
    "secrets",
    "memory.json",
    "attachments.json",
    "addresses.redb",
    "docker.json",
    "docker.lock",
    "lock",
];

/// An open state directory, locked against a second router.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Held for the lock on it.
    _lock: File,
}

/// What changes while the router runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// The largest epoch ever used.
    pub(crate) epoch: u64,
    /// True once a link with another router has been up.
    pub(crate) met: bool,
    /// Ids of secrets that were retired here: never taken again from a flag.
    pub(crate) retired: Vec<String>,
    /// Name of the bridge it was launched with.
    pub(crate) bridge: Option<String>,
    /// This router's label on the fast path; zero as long as it has none.
    pub(crate) label: u16,
    /// What to dial.
    pub(crate) targets: Vec<String>,
    /// Names that the operator added.
    pub(crate) names: BTreeMap<mesh::Name, BTreeSet<IpAddr>>,
    /// The networks that are known.
    pub(crate) networks: mesh::NetworkTable,
}

/// A container's interface, so that it can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// Its network.
    #[serde(default = "default_network")]
    pub(crate) vni: mesh::Vni,
    /// What that is called, if it is not the default one.
    #[serde(default)]
    pub(crate) network: Option<mesh::Name>,
    /// Interface and namespace.
    pub(crate) port: fastpath::Attachment,
    /// The process it was given by, if any.
    pub(crate) pid: Option<u32>,
    /// What its container is called, if somebody said so.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// What a container runtime knows it by.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Some of its addresses were given out by this router, under the host end's name.
    #[serde(default)]
    pub(crate) is_allocated: bool,
    /// What it is called.
    #[serde(default)]
    pub(crate) names: Vec<mesh::Name>,
    /// When the host was booted that it was made on, as the kernel names it: paths and numbers of namespaces mean others after
    /// the next boot.
    #[serde(default)]
    pub(crate) boot: Option<String>,
    /// It reaches what is outside by this host.
    #[serde(default)]
    pub(crate) gateway: bool,
    /// In the host's name.
    #[serde(default)]
    pub(crate) masqueraded: bool,
    /// The host's own interface, made for such containers: it goes with the last of them.
    #[serde(default)]
    pub(crate) for_gateway: bool,
}

impl Attachment {
    /// True if the container can't be there any more, as the host was booted since. The host itself is.
    pub(crate) fn is_of_another_boot(&self, boot: Option<&str>) -> bool {
        let differ = self
            .boot
            .as_deref()
            .zip(boot)
            .is_some_and(|(own, now)| own != now);
        differ && !self.port.is_host
    }
}

/// What the kernel calls the time since it was booted; `None` where it does not say.
pub(crate) fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn default_network() -> mesh::Vni {
    mesh::Vni::DEFAULT
}

impl StateDir {
    /// Opens the directory, making it if need be, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let what = || format!("state directory {}", path.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(what)?;
        // A directory that holds more than a router's files, such as /var/lib, keeps the mode it has.
        if is_own(path).with_context(what)? {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(what)?;
        }
        let Some(lock) = lock(&path.join("lock")).with_context(what)? else {
            bail!(
                "another router uses {}: stop it (`weft stop`), or choose another --state-dir",
                path.display()
            );
        };
        Ok(Self {
            path: std::path::absolute(path).with_context(what)?,
            _lock: lock,
        })
    }

    /// Where it is, as an absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces a file durably.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{name}.new"));
        let write = || -> std::io::Result<()> {
            let _ = fs::remove_file(&beside);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn read_json<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T> {
        let Some(bytes) = self.read(name)? else {
            return Ok(T::default());
        };
        serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is damaged: restore it, or remove it to start afresh",
                self.path.join(name).display()
            )
        })
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.write(name, &serde_json::to_vec_pretty(value).context("state as JSON")?)
    }

    /// The router's identity, made at the first launch.
    pub(crate) fn identity(&self) -> Result<Identity> {
        if let Some(bytes) = self.read("identity")? {
            let bytes: Result<&[u8; 64], _> = bytes.as_slice().try_into();
            let Ok(bytes) = bytes else {
                bail!(
                    "{} is damaged: restore it, or remove it to get a new identity",
                    self.path.join("identity").display()
                );
            };
            return Ok(Identity::from_bytes(bytes));
        }
        let identity = Identity::generate(&mut OsRng);
        self.write("identity", identity.to_bytes().as_slice())?;
        Ok(identity)
    }

    /// The stored secrets, oldest first; empty before the first launch.
    pub(crate) fn secrets(&self) -> Result<Vec<Secret>> {
        let Some(bytes) = self.read("secrets")? else {
            return Ok(Vec::new());
        };
        let damaged = || format!("{} is damaged", self.path.join("secrets").display());
        let text = std::str::from_utf8(&bytes).with_context(damaged)?;
        text.split_whitespace()
            .map(|token| token.parse().with_context(damaged))
            .collect()
    }

    /// Stores the secrets.
    pub(crate) fn store_secrets(&self, keyring: &Keyring) -> Result<()> {
        let text: String = keyring.secrets().map(|secret| secret.token() + "\n").collect();
        self.write("secrets", text.as_bytes())
    }

    /// What was remembered at the last run.
    pub(crate) fn memory(&self) -> Result<Memory> {
        self.read_json("memory.json")
    }

    /// Remembers durably.
    pub(crate) fn store_memory(&self, memory: &Memory) -> Result<()> {
        self.write_json("memory.json", memory)
    }

    /// The store of addresses, and what is in it.
    pub(crate) fn addresses(&self) -> Result<(AddressStore, Stored)> {
        AddressStore::open(&self.path.join("addresses.redb"))
    }

    /// The containers attached so far.
    pub(crate) fn attachments(&self) -> Result<Vec<Attachment>> {
        self.read_json("attachments.json")
    }

    /// Stores the attached containers.
    pub(crate) fn store_attachments(&self, attachments: &[Attachment]) -> Result<()> {
        self.write_json("attachments.json", &attachments)
    }
}

/// Locks a file while the result lives; `None` if somebody else has it locked.
pub(crate) fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    Ok(flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .is_ok()
        .then_some(lock))
}

/// True if nothing but a router's files is in the directory.
fn is_own(path: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let plain = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".new"))
            .unwrap_or(&name);
        if !FILES.contains(&plain) && plain != PLUGIN_STATE {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bridge of the router that keeps its state in `path`, if that can be told.
pub(crate) fn bridge_of(path: &Path) -> Option<String> {
    let bytes = fs::read(path.join("memory.json")).ok()?;
    serde_json::from_slice::<Memory>(&bytes).ok()?.bridge
}

/// Removes what the router keeps in `path`, and the directory if nothing else is in it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    for name in FILES {
        for file in [path.join(name), path.join(format!(".{name}.new"))] {
            match fs::remove_file(&file) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot remove {}", file.display())),
            }
        }
    }
    // Left alone when the operator keeps other files there.
    let _ = fs::remove_dir(path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that goes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("weft-state-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_stored_is_found_again_and_private() {
        let scratch = Scratch::new("round-trip");
        let memory = Memory {
            epoch: 7,
            met: true,
            retired: vec!["x".into()],
            bridge: None,
            label: 7,
            networks: Default::default(),
            targets: vec!["10.0.0.1:6783".into()],
            names: BTreeMap::from([(
                "web".parse().unwrap(),
                BTreeSet::from(["10.0.0.1".parse().unwrap()]),
            )]),
        };
        let public = {
            let dir = StateDir::open(&scratch.0).unwrap();
            let keyring = Keyring::new(vec![Secret::generate(&mut OsRng)]).unwrap();
            dir.store_secrets(&keyring).unwrap();
            dir.store_memory(&memory).unwrap();
            dir.identity().unwrap().public()
        };
        let dir = StateDir::open(&scratch.0).unwrap();
        assert_eq!(dir.identity().unwrap().public(), public);
        assert_eq!(dir.memory().unwrap(), memory);
        assert_eq!(dir.secrets().unwrap().len(), 1);
        for entry in fs::read_dir(&scratch.0).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
        assert_eq!(
            fs::metadata(&scratch.0).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_directory_of_others_keeps_its_mode() {
        let scratch = Scratch::new("others");
        fs::create_dir(&scratch.0).unwrap();
        fs::write(scratch.0.join("something"), b"else").unwrap();
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
        let dir = StateDir::open(&scratch.0).unwrap();
        dir.identity().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&scratch.0), 0o755);
        assert_eq!(mode(&scratch.0.join("identity")), 0o600);
    }

    #[test]
    fn one_router_at_a_time() {
        let scratch = Scratch::new("lock");
        let _dir = StateDir::open(&scratch.0).unwrap();
        assert!(
            StateDir::open(&scratch.0)
                .unwrap_err()
                .to_string()
                .contains("another router")
        );
    }

    #[test]
    fn damage_is_told_and_never_overwritten() {
        let scratch = Scratch::new("damage");
        let dir = StateDir::open(&scratch.0).unwrap();
        fs::write(scratch.0.join("identity"), b"short").unwrap();
        fs::write(scratch.0.join("memory.json"), b"{").unwrap();
        fs::write(scratch.0.join("secrets"), b"nonsense").unwrap();
        assert!(dir.identity().is_err() && dir.memory().is_err() && dir.secrets().is_err());
        assert_eq!(fs::read(scratch.0.join("identity")).unwrap(), b"short");
    }
}
