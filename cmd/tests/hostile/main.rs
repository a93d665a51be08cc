//! Strangers and wire tappers at the data port: refused, counted, and established traffic untouched.

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

mod replay;
mod strangers;
mod tap;
