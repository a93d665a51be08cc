//! Routers joined in memory.
#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod demand;
mod direct;
mod harness;
mod hostile;
mod local;
mod narrow;
mod node;
mod policy;
mod relay;
mod sessions;
mod split;
