//! The direct path to one other router: looked for, checked, measured, given up.
//!
//! Neighbours are always looked for, other routers when there is traffic to them. A *round* probes every address
//! the other router may have, every half second for three seconds; the first that answers becomes the path, at the
//! base MTU. Probes and their answers are sealed in the session, so an address is believed only when the other end
//! proved to receive there. A probe from a new address moves nothing: that address is probed first.

mod active;
mod candidates;
mod mtu;
mod probes;

use crate::context::Context;
use crate::message::{self, Message, Probe, ProbeAck};
use crate::wire::size::BASE_MTU;
use crate::{Event, How, Output, PathState, PathView, Via};
use active::{Active, Health, is_in_use};
use candidates::Candidates;
use mesh::{DropReason, Instant, PeerId};
use probes::{Probes, Sent};
use std::net::SocketAddr;
use std::time::Duration;

/// Tries of a round, and how far apart they are.
const TRIES: u8 = 6;
const TRY_STEP: Duration = Duration::from_millis(500);
/// So many tries of a round with a neighbour go to the link's address only: the path shall go along with the link.
const TRIES_AT_LINK: u8 = 2;
/// Longest wait between rounds.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A need lasts so long after it was last felt.
const WANTED: Duration = Duration::from_secs(5);
/// How often a path is checked whose death would not be noticed otherwise.
const CHECK_ALONE: Duration = Duration::from_secs(1);
/// How often one is checked that goes along with a link, which has a liveness of its own.
const CHECK_WITH_LINK: Duration = Duration::from_secs(5);
/// How often the check of a path that is not in use is as large as its MTU.
const FILL_EVERY: Duration = Duration::from_secs(60);
/// How soon the next check follows one that was not answered; and when the link beside it has just died.
const CHECK_STEP: Duration = Duration::from_secs(1);
const HURRY_STEP: Duration = Duration::from_millis(200);
/// Checks lost in a row until a path is given up.
const LOSSES: u8 = 3;
/// Frames this recent mean that a path is in use.
const IN_USE: Duration = Duration::from_secs(10);
/// Without frames for so long, a path without a link is torn down.
const IDLE: Duration = Duration::from_secs(300);
/// How often a larger MTU is tried once more.
const RAISE_AFTER: Duration = Duration::from_secs(60);
/// How often a probe from elsewhere makes this router look there.
const ROAM_EVERY: Duration = Duration::from_secs(1);

/// Addresses being probed.
struct Round {
    left: u8,
    at: Instant,
    /// Small probes were answered from here.
    narrow: Option<SocketAddr>,
}

impl Round {
    fn new(now: Instant) -> Self {
        Self {
            left: TRIES,
            at: now,
            narrow: None,
        }
    }
}

/// The direct path to one other router.
pub(crate) struct Paths {
    peer: PeerId,
    candidates: Candidates,
    round: Option<Round>,
    active: Option<Active>,
    probes: Probes,
    failures: u32,
    not_before: Instant,
    wanted_until: Instant,
    roamed: Option<Instant>,
}

impl Paths {
    pub(crate) fn new(peer: PeerId) -> Self {
        Self {
            peer,
            candidates: Candidates::default(),
            round: None,
            active: None,
            probes: Probes::default(),
            failures: 0,
            not_before: Instant(0),
            wanted_until: Instant(0),
            roamed: None,
        }
    }

    /// The other router's record names these addresses.
    pub(crate) fn set_record(&mut self, addresses: Vec<SocketAddr>) {
        self.candidates.set_recorded(addresses);
    }

    /// A link came up, seen at this address, or went down.
    pub(crate) fn set_neighbor(&mut self, cx: &mut Context, now: Instant, neighbor: Option<SocketAddr>) {
        let neighbor = neighbor.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        let before = std::mem::replace(&mut self.candidates.neighbor, neighbor);
        match (neighbor, &mut self.active) {
            (None, Some(active)) if before.is_some() => active.hurry(cx, now),
            (Some(address), Some(active)) if active.address != address => {
                self.probes.send(cx, now, &self.peer, address, BASE_MTU);
            }
            (Some(_), None) => self.begin(cx, now),
            _ => {}
        }
        self.tick(cx, now);
    }

    /// There is traffic that has no direct path.
    pub(crate) fn want(&mut self, cx: &mut Context, now: Instant) {
        self.wanted_until = now + WANTED;
        self.tick(cx, now);
    }

    /// There is a new session: what waited for one goes on.
    pub(crate) fn session_up(&mut self, cx: &mut Context, now: Instant) {
        if let Some(round) = &mut self.round {
            round.at = now;
        } else if self.active.is_none() && self.is_wanted(now) {
            self.begin(cx, now);
        }
        self.tick(cx, now);
    }

    /// The other router restarted, or is gone: nothing that was proven holds any more.
    pub(crate) fn reset(&mut self, cx: &mut Context, now: Instant, reason: &'static str) {
        self.down(cx, now, reason);
        self.round = None;
        self.probes.clear();
        (self.failures, self.not_before) = (0, now);
    }

    /// The other router told where it may be reached.
    pub(crate) fn told(
        &mut self,
        cx: &mut Context,
        now: Instant,
        via: Option<Via>,
        told: message::Candidates,
    ) {
        self.candidates.set_told(told.addresses, via.is_some());
        if told.answer {
            self.tell(cx, now, via, false);
        }
        if self.active.is_none() && self.round.is_none() && cx.session(now, &self.peer).is_some() {
            // One round, because the other end asks; more only if it asks again, or there is traffic here.
            self.round = Some(Round::new(now));
        }
        self.tick(cx, now);
    }

    /// A probe came.
    pub(crate) fn probe(&mut self, cx: &mut Context, now: Instant, via: Via, probe: Probe) {
        let Via::Direct(from) = via else {
            return cx.drop(DropReason::Malformed);
        };
        let (trusted, wanted) = (cx.trusts(from.ip()), self.is_wanted(now));
        let ack = Message::ProbeAck(ProbeAck {
            nonce: probe.nonce,
            trusted,
            seen: from,
        });
        cx.answer(now, &self.peer, &ack, via);
        match &mut self.active {
            // That both trust, only an answer tells: it knows where this router's packets come from. The other end may trust
            // the address it sends to, and not that one.
            Some(active) if active.address == from => {
                if !(trusted && probe.trusted) {
                    active.set_plain(cx, false);
                }
            }
            active => {
                self.candidates.hear(from);
                let lately = self.roamed.is_some_and(|at| now.since(at) < ROAM_EVERY);
                if lately || (active.is_none() && !wanted) {
                    return;
                }
                self.roamed = Some(now);
                if let Some(active) = active {
                    active.check(now);
                }
                self.probes.send(cx, now, &self.peer, from, BASE_MTU);
                self.tick(cx, now);
            }
        }
    }

    /// A probe was answered.
    pub(crate) fn ack(&mut self, cx: &mut Context, now: Instant, via: Via, ack: ProbeAck) {
        // The nonce shows that the probe was received where it was sent to; the answer may come from another of
        // the other router's addresses.
        let direct = matches!(via, Via::Direct(_));
        let Some(sent) = self.probes.take(ack.nonce).filter(|_| direct) else {
            return cx.drop(DropReason::Malformed);
        };
        cx.seen_as(ack.seen);
        let plain = ack.trusted && cx.trusts(sent.address.ip());
        let rtt = now.since(sent.at);
        match &mut self.active {
            Some(active) if active.address == sent.address => {
                active.answered(cx, now, sent.size, rtt, self.candidates.neighbor.is_some());
                active.set_plain(cx, plain);
            }
            active => {
                let better = active.as_ref().is_none_or(Active::is_doubtful);
                if sent.size < BASE_MTU {
                    self.round
                        .iter_mut()
                        .for_each(|round| round.narrow = Some(sent.address));
                } else if better || self.candidates.neighbor == Some(sent.address) {
                    self.adopt(cx, now, &sent, rtt, plain);
                }
            }
        }
        self.tick(cx, now);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, cx: &mut Context, now: Instant) {
        if let Some(active) = &mut self.active {
            let last_use = cx
                .plane
                .known(&self.peer)
                .map_or(Instant(0), |peer| peer.traffic());
            let idle = now.since(last_use.max(active.since)) >= IDLE;
            if idle && self.candidates.neighbor.is_none() {
                return self.down(cx, now, "no traffic");
            }
            match active.tick(cx, now, &mut self.probes) {
                Health::Fine => {}
                Health::Doubtful => self.probe_others(cx, now),
                Health::Dead => self.down(cx, now, "no answer"),
            }
            return;
        }
        if self.round.is_none() {
            let ready = self.not_before <= now && cx.session(now, &self.peer).is_some();
            if ready && self.is_wanted(now) {
                self.begin(cx, now);
            }
        }
        if self.round.as_ref().is_some_and(|round| round.at <= now) {
            self.probe_all(cx, now);
        }
    }

    /// When [`Self::tick`] is to be called.
    pub(crate) fn deadline(&self, cx: &Context, now: Instant) -> Option<Instant> {
        if let Some(active) = &self.active {
            return Some(active.deadline());
        }
        if let Some(round) = &self.round {
            return Some(round.at);
        }
        let waiting = self.is_wanted(self.not_before.max(now)) && cx.session(now, &self.peer).is_some();
        waiting.then_some(self.not_before)
    }

    /// For status; `None` if there is neither a path nor a search for one.
    pub(crate) fn view(&self, cx: &Context, now: Instant) -> Option<PathView> {
        let cipher = cx.session(now, &self.peer).map(|session| session.cipher);
        match (&self.active, &self.round) {
            (Some(active), _) => Some(PathView {
                peer: self.peer,
                address: Some(active.address),
                mtu: active.mtu(),
                rtt_us: Some(u64::try_from(active.rtt.as_micros()).unwrap_or(u64::MAX)),
                encrypted: !active.plain,
                cipher,
                state: active.state(),
            }),
            (None, Some(_)) => Some(PathView {
                peer: self.peer,
                address: self.candidates.neighbor,
                mtu: 0,
                rtt_us: None,
                encrypted: true,
                cipher,
                state: PathState::Probing,
            }),
            (None, None) => None,
        }
    }

    fn is_wanted(&self, now: Instant) -> bool {
        self.candidates.neighbor.is_some() || now < self.wanted_until
    }

    fn begin(&mut self, cx: &mut Context, now: Instant) {
        self.round = Some(Round::new(now));
        if self.candidates.neighbor.is_none() {
            self.tell(cx, now, None, true);
        }
    }

    /// Tells the other router where this one may be reached.
    fn tell(&self, cx: &mut Context, now: Instant, via: Option<Via>, answer: bool) {
        let told = Message::Candidates(message::Candidates {
            addresses: cx.candidates(),
            answer,
        });
        let how = match via {
            Some(Via::Direct(from)) => How::Direct(from),
            _ => How::Route,
        };
        if cx.send(now, &self.peer, &told, how).is_err() {
            cx.send_control(self.peer, &told);
        }
    }

    fn probe_all(&mut self, cx: &mut Context, now: Instant) {
        let Some(round) = &mut self.round else { return };
        round.at = now + TRY_STEP;
        if cx.session(now, &self.peer).is_none() {
            // The round begins when there is a session; it ends here if nobody waits any more.
            if !self.is_wanted(now) {
                self.round = None;
            }
            return;
        }
        let Some(left) = round.left.checked_sub(1) else {
            return self.fail(cx, now);
        };
        round.left = left;
        let tried = TRIES - left;
        let addresses = match self.candidates.neighbor {
            Some(address) if tried <= TRIES_AT_LINK => vec![address],
            _ => self.candidates.all(),
        };
        for address in addresses {
            if !cx.is_own(address) {
                self.probes.send(cx, now, &self.peer, address, BASE_MTU);
                if tried > TRIES / 2 {
                    // Tells a path that is too narrow from one that is not there.
                    self.probes.send(cx, now, &self.peer, address, 0);
                }
            }
        }
    }

    /// Asks at every address but the one in use.
    fn probe_others(&mut self, cx: &mut Context, now: Instant) {
        let used = self.active.as_ref().map(|active| active.address);
        for address in self.candidates.all() {
            if Some(address) != used && !cx.is_own(address) {
                self.probes.send(cx, now, &self.peer, address, BASE_MTU);
            }
        }
    }

    fn fail(&mut self, cx: &mut Context, now: Instant) {
        if let Some(address) = self.round.take().and_then(|round| round.narrow) {
            cx.log(Event::PathTooNarrow {
                peer: self.peer,
                address,
            });
        }
        let backoff = Duration::from_secs(1 << self.failures.min(4)).min(MAX_BACKOFF);
        self.failures += 1;
        self.not_before = now + backoff;
    }

    fn adopt(&mut self, cx: &mut Context, now: Instant, sent: &Sent, rtt: Duration, plain: bool) {
        let mut active = Active::new(cx, now, self.peer, sent.address, rtt);
        active.set_plain(cx, plain);
        self.active = Some(active);
        self.round = None;
        self.failures = 0;
        cx.log(Event::PathUp {
            peer: self.peer,
            address: sent.address,
        });
    }

    fn down(&mut self, cx: &mut Context, now: Instant, reason: &'static str) {
        let Some(active) = self.active.take() else { return };
        cx.plane.set_direct(self.peer, None);
        cx.outputs.push_back(Output::PathDown { peer: self.peer });
        cx.log(Event::PathDown {
            peer: self.peer,
            address: active.address,
            reason,
        });
        self.not_before = now + TRY_STEP;
        if is_in_use(cx, now, &self.peer) {
            self.wanted_until = self.wanted_until.max(now + WANTED);
        }
    }
}
