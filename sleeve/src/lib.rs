//! Weft's userspace data path: encrypted Ethernet frames over UDP.

mod context;
pub mod ethernet;
pub mod event;
pub mod io;
pub mod message;
mod paths;
mod ping;
pub mod plane;
mod sessions;
mod sleeve;
pub mod split;
mod trust;
pub mod wire;

pub use event::{Config, Event, Input, Output, PathState, PathView, PingError, SessionView, Via};
pub use plane::{How, Plane, PlaneConfig, Scratch, Sink};
pub use sleeve::Sleeve;
pub use trust::trusts;
