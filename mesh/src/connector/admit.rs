//! Who is taken in, who is named to others, who is asked to leave.

use super::around::Around;
use super::policy::Role;
use super::{Act, Connector, Mode};
use crate::{Instant, PeerId};
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::Duration;

/// Who has few links and comes back within this time has found nobody else, or is to be linked with this router and
/// no other.
const TURNED_AWAY: Duration = Duration::from_secs(120);
/// Routers of which it is remembered that they were turned away.
const MAX_TURNED_AWAY: usize = 4096;
/// Routers that are named to one that is turned away.
const NAMED: usize = 8;
/// How long one that had no room, or was asked to leave, is not dialled again.
pub(super) const LEFT: Duration = Duration::from_secs(20);
/// How often one is asked to leave because there are more links than aimed at.
const TRIM_EVERY: Duration = Duration::from_secs(3);
/// And not while routers become known: there must have been none for so long.
const STILL: Duration = Duration::from_secs(5);
/// Those asked to leave at a time.
const MAX_ASKED: usize = 8;

/// What is remembered of those that dialled this router.
#[derive(Debug, Default)]
pub(super) struct Callers {
    turned_away: BTreeMap<PeerId, Instant>,
    /// Let in although there was no room, before their links are up.
    surplus: BTreeMap<PeerId, Instant>,
}

impl Callers {
    /// Whether this one was let in although there was no room.
    pub(super) fn take(&mut self, peer: &PeerId) -> bool {
        self.surplus.remove(peer).is_some()
    }
}

impl Connector {
    /// Whether a router that dialled this one is let in. `links`: how many there are, also those that only begin.
    pub(crate) fn admit(&mut self, now: Instant, peer: PeerId, links: usize, around: &Around<'_>) -> bool {
        let is_ours = self.holds.0.contains_key(&peer)
            || self.wanted.contains_key(&peer)
            || peer == self.own
            || self.targets.is_given(&peer);
        let is_bounded = self.mode == Mode::Bounded;
        let has_room = links < self.bounds.hard && (!is_bounded || self.holds.has_room(&self.bounds, links));
        if is_ours || has_room {
            return true;
        }
        let is_recent = |at: &mut Instant| now.since(*at) < TURNED_AWAY;
        self.callers.turned_away.retain(|_, at| is_recent(at));
        self.callers.surplus.retain(|_, at| is_recent(at));
        let is_needy = around.degree(&peer) < self.bounds.least;
        if is_needy && links < self.bounds.hard && self.callers.turned_away.contains_key(&peer) {
            self.callers.surplus.insert(peer, now);
            return true;
        }
        if self.callers.turned_away.len() < MAX_TURNED_AWAY {
            self.callers.turned_away.insert(peer, now);
        }
        false
    }

    /// Some routers for one that is turned away: at random, those with few links first.
    pub(crate) fn others(&self, peer: &PeerId, around: &Around<'_>, rng: &mut StdRng) -> Vec<PeerId> {
        let mut found = around.sample(8 * NAMED, rng);
        found.retain(|other| {
            let is_there = around.is_reachable(other) || self.holds.0.contains_key(other);
            *other != *peer && *other != self.own && is_there
        });
        if self.mode == Mode::Bounded {
            found.sort_by_key(|other| around.degree(other) >= self.bounds.target);
        }
        found.truncate(NAMED);
        found
    }

    /// A router that was dialled has no room and named others: there is no hurry to ask it again.
    pub(crate) fn turned_away(&mut self, now: Instant, peer: &PeerId) {
        self.changed = true;
        self.wanted.remove(peer);
        if self.discovery {
            self.size.hinted = Some(now);
            self.targets.turned_away(peer);
            self.avoid(*peer, now + LEFT);
        }
    }

    /// A neighbour asks this router to leave.
    pub(crate) fn asked(&mut self, now: Instant, peer: &PeerId, must: bool) {
        if self.discovery {
            self.size.hinted = Some(now);
            self.changed = true;
            self.holds.note_asked(peer, must);
        }
    }

    /// Leaves the neighbours that asked for it, as far as there are links enough without.
    pub(super) fn leave(&mut self, now: Instant) {
        for peer in self.holds.to_leave(now, &self.bounds) {
            self.acts.push(Act::Leave(peer));
            // The core closes the link, and tells; it must not count until then.
            self.holds.0.remove(&peer);
            self.targets.turned_away(&peer);
            self.avoid(peer, now + LEFT);
        }
    }

    /// Asks those above the bound to leave, and now and then one of those that were not aimed at.
    pub(super) fn shed(&mut self, now: Instant, around: &Around<'_>) {
        let total = self.holds.total();
        let goal = match self.chooser.shed_to {
            Some(goal) if total <= goal => None,
            None if total > self.bounds.most + self.bounds.most / 3 => Some(self.bounds.target),
            None if total > self.bounds.most => Some(self.bounds.most),
            goal => goal,
        };
        self.chooser.shed_to = goal;
        let must = goal.is_some();
        let goal = goal.unwrap_or(self.bounds.target);
        let is_trimmed = self.chooser.trimmed.is_some_and(|at| now.since(at) < TRIM_EVERY);
        // While newcomers dial, what is brought down now is full again a moment later.
        let is_growing = self.size.grown.is_some_and(|at| now.since(at) < STILL);
        if total <= goal || !must && (is_trimmed || is_growing) {
            return;
        }
        if !must {
            self.chooser.trimmed = Some(now);
        }
        let is_used = |peer: &PeerId| around.spread.is_used(peer);
        let victims = self.holds.victims(now, goal, is_used, |peer| around.degree(peer));
        let victims = victims.into_iter().filter(|peer| must || !is_used(peer));
        for peer in victims.take(if must { MAX_ASKED } else { 1 }) {
            self.ask(now, peer, must);
        }
        self.wake(Some(now + super::policy::ASKED));
    }

    /// Asks a neighbour to leave.
    pub(super) fn ask(&mut self, now: Instant, peer: PeerId, must: bool) {
        if let Some(hold) = self.holds.0.get_mut(&peer) {
            hold.role = Role::Other;
            hold.asked = Some(now);
            self.acts.push(Act::Ask { peer, must });
        }
    }
}
