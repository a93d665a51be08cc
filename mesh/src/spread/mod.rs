//! Over which links records spread at once: along one tree that all routers of a component share.
//!
//! Everybody computes the same shortest paths from one router ([`middle`] says which); a router tells the neighbour that is
//! its parent in them so ([`Message::Parent`](crate::wire::Message)), and both pass all records on to each other.
//! Its own records a router gives to every neighbour: the two ends of a change flood it. What the tree loses
//! (it was changing, its link was dying, somebody lies) is repaired lazily, after Plumtree: the marks of recent
//! records ride on the keepalives ([`recent`]), and what stays unknown for a moment is asked for ([`missing`]).
//!
//! A link counts like one of the tree, too,
//! - for a second after it came up, if this router has hardly any others: nothing shall pass it by until it has
//!   found its place in the tree;
//! - for a moment after it ceased to be one: the new parent must have heard of us first;
//! - for two seconds after this router lost a link of the tree, less if both ends wanted that: then any link;
//! - for a while when records that its other end has keep coming by being asked for: who is cut off by a parent
//!   that is slow, wrong or lying takes a second one (a graft).

pub(crate) mod middle;
pub(crate) mod missing;
pub(crate) mod recent;
mod repair;

use crate::wire::{Marks, News};
use crate::{Instant, LinkId, PeerId, Size};
use missing::Missing;
use recent::{Had, Recent, Slot};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Marks on one keepalive.
pub(crate) const MAX_SHOWN: usize = 32;
/// How long everything goes over every link after one of the tree was lost.
const FLOOD: Duration = Duration::from_secs(2);
/// The same if its ends had agreed on that.
const FLOOD_AGREED: Duration = Duration::from_millis(300);
/// How long the first few neighbours are parents, until the tree is known.
const YOUNG: Duration = Duration::from_secs(1);
const FEW: usize = 3;
/// How long a former parent still counts.
const LINGER: Duration = Duration::from_millis(250);
/// Times that something had to be asked for …
const HITS: usize = 3;
/// … within this time, before a graft; answers that come together count once.
const HITS_WITHIN: Duration = Duration::from_secs(30);
const TOGETHER: Duration = Duration::from_millis(500);
/// How long a graft holds: the first, and at most, doubling with each that follows while the parent stays the same.
const GRAFT: Duration = Duration::from_secs(30);
const MAX_GRAFT: Duration = Duration::from_secs(600);

/// A message that shows marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keepalive {
    /// Our ping of this number.
    Ping(u64),
    /// Our answer to their ping of this number.
    Pong(u64),
}

/// A neighbour, as far as spreading goes.
#[derive(Debug)]
struct Near {
    link: LinkId,
    /// It said that we are its parent.
    is_child: bool,
    /// What we told it last: that it is our parent.
    told: bool,
    /// It is a parent until then, whatever the tree says.
    until: Instant,
    /// Because this router's own parent can't be relied on.
    is_graft: bool,
    slot: Option<Slot>,
    /// Marks up to this number need not be shown to it any more.
    shown: u64,
    /// What was shown last, and the number of the mark after the last then.
    flying: Option<(Keepalive, u64)>,
}

/// The state of spreading.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    parent: Option<PeerId>,
    neighbors: BTreeMap<PeerId, Near>,
    flood_until: Instant,
    hits: VecDeque<Instant>,
    grafts: u32,
    /// Something changed that neighbours may have to be told.
    stir: bool,
    /// When a neighbour that is only a parent for a while ceases to be.
    end: Option<Instant>,
    pub(crate) recent: Recent,
    pub(crate) missing: Missing,
}

impl Spread {
    /// Records and marks that are remembered.
    pub(crate) fn sizes(&self) -> [Size; 2] {
        let recent = usize::try_from(self.recent.end() - self.recent.first()).unwrap_or(usize::MAX);
        [
            Size::new("recent records", recent, recent::MAX_RECENT),
            Size::new("missing records", self.missing.len(), missing::MAX_MISSING),
        ]
    }

    /// This link with a neighbour is used from now on.
    pub(crate) fn linked(&mut self, now: Instant, peer: PeerId, link: LinkId) {
        let slot = match self.neighbors.remove(&peer) {
            Some(old) => old.slot,
            None => self.recent.take_slot(),
        };
        let parents = self
            .neighbors
            .values()
            .filter(|near| near.told || near.until > now)
            .count();
        let near = Near {
            link,
            is_child: false,
            told: false,
            until: if parents < FEW { now + YOUNG } else { Instant(0) },
            is_graft: false,
            slot,
            shown: self.recent.first(),
            flying: None,
        };
        self.neighbors.insert(peer, near);
        self.stir = true;
    }

    /// No link with it is left. `was_agreed`: it did not fail, so others are not likely to have failed with it.
    pub(crate) fn lost(&mut self, now: Instant, peer: &PeerId, was_agreed: bool) {
        let Some(near) = self.neighbors.remove(peer) else {
            return;
        };
        if let Some(slot) = near.slot {
            self.recent.free_slot(slot);
        }
        if near.is_child || near.told || self.parent == Some(*peer) {
            let time = if was_agreed { FLOOD_AGREED } else { FLOOD };
            self.flood_until = self.flood_until.max(now + time);
        }
        if self.parent == Some(*peer) {
            self.set_parent(now, None);
        }
    }

    /// The tree says that this neighbour is our parent; `None`: we are the root, or out of it.
    pub(crate) fn set_parent(&mut self, now: Instant, parent: Option<PeerId>) {
        if self.parent == parent {
            return;
        }
        if let Some(old) = self.parent.and_then(|old| self.neighbors.get_mut(&old)) {
            old.until = old.until.max(now + LINGER);
        }
        self.parent = parent;
        self.hits.clear();
        self.grafts = 0;
        self.stir = true;
    }

    /// A neighbour says whether we are its parent.
    pub(crate) fn parent_of(&mut self, peer: &PeerId, link: LinkId, is_child: bool) {
        if let Some(near) = self.neighbors.get_mut(peer).filter(|near| near.link == link) {
            near.is_child = is_child;
        }
    }

    /// What has to be told over which links: whether their other ends are parents of ours.
    pub(crate) fn take_changes(&mut self, now: Instant) -> Vec<(LinkId, bool)> {
        if !std::mem::take(&mut self.stir) && self.end.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let parent = self.parent;
        let mut tell = Vec::new();
        for (peer, near) in &mut self.neighbors {
            let is_parent = parent == Some(*peer) || near.until > now;
            near.is_graft &= near.until > now;
            if near.told != is_parent {
                near.told = is_parent;
                tell.push((near.link, is_parent));
            }
        }
        self.end = self.next_end();
        tell
    }

    /// Names the links over which records go on at once that came `from` a neighbour, or are this router's own, which
    /// go to all. Returns who has them then.
    pub(crate) fn each_for(&self, now: Instant, from: Option<&PeerId>, mut send: impl FnMut(LinkId)) -> Had {
        let is_flooding = from.is_none() || now < self.flood_until;
        let mut had = Had::default();
        for (peer, near) in &self.neighbors {
            let is_from = from == Some(peer);
            if !is_from && (is_flooding || self.is_eager(peer, near)) {
                send(near.link);
            } else if !is_from {
                continue;
            }
            had = had.and(near.slot);
        }
        had
    }

    /// True if what comes from elsewhere goes on to this neighbour. Who is a parent only for a while gives, but is given
    /// nothing as long as there is the parent that the tree names: that one passes it on.
    fn is_eager(&self, peer: &PeerId, near: &Near) -> bool {
        let is_second = near.told && (near.is_graft || self.parent.is_none());
        near.is_child || self.parent == Some(*peer) || is_second
    }

    /// True if records of others come or go over the link with this neighbour.
    pub(crate) fn is_used(&self, peer: &PeerId) -> bool {
        self.neighbors
            .get(peer)
            .is_some_and(|near| near.told || self.is_eager(peer, near))
    }

    /// This neighbour has this record: it gave or showed it to us.
    pub(crate) fn had_by(&mut self, peer: &PeerId, mark: u64) {
        self.recent.had_by(mark, self.slot(peer));
    }

    /// Its bit in [`recent`].
    pub(crate) fn slot(&self, peer: &PeerId) -> Option<Slot> {
        self.neighbors.get(peer)?.slot
    }

    /// What this keepalive shall show the neighbour at the other end of this link.
    pub(crate) fn show(&mut self, peer: &PeerId, link: LinkId, on: Keepalive) -> News {
        let Some(near) = self.neighbors.get_mut(peer).filter(|near| near.link == link) else {
            return News::default();
        };
        near.flying = Some((on, self.recent.end()));
        let (marks, more) = self.recent.to_show(near.shown, near.slot, MAX_SHOWN);
        News {
            marks: Marks(marks),
            more,
        }
    }

    /// That keepalive has come there.
    pub(crate) fn saw(&mut self, peer: &PeerId, link: LinkId, what: Keepalive) {
        if let Some(near) = self.neighbors.get_mut(peer).filter(|near| near.link == link)
            && let Some((_, end)) = near.flying.take_if(|(flying, _)| *flying == what)
        {
            near.shown = end;
        }
    }

    /// A record came only after it was asked for, and the tree should have brought it. Happens that often, the one
    /// that had it becomes a second parent.
    pub(crate) fn hit(&mut self, now: Instant, from: PeerId) {
        if self.hits.back().is_some_and(|at| now.since(*at) < TOGETHER) {
            return;
        }
        self.hits.retain(|at| now.since(*at) < HITS_WITHIN);
        self.hits.push_back(now);
        if self.hits.len() < HITS {
            return;
        }
        self.hits.clear();
        let holds = GRAFT.saturating_mul(1 << self.grafts.min(8)).min(MAX_GRAFT);
        if let Some(near) = self.neighbors.get_mut(&from) {
            near.until = near.until.max(now + holds);
            near.is_graft = true;
            self.grafts += 1;
            self.stir = true;
        }
    }

    fn next_end(&self) -> Option<Instant> {
        let told = self.neighbors.iter().filter(|(_, near)| near.told);
        let ending = told.filter(|(peer, _)| self.parent != Some(**peer));
        ending.map(|(_, near)| near.until).min()
    }

    /// When there is something to tell, or to ask for.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.end.into_iter().chain(self.missing.next_timeout()).min()
    }
}
