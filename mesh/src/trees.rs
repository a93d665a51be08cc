//! This router's place in the trees along which broadcast spreads.
//!
//! A small network's broadcast goes out as one copy for each member, and nothing here is computed for it. In a
//! network with more than [`TREE_ABOVE`] other members, each member's frames spread along its own
//! [`BroadcastTree`], pruned to the branches that lead to members. All that decides is in the topology and in the
//! members' records, so routers with the same view agree on every parent and child.
//!
//! Trees are brought up to date with the routes, change by change, and only if the topology or the membership of a
//! network has changed since.

use crate::graph::Known;
use crate::graph::spt::Work;
use crate::graph::told::Links;
use crate::route::BroadcastTree;
use crate::{Number, PeerId, Registry, Topology, Vni};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A network with more other members than this has trees; in smaller ones copies cost less than keys do.
pub const TREE_ABOVE: usize = 4;

/// Members that networks with trees have together, at most. Each costs every router nine bytes for each known router.
/// Networks count in the order of their numbers; those that do not fit get copies.
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

/// Networks that have trees, with all their members.
type Networks = BTreeMap<Vni, BTreeSet<PeerId>>;

/// This router's places in all trees.
#[derive(Debug)]
pub struct Trees {
    own: PeerId,
    networks: Networks,
    sources: BTreeMap<PeerId, BroadcastTree>,
    places: BTreeMap<(Vni, PeerId), Tree>,
    /// The version of the membership that they were computed from.
    seen: Option<u64>,
}

impl Trees {
    /// No trees yet, for the router `own`.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        Self {
            own,
            networks: Networks::new(),
            sources: BTreeMap::new(),
            places: BTreeMap::new(),
            seen: None,
        }
    }

    /// True if the membership of a network that has, had or is to have trees may have changed since they were
    /// computed.
    pub(crate) fn misses_members(&mut self, registry: &Registry) -> bool {
        let now = registry.membership();
        let Some(seen) = self.seen.as_mut().filter(|seen| **seen != now) else {
            return false;
        };
        if self.networks.is_empty() && registry.larger_than(TREE_ABOVE + 1).next().is_none() {
            *seen = now;
            return false;
        }
        true
    }

    /// Computes all places from nothing and returns those that changed, in the order of networks and sources.
    pub fn recompute(&mut self, topology: &Topology, registry: &Registry) -> Vec<TreeChange> {
        self.sources.clear();
        self.seen = None;
        self.update(&topology.told, &topology.links, registry, &mut Work::default())
    }

    /// Brings all places up to date with the changes of the links and returns those that changed, in the order of
    /// networks and sources.
    pub(crate) fn update(
        &mut self,
        known: &impl Known,
        links: &Links,
        registry: &Registry,
        work: &mut Work,
    ) -> Vec<TreeChange> {
        let membership = registry.membership();
        let is_other = self.seen.replace(membership) != Some(membership);
        if is_other {
            self.networks = networks(registry);
            let networks = &self.networks;
            self.sources
                .retain(|source, _| networks.values().any(|members| members.contains(source)));
        } else if self.networks.is_empty() || links.is_settled() {
            return Vec::new();
        }
        let mut renewed = BTreeSet::new();
        let sources: BTreeSet<PeerId> = self.networks.values().flatten().copied().collect();
        for source in sources {
            let number = number(known, &source);
            let tree = self.sources.get_mut(&source);
            let tree = tree.filter(|tree| tree.source() == number && !links.is_too_much(known.numbers()));
            let is_renewed = match (tree, number) {
                (Some(tree), _) => tree.update(known, &links.slab, &links.edges, work),
                (None, Some(number)) => {
                    let tree = BroadcastTree::new(number, known, &links.slab, work);
                    self.sources.insert(source, tree);
                    true
                }
                (None, None) => self.sources.remove(&source).is_some(),
            };
            // The source also tells what fits through its tree.
            if is_renewed || is_other || source == self.own {
                renewed.insert(source);
            }
        }
        self.replace(known, &renewed)
    }

    /// Looks up the places in the trees of these sources; those of others stay, if the others still have any.
    fn replace(&mut self, known: &impl Known, renewed: &BTreeSet<PeerId>) -> Vec<TreeChange> {
        let mut changes = Vec::new();
        let networks = &self.networks;
        self.places.retain(|(vni, source), _| {
            let is_kept = networks.get(vni).is_some_and(|members| members.contains(source));
            if !is_kept {
                changes.push((*vni, *source, None));
            }
            is_kept
        });
        for (&vni, members) in networks {
            let numbers: Vec<Number> = members
                .iter()
                .filter_map(|member| number(known, member))
                .collect();
            for &source in members.intersection(renewed) {
                let tree = self.sources.get(&source);
                let new = tree.and_then(|tree| place(known, &self.own, tree, &numbers));
                let old = match &new {
                    Some(new) => self.places.insert((vni, source), new.clone()),
                    None => self.places.remove(&(vni, source)),
                };
                if old != new {
                    changes.push((vni, source, new));
                }
            }
        }
        changes.sort_by_key(|(vni, source, _)| (*vni, *source));
        changes
    }
}

fn number(known: &impl Known, id: &PeerId) -> Option<Number> {
    known
        .number(id.short())
        .filter(|number| known.id(*number) == Some(id))
}

/// The networks that have trees.
fn networks(registry: &Registry) -> Networks {
    let mut sources = BTreeSet::new();
    let fits = |(_, members): &(Vni, BTreeSet<PeerId>)| {
        let fits = sources.len() + members.difference(&sources).count() <= MAX_TREE_SOURCES;
        if fits {
            sources.extend(members.iter().copied());
        }
        fits
    };
    registry.larger_than(TREE_ABOVE + 1).filter(fits).collect()
}

/// The place of `own` in one tree; `None` if no branch leads there.
fn place(known: &impl Known, own: &PeerId, tree: &BroadcastTree, members: &[Number]) -> Option<Tree> {
    let own = number(known, own)?;
    let is_source = tree.source() == Some(own);
    let parent = tree.parent(own).and_then(|parent| known.id(parent).copied());
    if !is_source && parent.is_none() {
        return None;
    }
    let is_near = |member: &Number| {
        let hops = tree.hops(*member).map(usize::from);
        hops.is_some_and(|hops| (1..=MAX_TREE_DEPTH).contains(&hops))
    };
    let reached: Vec<Number> = members.iter().copied().filter(is_near).collect();
    let children = tree.children(known, own, &reached);
    if !is_source {
        return (reached.contains(&own) || !children.is_empty()).then_some(Tree {
            parent,
            children,
            root: None,
        });
    }
    let ids: BTreeSet<PeerId> = reached
        .iter()
        .filter_map(|member| known.id(*member).copied())
        .collect();
    let root = TreeRoot {
        depth: reached.iter().filter_map(|member| tree.hops(*member)).max()?,
        mtu: tree.mtu(known, &reached)?,
        reached: ids.into_iter().collect(),
    };
    Some(Tree {
        parent: None,
        children,
        root: Some(root),
    })
}

#[cfg(test)]
mod tests;
