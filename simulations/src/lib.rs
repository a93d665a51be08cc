//! Weft's simulated world: whole routers, joined in memory, in virtual time.
//!
//! Each [`Router`] is the daemon's own `Mesh`, `Sleeve`, `Plane` and `crypto`; only sockets, the clock and the kernel
//! are replaced. A [`World`] holds hosts with routers and containers, the [`Network`] between them, one clock and
//! one seed. Everything that happens follows from that seed and the calls made, so a run repeats exactly, and its
//! [trace hash](World::trace_hash) shows it.
//!
//! ```
//! use simulations::World;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), simulations::Failure> {
//! let mut world = World::new(1);
//! let hosts = world.add_hosts(3);
//! world.launch(hosts[0], &[]);
//! world.launch(hosts[1], &[hosts[0]]);
//! world.launch(hosts[2], &[hosts[0]]);
//! world.all_direct(Duration::from_secs(3))?;
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a frame
//!
//! 1. [`World::send`] puts it on its host's bridge (`hosts`): local containers get it there.
//! 2. `router` gives it to the router's `Plane`, which seals it into a datagram: an act.
//! 3. `world` carries the act out: `network` says whether and when the datagram arrives.
//! 4. The `clock` comes to that event, and `router` gives the datagram to the other `Plane`.
//! 5. What comes out is a frame: the bridge there hands it to the container it is for.
//!
//! Control messages take the same steps over `links`, whose streams lose nothing.
//!
//! # Files
//!
//! | file | subject |
//! |---|---|
//! | `world`, `hosts` | the events; hosts, their routers and containers |
//! | `clock`, `random`, `trace` | time, chance, and the proof that both repeat |
//! | `network`, `profile` | wires between hosts |
//! | `nat`, `ways` | address translators, and where an address leads |
//! | `connection`, `links`, `stream`, `window` | QUIC as the routers see it |
//! | `router`, `shore` | a running router: both cores and its data half |
//! | `fast` | its host's fast path: the daemon's decisions over the model of the kernel's programs |
//! | `tape` | recordings of routers, and their replay |
//! | `disk` | what outlives it |
//! | `container` | those who send frames |
//! | `verdicts` | signatures, each verified once for all routers |
//! | `settled` | who knows all there is to know |
//! | `big/` | worlds of ten thousand routers, of cores alone |
//! | `page` | a run as one HTML file |
//! | `invariants/`, `nonces`, `expect` | what must hold always, and what at rest |

mod big;
mod clock;
mod connection;
mod container;
mod cost;
mod disk;
mod expect;
mod fast;
mod hosts;
mod invariants;
mod links;
mod nat;
mod network;
mod nonces;
mod page;
mod probe;
mod profile;
mod random;
mod router;
pub mod scenario;
mod settled;
mod shore;
mod stream;
pub mod swarm;
mod tape;
mod trace;
mod traffic;
mod verdicts;
mod ways;
mod window;
mod world;

pub use big::{Allocated, BigWorld, Stretch};
pub use container::{Container, MARKER, Received, number_of};
pub use cost::Cost;
pub use disk::{Disk, Port};
pub use expect::Failure;
pub use hosts::{ContainerId, HostId};
pub use invariants::{LOOK_EVERY, Violation};
pub use nat::{NatId, NatKind, NatOptions};
pub use network::{Jitter, Network, Rate, Wire};
pub use page::{Film, LinkLife, Page, PageEvent, PageFailure, State as RouterState};
pub use profile::Profile;
pub use random::Random;
pub use router::{Line, Options, Router};
pub use tape::{Recording, ReplayError, Replayed, replay};
pub use trace::TraceHash;
pub use traffic::{Class, Count, Traffic};
pub use world::{Captured, World};
