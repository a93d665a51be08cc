//! A model of two or three link tables and the pipes between them: whatever happens, at rest exactly one link
//! per pair is up, and it is the same one at both ends.

use super::{Greeter, Links, Phase};
use crate::outbox::Outbox;
use crate::spread::Spread;
use crate::testing::id;
use crate::wire::Message;
use crate::{Direction, Drops, Instant, LinkId, Output, PeerId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const LATENCY: u64 = 7_000;

struct Node {
    id: PeerId,
    links: Links,
    out: Outbox,
}

/// Both ends of a connection: node and link. An end is gone once its driver forgot it.
struct Pipe {
    ends: [(usize, LinkId); 2],
    open: [bool; 2],
    muted: bool,
}

type Flying = (usize, usize, Option<Vec<u8>>);

struct World {
    now: Instant,
    nodes: Vec<Node>,
    pipes: Vec<Pipe>,
    /// By time and count: the pipe, the end that receives, and the message; `None` closes.
    flying: BTreeMap<(u64, u64), Flying>,
    count: u64,
}

#[derive(Debug, Clone)]
enum Op {
    Dial(usize, usize),
    Close(usize),
    Mute(usize),
    Restart(usize),
    Run(u64),
}

fn node(id: PeerId, instance: u64) -> Node {
    let greeter = Greeter {
        id,
        name: "x".parse().unwrap(),
        instance,
        epoch: 1,
        versions: (1, 1),
    };
    let links = Links::new(greeter, Duration::from_secs(1), 3);
    Node {
        id,
        links,
        out: Outbox::new(Arc::new(Drops::default())),
    }
}

impl World {
    fn new(ids: &[PeerId]) -> Self {
        let nodes = (0..).zip(ids).map(|(n, id)| node(*id, n)).collect();
        Self {
            now: Instant(0),
            nodes,
            pipes: Vec::new(),
            flying: BTreeMap::new(),
            count: 100,
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Dial(a, b) => self.dial(a % self.nodes.len(), b % self.nodes.len()),
            Op::Close(pipe) if !self.pipes.is_empty() => {
                let pipe = pipe % self.pipes.len();
                self.gone(pipe, 0);
                self.gone(pipe, 1);
            }
            Op::Mute(pipe) if !self.pipes.is_empty() => {
                let count = self.pipes.len();
                self.pipes[pipe % count].muted = true;
            }
            Op::Restart(n) => {
                let n = n % self.nodes.len();
                self.count += 1;
                self.nodes[n] = node(self.nodes[n].id, self.count);
                for pipe in &mut self.pipes {
                    for end in 0..2 {
                        pipe.open[end] &= pipe.ends[end].0 != n;
                    }
                }
            }
            Op::Run(ms) => self.run(Duration::from_millis(*ms)),
            _ => {}
        }
    }

    fn dial(&mut self, a: usize, b: usize) {
        if self.nodes[a].id == self.nodes[b].id {
            return;
        }
        self.count += 1;
        let (near, far) = (LinkId(self.count * 2), LinkId(self.count * 2 + 1));
        self.pipes.push(Pipe {
            ends: [(a, near), (b, far)],
            open: [true; 2],
            muted: false,
        });
        for (n, other, link, direction) in [(b, a, far, Direction::In), (a, b, near, Direction::Out)] {
            let peer = self.nodes[other].id;
            let ids = (link, peer, "10.0.0.1:1".parse().unwrap());
            let node = &mut self.nodes[n];
            node.links.open(self.now, ids, direction, None, &mut node.out);
            self.drain(n);
        }
    }

    /// The driver of one end says that the connection is gone.
    fn gone(&mut self, pipe: usize, end: usize) {
        if std::mem::take(&mut self.pipes[pipe].open[end]) {
            let (n, link) = self.pipes[pipe].ends[end];
            self.nodes[n].links.closed(self.now, link, "gone");
            self.drain(n);
        }
    }

    fn drain(&mut self, n: usize) {
        while let Some(output) = self.nodes[n].out.pop() {
            let (link, bytes) = match output {
                Output::Send { link, packet, .. } => (link, Some(packet.bytes().to_vec())),
                Output::Close { link, .. } => (link, None),
                _ => continue,
            };
            let Some(pipe) = self.pipes.iter().position(|pipe| pipe.ends.contains(&(n, link))) else {
                continue;
            };
            let near = usize::from(self.pipes[pipe].ends[1] == (n, link));
            self.count += 1;
            self.flying.insert(
                (self.now.0 + LATENCY, self.count),
                (pipe, 1 - near, bytes.clone()),
            );
            if bytes.is_none() {
                self.gone(pipe, near);
            }
        }
        while self.nodes[n].links.next_happened().is_some() {}
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| Instant(*at));
            self.nodes.iter_mut().for_each(|node| node.links.renew_timeout());
            let timer = (0..self.nodes.len())
                .filter_map(|n| Some((self.nodes[n].links.next_timeout()?, n)))
                .min();
            let timer = timer.filter(|(at, _)| arrival.is_none_or(|arrival| *at < arrival));
            let at = timer.map(|(at, _)| at).or(arrival).filter(|at| *at <= end);
            let Some(at) = at else { break };
            self.now = self.now.max(at);
            match timer {
                Some((_, n)) => {
                    let node = &mut self.nodes[n];
                    node.links.tick(self.now, &mut Spread::default(), &mut node.out);
                    self.drain(n);
                }
                None => self.arrive(),
            }
        }
        self.now = end;
    }

    fn arrive(&mut self) {
        let Some((_, (pipe, end, bytes))) = self.flying.pop_first() else {
            return;
        };
        if self.pipes[pipe].muted || !self.pipes[pipe].open[end] {
            return;
        }
        let Some(bytes) = bytes else {
            return self.gone(pipe, end);
        };
        let (n, link) = self.pipes[pipe].ends[end];
        let (now, node) = (self.now, &mut self.nodes[n]);
        node.links.heard(now, link);
        match Message::decode(&bytes) {
            Ok(Message::Hello(hello)) => node.links.greeted(now, link, hello, &mut node.out),
            Ok(Message::Ping(ping)) => {
                node.links
                    .pinged(now, link, &ping, &mut Spread::default(), &mut node.out);
            }
            Ok(Message::Pong(pong)) => {
                node.links
                    .ponged(now, link, pong.number, &mut Spread::default(), &mut node.out);
            }
            _ => {}
        }
        self.drain(n);
    }

    /// The pipes that are up at `n` with the router `peer`.
    fn up(&self, n: usize, peer: &PeerId) -> BTreeSet<usize> {
        let links = self.nodes[n].links.iter();
        let up = links.filter(|link| link.peer == *peer && matches!(link.phase, Phase::Up { .. }));
        up.filter_map(|link| {
            self.pipes
                .iter()
                .position(|pipe| pipe.ends.contains(&(n, link.id)))
        })
        .collect()
    }

    fn has_healthy(&self, a: usize, b: usize) -> bool {
        self.pipes.iter().any(|pipe| {
            let nodes = [pipe.ends[0].0, pipe.ends[1].0];
            pipe.open == [true; 2] && !pipe.muted && (nodes == [a, b] || nodes == [b, a])
        })
    }

    /// Nothing more happens: checks every pair. Of clones the other end keeps one.
    fn check_at_rest(&mut self) {
        let count = self.nodes.len();
        let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
        let healthy: BTreeSet<_> = pairs.filter(|(a, b)| self.has_healthy(*a, *b)).collect();
        self.run(Duration::from_secs(20));
        for a in 0..count {
            for peer in self.nodes.iter().map(|node| node.id).collect::<BTreeSet<_>>() {
                if peer == self.nodes[a].id {
                    continue;
                }
                let twins: Vec<_> = (0..count).filter(|b| self.nodes[*b].id == peer).collect();
                let up = self.up(a, &peer);
                let expected = usize::from(twins.iter().any(|b| healthy.contains(&(a, *b))));
                let own = self.nodes[a].id;
                let has_clone = |id| self.nodes.iter().filter(|node| node.id == id).count() > 1;
                if has_clone(own) || has_clone(peer) {
                    // One that was refused stays away although the other may have died since.
                    assert!(up.len() <= expected, "the other end chose one of the clones");
                } else {
                    assert_eq!(up.len(), expected, "links of {a} with {peer:?}");
                }
                let other_end: BTreeSet<_> = twins.iter().flat_map(|b| self.up(*b, &own)).collect();
                assert!(up.is_subset(&other_end), "the two ends agree");
                assert_eq!(self.nodes[a].links.with(&peer).is_some(), !up.is_empty());
            }
            assert!(
                self.nodes[a].links.iter().all(super::Link::is_up),
                "nothing is undecided"
            );
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        5 => (0..3_usize, 0..3_usize).prop_map(|(a, b)| Op::Dial(a, b)),
        1 => (0..8_usize).prop_map(Op::Close),
        1 => (0..8_usize).prop_map(Op::Mute),
        1 => (0..3_usize).prop_map(Op::Restart),
        4 => prop_oneof![0..40_u64, 0..4000_u64].prop_map(Op::Run),
    ];
    prop::collection::vec(op, 0..40)
}

proptest! {
    #[test]
    fn at_rest_one_link_per_pair(two in any::<bool>(), ops in ops()) {
        let ids = [id(3), id(1), id(2)];
        let mut world = World::new(if two { &ids[..2] } else { &ids });
        ops.iter().for_each(|op| world.apply(op));
        world.check_at_rest();
    }

    #[test]
    fn at_rest_one_link_per_identity(lower in any::<bool>(), ops in ops()) {
        // The second and the third are clones.
        let (a, b) = if lower { (id(1), id(2)) } else { (id(2), id(1)) };
        let mut world = World::new(&[a, b, b]);
        ops.iter().for_each(|op| world.apply(op));
        world.check_at_rest();
    }
}

#[test]
fn a_silent_newcomer_is_closed_after_three_seconds() {
    let mut node = node(id(1), 1);
    let ids = (LinkId(1), id(2), "10.0.0.1:1".parse().unwrap());
    node.links
        .open(Instant(0), ids, Direction::In, None, &mut node.out);
    node.links.renew_timeout();
    assert_eq!(node.links.next_timeout(), Some(Instant(3_000_000)));
    node.links
        .tick(Instant(3_000_000), &mut Spread::default(), &mut node.out);
    assert_eq!(node.links.iter().count(), 0);
    assert!(std::iter::from_fn(|| node.out.pop()).any(|output| matches!(output, Output::Close { .. })));
}
