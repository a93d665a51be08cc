//! What a container that asks for a name is answered.
//!
//! The way of a question: its bytes come from a socket that a driver holds → [`Zone::answer`] reads them → what the
//! zone knows is answered from it, what it is no authority for is to be forwarded → the driver sends the answer, or
//! asks elsewhere. The zone is kept up to date by the core's [`NameChange`]s. No clock, socket or thread in here.
//!
//! | file | subject |
//! |---|---|
//! | `zone` | which names there are, in which network |
//! | `answer` | a question, and what is answered |
//!
//! Followed are RFC 1034 and 1035, 2181 (truncation, sets of records), 2308 (negative answers), 4343 (case), 6891 (EDNS),
//! 8020 (nothing below what does not exist) and 8482 (questions for everything).

mod answer;
#[cfg(test)]
mod tests;
mod zone;

pub use answer::{Transport, Verdict, failure, is_answer};
pub use hickory_proto::op::ResponseCode;
pub use zone::{BadDomain, Zone};

use mesh::NameChange;

/// Seconds for which an answer may be kept: what a container's name stands for may change at any moment.
pub const TTL: u32 = 1;
