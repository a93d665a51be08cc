//! Who may join, by what, and what a router keeps on disk; the verbs of the command line.

#[path = "../common/mod.rs"]
mod common;

mod invites;
mod schema;
mod secrets;
mod status;
mod verbs;
