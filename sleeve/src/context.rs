//! What all parts of the control half use: configuration, keys, the plane, randomness, the queue of outputs.

use crate::message::Message;
use crate::plane::Session;
use crate::wire::size;
use crate::{Config, Event, How, Output, Plane, Scratch, Sink, Via, trusts};
use crypto::session::Parties;
use mesh::{DropReason, Instant, PeerId, ShortId, Vni};
use rand_core::CryptoRngCore;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// First handshakes with routers further away that may begin at once, and the time between two more. That is half of
/// what their neighbours carry for one origin (`mesh::routed`); the other half is for answers.
const HANDSHAKES_AT_ONCE: u32 = 100;
const HANDSHAKE_EVERY: Duration = Duration::from_millis(20);
/// Most addresses of this router's own that others told it of.
const MAX_REFLEXIVE: usize = 4;

pub(crate) struct Context {
    pub config: Config,
    pub plane: Arc<Plane>,
    pub rng: Box<dyn CryptoRngCore + Send>,
    pub outputs: VecDeque<Output>,
    /// Own underlay addresses.
    pub addresses: Vec<SocketAddr>,
    /// Own addresses as others see them (behind address translation), newest last.
    reflexive: Vec<SocketAddr>,
    /// Counts handshakes of this epoch.
    handshakes: u64,
    /// When the next one over the control plane would begin if none might begin early (GCRA, ITU-T I.371).
    turn: Instant,
    scratch: Scratch,
}

impl Context {
    pub(crate) fn new(config: Config, plane: Arc<Plane>, rng: Box<dyn CryptoRngCore + Send>) -> Self {
        Self {
            config,
            plane,
            rng,
            outputs: VecDeque::new(),
            addresses: Vec::new(),
            reflexive: Vec::new(),
            handshakes: 0,
            turn: Instant(0),
            scratch: Scratch::default(),
        }
    }

    pub(crate) fn drop(&self, reason: DropReason) {
        self.config.drops.count(reason);
    }

    pub(crate) fn log(&mut self, event: Event) {
        self.outputs.push_back(Output::Log(event));
    }

    /// Asks for this router's place in a tree.
    pub(crate) fn use_tree(&mut self, vni: Vni, source: ShortId) {
        self.outputs.push_back(Output::UseTree { vni, source });
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        trusts(&self.config.trusted, address)
    }

    pub(crate) fn next_handshake(&mut self) -> u64 {
        self.handshakes += 1;
        self.handshakes
    }

    /// When one more handshake may go over the control plane. The time is taken by that.
    pub(crate) fn take_turn(&mut self, now: Instant) -> Instant {
        let early = HANDSHAKE_EVERY * (HANDSHAKES_AT_ONCE - 1);
        let turn = self.turn.max(now);
        self.turn = turn + HANDSHAKE_EVERY;
        now + turn.since(now).saturating_sub(early)
    }

    /// A receiver index that is free here.
    pub(crate) fn free_index(&mut self) -> u32 {
        self.plane.free_index(|| self.rng.next_u32())
    }

    /// The session to seal with to `peer`.
    pub(crate) fn session(&self, now: Instant, peer: &PeerId) -> Option<Arc<Session>> {
        self.plane.session(now, peer)
    }

    /// Sends over the control plane.
    pub(crate) fn send_control(&mut self, to: PeerId, message: &Message) {
        self.outputs.push_back(Output::Control {
            to,
            payload: message.encode(),
        });
    }

    /// Sends inside the session with `peer`.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        peer: &PeerId,
        message: &Message,
        how: How<'_>,
    ) -> Result<(), DropReason> {
        // It may hold a key.
        let bytes = Zeroizing::new(message.encode());
        self.send_bytes(now, peer, &bytes, how)
    }

    /// Answers a message inside the session, the way it came.
    pub(crate) fn answer(&mut self, now: Instant, peer: &PeerId, message: &Message, via: Via) {
        let how = match via {
            Via::Direct(from) => How::Direct(from),
            Via::Relayed => How::Route,
        };
        if let Err(reason) = self.send(now, peer, message, how) {
            self.drop(reason);
        }
    }

    /// Sends a message straight to `address`, padded so that the outer IP packet has `packet` bytes.
    pub(crate) fn send_padded(
        &mut self,
        now: Instant,
        peer: &PeerId,
        message: &Message,
        address: SocketAddr,
        packet: u16,
    ) -> Result<(), DropReason> {
        let mut bytes = message.encode();
        let room = size::room(packet, address);
        bytes.resize(bytes.len().max(room), 0);
        self.send_bytes(now, peer, &bytes, How::Direct(address))
    }

    fn send_bytes(
        &mut self,
        now: Instant,
        peer: &PeerId,
        bytes: &[u8],
        how: How<'_>,
    ) -> Result<(), DropReason> {
        let mut sink = Queue(&mut self.outputs);
        self.plane
            .send_control(now, peer, bytes, how, &mut self.scratch, &mut sink)
    }

    /// There is a session with `peer`: sends the frames that waited for it.
    pub(crate) fn release(&mut self, now: Instant, peer: &PeerId) {
        self.plane
            .release(now, peer, &mut self.scratch, &mut Queue(&mut self.outputs));
    }

    /// Another router saw a packet of this one come from `address`.
    pub(crate) fn seen_as(&mut self, address: SocketAddr) {
        if !self.is_own(address) {
            self.reflexive.push(address);
            if self.reflexive.len() > MAX_REFLEXIVE {
                self.reflexive.remove(0);
            }
        }
    }

    /// True for this router's own addresses.
    pub(crate) fn is_own(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address) || self.reflexive.contains(&address)
    }

    /// Where others may reach this router.
    pub(crate) fn candidates(&self) -> Vec<SocketAddr> {
        let all = self.addresses.iter().chain(self.reflexive.iter().rev());
        all.copied().take(crate::message::MAX_CANDIDATES).collect()
    }
}

impl Config {
    /// Both ends of a session with `peer`.
    pub(crate) fn parties(&self, peer: &PeerId, data_key: [u8; 32], epoch: u64) -> Parties<'_> {
        Parties {
            identity: &self.identity,
            my_id: self.id.0,
            my_epoch: self.epoch,
            their_id: peer.0,
            their_data_key: data_key,
            their_epoch: epoch,
        }
    }
}

/// What the control half seals ends up among the outputs. Nothing else matters here: what it sends is no news to it.
struct Queue<'a>(&'a mut VecDeque<Output>);

impl Sink for Queue<'_> {
    fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.0.push_back(Output::Datagram {
            to,
            bytes: bytes.to_vec(),
        });
    }

    fn frame(&mut self, _: Vni, _: &[u8]) {}

    fn control(&mut self, _: PeerId, _: Via, _: &[u8]) {}

    fn need(&mut self, _: PeerId) {}

    fn alive(&mut self, _: PeerId) {}

    fn group(&mut self, _: Vni) {}
    fn tree(&mut self, _: Vni, _: ShortId) {}
}
