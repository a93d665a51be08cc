//! Which hosts can exchange packets at all.
//!
//! A topology is about the ground, not about the mesh: between hosts without an edge no packet passes, so no router
//! can link them however it looks for links. Which of the possible links are made is the routers' own affair (and
//! `discovery` and `dial` say what they are told).

use super::select::is_name;
use crate::Random;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Everyone with everyone.
    #[default]
    Full,
    /// Each with the one before and the one after.
    Line,
    /// A line whose ends meet.
    Ring,
    /// Everyone with router 0 only.
    Star,
    /// Rows as long as there are rows, or a little longer; each with the four around.
    Grid,
    /// A ring through all in random order, and random pairs until each has about `degree`.
    Random,
    /// Full meshes of about the same size, joined in a ring by `bridges` pairs between one and the next.
    Clusters,
    /// The pairs in `edges`.
    Edges,
}

/// Which pairs can exchange packets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Its shape.
    pub kind: Shape,
    /// `random`: edges of each router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degree: Option<usize>,
    /// `clusters`: how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// `clusters`: pairs that join one with the next. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridges: Option<usize>,
    /// `edges`: the pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edges: Option<Vec<[usize; 2]>>,
}

/// Pairs that can exchange packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// All of so many.
    Full(usize),
    /// For each host the others, in order.
    Some(Vec<Vec<usize>>),
}

impl Ground {
    /// How many hosts.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Full(count) => *count,
            Self::Some(of) => of.len(),
        }
    }

    /// True without hosts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether two hosts can exchange packets.
    #[must_use]
    pub fn joins(&self, a: usize, b: usize) -> bool {
        match self {
            Self::Full(count) => a != b && a < *count && b < *count,
            Self::Some(of) => of.get(a).is_some_and(|of| of.binary_search(&b).is_ok()),
        }
    }

    /// Those with which a host can exchange packets.
    #[must_use]
    pub fn around(&self, host: usize) -> Vec<usize> {
        match self {
            Self::Full(count) => (0..*count).filter(|other| *other != host).collect(),
            Self::Some(of) => of.get(host).cloned().unwrap_or_default(),
        }
    }
}

impl Topology {
    /// What is wrong with it, and with which key.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let Self {
            kind,
            degree,
            clusters,
            bridges,
            edges,
        } = self;
        let stray = |is_there: bool, of: Shape| is_there && *kind != of;
        if stray(degree.is_some(), Shape::Random) {
            return Some(("degree", "only a random topology has a degree".into()));
        }
        if stray(clusters.is_some() || bridges.is_some(), Shape::Clusters) {
            return Some((
                "clusters",
                "only a topology of clusters has clusters and bridges".into(),
            ));
        }
        if stray(edges.is_some(), Shape::Edges) {
            return Some(("edges", "edges are given, but the kind is another".into()));
        }
        match kind {
            Shape::Random if !degree.is_some_and(|degree| degree >= 2) => {
                Some(("degree", "a random topology needs a degree of at least 2".into()))
            }
            Shape::Clusters if !clusters.is_some_and(|clusters| clusters >= 2) => {
                Some(("clusters", "it takes at least 2 clusters".into()))
            }
            Shape::Clusters if *bridges == Some(0) => {
                Some(("bridges", "without bridges nothing joins the clusters".into()))
            }
            Shape::Edges => match edges.as_deref() {
                None | Some([]) => Some(("edges", "this kind needs the list of pairs".into())),
                Some(edges) => edges
                    .iter()
                    .find(|[a, b]| a == b)
                    .map(|[a, _]| ("edges", format!("router {a} with itself"))),
            },
            _ => None,
        }
    }

    /// The cluster of a router among so many.
    #[must_use]
    pub fn cluster(&self, router: usize, peers: usize) -> usize {
        let clusters = self.clusters.unwrap_or(1).clamp(1, peers.max(1));
        router * clusters / peers.max(1)
    }

    /// The groups that a topology of clusters defines: `cluster-0`, `cluster-1`, ….
    pub(super) fn groups(&self, peers: usize) -> BTreeMap<String, Vec<usize>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        if self.kind == Shape::Clusters {
            for router in 0..peers {
                let name = format!("cluster-{}", self.cluster(router, peers));
                debug_assert!(is_name(&name), "selections can name it");
                groups.entry(name).or_default().push(router);
            }
        }
        groups
    }

    /// The ground for so many hosts.
    #[must_use]
    pub fn ground(&self, peers: usize, random: &mut Random) -> Ground {
        let mut pairs = BTreeSet::new();
        let mut join =
            |a: usize, b: usize| a != b && a < peers && b < peers && pairs.insert((a.min(b), a.max(b)));
        match self.kind {
            Shape::Full => return Ground::Full(peers),
            Shape::Line => (1..peers).for_each(|at| {
                join(at - 1, at);
            }),
            Shape::Ring => (0..peers).for_each(|at| {
                join(at, (at + 1) % peers);
            }),
            Shape::Star => (1..peers).for_each(|at| {
                join(0, at);
            }),
            Shape::Grid => {
                let wide = (peers as f64).sqrt().ceil() as usize;
                for at in 0..peers {
                    if (at + 1) % wide != 0 {
                        join(at, at + 1);
                    }
                    join(at, at + wide);
                }
            }
            Shape::Random => {
                let mut order: Vec<_> = (0..peers).collect();
                for at in (1..peers).rev() {
                    order.swap(at, random.below(at as u64 + 1) as usize);
                }
                let mut made = 0;
                for at in 0..peers {
                    made += usize::from(join(order[at], order[(at + 1) % peers]));
                }
                let most = peers * peers.saturating_sub(1) / 2;
                let wanted = (peers * self.degree.unwrap_or(2) / 2).min(most);
                while made < wanted {
                    let mut draw = || random.below(peers as u64) as usize;
                    made += usize::from(join(draw(), draw()));
                }
            }
            Shape::Clusters => {
                let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
                for router in 0..peers {
                    members
                        .entry(self.cluster(router, peers))
                        .or_default()
                        .push(router);
                }
                for of in members.values() {
                    for (at, a) in of.iter().enumerate() {
                        of[at + 1..].iter().for_each(|b| {
                            join(*a, *b);
                        });
                    }
                }
                for (cluster, of) in &members {
                    let next = &members[&((cluster + 1) % members.len())];
                    for bridge in 0..self.bridges.unwrap_or(1) {
                        // From the end of one to the beginning of the next, so that no router has two bridges if it
                        // can be helped.
                        join(of[of.len() - 1 - bridge % of.len()], next[bridge % next.len()]);
                    }
                }
            }
            Shape::Edges => {
                for [a, b] in self.edges.iter().flatten() {
                    join(*a, *b);
                }
            }
        }
        let mut of = vec![Vec::new(); peers];
        for (a, b) in pairs {
            of[a].push(b);
            of[b].push(a);
        }
        of.iter_mut().for_each(|around| around.sort_unstable());
        Ground::Some(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(kind: Shape, peers: usize) -> Ground {
        let topology = Topology {
            kind,
            degree: (kind == Shape::Random).then_some(4),
            clusters: (kind == Shape::Clusters).then_some(3),
            ..Topology::default()
        };
        assert_eq!(topology.fault(), None);
        topology.ground(peers, &mut Random::new(3))
    }

    fn degrees(ground: &Ground) -> Vec<usize> {
        (0..ground.len()).map(|host| ground.around(host).len()).collect()
    }

    fn is_connected(ground: &Ground) -> bool {
        let (mut seen, mut next) = (vec![false; ground.len()], vec![0]);
        while let Some(host) = next.pop() {
            if !std::mem::replace(&mut seen[host], true) {
                next.extend(ground.around(host));
            }
        }
        seen.into_iter().all(|seen| seen)
    }

    #[test]
    fn shapes_have_their_edges() {
        assert_eq!(degrees(&ground(Shape::Line, 4)), [1, 2, 2, 1]);
        assert_eq!(degrees(&ground(Shape::Ring, 4)), [2, 2, 2, 2]);
        assert_eq!(degrees(&ground(Shape::Star, 4)), [3, 1, 1, 1]);
        assert_eq!(degrees(&ground(Shape::Full, 4)), [3, 3, 3, 3]);
        assert_eq!(degrees(&ground(Shape::Grid, 9)), [2, 3, 2, 3, 4, 3, 2, 3, 2]);
        assert_eq!(degrees(&ground(Shape::Grid, 7)), [2, 3, 2, 3, 3, 2, 1]);
    }

    #[test]
    fn every_shape_is_connected_at_every_size() {
        for kind in [
            Shape::Full,
            Shape::Line,
            Shape::Ring,
            Shape::Star,
            Shape::Grid,
            Shape::Random,
            Shape::Clusters,
        ] {
            for peers in [1, 2, 3, 4, 5, 7, 10, 33, 100] {
                let ground = ground(kind, peers);
                assert!(is_connected(&ground), "{kind:?} of {peers}");
                for a in 0..peers {
                    assert!(
                        ground
                            .around(a)
                            .iter()
                            .all(|b| ground.joins(*b, a) && ground.joins(a, *b))
                    );
                }
            }
        }
    }

    #[test]
    fn random_topologies_have_about_their_degree() {
        let ground = ground(Shape::Random, 100);
        assert_eq!(degrees(&ground).iter().sum::<usize>(), 400);
    }

    #[test]
    fn clusters_are_joined_by_bridges() {
        let ground = ground(Shape::Clusters, 9);
        let bridges = (0..9).flat_map(|a| ground.around(a).into_iter().map(move |b| (a, b)));
        let bridges: Vec<_> = bridges.filter(|(a, b)| a / 3 != b / 3 && a < b).collect();
        assert_eq!(bridges, [(0, 8), (2, 3), (5, 6)]);
    }
}
