//! Swarm runs: scenarios with random faults, one for each seed, and what is left of one that failed.
//!
//! After TigerBeetle's VOPR: first faults of all kinds while the always-invariants are watched (safety), then the
//! network heals, everybody runs again, and everything must come right in time (liveness).
//!
//! [`draw()`] makes the scenario of a seed, [`shrink()`] takes away from a failing one whatever it fails without. Both
//! deal in [`Scenario`](crate::scenario::Scenario)s, so what is left is a file that `weft simulate` runs.

mod draw;
mod shrink;

pub use draw::{draw, draw_faults};
pub use shrink::shrink;
