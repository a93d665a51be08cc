//! Sessions with one other router: when they are made, renewed and given up.
//!
//! A first handshake travels over the control plane, a renewal inside the session it renews. The initiator tries
//! again with a fresh message until it is answered. It sends on the new session at once; the responder does only
//! after a packet under it came, so the initiator keeps sending keepalives until it hears one itself.

mod handshake;

use crate::context::Context;
use crate::message::{Keepalive, Message};
use crate::plane::{Peer, REJECT_AFTER, Session};
use crate::{How, Via};
use crypto::session::SessionInitiator;
use mesh::{Instant, PeerId, SecretId};
use std::net::SocketAddr;
use std::time::Duration;

/// The age at which the initiator of a session renews it, and how many packets do the same.
pub(crate) const RENEW_AFTER: Duration = Duration::from_secs(120);
pub(crate) const RENEW_AFTER_PACKETS: u64 = 1 << 28;
/// The responder renews it only if the initiator has not.
const RENEW_AFTER_AS_RESPONDER: Duration = Duration::from_secs(130);
/// Waits between tries of one handshake; the last one repeats.
const RETRIES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// So many tries of a renewal go inside the session before the control plane is used.
const TRIES_INSIDE: usize = 2;
/// The router with the higher id leaves the first move to the other for so long.
const POLITENESS: Duration = Duration::from_millis(500);
/// A session of the other end that waits for its first packet holds back an own handshake for so long.
const CONFIRMATION: Duration = Duration::from_secs(1);
/// Traffic keeps handshakes going for so long after it was last seen.
const WANTED: Duration = Duration::from_secs(15);
/// Two initiations this close cross each other; later ones answer a loss.
const CROSSING: Duration = Duration::from_secs(1);
/// How long sessions of a retired secret are kept while new ones are made.
const CLOSING: Duration = Duration::from_secs(5);
/// Waits between the keepalives that confirm a session; the last one repeats.
const CONFIRMATIONS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// While there is traffic or a link: how long the other end may be silent until it is asked for a sign of life, and until
/// the session is taken for lost and made anew. A router that lost its end of a session can't say so.
const ASK_AFTER: Duration = Duration::from_secs(10);
const LOST_AFTER: Duration = Duration::from_secs(15);
/// Frames this recent count as traffic.
const TRAFFIC: Duration = Duration::from_secs(10);

/// What the other router's record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Theirs {
    data_key: [u8; 32],
    epoch: u64,
}

/// A handshake that waits for message 2.
struct Pending {
    initiator: SessionInitiator,
    index: u32,
    tries: usize,
    sent: Instant,
}

impl Pending {
    fn retry_at(&self) -> Instant {
        self.sent + RETRIES[self.tries.saturating_sub(1).min(RETRIES.len() - 1)]
    }
}

/// A session this router made and the other end has not been heard on.
struct Unconfirmed {
    index: u32,
    tries: usize,
    at: Instant,
}

/// The sessions with one other router.
pub(crate) struct Sessions {
    peer: PeerId,
    theirs: Option<Theirs>,
    /// The secrets that its record says it has.
    secrets: Vec<SecretId>,
    neighbor: Option<SocketAddr>,
    pending: Option<Pending>,
    /// When this router may send the message 1 that is due.
    turn: Option<Instant>,
    unconfirmed: Option<Unconfirmed>,
    /// When to start a handshake, if there still is no session then.
    start_at: Option<Instant>,
    wanted_until: Instant,
    close_at: Option<Instant>,
    /// When the other end was last asked for a sign of life.
    asked: Option<Instant>,
    /// Newest (epoch, counter) taken from the other end.
    newest: (u64, u64),
    /// For handshakes over the control plane, whose origin anybody on the way can forge, and inside a session.
    budgets: [handshake::Budget; 2],
    /// How many were made.
    made: u64,
}

impl Sessions {
    pub(crate) fn new(peer: PeerId, now: Instant) -> Self {
        Self {
            peer,
            theirs: None,
            secrets: Vec::new(),
            neighbor: None,
            pending: None,
            turn: None,
            unconfirmed: None,
            start_at: None,
            wanted_until: Instant(0),
            close_at: None,
            asked: None,
            newest: (0, 0),
            budgets: [handshake::Budget::new(now), handshake::Budget::new(now)],
            made: 0,
        }
    }

    /// How many were made since the other router was heard of: the first, and one more with each renewal.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// The other router's record names these secrets.
    pub(crate) fn set_secrets(&mut self, secrets: impl Iterator<Item = SecretId>) {
        self.secrets = secrets.collect();
    }

    /// The other router's record came. True if it was restarted: its old sessions are dropped then.
    pub(crate) fn set_record(
        &mut self,
        cx: &mut Context,
        now: Instant,
        data_key: [u8; 32],
        epoch: u64,
    ) -> bool {
        let theirs = Some(Theirs { data_key, epoch });
        if self.theirs == theirs {
            return false;
        }
        let restarted = self.theirs.replace(Theirs { data_key, epoch }).is_some();
        if restarted {
            self.clear(cx);
        }
        if now < self.wanted_until {
            self.initiate(cx, now);
        } else {
            self.see_to_neighbor(cx, now);
        }
        restarted
    }

    /// A link to the other router came up or went down.
    pub(crate) fn set_neighbor(&mut self, cx: &mut Context, now: Instant, neighbor: Option<SocketAddr>) {
        self.neighbor = neighbor;
        if neighbor.is_some() {
            // Neighbours wait for no turn.
            self.turn = None;
        }
        self.see_to_neighbor(cx, now);
    }

    /// Something is to be sent to the other router.
    pub(crate) fn want(&mut self, cx: &mut Context, now: Instant) {
        self.wanted_until = now + WANTED;
        if self.session(cx, now).is_some() {
            return self.renew(cx, now);
        }
        if self.is_under_way() {
            return;
        }
        let waiting = cx.plane.known(&self.peer).and_then(|peer| peer.next());
        match waiting.filter(|session| now.since(session.born) < CONFIRMATION) {
            Some(session) => self.start_at = Some(session.born + CONFIRMATION),
            None => self.initiate(cx, now),
        }
    }

    /// Secrets were added or retired: sessions of retired ones are made anew, then closed.
    pub(crate) fn keyring_changed(&mut self, cx: &mut Context, now: Instant) {
        // A handshake under way may use a secret that is gone.
        if let Some(pending) = self.pending.take() {
            self.start_at = Some(pending.sent);
        }
        self.close_retired(cx, now);
        self.tick(cx, now);
    }

    /// Another session is sent on than before.
    pub(crate) fn changed(&mut self, cx: &mut Context, now: Instant) {
        self.close_retired(cx, now);
        self.watch(cx, now);
    }

    /// Drops every session and handshake.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        cx.plane.retain_sessions(&self.peer, |_| false);
        self.give_up();
        self.unconfirmed = None;
        self.start_at = None;
        self.close_at = None;
    }

    /// A keepalive came.
    pub(crate) fn keepalive(&self, cx: &mut Context, now: Instant, via: Via, keepalive: Keepalive) {
        if keepalive.answer {
            cx.answer(
                now,
                &self.peer,
                &Message::Keepalive(Keepalive { answer: false }),
                via,
            );
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, cx: &mut Context, now: Instant) {
        cx.plane
            .retain_sessions(&self.peer, |session| now.since(session.born) < REJECT_AFTER);
        if self.close_at.is_some_and(|at| at <= now) {
            self.close_at = None;
            cx.plane
                .retain_sessions(&self.peer, |session| is_valid(cx, session));
        }
        if self.handshake_at().is_some_and(|at| at <= now) {
            if self.is_wanted(cx, now) {
                self.initiate(cx, now);
            } else {
                self.give_up();
            }
        }
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            let fine = self
                .session(cx, now)
                .is_some_and(|session| is_valid(cx, &session));
            if !fine && !self.is_under_way() {
                self.initiate(cx, now);
            }
        }
        self.renew(cx, now);
        self.watch(cx, now);
        self.see_to_neighbor(cx, now);
        self.confirm(cx, now);
    }

    /// When [`Self::tick`] is to be called.
    pub(crate) fn deadline(&self, cx: &Context, now: Instant) -> Option<Instant> {
        let peer = cx.plane.known(&self.peer);
        let peer = peer.as_deref();
        let session = peer.and_then(|peer| peer.sending(now));
        let session = session.as_deref();
        // Under way already, or to be asked for by traffic once it is over.
        let renewal = session.filter(|_| !self.is_under_way()).map(renewal);
        let renewal = renewal.filter(|_| self.is_wanted_with(peer, now));
        let end = peer.and_then(Peer::oldest).map(|born| born + REJECT_AFTER);
        [
            self.handshake_at(),
            self.unconfirmed.as_ref().map(|unconfirmed| unconfirmed.at),
            self.start_at,
            self.close_at,
            renewal,
            self.watch_at(peer, session),
            end,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn session(&self, cx: &Context, now: Instant) -> Option<std::sync::Arc<Session>> {
        cx.session(now, &self.peer)
    }

    /// True while a handshake waits for its answer or its turn.
    fn is_under_way(&self) -> bool {
        self.pending.is_some() || self.turn.is_some()
    }

    /// When the handshake under way sends its next message 1.
    fn handshake_at(&self) -> Option<Instant> {
        self.turn.or_else(|| self.pending.as_ref().map(Pending::retry_at))
    }

    /// Ends the handshake under way.
    fn give_up(&mut self) {
        self.turn = None;
        self.pending = None;
    }

    /// Worth a session: a neighbour, or there was traffic or a direct path lately.
    fn is_wanted(&self, cx: &Context, now: Instant) -> bool {
        self.is_wanted_with(cx.plane.known(&self.peer).as_deref(), now)
    }

    fn is_wanted_with(&self, peer: Option<&Peer>, now: Instant) -> bool {
        let used = |peer: &Peer| {
            let traffic = peer.traffic();
            peer.direct.load().is_some() || (traffic > Instant(0) && now.since(traffic) < REJECT_AFTER)
        };
        self.neighbor.is_some() || now < self.wanted_until || peer.is_some_and(used)
    }

    /// Starts the renewal of the session if it is old or used up.
    fn renew(&mut self, cx: &mut Context, now: Instant) {
        let Some(session) = self.session(cx, now) else {
            return;
        };
        let old = renewal(&session) <= now || session.sealed() >= RENEW_AFTER_PACKETS;
        if old && !self.is_under_way() && self.is_wanted(cx, now) {
            self.initiate(cx, now);
        }
    }

    /// Sees to it that the other end still has the session, as long as there is traffic or a link.
    fn watch(&mut self, cx: &mut Context, now: Instant) {
        let peer = cx.plane.known(&self.peer);
        let Some(session) = peer.as_ref().and_then(|peer| peer.sending(now)) else {
            return;
        };
        if self
            .watch_at(peer.as_deref(), Some(&session))
            .is_none_or(|at| now < at)
        {
            return;
        }
        if now.since(last_heard(&session)) >= LOST_AFTER {
            self.asked = None;
            return self.initiate(cx, now);
        }
        self.asked = Some(now);
        self.ask(cx, now);
    }

    /// When [`Self::watch`] has something to do.
    fn watch_at(&self, peer: Option<&Peer>, session: Option<&Session>) -> Option<Instant> {
        if self.is_under_way() || self.theirs.is_none() {
            return None;
        }
        let heard = last_heard(session?);
        let traffic = peer?.traffic();
        let step = if self.asked.is_some_and(|asked| heard < asked) {
            LOST_AFTER
        } else {
            ASK_AFTER
        };
        // Traffic that comes later asks for itself, at the next look.
        let watched = self.neighbor.is_some() || heard + step < traffic + TRAFFIC;
        watched.then_some(heard + step)
    }

    /// Neighbours have a session always.
    fn see_to_neighbor(&mut self, cx: &mut Context, now: Instant) {
        let idle = !self.is_under_way() && self.start_at.is_none() && self.theirs.is_some();
        if self.neighbor.is_none() || !idle || self.session(cx, now).is_some() {
            return;
        }
        if cx.config.id < self.peer {
            self.initiate(cx, now);
        } else {
            self.start_at = Some(now + POLITENESS);
        }
    }

    /// Sends keepalives on a session of this router's making until the other end is heard on it.
    fn confirm(&mut self, cx: &mut Context, now: Instant) {
        let Some(unconfirmed) = &mut self.unconfirmed else {
            return;
        };
        let session = cx
            .session(now, &self.peer)
            .filter(|session| session.index == unconfirmed.index);
        if session.is_none_or(|session| session.heard().is_some()) {
            self.unconfirmed = None;
        } else if unconfirmed.at <= now {
            unconfirmed.at = now + CONFIRMATIONS[unconfirmed.tries.min(CONFIRMATIONS.len() - 1)];
            unconfirmed.tries += 1;
            self.ask(cx, now);
        }
    }

    /// Asks the other end for a sign of life.
    fn ask(&self, cx: &mut Context, now: Instant) {
        let message = Message::Keepalive(Keepalive { answer: true });
        let sent = cx.send(now, &self.peer, &message, How::Route);
        if let (Err(_), Some(address)) = (sent, self.neighbor) {
            // No route yet, but a link: the first packets of a neighbour go where the link goes. If this fails too
            // there is no session, and nothing to ask for.
            let _ = cx.send(now, &self.peer, &message, How::Direct(address));
        }
    }

    /// If the session was made with a retired secret: has another made, and it closed.
    fn close_retired(&mut self, cx: &Context, now: Instant) {
        let retired = self
            .session(cx, now)
            .is_some_and(|session| !is_valid(cx, &session));
        if retired && self.close_at.is_none() {
            self.close_at = Some(now + CLOSING);
            self.start_at = Some(if cx.config.id < self.peer {
                now
            } else {
                now + POLITENESS
            });
        }
    }
}

/// True if the secret the session was made with is still valid.
fn is_valid(cx: &Context, session: &Session) -> bool {
    cx.config
        .keyring
        .get(&crypto::SecretId(session.secret.0))
        .is_some()
}

/// When the other end last proved to have the session.
fn last_heard(session: &Session) -> Instant {
    session.heard().unwrap_or(session.born).max(session.born)
}

fn renewal(session: &Session) -> Instant {
    session.born
        + if session.initiator {
            RENEW_AFTER
        } else {
            RENEW_AFTER_AS_RESPONDER
        }
}
