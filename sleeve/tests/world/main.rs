//! Routers joined in memory.
#![allow(missing_docs, unreachable_pub)]

mod demand;
mod direct;
mod harness;
mod hostile;
mod local;
mod narrow;
mod policy;
mod relay;
mod sessions;
mod split;
