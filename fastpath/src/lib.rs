//! Everything of Weft that programs the kernel.

pub mod netlink;
pub mod netns;
mod sys;
pub mod tap;
pub mod user;
