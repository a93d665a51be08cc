//! Links: QUIC connections between routers, authenticated both ways.
//!
//! ```text
//! lane       ──► socket (queue) ──► quinn ──► session (task per connection) ──► Event ──► router
//!                                                   ▲
//!                              router ── LinkHandle ┘
//! ```
//!
//! 1. `socket`: quinn sees only those datagrams of the shared port that are QUIC.
//! 2. `tls`: TLS 1.3 with raw public keys (RFC 7250) tells who is at the other end.
//! 3. `handshake`: a Noise handshake inside, bound to the TLS session, proves knowledge of the secret.
//! 4. `session`: control messages on one stream, keepalives as datagrams.

mod endpoint;
mod frame;
mod handshake;
mod places;
mod refusals;
mod session;
mod socket;
mod tls;

pub(crate) use endpoint::{Dialer, LinksConfig};
pub(crate) use session::LinkHandle;
pub(crate) use socket::{ConnectionIds, QuicQueue, SharedSocket};

use mesh::{Direction, LinkId};
use std::net::SocketAddr;

/// What the links tell the router.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection is authenticated.
    Up {
        handle: LinkHandle,
        direction: Direction,
        target: Option<String>,
    },
    /// A connection is gone.
    Down { link: LinkId, reason: String },
    /// A control message.
    Message { link: LinkId, bytes: Vec<u8> },
    /// A control message that was too large and skipped.
    Oversized { link: LinkId },
    /// A dial came to nothing.
    DialFailed {
        target: String,
        error: String,
        own: bool,
    },
    /// What `--advertise` names, resolved.
    Advertised { addresses: Vec<SocketAddr> },
    /// An incoming connection came to nothing.
    Refused {
        reason: mesh::DropReason,
        detail: String,
    },
}

/// Why a connection is closed, as the QUIC application error code: read by the other end's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// The router stops, or no longer wants this link.
    Closed = 0,
    /// The secret is another one.
    SecretRefused = 1,
    /// This is the router itself.
    SelfLink = 2,
    /// The handshake makes no sense.
    Protocol = 3,
    /// The other end does not read what is sent to it.
    Congested = 4,
}

impl CloseCode {
    /// The code on the wire.
    pub(crate) fn code(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self as u32)
    }
}
