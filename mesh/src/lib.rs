//! Weft's control plane, sans-IO.
#![allow(missing_docs)]
mod drops; mod event; mod id; mod time; mod topology; mod record; mod route; mod fdb;
pub use drops::{DropReason, Drops};
pub use event::{Direction, Event, Input, Output, SecretIds};
pub use fdb::{Fdb, FdbChange};
pub use id::{InvalidName, LinkId, LinkLabel, Mac, PeerId, PeerName, SecretId, ShortId, Vni};
pub use record::{Admission, PeerInfo, Signer};
pub use route::{DirectPath, Route};
pub use time::Instant;
pub use topology::{Adjacency, Topology};
pub const MAX_MESSAGE: usize = 256 * 1024;
pub const MAX_PAYLOAD: usize = 4096;
