//! What containers send each other: carried, exactly once, at any size; or dropped and counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../fastpath/tests/common/frames.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of fastpath")]
mod packets;

mod addresses;
mod attach;
mod carried;
mod guarded;
mod mtu;
mod policy;
mod repair;
