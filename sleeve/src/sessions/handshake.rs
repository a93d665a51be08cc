//! The two messages of a handshake.

use super::{CROSSING, Pending, Sessions, TRIES_INSIDE, Unconfirmed};
use crate::context::Context;
use crate::message::{Handshake1, Handshake2, Message};
use crate::plane::SessionParts;
use crate::{Event, How, Via};
use crypto::secret::{Keyring, Secret};
use crypto::session::{Offer, SessionInitiator, SessionKeys, SessionResponder, choose};
use mesh::{DropReason, Instant, SecretId};
use std::time::Duration;

/// Handshakes one router may ask for at once, and how long until it may ask for one more.
const BURST: u32 = 8;
const REFILL: Duration = Duration::from_millis(500);

/// How many handshakes are still read from one router: each costs several multiplications on the curve.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.since(self.since) >= REFILL {
            self.left += 1;
            self.since = self.since + REFILL;
        }
        if self.left == BURST {
            self.since = now;
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

impl Sessions {
    /// Sends a fresh message 1, which replaces one that is waiting for its answer; or does so when it is this router's
    /// turn, as the control plane carries a limited number for each origin.
    pub(super) fn initiate(&mut self, cx: &mut Context, now: Instant) {
        let Some(theirs) = self.theirs else { return };
        let tries = self.pending.as_ref().map_or(0, |pending| pending.tries) + 1;
        // A renewal goes inside the session, unless that seems to be broken.
        let is_inside = tries <= TRIES_INSIDE && cx.plane.has_way(now, &self.peer);
        let turn = match self.turn {
            Some(turn) => turn,
            None if is_inside || self.neighbor.is_some() => now,
            None => cx.take_turn(now),
        };
        self.turn = Some(turn).filter(|turn| *turn > now);
        if self.turn.is_some() {
            return;
        }
        let (index, counter) = (cx.free_index(), cx.next_handshake());
        let started = SessionInitiator::start(
            &cx.config.parties(&self.peer, theirs.data_key, theirs.epoch),
            self.secret(&cx.config.keyring),
            counter,
            &cx.config.ciphers,
            index,
            &mut *cx.rng,
        );
        self.pending = None;
        let (initiator, noise) = match started {
            Ok(started) => started,
            Err(error) => return self.refuse(cx, DropReason::BadHandshake, &error),
        };
        self.pending = Some(Pending {
            initiator,
            index,
            tries,
            sent: now,
        });
        let message = Message::Handshake1(Handshake1 { index, noise });
        if !is_inside || cx.send(now, &self.peer, &message, How::Route).is_err() {
            cx.send_control(self.peer, &message);
        }
    }

    /// The oldest secret that both have, as far as the other's record tells: while one is retired on one router after the
    /// other, the oldest of those that this one has may be gone there.
    fn secret<'a>(&self, keyring: &'a Keyring) -> &'a Secret {
        let is_theirs = |secret: &&Secret| self.secrets.contains(&SecretId(secret.id().0));
        keyring
            .secrets()
            .find(is_theirs)
            .unwrap_or_else(|| keyring.preferred())
    }

    /// The other router wants a session. `via`: it says so inside a session.
    pub(crate) fn handshake1(
        &mut self,
        cx: &mut Context,
        now: Instant,
        via: Option<Via>,
        message: &Handshake1,
    ) {
        if !self.budgets[usize::from(via.is_some())].take(now) {
            return cx.drop(DropReason::HandshakeRate);
        }
        let Some(theirs) = self.theirs else {
            return cx.drop(DropReason::BadHandshake);
        };
        let crossing = self
            .pending
            .as_ref()
            .is_some_and(|pending| now.since(pending.sent) < CROSSING);
        if crossing && cx.config.id < self.peer {
            // Both began at once; this router's handshake is the one that counts.
            return cx.drop(DropReason::StaleHandshake);
        }
        let parties = cx.config.parties(&self.peer, theirs.data_key, theirs.epoch);
        match SessionResponder::read(&parties, &cx.config.keyring, &message.noise) {
            Ok(offer) if (offer.epoch, offer.counter) <= self.newest => cx.drop(DropReason::StaleHandshake),
            Ok(offer) => {
                self.newest = (offer.epoch, offer.counter);
                self.accept(cx, now, via, offer);
            }
            Err(error) => self.refuse(cx, DropReason::BadHandshake, &error),
        }
    }

    fn accept(&mut self, cx: &mut Context, now: Instant, via: Option<Via>, offer: Offer) {
        let Some(cipher) = choose(&cx.config.ciphers, &offer.ciphers) else {
            return self.refuse(
                cx,
                DropReason::BadHandshake,
                &crypto::session::SessionError::Cipher,
            );
        };
        self.give_up();
        let (index, theirs) = (cx.free_index(), offer.index);
        match offer.accept(cipher, index, &mut *cx.rng) {
            Ok((keys, noise)) => {
                self.install(cx, now, index, &keys, false);
                let message = Message::Handshake2(Handshake2 { index: theirs, noise });
                match via {
                    Some(via) if cx.session(now, &self.peer).is_some() => {
                        cx.answer(now, &self.peer, &message, via);
                    }
                    _ => cx.send_control(self.peer, &message),
                }
            }
            Err(error) => self.refuse(cx, DropReason::BadHandshake, &error),
        }
    }

    /// The other router answers.
    pub(crate) fn handshake2(&mut self, cx: &mut Context, now: Instant, message: &Handshake2) {
        let pending = self
            .pending
            .as_mut()
            .filter(|pending| pending.index == message.index);
        let Some(pending) = pending else {
            return cx.drop(DropReason::StaleHandshake);
        };
        // A forged answer leaves the handshake as it was: the true one may still come.
        match pending.initiator.finish(&message.noise) {
            Ok(keys) => {
                self.give_up();
                self.install(cx, now, message.index, &keys, true);
                self.unconfirmed = Some(Unconfirmed {
                    index: message.index,
                    tries: 0,
                    at: now,
                });
                self.confirm(cx, now);
            }
            Err(error) => self.refuse(cx, DropReason::BadHandshake, &error),
        }
    }

    fn install(&mut self, cx: &mut Context, now: Instant, index: u32, keys: &SessionKeys, initiator: bool) {
        let parts = SessionParts {
            index,
            their_index: keys.their_index,
            suite: cx.config.identity.suite(),
            cipher: keys.cipher,
            secret: SecretId(keys.secret.0),
            initiator,
            born: now,
            send: &keys.send,
            receive: &keys.receive,
        };
        cx.plane.install(self.peer, &parts);
        self.made += 1;
        cx.log(Event::SessionUp {
            peer: self.peer,
            cipher: keys.cipher,
        });
    }

    fn refuse(&self, cx: &mut Context, reason: DropReason, error: &crypto::session::SessionError) {
        cx.drop(reason);
        cx.log(Event::HandshakeRefused {
            peer: self.peer,
            reason,
            detail: error.to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refills_with_time() {
        let mut budget = Budget::new(Instant(0));
        for _ in 0..BURST {
            assert!(budget.take(Instant(1)));
        }
        assert!(!budget.take(Instant(2)));
        assert!(budget.take(Instant(1) + REFILL));
        assert!(!budget.take(Instant(1) + REFILL));
        let later = Instant(0) + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| budget.take(later)).count(), BURST as usize);
    }
}
