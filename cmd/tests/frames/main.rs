//! What containers send each other: carried, exactly once, at any size; or dropped and counted.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../fastpath/tests/common/frames.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of fastpath")]
mod packets;

mod attach;
mod carried;
mod guarded;
mod mtu;
mod policy;
mod repair;
