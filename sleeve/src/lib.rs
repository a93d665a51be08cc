//! Weft's userspace data path: encrypted Ethernet frames over UDP.

pub mod event;
pub mod message;
mod ping;
pub mod plane;
mod sleeve;
pub mod split;
mod trust;
pub mod wire;

pub use event::{Config, Event, Input, Output, PathState, PathView, PingError, SessionView, Via};
pub use plane::{How, Plane, PlaneConfig, Scratch, Sink};
pub use sleeve::Sleeve;
pub use trust::trusts;
