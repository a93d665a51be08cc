//! Who owns what, from what the routers of a division say.
//!
//! A range changes hands only by its owner: a claim of another counts once the owner has granted it, or its newest
//! record no longer claims the range itself, or the claimant took it over from an owner that was given up. Each change
//! of hands raises the range's epoch, and lower epochs change nothing: what is played back late does no harm.

use super::body::{Claim, Grant, IpamBody, MAX_EPOCH, Reclaimed};
use super::ranges::{Set, Span};
use super::ring::{Holder, Ring, STRANGER};
use super::{Act, Around, IpamEvent};
use crate::{Instant, PeerId};

/// Epochs from here on are not taken over: one is always added to a range's when it changes hands, and its record must
/// be readable then.
const MOST_EPOCHS: u64 = MAX_EPOCH / 2;

impl Ring {
    /// Takes the statements of routers that could not be taken before; one may make way for another.
    pub(super) fn retry_denied(&mut self) {
        loop {
            let mut is_done = true;
            for origin in std::mem::take(&mut self.denied) {
                let (has_changed, is_denied) = self.apply(origin);
                is_done &= !has_changed;
                if is_denied {
                    self.denied.insert(origin);
                }
            }
            if is_done || self.denied.is_empty() {
                return;
            }
        }
    }

    /// Takes a router's new record; it may make way for what others said before.
    pub(super) fn heed(&mut self, origin: PeerId) {
        self.denied.remove(&origin);
        let (has_changed, is_denied) = self.apply(origin);
        let makes_way = has_changed
            || self.told(&origin).is_some_and(|body| !body.reclaimed.is_empty())
            || self.taken_over().any(|one| one.peer == origin)
            || self.has_given_up(&origin);
        if is_denied {
            self.denied.insert(origin);
        }
        if makes_way {
            self.retry_denied();
        }
    }

    /// True if a router is thought to own something that it no longer claims.
    fn has_given_up(&self, origin: &PeerId) -> bool {
        if self.denied.is_empty() {
            return false;
        }
        let mut claimed = Set::default();
        let claims = self.member(origin).map_or(&[][..], |body| &body.claims);
        claims.iter().for_each(|claim| claimed.add(claim.span()));
        let mut owned = self
            .view
            .iter()
            .filter(|(_, holder)| holder.peer == Some(*origin));
        owned.any(|(span, _)| !claimed.gaps(span).is_empty())
    }

    /// Takes what a router says. Whether anything changed, and whether something was denied.
    fn apply(&mut self, origin: PeerId) -> (bool, bool) {
        let Some(body) = self.member(&origin).cloned() else {
            return (false, false);
        };
        let (mut has_changed, mut is_denied) = (false, false);
        for grant in &body.grants {
            let (changed, denied) = self.apply_grant(origin, grant);
            (has_changed, is_denied) = (has_changed | changed, is_denied | denied);
        }
        for claim in &body.claims {
            let (changed, denied) = self.apply_claim(origin, claim, &body);
            (has_changed, is_denied) = (has_changed | changed, is_denied | denied);
        }
        (has_changed, is_denied)
    }

    /// A range, part by part, with who has it.
    fn parts(&self, span: Span) -> Vec<(Span, Holder)> {
        let unknown = Holder { peer: None, epoch: 0 };
        let gaps = self.view.gaps(span).into_iter().map(|gap| (gap, unknown));
        self.view.over(span).chain(gaps).collect()
    }

    fn apply_grant(&mut self, origin: PeerId, grant: &Grant) -> (bool, bool) {
        let (mut has_changed, mut is_denied) = (false, false);
        if grant.epoch >= MOST_EPOCHS {
            return (false, false);
        }
        let holder = Holder {
            peer: Some(grant.to),
            epoch: grant.epoch,
        };
        for (span, old) in self.parts(grant.span()) {
            if old.epoch >= grant.epoch {
                continue;
            }
            // This router itself speaks here only of what it has forgotten.
            let is_due = old.peer == Some(origin) || origin == self.own || self.assents(old.peer, span);
            if is_due && grant.to == self.own {
                // It may be an old one, and the disk may have forgotten that the range was given on since.
                if !self.is_settled() || !self.has_room() {
                    is_denied = true;
                    continue;
                }
                for part in self.claimed_after(span, grant.epoch).gaps(span) {
                    self.hold(part, holder);
                    has_changed = true;
                }
            } else if is_due {
                self.hold(span, holder);
                has_changed = true;
            } else {
                is_denied = true;
            }
        }
        (has_changed, is_denied)
    }

    /// What others say they own or have given of a range since this epoch.
    fn claimed_after(&self, span: Span, epoch: u64) -> Set {
        let mut claimed = Set::default();
        for body in self
            .book
            .keys()
            .filter(|peer| **peer != self.own)
            .filter_map(|peer| self.member(peer))
        {
            let claims = body.claims.iter().filter(|claim| claim.epoch > epoch);
            claims.for_each(|claim| claimed.add(claim.span().both(span)));
            let grants = body.grants.iter().filter(|grant| grant.epoch > epoch);
            grants.for_each(|grant| claimed.add(grant.span().both(span)));
        }
        claimed
    }

    fn apply_claim(&mut self, origin: PeerId, claim: &Claim, body: &IpamBody) -> (bool, bool) {
        let (mut has_changed, mut is_denied) = (false, false);
        if claim.epoch >= MOST_EPOCHS {
            return (false, false);
        }
        let holder = Holder {
            peer: Some(origin),
            epoch: claim.epoch,
        };
        for (span, old) in self.parts(claim.span()) {
            if old == holder || old.epoch > claim.epoch {
                continue;
            }
            let took_over = old
                .peer
                .is_some_and(|old| body.reclaimed.iter().any(|one| one.peer == old));
            let is_due = if old.epoch == claim.epoch {
                // Two routers took it over at once, without hearing of each other: the lower one has it.
                !body.reclaimed.is_empty() && old.peer.is_none_or(|old| origin < old)
            } else {
                old.peer == Some(origin) || took_over || origin == self.own || self.assents(old.peer, span)
            };
            if is_due {
                if old.peer == Some(self.own) {
                    self.acts.push_back(Act::Log(IpamEvent::Lost {
                        to: origin,
                        count: span.len(),
                    }));
                }
                self.hold(span, holder);
                has_changed = true;
            } else {
                is_denied = true;
            }
        }
        (has_changed, is_denied)
    }

    /// True if a router, by what was last heard of it, does not claim any of a range (any more).
    fn assents(&self, peer: Option<PeerId>, span: Span) -> bool {
        let Some(peer) = peer else { return true };
        if self.is_given_up(&peer) || self.has_left(&peer) {
            return true;
        }
        let claims = self.member(&peer).map(|body| &body.claims);
        peer != self.own
            && claims.is_none_or(|claims| claims.iter().all(|claim| claim.span().both(span).is_empty()))
    }

    /// True if somebody in the same division took over what a router owned: whatever it says, it is not the owner.
    pub(super) fn is_given_up(&self, peer: &PeerId) -> bool {
        self.taken_over().any(|one| one.whole && one.peer == *peer)
    }

    /// True if somebody took over what a router had promised not to use. Which of it, and to whom that has been given on
    /// since, its epoch tells: nobody but the owner, or who took over from it, has anything to give of a greater one. By what
    /// the router promises now nothing can be told, once it is back.
    fn has_left(&self, peer: &PeerId) -> bool {
        self.taken_over().any(|one| one.peer == *peer)
    }

    /// From whom somebody in the same division took over.
    fn taken_over(&self) -> impl Iterator<Item = &Reclaimed> {
        let others = self.reclaimers.iter().filter_map(|by| self.member(by));
        self.state
            .reclaimed
            .iter()
            .chain(others.flat_map(|body| &body.reclaimed))
    }

    /// Works out anew what is not to be given out though it is owned: what containers of others have, and what others
    /// claim against this router.
    fn renew_avoid(&mut self) {
        self.is_avoid_stale = false;
        if self.strayers.is_empty() && self.denied.is_empty() {
            return self.avoid.clear();
        }
        let mut avoid = Set::default();
        for (origin, version) in self
            .strayers
            .iter()
            .filter_map(|peer| Some((peer, self.version(peer)?)))
        {
            if *origin == self.own || self.is_reclaimed(origin, (version.epoch, version.counter)) {
                continue;
            }
            for (start, len) in self.member(origin).map_or(&[][..], |body| &body.strays) {
                avoid.add(Span::new(*start, start + len));
            }
        }
        for origin in &self.denied {
            for claim in self.member(origin).map_or(&[][..], |body| &body.claims) {
                for (span, holder) in self.view.over(claim.span()) {
                    if holder.peer == Some(self.own) && holder.epoch <= claim.epoch {
                        avoid.add(span);
                    }
                }
            }
        }
        self.avoid = avoid;
    }

    /// The same, and what routers of another division claim, as long as they can be reached or were lately.
    pub(super) fn avoided(&mut self, now: Instant, around: &dyn Around) -> Set {
        if self.is_avoid_stale {
            self.renew_avoid();
        }
        let mut avoid = self.avoid.clone();
        self.spare.promised().spans().for_each(|span| avoid.add(span));
        for (peer, since) in &self.foreign {
            if now.since(*since) >= STRANGER && !around.is_reachable(peer) {
                continue;
            }
            let body = self.told(peer).filter(|body| body.pool == self.pool);
            let Some((body, version)) = body.zip(self.version(peer)) else {
                continue;
            };
            if !self.is_reclaimed(peer, (version.epoch, version.counter)) {
                body.claims.iter().for_each(|claim| avoid.add(claim.span()));
                body.strays
                    .iter()
                    .for_each(|(start, len)| avoid.add(Span::new(*start, start + len)));
            }
        }
        avoid
    }
}
