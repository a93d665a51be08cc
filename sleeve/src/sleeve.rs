//! The control half: makes sessions and direct paths, and keeps them.

use crate::context::Context;
use crate::esp::Esp;
use crate::groups::Groups;
use crate::message::{GroupKey, GroupKeyAck, Message, TreeUsed};
use crate::paths::Paths;
use crate::ping::Pings;
use crate::sessions::Sessions;
use crate::{Config, How, Input, Output, PathView, Plane, SessionView, Via};
use crypto::{Cipher, OpenKey};
use mesh::{DropReason, Instant, PeerId, PeerInfo, Route, Vni};
use rand_core::CryptoRngCore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What the control half knows of one other router.
struct Remote {
    sessions: Sessions,
    paths: Paths,
    esp: Esp,
    /// The session that the paths were last told of.
    index: Option<u32>,
    /// When it is to be looked at.
    deadline: Option<Instant>,
}

/// The control half of a router's data path. Sans-IO: inputs and time come in, outputs are drained.
pub struct Sleeve {
    cx: Context,
    remotes: BTreeMap<PeerId, Remote>,
    routes: BTreeMap<PeerId, Route>,
    pings: Pings,
    groups: Groups,
    timers: BTreeSet<(Instant, PeerId)>,
    stopped: bool,
}

impl Sleeve {
    /// A control half for `plane`. `rng` makes keys, indices and nonces.
    #[must_use]
    pub fn new(config: Config, plane: Arc<Plane>, rng: Box<dyn CryptoRngCore + Send>, _now: Instant) -> Self {
        Self {
            cx: Context::new(config, plane, rng),
            remotes: BTreeMap::new(),
            routes: BTreeMap::new(),
            pings: Pings::default(),
            groups: Groups::default(),
            timers: BTreeSet::new(),
            stopped: false,
        }
    }

    /// Takes one input. Timers fire only on [`Input::Tick`], so that after a pause what was queued counts first.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        if self.stopped {
            return;
        }
        match input {
            Input::Peer(info) => self.record(now, info),
            Input::PeerGone(peer) => self.gone(now, peer),
            Input::Neighbor { peer, address } => self.with(now, peer, |remote, cx| {
                remote.sessions.set_neighbor(cx, now, address);
                remote.paths.set_neighbor(cx, now, address);
            }),
            Input::Route { peer, route } => self.route(peer, route),
            Input::Tree { vni, source, tree } if source == self.cx.config.id => {
                self.with_groups(now, |groups, cx| groups.set_tree(cx, now, vni, tree));
            }
            Input::Tree { vni, source, tree } => {
                self.cx.plane.set_branch(now, vni, source, tree.as_ref());
                self.tell_parent(now, vni, source, tree.and_then(|tree| tree.parent));
            }
            Input::TreeUsed { vni, source } => self.cx.use_tree(vni, source),
            Input::Group { vni } => self.with_groups(now, |groups, _| groups.used(vni, now)),
            Input::Control { from, payload } => self.control(now, from, &payload),
            // It may hold a key.
            Input::Message { from, via, bytes } => self.message(now, from, via, &Zeroizing::new(bytes)),
            Input::Need { peer } => self.with(now, peer, |remote, cx| {
                remote.sessions.want(cx, now);
                remote.paths.want(cx, now);
            }),
            Input::Alive { peer } => self.with(now, peer, |_, _| {}),
            Input::Addresses(addresses) => self.cx.addresses = addresses,
            Input::MaxMtu(mtu) => self.cx.config.max_mtu = mtu,
            Input::Keyring(keyring) => {
                self.cx.config.keyring = keyring;
                self.with_all(now, |remote, cx| remote.sessions.keyring_changed(cx, now));
                self.with_groups(now, |groups, cx| groups.renew_all(cx, now));
            }
            Input::Epoch(epoch) => {
                self.cx.config.epoch = epoch;
                self.with_all(now, |remote, cx| {
                    remote.sessions.clear(cx);
                    remote.paths.reset(cx, now, "this router's epoch changed");
                    remote.esp.reset(cx);
                    remote.sessions.tick(cx, now);
                });
            }
            Input::Ping { id, peer, hops } => self.ping(now, id, &peer, hops),
            Input::Esp { peer, ends } => self.with(now, peer, |remote, cx| remote.esp.set_ends(cx, ends)),
            Input::EspAsk { peer } => self.with(now, peer, |remote, cx| remote.esp.ask(cx, now)),
            Input::EspTaken { peer, number } => {
                self.with(now, peer, |remote, cx| remote.esp.taken(cx, now, number));
            }
            Input::Shutdown => self.shutdown(now),
            Input::Tick => self.tick(now),
        }
    }

    /// The next thing to do; drain after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.timers.first().map(|&(at, _)| at);
        let others = [self.pings.deadline(), self.groups.deadline()];
        first.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// The sessions that are sent on, for status.
    #[must_use]
    pub fn sessions(&self, now: Instant) -> Vec<SessionView> {
        let view = |peer: &PeerId| {
            let session = self.cx.session(now, peer)?;
            Some(SessionView {
                peer: *peer,
                cipher: session.cipher,
                initiator: session.initiator,
                secret: session.secret,
                born: session.born,
                sealed: session.total(),
            })
        };
        self.remotes.keys().filter_map(view).collect()
    }

    /// How many sessions were made with a router since it was heard of: the first, and one more with each renewal.
    #[must_use]
    pub fn sessions_made(&self, peer: &PeerId) -> u64 {
        self.remotes.get(peer).map_or(0, |remote| remote.sessions.made())
    }

    /// The direct path to a router, or the search for it.
    #[must_use]
    pub fn path(&self, now: Instant, peer: &PeerId) -> Option<PathView> {
        self.remotes.get(peer)?.paths.view(&self.cx, now)
    }

    /// The direct paths, and the searches for them, for status.
    #[must_use]
    pub fn paths(&self, now: Instant) -> Vec<PathView> {
        self.remotes
            .values()
            .filter_map(|remote| remote.paths.view(&self.cx, now))
            .collect()
    }

    fn record(&mut self, now: Instant, info: PeerInfo) {
        if info.peer == self.cx.config.id {
            return;
        }
        let (peer, mut restarted) = (info.peer, false);
        self.with(now, peer, |remote, cx| {
            remote.paths.set_record(info.addresses);
            let secrets = info.admissions.iter().map(|admission| admission.secret);
            remote.sessions.set_secrets(secrets);
            restarted = remote.sessions.set_record(cx, now, info.data_key, info.epoch);
            if restarted {
                remote.paths.reset(cx, now, "the other router was restarted");
                remote.esp.reset(cx);
            }
        });
        if restarted {
            self.with_groups(now, |groups, cx| groups.lost(cx, now, &peer));
        }
    }

    fn gone(&mut self, now: Instant, peer: PeerId) {
        self.groups.lost(&mut self.cx, now, &peer);
        self.routes.remove(&peer);
        if let Some(mut remote) = self.remotes.remove(&peer) {
            remote.paths.reset(&mut self.cx, now, "the other router is gone");
            remote.sessions.clear(&mut self.cx);
            if let Some(at) = remote.deadline {
                self.timers.remove(&(at, peer));
            }
        }
        self.cx.plane.forget(now, &peer);
    }

    fn route(&mut self, peer: PeerId, route: Option<Route>) {
        self.cx.plane.set_route(peer, route.as_ref());
        match route {
            Some(route) => self.routes.insert(peer, route),
            None => self.routes.remove(&peer),
        };
    }

    /// What comes over the control plane is authenticated only hop by hop: handshakes prove themselves, addresses
    /// are only hints.
    fn control(&mut self, now: Instant, from: PeerId, payload: &[u8]) {
        let message = Message::decode(payload);
        if message.is_some() && !self.remotes.contains_key(&from) {
            // Nothing is kept of routers without a record: anybody can make up their names.
            return self.cx.drop(DropReason::BadHandshake);
        }
        match message {
            Some(Message::Handshake1(message)) => self.with(now, from, |remote, cx| {
                remote.sessions.handshake1(cx, now, None, &message);
            }),
            Some(Message::Handshake2(message)) => self.with(now, from, |remote, cx| {
                remote.sessions.handshake2(cx, now, &message);
            }),
            Some(Message::Candidates(told)) => self.with(now, from, |remote, cx| {
                remote.paths.told(cx, now, None, told);
            }),
            Some(_) => self.cx.drop(DropReason::UnknownMessage),
            None => self.cx.drop(DropReason::MalformedMessage),
        }
    }

    fn message(&mut self, now: Instant, from: PeerId, via: Via, bytes: &[u8]) {
        let Some(message) = Message::decode(bytes) else {
            return self.cx.drop(DropReason::Malformed);
        };
        match &message {
            Message::Pong(pong) => return self.pings.pong(&mut self.cx, now, &from, *pong),
            Message::GroupKey(key) => return self.group_key(now, &from, via, key),
            Message::TreeUsed(used) => return self.cx.use_tree(Vni(used.vni), used.source),
            Message::GroupKeyAck(ack) => {
                return self.with_groups(now, |groups, cx| groups.acknowledged(cx, now, &from, *ack));
            }
            _ => {}
        }
        self.with(now, from, |remote, cx| match message {
            Message::Keepalive(keepalive) => remote.sessions.keepalive(cx, now, via, keepalive),
            Message::Probe(probe) => remote.paths.probe(cx, now, via, probe),
            Message::ProbeAck(ack) => remote.paths.ack(cx, now, via, ack),
            Message::Ping(nonce) => cx.answer(now, &from, &Message::Pong(nonce), via),
            Message::Handshake1(message) => remote.sessions.handshake1(cx, now, Some(via), &message),
            Message::Handshake2(message) => remote.sessions.handshake2(cx, now, &message),
            Message::Candidates(told) => remote.paths.told(cx, now, Some(via), told),
            Message::EspAsk(ask) => remote.esp.asked(cx, now, via, ask),
            Message::EspOffer(offer) => remote.esp.offered(cx, &offer),
            Message::EspRefuse(refuse) => remote.esp.declined(cx, refuse),
            Message::Pong(_) | Message::GroupKey(_) | Message::GroupKeyAck(_) | Message::TreeUsed(_) => {}
        });
    }

    /// Another member's key. It is acknowledged once frames under it can come here.
    fn group_key(&mut self, now: Instant, from: &PeerId, via: Via, key: &GroupKey) {
        let vni = Vni(key.vni);
        let cipher = Cipher::from_id(key.cipher).filter(|cipher| self.cx.config.ciphers.contains(cipher));
        let Some(cipher) = cipher else {
            return self.cx.drop(DropReason::Malformed);
        };
        // Nothing is kept for networks that have no ports here.
        if !self.cx.plane.is_member(vni) {
            return;
        }
        let open = OpenKey::behind(self.cx.config.identity.suite(), cipher, key.secret.bytes());
        if !self.cx.plane.take_key(now, vni, *from, key.id, open) {
            return self.cx.drop(DropReason::Overflow);
        }
        self.cx.use_tree(vni, from.short());
        if self.cx.plane.has_branch(vni, from) {
            let ack = Message::GroupKeyAck(GroupKeyAck {
                vni: key.vni,
                id: key.id,
            });
            self.cx.answer(now, from, &ack, via);
        }
    }

    /// The router above this one in a tree shall know its own place by the time frames come. It may be no member,
    /// and then nobody else tells it.
    fn tell_parent(&mut self, now: Instant, vni: Vni, source: PeerId, parent: Option<PeerId>) {
        let Some(parent) = parent.filter(|parent| *parent != source) else {
            return;
        };
        let used = TreeUsed {
            vni: vni.0,
            source: source.short(),
        };
        // Without a session the first frame has to say so.
        let _ = self.cx.send(now, &parent, &Message::TreeUsed(used), How::Route);
    }

    /// Lets `f` work on the group keys, then does what is due for them.
    fn with_groups(&mut self, now: Instant, f: impl FnOnce(&mut Groups, &mut Context)) {
        f(&mut self.groups, &mut self.cx);
        for peer in self.groups.tick(&mut self.cx, now) {
            if self.remotes.contains_key(&peer) {
                self.with(now, peer, |remote, cx| remote.sessions.want(cx, now));
            }
        }
    }

    fn ping(&mut self, now: Instant, id: u64, peer: &PeerId, hops: Option<usize>) {
        let target = self
            .pings
            .start(&mut self.cx, now, id, self.routes.get(peer), hops);
        if let Some(target) = target {
            self.with(now, target, |remote, cx| remote.sessions.want(cx, now));
            self.pings.tick(&mut self.cx, now);
        }
    }

    fn shutdown(&mut self, now: Instant) {
        for (peer, remote) in &mut self.remotes {
            remote.sessions.clear(&mut self.cx);
            self.cx.plane.set_direct(*peer, None);
        }
        self.groups.clear(&mut self.cx, now);
        self.timers.clear();
        self.pings = Pings::default();
        self.stopped = true;
    }

    fn tick(&mut self, now: Instant) {
        self.cx.plane.expire(now);
        while let Some(&(at, peer)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.with(now, peer, |remote, cx| {
                remote.deadline = None;
                remote.sessions.tick(cx, now);
                remote.paths.tick(cx, now);
                remote.esp.tick(cx, now);
            });
        }
        if self.groups.deadline().is_some_and(|at| at <= now) {
            self.with_groups(now, |_, _| {});
        }
        self.pings.tick(&mut self.cx, now);
    }

    fn with_all(&mut self, now: Instant, mut f: impl FnMut(&mut Remote, &mut Context)) {
        let peers: Vec<_> = self.remotes.keys().copied().collect();
        for peer in peers {
            self.with(now, peer, &mut f);
        }
    }

    /// Lets `f` work on what is known of `peer`, and sees to its timer.
    fn with(&mut self, now: Instant, peer: PeerId, f: impl FnOnce(&mut Remote, &mut Context)) {
        let remote = self.remotes.entry(peer).or_insert_with(|| Remote {
            sessions: Sessions::new(peer, now),
            paths: Paths::new(peer),
            esp: Esp::new(peer),
            index: None,
            deadline: None,
        });
        f(remote, &mut self.cx);
        let index = self.cx.session(now, &peer).map(|session| session.index);
        let first = remote.index.is_none() && index.is_some();
        if remote.index != index {
            remote.sessions.changed(&mut self.cx, now);
        }
        remote.index = index;
        if first {
            remote.paths.session_up(&mut self.cx, now);
            self.cx.release(now, &peer);
        }
        let deadlines = [
            remote.sessions.deadline(&self.cx, now),
            remote.paths.deadline(&self.cx, now),
            remote.esp.deadline(),
        ];
        // Never twice in one microsecond: whatever is due, time goes on between two ticks.
        let deadline = deadlines
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(Instant(now.0 + 1)));
        if deadline != remote.deadline {
            if let Some(old) = remote.deadline {
                self.timers.remove(&(old, peer));
            }
            self.timers.extend(deadline.map(|at| (at, peer)));
            remote.deadline = deadline;
        }
        if first {
            self.pings.tick(&mut self.cx, now);
        }
    }
}
