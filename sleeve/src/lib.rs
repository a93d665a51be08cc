//! Weft's userspace data path: encrypted Ethernet frames over UDP.
//!
//! It works wherever UDP does, needs no kernel support, and is what every other way of carrying frames falls back
//! to. It is sans-IO: whoever drives it owns sockets, TAPs, threads and the clock, and hands in packets, buffers and
//! times. `mesh` decides *where* frames go, this crate *how*: sessions, direct paths, path MTU, packets.
//!
//! # Two halves
//!
//! - The data half, [`Plane`], is shared by the threads that move packets. It holds what they look up (sessions by
//!   receiver index, routes, labels, MAC addresses, ports) and changes only by counters and by what it is told.
//! - The control half, [`Sleeve`], belongs to one thread. It makes and renews sessions, finds, measures and checks
//!   direct paths, and tells the plane. It hears of the data half's needs through [`Sink`].
//!
//! # A frame's way
//!
//! 1. A container's frame comes off the TAP: [`Plane::outbound`]. The [guard](ethernet::guard) refuses what the
//!    container may not send; [ARP](ethernet::arp) and [neighbour discovery](ethernet::nd) are answered here.
//! 2. The forwarding table names the destination's router, or all members of the network for a group address.
//! 3. Its entry gives the session and the route: its own direct path, or a neighbour and link labels. If there is no
//!    session the control half is asked for one ([`Sink::need`]); the frame waits a moment, or is dropped.
//! 4. If it does not fit the path, its sender is [told](ethernet::too_big), or it is [split] in two.
//! 5. It is sealed with its network's number ([`wire::inner`]) and leaves as a datagram ([`wire::data`]), behind a
//!    relay header if it is not direct ([`wire::relay`]).
//! 6. At a relay, [`Plane::inbound`] checks the hop's tag and counter, and passes the datagram on by its label.
//! 7. At its destination, the datagram is checked against the replay window, opened in place, put together with its
//!    other half if it has one,
//! 8. and given to the network's TAP: [`Sink::frame`].
//!
//! In a large network, a frame to a group goes [along its source's tree](wire::group) instead of as copies: sealed
//! once under a key that the members got inside their sessions, with a tag for each hop, and opened by each member
//! on its way.
//!
//! Between neighbours the kernel may carry frames instead, encrypted: on its keys the routers agree inside their
//! session (`esp`).
//!
//! # What holds
//!
//! - Fail closed: no session, no frame. A frame leaves unencrypted only on a direct path between routers that both
//!   said, inside their session, that they trust the address they see of the other.
//! - A frame to a group reaches each member once: its source decides for each frame whom the tree serves and who gets
//!   a copy, and those who get copies have no key to what the tree carries.
//! - Any bytes at the data port are refused with a counted reason; nothing changes before a tag was verified, and
//!   nothing on the receive path allocates per packet or can panic.
//! - An address is sent to only after the other router proved, inside the session, to receive there.
//!
//! # References
//!
//! The Noise Protocol Framework (`IKpsk2`), WireGuard's paper (rekeying, replay windows, silent until confirmed),
//! RFC 8899 (packetization-layer path MTU discovery), RFC 7348 (network numbers), RFC 9000 (the bit that tells QUIC
//! from sleeve).

mod context;
mod esp;
pub mod ethernet;
pub mod event;
mod groups;
pub mod inbox;
pub mod io;
pub mod message;
pub mod offload;
pub mod outbox;
mod paths;
mod ping;
pub mod plane;
mod sessions;
mod signer;
mod sleeve;
pub mod split;
mod trust;
pub mod wire;

pub use event::{
    Config, EspEnds, EspRefusal, Event, Input, Output, PathState, PathView, PingError, SessionView, Via,
};
pub use plane::{How, Plane, PlaneConfig, Scratch, Sink};
pub use signer::KeySigner;
pub use sleeve::Sleeve;
pub use trust::trusts;
