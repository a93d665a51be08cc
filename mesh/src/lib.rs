//! Weft's control plane, sans-IO: which routers there are, how they reach each other, and what lies behind each.
//!
//! [`Mesh`] is the core of one router. The driver (the daemon, or a simulator) hands in [`Input`]s with the time
//! and takes [`Output`]s out; nothing in here reads a clock, opens a socket or starts a thread, and all random
//! choices follow from a seed. Frames never pass through here: data threads act on the routes and forwarding
//! entries that come out.
//!
//! # The way of an update
//!
//! A container is attached at router A; eight stops later router C sends frames to it.
//!
//! 1. A's driver hands in [`Input::Attach`]; [`Registry`] (`fdb/`) puts the port into a chunk.
//! 2. `issue` makes a record of the chunk and has it signed (`record/`); `store` keeps it like any other.
//! 3. `gossip` packs it with whatever else is new and sends it over all links (`wire`); others pass it on along the tree that
//!    all share (`spread`).
//! 4. At the neighbour B, `neighbor` decodes the message and `gossip` reads the record's header.
//! 5. `store` judges it: newer than what is there, of a router that knows the secret, rightly signed.
//! 6. `gossip` acts upon it and passes it on at once, byte for byte, along that tree.
//! 7. C takes the same steps; [`Registry`] finds what changes in the forwarding table.
//! 8. C's driver gets [`Output::Fdb`], and its data threads know where to send.
//!
//! What a link loses, `repair` finds (`digest`): neighbours compare sums over what they hold when they
//! meet and every half minute.
//! A change of links goes the same way as `LinkState`; there, stop 7 is `reach`, which computes routes a moment
//! later (`schedule`), and stop 8 is [`Output::Route`].
//!
//! # Files
//!
//! | file | subject |
//! |---|---|
//! | `mesh`, `event`, `config`, `status`, `sizes` | the core's face: inputs, outputs, settings, views |
//! | `id`, `time`, `drops`, `bucket`, `chunk`, `outbox` | small things used everywhere |
//! | `wire`, `packet` | messages between neighbours |
//! | `link/`, `neighbor` | links: greeting, keepalives, rivals; what the core does when they change |
//! | `connector/` | which links there are to be: what is dialled, and when; who is taken in |
//! | `record/`, `store` | signed records and their merge |
//! | `directory`, `index` | numbers that stand for routers; where things are found |
//! | `own`, `linkstate`, `issue` | this router's own records |
//! | `gossip`, `spread/`, `repair`, `digest` | how records spread |
//! | `topology`, `graph/` | who is linked with whom, and trees of shortest paths over that, kept up to date |
//! | `route/`, `reach`, `schedule` | paths for data and control messages |
//! | `peerlabel` | the label by which VXLAN headers name a router, and who holds which |
//! | `trees` | this router's place in the trees along which broadcast spreads |
//! | `routed` | control messages over several hops |
//! | `handed` | what routers say, for worlds that begin with a mesh that stands |
//! | `recording/` | what a core was told, without keys, and a core that is told it again |
//! | `ipam/` | which addresses containers get, and which router owns the others |
//! | `fdb/` | behind which router each MAC address lies |
//! | `names/` | what containers' names stand for |

#[cfg(test)]
mod attacks;
mod bucket;
mod chunk;
mod config;
mod connector;
mod digest;
mod directory;
mod drops;
mod event;
mod fdb;
mod forge;
mod gossip;
mod graph;
mod handed;
mod id;
mod index;
pub mod ipam;
mod issue;
mod link;
mod linkstate;
mod mesh;
mod names;
mod neighbor;
mod networks;
mod outbox;
mod own;
mod packet;
mod peerlabel;
mod reach;
mod record;
pub mod recording;
mod repair;
mod route;
mod routed;
mod schedule;
mod sizes;
mod spread;
mod status;
mod store;
#[cfg(test)]
mod testing;
mod time;
mod topology;
mod trees;
mod wire;

pub use config::Config;
pub use directory::{Directory, Number};
pub use drops::{DropReason, Drops};
pub use event::{Direction, Event, Input, Output, SecretIds, TimerReason};
pub use fdb::{
    Fdb, FdbChange, LocalChange, MAX_CHUNK_ENTRIES, MAX_CHUNKS, MAX_ENTRY_ADDRESSES, MacsBody, Registry,
};
pub use forge::Forged;
pub use graph::Trial;
pub use id::{InvalidName, LinkId, LinkLabel, Mac, PeerId, PeerName, SecretId, ShortId, Vni};
pub use mesh::Mesh;
pub use names::{BadName, MAX_NAME, MAX_NAME_ADDRESSES, Name, NameChange, Names, NamesBody};
pub use networks::{
    MAX_NETWORK_NAME, MAX_NETWORKS, NetworkEntry, NetworkRefusal, NetworkTable, NetworkView, NetworksBody,
    used_networks,
};
pub use packet::Packet;
pub use peerlabel::PeerLabel;
pub use record::{Admission, PeerInfo, Signer, Stamp, capability};
pub use route::{DirectPath, LABEL_REST, Labels, MAX_LABELS, RELAY_COST_US, Route};
pub use sizes::Size;
pub use status::{Knowledge, LinkStatus, LinkView, PeerView, TargetState, TargetView};
pub use time::Instant;
pub use topology::{Adjacency, Delay, Topology};
pub use trees::{
    MAX_TREE_DEPTH, MAX_TREES_USED, TREE_ABOVE, TREE_KEPT, TREES_DIFFER, Tree, TreeChange, TreeRoot, Trees,
};

/// Largest control message in bytes. Drivers skip larger ones and say so with [`Input::Oversized`].
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Largest payload of [`Input::SendTo`] in bytes.
pub const MAX_PAYLOAD: usize = 4096;
