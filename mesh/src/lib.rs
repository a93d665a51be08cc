//! Weft's control plane, sans-IO.
#![allow(missing_docs)]
mod drops;
mod event;
mod fdb;
mod id;
mod record;
mod route;
mod time;
mod topology;
pub use drops::{DropReason, Drops};
pub use event::{Direction, Event, Input, Output, SecretIds};
pub use fdb::{
    Fdb, FdbChange, LocalChange, MAX_CHUNK_ENTRIES, MAX_CHUNKS, MAX_ENTRY_ADDRESSES, MacsBody, Registry,
};
pub use id::{InvalidName, LinkId, LinkLabel, Mac, PeerId, PeerName, SecretId, ShortId, Vni};
pub use record::{Admission, PeerInfo, Signer};
pub use route::{
    BroadcastTree, DirectPath, LABEL_REST, Labels, MAX_LABELS, RELAY_COST_US, Route, Routes, control_paths,
};
pub use time::Instant;
pub use topology::{Adjacency, Topology};
pub const MAX_MESSAGE: usize = 256 * 1024;
pub const MAX_PAYLOAD: usize = 4096;
