//! How ranges change hands: the first division, asking and giving, and taking over from who will not come back.

use super::body::{Grant, MAX_CLAIMS, MAX_GRANTS, MAX_RECLAIMED, Reclaimed, RingId};
use super::ranges::{Set, Span};
use super::ring::{Holder, Ring, STRANGER};
use super::{Act, Around, AskMessage, IpamEvent, Refusal};
use crate::{Instant, PeerId};
use rand::RngExt as _;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the routers that see each other must be the same before the lowest of them divides the pool.
const QUIET: Duration = Duration::from_secs(1);
/// How long an answer may take before another router is asked.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a router that had nothing is not asked again, and how often one that has little left tries to get more.
pub(super) const DRY: Duration = Duration::from_secs(2);
/// Fewer free addresses than this, and more are asked for.
const LOW: u32 = 8;

/// What a router asks others for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Something to have in hand.
    More,
    /// Something for somebody who waits.
    Some,
    /// This address.
    This(u32),
}

impl Ring {
    /// Divides the pool, if it is this router's turn: at once when somebody needs it, else when nobody came or went for
    /// a while.
    pub(super) fn found_if_due(&mut self, now: Instant, around: &dyn Around) {
        if self.state.ring.is_some() || !self.may_found(now, around) {
            return;
        }
        let (others, since) = self.seen;
        let is_quiet = others > 0 && now.since(since) >= QUIET;
        if is_quiet || !self.waiting.is_empty() {
            self.found(around);
        }
    }

    /// True if nobody else is to divide the pool.
    pub(super) fn may_found(&self, now: Instant, around: &dyn Around) -> bool {
        let others = around.reachable();
        let seen = others.len() + 1;
        let is_lowest = others.iter().all(|other| self.own < *other);
        let is_enough = self.init.is_none_or(|init| seen > init / 2);
        // There is a division, and those in it may come back.
        let is_known = self.foreign.values().any(|since| now.since(*since) < STRANGER);
        is_lowest && is_enough && !is_known && (others.is_empty() || self.has_exchanged)
    }

    /// Founds a division and gives each router that can be reached as much as it keeps.
    pub(super) fn found(&mut self, around: &dyn Around) {
        let mut id = [0; 16];
        self.rng.fill(&mut id);
        self.state.ring = Some(RingId(id));
        let size = self.pool.size();
        self.hold(
            Span::new(0, size),
            Holder {
                peer: Some(self.own),
                epoch: 1,
            },
        );
        let others: Vec<_> = around
            .reachable()
            .into_iter()
            .filter(|peer| !self.misfits.contains(peer))
            .take(MAX_GRANTS)
            .collect();
        let shares = u64::try_from(others.len()).unwrap_or(u64::MAX).saturating_add(1);
        let cut = |n: u64| u32::try_from(u64::from(size) * n / shares).unwrap_or(size);
        for (n, to) in (1..).zip(&others) {
            self.give(*to, Span::new(cut(n), cut(n + 1)));
        }
        self.acts.push_back(Act::Log(IpamEvent::Founded {
            shares: others.len() + 1,
        }));
        self.is_changed = true;
    }

    /// A range of this router's is another's from now on.
    fn give(&mut self, to: PeerId, span: Span) {
        let parts: Vec<_> = self.view.over(span).collect();
        for (part, holder) in parts {
            let epoch = holder.epoch + 1;
            self.state.grants.push(Grant {
                start: part.start,
                len: part.len(),
                epoch,
                to,
            });
            self.hold(
                part,
                Holder {
                    peer: Some(to),
                    epoch,
                },
            );
        }
    }

    /// A record of this router's tells of grants that its disk may have forgotten. Some it has not: said twice, they might
    /// be more than anybody reads.
    pub(super) fn remember_grants(&mut self, grants: &[Grant]) {
        for grant in grants {
            if !self.state.grants.contains(grant) {
                self.state.grants.push(*grant);
            }
        }
    }

    /// Forgets grants of which their receivers' records tell.
    pub(super) fn prune_grants(&mut self) {
        let grants = std::mem::take(&mut self.state.grants);
        let is_open = |grant: &Grant| {
            let holder = Holder {
                peer: Some(grant.to),
                epoch: grant.epoch,
            };
            let mut claimed = Set::default();
            let claims = self.member(&grant.to).map_or(&[][..], |body| &body.claims);
            claims
                .iter()
                .filter(|claim| claim.epoch >= grant.epoch)
                .for_each(|claim| claimed.add(claim.span()));
            let mut parts = self.view.over(grant.span()).filter(|(_, other)| *other == holder);
            parts.any(|(part, _)| !claimed.gaps(part).is_empty())
        };
        self.state.grants = grants.into_iter().filter(is_open).collect();
    }

    /// True if more addresses shall be asked for.
    pub(super) fn is_low(&self) -> bool {
        let used = u32::try_from(self.space.used().len()).unwrap_or(u32::MAX);
        self.state.ring.is_some()
            && self.space.free() < LOW.max(used / 8).min(self.pool.size() / 16)
            && self.has_donor()
    }

    /// What another must have to be asked. Without need only those are that have far more: else the last few addresses
    /// of a pool would go round and round.
    fn enough(&self, is_needed: bool) -> u32 {
        if is_needed { 2 } else { 4 * (self.space.free() + 1) }
    }

    /// True if somebody may have something to give.
    fn has_donor(&self) -> bool {
        self.book.keys().any(|peer| self.has_enough(peer))
    }

    /// True if another has so much that it may be asked without need.
    pub(super) fn has_enough(&self, peer: &PeerId) -> bool {
        let enough = self.enough(false);
        *peer != self.own && self.member(peer).is_some_and(|body| body.free >= enough)
    }

    /// Asks for more before there is nothing left.
    pub(super) fn ask_if_low(&mut self, now: Instant, around: &dyn Around) {
        if self.is_low() {
            self.ask(now, around, Want::More);
        }
    }

    /// Asks a router for space. False if there is nobody to ask.
    pub(super) fn ask(&mut self, now: Instant, around: &dyn Around, want: Want) -> bool {
        let at = match want {
            Want::This(index) => Some(index),
            Want::More | Want::Some => None,
        };
        if self.asked.is_some_and(|(_, since)| now.since(since) < ANSWER) {
            return true;
        }
        // Who has just entered a division says so first: as long as others think it in another, they give it nothing.
        if self.state.ring.is_some() && self.publish.is_some() {
            return true;
        }
        if let Some((silent, _)) = self.asked.take() {
            self.dry.insert(silent, now);
        }
        self.dry.retain(|_, since| now.since(*since) < DRY);
        let has_room = self.has_room();
        let to = match (self.state.ring, at) {
            // Who is to divide the pool is asked to do it now.
            (None, _) => around
                .reachable()
                .into_iter()
                .min()
                .filter(|lowest| *lowest < self.own),
            (Some(_), Some(index)) if has_room => self.view.get(index).and_then(|holder| holder.peer),
            (Some(_), None) if has_room => self.donor(around, want == Want::Some),
            (Some(_), _) => None,
        };
        let Some(to) = to.filter(|to| *to != self.own && around.is_reachable(to)) else {
            return false;
        };
        if at.is_some() && self.dry.contains_key(&to) {
            return false;
        }
        self.asked = Some((to, now));
        let ring = self.state.ring;
        self.acts.push_back(Act::Tell {
            to,
            message: AskMessage::Space { ring, at },
        });
        true
    }

    /// Waits no longer for an answer that has not come in time.
    pub(super) fn stop_waiting(&mut self, now: Instant) {
        if let Some((silent, _)) = self.asked.take_if(|(_, since)| now.since(*since) >= ANSWER) {
            self.dry.insert(silent, now);
        }
    }

    /// Whom to ask: one at random of those that have most, so that not all ask the same.
    fn donor(&mut self, around: &dyn Around, is_needed: bool) -> Option<PeerId> {
        let free = |peer: &PeerId| self.member(peer).map_or(0, |body| body.free);
        let enough = self.enough(is_needed);
        let has_some = |peer: &&PeerId| {
            **peer != self.own
                && free(peer) >= enough
                && !self.dry.contains_key(*peer)
                && around.is_reachable(peer)
        };
        let donors: Vec<_> = self
            .book
            .keys()
            .filter(has_some)
            .map(|peer| (*peer, free(peer)))
            .collect();
        let most = donors.iter().map(|(_, free)| *free).max()?;
        let best: Vec<_> = donors.into_iter().filter(|(_, free)| *free >= most / 4).collect();
        let at = self.rng.random_range(0..best.len());
        best.get(at).map(|(peer, _)| *peer)
    }

    /// Why this router has no address to give out: nobody has, or those that have some did not give it yet.
    pub(super) fn nothing_left(&self, around: &dyn Around) -> Refusal {
        // Of one that has not said anything yet it is not known.
        let has_some = |peer: &PeerId| self.member(peer).is_none_or(|body| body.free > 1);
        let owners: BTreeSet<_> = self.view.iter().filter_map(|(_, holder)| holder.peer).collect();
        let others = owners
            .into_iter()
            .filter(|peer| *peer != self.own && !self.is_given_up(peer));
        // What it has promised not to use is not lost: it takes some back.
        let mut has_any = false;
        if !self.spare.promised().is_empty() {
            return Refusal::NoSpaceYet;
        }
        for peer in others.filter(has_some) {
            if around.is_reachable(&peer) {
                return Refusal::NoSpaceYet;
            }
            has_any = true;
        }
        if has_any {
            Refusal::Unreachable
        } else {
            Refusal::Full
        }
    }

    /// A router asks, or answers.
    pub(crate) fn told_by(&mut self, now: Instant, from: PeerId, message: &AskMessage, around: &dyn Around) {
        match message {
            AskMessage::Space { ring, at } => self.asked_by(now, from, *ring, *at, around),
            AskMessage::Nothing => {
                if self.asked.is_some_and(|(asked, _)| asked == from) {
                    self.asked = None;
                    self.dry.insert(from, now);
                }
            }
        }
        self.look(now, around);
    }

    /// Whether this router may own one range more: a record of more than [`MAX_CLAIMS`] says nothing to anybody.
    pub(super) fn has_room(&self) -> bool {
        self.owned().count() + 1 < MAX_CLAIMS
    }

    fn asked_by(
        &mut self,
        now: Instant,
        from: PeerId,
        ring: Option<RingId>,
        at: Option<u32>,
        around: &dyn Around,
    ) {
        // Who is named as the asker is known by trust in each hop: nothing is given to somebody who may not exist.
        if from == self.own || !self.is_settled() || !around.is_reachable(&from) {
            return;
        }
        if self.state.ring.is_none() && self.may_found(now, around) {
            self.found(around);
        }
        // What its receiver has claimed since is no open grant any more: else who asks again would never be answered.
        self.prune_grants();
        // Who is in another division finds out by our record; who has been given something, too.
        let has_open = self.state.grants.iter().any(|grant| grant.to == from);
        if self.state.ring.is_none()
            || (ring.is_some() && ring != self.state.ring)
            || (has_open && at.is_none())
        {
            return;
        }
        let room = MAX_GRANTS.saturating_sub(self.state.grants.len());
        let avoid = self.avoided(now, around);
        let span = match at {
            // What is left of a range that is given from may be one range more.
            _ if !self.has_room() => None,
            Some(index) if self.space.is_free(index) && !avoid.has(index) => {
                Some(Span::new(index, index + 1))
            }
            Some(index) => {
                if self.space.is_free(index) {
                    self.want_back(index);
                }
                None
            }
            None => self.space.half(&avoid, u32::MAX),
        };
        match span.filter(|span| self.view.over(*span).count() <= room) {
            Some(span) => self.give(from, span),
            None => self.acts.push_back(Act::Tell {
                to: from,
                message: AskMessage::Nothing,
            }),
        }
    }

    /// Takes over what a router owned that will not come back. Returns how many addresses that were.
    ///
    /// # Errors
    /// If it can be reached, or nothing is known of it.
    pub(crate) fn reclaim(
        &mut self,
        now: Instant,
        peer: PeerId,
        around: &dyn Around,
    ) -> Result<u32, Refusal> {
        if peer == self.own || around.is_reachable(&peer) {
            return Err(Refusal::StillThere);
        }
        if !self.is_settled() || self.state.ring.is_none() {
            return Err(self.unready(around));
        }
        let held: Vec<_> = self
            .view
            .iter()
            .filter(|(_, holder)| holder.peer == Some(peer))
            .collect();
        let version = self
            .version(&peer)
            .map(|version| (version.epoch, version.counter));
        if held.is_empty() && version.is_none() {
            return Err(Refusal::Unknown);
        }
        if self.state.reclaimed.len() >= MAX_RECLAIMED {
            self.state.reclaimed.remove(0);
        }
        self.state.reclaimed.push(Reclaimed {
            peer,
            version: version.unwrap_or_default(),
            whole: true,
        });
        self.state.fence.remove(&peer);
        self.is_changed = true;
        let mut taken = 0;
        for (span, holder) in held {
            // What somebody else claims, as the dead router gave it away unheard, is that one's.
            let mut claimed = Set::default();
            for body in self.denied.iter().filter_map(|other| self.member(other)) {
                let later = body.claims.iter().filter(|claim| claim.epoch > holder.epoch);
                later.for_each(|claim| claimed.add(claim.span()));
            }
            for part in claimed.gaps(span) {
                // Asked again when some of it has been given on, it takes the rest.
                if !self.has_room() {
                    break;
                }
                self.hold(
                    part,
                    Holder {
                        peer: Some(self.own),
                        epoch: holder.epoch + 1,
                    },
                );
                taken += part.len();
            }
        }
        self.retry_denied();
        self.look(now, around);
        Ok(taken)
    }
}
