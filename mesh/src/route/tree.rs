//! Along which links a source's broadcast spreads.
//!
//! The tree holds the source's shortest paths over the links of the topology and nothing else: no direct paths on
//! demand and no hysteresis, which only the source knows. So every router with the same view computes the same
//! tree, and hands a frame to the same children that the source expects.

use crate::graph::slab::Slab;
use crate::graph::spt::{Bits, Place, Spt, Work};
use crate::graph::view::Broadcast;
use crate::graph::{Known, told_of};
use crate::index::mix;
use crate::{Number, PeerId};

/// The branches of a tree that lead to some routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Branches {
    /// Largest packet, in bytes, that passes every link of them.
    pub mtu: u16,
    /// Tells them from others: a sum over their links, each mixed with itself.
    pub shape: u64,
}

/// The shortest path tree of one source, over the links that carry data.
#[derive(Debug)]
pub(crate) struct BroadcastTree(Spt);

impl BroadcastTree {
    /// The tree of `source` as these links show it.
    pub(crate) fn new(source: Number, known: &impl Known, slab: &Slab, work: &mut Work) -> Self {
        let mut tree = Spt::new();
        tree.grow(known.numbers());
        work.begin(known.numbers());
        tree.rebuild(&Broadcast { known, slab }, Some(source), work);
        Self(tree)
    }

    /// Brings it up to date with edges that have changed; true if anybody's place may be another now.
    pub(crate) fn update(
        &mut self,
        known: &impl Known,
        slab: &Slab,
        edges: &[(Number, Number)],
        work: &mut Work,
    ) -> bool {
        self.0.grow(known.numbers());
        work.begin(known.numbers());
        self.0.update(&Broadcast { known, slab }, edges, work);
        !work.looked_at().is_empty()
    }

    /// Whose tree it is.
    pub(crate) fn source(&self) -> Option<Number> {
        self.0.root()
    }

    /// How many hops a router is away from the source, counted to 255; `None` if the tree does not reach it.
    pub(crate) fn hops(&self, of: Number) -> Option<u8> {
        Some(self.0.place(of))
            .filter(Place::is_reached)
            .map(|place| place.hops())
    }

    /// From whom the router `of` gets the source's frames; `None` for the source itself and for those the tree
    /// does not reach.
    pub(crate) fn parent(&self, of: Number) -> Option<Number> {
        self.0.parent(of)
    }

    /// The branches that lead to `members`; `None` if there is no way to any.
    pub(crate) fn branches(&self, known: &impl Known, members: &[Number]) -> Option<Branches> {
        let mut branches: Option<Branches> = None;
        let mut looked_at = Bits::default();
        looked_at.grow(known.numbers());
        for &member in members {
            let mut at = member;
            while let Some(parent) = self.parent(at).filter(|_| looked_at.set(at)) {
                let (there, back) = (told_of(known, parent, at)?, told_of(known, at, parent)?);
                let ends = [at, parent].map(|end| known.id(end).map(|id| u64::from_be_bytes(id.short().0)));
                let [Some(below), Some(above)] = ends else {
                    return None;
                };
                let before = branches.unwrap_or(Branches {
                    mtu: u16::MAX,
                    shape: 0,
                });
                branches = Some(Branches {
                    mtu: before.mtu.min(there.mtu).min(back.mtu),
                    shape: before.shape.wrapping_add(mix(below, above)),
                });
                at = parent;
            }
        }
        branches
    }

    /// To whom the router `of` hands a frame of the source, in the order of their ids: those of its children from
    /// which branches lead to one of `members` or that are members.
    pub(crate) fn children(&self, known: &impl Known, of: Number, members: &[Number]) -> Vec<PeerId> {
        let children = members
            .iter()
            .filter_map(|member| self.child_towards(of, *member));
        let mut children: Vec<Number> = children.collect();
        children.sort_unstable();
        children.dedup();
        let ids = children.into_iter().filter_map(|child| known.id(child).copied());
        let mut ids: Vec<PeerId> = ids.collect();
        ids.sort_unstable();
        ids
    }

    /// The child of `of` on the way to `member`; `None` if the way does not lead over `of`.
    fn child_towards(&self, of: Number, member: Number) -> Option<Number> {
        let mut at = member;
        loop {
            let parent = self.parent(at)?;
            if parent == of {
                return Some(at);
            }
            at = parent;
        }
    }
}
