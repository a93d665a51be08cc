//! What goes into the core and what comes out of it.
//!
//! The driver (daemon or simulator) feeds [`Input`]s to [`Mesh::handle_input`](crate::Mesh::handle_input) and
//! drains [`Output`]s after each. Frames never pass here.

use crate::ipam::Pool;
use crate::ipam::{Batch, IpamEvent, Refusal};
use crate::{
    Fdb, LinkId, LinkLabel, Mac, Name, NameChange, NetworkRefusal, NetworkTable, NetworkView, Packet, PeerId,
    PeerInfo, PeerLabel, PeerName, Route, SecretId, ShortId, Tree, Vni,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Which end dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The other end dialled us.
    In,
    /// We dialled.
    Out,
}

/// Something that happened outside the core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// A connection is authenticated (TLS identity and proof of the secret): it may become a link.
    LinkUp {
        /// The driver's number for it.
        link: LinkId,
        /// The proven identity of the other end.
        peer: PeerId,
        /// The other end's underlay address, as observed here.
        address: SocketAddr,
        /// Who dialled.
        direction: Direction,
        /// The target text that was dialled; `None` for incoming ones.
        target: Option<String>,
    },
    /// A connection is gone. Also answers [`Output::Close`].
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why, for people.
        reason: String,
    },
    /// A control message arrived.
    Message {
        /// On which link.
        link: LinkId,
        /// The message, at most [`MAX_MESSAGE`](crate::MAX_MESSAGE) bytes.
        packet: Packet,
    },
    /// The driver skipped a message that was larger than allowed.
    Oversized {
        /// On which link.
        link: LinkId,
    },
    /// An authenticated data packet from this router was seen recently; counts as life of its link.
    Alive {
        /// Who sent it.
        peer: PeerId,
    },
    /// A dial ended without a link.
    DialFailed {
        /// What was dialled.
        target: String,
        /// Why, in plain words.
        error: String,
        /// Set when the other end is this router itself: the target is then never dialled again.
        own: bool,
    },
    /// What [`Output::Probe`] found.
    Probed {
        /// Who was probed.
        peer: PeerId,
        /// The round trip time; `None`: no answer within a second or two.
        rtt: Option<Duration>,
    },
    /// The direct data path to a router works (or its values changed).
    PathUp {
        /// To whom.
        peer: PeerId,
        /// Largest IP packet, in bytes, proven to pass.
        mtu: u16,
        /// Round trip time on it.
        rtt: Duration,
    },
    /// The direct data path to a router no longer works.
    PathDown {
        /// To whom.
        peer: PeerId,
    },
    /// Carry these bytes to another router, over as many hops as it takes (session handshakes, candidates).
    SendTo {
        /// Destination.
        peer: PeerId,
        /// At most [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) bytes; opaque here.
        payload: Vec<u8>,
    },
    /// The operator wants these targets dialled, and kept.
    Connect {
        /// `HOST:PORT` or `IP:PORT` texts.
        targets: Vec<String>,
        /// Forget all other targets.
        replace: bool,
    },
    /// The operator wants a target dropped.
    ForgetTarget {
        /// As it was given.
        target: String,
    },
    /// The operator wants the link to a router closed, its targets dropped, and it not discovered again
    /// until a `Connect` or an incoming link.
    ForgetPeer {
        /// Whom.
        peer: PeerId,
    },
    /// This router's own addresses changed: what others may dial, best first.
    Addresses(Vec<SocketAddr>),
    /// A container port appeared or its addresses changed.
    Attach {
        /// Its network.
        vni: Vni,
        /// Its MAC address.
        mac: Mac,
        /// Its IP addresses.
        addresses: Vec<IpAddr>,
    },
    /// A container port is gone.
    Detach {
        /// Its network.
        vni: Vni,
        /// Its MAC address.
        mac: Mac,
    },
    /// A container wants an address; answered by [`Output::Allocated`].
    Allocate {
        /// Its network.
        vni: Vni,
        /// Comes back in the answer.
        number: u64,
        /// Who: asked again under this name, the answer is the same.
        holder: String,
        /// This address and no other.
        want: Option<IpAddr>,
    },
    /// A container is gone, and needs its addresses no more.
    Release {
        /// Its network.
        vni: Vni,
        /// As it was told when it was allocated.
        holder: String,
    },
    /// What [`Output::KeepAddresses`] asked for is on disk, and everything asked for before.
    AddressesKept {
        /// The network.
        vni: Vni,
        /// The batch's number.
        number: u64,
    },
    /// This router will not come back: its addresses shall be taken over. Answered by [`Output::Reclaimed`].
    Reclaim {
        /// Comes back in the answer.
        number: u64,
        /// Which.
        peer: PeerId,
    },
    /// A name of something on this router's host has these addresses from now on; none: it is gone.
    Name {
        /// The network in which it has this meaning.
        vni: Vni,
        /// The name, without the domain.
        name: Name,
        /// Its addresses, at most [`MAX_NAME_ADDRESSES`](crate::MAX_NAME_ADDRESSES).
        addresses: Vec<IpAddr>,
    },
    /// Frames go along the tree of a source: this router got its key, is asked to pass them on, or some came. Its
    /// place in trees that nobody speaks of is not computed, and forgotten after
    /// [`TREE_KEPT`](crate::TREE_KEPT).
    UseTree {
        /// The network.
        vni: Vni,
        /// Whose tree.
        source: ShortId,
    },
    /// This host's kernel takes VXLAN at this UDP port from now on; 0: it does not.
    FastPath {
        /// The port.
        port: u16,
    },
    /// The set of valid secrets changed; the signer already answers with the new ones.
    SecretsChanged,
    /// The epoch asked for by [`Output::PersistEpoch`] is on disk.
    EpochPersisted(u64),
    /// Say goodbye: neighbours shall learn at once. Outputs follow; nothing is dialled any more.
    Shutdown,
    /// Nothing happened but time.
    Tick,
    /// What [`Output::Networks`] told last in an earlier run.
    KnownNetworks(NetworkTable),
    /// There shall be a network of this name; answered by [`Output::Network`].
    AddNetwork {
        /// Comes back in the answer.
        number: u64,
        /// Its name.
        name: Name,
        /// This number; `None`: one that is free.
        vni: Option<Vni>,
        /// These addresses; `None`: some that are free.
        pool: Option<Pool>,
    },
    /// There shall be no network of this name any more; answered by [`Output::Network`].
    RemoveNetwork {
        /// Comes back in the answer.
        number: u64,
        /// Its name.
        name: Name,
    },
}

/// Something the driver shall do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Output {
    /// Resolve and dial this target; answer with `LinkUp` or `DialFailed`.
    Dial {
        /// `HOST:PORT` or `IP:PORT`.
        target: String,
        /// Whom to expect there; a different identity is a failed dial.
        expect: Option<PeerId>,
    },
    /// Find out whether something answers at this address of a router, and how fast; answer with
    /// [`Input::Probed`]. It proves nothing about who it is. A driver that can't, or finds it has to do this too
    /// often, needn't.
    Probe {
        /// Whose it is said to be.
        peer: PeerId,
        /// Where.
        address: SocketAddr,
    },
    /// Close a connection and answer with `LinkDown`.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for both ends' logs.
        reason: &'static str,
    },
    /// Send a control message.
    Send {
        /// Over which link.
        link: LinkId,
        /// The message.
        packet: Packet,
        /// True: on the ordered stream. False: as a datagram that may be lost (keepalives).
        reliable: bool,
    },
    /// Bytes that another router's `SendTo` carried here.
    Deliver {
        /// The origin, authenticated only hop by hop.
        from: PeerId,
        /// Opaque.
        payload: Vec<u8>,
    },
    /// A router's `PeerInfo` is new or changed.
    Peer(PeerInfo),
    /// A router holds this label from now on, or [`NONE`](PeerLabel::NONE). No label is told of two routers at a time.
    /// This router's own is told as well: it is to be stored, and handed back in [`Config::label`](crate::Config::label).
    PeerLabel {
        /// Who.
        peer: PeerId,
        /// Its label.
        label: PeerLabel,
    },
    /// A router was collected: forget all about it.
    PeerGone(PeerId),
    /// A link is up with this neighbour: the data path shall be tried at this address.
    Neighbor {
        /// Who.
        peer: PeerId,
        /// Its underlay address as observed on the link; `None`: the link is gone.
        address: Option<SocketAddr>,
    },
    /// The data route to a router changed. `None`: there is none.
    Route {
        /// Destination.
        peer: PeerId,
        /// The new route.
        route: Option<Route>,
    },
    /// A way round one of this router's neighbours changed, for relayed packets that name it as the next hop after
    /// the link with it has died.
    ///
    /// Such a packet names the neighbour by this router's label, and the hop after it by the neighbour's: `route`
    /// leads to where that second label leads. So the relay puts the route's labels in the place of the two, and
    /// what follows stays. There are at most as many as this router has neighbours, and these have links.
    Detour {
        /// The neighbour that is avoided; the route neither uses the link with it nor, if there is another way,
        /// passes it by other links.
        neighbor: PeerId,
        /// The neighbour's own label for its link with the route's destination. Zero: the destination is the
        /// neighbour itself, for packets whose path, or the part of it that their header holds, ends there.
        label: LinkLabel,
        /// The way round; `None`: there is none any more.
        route: Option<Route>,
    },
    /// This router's place in the tree of a source of broadcast changed. Only networks with more than
    /// [`TREE_ABOVE`](crate::TREE_ABOVE) other members have trees.
    Tree {
        /// The network.
        vni: Vni,
        /// Whose frames spread along it.
        source: PeerId,
        /// The new place; `None`: it has none any more.
        tree: Option<Tree>,
    },
    /// A label of this router's own now names this neighbour (`None`: no longer in use).
    Label {
        /// The label.
        label: LinkLabel,
        /// The neighbour.
        neighbor: Option<PeerId>,
    },
    /// The forwarding table changed (only what lies behind other routers).
    Fdb(Fdb),
    /// A name stands for something else now.
    Name(NameChange),
    /// There is no room to publish this name of the router's host.
    NameRefused {
        /// Its network.
        vni: Vni,
        /// It.
        name: Name,
    },
    /// Store this epoch durably, then answer with `EpochPersisted`.
    PersistEpoch(u64),
    /// Store these changes, all or none and after those asked for before, then answer with `AddressesKept`.
    KeepAddresses {
        /// The network.
        vni: Vni,
        /// The changes.
        batch: Batch,
    },
    /// What became of an [`Input::Allocate`]. The addresses are stored.
    Allocated {
        /// That of the input.
        number: u64,
        /// The addresses, with the prefix lengths of their ranges.
        result: Result<Vec<(IpAddr, u8)>, Refusal>,
    },
    /// What became of an [`Input::Reclaim`].
    Reclaimed {
        /// That of the input.
        number: u64,
        /// How many addresses were taken over.
        result: Result<u32, Refusal>,
    },
    /// Which networks there are has changed ([`Mesh::network_views`](crate::Mesh::network_views)). This is to be stored, and
    /// handed back after a restart.
    Networks(NetworkTable),
    /// What became of an [`Input::AddNetwork`] or [`Input::RemoveNetwork`].
    Network {
        /// That of the input.
        number: u64,
        /// The network.
        result: Result<NetworkView, NetworkRefusal>,
    },
    /// Store what the connector shall dial after a restart, to be handed back as it is in
    /// [`Config::targets`](crate::Config::targets). Some carry `PEERID@` before the address.
    PersistTargets(Vec<String>),
    /// Something people may want to read in the log.
    Log(Event),
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Event {
    /// A link came up.
    LinkUp {
        /// With whom.
        peer: PeerId,
        /// Its name, once known.
        name: Option<PeerName>,
        /// Where.
        address: SocketAddr,
    },
    /// A link went down.
    LinkDown {
        /// With whom.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// A link or record was refused.
    Refused {
        /// Under which reason it was counted.
        reason: crate::DropReason,
        /// Who and why, for people.
        detail: String,
    },
    /// Something about addresses.
    Addresses {
        /// The network.
        vni: Vni,
        /// What.
        event: IpamEvent,
    },
    /// Another router uses this router's identity.
    Clone {
        /// What was seen.
        detail: String,
    },
}

/// Which secrets a router holds, for `secret list`.
pub type SecretIds = Vec<SecretId>;

/// Why the core wants to be called at an instant; for traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimerReason {
    /// A keepalive, a dead link, or a greeting that never came.
    Link,
    /// Something is to be dialled.
    Dial,
    /// A comparison with a neighbour's records.
    Digest,
    /// A record that does not come is to be asked for, or a neighbour is a parent no longer.
    Spread,
    /// Routes are to be computed.
    Route,
    /// One of this router's own records is to be issued.
    Issue,
    /// Something about addresses is to be looked at again.
    Addresses,
    /// A dead router is to be collected.
    Collect,
}
