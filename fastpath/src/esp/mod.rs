//! Encryption on the fast path: IPsec ESP (RFC 4303) in transport mode on the VXLAN packets between two neighbours.
//!
//! ```text
//!  | IP | ESP: SPI, sequence | IV | UDP 6784 | VXLAN | frame | padding | ICV |
//!                                 └────────── AES-256-GCM ───────────┘
//! ```
//! What a neighbour's kernel needs, and what each part is for:
//!
//! - two **policies** for each address: what leaves for its VXLAN port must be encrypted, and what comes from it must
//!   have been. Without an association nothing leaves, and nothing is taken.
//! - **associations** (SAs), one for each direction, with a key that is used for this one alone. The receiver chooses
//!   the SPI and has the association before the sender hears of it; so another takes the place of one in use without
//!   the loss of a packet.
//!
//! The way through it: sleeve agrees with the neighbour's router on associations, inside their session. [`Keeper`], a
//! sans-IO machine, decides what there is to be ([`Desired`]) and when to ask for another. [`plan()`], a pure function,
//! compares it with what there is ([`Observed`]), and [`Xfrm`] does the steps by netlink ([`message`]). All of it stays
//! in the kernel when the router dies, and the next one takes it over; what is ours is known by its request id.
//!
//! The kernel ends an association by itself ([`hard`]), whatever became of the router.

mod keeper;
mod kernel;
pub mod message;
mod plan;
#[cfg(test)]
mod tests;

pub use keeper::{Input, Keeper, NoEsp, Output, Settings};
pub use kernel::{EspError, Probe, Watch, Xfrm, bypass, dropped};
pub use plan::{Desired, Kernel, Observed, Op, Report, Seen, converge, plan};

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use zeroize::ZeroizeOnDrop;

/// How long an association is used, unless settings say otherwise.
pub const ROLL: Duration = Duration::from_secs(3600);
/// Packets after which another takes its place.
pub const ROLL_PACKETS: u64 = 1 << 32;
/// The kernel ends it after so many.
const HARD_PACKETS: u64 = 2 * ROLL_PACKETS;
/// Bytes that ESP adds to a packet at most: header 8, IV 8, padding and trailer 2 to 5, ICV 16.
pub const OVERHEAD: u16 = 37;

/// How long the kernel lets an association live that is to be used for `roll`: as long again, and at least longer than the
/// programs carry frames without a router.
#[must_use]
pub fn hard(roll: Duration) -> Duration {
    roll + roll.max(Duration::from_secs(15 * 60))
}

/// The two addresses between which the kernels encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// This host's.
    pub here: IpAddr,
    /// The neighbour's.
    pub there: IpAddr,
}

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To this host.
    In,
    /// Away from it.
    Out,
}

/// What the kernel knows an association by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaId {
    /// Where its packets go.
    pub to: IpAddr,
    /// The receiver's index.
    pub spi: u32,
}

/// Key and salt of an association (RFC 4106 §8.1). Wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Key(pub [u8; 36]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// A new association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sa {
    /// Which way its packets go.
    pub direction: Direction,
    /// Between which addresses.
    pub ends: Ends,
    /// The receiver's index.
    pub spi: u32,
    /// Its key.
    pub key: Key,
}

impl Sa {
    /// What the kernel knows it by.
    #[must_use]
    pub fn id(&self) -> SaId {
        let to = match self.direction {
            Direction::In => self.ends.here,
            Direction::Out => self.ends.there,
        };
        SaId { to, spi: self.spi }
    }
}

/// What must be encrypted: packets to the VXLAN port of this address, or those from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// Which way the packets go.
    pub direction: Direction,
    /// The neighbour's address.
    pub there: IpAddr,
    /// UDP port at the receiver.
    pub port: u16,
}
