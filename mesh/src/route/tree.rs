//! Along which links a source's broadcast spreads.
//!
//! The tree holds the source's shortest paths over the links of the topology and nothing else: no direct paths on
//! demand and no hysteresis, which only the source knows. So every router with the same view computes the same
//! tree, and hands a frame to the same children that the source expects.

use super::spf::{Graph, Step};
use crate::{PeerId, Topology};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The links that carry data, as one topology shows them; all sources' trees grow over the same.
#[derive(Debug, Clone)]
pub struct BroadcastLinks(Arc<Graph>);

impl BroadcastLinks {
    /// Those of a topology: both ends list the link with a data path.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        Self(Arc::new(Graph::of_broadcast(topology)))
    }
}

/// The shortest path tree of one source, over the links that carry data.
#[derive(Debug)]
pub struct BroadcastTree {
    graph: Arc<Graph>,
    source: Option<usize>,
    steps: Vec<Option<Step>>,
}

impl BroadcastTree {
    /// The tree of `source` as this topology shows it; it holds nobody if the source is not in it.
    #[must_use]
    pub fn new(source: PeerId, topology: &Topology) -> Self {
        Self::within(&BroadcastLinks::new(topology), source)
    }

    /// The tree of `source` over links that several trees share.
    #[must_use]
    pub fn within(links: &BroadcastLinks, source: PeerId) -> Self {
        let graph = Arc::clone(&links.0);
        let source = graph.node(&source);
        let steps = source.map_or_else(Vec::new, |source| graph.shortest(source));
        Self { graph, source, steps }
    }

    /// How many hops a router is away from the source; `None` if the tree does not reach it.
    #[must_use]
    pub fn hops(&self, of: &PeerId) -> Option<usize> {
        let step = (*self.steps.get(self.graph.node(of)?)?)?;
        Some(step.hops)
    }

    /// The largest packet, in bytes, that every link on the way to one of `members` passes; `None` if there is no
    /// way to any.
    #[must_use]
    pub fn mtu(&self, members: &BTreeSet<PeerId>) -> Option<u16> {
        let mut narrowest = None;
        let mut looked_at = BTreeSet::new();
        for mut node in members.iter().filter_map(|member| self.graph.node(member)) {
            while let Some(parent) = self.parent_node(node).filter(|_| looked_at.insert(node)) {
                let mtu = self.graph.mtu(parent, node)?;
                narrowest = Some(narrowest.map_or(mtu, |narrowest: u16| narrowest.min(mtu)));
                node = parent;
            }
        }
        narrowest
    }

    /// To whom the router `of` hands a frame of the source, in order: those of its children from which branches
    /// lead to one of `members` or that are members.
    #[must_use]
    pub fn children(&self, of: &PeerId, members: &BTreeSet<PeerId>) -> Vec<PeerId> {
        let Some(of) = self.graph.node(of) else {
            return Vec::new();
        };
        let children: BTreeSet<usize> = members
            .iter()
            .filter_map(|member| self.child_towards(of, member))
            .collect();
        children
            .into_iter()
            .map(|child| self.graph.ids()[child])
            .collect()
    }

    /// From whom the router `of` gets the source's frames; `None` for the source itself and for those the tree
    /// does not reach.
    #[must_use]
    pub fn parent(&self, of: &PeerId) -> Option<PeerId> {
        self.parent_node(self.graph.node(of)?)
            .map(|parent| self.graph.ids()[parent])
    }

    /// Hops to the routers that are furthest away.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.steps
            .iter()
            .flatten()
            .map(|step| step.hops)
            .max()
            .unwrap_or(0)
    }

    /// The child of `of` on the way to `member`; `None` if the way does not lead over `of`.
    fn child_towards(&self, of: usize, member: &PeerId) -> Option<usize> {
        let mut node = self.graph.node(member)?;
        loop {
            let parent = self.parent_node(node)?;
            if parent == of {
                return Some(node);
            }
            node = parent;
        }
    }

    fn parent_node(&self, node: usize) -> Option<usize> {
        let step = (*self.steps.get(node)?)?;
        (Some(node) != self.source).then_some(step.parent)
    }
}
