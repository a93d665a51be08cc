//! Routers joined in memory.
#![allow(missing_docs, unreachable_pub)]

mod direct;
mod harness;
