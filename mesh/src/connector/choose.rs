//! Whom to dial next, in a mesh where links are bounded.
//!
//! At each look: leave where asked to, if there are links enough without; give up what can't be dialled; renew and
//! probe the candidates; near links; random links; one that the mesh does not reach; ask those above the bound to
//! leave.

use super::around::Around;
use super::policy::Role;
use super::{Connector, candidates};
use crate::outbox::Outbox;
use crate::{Instant, Output, PeerId};
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::time::Duration;

/// Least time between two looks, but in need; and most.
const PACE: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Time for others to dial this router, before it dials more than its share.
const PATIENCE: Duration = Duration::from_secs(4);
/// A dial that is not through by then no longer keeps others from being begun.
const YOUNG: Duration = Duration::from_millis(1500);
/// In need: how long answers to probes are waited for, before routers are dialled that gave none.
const ANSWERS: Duration = Duration::from_millis(1500);
/// Routers that are dialled at a time.
const MAX_WANTED: usize = 24;
/// Routers that are looked at to find one of few links.
const LOOKED_AT: usize = 32;
/// Least time between two swaps of near links.
const SWAP_EVERY: Duration = Duration::from_secs(10);
/// A nearer router must be nearer by so much, in microseconds, and by half.
const LEAST_GAIN_US: u64 = 2000;
/// How long one that could not be dialled is not tried again.
const VAIN: Duration = Duration::from_secs(30);
/// Wait between two tries to reach what the mesh does not reach: at first, and at last.
const REACH_FIRST: Duration = Duration::from_secs(2);
const REACH_LAST: Duration = Duration::from_secs(30);
/// Of so many tries one is a dial: not every network lets probes pass.
const REACH_DIAL: u32 = 4;
/// Lower id's head start where two may have found each other near.
const HEAD_START: Duration = Duration::from_millis(400);

/// A router that is to be linked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// As what.
    pub(super) role: Role,
    since: Instant,
    /// A connection is there, and about to become a link or not.
    pub(super) is_connected: bool,
}

/// What is remembered between looks.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    /// Until then others may still dial this router.
    patient_until: Instant,
    /// Since then links are fewer than needed.
    need: Option<Instant>,
    swapped: Option<Instant>,
    /// Links are being brought down to this number.
    pub(super) shed_to: Option<usize>,
    /// When one that is of no use was asked to leave.
    pub(super) trimmed: Option<Instant>,
    reach: Reach,
}

/// Tries to reach routers that the mesh does not reach.
#[derive(Debug, Default)]
struct Reach {
    at: Option<Instant>,
    wait: Duration,
    tries: u32,
    asked: Option<PeerId>,
    answered: Option<PeerId>,
}

impl Chooser {
    /// A link was lost.
    pub(super) fn lost(&mut self, now: Instant) {
        self.reach.wait = REACH_FIRST;
        self.reach.at = self.reach.at.map(|at| at.min(now + REACH_FIRST));
    }

    /// A probe was answered, or not.
    pub(super) fn probed(&mut self, peer: &PeerId, is_answered: bool) {
        if self.reach.asked.as_ref() == Some(peer) {
            self.reach.asked = None;
            self.reach.answered = Some(*peer).filter(|_| is_answered);
        }
    }
}

impl Connector {
    /// Links become bounded: some of those that are there become this router's own random ones.
    pub(super) fn bind(&mut self, now: Instant, rng: &mut StdRng) {
        self.chooser = Chooser {
            patient_until: now + PATIENCE,
            ..Chooser::default()
        };
        let mut open: Vec<PeerId> = self.holds.0.keys().copied().collect();
        for _ in 0..self.bounds.random.min(open.len()) {
            let peer = open.swap_remove(rng.random_range(0..open.len()));
            if let Some(hold) = self.holds.0.get_mut(&peer) {
                hold.role = Role::Random;
            }
        }
    }

    /// All are linked with all again.
    pub(super) fn unbind(&mut self) {
        self.wanted.clear();
        self.candidates = candidates::Candidates::default();
        for hold in self.holds.0.values_mut() {
            (hold.role, hold.asked, hold.must_go) = (Role::Other, None, false);
        }
    }

    /// Brings the links in line with the bounds, as far as that can be done now.
    pub(super) fn choose(&mut self, now: Instant, around: &Around<'_>, rng: &mut StdRng, out: &mut Outbox) {
        self.leave(now);
        self.give_up(now);
        let total = self.holds.total();
        self.chooser.need = match self.chooser.need {
            None if total < self.bounds.least => Some(now),
            Some(_) if total >= self.bounds.enough => None,
            need => need,
        };
        let next = {
            let (own, holds, targets) = (self.own, &self.holds, &self.targets);
            let is_open =
                |peer: &PeerId| *peer != own && !holds.0.contains_key(peer) && !targets.is_forgotten(peer);
            let need = self.chooser.need;
            self.candidates.poll(now, around, need, is_open, rng, out)
        };
        self.wake(next);
        self.choose_near(now, around);
        self.choose_random(now, around, rng);
        self.reach_out(now, around, rng, out);
        self.shed(now, around);
        self.wake(Some(now + HEARTBEAT));
    }

    /// Gives up those wanted that can't be dialled.
    fn give_up(&mut self, now: Instant) {
        for peer in self.targets.hopeless(self.wanted.keys()) {
            let wanted = self.wanted.get(&peer);
            if wanted.is_some_and(|wanted| wanted.since < now && !wanted.is_connected) {
                self.wanted.remove(&peer);
                self.candidates.remove(&peer);
                self.avoid(peer, now + VAIN);
            }
        }
        let old = self.wanted.values().map(|wanted| wanted.since + YOUNG);
        self.wake(old.filter(|at| *at > now).min());
    }

    fn is_open(&self, peer: &PeerId) -> bool {
        *peer != self.own
            && !self.holds.0.contains_key(peer)
            && !self.wanted.contains_key(peer)
            && !self.avoided.contains_key(peer)
            && !self.shunned.contains_key(peer)
            && !self.targets.is_forgotten(peer)
    }

    fn want(&mut self, now: Instant, peer: PeerId, role: Role, around: &Around<'_>) {
        let wanted = Wanted {
            role,
            since: now,
            is_connected: false,
        };
        self.wanted.insert(peer, wanted);
        let is_calm = role == Role::Near && self.chooser.need.is_none();
        let head_start = if is_calm { HEAD_START } else { Duration::ZERO };
        self.targets.want(now, around, peer, head_start);
        self.wake(Some(now + YOUNG));
    }

    /// Dials for this role, or for any but near ones, that may still be through soon.
    fn dialling(&self, now: Instant, is_near: bool) -> usize {
        let of = self
            .wanted
            .values()
            .filter(|wanted| (wanted.role == Role::Near) == is_near);
        of.filter(|wanted| wanted.is_connected || now.since(wanted.since) < YOUNG)
            .count()
    }

    /// Near links: the nearest neighbours become them, or the nearest candidates are dialled.
    fn choose_near(&mut self, now: Instant, around: &Around<'_>) {
        if !self.candidates.is_ready(now) {
            return;
        }
        while self.holds.of(Role::Near) + self.dialling(now, true) < self.bounds.near {
            let Some((_, peer)) = self.nearest(around) else {
                return;
            };
            self.make_near(now, peer, around);
        }
        self.swap_near(now, around);
    }

    /// The nearest router that is no near one yet, and how near it is.
    fn nearest(&self, around: &Around<'_>) -> Option<(u64, PeerId)> {
        let linked = self.holds.0.iter();
        let linked = linked.filter(|(_, hold)| hold.role == Role::Other && !hold.must_go);
        let linked = linked.filter_map(|(peer, _)| Some((around.rtt_us(peer)?, *peer)));
        let measured = self.candidates.measured().filter(|(peer, _)| self.is_open(peer));
        linked.chain(measured.map(|(peer, rtt)| (rtt, peer))).min()
    }

    fn make_near(&mut self, now: Instant, peer: PeerId, around: &Around<'_>) {
        match self.holds.0.get_mut(&peer) {
            Some(hold) => (hold.role, hold.is_surplus, hold.asked) = (Role::Near, false, None),
            None => self.want(now, peer, Role::Near, around),
        }
    }

    /// Takes a much nearer one in the place of the farthest: first the new link, then the old one may go.
    fn swap_near(&mut self, now: Instant, around: &Around<'_>) {
        let near = self
            .holds
            .0
            .iter()
            .filter(|(_, hold)| hold.role == Role::Near && !hold.is_pinned);
        let farthest = near
            .filter_map(|(peer, _)| Some((around.rtt_us(peer)?, *peer)))
            .max();
        let Some((worst_us, worst)) = farthest else { return };
        if self.holds.of(Role::Near) > self.bounds.near {
            if self.holds.can_spare(now, &self.bounds) {
                self.ask(now, worst, false);
            } else if let Some(hold) = self.holds.0.get_mut(&worst) {
                hold.role = Role::Other;
            }
            return;
        }
        let is_dialling = self.wanted.values().any(|wanted| wanted.role == Role::Near);
        if is_dialling || self.chooser.swapped.is_some_and(|at| now.since(at) < SWAP_EVERY) {
            return;
        }
        let better = self.nearest(around);
        let better = better.filter(|(us, _)| us * 2 <= worst_us && us + LEAST_GAIN_US <= worst_us);
        if let Some((_, peer)) = better {
            self.chooser.swapped = Some(now);
            self.make_near(now, peer, around);
            self.wake(Some(now + PACE));
        }
    }

    /// Random links: those it always dials itself at once, what is missing besides a little later.
    fn choose_random(&mut self, now: Instant, around: &Around<'_>, rng: &mut StdRng) {
        let own = self.bounds.random.saturating_sub(self.holds.of(Role::Random));
        let missing = self.bounds.enough.saturating_sub(self.holds.total());
        let near = self.bounds.near.saturating_sub(self.holds.of(Role::Near));
        // In need near ones must not be waited for.
        let wanted = match self.chooser.need {
            Some(_) => own.max(missing),
            None if now < self.chooser.patient_until => own,
            None => own.max(missing.saturating_sub(near)),
        };
        if self.chooser.need.is_none() && wanted < missing {
            self.wake(Some(self.chooser.patient_until).filter(|at| *at > now));
        }
        for nth in self.dialling(now, false)..wanted {
            let Some(peer) = self.pick(now, around, rng) else {
                return self.wake(self.chooser.need.map(|_| now + PACE));
            };
            // No more than asked for become its own: the others may be asked to leave.
            let role = if nth < own { Role::Random } else { Role::Other };
            self.want(now, peer, role, around);
            if self.wanted.len() >= MAX_WANTED {
                return;
            }
        }
    }

    /// A router to link with, at random. In need those that are known to live come first.
    fn pick(&mut self, now: Instant, around: &Around<'_>, rng: &mut StdRng) -> Option<PeerId> {
        if let Some(need) = self.chooser.need {
            let alive = self
                .candidates
                .alive_since(need)
                .filter(|peer| self.is_open(peer));
            let alive: Vec<_> = alive.collect();
            if !alive.is_empty() {
                return alive.get(rng.random_range(0..alive.len())).copied();
            }
            if now.since(need) < ANSWERS {
                return None;
            }
        }
        let mut found = around.sample(LOOKED_AT, rng);
        found.retain(|peer| self.is_open(peer) && around.dialable(peer).next().is_some());
        let reachable = found.iter().filter(|peer| around.is_reachable(peer));
        // One that tells of few links has room. Who has least would be found by all at once.
        let has_many = |peer: &&PeerId| around.degree(peer).saturating_sub(self.bounds.most - 2);
        let best = reachable.min_by_key(has_many).copied();
        let guess = found.first().copied();
        let is_needy = self.chooser.need.is_some();
        best.or_else(|| guess.filter(|_| is_needy && self.targets.may_guess(now)))
    }

    /// Tries to reach routers that the mesh does not reach, so that its parts find together.
    fn reach_out(&mut self, now: Instant, around: &Around<'_>, rng: &mut StdRng, out: &mut Outbox) {
        let answered = self.chooser.reach.answered.take();
        if let Some(peer) = answered.filter(|peer| self.is_open(peer) && !around.is_reachable(peer)) {
            self.want(now, peer, Role::Other, around);
        }
        let at = *self.chooser.reach.at.get_or_insert(now + REACH_FIRST);
        if now < at {
            return self.wake(Some(at));
        }
        let reach = &mut self.chooser.reach;
        let wait = reach.wait.clamp(REACH_FIRST, REACH_LAST);
        reach.wait = wait * 3 / 2;
        let next = now + wait * rng.random_range(800..=1200) / 1000;
        (reach.at, reach.asked) = (Some(next), None);
        self.wake(Some(next));
        let lost = around.sample(LOOKED_AT, rng);
        let lost = lost
            .into_iter()
            .filter(|peer| self.is_open(peer) && !around.is_reachable(peer));
        let mut lost = lost.filter_map(|peer| Some((peer, *around.dialable(&peer).next()?)));
        let Some((peer, address)) = lost.next() else {
            return;
        };
        self.chooser.reach.tries += 1;
        if self.chooser.reach.tries.is_multiple_of(REACH_DIAL) {
            self.want(now, peer, Role::Other, around);
        } else {
            self.chooser.reach.asked = Some(peer);
            out.push(Output::Probe { peer, address });
        }
    }
}
