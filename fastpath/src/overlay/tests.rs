//! One router's decisions against a network that the test makes up.

use super::*;
use proptest::prelude::*;

mod covered;
mod groups;
mod other_ways;

const MTU: u16 = 1390;
const PORT: u16 = 6784;

fn id(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn label(n: u8) -> PeerLabel {
    PeerLabel(100 + u16::from(n))
}

fn address(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn cover(encrypted: bool) -> Cover {
    if encrypted {
        Cover::Missing(NoEsp::Here)
    } else {
        Cover::Plain
    }
}

fn config() -> Config {
    Config {
        port: PORT,
        mtu: MTU,
        grace: GRACE,
        hops: MAX_HOPS,
        first: 77,
    }
}

/// A router, its kernel, and the network: who answers probes, up to which size.
struct World {
    now: Instant,
    overlay: Overlay,
    answers: BTreeMap<PeerLabel, u16>,
    /// Where ways that are not in use yet lead nowhere.
    deaf: BTreeSet<IpAddr>,
    on_the_way: BTreeMap<(Instant, u64), PeerLabel>,
    hops: BTreeMap<PeerLabel, Hop>,
    senders: BTreeMap<IpAddr, PeerLabel>,
    writes: usize,
    probes: usize,
    /// Who gets copies of frames for groups, this router's places in trees, and who is reached along its own.
    copies: Vec<PeerLabel>,
    trees: BTreeMap<PeerLabel, Place>,
    members: BTreeMap<PeerLabel, u16>,
    tree_answers: BTreeSet<(Instant, u64, PeerLabel)>,
    tree_probes: usize,
}

impl World {
    fn new() -> Self {
        Self::after(BTreeMap::new(), BTreeMap::new())
    }

    /// After an earlier run that left these.
    fn after(hops: BTreeMap<PeerLabel, Hop>, senders: BTreeMap<IpAddr, PeerLabel>) -> Self {
        // A router's clock starts with it.
        let now = Instant(0);
        Self {
            now,
            overlay: Overlay::new(config(), now, hops.clone(), senders.clone()),
            answers: BTreeMap::new(),
            deaf: BTreeSet::new(),
            on_the_way: BTreeMap::new(),
            hops,
            senders,
            writes: 0,
            probes: 0,
            copies: Vec::new(),
            trees: BTreeMap::new(),
            members: BTreeMap::new(),
            tree_answers: BTreeSet::new(),
            tree_probes: 0,
        }
    }

    fn input(&mut self, input: Input) {
        self.overlay.handle_input(self.now, input);
        for output in self.overlay.take_outputs() {
            match output {
                Output::Hop { label, hop } => {
                    self.writes += 1;
                    let old = match hop {
                        Some(hop) => self.hops.insert(label, hop),
                        None => self.hops.remove(&label),
                    };
                    assert_ne!(old, hop, "written although nothing changed");
                }
                Output::Sender { address, label } => {
                    let old = match label {
                        Some(label) => self.senders.insert(address, label),
                        None => self.senders.remove(&address),
                    };
                    assert_ne!(old, label, "written although nothing changed");
                }
                Output::Probe { to, number, size, by } => {
                    self.probes += 1;
                    let blocked = by.is_some_and(|(address, _)| self.deaf.contains(&address));
                    if !blocked && self.answers.get(&to).is_some_and(|most| size <= *most) {
                        self.on_the_way
                            .insert((self.now + Duration::from_millis(2), number), to);
                    }
                }
                Output::Group { members, .. } => self.copies = members,
                Output::Tree { source, place, .. } => {
                    let old = match place.clone() {
                        Some(place) => self.trees.insert(source, place),
                        None => self.trees.remove(&source),
                    };
                    assert_ne!(old, place, "written although nothing changed");
                }
                Output::ProbeTree { number, size, .. } => {
                    self.tree_probes += 1;
                    for (label, most) in &self.members {
                        if size <= *most {
                            let due = self.now + Duration::from_millis(2);
                            self.tree_answers.insert((due, number, *label));
                        }
                    }
                }
                Output::Moved { .. } => {}
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let answer = self.on_the_way.keys().next().copied();
            let timer = self.overlay.poll_timeout();
            if let Some((due, number, from)) = self.tree_answers.first().copied()
                && due <= end
                && answer.is_none_or(|(at, _)| due <= at)
                && timer.is_none_or(|at| due <= at)
            {
                self.tree_answers.remove(&(due, number, from));
                self.now = due;
                self.input(Input::Answer { from, number });
                continue;
            }
            let Some(at) = [answer.map(|(at, _)| at), timer]
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            assert!(
                at >= self.now || timer != Some(at) || at == self.now,
                "a timer in the past"
            );
            self.now = self.now.max(at);
            match answer.filter(|(due, _)| *due == at) {
                Some((due, number)) => {
                    let from = self.on_the_way.remove(&(due, number)).unwrap();
                    self.input(Input::Answer { from, number });
                }
                None => self.input(Input::Tick),
            }
        }
        self.now = end;
    }

    fn until(&mut self, most: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) && self.now.since(start) < most {
            self.run(Duration::from_millis(10));
        }
        assert!(done(self), "not within {most:?}");
        self.now.since(start)
    }

    fn meet(&mut self, n: u8) {
        self.input(Input::Peer {
            peer: id(n),
            port: PORT,
            addresses: vec![address(n)],
        });
        self.input(Input::Label {
            peer: id(n),
            label: label(n),
        });
        self.answers.insert(label(n), 9000);
    }

    fn direct(&mut self, n: u8, encrypted: Option<bool>) {
        let path = encrypted.map(|encrypted| Direct {
            address: address(n),
            cover: cover(encrypted),
        });
        self.input(Input::Direct { peer: id(n), path });
    }

    fn route(&mut self, n: u8, path: Option<&[u8]>) {
        let path = path.map(|path| path.iter().copied().map(id).collect());
        self.input(Input::Route { peer: id(n), path });
    }

    /// A neighbour 1, and a router 2 behind it.
    fn line() -> Self {
        let mut world = Self::new();
        world.meet(1);
        world.meet(2);
        world.direct(1, Some(false));
        world.route(1, Some(&[1]));
        world.route(2, Some(&[1, 2]));
        world
    }

    fn is_fast(&self, n: u8) -> bool {
        let hop = self.hops.get(&label(n));
        let is_fast = hop.is_some_and(|hop| hop.carries);
        assert_eq!(is_fast, self.overlay.is_fast(&id(n)));
        is_fast
    }

    fn why(&self, n: u8) -> Option<Why> {
        self.overlay.why(&id(n))
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_first_hop_is_proven_in_half_a_second_and_a_way_over_it_used_in_three() {
    let mut world = World::line();
    assert_eq!(world.why(1), Some(Why::Proving));
    world.until(ms(500), |world| world.is_fast(1));
    assert!(!world.is_fast(2));
    let took = world.until(secs(3), |world| world.is_fast(2));
    assert!(took > secs(1), "{took:?}");
    assert_eq!(world.why(2), None);
    assert_eq!(world.hops[&label(2)].distance, 2);
    assert_eq!(world.senders, BTreeMap::from([(address(1), label(1))]));
    let before = (world.writes, world.probes);
    world.run(secs(60));
    assert_eq!(world.writes, before.0, "at rest nothing is written");
    assert!(world.probes - before.1 <= 2 * 2 * 60 + 4);
}

#[test]
fn a_blocked_port_is_left_within_three_seconds_and_used_again_within_five() {
    for n in [1, 2] {
        let mut world = World::line();
        world.run(secs(10));
        assert!(world.is_fast(1) && world.is_fast(2));
        world.answers.clear();
        world.until(secs(3), |world| !world.is_fast(n));
        world.run(secs(20));
        let why = world.why(n).unwrap();
        let first = Why::Silent {
            address: address(1),
            port: PORT,
        };
        assert_eq!(
            why,
            if n == 1 {
                first
            } else {
                Why::FirstHop { via: id(1) }
            }
        );
        world.answers.extend([(label(1), 9000), (label(2), 9000)]);
        world.until(secs(5), |world| world.is_fast(n));
    }
}

#[test]
fn a_way_whose_middle_fails_is_left_although_the_first_hop_is_fast() {
    let mut world = World::line();
    world.run(secs(10));
    world.answers.remove(&label(2));
    world.until(secs(3), |world| !world.is_fast(2));
    world.run(secs(1));
    assert!(world.is_fast(1));
    assert_eq!(
        world.why(2),
        Some(Why::SomeHop {
            from: id(1),
            to: id(2)
        })
    );
}

#[test]
fn words_say_why_not() {
    let mut world = World::line();
    world.answers.insert(label(1), 1000);
    world.run(secs(10));
    let (address, mtu) = (address(1), MTU);
    assert_eq!(world.why(1), Some(Why::Narrow { address, mtu }));
    world.answers.clear();
    world.input(Input::Peer {
        peer: id(1),
        port: PORT,
        addresses: Vec::new(),
    });
    world.run(secs(10));
    assert_eq!(world.why(1), Some(Why::Translated { address }));
    world.input(Input::Peer {
        peer: id(1),
        port: 4789,
        addresses: Vec::new(),
    });
    assert_eq!(world.why(1), Some(Why::OtherPort { port: 4789 }));
    assert_eq!(world.why(2), Some(Why::FirstHop { via: id(1) }));
    assert_eq!(world.why(9), Some(Why::NoFastPath));
}

#[test]
fn encryption_ends_the_fast_path_at_once() {
    let mut world = World::line();
    world.run(secs(10));
    world.direct(1, Some(true));
    assert!(world.hops.is_empty() && world.senders.is_empty());
    assert_eq!(world.why(1), Some(Why::NoEsp(NoEsp::Here)));
    assert_eq!(world.why(2), Some(Why::NoEsp(NoEsp::Here)));
}

#[test]
fn what_an_earlier_run_left_ends_where_the_other_router_has_another_port_or_none() {
    let mut world = World::line();
    world.run(secs(10));
    assert!(world.is_fast(1) && world.is_fast(2));
    for port in [PORT + 1, 0] {
        let mut world = World::after(world.hops.clone(), world.senders.clone());
        for n in [1, 2] {
            world.input(Input::Label {
                peer: id(n),
                label: label(n),
            });
            assert!(world.hops[&label(n)].carries, "its port is not known yet");
            world.input(Input::Peer {
                peer: id(n),
                port,
                addresses: vec![address(n)],
            });
        }
        assert!(world.hops.is_empty(), "{port}: {:?}", world.hops);
    }
}

#[test]
fn what_the_control_plane_lost_carries_on_while_probes_come_back() {
    let mut world = World::line();
    world.run(secs(10));
    let before = world.writes;
    world.direct(1, None);
    world.route(1, None);
    world.route(2, None);
    world.run(secs(5));
    assert!(world.is_fast(1) && world.is_fast(2));
    assert_eq!(world.why(2), Some(Why::Stale));
    assert!(world.overlay.is_stale(&id(2)) && !world.overlay.is_stale(&id(9)));
    world.direct(1, Some(false));
    world.route(1, Some(&[1]));
    world.route(2, Some(&[1, 2]));
    world.run(secs(70));
    assert!(world.is_fast(2));
    assert_eq!((world.why(2), world.writes), (None, before));
    world.direct(1, None);
    world.route(1, None);
    world.route(2, None);
    world.run(secs(59));
    assert!(world.is_fast(2));
    world.run(secs(2));
    assert!(world.hops.is_empty() && world.senders.is_empty());
}

#[test]
fn who_flaps_is_trusted_later_each_time() {
    let mut world = World::line();
    world.run(secs(10));
    let mut last = Duration::ZERO;
    for round in 0..5 {
        world.answers.clear();
        world.until(secs(3), |world| !world.is_fast(1));
        world.answers.insert(label(1), 9000);
        let took = world.until(secs(40), |world| world.is_fast(1));
        assert!(round == 0 || took > last, "{took:?} after {last:?}");
        last = took;
    }
    assert!(last > secs(10));
}

#[test]
fn a_thousand_ways_share_the_probes() {
    let mut world = World::new();
    world.meet(1);
    world.direct(1, Some(false));
    world.route(1, Some(&[1]));
    for n in 0..1000_u16 {
        let mut peer = [0; 32];
        peer[..2].copy_from_slice(&(1000 + n).to_be_bytes());
        let (peer, label) = (PeerId(peer), PeerLabel(1000 + n));
        world.input(Input::Peer {
            peer,
            port: PORT,
            addresses: Vec::new(),
        });
        world.input(Input::Label { peer, label });
        let path = Some(vec![id(1), peer]);
        world.input(Input::Route { peer, path });
        world.answers.insert(label, 9000);
    }
    world.run(secs(30));
    assert_eq!(world.hops.values().filter(|hop| hop.carries).count(), 1001);
    let before = world.probes;
    world.run(secs(10));
    assert!(world.probes - before <= 2600, "{}", world.probes - before);
    // All fails: each entry is written once for its own probes and once for those of the first hop, soon.
    let before = world.writes;
    world.answers.clear();
    world.until(secs(3), |world| world.hops.values().all(|hop| !hop.carries));
    assert!(world.writes - before <= 2001, "{}", world.writes - before);
}

#[derive(Debug, Clone)]
enum Act {
    Direct(u8, Option<bool>),
    Route(u8, Option<Vec<u8>>),
    Label(u8, bool),
    Answers(u8, bool),
    Gone(u8),
    Run(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let n = 1..5_u8;
    prop_oneof![
        (n.clone(), any::<Option<bool>>()).prop_map(|(n, path)| Act::Direct(n, path)),
        (n.clone(), any::<Option<u8>>()).prop_map(|(n, via)| {
            let path = via
                .map(|via| 1 + via % 4)
                .map(|via| if via == n { vec![n] } else { vec![via, n] });
            Act::Route(n, path)
        }),
        (n.clone(), any::<bool>()).prop_map(|(n, on)| Act::Label(n, on)),
        (n.clone(), any::<bool>()).prop_map(|(n, on)| Act::Answers(n, on)),
        n.prop_map(Act::Gone),
        (1..5000_u16).prop_map(Act::Run),
    ]
}

proptest! {
    /// Whatever happens: nothing is written twice, what the kernel has is what the router thinks, frames go only
    /// where the first hop is plain, and all that was lost is gone in the end.
    #[test]
    fn whatever_happens(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        let mut direct: BTreeMap<u8, Option<bool>> = BTreeMap::new();
        for n in 1..5 {
            world.meet(n);
        }
        for act in acts {
            match act {
                Act::Direct(n, path) => {
                    direct.insert(n, path);
                    world.direct(n, path);
                }
                Act::Route(n, path) => world.route(n, path.as_deref()),
                Act::Label(n, on) => {
                    let label = if on { label(n) } else { PeerLabel::NONE };
                    world.input(Input::Label { peer: id(n), label });
                }
                Act::Answers(n, true) => drop(world.answers.insert(label(n), 9000)),
                Act::Answers(n, false) => drop(world.answers.remove(&label(n))),
                Act::Gone(n) => {
                    direct.remove(&n);
                    world.input(Input::PeerGone(id(n)));
                }
                Act::Run(time) => world.run(ms(time.into())),
            }
            for n in 1..5 {
                world.is_fast(n);
            }
            for hop in world.hops.values() {
                let first = (1..5).find(|n| address(*n) == hop.address).unwrap();
                prop_assert_ne!(direct.get(&first), Some(&Some(true)), "clear where encryption is wanted");
            }
            for address in world.senders.keys() {
                let n = (1..5).find(|n| super::tests::address(*n) == *address).unwrap();
                prop_assert_ne!(direct.get(&n), Some(&Some(true)));
            }
        }
        for n in 1..5 {
            world.direct(n, None);
            world.route(n, None);
        }
        world.run(secs(130));
        prop_assert!(world.hops.is_empty(), "{:?}", world.hops);
        prop_assert!(world.senders.is_empty(), "{:?}", world.senders);
        prop_assert_eq!(world.overlay.poll_timeout(), None);
    }
}
