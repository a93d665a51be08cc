//! How many links of which kind a router has in a mesh too large for all to be linked with all: rules only, without
//! a network.
//!
//! Each router dials a few near ones, for speed, and a few picked at random from all, which hold the mesh together
//! whatever fails; and takes what others dial, up to a bound that leaves room for its own. Nobody is thrown out: who
//! has too many links *asks* the other end to leave, and that end leaves as soon as it has enough without. Each end
//! counts its own links exactly, so no two decisions made at once strand a router.

use crate::{Instant, PeerId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one that was asked to leave may take before another is asked.
pub(super) const ASKED: Duration = Duration::from_secs(10);

/// How many links, of which kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In meshes of up to so many other routers all are linked with all.
    pub(super) full: usize,
    /// In meshes of more than so many links are bounded.
    pub(super) bounded: usize,
    /// Most links at rest, in a mesh where they are bounded.
    pub(super) most: usize,
    /// Links that are aimed at.
    pub(super) target: usize,
    /// Near ones, of this router's own choice.
    pub(super) near: usize,
    /// Random ones, of this router's own choice.
    pub(super) random: usize,
    /// With so many nothing more is dialled; nobody leaves a link if fewer were left.
    pub(super) enough: usize,
    /// With fewer a router is in need.
    pub(super) least: usize,
    /// Most links ever.
    pub(super) hard: usize,
}

impl Bounds {
    /// What `--max-links` means: from 12 on at most 12 links, 8 aimed at; less for less, but at least 4.
    pub(super) fn of(max_links: usize) -> Self {
        let most = max_links.clamp(4, 12);
        Self {
            full: max_links,
            bounded: max_links.saturating_add(max_links / 4),
            most,
            target: most * 2 / 3,
            near: (most / 6).max(1),
            random: (most / 6).max(1),
            enough: most / 2,
            least: most / 3,
            hard: max_links.saturating_mul(2).max(8),
        }
    }
}

/// What a link is to this router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One of the near ones it wants.
    Near,
    /// One of the random ones it wants.
    Random,
    /// The other end wanted it, or it was to make up for what was missing.
    Other,
}

/// A neighbour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub(super) role: Role,
    pub(super) since: Instant,
    /// The operator named it, or the address where it answers: it is not asked to leave.
    pub(super) is_pinned: bool,
    /// Let in although there was no room.
    pub(super) is_surplus: bool,
    /// When it was asked to leave.
    pub(super) asked: Option<Instant>,
    /// It asked this router to leave.
    pub(super) must_go: bool,
}

/// All neighbours.
#[derive(Debug, Default)]
pub(super) struct Holds(pub(super) BTreeMap<PeerId, Hold>);

impl Holds {
    fn count(&self, which: impl Fn(&Hold) -> bool) -> usize {
        self.0.values().filter(|hold| which(hold)).count()
    }

    /// All links but those that this router is to leave.
    pub(super) fn total(&self) -> usize {
        self.count(|hold| !hold.must_go)
    }

    /// Links of this role, but those that this router is to leave.
    pub(super) fn of(&self, role: Role) -> usize {
        self.count(|hold| hold.role == role && !hold.must_go)
    }

    /// Whether there is room for a link that another router dials, besides what this one has yet to dial. `links`:
    /// all there are, also those that only begin.
    pub(super) fn has_room(&self, bounds: &Bounds, links: usize) -> bool {
        let near = bounds.near.saturating_sub(self.of(Role::Near));
        let random = bounds.random.saturating_sub(self.of(Role::Random));
        links + near + random < bounds.most
    }

    fn asked(&self, now: Instant) -> usize {
        let is_asked = |hold: &Hold| hold.asked.is_some_and(|at| now.since(at) < ASKED);
        self.count(|hold| is_asked(hold) && !hold.must_go)
    }

    /// Those that this router was asked to leave and can do without.
    pub(super) fn to_leave(&self, now: Instant, bounds: &Bounds) -> Vec<PeerId> {
        let spare = self.0.len().saturating_sub(self.asked(now) + bounds.enough);
        let leaving = self.0.iter().filter(|(_, hold)| hold.must_go);
        leaving.map(|(peer, _)| *peer).take(spare).collect()
    }

    /// Whether this router can do without one more of its links.
    pub(super) fn can_spare(&self, now: Instant, bounds: &Bounds) -> bool {
        self.total().saturating_sub(self.asked(now)) > bounds.enough
    }

    /// Another router asks this one to leave. One that this router chose stays unless it `must` go: a router that many
    /// find near would have more links than it can bear, and nobody to ask.
    pub(super) fn note_asked(&mut self, peer: &PeerId, must: bool) {
        if let Some(hold) = self.0.get_mut(peer) {
            hold.must_go |= must || hold.role == Role::Other;
        }
    }

    /// Whom to ask to leave so that about `goal` stay: those that were not asked lately, that this router did not
    /// choose, over whose links no records spread, and that have many links themselves. `degree`: how many.
    pub(super) fn victims(
        &self,
        now: Instant,
        goal: usize,
        is_used: impl Fn(&PeerId) -> bool,
        degree: impl Fn(&PeerId) -> usize,
    ) -> Vec<PeerId> {
        let excess = self.total().saturating_sub(goal + self.asked(now));
        let is_open = |hold: &Hold| {
            let is_asked = hold.asked.is_some_and(|at| now.since(at) < ASKED);
            hold.role == Role::Other && !hold.is_pinned && !hold.must_go && !is_asked
        };
        let open = self.0.iter().filter(|(_, hold)| is_open(hold));
        let mut open: Vec<_> = open
            .map(|(peer, hold)| (is_used(peer), hold.asked, Reverse(degree(peer)), *peer))
            .collect();
        open.sort_unstable();
        open.into_iter().take(excess).map(|(.., peer)| peer).collect()
    }
}
