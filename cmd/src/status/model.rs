//! The JSON of `weft status --json`. A JSON schema in `docs/status.schema.json` describes it, and a test holds the
//! two together.

use mesh::Direction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) peer_id: String,
    /// False as soon as frames travel to some router without encryption.
    pub(crate) encrypted: bool,
    pub(crate) listen: String,
    pub(crate) peers: Vec<Peer>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) routes: Vec<Route>,
    pub(crate) targets: Vec<Target>,
    pub(crate) attachments: Vec<Attachment>,
    /// What was thrown away since launch, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
}

/// A router that is known, this one included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) peer_id: String,
    pub(crate) name: String,
    #[serde(rename = "self")]
    pub(crate) own: bool,
    pub(crate) reachable: bool,
    /// Sessions made with it since it was heard of: the first, and one more each time its keys were renewed.
    pub(crate) sessions: u64,
    pub(crate) links: Vec<PeerLink>,
}

/// A link as the router it belongs to announces it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerLink {
    pub(crate) peer_id: String,
    pub(crate) rtt_us: u64,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Established,
    Handshaking,
    Connecting,
    Retrying,
    Failed,
}

/// How frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Overlay {
    Sleeve,
    Fast,
}

/// A link, a direct data path, both in one, or the attempt at one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) address: String,
    pub(crate) peer_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) state: State,
    pub(crate) direction: Direction,
    /// What frames to that router use now; none if none goes there directly.
    pub(crate) overlay: Option<Overlay>,
    /// Why it is not fast.
    pub(crate) overlay_reason: Option<String>,
    /// The fast path is kept although the control plane lost that router.
    pub(crate) stale: Option<bool>,
    pub(crate) encrypted: Option<bool>,
    /// Largest IP packet, in bytes, proven to pass.
    pub(crate) mtu: Option<u16>,
    pub(crate) rtt_us: Option<u64>,
    pub(crate) error: Option<String>,
}

/// The way frames take to another router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) peer_id: String,
    pub(crate) name: String,
    /// Names of the hops, destination last.
    pub(crate) path: Vec<String>,
    pub(crate) hops: usize,
    pub(crate) cost_us: u64,
    pub(crate) overlay: Overlay,
    /// Why it is not fast.
    pub(crate) overlay_reason: Option<String>,
    /// The fast path is kept although the control plane lost that router.
    pub(crate) stale: bool,
    pub(crate) direct: bool,
}

/// An address that is to be dialled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) state: State,
    pub(crate) next_try_ms: Option<u64>,
    pub(crate) error: Option<String>,
}

/// A container's interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) netns: String,
    pub(crate) pid: Option<u32>,
    pub(crate) ifname: String,
    pub(crate) mac: String,
    pub(crate) addresses: Vec<String>,
}
