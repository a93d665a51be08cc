//! A place in a tree, and for a moment those before.
//!
//! Routers hear of a change of the topology one after the other, so while it spreads they see different trees of one
//! source. If each moved at once, frames would be lost on the branches that move: the old parent sends no more, the
//! new one not yet. So whoever moves goes on with its former place besides the new one for [`HELD`]: it takes frames
//! from both parents, and hands them to the children of both places. Whoever moves again meanwhile has three. What comes
//! twice by that ends at the members' replay windows, or at [`Passed`].

use crate::plane::peer::Peer;
use crate::plane::session::locked;
use crate::wire::GroupHeader;
use crypto::ReplayWindow;
use crypto::replay::Replay;
use mesh::{Instant, PeerId, TREES_DIFFER};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For so long a router goes on with a former place in a tree.
pub(super) const HELD: Duration = TREES_DIFFER;

/// To whom a router hands frames in one tree.
#[derive(Debug)]
pub(super) struct Children {
    present: Box<[Arc<Peer>]>,
    /// Those that are children no more, and until when they are served.
    left: Box<[(Arc<Peer>, Instant)]>,
}

impl Children {
    /// These follow on `before`.
    pub(super) fn new(now: Instant, present: Box<[Arc<Peer>]>, before: Option<&Self>) -> Self {
        let mut left: Vec<(Arc<Peer>, Instant)> = Vec::new();
        let until = now + HELD;
        let former = before.into_iter().flat_map(|before| {
            let last = before.present.iter().map(|peer| (peer, until));
            let earlier = before.left.iter().map(|(peer, until)| (peer, *until));
            last.chain(earlier).filter(|(_, until)| now < *until)
        });
        for (peer, until) in former {
            let mut others = present.iter().chain(left.iter().map(|(peer, _)| peer));
            if others.all(|other| other.id != peer.id) {
                left.push((Arc::clone(peer), until));
            }
        }
        Self {
            present,
            left: left.into(),
        }
    }

    /// Those of the tree as it is now.
    pub(super) fn present(&self) -> &[Arc<Peer>] {
        &self.present
    }

    /// Those that were children a moment ago.
    pub(super) fn left(&self, now: Instant) -> impl Iterator<Item = &Peer> {
        let left = self.left.iter().filter(move |(_, until)| now < *until);
        left.map(|(peer, _)| &**peer)
    }
}

/// From whom a router takes frames of one tree.
#[derive(Debug)]
pub(super) struct Parents {
    /// `None`: this router is in the tree no more.
    present: Option<PeerId>,
    /// Those before, and until when they are taken for parents.
    former: Box<[(PeerId, Instant)]>,
}

impl Parents {
    /// This one follows on `before`.
    pub(super) fn new(now: Instant, present: Option<PeerId>, before: Option<&Self>) -> Self {
        let last = before
            .and_then(|before| before.present)
            .map(|last| (last, now + HELD));
        let earlier = before
            .into_iter()
            .flat_map(|before| before.former.iter().copied());
        let earlier =
            earlier.filter(|(peer, until)| now < *until && last.is_none_or(|(last, _)| last != *peer));
        let former = last.into_iter().chain(earlier);
        Self {
            present,
            former: former.filter(|(peer, _)| present != Some(*peer)).collect(),
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
        let mut held = self.former.iter().filter(|(_, until)| now < *until);
        self.present.as_ref() == Some(peer) || held.any(|(former, _)| former == peer)
    }

    /// True while there are several, and a frame may come from each.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.former.iter().any(|(_, until)| now < *until)
    }
}

/// What a relay that holds no key has handed on while it has several parents. It can't tell whether counters are true: one
/// that a parent made up lets frames pass twice, but holds none back.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<(u32, ReplayWindow)>);

impl Passed {
    /// False if a frame of this counter under its key was handed on before.
    pub(super) fn is_first(&self, header: &GroupHeader) -> bool {
        let mut passed = locked(&self.0);
        if passed.0 != header.key {
            *passed = (header.key, ReplayWindow::new());
        }
        passed.1.commit(header.counter) != Err(Replay::Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_millis(HELD.as_millis() as u64 / 2);

    fn ids(numbers: &[u8]) -> Vec<PeerId> {
        numbers.iter().map(|&n| PeerId([n; 32])).collect()
    }

    #[test]
    fn children_are_served_for_a_while_after_they_have_left() {
        let peers = |numbers: &[u8]| {
            ids(numbers)
                .into_iter()
                .map(|id| Arc::new(Peer::new(id)))
                .collect()
        };
        let left = |children: &Children, now| children.left(now).map(|peer| peer.id).collect::<Vec<_>>();
        let start = Instant(0);
        let first = Children::new(start, peers(&[1, 2, 3]), None);
        assert!(left(&first, start).is_empty());
        let second = Children::new(start, peers(&[1, 4]), Some(&first));
        assert_eq!(left(&second, start), ids(&[2, 3]));
        // One comes back, one leaves later; who left first is served no longer than it would have been.
        let middle = start + HALF;
        let third = Children::new(middle, peers(&[1, 2]), Some(&second));
        assert_eq!(left(&third, middle), ids(&[4, 3]));
        assert_eq!(left(&third, start + HELD), ids(&[4]));
        assert!(left(&third, middle + HELD).is_empty());
        // Something else of the tree changed.
        let same = Children::new(middle, peers(&[1, 2]), Some(&third));
        assert_eq!(left(&same, start + HELD), ids(&[4]));
    }

    #[test]
    fn all_parents_of_a_moment_are_listened_to() {
        let [one, two, three] = [1, 2, 3].map(|n| PeerId([n; 32]));
        let start = Instant(0);
        let first = Parents::new(start, Some(one), None);
        assert!(first.contain(start, &one) && !first.is_held(start));
        let second = Parents::new(start, None, Some(&first));
        assert!(second.contain(start, &one) && !second.is_present() && second.is_any(start));
        assert!(!second.is_any(start + HELD));
        let middle = start + HALF;
        let third = Parents::new(middle, Some(two), Some(&second));
        let fourth = Parents::new(middle, Some(three), Some(&third));
        for parent in [one, two, three] {
            assert!(fourth.contain(middle, &parent));
        }
        assert!(!fourth.contain(start + HELD, &one) && fourth.contain(start + HELD, &two));
        assert!(!fourth.is_held(middle + HELD) && fourth.contain(middle + HELD, &three));
        let back = Parents::new(middle, Some(two), Some(&fourth));
        assert!(back.contain(middle + HELD, &two) && !back.contain(middle + HELD, &three));
    }
}
