//! What a router understands of the frames it carries: pure functions over byte slices.
//!
//! A frame that comes from a container meets them in this order: [`guard`] decides whether the container may send
//! it; [`arp`] and [`nd`] answer questions for addresses behind other routers, so that these need not be flooded;
//! once its path is known, [`too_big`] tells the sender when it does not fit. [`parse`] and [`ipv6`] are the
//! bounded reading below all of them.
//!
//! Nothing here allocates; replies are written into buffers of the caller. Every function takes any bytes: lengths
//! are checked against the slice before anything is read, and loops over headers and options have a bound.

pub mod arp;
pub mod guard;
pub mod ipv6;
pub mod nd;
pub mod parse;
pub mod too_big;
mod write;

#[cfg(test)]
pub(crate) mod samples;
