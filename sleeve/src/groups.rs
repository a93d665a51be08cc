//! Group keys of this router's own: made, given to the members, renewed.
//!
//! A network's broadcast goes along this router's tree once every member that the tree reaches has the key. The way
//! of a key:
//!
//! 1. Containers send to groups ([`Sink::group`](crate::Sink::group)): a random key is made, for this network only.
//! 2. Each member that the tree reaches gets it inside its session, again and again until it has acknowledged it.
//!    Nobody else ever gets it. A member acknowledges once it knows its own place in the tree.
//! 3. All have: the plane seals under it. While an acknowledgement is missing, every member gets copies.
//! 4. After two minutes, or 2^28 frames, the next one is made and given in the same way, while the old one is used.
//!    If nothing was sent for a minute, there is no next one.
//!
//! A key is for the same members all its life. When the tree reaches others than before, because one left or
//! joined the network or lost its links, the key is given up at once, and so it is when one of them was restarted
//! or a secret of the mesh was retired. So whoever has left reads nothing that is sent later, who joins reads
//! nothing that was sent before, and a member that gets a copy of a frame can never open what the tree carries of it,
//! late as that may come.

use crate::How;
use crate::context::Context;
use crate::message::{GroupKey, GroupKeyAck, GroupSecret, Message};
use crate::plane::{Decision, GroupSeal, REJECT_AFTER};
use crate::sessions::{RENEW_AFTER, RENEW_AFTER_PACKETS};
use crypto::{Cipher, SealKey};
use mesh::{DropReason, Instant, PeerId, Tree, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Waits between tries to give a key to one member; the last one repeats.
const RETRIES: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// Without broadcast for so long, no key is given or renewed.
const IDLE: Duration = Duration::from_secs(60);

/// A member that has not acknowledged a key.
#[derive(Debug)]
struct Delivery {
    /// It may have it.
    sent: bool,
    tries: usize,
    /// When to give it next.
    at: Instant,
}

impl Delivery {
    fn new(now: Instant) -> Self {
        Self {
            sent: false,
            tries: 0,
            at: now,
        }
    }
}

/// A group key, and who has it.
struct Key {
    secret: GroupSecret,
    cipher: Cipher,
    seal: Arc<GroupSeal>,
    /// The members that the tree reaches: those that have acknowledged it,
    have: BTreeSet<PeerId>,
    /// and those that have not.
    waiting: BTreeMap<PeerId, Delivery>,
}

impl Key {
    fn is_complete(&self) -> bool {
        self.waiting.is_empty()
    }

    fn may_have(&self, peer: &PeerId) -> bool {
        self.have.contains(peer) || self.waiting.get(peer).is_some_and(|delivery| delivery.sent)
    }

    fn message(&self, vni: Vni) -> Message {
        Message::GroupKey(GroupKey {
            vni: vni.0,
            id: self.seal.id,
            cipher: self.cipher.id(),
            secret: self.secret.clone(),
        })
    }

    /// When the next one is to be made.
    fn renewal(&self) -> Option<Instant> {
        self.seal.since().map(|since| since + RENEW_AFTER)
    }
}

/// How this router sends to one network.
struct Network {
    vni: Vni,
    tree: Tree,
    reached: BTreeSet<PeerId>,
    /// The key in use, and the next one; or the first one.
    keys: Vec<Key>,
    /// When containers last sent to groups.
    used: Option<Instant>,
    /// The key that the plane uses, once it was told.
    published: Option<Option<u32>>,
}

/// The networks for which this router has a tree.
#[derive(Default)]
pub(crate) struct Groups(BTreeMap<Vni, Network>);

impl Groups {
    /// This router's own tree in a network changed; `None`: it has none any more.
    pub(crate) fn set_tree(&mut self, cx: &mut Context, now: Instant, vni: Vni, tree: Option<Tree>) {
        let tree = tree.and_then(|tree| {
            let reached = tree.root.as_ref()?.reached.iter().copied().collect();
            Some((tree, reached))
        });
        let Some((tree, reached)) = tree else {
            self.0.remove(&vni);
            return cx.plane.set_cast(now, vni, None);
        };
        let old = self.0.remove(&vni);
        let used = old.as_ref().and_then(|old| old.used);
        let keys = old.filter(|old| old.reached == reached).map(|old| old.keys);
        let mut network = Network {
            vni,
            tree,
            reached,
            keys: keys.unwrap_or_default(),
            used,
            published: None,
        };
        network.publish(cx, now);
        self.0.insert(vni, network);
    }

    /// Containers send to groups in this network.
    pub(crate) fn used(&mut self, vni: Vni, now: Instant) {
        if let Some(network) = self.0.get_mut(&vni) {
            network.used = Some(now);
        }
    }

    /// A member has a key.
    pub(crate) fn acknowledged(&mut self, cx: &mut Context, now: Instant, from: &PeerId, ack: GroupKeyAck) {
        let Some(network) = self.0.get_mut(&Vni(ack.vni)) else {
            return;
        };
        let key = network.keys.iter_mut().find(|key| key.seal.id == ack.id);
        if let Some(key) = key.filter(|key| key.waiting.get(from).is_some_and(|delivery| delivery.sent)) {
            key.waiting.remove(from);
            key.have.insert(*from);
            network.publish(cx, now);
        }
    }

    /// A router lost what it was given, and the memory of what it opened with it: it was restarted, or is gone.
    pub(crate) fn lost(&mut self, cx: &mut Context, now: Instant, peer: &PeerId) {
        for network in self.0.values_mut() {
            network.keys.retain(|key| !key.may_have(peer));
            network.publish(cx, now);
        }
    }

    /// Gives up all keys; new ones are made where they are used.
    pub(crate) fn renew_all(&mut self, cx: &mut Context, now: Instant) {
        for network in self.0.values_mut() {
            network.keys.clear();
            network.publish(cx, now);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, cx: &mut Context, now: Instant) {
        for vni in std::mem::take(&mut self.0).into_keys() {
            cx.plane.set_cast(now, vni, None);
        }
    }

    /// Makes and gives keys as they are due. Returns the routers with which a session is needed for that.
    pub(crate) fn tick(&mut self, cx: &mut Context, now: Instant) -> BTreeSet<PeerId> {
        let mut needed = BTreeSet::new();
        for network in self.0.values_mut() {
            network.renew(cx, now);
            network.publish(cx, now);
            network.give(cx, now, &mut needed);
        }
        needed
    }

    /// When [`Self::tick`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(Network::deadline).min()
    }
}

impl Network {
    fn is_used(&self, now: Instant) -> bool {
        self.used.is_some_and(|used| now.since(used) < IDLE)
    }

    /// Makes a key if one is due, gives up those that are not used.
    fn renew(&mut self, cx: &mut Context, now: Instant) {
        let is_due =
            |key: &Key| key.renewal().is_some_and(|at| at <= now) || key.seal.sealed() >= RENEW_AFTER_PACKETS;
        self.keys.retain(|key| key.seal.usable(now));
        let is_used = self.is_used(now);
        match &self.keys[..] {
            [] if is_used => self.make(cx, now),
            [key] if is_used && is_due(key) => self.make(cx, now),
            [key] if !is_used && (is_due(key) || !key.is_complete()) => self.keys.clear(),
            [_, _] if !is_used => self.keys.clear(),
            _ => {}
        }
    }

    fn make(&mut self, cx: &mut Context, now: Instant) {
        let cipher = cx.config.ciphers.first().copied();
        let cipher = cipher.unwrap_or_else(Cipher::preferred);
        let secret = GroupSecret::generate(&mut *cx.rng);
        let seal = GroupSeal::new(
            cx.rng.next_u32(),
            SealKey::behind(cx.config.identity.suite(), cipher, secret.bytes()),
        );
        let waiting = self.reached.iter().map(|peer| (*peer, Delivery::new(now)));
        self.keys.push(Key {
            secret,
            cipher,
            seal: Arc::new(seal),
            have: BTreeSet::new(),
            waiting: waiting.collect(),
        });
    }

    /// Tells the plane which key to use: the newest that all have. Older ones are given up then.
    fn publish(&mut self, cx: &Context, now: Instant) {
        let newest = self.keys.iter().rposition(Key::is_complete);
        if let Some(newest) = newest {
            self.keys.drain(..newest);
        }
        let seal = newest.and(self.keys.first()).map(|key| Arc::clone(&key.seal));
        let id = seal.as_ref().map(|seal| seal.id);
        if self.published == Some(id) {
            return;
        }
        if let Some(seal) = &seal {
            seal.begin(now);
        }
        let tree = &self.tree;
        cx.plane.set_cast(now, self.vni, Some(Decision { seal, tree }));
        self.published = Some(id);
    }

    /// Gives the keys to those who have not acknowledged them and whose turn it is.
    fn give(&mut self, cx: &mut Context, now: Instant, needed: &mut BTreeSet<PeerId>) {
        for key in self.keys.iter_mut().filter(|key| !key.is_complete()) {
            let message = key.message(self.vni);
            for (peer, delivery) in key.waiting.iter_mut().filter(|(_, delivery)| delivery.at <= now) {
                match cx.send(now, peer, &message, How::Route) {
                    Ok(()) => delivery.sent = true,
                    Err(DropReason::NoSession) => {
                        needed.insert(*peer);
                    }
                    // There will be a route, or the tree will do without it.
                    Err(_) => {}
                }
                delivery.at = now + RETRIES[delivery.tries.min(RETRIES.len() - 1)];
                delivery.tries += 1;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let waiting = self.keys.iter().flat_map(|key| key.waiting.values());
        let next = waiting.map(|delivery| delivery.at).min();
        let first = self.keys.first()?;
        let renewal = match self.keys.len() {
            1 => first.renewal(),
            _ => first.seal.since().map(|since| since + REJECT_AFTER),
        };
        next.into_iter().chain(renewal).min()
    }
}
