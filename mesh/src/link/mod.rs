//! Links: from an authenticated connection to a neighbour, and the end of it.
//!
//! `LinkUp` → both ends say hello → the link is up → keepalives measure its round trip and prove it alive →
//! closed, by either end, or dead. [`state`] is one link, [`table`] all of them: it starts and ends links;
//! [`rivals`] decides between several with one router; [`rtt`] and [`health`] do the measuring.

mod health;
mod rivals;
mod rtt;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use state::{Link, Phase};
pub(crate) use table::{Greeter, Happened, Links, MAX_LINKS};
