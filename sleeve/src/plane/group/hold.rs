//! A place in a tree, and for a moment the one before.
//!
//! Routers hear of a change of the topology one after the other, so while it spreads they see different trees of one
//! source. If each moved at once, frames would be lost on the branches that move: the old parent sends no more, the
//! new one not yet. So whoever moves goes on with its former place besides the new one for [`HELD`]: it takes frames
//! from both parents, and hands them to the children of both places. What comes twice by that ends at the members'
//! replay windows, or at [`Passed`].

use crate::plane::peer::Peer;
use crate::plane::session::locked;
use crate::wire::GroupHeader;
use crypto::ReplayWindow;
use mesh::{Instant, PeerId};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For so long a router goes on with its former place in a tree. All have heard of a change of the topology by then.
pub(super) const HELD: Duration = Duration::from_secs(2);

/// To whom a router hands frames in one tree.
#[derive(Debug)]
pub(super) struct Children {
    /// The present ones, then those that are children no more.
    all: Box<[Arc<Peer>]>,
    present: usize,
    /// Until when the latter are served.
    until: Instant,
}

impl Children {
    /// These follow on `former`.
    pub(super) fn new(now: Instant, present: Vec<Arc<Peer>>, former: Option<&Self>) -> Self {
        let mut until = now + HELD;
        let left: Vec<_> = former.map_or_else(Vec::new, |former| {
            let is_same = |(a, b): (&Arc<Peer>, &Arc<Peer>)| a.id == b.id;
            let stay =
                former.present().len() == present.len() && former.present().iter().zip(&present).all(is_same);
            let left = if stay {
                // Something else of the tree changed.
                until = former.until;
                former.left(now)
            } else {
                former.present()
            };
            let is_new = |peer: &&Arc<Peer>| present.iter().all(|other| other.id != peer.id);
            left.iter().filter(is_new).cloned().collect()
        });
        Self {
            present: present.len(),
            all: present.into_iter().chain(left).collect(),
            until,
        }
    }

    /// Those of the tree as it is now.
    pub(super) fn present(&self) -> &[Arc<Peer>] {
        self.all.get(..self.present).unwrap_or_default()
    }

    /// Those that were children a moment ago.
    pub(super) fn left(&self, now: Instant) -> &[Arc<Peer>] {
        let left = self.all.get(self.present..).unwrap_or_default();
        if now < self.until { left } else { &[] }
    }
}

/// From whom a router takes frames of one tree.
#[derive(Debug)]
pub(super) struct Parents {
    /// `None`: this router is in the tree no more.
    present: Option<PeerId>,
    former: Option<PeerId>,
    /// Until when the latter is one.
    until: Instant,
}

impl Parents {
    /// This one follows on `before`.
    pub(super) fn new(now: Instant, present: Option<PeerId>, before: Option<&Self>) -> Self {
        let stays = before.filter(|before| before.present == present);
        Self {
            present,
            former: stays.map_or_else(|| before?.present, |before| before.former),
            until: stays.map_or(now + HELD, |before| before.until),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.present.is_some()
    }

    /// True while frames are taken from anybody.
    pub(super) fn is_any(&self, now: Instant) -> bool {
        self.is_present() || self.is_held(now)
    }

    pub(super) fn contain(&self, now: Instant, peer: &PeerId) -> bool {
        self.present.as_ref() == Some(peer) || (self.is_held(now) && self.former.as_ref() == Some(peer))
    }

    /// True while there are two, and a frame may come from both.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.former.is_some() && now < self.until
    }
}

/// What a relay that holds no key has handed on while it has two parents. Its neighbours vouch for the counters, who
/// could as well send nothing.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<(u32, ReplayWindow)>);

impl Passed {
    /// True for the first frame of this counter under its key.
    pub(super) fn is_first(&self, header: &GroupHeader) -> bool {
        let mut passed = locked(&self.0);
        if passed.0 != header.key {
            *passed = (header.key, ReplayWindow::new());
        }
        passed.1.commit(header.counter).is_ok()
    }
}
