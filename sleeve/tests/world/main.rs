//! Routers joined in memory.
#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod batch;
mod chaos;
mod cost;
mod demand;
mod direct;
mod esp;
mod forest;
mod harness;
mod hostile;
mod lanes;
mod local;
mod narrow;
mod node;
mod packets;
mod policy;
mod relay;
mod repair;
mod sessions;
mod split;
mod tree;

/// The halves go where their threads are.
const _: fn() = || {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<sleeve::Sleeve>();
    is_shared::<sleeve::Plane>();
};
