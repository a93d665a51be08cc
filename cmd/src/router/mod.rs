//! The running router: one task that owns both sans-IO cores and carries what comes out of one into the other,
//! into the links, and into the data threads.
//!
//! ```text
//!              links ──► Mesh ──routes, labels, macs──► Plane ◄── data threads
//!                         ▲ │                            ▲
//!          Control, PathUp│ │Deliver, Neighbor, Peer     │sessions
//!                         │ ▼                            │
//!                        Sleeve ─────────────────────────┘
//! ```
//! Every input is followed by draining both cores until neither has anything to say. Inputs that are queued are
//! handled before timers, so that a pause of the process does not look like the silence of all neighbours.

mod addresses;
mod attach;
mod conflist;
mod containers;
mod desk;
mod drain;
mod esp;
mod fast;
mod forward;
mod gateway;
mod keeper;
mod names;
mod naming;
mod networking;
mod place;
mod ports;
mod requests;
mod run;
mod secrets;
mod settled;
mod status;

pub(crate) use addresses::AddressAsks;
pub(crate) use conflist::Conflist;
pub(crate) use containers::Containers;
pub(crate) use fast::{FastPath, prepare as prepare_fast};
pub(crate) use forward::Forward;
pub(crate) use gateway::Gateways;
pub(crate) use keeper::{Keeper, Kept};
pub(crate) use naming::NameTable;
pub(crate) use networking::NetworkAsks;
pub(crate) use ports::{Outcome as PortOutcome, Ports};
pub(crate) use run::{Inbox, start_tap};

use crate::control::{Echo, PingPath};
use crate::data::Shore;
use crate::link::{ConnectionIds, Dialer, LinkHandle};
use crate::nameserver::Names;
use crate::recording::Recording;
use crate::state::Memory;
use crypto::keyring::Keyring;
use mesh::{Drops, Instant, LinkId, Mesh, PeerId};
use sleeve::Sleeve;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use tokio::sync::oneshot;

/// What does not change while the router runs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) id: PeerId,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Vec<String>,
}

/// The router.
pub(crate) struct Router {
    pub(crate) settings: Settings,
    pub(crate) mesh: Mesh,
    pub(crate) recording: Recording,
    pub(crate) sleeve: Sleeve,
    /// What it shares with the data threads.
    pub(crate) shore: Shore,
    pub(crate) drops: Arc<Drops>,
    pub(crate) dialer: Dialer,
    pub(crate) links: BTreeMap<LinkId, LinkHandle>,
    /// Shared with the lanes.
    pub(crate) ids: ConnectionIds,
    pub(crate) keyring: Arc<RwLock<Keyring>>,
    pub(crate) keeper: Keeper,
    pub(crate) memory: Memory,
    pub(crate) containers: Containers,
    pub(crate) gateways: Gateways,
    /// `None`: no `--cni-conf`.
    pub(crate) conflist: Option<Conflist>,
    pub(crate) address_asks: AddressAsks,
    pub(crate) network_asks: NetworkAsks,
    /// What names stand for, as the name server answers.
    pub(crate) names: Names,
    /// The names of this host, as the core was told.
    pub(crate) told_names: NameTable,
    pub(crate) fast: FastPath,
    /// What lets bridged frames pass Docker's firewall.
    pub(crate) forward: Arc<Forward>,
    pub(crate) pings: Pings,
    /// What `--advertise` names, resolved.
    pub(crate) advertised: Vec<SocketAddr>,
    /// Where others may dial this router, best first.
    pub(crate) addresses: Vec<SocketAddr>,
    /// When to read this host's addresses again.
    pub(crate) learn_at: Option<Instant>,
    pub(crate) stopping: bool,
    /// Why it can't go on.
    pub(crate) broken: Option<String>,
    /// Queued things handled since timers were last.
    pub(crate) in_a_row: u32,
}

/// Pings that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

/// One of them.
#[derive(Debug)]
struct Waiting {
    peer: PeerId,
    sent: Instant,
    how: PingPath,
    answer: oneshot::Sender<Result<Echo, String>>,
}
