//! The CNI plugin: the binary itself, called as container runtimes call it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod bandwidth;
mod containerd;
mod cri;
mod ends;
mod errors;
mod gateway;
mod life;
mod place;
mod plugin;
mod pods;
mod runtimes;
mod stage;
