//! Three routers in a row, with true sessions: real data and control halves, and no network but function calls.
//!
//! Neighbours have direct paths; the ends reach each other over the one in the middle. Each has one container, with
//! the MAC and IP addresses of [`mac`] and [`addresses`].

use crate::caught::Caught;
use crate::random::Random;
use crypto::{Cipher, Identity, Keyring, Secret};
use mesh::{Drops, Fdb, FdbChange, Instant, LinkLabel, Mac, PeerId, PeerInfo, Route, Vni};
use sleeve::inbox::Gathers;
use sleeve::offload::Offload;
use sleeve::{Config, Input, Output, Plane, PlaneConfig, Scratch, Sleeve};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The containers' network.
pub const VNI: Vni = Vni(1);
/// A network that no router has ports in.
pub const FOREIGN: Vni = Vni(2);
/// How many routers there are.
const COUNT: usize = 3;

/// The MAC address of a router's container.
#[must_use]
pub fn mac(router: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, router as u8 + 1])
}

/// Its IP addresses.
#[must_use]
pub fn addresses(router: usize) -> Vec<IpAddr> {
    let last = router as u8 + 1;
    vec![
        [10, 0, 0, last].into(),
        [0xfd00, 0, 0, 0, 0, 0, 0, last.into()].into(),
    ]
}

/// Where a router's data port is.
#[must_use]
pub fn address(router: usize) -> SocketAddr {
    ([192, 0, 2, router as u8 + 1], 6783).into()
}

/// One of them.
pub struct Router {
    /// Its name.
    pub id: PeerId,
    /// Its data half.
    pub plane: Arc<Plane>,
    /// Its control half.
    pub sleeve: Sleeve,
    /// What it threw away.
    pub drops: Arc<Drops>,
    info: PeerInfo,
}

/// All three.
pub struct World {
    /// What time it is.
    pub now: Instant,
    /// In their order along the row.
    pub routers: Vec<Router>,
    /// What their control halves said to each other over the control plane: from whom, and what.
    pub spoken: Vec<(usize, Vec<u8>)>,
    scratch: Scratch,
    batched: Scratch,
}

/// Something on its way between routers.
enum Moving {
    Control {
        from: usize,
        to: PeerId,
        payload: Vec<u8>,
    },
    Datagram {
        from: usize,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
}

impl World {
    /// The row after two seconds: all sessions made, all paths found.
    #[must_use]
    pub fn new() -> Self {
        let mut identities: Vec<_> = (0..COUNT as u64)
            .map(|n| Identity::generate(&mut Random(n)))
            .collect();
        identities.sort_by_key(Identity::public);
        let routers = identities
            .into_iter()
            .enumerate()
            .map(|(n, identity)| Router::new(n, identity));
        let (now, scratch) = (Instant(1_000_000), Scratch::default());
        let mut world = Self {
            now,
            routers: routers.collect(),
            spoken: Vec::new(),
            scratch,
            batched: Scratch::default(),
        };
        for n in 0..COUNT {
            world.introduce(n);
        }
        for (a, b) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            let (peer, address) = (world.routers[b].id, Some(address(b)));
            world.input(a, Input::Neighbor { peer, address });
        }
        for (a, b) in [(0, 2), (2, 0)] {
            let peer = world.routers[b].id;
            let path = vec![world.routers[1].id, peer];
            let route = Route {
                path,
                labels: vec![LinkLabel(b as u16 + 1)],
                cost_us: 1,
                mtu: 1500,
            };
            world.input(
                a,
                Input::Route {
                    peer,
                    route: Some(route),
                },
            );
            world.input(a, Input::Need { peer });
        }
        world.run(Duration::from_secs(2));
        assert!(
            world
                .routers
                .iter()
                .all(|router| router.sleeve.sessions(world.now).len() == 2)
        );
        world
    }

    fn introduce(&mut self, n: usize) {
        self.input(n, Input::Addresses(vec![address(n)]));
        self.routers[n].plane.attach(VNI, mac(n), &addresses(n));
        for other in (0..COUNT).filter(|&other| other != n) {
            let info = self.routers[other].info.clone();
            let (peer, plane) = (info.peer, &self.routers[n].plane);
            let change = FdbChange::Set {
                mac: mac(other),
                peer,
                addresses: addresses(other),
            };
            plane.apply_fdb(&Fdb { vni: VNI, change });
            plane.set_label(LinkLabel(other as u16 + 1), Some(peer));
            self.input(n, Input::Peer(info));
        }
        let others = (0..COUNT)
            .filter(|&other| other != n)
            .map(|other| self.routers[other].id);
        let change = FdbChange::Members(others.collect());
        self.routers[n].plane.apply_fdb(&Fdb { vni: VNI, change });
    }

    /// The control half of `n` gets an input, and everything that follows from it happens.
    pub fn input(&mut self, n: usize, input: Input) {
        let mut moving = self.handle(n, input);
        let mut steps = 0;
        while let Some(next) = moving.pop_front() {
            steps += 1;
            assert!(steps < 10_000, "messages go to and fro for ever");
            match next {
                Moving::Control { from, to, payload } => {
                    let from = self.routers[from].id;
                    let Some(to) = self.number(to) else { continue };
                    moving.extend(self.handle(to, Input::Control { from, payload }));
                }
                Moving::Datagram { from, to, bytes } => {
                    let Some(to) = self.reached(from, to) else {
                        continue;
                    };
                    let caught = self.receive(to, address(from), &bytes);
                    let datagrams = caught.datagrams.into_iter();
                    moving.extend(datagrams.map(|(address, bytes)| Moving::Datagram {
                        from: to,
                        to: address,
                        bytes,
                    }));
                    for input in caught.inputs {
                        moving.extend(self.handle(to, input));
                    }
                }
            }
        }
    }

    fn handle(&mut self, n: usize, input: Input) -> VecDeque<Moving> {
        let mut moving = VecDeque::new();
        self.routers[n].sleeve.handle_input(self.now, input);
        while let Some(output) = self.routers[n].sleeve.poll_output() {
            match output {
                Output::Control { to, payload } => {
                    assert!(payload.len() <= mesh::MAX_PAYLOAD);
                    self.spoken.push((n, payload.clone()));
                    moving.push_back(Moving::Control { from: n, to, payload });
                }
                Output::Datagram { to, bytes } => moving.push_back(Moving::Datagram { from: n, to, bytes }),
                Output::PathUp { peer, mtu, .. } => {
                    let route = Route {
                        path: vec![peer],
                        labels: vec![],
                        cost_us: 0,
                        mtu,
                    };
                    self.routers[n].plane.set_route(peer, Some(&route));
                }
                Output::PathDown { peer } => self.routers[n].plane.set_route(peer, None),
                Output::Pong { .. } | Output::PingFailed { .. } | Output::UseTree { .. } | Output::Log(_) => {
                }
                // A kernel that takes whatever it is given.
                Output::EspInbound { peer, number, .. } => {
                    moving.extend(self.handle(n, Input::EspTaken { peer, number }));
                }
                Output::EspOutbound { .. } | Output::EspRefused { .. } => {}
            }
        }
        moving
    }

    /// Lets time pass, timers and all.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = |(n, router): (usize, &Router)| Some((router.sleeve.poll_timeout()?, n));
            let due = self.routers.iter().enumerate().filter_map(next).min();
            let Some((at, n)) = due.filter(|&(at, _)| at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.input(n, Input::Tick);
            let after = self.routers[n].sleeve.poll_timeout();
            assert!(after.is_none_or(|after| after > self.now), "a timer stands still");
        }
        self.now = end;
    }

    /// Which router a datagram gets to: only neighbours reach each other.
    fn reached(&self, from: usize, to: SocketAddr) -> Option<usize> {
        let reached = (0..COUNT).find(|&n| address(n) == to)?;
        (reached.abs_diff(from) == 1).then_some(reached)
    }

    fn number(&self, id: PeerId) -> Option<usize> {
        self.routers.iter().position(|router| router.id == id)
    }

    /// A datagram gets to the data half of `n`. What follows is not done, but returned.
    pub fn receive(&mut self, n: usize, from: SocketAddr, datagram: &[u8]) -> Caught {
        let mut caught = Caught::default();
        let plane = &self.routers[n].plane;
        plane.inbound(
            self.now,
            from,
            &mut datagram.to_vec(),
            &mut self.scratch,
            &mut caught,
        );
        caught
    }

    /// The container of `n` sends a frame.
    pub fn send(&mut self, n: usize, frame: &[u8]) -> Caught {
        let mut caught = Caught::default();
        let plane = &self.routers[n].plane;
        plane.outbound(self.now, frame, VNI, &mut self.scratch, &mut caught);
        caught
    }

    /// Router `from` seals any plaintext at all for router `to` and sends it straight there.
    pub fn seal(&mut self, from: usize, to: usize, plaintext: &[u8]) -> Option<Vec<u8>> {
        let mut caught = Caught::default();
        let (peer, how) = (self.routers[to].id, sleeve::How::Direct(address(to)));
        let plane = &self.routers[from].plane;
        let sent = plane.send_control(self.now, &peer, plaintext, how, &mut self.scratch, &mut caught);
        sent.ok().map(|()| caught.datagrams.remove(0).1)
    }

    /// Carries datagrams to where they end; returns the frames that come out, with the router's number.
    pub fn carry(
        &mut self,
        from: usize,
        datagrams: Vec<(SocketAddr, Vec<u8>)>,
    ) -> Vec<(usize, Vni, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut moving: VecDeque<_> = datagrams
            .into_iter()
            .map(|(to, bytes)| (from, to, bytes))
            .collect();
        while let Some((from, to, bytes)) = moving.pop_front() {
            let Some(to) = self.reached(from, to) else {
                continue;
            };
            let caught = self.receive(to, address(from), &bytes);
            frames.extend(caught.frames.into_iter().map(|(vni, frame)| (to, vni, frame)));
            moving.extend(
                caught
                    .datagrams
                    .into_iter()
                    .map(|(address, bytes)| (to, address, bytes)),
            );
        }
        frames
    }

    /// As [`Self::send`], of several at once, as a TAP with offloads gives them; and gathered in runs.
    pub fn send_batched(&mut self, n: usize, frames: &[(Offload, &[u8])]) -> Caught {
        let mut caught = Caught::default();
        let plane = &self.routers[n].plane;
        for (offload, frame) in frames {
            plane.outbound_batched(self.now, frame, *offload, VNI, &mut self.batched, &mut caught);
        }
        self.batched.flush(&mut caught);
        caught
    }

    /// As [`Self::carry`], but each router gets all that came at once, and puts frames together.
    pub fn carry_batched(
        &mut self,
        from: usize,
        datagrams: Vec<(SocketAddr, Vec<u8>)>,
    ) -> Vec<(usize, Vni, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut moving = VecDeque::from([(from, datagrams)]);
        self.batched.inbox.set_gathers(Gathers::TcpAndUdp);
        while let Some((from, datagrams)) = moving.pop_front() {
            for n in 0..COUNT {
                let mut caught = Caught::default();
                for (to, bytes) in &datagrams {
                    if self.reached(from, *to) == Some(n) {
                        let plane = &self.routers[n].plane;
                        let (source, mut bytes) = (address(from), bytes.clone());
                        plane.inbound_batched(self.now, source, &mut bytes, &mut self.batched, &mut caught);
                    }
                }
                self.batched.flush(&mut caught);
                frames.extend(caught.frames.into_iter().map(|(vni, frame)| (n, vni, frame)));
                if !caught.datagrams.is_empty() {
                    moving.push_back((n, caught.datagrams));
                }
            }
        }
        frames
    }

    /// Fails unless frames pass between all pairs, each once: no session was forgotten.
    pub fn check(&mut self) {
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
            let frame = plain_frame(from, to);
            let caught = self.send(from, &frame);
            assert_eq!(
                self.carry(from, caught.datagrams),
                [(to, VNI, frame)],
                "{from} → {to}"
            );
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A frame of a protocol that nothing here looks into.
#[must_use]
pub fn plain_frame(from: usize, to: usize) -> Vec<u8> {
    [
        &mac(to).0[..],
        &mac(from).0,
        &[0x88, 0xb5],
        b"what containers say to each other",
    ]
    .concat()
}

impl Router {
    fn new(n: usize, identity: Identity) -> Self {
        let id = PeerId(identity.public());
        let drops = Arc::new(Drops::default());
        let info = PeerInfo {
            peer: id,
            name: "router".parse().expect("a name"),
            data_key: identity.data_public(),
            epoch: 1,
            instance: 1,
            addresses: vec![address(n)],
            admissions: Vec::new(),
            version: String::new(),
            capabilities: 0,
            vxlan_port: 0,
            label: mesh::PeerLabel::NONE,
        };
        let (trusted, container_mtu) = (Vec::new(), 1390);
        let plane = Arc::new(Plane::new(PlaneConfig {
            id,
            drops: drops.clone(),
            trusted,
            container_mtu,
        }));
        let secret = Secret::generate(&mut Random(99));
        let config = Config {
            id,
            identity: Arc::new(identity),
            keyring: Keyring::new(vec![secret]).expect("a secret"),
            epoch: 1,
            ciphers: Cipher::ALL.to_vec(),
            trusted: Vec::new(),
            max_mtu: 1500,
            drops: drops.clone(),
        };
        let random = Box::new(Random(1000 + n as u64));
        let sleeve = Sleeve::new(config, plane.clone(), random, Instant(0));
        Self {
            id,
            plane,
            sleeve,
            drops,
            info,
        }
    }
}
