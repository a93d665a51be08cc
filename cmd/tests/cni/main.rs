//! The CNI plugin: the binary itself, called as container runtimes call it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod errors;
mod gateway;
mod life;
mod plugin;
mod runtimes;
mod stage;
