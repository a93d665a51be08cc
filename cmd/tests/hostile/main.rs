//! Strangers and wire tappers at the data port: refused, counted, and established traffic untouched.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../fastpath/tests/common/frames.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of fastpath")]
mod packets;

mod replay;
mod strangers;
mod tap;
