//! Many routers' decisions together, over a model of what their kernels do: views of the network differ for seconds, and
//! frames are lost only while a link is dead and nobody has noticed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use fastpath::overlay::{Config, Direct, GRACE, Input, MAX_HOPS, Output, Overlay};
use fastpath::vxlan::Hop;
use mesh::{Instant, PeerId, PeerLabel};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

const MTU: u16 = 1390;
const TICK: Duration = Duration::from_millis(10);

fn id(n: usize) -> PeerId {
    PeerId([n as u8 + 1; 32])
}

fn label(n: usize) -> PeerLabel {
    PeerLabel(n as u16 + 1)
}

fn address(n: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, n as u8])
}

/// A link between two routers, the lower number first.
type Link = (usize, usize);

/// A router and its kernel's tables.
struct Router {
    overlay: Overlay,
    hops: BTreeMap<PeerLabel, Hop>,
    senders: BTreeMap<IpAddr, PeerLabel>,
    /// The links it believes there to be.
    view: BTreeSet<Link>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    fast: u64,
    sleeve: u64,
    lost: u64,
}

struct World {
    now: Instant,
    routers: Vec<Router>,
    links: BTreeSet<Link>,
    /// Who hears when of a link that came or went.
    news: Vec<(Instant, usize, Link, bool)>,
    count: Count,
    longest: usize,
}

impl World {
    fn new(routers: usize, links: &BTreeSet<Link>) -> Self {
        let router = |n: usize| Router {
            overlay: Overlay::new(
                Config {
                    port: 6784,
                    mtu: MTU,
                    grace: GRACE,
                    first: n as u64 * 1_000_000,
                },
                Instant(0),
                BTreeMap::new(),
                BTreeMap::new(),
            ),
            hops: BTreeMap::new(),
            senders: BTreeMap::new(),
            view: BTreeSet::new(),
        };
        let mut world = Self {
            now: Instant(0),
            routers: (0..routers).map(router).collect(),
            links: links.clone(),
            news: Vec::new(),
            count: Count::default(),
            longest: 0,
        };
        for n in 0..routers {
            for other in (0..routers).filter(|other| *other != n) {
                let (peer, label, port) = (id(other), label(other), 6784);
                let addresses = vec![address(other)];
                world.input(
                    n,
                    Input::Peer {
                        peer,
                        port,
                        addresses,
                    },
                );
                world.input(n, Input::Label { peer, label });
            }
            world.routers[n].view.clone_from(links);
            world.routes(n);
        }
        world
    }

    fn has(&self, a: usize, b: usize) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    /// The shortest path from a router to another as it believes.
    fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let view = &self.routers[from].view;
        let mut before = BTreeMap::from([(from, from)]);
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for next in (0..self.routers.len()).filter(|next| view.contains(&(at.min(*next), at.max(*next))))
            {
                if let std::collections::btree_map::Entry::Vacant(entry) = before.entry(next) {
                    entry.insert(at);
                    queue.push_back(next);
                }
            }
        }
        before.get(&to)?;
        let mut path = vec![to];
        while before[path.last().unwrap()] != from {
            path.push(before[path.last().unwrap()]);
        }
        path.reverse();
        Some(path)
    }

    /// Tells a router what follows from its view.
    fn routes(&mut self, n: usize) {
        for other in (0..self.routers.len()).filter(|other| *other != n) {
            let peer = id(other);
            let linked = self.routers[n].view.contains(&(n.min(other), n.max(other)));
            let path = linked.then(|| Direct {
                address: address(other),
                encrypted: false,
            });
            self.input(n, Input::Direct { peer, path });
            let path = self.path(n, other).map(|path| path.into_iter().map(id).collect());
            self.input(n, Input::Route { peer, path });
        }
    }

    fn input(&mut self, n: usize, input: Input) {
        self.routers[n].overlay.handle_input(self.now, input);
        for output in self.routers[n].overlay.take_outputs() {
            match output {
                Output::Hop {
                    label,
                    hop: Some(hop),
                } => drop(self.routers[n].hops.insert(label, hop)),
                Output::Hop { label, hop: None } => drop(self.routers[n].hops.remove(&label)),
                Output::Sender {
                    address,
                    label: Some(label),
                } => drop(self.routers[n].senders.insert(address, label)),
                Output::Sender { address, label: None } => drop(self.routers[n].senders.remove(&address)),
                Output::Probe { to, number, by, .. } => {
                    let by = by.map(|(address, distance)| Hop {
                        address,
                        distance,
                        carries: false,
                        relays: false,
                    });
                    let hop = by.or_else(|| self.routers[n].hops.get(&to).copied());
                    if let Some(there) = hop.and_then(|hop| self.walk(n, hop, to))
                        && let Some(back) = self.routers[there].hops.get(&label(n)).copied()
                        && self.walk(there, back, label(n)) == Some(n)
                    {
                        self.input(n, Input::Answer { from: to, number });
                    }
                }
                Output::Moved { .. }
                | Output::Group { .. }
                | Output::Tree { .. }
                | Output::ProbeTree { .. } => {}
            }
        }
    }

    /// As `mesh_in` does it: where a packet for `to` arrives that a router sends by `hop`, if it does.
    fn walk(&mut self, from: usize, hop: Hop, to: PeerLabel) -> Option<usize> {
        let (mut at, mut hop, mut relays) = (from, hop, usize::from(hop.distance) - 1);
        for steps in 1.. {
            assert!(steps <= MAX_HOPS, "a packet goes round");
            self.longest = self.longest.max(steps);
            let next = (0..self.routers.len()).find(|n| address(*n) == hop.address)?;
            if !self.has(at, next) || !self.routers[next].senders.contains_key(&address(at)) {
                return None;
            }
            if label(next) == to {
                return Some(next);
            }
            let on = *self.routers[next].hops.get(&to)?;
            let fits = relays > 0 && usize::from(on.distance) <= relays;
            if on.address == address(at) || !fits || !on.relays {
                return None;
            }
            (at, hop, relays) = (next, on, relays - 1);
        }
        None
    }

    fn change(&mut self, link: Link, up: bool, delays: &[u16]) {
        if up {
            self.links.insert(link);
        } else {
            self.links.remove(&link);
        }
        for (n, delay) in (0..self.routers.len()).zip(delays.iter().cycle()) {
            let at = self.now + Duration::from_millis((*delay).into());
            self.news.push((at, n, link, up));
        }
    }

    /// Lets time pass; every pair sends a frame each tick.
    fn run(&mut self, time: Duration) -> Count {
        let (before, end) = (self.count, self.now + time);
        while self.now < end {
            self.now = self.now + TICK;
            let due: Vec<_> = self
                .news
                .iter()
                .filter(|news| news.0 <= self.now)
                .copied()
                .collect();
            self.news.retain(|news| news.0 > self.now);
            for (_, n, link, up) in due {
                if up {
                    self.routers[n].view.insert(link);
                } else {
                    self.routers[n].view.remove(&link);
                }
                self.routes(n);
            }
            for n in 0..self.routers.len() {
                self.input(n, Input::Tick);
            }
            for (from, to) in self.pairs() {
                match self.routers[from]
                    .hops
                    .get(&label(to))
                    .filter(|hop| hop.carries)
                    .copied()
                {
                    None => self.count.sleeve += 1,
                    Some(hop) if self.walk(from, hop, label(to)) == Some(to) => self.count.fast += 1,
                    Some(_) => self.count.lost += 1,
                }
            }
        }
        Count {
            fast: self.count.fast - before.fast,
            sleeve: self.count.sleeve - before.sleeve,
            lost: self.count.lost - before.lost,
        }
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.routers.len();
        let with = |from| {
            all.clone()
                .filter(move |to| *to != from)
                .map(move |to| (from, to))
        };
        all.clone().flat_map(with).collect()
    }

    /// Pairs that have a way and do not use it.
    fn not_fast(&self) -> Vec<(usize, usize)> {
        let mut pairs = self.pairs();
        pairs.retain(|(from, to)| {
            let near = self.path(*from, *to).is_some_and(|path| path.len() <= MAX_HOPS);
            near && !self.routers[*from].overlay.is_fast(&id(*to))
        });
        pairs
    }
}

prop_compose! {
    /// A tree over all routers, and some links more.
    fn network()(
        routers in 4..9_usize,
        parents in prop::collection::vec(any::<prop::sample::Index>(), 8),
        more in prop::collection::vec((0..8_usize, 0..8_usize), 1..6),
    ) -> (usize, BTreeSet<Link>) {
        let tree = (1..routers).map(|n| (parents[n - 1].index(n), n));
        let more = more.into_iter().map(|(a, b)| (a.min(b), a.max(b)));
        (routers, tree.chain(more.filter(|(a, b)| a != b && *b < routers)).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_are_lost_only_while_a_dead_link_is_not_noticed(
        (routers, links) in network(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(200..4000_u16, 8)), 1..4),
    ) {
        let mut world = World::new(routers, &links);
        prop_assert_eq!(world.run(Duration::from_secs(3)).lost, 0);
        prop_assert_eq!(world.not_fast(), []);
        let all: Vec<_> = links.into_iter().collect();
        for (which, delays) in changes {
            let link = all[which.index(all.len())];
            world.change(link, false, &delays);
            let unnoticed = world.run(Duration::from_secs(2));
            // Noticed: what routers believe differs for some seconds yet.
            let after = world.run(Duration::from_secs(20));
            prop_assert_eq!(after.lost, 0, "{:?} while views differ", after);
            println!("{routers} routers, a link dies: {unnoticed:?} in two seconds, then {after:?}");
            prop_assert_eq!(world.not_fast(), []);
            world.change(link, true, &delays);
            let after = world.run(Duration::from_secs(9));
            prop_assert_eq!(after.lost, 0, "{:?} although only a link came", after);
            prop_assert_eq!(world.not_fast(), []);
        }
        prop_assert!(world.longest <= MAX_HOPS);
    }
}
