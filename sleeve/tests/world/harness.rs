//! A few routers joined in memory: real planes and control halves over an in-memory network, with virtual time and
//! a stand-in for mesh that knows fixed relayed routes and prefers direct paths.

pub use crate::node::*;
use crypto::Identity;
use mesh::{DropReason, Fdb, FdbChange, Instant, LinkLabel, Mac, PeerId, Route, Vni};
use sleeve::io::memory::{Network, Wire};
use sleeve::io::{Batch, Udp};
use sleeve::offload::Offload;
use sleeve::{Input, Output, Sink, Via};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub const VNI: Vni = Vni(1);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Control payloads on their way: (arrival, number) to (from, to, payload).
type Control = BTreeMap<(Instant, u64), (usize, usize, Vec<u8>)>;

pub struct World {
    pub net: Network,
    pub now: Instant,
    pub nodes: Vec<Node>,
    control: Control,
    sequence: u64,
    /// How many of the next control payloads are lost.
    pub lose_control: usize,
    pub control_delay: Duration,
    pub control_log: Vec<(usize, usize, Vec<u8>)>,
}

#[derive(Default)]
struct Made {
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    frames: Vec<Vec<u8>>,
    inputs: Vec<Input>,
    needs: usize,
}

impl Sink for Made {
    fn datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.datagrams.push((to, bytes.to_vec()));
    }
    fn frame(&mut self, vni: Vni, frame: &[u8]) {
        assert_eq!(vni, VNI);
        self.frames.push(frame.to_vec());
    }
    fn control(&mut self, from: PeerId, via: Via, message: &[u8]) {
        self.inputs.push(Input::Message {
            from,
            via,
            bytes: message.to_vec(),
        });
    }
    fn need(&mut self, peer: PeerId) {
        self.needs += 1;
        self.inputs.push(Input::Need { peer });
    }
    fn alive(&mut self, peer: PeerId) {
        self.inputs.push(Input::Alive { peer });
    }
    fn group(&mut self, vni: Vni) {
        self.inputs.push(Input::Group { vni });
    }
    fn tree(&mut self, vni: Vni, source: mesh::ShortId) {
        self.inputs.push(Input::TreeUsed { vni, source });
    }
}

pub fn mac(node: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, node as u8 + 1])
}

pub fn ip(node: usize) -> IpAddr {
    [10, 0, 0, node as u8 + 1].into()
}

/// An Ethernet frame of `length` bytes from node to node, of a protocol that nothing here looks into.
pub fn frame(from: usize, to: usize, number: u32, length: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(length);
    frame.extend(mac(to).0);
    frame.extend(mac(from).0);
    frame.extend([0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.extend(b"the payload that must never be seen in clear");
    let filler = (frame.len()..length).map(|i| i as u8);
    frame.extend(filler.collect::<Vec<_>>());
    frame.truncate(length.max(18));
    frame
}

impl World {
    pub fn new(count: usize) -> Self {
        Self::with(count, &Options::default())
    }

    pub fn with(count: usize, options: &Options) -> Self {
        let net = Network::new(options.seed);
        net.set_usual(Wire {
            mtu: options.max_mtu,
            ..Wire::default()
        });
        // Ids in order, so that node 0 is the lower of every pair.
        let mut identities: Vec<_> = (0..count)
            .map(|n| Identity::generate(&mut Random(options.seed * 100 + n as u64)))
            .collect();
        identities.sort_by_key(Identity::public);
        let nodes = identities.into_iter().enumerate();
        let nodes = nodes
            .map(|(n, identity)| Node::new(&net, n, identity, options))
            .collect();
        let mut world = Self {
            net,
            now: Instant(1_000_000),
            nodes,
            control: BTreeMap::new(),
            sequence: 0,
            lose_control: 0,
            control_delay: ms(2),
            control_log: Vec::new(),
        };
        world.net.advance(world.now);
        for n in 0..count {
            world.introduce(n);
        }
        world
    }

    /// Tells everybody of node `n`, and it of everybody.
    pub fn introduce(&mut self, n: usize) {
        let count = self.nodes.len();
        let node = &self.nodes[n];
        node.plane.attach(VNI, mac(n), &[ip(n)]);
        let info = node.info();
        let address = node.address;
        self.input(n, Input::Addresses(vec![address]));
        for other in (0..count).filter(|&other| other != n) {
            let set = FdbChange::Set {
                mac: mac(n),
                peer: info.peer,
                addresses: vec![ip(n)],
            };
            self.nodes[other].plane.apply_fdb(&Fdb {
                vni: VNI,
                change: set,
            });
            let members = (0..count)
                .filter(|&m| m != other)
                .map(|m| self.nodes[m].id)
                .collect();
            self.nodes[other].plane.apply_fdb(&Fdb {
                vni: VNI,
                change: FdbChange::Members(members),
            });
            self.nodes[other]
                .plane
                .set_label(LinkLabel(n as u16 + 1), Some(info.peer));
            self.input(other, Input::Peer(info.clone()));
        }
    }

    /// Node `n` has these secrets from now on, and its record tells so.
    pub fn set_secrets(&mut self, n: usize, secrets: &[u64]) {
        self.nodes[n].secrets = secrets.to_vec();
        self.input(n, Input::Keyring(keyring(secrets)));
        let info = self.nodes[n].info();
        for other in (0..self.nodes.len()).filter(|&other| other != n) {
            self.input(other, Input::Peer(info.clone()));
        }
    }

    /// A link between two nodes comes up.
    pub fn link(&mut self, a: usize, b: usize) {
        for (a, b) in [(a, b), (b, a)] {
            let (peer, address) = (self.nodes[b].id, Some(self.nodes[b].address));
            self.input(a, Input::Neighbor { peer, address });
        }
    }

    pub fn unlink(&mut self, a: usize, b: usize) {
        for (a, b) in [(a, b), (b, a)] {
            let peer = self.nodes[b].id;
            self.input(a, Input::Neighbor { peer, address: None });
        }
    }

    /// Fixes the relayed route between the ends of `path`, both ways; direct paths go before it.
    pub fn relayed(&mut self, path: &[usize], mtu: u16) {
        let back: Vec<_> = path.iter().rev().copied().collect();
        for path in [path.to_vec(), back] {
            let labels: Vec<_> = path[2..].iter().map(|&n| n as u16 + 1).collect();
            self.relayed_by(&path, &labels, mtu);
        }
    }

    /// Fixes the relayed route from one end of `path` to the other, by these labels. It costs 1 ms for each hop.
    pub fn relayed_by(&mut self, path: &[usize], labels: &[u16], mtu: u16) {
        let (from, to) = (path[0], path[path.len() - 1]);
        let route = Route {
            path: path[1..].iter().map(|&n| self.nodes[n].id).collect(),
            labels: labels.iter().take(13).map(|&label| LinkLabel(label)).collect(),
            cost_us: 1000 * (path.len() as u64 - 1),
            mtu,
        };
        self.nodes[from].relayed.insert(to, route);
        self.reroute(from, to);
    }

    fn reroute(&mut self, from: usize, to: usize) {
        let peer = self.nodes[to].id;
        let node = &self.nodes[from];
        let route = match node.direct.get(&to) {
            Some(&mtu) => Some(Route {
                path: vec![peer],
                labels: vec![],
                cost_us: 0,
                mtu,
            }),
            None => node.relayed.get(&to).cloned(),
        };
        self.input(from, Input::Route { peer, route });
    }

    pub fn number(&self, id: PeerId) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap()
    }

    pub fn input(&mut self, n: usize, input: Input) {
        let now = self.now;
        self.nodes[n].sleeve.handle_input(now, input);
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        let mut outputs = VecDeque::new();
        while let Some(output) = self.nodes[n].sleeve.poll_output() {
            outputs.push_back(output);
        }
        for output in outputs {
            self.output(n, output);
        }
    }

    fn output(&mut self, n: usize, output: Output) {
        match output {
            Output::Control { to, payload } => {
                let to = self.number(to);
                self.control_log.push((n, to, payload.clone()));
                if self.lose_control > 0 {
                    self.lose_control -= 1;
                } else {
                    self.sequence += 1;
                    self.control
                        .insert((self.now + self.control_delay, self.sequence), (n, to, payload));
                }
            }
            Output::Datagram { to, bytes } => self.nodes[n].socket.send(to, &bytes).unwrap(),
            Output::PathUp { peer, mtu, .. } => {
                let peer = self.number(peer);
                self.nodes[n].direct.insert(peer, mtu);
                self.reroute(n, peer);
            }
            Output::PathDown { peer } => {
                let peer = self.number(peer);
                self.nodes[n].downs += 1;
                self.nodes[n].direct.remove(&peer);
                self.reroute(n, peer);
            }
            Output::Pong { .. } | Output::PingFailed { .. } => self.nodes[n].pongs.push(output),
            Output::UseTree { source, .. } => {
                self.nodes[n].used.insert(source);
            }
            // A kernel that takes whatever it is given.
            Output::EspInbound { peer, number, .. } => {
                self.nodes[n].esp.push(output);
                self.input(n, Input::EspTaken { peer, number });
            }
            Output::EspOutbound { .. } | Output::EspRefused { .. } => self.nodes[n].esp.push(output),
            Output::Log(event) => self.nodes[n].logs.push(event),
        }
    }

    /// A container at `n` sends a frame.
    pub fn send(&mut self, n: usize, frame: &[u8]) {
        let mut made = Made::default();
        let node = &mut self.nodes[n];
        node.plane
            .outbound(self.now, frame, VNI, &mut node.scratch, &mut made);
        self.take(n, made);
    }

    /// As [`Self::send`], with something left to do.
    pub fn send_with(&mut self, n: usize, frame: &[u8], offload: Offload) {
        let mut made = Made::default();
        let node = &mut self.nodes[n];
        node.plane
            .outbound_batched(self.now, frame, offload, VNI, &mut node.scratch, &mut made);
        node.scratch.flush(&mut made);
        self.take(n, made);
    }

    /// A datagram reaches the data port of `n`.
    pub fn receive(&mut self, n: usize, from: SocketAddr, datagram: &[u8]) {
        let mut made = Made::default();
        let node = &mut self.nodes[n];
        let mut datagram = datagram.to_vec();
        node.plane
            .inbound(self.now, from, &mut datagram, &mut node.scratch, &mut made);
        self.take(n, made);
    }

    fn take(&mut self, n: usize, made: Made) {
        let node = &mut self.nodes[n];
        for (to, bytes) in made.datagrams {
            node.socket.send(to, &bytes).unwrap();
        }
        node.frames.extend(made.frames);
        node.needs += made.needs;
        for input in made.inputs {
            self.input(n, input);
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        loop {
            let timers = self.nodes.iter().filter_map(|node| node.sleeve.poll_timeout());
            let control = self.control.first_key_value().map(|(&(at, _), _)| at);
            let next = timers.chain(control).chain(self.net.next_arrival()).min();
            let Some(next) = next.filter(|&next| next <= end) else {
                break;
            };
            steps += 1;
            assert!(steps < 2_000_000, "time stands still at {next:?}");
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
        self.net.advance(end);
    }

    fn step(&mut self) {
        self.net.advance(self.now);
        for n in 0..self.nodes.len() {
            let mut batch = Batch::new(64, 10_000);
            loop {
                self.nodes[n].socket.recv(&mut batch).unwrap();
                let got: Vec<_> = batch
                    .iter_mut()
                    .map(|(from, bytes)| (from, bytes.to_vec()))
                    .collect();
                for (from, bytes) in &got {
                    self.receive(n, *from, bytes);
                }
                if got.is_empty() {
                    break;
                }
            }
        }
        while let Some(entry) = self
            .control
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let (from, to, payload) = entry.remove();
            let from = self.nodes[from].id;
            self.input(to, Input::Control { from, payload });
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n]
                .sleeve
                .poll_timeout()
                .is_some_and(|at| at <= self.now)
            {
                self.input(n, Input::Tick);
            }
        }
    }

    /// Restarts node `n` with a new epoch, at the same place.
    pub fn restart(&mut self, n: usize, options: &Options) {
        let old = &self.nodes[n];
        let (identity, epoch, relayed) = ((*old.identity).clone(), old.epoch + 1, old.relayed.clone());
        self.nodes[n] = Node::new(&self.net, n, identity, options);
        self.nodes[n].epoch = epoch;
        self.nodes[n].relayed = relayed;
        self.input(n, Input::Epoch(epoch));
        self.introduce(n);
        for other in (0..self.nodes.len()).filter(|&other| other != n) {
            let (info, id) = (self.nodes[other].info(), self.nodes[other].id);
            let set = FdbChange::Set {
                mac: mac(other),
                peer: id,
                addresses: vec![ip(other)],
            };
            self.nodes[n].plane.apply_fdb(&Fdb {
                vni: VNI,
                change: set,
            });
            self.nodes[n]
                .plane
                .set_label(LinkLabel(other as u16 + 1), Some(id));
            self.input(n, Input::Peer(info));
            self.reroute(n, other);
        }
    }

    /// Node `n` is from now on at another address; nobody is told.
    pub fn move_to(&mut self, n: usize, address: SocketAddr) {
        self.net.close(self.nodes[n].address);
        self.nodes[n].address = address;
        self.nodes[n].socket = self.net.socket(address);
        self.input(n, Input::Addresses(vec![address]));
    }

    /// Sends a frame and tells whether it is delivered, exactly once, within 100 ms.
    pub fn passes(&mut self, from: usize, to: usize, number: u32, length: usize) -> bool {
        let frame = frame(from, to, number, length);
        let count = |world: &Self| world.nodes[to].frames.iter().filter(|got| **got == frame).count();
        let before = count(self);
        self.send(from, &frame);
        self.run(ms(100));
        let delivered = count(self) - before;
        assert!(delivered <= 1, "delivered {delivered} times");
        delivered == 1
    }

    pub fn drops(&self, n: usize, reason: DropReason) -> u64 {
        self.nodes[n].drops.get(reason)
    }

    /// Sets both directions between two nodes.
    pub fn wire(&self, a: usize, b: usize, wire: Option<Wire>) {
        let (a, b) = (self.nodes[a].address.ip(), self.nodes[b].address.ip());
        self.net.set_wire(a, b, wire);
        self.net.set_wire(b, a, wire);
    }
}
