//! Many routers' decisions together, over the model of what their kernels do: views of the network differ for seconds, and
//! frames are lost only while a link is dead and nobody has noticed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use fastpath::model::{Kernel, Step};
use fastpath::overlay::{Config, Cover, Direct, GRACE, Input, MAX_HOPS, Output, Overlay};
use fastpath::vxlan::{Came, Probe, probe_frame};
use mesh::{Instant, Mac, PeerId, PeerLabel, Vni};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

const MTU: u16 = 1390;
const VNI: Vni = Vni(1);
const TICK: Duration = Duration::from_millis(10);

fn id(n: usize) -> PeerId {
    PeerId([n as u8 + 1; 32])
}

fn label(n: usize) -> PeerLabel {
    PeerLabel(n as u16 + 1)
}

fn mac(n: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, n as u8])
}

/// A frame between the containers of two routers.
fn frame(from: usize, to: usize) -> Vec<u8> {
    [&mac(to).0[..], &mac(from).0, &[8, 0, 1, 2, 3]].concat()
}

fn address(n: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, n as u8])
}

/// A link between two routers, the lower number first.
type Link = (usize, usize);

/// The kernel of a router with one container, that knows all others'.
fn kernel(n: usize, routers: usize) -> Kernel {
    let mut kernel = Kernel::new(label(n));
    kernel.locals.insert((VNI, mac(n)));
    kernel.networks.insert(VNI);
    let others = (0..routers).filter(|other| *other != n);
    kernel.macs.extend(others.map(|n| ((VNI, mac(n)), label(n))));
    kernel
}

/// A router and its kernel's tables.
struct Router {
    overlay: Overlay,
    kernel: Kernel,
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
                    hops: MAX_HOPS,
                    first: n as u64 * 1_000_000,
                },
                Instant(0),
                BTreeMap::new(),
                BTreeMap::new(),
            ),
            kernel: kernel(n, routers),
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
                cover: Cover::Plain,
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
                } => drop(self.routers[n].kernel.hops.insert(label, hop)),
                Output::Hop { label, hop: None } => drop(self.routers[n].kernel.hops.remove(&label)),
                Output::Sender { address, label } => self.routers[n].kernel.set_sender(address, label),
                Output::Probe { to, number, size, by } => {
                    let frame = probe_frame(
                        Probe {
                            to,
                            from: label(n),
                            number,
                            size,
                        },
                        by,
                    );
                    let steps = self.routers[n].kernel.hatch_out(&frame);
                    for (at, step) in self.carry(n, steps) {
                        if let Step::Hatch(frame) = step
                            && let Some(Came::Answer { from, number }) = Came::read(&frame)
                        {
                            self.input(at, Input::Answer { from, number });
                        }
                    }
                }
                Output::Moved { .. }
                | Output::Group { .. }
                | Output::Tree { .. }
                | Output::ProbeTree { .. } => {}
            }
        }
    }

    /// Carries packets until none is on the way: what the kernels hand out, and where.
    fn carry(&mut self, from: usize, steps: Vec<Step>) -> Vec<(usize, Step)> {
        let mut on_the_way: VecDeque<_> = steps.into_iter().map(|step| (from, 1, step)).collect();
        let mut out = Vec::new();
        while let Some((at, hops, step)) = on_the_way.pop_front() {
            let Step::Send(to, packet) = step else {
                out.push((at, step));
                continue;
            };
            // A probe goes there and comes back.
            assert!(hops <= 2 * usize::from(MAX_HOPS), "a packet goes round");
            self.longest = self.longest.max(hops);
            let next = (0..self.routers.len()).find(|n| address(*n) == to);
            if let Some(next) = next.filter(|next| self.has(at, *next)) {
                let steps = self.routers[next].kernel.mesh_in(address(at), &packet);
                on_the_way.extend(steps.into_iter().map(|step| (next, hops + 1, step)));
            }
        }
        out
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
                let steps = self.routers[from].kernel.mesh_out(VNI, &frame(from, to));
                let came = |(at, step): &(usize, Step)| *at == to && matches!(step, Step::Deliver(..));
                match self.carry(from, steps).as_slice() {
                    [(_, Step::Elsewhere)] => self.count.sleeve += 1,
                    [one] if came(one) => self.count.fast += 1,
                    none => {
                        assert!(none.is_empty(), "{none:?}");
                        self.count.lost += 1;
                    }
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
            let near = self
                .path(*from, *to)
                .is_some_and(|path| path.len() <= usize::from(MAX_HOPS));
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
        prop_assert!(world.longest <= 2 * usize::from(MAX_HOPS));
    }
}
