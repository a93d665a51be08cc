//! This router's place in the trees along which broadcast spreads.
//!
//! A small network's broadcast goes out as one copy for each member, and nothing here is computed for it. In a
//! network with more than [`TREE_ABOVE`] other members, each member's frames spread along its own
//! [`BroadcastTree`], pruned to the branches that lead to members. All that decides is in the topology and in the
//! members' records, so routers with the same view agree on every parent and child.
//!
//! A router keeps its own tree in each such network that it has ports in. Others' trees it keeps only while they are
//! used: a member hears of that with the source's key, a relay from the router below it or from the first frame, and
//! five minutes after it was last heard of, the tree is forgotten. So a mesh of ten thousand routers costs nobody
//! more than those do that broadcast through it.
//!
//! Trees are brought up to date with the routes, change by change, and only if the topology or the membership of a
//! network has changed since.

use crate::graph::Known;
use crate::graph::spt::Work;
use crate::graph::told::Links;
use crate::route::BroadcastTree;
use crate::{Instant, Number, PeerId, Registry, Size, Topology, Vni};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A network with more other members than this has trees; in smaller ones copies cost less than keys do.
pub const TREE_ABOVE: usize = 4;

/// Trees of others that are kept at a time. Each costs nine bytes for each known router. More are as if unknown:
/// their sources go on sending copies.
pub const MAX_TREES_USED: usize = 256;

/// How long a tree is kept after it was last used.
pub const TREE_KEPT: Duration = Duration::from_secs(300);

/// For so long after a change of the topology routers may see different trees of one source: it is known everywhere in less
/// than a second, and trees follow at most two seconds later (`mesh::schedule`).
pub const TREES_DIFFER: Duration = Duration::from_secs(4);

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
    /// Another one when any branch leads another way than before, however far from the source.
    pub shape: u64,
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
    /// Others' trees that are used, and when that was last heard.
    used: BTreeMap<(Vni, PeerId), Instant>,
    /// None of them was heard of last before that.
    oldest: Option<Instant>,
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
            used: BTreeMap::new(),
            oldest: None,
            seen: None,
        }
    }

    /// Others' trees.
    pub(crate) fn size(&self) -> Size {
        Size::new("trees of others", self.used.len(), MAX_TREES_USED)
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

    /// Somebody broadcasts along this tree. True if it has to be computed first: routers that are no members, or
    /// none of a network that has trees, have none.
    pub fn note_use(&mut self, now: Instant, vni: Vni, source: PeerId) -> bool {
        let is_member = self
            .networks
            .get(&vni)
            .is_some_and(|members| members.contains(&source));
        if !is_member || source == self.own {
            return false;
        }
        let is_new = !self.used.contains_key(&(vni, source));
        if is_new && self.used.len() >= MAX_TREES_USED {
            return false;
        }
        self.used.insert((vni, source), now);
        self.oldest.get_or_insert(now);
        is_new
    }

    /// When to look for trees that have not been used for long enough: after every input it is asked for this.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.oldest.map(|last| last + TREE_KEPT)
    }

    /// Computes all places from nothing and returns those that changed, in the order of networks and sources.
    pub fn recompute(&mut self, now: Instant, topology: &Topology, registry: &Registry) -> Vec<TreeChange> {
        self.sources.clear();
        self.seen = None;
        self.update(
            now,
            &topology.told,
            &topology.links,
            registry,
            &mut Work::default(),
        )
    }

    /// Brings all places up to date with the changes of the links and returns those that changed, in the order of
    /// networks and sources.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        known: &impl Known,
        links: &Links,
        registry: &Registry,
        work: &mut Work,
    ) -> Vec<TreeChange> {
        let membership = registry.membership();
        let is_other = self.seen.replace(membership) != Some(membership);
        if is_other {
            self.networks = registry.larger_than(TREE_ABOVE + 1).collect();
        }
        let networks = &self.networks;
        self.used.retain(|(vni, source), last| {
            let is_member = networks.get(vni).is_some_and(|members| members.contains(source));
            is_member && now.since(*last) < TREE_KEPT
        });
        self.oldest = self.used.values().min().copied();
        if self.networks.is_empty() && self.places.is_empty() {
            return Vec::new();
        }
        let own = networks.iter().filter(|(_, members)| members.contains(&self.own));
        let mut pairs: BTreeSet<(Vni, PeerId)> = own.map(|(vni, _)| (*vni, self.own)).collect();
        pairs.extend(self.used.keys());
        let mut renewed = BTreeSet::new();
        let sources: BTreeSet<PeerId> = pairs.iter().map(|(_, source)| *source).collect();
        self.sources.retain(|source, _| sources.contains(source));
        for source in sources {
            let number = number(known, &source);
            let tree = self.sources.get_mut(&source);
            let tree = tree.filter(|tree| tree.source() == number && !links.is_too_much(known.numbers()));
            let is_renewed = match (tree, number) {
                (Some(_), _) if links.is_settled() => false,
                (Some(tree), _) => tree.update(known, &links.slab, &links.edges, work),
                (None, Some(number)) => {
                    let tree = BroadcastTree::new(number, known, &links.slab, work);
                    self.sources.insert(source, tree);
                    true
                }
                (None, None) => self.sources.remove(&source).is_some(),
            };
            // The source also tells what fits through its tree.
            let is_resized = source == self.own && !links.is_settled();
            if is_renewed || is_other || is_resized {
                renewed.insert(source);
            }
        }
        self.replace(known, &pairs, &renewed)
    }

    /// Looks up the places in these trees of these sources; of the other trees those stay that there are still.
    fn replace(
        &mut self,
        known: &impl Known,
        pairs: &BTreeSet<(Vni, PeerId)>,
        renewed: &BTreeSet<PeerId>,
    ) -> Vec<TreeChange> {
        let mut changes = Vec::new();
        self.places.retain(|pair, _| {
            let is_kept = pairs.contains(pair);
            if !is_kept {
                changes.push((pair.0, pair.1, None));
            }
            is_kept
        });
        let has_place = |pair: &&(Vni, PeerId)| self.places.contains_key(*pair);
        let unknown: Vec<_> = pairs.iter().filter(|pair| !has_place(pair)).copied().collect();
        let renewed = pairs
            .iter()
            .filter(|(_, source)| renewed.contains(source))
            .copied();
        let looked_at: BTreeSet<_> = renewed.chain(unknown).collect();
        let mut numbers: BTreeMap<Vni, Vec<Number>> = BTreeMap::new();
        for (vni, source) in looked_at {
            let members = numbers.entry(vni).or_insert_with(|| {
                let members = self.networks.get(&vni).into_iter().flatten();
                members.filter_map(|member| number(known, member)).collect()
            });
            let tree = self.sources.get(&source);
            let new = tree.and_then(|tree| place(known, &self.own, tree, members));
            let old = match &new {
                Some(new) => self.places.insert((vni, source), new.clone()),
                None => self.places.remove(&(vni, source)),
            };
            if old != new {
                changes.push((vni, source, new));
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
    let ids = reached.iter().filter_map(|member| known.id(*member).copied());
    let mut ids: Vec<PeerId> = ids.collect();
    ids.sort_unstable();
    let branches = tree.branches(known, &reached)?;
    let root = TreeRoot {
        depth: reached.iter().filter_map(|member| tree.hops(*member)).max()?,
        mtu: branches.mtu,
        shape: branches.shape,
        reached: ids,
    };
    Some(Tree {
        parent: None,
        children,
        root: Some(root),
    })
}

#[cfg(test)]
mod tests;
