//! Who may join, by what, and what a router keeps on disk; the verbs of the command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod invites;
mod schema;
mod secrets;
mod status;
mod verbs;
