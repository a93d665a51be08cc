//! The data half: what the threads that move packets share.
//!
//! A frame from a container goes through [`Plane::outbound`], a datagram from the network through
//! [`Plane::inbound`]; their files open with the steps of the way. These take one at a time and give all that comes of
//! it to the sink at once. What data threads call are [`Plane::outbound_batched`] and [`Plane::inbound_batched`], by
//! which the same way is gone: but datagrams wait for others in an [`Outbox`], frames in an
//! [`Inbox`], until [`Scratch::flush`]. Everything they look at is either an immutable
//! snapshot, an atomic, or behind a lock held for a few instructions; the control half and the setters write it.

mod group;
mod inbound;
mod local;
mod outbound;
mod peer;
mod relay;
mod repair;
mod seal;
mod session;
mod sessions;
mod tables;
mod waiting;

use crate::Via;
use crate::inbox::Inbox;
use crate::offload::{Offload, Transport};
use crate::outbox::Outbox;
use crate::split::Reassembly;
use arc_swap::ArcSwap;
use mesh::{Drops, LinkLabel, PeerId, ShortId, Vni};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

pub(crate) use group::Decision;
pub(crate) use group::key::Seal as GroupSeal;
pub(crate) use peer::{Direct, Peer};
use sessions::Sessions;

pub(crate) use session::{REJECT_AFTER, Session, SessionParts};

/// What a [`Plane`] is made with.
#[derive(Debug, Clone)]
pub struct PlaneConfig {
    /// This router.
    pub id: PeerId,
    /// Where drops are counted.
    pub drops: Arc<Drops>,
    /// Subnets (address, prefix length) from which frames are taken that are authenticated only.
    pub trusted: Vec<(IpAddr, u8)>,
    /// MTU of the containers' interfaces.
    pub container_mtu: u16,
}

/// Where packets and news go that the data half makes. Called from data threads; it must not call setters.
pub trait Sink {
    /// Send this from the data port.
    fn datagram(&mut self, to: SocketAddr, bytes: &[u8]);
    /// Send these from the data port: datagrams of `size` bytes each, the last may be shorter. Together they have no
    /// more than [`MAX_DATAGRAM`](crate::wire::size::MAX_DATAGRAM) bytes.
    fn datagrams(&mut self, to: SocketAddr, bytes: &[u8], size: usize) {
        for datagram in bytes.chunks(size.max(1)) {
            self.datagram(to, datagram);
        }
    }
    /// Give this Ethernet frame to the network's TAP.
    fn frame(&mut self, vni: Vni, frame: &[u8]);
    /// Give this Ethernet frame to the network's TAP, and leave to it what is left to do: a TCP or UDP packet, its
    /// headers where `transport` says.
    fn offloaded(&mut self, vni: Vni, frame: &mut [u8], offload: &Offload, _transport: &Transport) {
        offload.undo(frame, |frame| self.frame(vni, frame));
    }
    /// Give this message to the control half ([`Input::Message`](crate::Input::Message)).
    fn control(&mut self, from: PeerId, via: Via, message: &[u8]);
    /// There is traffic to this router, but no session, or no direct path. At most once a second per router.
    fn need(&mut self, peer: PeerId);
    /// An authenticated packet came straight from this router. At most once a second per router.
    fn alive(&mut self, peer: PeerId);
    /// Containers send to groups in this network, for which this router has a tree. At most once a second per
    /// network.
    fn group(&mut self, vni: Vni);
    /// Group frames come along this tree ([`Input::TreeUsed`](crate::Input::TreeUsed)). At most once a minute per
    /// tree in which this router knows its place, and a few hundred times a second for all others together.
    fn tree(&mut self, vni: Vni, source: ShortId);
}

/// How a control message is to travel.
#[derive(Debug, Clone, Copy)]
pub enum How<'a> {
    /// Straight to this address.
    Direct(SocketAddr),
    /// As frames do.
    Route,
    /// To this neighbour, and over as many relays as there are labels.
    Via {
        /// The neighbour, which is the destination itself if there are no labels.
        first: PeerId,
        /// For each relay the label of its outgoing link, or for as many as fit into a header.
        labels: &'a [LinkLabel],
        /// There are more relays; the last of these finds the way on if the destination is nearer to it than this.
        rest: Option<u32>,
    },
}

/// A thread's own buffers, so that packets need no allocation once these have grown.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Datagrams being made.
    pub outbox: Outbox,
    /// Frames being put together.
    pub inbox: Inbox,
    /// A plaintext put together from two halves, or a frame made here.
    whole: Vec<u8>,
    /// A frame cut from a super-frame.
    cut: Vec<u8>,
    /// A group datagram before it is copied to each child.
    group: Vec<u8>,
}

impl Scratch {
    /// Whose keys these buffers' datagrams are sealed with: a number below [`LANES`](crate::wire::LANES) for each thread. At
    /// first 0.
    pub fn set_lane(&mut self, lane: u8) {
        self.outbox.set_lane(lane);
    }

    /// Gives all that was gathered to the sink. To be called before a thread waits.
    pub fn flush(&mut self, sink: &mut dyn Sink) {
        self.outbox.flush(sink);
        self.inbox.flush(sink);
    }

    /// Room for a frame made here.
    fn reply(&mut self) -> &mut [u8] {
        self.whole.resize(local::LONGEST_REPLY, 0);
        &mut self.whole
    }
}

/// The data half of a router, shared by its data threads and the control half.
#[derive(Debug)]
pub struct Plane {
    config: PlaneConfig,
    peers: RwLock<BTreeMap<PeerId, Arc<Peer>>>,
    sessions: Sessions,
    labels: ArcSwap<Vec<Option<Arc<Peer>>>>,
    /// Ways round neighbours.
    detours: RwLock<tables::Detours>,
    networks: tables::PerLane<tables::Table<Vni, tables::Network>>,
    groups: RwLock<group::Groups>,
    /// When group keys and routers were last looked through, in microseconds.
    swept: AtomicU64,
    halves: Mutex<Reassembly>,
    waiting: Mutex<waiting::Waiting>,
    container_mtu: AtomicU16,
}
