//! What routers say of their links, made into two-way links: a link is there only when each end lists the other.

use super::slab::{Entry, Slab};
use super::{Known, told_of};
use crate::{Adjacency, Number, ShortId};

/// The two-way links, and what has changed in them since trees were last brought up to date.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) slab: Slab,
    /// Edges that are new, gone, or of another delay or use, each as (from, to).
    pub(crate) edges: Vec<(Number, Number)>,
    /// Edges that are not what they were, though they may cost what they cost before.
    pub(crate) remade: Vec<Remade>,
}

/// An edge that is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Remade {
    pub(crate) from: Number,
    pub(crate) to: Number,
    /// It was gone or has another label; else only its MTU differs. Paths over it are no longer what they were.
    pub(crate) is_broken: bool,
}

impl Links {
    /// Router `of` now says what [`Known`] has of it; the last time it was looked at, it said `old`. `own` is this router.
    pub(crate) fn renew(&mut self, known: &impl Known, own: Option<Number>, of: Number, old: &[Adjacency]) {
        self.slab.grow(known.numbers());
        let (mut old, mut new) = (old.iter().peekable(), known.links(of).iter().peekable());
        loop {
            let neighbor = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => old.neighbor.min(new.neighbor),
                (Some(only), None) | (None, Some(only)) => only.neighbor,
                (None, None) => return,
            };
            let was = old.next_if(|old| old.neighbor == neighbor);
            let is = new.next_if(|new| new.neighbor == neighbor);
            if was != is {
                self.renew_link(known, (own, of), neighbor, was, is);
            }
        }
    }

    /// What a router says of one of its links is another than before.
    fn renew_link(
        &mut self,
        known: &impl Known,
        (own, of): (Option<Number>, Number),
        neighbor: ShortId,
        was: Option<&Adjacency>,
        is: Option<&Adjacency>,
    ) {
        let Some(other) = known.number(neighbor).filter(|other| *other != of) else {
            return;
        };
        let back = told_of(known, other, of);
        let (Some(ours), Some(theirs)) = (is, back) else {
            return self.unlink(of, other);
        };
        let is_new = self.slab.get(of, other).is_none();
        let data = ours.mtu > 0 && theirs.mtu > 0;
        for (from, to, told) in [(of, other, ours), (other, of, theirs)] {
            let entry = Entry::new(to, told.delay, data, told.label.0 != 0);
            if self.slab.set(from, entry) {
                self.note_edge(from, to);
            }
        }
        // No path led over a link that was not there, but this router's own, which the other end bounds from now on.
        if is_new && own.is_none_or(|own| own != of && own != other) {
            return;
        }
        let is_relabelled = was.is_some_and(|was| was.label != ours.label);
        let is_resized = was.is_none_or(|was| was.mtu != ours.mtu);
        if is_relabelled || is_resized {
            self.note(of, other, is_relabelled);
        }
        if is_resized {
            self.note(other, of, false);
        }
    }

    fn note_edge(&mut self, from: Number, to: Number) {
        super::reserve(&mut self.edges, 1);
        self.edges.push((from, to));
    }

    fn note(&mut self, from: Number, to: Number, is_broken: bool) {
        self.remade.push(Remade { from, to, is_broken });
    }

    /// A direct data path of this router's own, `own`, changed; `is_same`: only in its MTU.
    pub(crate) fn note_direct(&mut self, own: Number, to: Number, is_same: bool) {
        if !is_same {
            self.note_edge(own, to);
        }
        self.note(own, to, false);
    }

    /// True if so much has changed that the trees are better computed from nothing.
    pub(crate) fn is_too_much(&self, numbers: usize) -> bool {
        self.edges.len() > numbers * 4 + 64
    }

    /// Takes the links of a router away that is no longer known.
    pub(crate) fn forget(&mut self, gone: Number) {
        while let Some(entry) = self.slab.list(gone).first() {
            self.unlink(gone, entry.to());
        }
    }

    fn unlink(&mut self, one: Number, other: Number) {
        for (from, to) in [(one, other), (other, one)] {
            if self.slab.remove(from, to) {
                self.note_edge(from, to);
                self.note(from, to, true);
            }
        }
    }

    /// True if nothing changed since the last [`done`](Self::done).
    pub(crate) fn is_settled(&self) -> bool {
        self.edges.is_empty() && self.remade.is_empty()
    }

    /// All trees are up to date.
    pub(crate) fn done(&mut self) {
        self.edges.clear();
        self.edges.shrink_to(256);
        self.remade.clear();
        self.remade.shrink_to(256);
    }
}
