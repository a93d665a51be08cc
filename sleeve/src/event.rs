//! What goes into the control half and what comes out of it.

use mesh::{DropReason, Drops, Instant, PeerId, PeerInfo, Route, ShortId, Tree, Vni};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::EspKey;
use crypto::aead::Cipher;
use crypto::identity::Identity;
use crypto::secret::Keyring;

/// What a [`Sleeve`](crate::Sleeve) is made with.
pub struct Config {
    /// This router.
    pub id: PeerId,
    /// Its keys.
    pub identity: Arc<Identity>,
    /// The secrets it holds.
    pub keyring: Keyring,
    /// Its boot epoch, as its own `PeerInfo` says it.
    pub epoch: u64,
    /// What it offers and allows, best first.
    pub ciphers: Vec<Cipher>,
    /// Subnets (address, prefix length) in which frames need no encryption if the other end agrees.
    pub trusted: Vec<(IpAddr, u8)>,
    /// Largest IP packet, in bytes, worth trying: the largest MTU of the underlay interfaces.
    pub max_mtu: u16,
    /// Where drops are counted.
    pub drops: Arc<Drops>,
}

/// How a packet came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Straight from this address.
    Direct(SocketAddr),
    /// Over relays.
    Relayed,
}

/// Something that happened outside the control half.
#[derive(Debug)]
pub enum Input {
    /// mesh: a router's `PeerInfo` is new or changed.
    Peer(PeerInfo),
    /// mesh: a router was collected.
    PeerGone(PeerId),
    /// mesh: a link is up with this neighbour, observed at this address; `None`: the link is gone.
    Neighbor {
        /// Who.
        peer: PeerId,
        /// Its underlay address as observed on the link.
        address: Option<SocketAddr>,
    },
    /// mesh: the data route to a router changed. Passed on to the plane.
    Route {
        /// Destination.
        peer: PeerId,
        /// The new route.
        route: Option<Route>,
    },
    /// mesh: this router's place in a tree of broadcast changed. Passed on to the plane.
    Tree {
        /// The network.
        vni: Vni,
        /// Whose tree; it may be this router's own.
        source: PeerId,
        /// The new place.
        tree: Option<Tree>,
    },
    /// mesh: another router's control half sent this over the control plane.
    Control {
        /// The origin, authenticated only hop by hop.
        from: PeerId,
        /// The payload.
        payload: Vec<u8>,
    },
    /// [`Sink::control`](crate::Sink::control): a message that came inside a session.
    Message {
        /// The authenticated other end of the session.
        from: PeerId,
        /// How it came.
        via: Via,
        /// The message.
        bytes: Vec<u8>,
    },
    /// [`Sink::need`](crate::Sink::need): there is traffic, but no session or no direct path.
    Need {
        /// To whom.
        peer: PeerId,
    },
    /// [`Sink::alive`](crate::Sink::alive): an authenticated packet came straight from this router.
    Alive {
        /// From whom.
        peer: PeerId,
    },
    /// [`Sink::group`](crate::Sink::group): containers send to groups in a network for which there is a tree.
    Group {
        /// The network.
        vni: Vni,
    },
    /// [`Sink::tree`](crate::Sink::tree): group frames come along a tree.
    TreeUsed {
        /// The network.
        vni: Vni,
        /// Whose tree.
        source: ShortId,
    },
    /// This router's own underlay addresses, with the port, best first.
    Addresses(Vec<SocketAddr>),
    /// The largest MTU of the underlay interfaces changed.
    MaxMtu(u16),
    /// The set of valid secrets changed.
    Keyring(Keyring),
    /// This router's boot epoch changed.
    Epoch(u64),
    /// The operator wants a round trip over the data path.
    Ping {
        /// The driver's number, repeated in the answer.
        id: u64,
        /// To whom.
        peer: PeerId,
        /// Only along the first so many hops of the route to `peer`, answered by the router there.
        hops: Option<usize>,
    },
    /// Between which addresses this host's kernel may encrypt frames to a router and from it (ESP), or why it may not.
    Esp {
        /// To whom.
        peer: PeerId,
        /// The two addresses.
        ends: Result<EspEnds, EspRefusal>,
    },
    /// The kernel wants an association towards a router: the first, or another.
    EspAsk {
        /// To whom.
        peer: PeerId,
    },
    /// The kernel has the association of [`Output::EspInbound`].
    EspTaken {
        /// From whom.
        peer: PeerId,
        /// The output's number.
        number: u64,
    },
    /// Stop: sessions are forgotten, nothing is sent any more.
    Shutdown,
    /// Nothing happened but time. Timers fire only here, so that queued inputs can be handled before them.
    Tick,
}

/// Something the driver shall do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Carry this to another router over the control plane (mesh's `SendTo`).
    Control {
        /// Destination.
        to: PeerId,
        /// At most [`mesh::MAX_PAYLOAD`] bytes.
        payload: Vec<u8>,
    },
    /// Send this from the data port.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// The direct path to a router works, or its values changed (mesh's `PathUp`).
    PathUp {
        /// To whom.
        peer: PeerId,
        /// Largest IP packet, in bytes, proven to pass.
        mtu: u16,
        /// Round trip time: the quickest of the last few.
        rtt: Duration,
    },
    /// The direct path to a router no longer works (mesh's `PathDown`).
    PathDown {
        /// To whom.
        peer: PeerId,
    },
    /// This tree is used: mesh shall work out this router's place in it, and keep it (mesh's `UseTree`).
    UseTree {
        /// The network.
        vni: Vni,
        /// Whose tree.
        source: ShortId,
    },
    /// The kernel shall open what a router encrypts so (ESP). Answered with [`Input::EspTaken`].
    EspInbound {
        /// Who encrypts.
        peer: PeerId,
        /// The driver's answer repeats it.
        number: u64,
        /// Between which addresses.
        ends: EspEnds,
        /// The association's index.
        spi: u32,
        /// Its key, which no other association has or ever had.
        key: EspKey,
    },
    /// The kernel shall encrypt so what goes to a router. That router's opens it already.
    EspOutbound {
        /// To whom.
        peer: PeerId,
        /// Between which addresses.
        ends: EspEnds,
        /// The association's index.
        spi: u32,
        /// Its key, which no other association has or ever had.
        key: EspKey,
    },
    /// What [`Input::EspAsk`] asked for is not to be had now.
    EspRefused {
        /// Of whom.
        peer: PeerId,
        /// Why.
        why: EspRefusal,
    },
    /// The answer to a ping.
    Pong {
        /// The driver's number.
        id: u64,
        /// Who answered.
        peer: PeerId,
        /// Round trip time.
        rtt: Duration,
        /// The hops there, the answering router last.
        path: Vec<PeerId>,
    },
    /// No answer to a ping.
    PingFailed {
        /// The driver's number.
        id: u64,
        /// Why.
        why: PingError,
    },
    /// Something people may want to read in the log.
    Log(Event),
}

/// The two addresses between which the kernels of two neighbours encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EspEnds {
    /// This host's.
    pub here: IpAddr,
    /// The other's.
    pub there: IpAddr,
}

/// Why the kernels of two neighbours don't encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EspRefusal {
    /// One of them can't, or may not.
    NoEsp,
    /// There is no direct path yet, or no common session; it is worth asking again.
    NotYet,
    /// Each knows the other by another address than the other itself: between them stands a translator.
    Elsewhere,
    /// The other router did not answer.
    NoAnswer,
}

impl EspRefusal {
    /// On the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::NoEsp => 0,
            Self::NotYet | Self::NoAnswer => 1,
            Self::Elsewhere => 2,
        }
    }

    /// What a number on the wire means; of reasons to come, that there is no ESP.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            1 => Self::NotYet,
            2 => Self::Elsewhere,
            _ => Self::NoEsp,
        }
    }
}

/// Why a ping had no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// There is no data route.
    #[error("there is no data route to it")]
    NoRoute,
    /// The route has fewer hops.
    #[error("the route has fewer hops than that")]
    NoSuchHop,
    /// No session could be made in time.
    #[error("no session could be made with it within {} s", crate::ping::PATIENCE.as_secs())]
    NoSession,
    /// Sent, but not answered in time.
    #[error("it did not answer within {} s", crate::ping::PATIENCE.as_secs())]
    NoAnswer,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session is ready to send on.
    SessionUp {
        /// With whom.
        peer: PeerId,
        /// The AEAD both agreed on.
        cipher: Cipher,
    },
    /// A handshake was refused.
    HandshakeRefused {
        /// From whom.
        peer: PeerId,
        /// Under which reason it was counted.
        reason: DropReason,
        /// Why, for people.
        detail: String,
    },
    /// A direct path works.
    PathUp {
        /// To whom.
        peer: PeerId,
        /// Where.
        address: SocketAddr,
    },
    /// A direct path no longer works.
    PathDown {
        /// To whom.
        peer: PeerId,
        /// Where it was.
        address: SocketAddr,
        /// Why, for people.
        reason: &'static str,
    },
    /// Small packets pass to this address, but not those of 1280 bytes: it can't be used.
    PathTooNarrow {
        /// To whom.
        peer: PeerId,
        /// Where.
        address: SocketAddr,
    },
}

/// A session, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// With whom.
    pub peer: PeerId,
    /// The AEAD.
    pub cipher: Cipher,
    /// This router made it.
    pub initiator: bool,
    /// The public id of the secret it was made with.
    pub secret: mesh::SecretId,
    /// When it was made.
    pub born: Instant,
    /// Packets sealed under it here.
    pub sealed: u64,
}

/// Where a direct path stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// Probed, no answer yet.
    Probing,
    /// Works; a larger MTU is being looked for.
    Searching,
    /// Works at its final MTU.
    Up,
}

/// A direct path, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathView {
    /// To whom.
    pub peer: PeerId,
    /// Where; `None` while several addresses are being probed.
    pub address: Option<SocketAddr>,
    /// Largest IP packet, in bytes, proven to pass; 0 while probing.
    pub mtu: u16,
    /// Smoothed round trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// Frames are encrypted on it.
    pub encrypted: bool,
    /// The AEAD of the session; `None` without session.
    pub cipher: Option<Cipher>,
    /// Where it stands.
    pub state: PathState,
}
