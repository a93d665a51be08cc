//! Several links with one router.
//!
//! Two of the same run came from dialling each other at once: both ends keep the one of lower
//! [rank](super::Link::rank) and close the other as soon as the kept one has proven alive after the other came
//! up. Nothing is closed on the strength of a link of which the other end may know no more.
//!
//! Two of different runs: either the router was started again, or two routers have one identity. The old link
//! gets a second to answer a ping. If it does, the newcomer is refused; if not, the old link is closed.

use super::state::Phase;
use super::table::{Happened, Links};
use crate::outbox::Outbox;
use crate::wire::News;
use crate::{DropReason, Instant, LinkId, PeerId};
use std::time::Duration;

/// Time for an old link to prove itself against a newcomer of another run.
pub(crate) const CHALLENGE: Duration = Duration::from_secs(1);

impl Links {
    /// A link has its hello, or won its challenge: take it into use, unless an older run's link stands against.
    pub(super) fn settle(&mut self, now: Instant, id: LinkId, out: &mut Outbox) {
        let Some(newcomer) = self.links.get(&id) else {
            return;
        };
        let (peer, instance) = (newcomer.peer, newcomer.instance());
        let keepalive = self.keepalive;
        let is_rival = |other: &&mut super::Link| other.peer == peer && other.id != id && other.is_up();
        if let Some(old) = self
            .links
            .values_mut()
            .filter(is_rival)
            .find(|old| old.instance() != instance)
        {
            let challenge = Phase::Challenged {
                until: now + CHALLENGE,
                old: old.id,
                ping: old.ping(now, (keepalive, true), News::default(), out),
            };
            return self.set_phase(id, challenge);
        }
        // Every link of the same run must prove itself anew, so that the worse one can be closed.
        for other in self.links.values_mut().filter(is_rival) {
            other.ping(now, (keepalive, true), News::default(), out);
        }
        self.set_phase(id, Phase::Up { since: now });
        let is_second = self.primary.contains_key(&peer);
        if let Some(link) = self.links.get_mut(&id) {
            link.heard = now;
            link.ping(now, (keepalive, is_second), News::default(), out);
        }
        self.choose(peer, "replaced");
    }

    /// A link answered the ping with this number, asked then: newcomers of another run that stood against it are
    /// refused, and links of the same run that are ranked behind it are closed.
    pub(super) fn proved(
        &mut self,
        now: Instant,
        id: LinkId,
        (number, asked): (u64, Instant),
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get(&id).filter(|link| link.is_up()) else {
            return;
        };
        let (peer, rank, instance) = (link.peer, link.rank(&self.greeter.id), link.instance());
        let refused: Vec<_> = self
            .links
            .values()
            .filter(|other| {
                matches!(other.phase, Phase::Challenged { old, ping, .. } if old == id && ping <= number)
            })
            .map(|other| (other.id, other.address))
            .collect();
        for (newcomer, address) in refused {
            out.drop(DropReason::IdentityClash);
            let detail = format!(
                "two routers have the identity {}; the one at {address} was refused",
                peer.brief()
            );
            self.happened.push_back(Happened::Clone { detail });
            self.close(
                now,
                newcomer,
                "another router with this identity is here already",
                out,
            );
        }
        let own = self.greeter.id;
        let is_worse = |other: &&super::Link| {
            other.peer == peer && other.instance() == instance && other.rank(&own) > rank
        };
        let worse: Vec<_> = self
            .links
            .values()
            .filter(is_worse)
            .filter(|other| other.up_since().is_some_and(|since| since <= asked))
            .map(|other| other.id)
            .collect();
        for duplicate in worse {
            out.drop(DropReason::DuplicateLink);
            self.close(now, duplicate, "a second link with the same router", out);
        }
    }

    /// The old link did not answer in time, or ended: its router was started again.
    pub(super) fn unanswered(&mut self, now: Instant, id: LinkId, out: &mut Outbox) {
        let Some(Phase::Challenged { old, .. }) = self.links.get(&id).map(|link| link.phase) else {
            return;
        };
        self.close(now, old, "its router was started again", out);
        self.settle(now, id, out);
    }

    /// Finds the link with this router that is used from now on: the one up of lowest rank.
    pub(super) fn choose(&mut self, peer: PeerId, reason: &str) {
        let own = self.greeter.id;
        let up = self
            .links
            .values()
            .filter(|link| link.peer == peer && link.is_up());
        let best = up.min_by_key(|link| link.rank(&own)).map(|link| link.id);
        match (self.primary.get(&peer).copied(), best) {
            (old, Some(link)) if old != Some(link) => {
                self.primary.insert(peer, link);
                self.happened.push_back(Happened::Neighbor {
                    peer,
                    link,
                    first: old.is_none(),
                });
            }
            (Some(_), None) => {
                self.primary.remove(&peer);
                self.happened.push_back(Happened::NeighborLost {
                    peer,
                    reason: reason.to_owned(),
                });
            }
            _ => {}
        }
    }

    /// A link ended: newcomers need not wait for it any more.
    pub(super) fn release(&mut self, now: Instant, id: LinkId) {
        for link in self.links.values_mut() {
            match &mut link.phase {
                Phase::Challenged { until, old, .. } if *old == id => *until = now,
                _ => {}
            }
        }
    }

    fn set_phase(&mut self, id: LinkId, phase: Phase) {
        if let Some(link) = self.links.get_mut(&id) {
            link.was_challenged |= matches!(phase, Phase::Challenged { .. });
            link.phase = phase;
        }
    }
}
