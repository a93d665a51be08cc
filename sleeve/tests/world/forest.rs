//! A world with mesh's trees: what each router's core would tell of broadcast, computed from the direct paths that
//! work and from who has ports.

use crate::harness::*;
use mesh::{
    Adjacency, Delay, Fdb, FdbChange, LinkLabel, Mac, MacsBody, PeerId, Registry, Topology, Tree, Trees,
};
use sleeve::Input;
use sleeve::io::memory::{Packet, Wire};

pub struct Forest {
    pub world: World,
    links: Vec<(usize, usize)>,
    members: Vec<usize>,
    trees: Vec<Trees>,
}

/// The routers `0..count` in a line.
pub fn line(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|n| (n - 1, n)).collect()
}

/// Router 0 in the middle.
pub fn star(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|n| (0, n)).collect()
}

pub fn full(count: usize) -> Vec<(usize, usize)> {
    (0..count)
        .flat_map(|a| (a + 1..count).map(move |b| (a, b)))
        .collect()
}

/// A frame to everybody.
pub fn to_all(from: usize, number: u32, length: usize) -> Vec<u8> {
    let mut frame = frame(from, from, number, length);
    frame[..6].fill(0xff);
    frame
}

impl Forest {
    /// Routers with these links and no other way to each other, of which `members` have ports. The tree is known
    /// everywhere.
    pub fn new(count: usize, links: Vec<(usize, usize)>, members: &[usize]) -> Self {
        let mut world = World::new(count);
        for (a, b) in full(count) {
            if !links.contains(&(a, b)) {
                world.wire(a, b, Some(Wire::cut()));
            }
        }
        for &(a, b) in &links {
            world.link(a, b);
        }
        world.run(secs(2));
        let trees = world.nodes.iter().map(|node| Trees::new(node.id)).collect();
        let mut forest = Self {
            world,
            links,
            members: members.to_vec(),
            trees,
        };
        for n in (0..count).filter(|n| !members.contains(n)) {
            forest.world.nodes[n].plane.detach(VNI, mac(n));
        }
        for (a, b) in full(count) {
            let path = forest.path(a, b);
            if path.len() > 2 {
                forest.world.relayed(&path, 1500);
            }
        }
        forest.join(members);
        forest.grow();
        forest
    }

    /// The fewest hops between two routers.
    fn path(&self, from: usize, to: usize) -> Vec<usize> {
        let mut paths = vec![vec![from]];
        loop {
            if let Some(path) = paths.iter().find(|path| path.last() == Some(&to)) {
                return path.clone();
            }
            let next = |path: &Vec<usize>| {
                let at = path[path.len() - 1];
                let ends = self.links.iter().filter_map(move |&(a, b)| match at {
                    at if at == a => Some(b),
                    at if at == b => Some(a),
                    _ => None,
                });
                let path = path.clone();
                let ends: Vec<_> = ends.filter(|end| !path.contains(end)).collect();
                ends.into_iter()
                    .map(move |end| [path.clone(), vec![end]].concat())
            };
            paths = paths.iter().flat_map(next).collect();
            paths.sort_by_key(|path| path[path.len() - 1]);
            paths.dedup_by_key(|path| path[path.len() - 1]);
        }
    }

    /// From now on these have ports.
    pub fn join(&mut self, members: &[usize]) {
        self.members = members.to_vec();
        for n in 0..self.world.nodes.len() {
            let others = members.iter().filter(|&&m| m != n);
            let others = others.map(|&m| self.world.nodes[m].id).collect();
            self.world.nodes[n].plane.apply_fdb(&Fdb {
                vni: VNI,
                change: FdbChange::Members(others),
            });
        }
    }

    fn topology(&self) -> Topology {
        let mut topology = Topology::default();
        for (n, node) in self.world.nodes.iter().enumerate() {
            let linked = |to: &usize| self.links.contains(&(n.min(*to), n.max(*to)));
            let adjacency = |(to, mtu): (&usize, &u16)| Adjacency {
                neighbor: self.world.nodes[*to].id.short(),
                label: LinkLabel(*to as u16 + 1),
                delay: Delay::from_us(1000),
                mtu: *mtu,
            };
            let direct = node.direct.iter().filter(|(to, _)| linked(to));
            topology.set(node.id, direct.map(adjacency).collect());
        }
        topology
    }

    fn registry(&self, own: usize) -> Registry {
        let mut registry = Registry::new(self.world.nodes[own].id);
        for &member in &self.members {
            let entries: Vec<(Mac, Vec<_>)> = vec![(mac(member), vec![])];
            let id = self.world.nodes[member].id;
            registry.attach(VNI, mac(own), vec![]);
            if member != own {
                registry.learn(id, u64::from(VNI.0) << 16, &MacsBody { vni: VNI, entries });
            }
        }
        if !self.members.contains(&own) {
            registry.detach(VNI, &mac(own));
        }
        registry
    }

    /// Every router's core looks at its trees anew.
    pub fn grow(&mut self) {
        (0..self.world.nodes.len()).for_each(|n| self.grow_at(n));
    }

    pub fn grow_at(&mut self, n: usize) {
        let (topology, registry) = (self.topology(), self.registry(n));
        // Made anew, the versions of both say nothing.
        let mut trees = Trees::new(self.world.nodes[n].id);
        let now = self.world.now;
        let mut all = trees.recompute(now, &topology, &registry);
        for &member in &self.members {
            trees.note_use(now, VNI, self.world.nodes[member].id);
        }
        all.extend(trees.recompute(now, &topology, &registry));
        self.trees[n] = trees;
        let mut known: Vec<PeerId> = self.world.nodes.iter().map(|node| node.id).collect();
        known.retain(|id| !all.iter().any(|(_, source, _)| source == id));
        for source in known {
            self.plant(n, source, None);
        }
        for (_, source, tree) in all {
            self.plant(n, source, tree);
        }
    }

    /// Router `n` sees this as its place.
    pub fn plant(&mut self, n: usize, source: PeerId, tree: Option<Tree>) {
        let vni = VNI;
        self.world.input(n, Input::Tree { vni, source, tree });
    }

    /// A place in the tree of `source` that no core would compute.
    pub fn graft(&mut self, n: usize, source: usize, parent: usize, children: &[usize]) {
        let id = |n: usize| self.world.nodes[n].id;
        let tree = Tree {
            parent: Some(id(parent)),
            children: children.iter().map(|&child| id(child)).collect(),
            root: None,
        };
        self.plant(n, id(source), Some(tree));
    }

    /// Lets keys be given: a first frame of each of `sources`, which may be lost, and time.
    pub fn warm(&mut self, sources: &[usize]) {
        for &source in sources {
            self.world.send(source, &to_all(source, u32::MAX, 100));
        }
        self.world.run(secs(3));
        self.world.net.capture();
        let _ = self.world.net.captured();
    }

    /// Sends a frame and sees that every other member gets it once and nobody else does. Returns the group
    /// datagrams that took, and how many copies went over the wires.
    pub fn broadcast(&mut self, from: usize, number: u32, length: usize) -> (Vec<Packet>, usize) {
        let frame = to_all(from, number, length);
        self.world.net.capture();
        let _ = self.world.net.captured();
        self.world.send(from, &frame);
        self.world.run(ms(100));
        for (n, node) in self.world.nodes.iter().enumerate() {
            let count = node.frames.iter().filter(|got| **got == frame).count();
            let expected = usize::from(n != from && self.members.contains(&n));
            assert_eq!(count, expected, "frame {number} of {from} at {n}");
        }
        let packets = self.world.net.captured();
        // Straight, or behind a relay header with up to seven labels.
        let lengths: Vec<_> = std::iter::once(0)
            .chain((1..8).map(|labels| 49 + 2 * labels))
            .map(|more| length + 36 + more)
            .collect();
        let is_copy = |packet: &&Packet| packet.bytes[0] != 4 && lengths.contains(&packet.bytes.len());
        let copies = packets.iter().filter(is_copy).count();
        let groups = packets.into_iter().filter(|packet| packet.bytes[0] == 4);
        (groups.collect(), copies)
    }

    /// No router dropped anything.
    pub fn assert_no_drops(&self) {
        for (n, node) in self.world.nodes.iter().enumerate() {
            assert_eq!(node.drops.nonzero().collect::<Vec<_>>(), [], "at {n}");
        }
    }
}
