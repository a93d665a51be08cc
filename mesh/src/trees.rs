//! This router's place in the trees along which broadcast spreads.
//!
//! A small network's broadcast goes out as one copy for each member, and nothing here is computed for it. In a
//! network with more than [`TREE_ABOVE`] other members, each member's frames spread along its own
//! [`BroadcastTree`], pruned to the branches that lead to members. All that decides is in the topology and in the
//! members' records, so routers with the same view agree on every parent and child.
//!
//! Trees are computed with the routes, and only if the topology or the membership of a network has changed since.

use crate::{BroadcastLinks, BroadcastTree, PeerId, Registry, Topology, Vni};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A network with more other members than this has trees; in smaller ones copies cost less than keys do.
pub const TREE_ABOVE: usize = 4;

/// Members that networks with trees have together, at most. Each costs every router a search over the whole topology
/// when that changes, and links must be served meanwhile. Networks count in the order of their numbers; those that do
/// not fit get copies.
pub const MAX_TREE_SOURCES: usize = 256;

/// Hops that a tree has at most. Members further away get copies.
pub const MAX_TREE_DEPTH: usize = 32;

/// A router's place in the tree of one source in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// From whom the source's frames come; `None` at the source.
    pub parent: Option<PeerId>,
    /// To whom they are handed on, in order.
    pub children: Vec<PeerId>,
    /// What only the source needs; `None` elsewhere.
    pub root: Option<TreeRoot>,
}

/// What a source knows of its tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeRoot {
    /// The members that the tree reaches, in order; never empty.
    pub reached: Vec<PeerId>,
    /// Hops to those that are furthest away, at most [`MAX_TREE_DEPTH`].
    pub depth: u8,
    /// Largest IP packet, in bytes, that passes every link of the tree.
    pub mtu: u16,
}

/// A place that changed: network, source, and what it is now.
pub type TreeChange = (Vni, PeerId, Option<Tree>);

/// This router's places in all trees.
#[derive(Debug, Clone)]
pub struct Trees {
    own: PeerId,
    places: BTreeMap<(Vni, PeerId), Tree>,
    /// The versions of topology and membership that they were computed from.
    seen: Option<(u64, u64)>,
}

impl Trees {
    /// No trees yet, for the router `own`.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        Self {
            own,
            places: BTreeMap::new(),
            seen: None,
        }
    }

    /// True if the membership of a network that has, had or is to have trees may have changed since they were
    /// computed.
    pub(crate) fn misses_members(&mut self, registry: &Registry) -> bool {
        let now = registry.membership();
        let Some((_, seen)) = self.seen.as_mut().filter(|(_, seen)| *seen != now) else {
            return false;
        };
        if self.places.is_empty() && registry.larger_than(TREE_ABOVE + 1).next().is_none() {
            *seen = now;
            return false;
        }
        true
    }

    /// Brings all places up to date and returns those that changed, in the order of networks and sources.
    pub fn recompute(&mut self, topology: &Topology, registry: &Registry) -> Vec<TreeChange> {
        let versions = (topology.version(), registry.membership());
        if self.seen.replace(versions) == Some(versions) {
            return Vec::new();
        }
        self.replace(places(self.own, topology, registry.larger_than(TREE_ABOVE + 1)))
    }

    fn replace(&mut self, new: BTreeMap<(Vni, PeerId), Tree>) -> Vec<TreeChange> {
        let old = std::mem::replace(&mut self.places, new);
        let gone = old.keys().filter(|key| !self.places.contains_key(key));
        let mut changes: Vec<_> = gone.map(|&(vni, source)| (vni, source, None)).collect();
        let differs = |(key, tree): &(&(Vni, PeerId), &Tree)| old.get(*key) != Some(*tree);
        let set = self.places.iter().filter(differs);
        changes.extend(set.map(|(&(vni, source), tree)| (vni, source, Some(tree.clone()))));
        changes.sort_by_key(|(vni, source, _)| (*vni, *source));
        changes
    }
}

/// The places of `own` in the trees of all members of these networks.
fn places(
    own: PeerId,
    topology: &Topology,
    networks: impl Iterator<Item = (Vni, BTreeSet<PeerId>)>,
) -> BTreeMap<(Vni, PeerId), Tree> {
    // Small networks shall not even cost the graph.
    let mut networks = networks.peekable();
    if networks.peek().is_none() {
        return BTreeMap::new();
    }
    let mut sources = BTreeSet::new();
    let networks = networks.filter(|(_, members)| {
        let fits = sources.len() + members.difference(&sources).count() <= MAX_TREE_SOURCES;
        if fits {
            sources.extend(members);
        }
        fits
    });
    let links = BroadcastLinks::new(topology);
    let mut trees: BTreeMap<PeerId, BroadcastTree> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (vni, members) in networks {
        for &source in &members {
            let tree = trees
                .entry(source)
                .or_insert_with(|| BroadcastTree::within(&links, source));
            places.extend(place(own, source, tree, &members).map(|place| ((vni, source), place)));
        }
    }
    places
}

/// The place of `own` in one tree; `None` if no branch leads there.
fn place(own: PeerId, source: PeerId, tree: &BroadcastTree, members: &BTreeSet<PeerId>) -> Option<Tree> {
    let is_near = |member: &PeerId| {
        let hops = tree.hops(member);
        hops.is_some_and(|hops| (1..=MAX_TREE_DEPTH).contains(&hops))
    };
    if own != source && tree.parent(&own).is_none() {
        return None;
    }
    let reached: BTreeSet<PeerId> = members.iter().copied().filter(is_near).collect();
    let children = tree.children(&own, &reached);
    if own != source {
        let parent = tree.parent(&own);
        return (reached.contains(&own) || !children.is_empty()).then_some(Tree {
            parent,
            children,
            root: None,
        });
    }
    let depth = reached.iter().filter_map(|member| tree.hops(member)).max()?;
    let root = TreeRoot {
        depth: u8::try_from(depth).ok()?,
        mtu: tree.mtu(&reached)?,
        reached: reached.into_iter().collect(),
    };
    Some(Tree {
        parent: None,
        children,
        root: Some(root),
    })
}

#[cfg(test)]
mod tests;
