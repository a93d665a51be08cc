//! Bytes beside those of `ip xfrm`; and keepers of two neighbours over kernels in memory.

use super::message::{Lifetime, Mark, SaRead};
use super::*;
use mesh::{Instant, PeerId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const PORT: u16 = 6784;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

mod captured;

fn sa(direction: Direction) -> Sa {
    Sa {
        direction,
        ends: Ends {
            here: "10.9.0.1".parse().unwrap(),
            there: "10.9.0.2".parse().unwrap(),
        },
        spi: 0x1234_5678,
        key: Key(std::array::from_fn(|i| i as u8)),
    }
}

fn mark() -> Mark {
    Mark::of_bridge("weft")
}

/// The request id that stands at `at` in what was captured, replaced by ours.
fn ours(mut bytes: Vec<u8>, at: usize, direction: Direction) -> Vec<u8> {
    assert_eq!(&bytes[at..at + 4], &1_465_139_200_u32.to_ne_bytes());
    let whole = message::new_policy(policy(direction), mark());
    bytes[at..at + 4].copy_from_slice(&whole[168 + 4 + 44..][..4]);
    bytes
}

fn policy(direction: Direction) -> Policy {
    Policy {
        direction,
        there: sa(direction).ends.there,
        port: PORT,
    }
}

#[test]
fn associations_are_what_ip_xfrm_makes_of_the_same() {
    let lifetime = Lifetime {
        seconds: 7200,
        packets: 1 << 33,
    };
    let made = message::new_sa(&sa(Direction::Out), mark(), PORT, lifetime);
    let mut expected = ours(bytes(captured::NEW_SA), 208, Direction::Out);
    // ip says at which values it would like to be warned of packets; nobody listens.
    expected[112..120].copy_from_slice(&u64::MAX.to_ne_bytes());
    assert_eq!(made, expected);
    let read = message::read_sa(&made, mark()).unwrap();
    let SaRead {
        id, direction, from, ..
    } = read;
    assert_eq!(
        (id, direction, from),
        (
            sa(Direction::Out).id(),
            Direction::Out,
            sa(Direction::Out).ends.here
        )
    );
}

#[test]
fn policies_are_what_ip_xfrm_makes_of_the_same() {
    let made = message::new_policy(policy(Direction::Out), mark());
    assert_eq!(
        made,
        ours(bytes(captured::NEW_POLICY), 168 + 4 + 44, Direction::Out)
    );
    assert_eq!(
        message::read_policy(&made, mark()),
        Some((policy(Direction::Out), 0))
    );
    let made = message::new_policy(policy(Direction::In), mark());
    assert_eq!(
        message::read_policy(&made, mark()),
        Some((policy(Direction::In), 0))
    );
    assert_eq!(message::read_policy(&made, Mark::of_bridge("other")), None);
}

#[test]
fn what_is_removed_is_named_as_ip_xfrm_names_it() {
    // ip also says where from, which the kernel does not ask of ESP.
    assert_eq!(
        message::delete_sa(sa(Direction::Out).id()),
        bytes(captured::DELETE_SA)[..24]
    );
    assert_eq!(message::delete_policy(policy(Direction::Out), 9), {
        let mut expected = bytes(captured::DELETE_POLICY);
        expected[56..60].copy_from_slice(&9_u32.to_ne_bytes());
        expected
    });
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_fatal(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = message::read_sa(&bytes, mark());
        let _ = message::read_policy(&bytes, mark());
    }

    #[test]
    fn what_was_written_is_read(v6: bool, spi in 1..u32::MAX, incoming: bool, port: u16, host: u8) {
        let address = |n: u8| -> IpAddr {
            if v6 { IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host, n]) } else { IpAddr::from([10, 0, host, n]) }
        };
        let direction = if incoming { Direction::In } else { Direction::Out };
        let ends = Ends { here: address(1), there: address(2) };
        let sa = Sa { direction, ends, spi, key: Key([7; 36]) };
        let lifetime = Lifetime { seconds: 1, packets: 1 };
        let read = message::read_sa(&message::new_sa(&sa, mark(), port, lifetime), mark()).unwrap();
        prop_assert_eq!(read.id, sa.id());
        prop_assert_eq!(Seen::read(&read), Seen { direction, ends, packets: 0, made: 0 });
        let policy = Policy { direction, there: ends.there, port };
        prop_assert_eq!(message::read_policy(&message::new_policy(policy, mark()), mark()), Some((policy, 0)));
    }
}

/// A kernel's associations and policies, and what passes by them.
#[derive(Debug, Default)]
struct Memory {
    observed: Observed,
    keys: BTreeMap<SaId, [u8; 36]>,
    /// Keys that were ever used to send.
    used: BTreeSet<[u8; 36]>,
    /// How many associations were made.
    made: u64,
    next: u32,
}

impl Kernel for Memory {
    fn observe(&mut self) -> Result<Observed, EspError> {
        Ok(self.observed.clone())
    }

    fn apply(&mut self, op: &Op) -> Result<(), EspError> {
        match op {
            Op::AddPolicy(policy) => {
                self.next += 1;
                assert!(self.observed.policies.insert((*policy, self.next)));
            }
            Op::RemovePolicy(policy, index) => assert!(self.observed.policies.remove(&(*policy, *index))),
            Op::AddSa(sa) => {
                if sa.direction == Direction::Out {
                    assert!(
                        self.used.insert(sa.key.0),
                        "a key was used from the beginning again"
                    );
                }
                let seen = Seen {
                    direction: sa.direction,
                    ends: sa.ends,
                    packets: 0,
                    made: self.made,
                };
                self.made += 1;
                assert!(self.observed.sas.insert(sa.id(), seen).is_none());
                self.keys.insert(sa.id(), sa.key.0);
            }
            Op::RemoveSa(id) => assert!(self.observed.sas.remove(id).is_some()),
        }
        Ok(())
    }
}

impl Memory {
    /// The association by which the kernel would send; the newest.
    fn sends(&self, ends: Ends) -> Option<SaId> {
        let sas = self.observed.sas.iter();
        let out = sas.filter(|(_, seen)| seen.direction == Direction::Out && seen.ends == ends);
        out.max_by_key(|(_, seen)| seen.made).map(|(id, _)| *id)
    }

    fn is_guarded(&self, ends: Ends) -> bool {
        self.observed.is_guarded(ends, PORT)
    }
}

struct Host {
    keeper: Keeper,
    kernel: Memory,
    ends: Ends,
}

/// Two neighbours, and what sleeve carries between them.
struct World {
    now: Instant,
    roll: Duration,
    hosts: [Host; 2],
    /// Who asked, and when the other has it.
    asks: VecDeque<(Instant, usize)>,
    offers: VecDeque<(Instant, usize, u32)>,
    loses: bool,
    number: u32,
}

fn id(n: usize) -> PeerId {
    PeerId([n as u8 + 1; 32])
}

fn settings(roll: Duration) -> Settings {
    Settings {
        port: PORT,
        roll,
        grace: Duration::from_secs(60),
    }
}

fn key(spi: u32) -> Key {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&spi.to_ne_bytes());
    Key(key)
}

impl World {
    fn new() -> Self {
        Self::rolling(Duration::from_secs(60))
    }

    fn rolling(roll: Duration) -> Self {
        let host = |n: u8| {
            let (here, there) = (IpAddr::from([10, 9, 0, n]), IpAddr::from([10, 9, 0, 3 - n]));
            let mut kernel = Memory::default();
            let keeper = Keeper::new(settings(roll), Instant(1), kernel.observe().unwrap());
            Host {
                keeper,
                kernel,
                ends: Ends { here, there },
            }
        };
        Self {
            now: Instant(1),
            roll,
            hosts: [host(1), host(2)],
            asks: VecDeque::new(),
            offers: VecDeque::new(),
            loses: false,
            number: 1000,
        }
    }

    fn meet(&mut self) {
        for n in 0..2 {
            let ends = Some(self.hosts[n].ends);
            self.input(
                n,
                Input::Path {
                    peer: id(1 - n),
                    ends,
                },
            );
        }
    }

    fn input(&mut self, n: usize, input: Input) {
        let host = &mut self.hosts[n];
        host.keeper.handle_input(self.now, input);
        while host.keeper.is_dirty() {
            let report = converge(&mut host.kernel, &host.keeper.desired()).unwrap();
            assert!(report.failed.is_empty());
            host.keeper.handle_input(self.now, Input::Seen(report));
        }
        let later = self.now + Duration::from_millis(20);
        for output in host.keeper.take_outputs() {
            match output {
                Output::Ask(_) => self.asks.push_back((later, n)),
                Output::Taken { number, .. } => self.offers.push_back((later, 1 - n, number as u32)),
                Output::Changed(_) => {}
            }
        }
    }

    fn look(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        let report = converge(&mut host.kernel, &host.keeper.desired()).unwrap();
        self.input(n, Input::Seen(report));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(10);
            while let Some((_, asker)) = self.asks.pop_front_if(|(at, _)| *at <= self.now) {
                if self.loses {
                    let (peer, why) = (id(1 - asker), NoEsp::NoAnswer);
                    self.input(asker, Input::Refused { peer, why });
                    continue;
                }
                // Not in their order, as what is drawn at random is not.
                self.number = self.number.wrapping_add(0x9e37_79b1);
                let (spi, ends) = (self.number, self.hosts[1 - asker].ends);
                self.input(
                    1 - asker,
                    Input::Inbound {
                        peer: id(asker),
                        number: spi.into(),
                        ends,
                        spi,
                        key: key(spi),
                    },
                );
            }
            while let Some((_, asker, spi)) = self.offers.pop_front_if(|(at, ..)| *at <= self.now) {
                let (peer, ends) = (id(1 - asker), self.hosts[asker].ends);
                let key = key(spi);
                self.input(asker, Input::Outbound { peer, ends, spi, key });
            }
            for n in 0..2 {
                if self.hosts[n]
                    .keeper
                    .poll_timeout()
                    .is_some_and(|at| at <= self.now)
                {
                    self.input(n, Input::Tick);
                }
                if self.now.0 % 1_000_000 == 1 {
                    self.look(n);
                }
            }
        }
    }

    /// True if a packet passes from `n` to the other, encrypted.
    fn passes(&mut self, n: usize) -> bool {
        let [ends, back] = [self.hosts[n].ends, self.hosts[1 - n].ends];
        if !self.hosts[n].kernel.is_guarded(ends) {
            return false;
        }
        let Some(sa) = self.hosts[n].kernel.sends(ends) else {
            return false;
        };
        let key = self.hosts[n].kernel.keys[&sa];
        let [out, seen] = [n, 1 - n].map(|n| self.hosts[n].kernel.observed.sas.contains_key(&sa));
        if !(out && seen && self.hosts[1 - n].kernel.is_guarded(back)) {
            return false;
        }
        for n in [n, 1 - n] {
            if let Some(seen) = self.hosts[n].kernel.observed.sas.get_mut(&sa) {
                seen.packets += 1;
            }
        }
        self.hosts[1 - n].kernel.keys[&sa] == key
    }

    fn is_ready(&self) -> bool {
        (0..2).all(|n| self.hosts[n].keeper.state(&id(1 - n)).is_ok())
    }

    fn restart(&mut self, n: usize) {
        let left = self.hosts[n].kernel.observe().unwrap();
        self.hosts[n].keeper = Keeper::new(settings(self.roll), self.now, left);
        let ends = Some(self.hosts[n].ends);
        self.input(
            n,
            Input::Path {
                peer: id(1 - n),
                ends,
            },
        );
    }
}

#[test]
fn neighbours_that_meet_have_all_they_need_within_a_moment() {
    let mut world = World::new();
    world.meet();
    assert!(
        world.hosts.iter().all(|host| host.kernel.is_guarded(host.ends)),
        "guarded from the first moment"
    );
    world.run(Duration::from_millis(100));
    assert!(world.is_ready() && world.passes(0) && world.passes(1));
}

#[test]
fn keys_roll_and_restarts_happen_without_a_gap() {
    let mut world = World::new();
    world.meet();
    world.run(Duration::from_millis(100));
    let first = world.hosts[0].kernel.sends(world.hosts[0].ends);
    for second in 0..300 {
        for _ in 0..10 {
            world.run(Duration::from_millis(100));
            assert!(world.passes(0) && world.passes(1), "lost in second {second}");
        }
        match second {
            100 => world.restart(0),
            170 => world.restart(1),
            _ => {}
        }
    }
    assert_ne!(world.hosts[0].kernel.sends(world.hosts[0].ends), first);
    for host in &world.hosts {
        let sas = host.kernel.observed.sas.len();
        assert!(sas <= 4, "{sas} associations pile up");
        assert!(host.kernel.used.len() >= 4, "each direction has rolled");
    }
}

#[test]
fn of_many_associations_that_an_earlier_run_left_the_oldest_goes_first() {
    let mut world = World::rolling(Duration::from_secs(3));
    world.meet();
    world.run(Duration::from_millis(100));
    for second in 0..300 {
        for _ in 0..10 {
            world.run(Duration::from_millis(100));
            assert!(world.passes(0) && world.passes(1), "lost in second {second}");
        }
        if second % 10 == 9 {
            world.restart(second / 10 % 2);
        }
    }
}

#[test]
fn what_somebody_flushed_is_agreed_on_anew_and_guarded_all_the_time() {
    let mut world = World::new();
    world.meet();
    world.run(Duration::from_secs(5));
    for n in [0, 1] {
        let memory = &mut world.hosts[n].kernel;
        memory.observed.sas.clear();
        assert!(memory.is_guarded(world.hosts[n].ends));
        assert!(!world.passes(n));
        world.look(n);
        assert!(world.hosts[n].keeper.state(&id(1 - n)).is_err());
        world.run(Duration::from_secs(1));
        // What the other sends is lost until it doubts.
        world.input(
            1 - n,
            Input::Proven {
                peer: id(n),
                proven: false,
            },
        );
        world.run(Duration::from_secs(1));
        assert!(world.is_ready() && world.passes(0) && world.passes(1));
    }
}

#[test]
fn a_neighbour_that_gives_nothing_is_asked_seldom_and_nothing_passes() {
    let mut world = World::new();
    world.loses = true;
    world.meet();
    let mut asked = 0;
    for _ in 0..1200 {
        world.run(Duration::from_millis(100));
        asked += world
            .asks
            .iter()
            .filter(|(at, _)| at.since(world.now) > Duration::from_millis(10))
            .count();
        assert!(!world.passes(0) && !world.passes(1));
    }
    assert_eq!(world.hosts[0].keeper.state(&id(1)), Err(NoEsp::NoAnswer));
    assert!(asked < 40, "asked {asked} times in two minutes");
    world.loses = false;
    world.run(Duration::from_secs(31));
    assert!(world.is_ready() && world.passes(0) && world.passes(1));
}

#[test]
fn a_path_that_is_lost_stays_guarded_for_a_while_then_nothing_is_left() {
    let mut world = World::new();
    world.meet();
    world.run(Duration::from_secs(2));
    world.input(
        0,
        Input::Path {
            peer: id(1),
            ends: None,
        },
    );
    world.run(Duration::from_secs(100));
    assert!(world.hosts[0].kernel.is_guarded(world.hosts[0].ends));
    world.run(Duration::from_secs(30));
    assert_eq!(world.hosts[0].kernel.observed, Observed::default());
    assert_eq!(world.hosts[0].keeper.poll_timeout(), None);
}

#[test]
fn trust_on_both_sides_ends_it_at_once() {
    let mut world = World::new();
    world.meet();
    world.run(Duration::from_secs(2));
    let there = world.hosts[0].ends.there;
    world.input(0, Input::Plain { peer: id(1), there });
    assert_eq!(world.hosts[0].kernel.observed, Observed::default());
}

#[test]
fn many_packets_are_a_reason_for_another_key() {
    let mut world = World::new();
    world.meet();
    world.run(Duration::from_secs(2));
    let ends = world.hosts[0].ends;
    let first = world.hosts[0].kernel.sends(ends).unwrap();
    world.hosts[0]
        .kernel
        .observed
        .sas
        .get_mut(&first)
        .unwrap()
        .packets = ROLL_PACKETS;
    world.run(Duration::from_secs(2));
    assert_ne!(world.hosts[0].kernel.sends(ends), Some(first));
    assert!(world.passes(0));
}

/// What may be there or wanted.
fn any_ends() -> impl Strategy<Value = Ends> {
    (1..4_u8).prop_map(|n| Ends {
        here: IpAddr::from([10, 9, 0, 100]),
        there: IpAddr::from([10, 9, 0, n]),
    })
}

fn any_sa() -> impl Strategy<Value = Sa> {
    (any_ends(), any::<bool>(), 256..264_u32).prop_map(|(ends, incoming, spi)| {
        let direction = if incoming { Direction::In } else { Direction::Out };
        let mut key = key(spi);
        if let IpAddr::V4(there) = ends.there {
            key.0[4..8].copy_from_slice(&there.octets());
        }
        Sa {
            direction,
            ends,
            spi,
            key,
        }
    })
}

proptest! {
    #[test]
    fn the_steps_of_a_plan_make_the_next_one_empty(
        guarded in prop::collection::btree_set(any_ends(), 0..3),
        before in prop::collection::vec(any_sa(), 0..6),
        wanted in prop::collection::vec(any_sa(), 0..6),
        policies in prop::collection::btree_set((any_ends(), any::<bool>(), 0..3_u32, 6783..6785_u16), 0..5),
    ) {
        let mut kernel = Memory::default();
        for sa in &before {
            let (direction, ends) = (sa.direction, sa.ends);
            kernel.observed.sas.insert(sa.id(), Seen { direction, ends, packets: 0, made: 0 });
        }
        for (ends, incoming, index, port) in policies {
            let direction = if incoming { Direction::In } else { Direction::Out };
            kernel.observed.policies.insert((Policy { direction, there: ends.there, port }, 100 + index));
        }
        let mut desired = Desired { port: PORT, guarded, ..Desired::default() };
        let mut ids = BTreeSet::new();
        for (place, sa) in wanted.into_iter().enumerate() {
            if ids.insert(sa.id()) && place % 2 == 0 {
                desired.fresh.push(sa);
            } else {
                desired.keep.insert(sa.id());
            }
        }
        let ops = plan(&desired, &kernel.observed);
        let place = |found: fn(&Op) -> bool| (ops.iter().position(found), ops.iter().rposition(found));
        let (_, last_demand) = place(|op| matches!(op, Op::AddPolicy(_)));
        let (first_made, last_made) = place(|op| matches!(op, Op::AddSa(_)));
        let (first_removed, last_removed) = place(|op| matches!(op, Op::RemoveSa(_)));
        let (first_relaxed, _) = place(|op| matches!(op, Op::RemovePolicy(..)));
        for (earlier, later) in [(last_demand, first_made), (last_made, first_removed), (last_removed, first_relaxed)] {
            prop_assert!(earlier.zip(later).is_none_or(|(earlier, later)| earlier < later), "{:?}", ops);
        }
        for op in &ops {
            kernel.apply(op).unwrap();
        }
        desired.keep.extend(desired.fresh.drain(..).map(|sa| sa.id()));
        prop_assert_eq!(plan(&desired, &kernel.observed), vec![]);
    }
}
