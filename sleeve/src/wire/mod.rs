//! The datagrams of the data port, byte by byte.
//!
//! The first byte tells what a datagram is. Its bit 0x40 is clear, so that QUIC (RFC 9000, section 17: the fixed
//! bit) shares the port. All numbers are big endian.
//!
//! | first byte | datagram |
//! |---|---|
//! | 1 | sealed: [`DataHeader`], ciphertext, tag |
//! | 2 | plain: [`DataHeader`], plaintext in clear, tag over both |
//! | 3 | relayed: relay header, tag, then a whole sealed datagram |
//! | 4 | group: [`GroupHeader`] with the hop's tag, ciphertext, tag: broadcast along its source's tree |
//!
//! What is inside a sealed or plain datagram is described in [`inner`]; what everything costs in [`size`].

pub mod data;
pub mod group;
pub mod inner;
pub mod marks;
pub mod relay;
pub mod size;

pub use data::DataHeader;
pub use group::GroupHeader;

/// First byte of a sealed datagram.
pub const SEALED: u8 = 1;
/// First byte of a datagram that is authenticated, but not encrypted.
pub const PLAIN: u8 = 2;
/// First byte of a relayed datagram.
pub const RELAY: u8 = 3;
/// First byte of a group datagram.
pub const GROUP: u8 = 4;
/// Length of every tag.
pub const TAG: usize = 16;
/// Lanes that a router may have at most: threads that seal with keys of their own. Every router opens what any lane of
/// another sealed, however many it has itself.
pub const LANES: usize = 8;

/// The kinds of datagram this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encrypted and authenticated.
    Sealed,
    /// Authenticated only.
    Plain,
    /// On its way over relays.
    Relay,
    /// On its way along a tree.
    Group,
}

impl Kind {
    /// What `datagram` claims to be; `None` for anything that is not ours.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match *datagram.first()? {
            SEALED => Some(Self::Sealed),
            PLAIN => Some(Self::Plain),
            RELAY => Some(Self::Relay),
            GROUP => Some(Self::Group),
            _ => None,
        }
    }
}

/// The lane that a datagram says it was sealed in, or its hop's tag made, before anything of it is verified. What is
/// not sleeve's has none.
#[must_use]
pub fn lane(datagram: &[u8]) -> Option<u8> {
    let lane = match Kind::of(datagram)? {
        Kind::Sealed | Kind::Plain | Kind::Group => *datagram.get(2)?,
        Kind::Relay => *datagram.get(3)? >> 4,
    };
    (usize::from(lane) < LANES).then_some(lane)
}

/// The `N` bytes of `bytes` from `at` on; `None` if it is shorter than that.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
