//! Free addresses that others may take over when their owner is gone, with nobody to say so.
//!
//! An owner promises in its record to use none of its *spare* addresses. It takes some back by a record that promises
//! less, and uses them only when it has seen a majority of the division's routers for [`KNOWN`] since: they have that record
//! then. So whoever takes over what the last record promised takes nothing that is in use, whenever the owner was cut
//! off, and for however long: no clock is compared with another's.
//!
//! A majority that has been together for the time of [`Settings::reclaim`](super::Settings) takes over what routers
//! promised that none of it could reach all that time; the lowest of it does. What those had in use stays theirs.

use super::body::{MAX_RECLAIMED, MAX_SPARE, Reclaimed};
use super::ranges::{Set, Span};
use super::ring::{Holder, Ring};
use super::space::Space;
use super::{Act, Around, IpamEvent};
use crate::{Instant, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a majority must have been seen after a record was issued for it to be known there: what was lost on its way is
/// found by comparing by then.
pub(super) const KNOWN: Duration = Duration::from_secs(10);
/// So many addresses are kept for use at once, or as many as are in use, if that is more.
const RESERVE: u32 = 256;

/// What a router promised, and whom it misses.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// Not used, nor given away.
    promised: Set,
    /// What the next record promises; all of it is promised already.
    told: Set,
    /// Since when that is in a record; `None`: it is not yet.
    issued: Option<Instant>,
    /// An address that somebody wants out of what is promised.
    wanted: Option<u32>,
    /// Since when a majority can be reached.
    together: Option<Instant>,
    /// Who can't be reached, since when.
    away: BTreeMap<PeerId, Instant>,
}

impl Spare {
    pub(super) fn restore(promised: &[(u32, u32)]) -> Self {
        let mut spare = Self::default();
        spare.add(promised);
        spare.told = spare.promised.clone();
        spare
    }

    fn add(&mut self, spans: &[(u32, u32)]) {
        for (start, len) in spans {
            self.promised.add(Span::new(*start, start.saturating_add(*len)));
        }
    }

    pub(super) fn promised(&self) -> &Set {
        &self.promised
    }

    pub(super) fn told(&self) -> Vec<(u32, u32)> {
        pairs(&self.told)
    }
}

impl Ring {
    /// A record was issued.
    pub(super) fn spare_told(&mut self, now: Instant) {
        self.spare.issued.get_or_insert(now);
    }

    /// A record of this router's promised what its disk has forgotten.
    pub(super) fn remember_spare(&mut self, spans: &[(u32, u32)]) {
        self.spare.add(spans);
        self.promise(self.spare.promised.clone());
    }

    /// Takes an address out of what is promised; it may take until it can be used.
    pub(super) fn want_back(&mut self, index: u32) {
        self.spare.wanted = Some(index);
    }

    /// Looks after what is promised, and after what others did.
    pub(super) fn tend_spare(&mut self, now: Instant, around: &dyn Around) {
        if self.reclaim_after.is_none() && self.spare.promised.is_empty() {
            return;
        }
        self.see(now, around);
        self.keep_back(now);
        let owned: Vec<_> = self.owned().map(|(span, _)| span).collect();
        if let Some(told) = self.choice(&owned) {
            self.promise(told);
        }
        self.forget_returned();
        self.take_over(now, around);
    }

    /// Notes whether a majority is together, and who is missed.
    fn see(&mut self, now: Instant, around: &dyn Around) {
        let others = self.book.keys().filter(|peer| **peer != self.own);
        let members = others.filter(|peer| self.member(peer).is_some() && !self.is_given_up(peer));
        let (near, far): (BTreeSet<_>, BTreeSet<_>) =
            members.copied().partition(|peer| around.is_reachable(peer));
        if near.len() < far.len() {
            self.spare.together = None;
            self.spare.away.clear();
            return;
        }
        self.spare.together.get_or_insert(now);
        self.spare.away.retain(|peer, _| far.contains(peer));
        for peer in far {
            self.spare.away.entry(peer).or_insert(now);
        }
    }

    /// What the last record no longer promises may be used once it is known.
    fn keep_back(&mut self, now: Instant) {
        let spare = &mut self.spare;
        let since = spare
            .issued
            .zip(spare.together)
            .map(|(issued, together)| issued.max(together));
        if spare.told != spare.promised && since.is_some_and(|since| now.since(since) >= KNOWN) {
            spare.promised = spare.told.clone();
            self.changes.spare(self.vni, &pairs(&self.spare.promised));
        }
    }

    /// What to promise from now on; `None`: as before.
    fn choice(&mut self, owned: &[Span]) -> Option<Set> {
        let mut own = Set::default();
        owned.iter().for_each(|span| own.add(*span));
        let mut told = Set::default();
        for span in self.spare.told.spans() {
            own.over(span).for_each(|(part, ())| told.add(part));
        }
        if let Some(wanted) = self.spare.wanted.take() {
            told.remove(Span::new(wanted, wanted + 1));
        }
        let used = u32::try_from(self.space.used().len()).unwrap_or(u32::MAX);
        let free = self.space.free();
        // Rounded up: of the last few some must be left for use, and of one it is that one.
        let reserve = RESERVE.max(used).min(free.div_ceil(2));
        let kept = free.saturating_sub(count(&told));
        if self.reclaim_after.is_none() || (self.seen.0 == 0 && self.book.len() < 2) {
            told.clear();
        } else if kept < reserve.div_ceil(2) || kept >= reserve.saturating_mul(2) {
            told = choose(&self.space, reserve);
        }
        (told != self.spare.told).then_some(told)
    }

    /// The next record promises this.
    fn promise(&mut self, told: Set) {
        for span in told.spans() {
            self.spare.promised.add(span);
        }
        self.spare.told = told;
        self.spare.issued = None;
        self.changes.spare(self.vni, &pairs(&self.spare.promised));
        self.is_changed = true;
    }

    /// Who is back and says itself what it owns need not be spoken of any more.
    fn forget_returned(&mut self) {
        let is_back = |one: &Reclaimed| {
            let version = self
                .version(&one.peer)
                .map(|version| (version.epoch, version.counter));
            let claims = self.member(&one.peer).map_or(&[][..], |body| &body.claims);
            // Until it has heard who owns now what was taken from it, and maybe given on.
            let mut parts = claims.iter().flat_map(|claim| self.view.over(claim.span()));
            let knows = parts.all(|(_, holder)| holder.peer == Some(one.peer));
            !one.whole && version.is_some_and(|version| version > one.version) && knows
        };
        let before = self.state.reclaimed.len();
        let left: Vec<_> = self
            .state
            .reclaimed
            .iter()
            .filter(|one| !is_back(one))
            .copied()
            .collect();
        self.is_changed |= left.len() != before;
        self.state.reclaimed = left;
    }

    /// Takes over what those promised that were missed for long.
    fn take_over(&mut self, now: Instant, around: &dyn Around) {
        let Some((after, together)) = self.reclaim_after.zip(self.spare.together) else {
            return;
        };
        let is_near = |peer: &&PeerId| self.member(peer).is_some() && around.is_reachable(peer);
        let is_lowest = self.book.keys().filter(is_near).all(|peer| self.own < *peer);
        if now.since(together) < after || !is_lowest || !self.is_settled() {
            return;
        }
        let is_long_away = |(_, since): &(&PeerId, &Instant)| now.since(**since) >= after;
        let away: Vec<_> = self
            .spare
            .away
            .iter()
            .filter(is_long_away)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in away {
            self.take_spare_of(peer);
        }
        // Others may have said the same, or claim what was in the way.
        if self.is_changed {
            self.retry_denied();
        }
    }

    fn take_spare_of(&mut self, peer: PeerId) {
        let spans = self.member(&peer).map_or(&[][..], |body| &body.spare);
        let is_its = |(_, holder): &(Span, Holder)| holder.peer == Some(peer);
        let parts: Vec<_> = spans
            .iter()
            .flat_map(|(start, len)| self.view.over(Span::new(*start, start.saturating_add(*len))))
            .filter(is_its)
            .collect();
        if parts.is_empty() || self.state.reclaimed.len() >= MAX_RECLAIMED {
            return;
        }
        let version = self
            .version(&peer)
            .map(|version| (version.epoch, version.counter));
        self.state.reclaimed.push(Reclaimed {
            peer,
            version: version.unwrap_or_default(),
            whole: false,
        });
        let mut taken = 0;
        for (part, holder) in parts {
            if !self.has_room() {
                break;
            }
            let holder = Holder {
                peer: Some(self.own),
                epoch: holder.epoch + 1,
            };
            self.hold(part, holder);
            taken += part.len();
        }
        self.is_changed = true;
        self.acts.push_back(Act::Log(IpamEvent::TookOver {
            from: peer,
            count: taken,
        }));
    }
}

/// The upper parts of the longest free ranges, so that so many addresses are left for use.
fn choose(space: &Space, reserve: u32) -> Set {
    let mut longest: Vec<_> = space.fresh().collect();
    longest.sort_unstable_by_key(|span| std::cmp::Reverse(span.len()));
    longest.truncate(MAX_SPARE);
    longest.sort_unstable_by_key(|span| span.start);
    let mut spare = Set::default();
    longest.iter().for_each(|span| spare.add(*span));
    let mut missing = reserve.saturating_sub(space.free() - count(&spare));
    // Those that are given out next.
    for span in longest {
        let len = span.len().min(missing);
        spare.remove(Span::new(span.start, span.start + len));
        missing -= len;
    }
    spare
}

fn count(set: &Set) -> u32 {
    set.spans().map(Span::len).sum()
}

fn pairs(set: &Set) -> Vec<(u32, u32)> {
    set.spans().map(|span| (span.start, span.len())).collect()
}
