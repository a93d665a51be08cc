//! What a core was told, written down so that another core can be told the same.
//!
//! A [`Recorder`] stands beside a router's core: it sees each input before the core does, each output after, and each
//! answer of the [`Signer`] in between. A [`Replay`] makes a core of the same settings and seed, gives
//! it the same inputs at the same times and the same answers, and compares what comes out.
//!
//! # What is left out
//!
//! A recording may be shown to others: nothing in it helps to join the mesh or to read its traffic (`blank`).
//! Handshakes of sessions are blank, and so are data keys, proofs of the secret, signatures, and whatever this version
//! cannot read; lengths stay. Signatures and proofs are not judged again in a replay: it has the verdicts. Blanked
//! records hash to something else, so the hash of each one goes along, and the core compares and asks by that.
//!
//! # The file
//!
//! One line of text ([`FIRST_LINE`]), then entries: a length of four bytes, little end first, and an [`Entry`] in
//! postcard. The first is [`Entry::Start`]. An input is followed by the signer's answers to it, then by the outputs
//! polled before the next input. A file may end anywhere; what is complete can be replayed.

mod blank;
mod recorder;
mod replay;
#[cfg(test)]
mod tests;

pub use recorder::{Ended, Recorder};
pub use replay::{Difference, Replay};

use crate::ipam::Setup;
use crate::{Admission, Config, Drops, Input, Instant, PeerId, PeerLabel, PeerName, Signer};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What every recording begins with. The number is that of the format.
pub const FIRST_LINE: &str = "weft recording 1\n";
/// No entry is longer: the largest message, the hashes of its records, and room.
pub const MAX_ENTRY: usize = 2 * crate::MAX_MESSAGE;

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Entry {
    /// The core was made.
    Start(Box<Start>),
    /// It was given an input.
    Input {
        /// When.
        at: Instant,
        /// What, blanked.
        input: Input,
        /// The hash of each record in it, as it was before.
        hashes: Vec<[u8; 16]>,
    },
    /// The signer answered.
    Answer(Answer),
    /// The driver took an output.
    Output(Mark),
    /// The recording ends here, and nothing is missing before.
    End,
}

/// What the core was made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// The program's version.
    pub version: String,
    /// Where all random choices follow from.
    pub seed: [u8; 32],
    /// When.
    pub at: Instant,
    settings: Settings,
}

/// The part of [`Config`] that is data.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Settings {
    id: PeerId,
    name: PeerName,
    epoch: u64,
    instance: u64,
    discovery: bool,
    max_links: usize,
    targets: Vec<String>,
    addresses: Vec<SocketAddr>,
    version: String,
    versions: (u16, u16),
    capabilities: u32,
    vxlan_port: u16,
    label: PeerLabel,
    addresses_of: Setup,
    keepalive: Duration,
    keepalive_misses: u32,
}

/// What the signer said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It signed, and the record's hash was this.
    Signed([u8; 16]),
    /// A signature was right, or not.
    Verified(bool),
    /// The secrets the router has, with blanks for proofs.
    Admissions(Vec<Admission>),
    /// An origin knew a secret, or not.
    Admitted(bool),
}

/// An output, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its kind.
    pub kind: String,
    /// Hash of the blanked whole.
    pub hash: u64,
}

impl Start {
    /// Whose recording it is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.settings.id
    }

    /// That router's name.
    #[must_use]
    pub fn name(&self) -> &PeerName {
        &self.settings.name
    }

    fn new(config: &Config, seed: [u8; 32], at: Instant) -> Self {
        // Field by field, so that whoever adds one decides whether it may be told.
        let Config {
            id,
            name,
            data_key: _,
            epoch,
            instance,
            signer: _,
            drops: _,
            discovery,
            max_links,
            targets,
            addresses,
            version,
            versions,
            capabilities,
            vxlan_port,
            label,
            addresses_of,
            keepalive,
            keepalive_misses,
        } = config.clone();
        let settings = Settings {
            id,
            name,
            epoch,
            instance,
            discovery,
            max_links,
            targets,
            addresses,
            version,
            versions,
            capabilities,
            vxlan_port,
            label,
            addresses_of,
            keepalive,
            keepalive_misses,
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            at,
            settings,
        }
    }

    fn config(self, signer: Arc<dyn Signer>) -> Config {
        let settings = self.settings;
        Config {
            id: settings.id,
            name: settings.name,
            data_key: [0; 32],
            epoch: settings.epoch,
            instance: settings.instance,
            signer,
            drops: Arc::new(Drops::default()),
            discovery: settings.discovery,
            max_links: settings.max_links,
            targets: settings.targets,
            addresses: settings.addresses,
            version: settings.version,
            versions: settings.versions,
            capabilities: settings.capabilities,
            vxlan_port: settings.vxlan_port,
            label: settings.label,
            addresses_of: settings.addresses_of,
            keepalive: settings.keepalive,
            keepalive_misses: settings.keepalive_misses,
        }
    }
}

impl Entry {
    /// As it stands in the file, its length first.
    fn write(&self, into: &mut Vec<u8>) {
        let at = into.len();
        into.extend([0; 4]);
        // Encoding fails only for types of unknown length, and none of ours is one.
        let encoded = postcard::to_extend(self, std::mem::take(into)).unwrap_or_default();
        *into = encoded;
        let length = u32::try_from(into.len().saturating_sub(at + 4)).unwrap_or(u32::MAX);
        if let Some(place) = into.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    /// Reads what stands after the length.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
