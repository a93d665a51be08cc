//! The kernel's fast path in the simulated world: the daemon's decisions over the model of the programs, with latency,
//! views that differ, and relays that forward by tables of their own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{ms, secs};
use mesh::{DropReason, Mac, Vni};
use simulations::{ContainerId, HostId, World};

/// Routers in a ring of wires: nobody reaches any but its two neighbours.
fn ring(seed: u64, count: usize) -> (World, Vec<HostId>, Vec<ContainerId>) {
    wired(seed, count, |apart| apart != 1 && apart != count - 1)
}

/// Routers in a circle, and no wires between those that are so far apart.
fn wired(seed: u64, count: usize, is_cut: impl Fn(usize) -> bool) -> (World, Vec<HostId>, Vec<ContainerId>) {
    let mut world = World::new(seed);
    world.fake_crypto();
    let hosts = world.add_hosts(count);
    for (at, a) in hosts.iter().enumerate() {
        for (other, b) in hosts.iter().enumerate().skip(at + 1) {
            if is_cut(other - at) {
                world.network.cut(*a, *b);
            }
        }
    }
    let mut containers = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        world.set_options(*host, |options| {
            options.fast = true;
            options.discovery = false;
            options.trusted = vec![("0.0.0.0".parse().unwrap(), 0), ("::".parse().unwrap(), 0)];
        });
        let before = hosts[(at + count - 1) % count];
        world.launch(*host, &[before]);
        containers.push(world.attach(*host));
    }
    (world, hosts, containers)
}

/// Pairs whose frames the kernels carry.
fn fast(world: &World) -> usize {
    let pairs: Vec<_> = world.pairs().collect();
    let is_fast = |(from, to): &(HostId, HostId)| {
        let id = world.id(*to);
        world.router(*from).is_some_and(|router| router.is_fast(&id))
    };
    pairs.iter().filter(|pair| is_fast(pair)).count()
}

fn until(world: &mut World, most: u64, done: impl Fn(&World) -> bool) {
    for _ in 0..most * 10 {
        if done(world) {
            return;
        }
        world.run(ms(100));
    }
    panic!("not within {most} s");
}

/// What became of frames: how many were lost, how many came again, and how many there were to come.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    lost: usize,
    again: usize,
    all: usize,
}

/// Containers, and the number of their next frames.
struct Traffic<'a> {
    containers: &'a [ContainerId],
    /// Those that send to all others.
    senders: &'a [ContainerId],
    number: u64,
}

impl Traffic<'_> {
    /// Every container sends by `send`, which is given its frame's number, so many rounds, one every `pace` ms.
    fn run(
        &mut self,
        world: &mut World,
        (rounds, pace): (u64, u64),
        send: impl Fn(&mut World, ContainerId, u64),
    ) -> Count {
        let first = self.number;
        for _ in 0..rounds {
            for (a, from) in (0..).zip(self.senders) {
                send(world, *from, self.number * 100 + a);
            }
            self.number += 1;
            world.run(ms(pace));
        }
        world.run(ms(300));
        let (mut lost, mut again, mut all) = (0, 0, 0);
        for number in first..self.number {
            for (a, from) in (0..).zip(self.senders) {
                for to in self.containers.iter().filter(|to| *to != from) {
                    let count = world.container(*to).count(number * 100 + a);
                    all += 1;
                    lost += usize::from(count == 0);
                    again += count.saturating_sub(1);
                }
            }
        }
        Count { lost, again, all }
    }

    /// A frame from each to each every 40 ms, for so many milliseconds.
    fn pairs(&mut self, world: &mut World, time: u64) -> Count {
        let containers = self.containers;
        self.run(world, (time / 40, 40), |world, from, number| {
            for to in containers.iter().filter(|to| **to != from) {
                world.send_to(from, *to, number, 150);
            }
        })
    }

    /// A frame from each to all every 50 ms.
    fn broadcasts(&mut self, world: &mut World, rounds: u64) -> Count {
        self.run(world, (rounds, 50), |world, from, number| {
            let frame = world.container(from).frame(Mac::BROADCAST, number, 150);
            world.send(from, &frame);
        })
    }
}

#[test]
fn frames_are_lost_while_views_differ_only_until_a_dead_wire_is_noticed() {
    for seed in 0..2 {
        let (mut world, hosts, containers) = ring(500 + seed, 6);
        until(&mut world, 20, |world| fast(world) == 30);
        let mut traffic = Traffic {
            containers: &containers,
            senders: &containers,
            number: 1,
        };
        assert_eq!(traffic.pairs(&mut world, 2000).lost, 0, "nothing happens");
        world.network.cut(hosts[0], hosts[1]);
        // The fast path is left after 1.7 s; sleeve, which then has the frames, notices after three seconds as ever.
        let unnoticed = traffic.pairs(&mut world, 4000);
        let differ = traffic.pairs(&mut world, 6000);
        println!("seed {seed}: a wire dies: {unnoticed:?} in four seconds, then {differ:?}");
        // A third of all pairs goes over that wire at most.
        assert!(unnoticed.lost * 3 < unnoticed.all, "{unnoticed:?}");
        assert_eq!(
            (differ.lost, differ.again),
            (0, 0),
            "views differ, and nothing is lost any more"
        );
        until(&mut world, 10, |world| fast(world) == 30);
        assert_eq!(traffic.pairs(&mut world, 1000).lost, 0, "it is over");
        world.network.heal(hosts[0], hosts[1]);
        let healed = traffic.pairs(&mut world, 6000);
        println!("seed {seed}: it comes back: {healed:?}");
        assert_eq!(
            (healed.lost, healed.again),
            (0, 0),
            "nothing is lost for a wire that comes"
        );
        until(&mut world, 10, |world| fast(world) == 30);
        for host in &hosts {
            let drops = world.router(*host).unwrap().kernel_drops();
            assert_eq!(drops.get(&DropReason::VxlanSpoofed), None, "{drops:?}");
        }
        world.no_excess().unwrap();
    }
}

#[test]
fn broadcasts_take_the_sources_trees_and_come_once_while_a_wire_dies_and_returns() {
    let (mut world, hosts, containers) = ring(600, 7);
    until(&mut world, 20, |world| fast(world) == 42);
    let vni = Vni::DEFAULT;
    let mut traffic = Traffic {
        containers: &containers,
        senders: &containers,
        number: 10_000,
    };
    let whole = Count {
        lost: 0,
        again: 0,
        all: 30 * 42,
    };
    // By sleeve at first, whose keys have to be given to all.
    traffic.broadcasts(&mut world, 120);
    let all = |world: &World| hosts.iter().all(|host| world.router(*host).unwrap().spreads(vni));
    assert!(all(&world), "all seven spread by their kernels");
    assert_eq!(traffic.broadcasts(&mut world, 30), whole);
    world.network.cut(hosts[2], hosts[3]);
    let dying = traffic.broadcasts(&mut world, 120);
    println!("a wire dies: {dying:?} in six seconds");
    assert_eq!(dying.again, 0, "nothing comes twice");
    world.run(secs(5));
    traffic.broadcasts(&mut world, 100);
    assert!(all(&world), "they have found other trees");
    assert_eq!(traffic.broadcasts(&mut world, 30), whole);
    world.network.heal(hosts[2], hosts[3]);
    let healing = traffic.broadcasts(&mut world, 120);
    println!("it comes back: {healing:?}");
    assert_eq!(
        (healing.lost, healing.again),
        (0, 0),
        "nothing is lost for a wire that comes"
    );
}

/// Delays change, and with them the trees: a frame meets the former places or the present ones, on all its way.
#[test]
fn trees_move_and_no_broadcast_is_lost() {
    for seed in 0..2 {
        let (mut world, hosts, containers) = wired(700 + seed, 8, |_| false);
        until(&mut world, 20, |world| fast(world) == 56);
        let mut traffic = Traffic {
            containers: &containers,
            senders: &containers[..3],
            number: 20_000,
        };
        let vni = Vni::DEFAULT;
        let spread = |world: &World| {
            let spreads = |host: &&HostId| world.router(**host).unwrap().spreads(vni);
            hosts[..3].iter().filter(spreads).count()
        };
        traffic.broadcasts(&mut world, 240);
        assert_eq!(spread(&world), 3, "all spread by their kernels");
        let mut least = 3;
        for (change, slow) in [(1, 3), (2, 4)] {
            for (at, a) in hosts.iter().enumerate() {
                for (other, b) in hosts.iter().enumerate().skip(at + 1) {
                    let far = (at * 3 + other * 5 + change) % slow == 0;
                    let latency = ms(if far {
                        2
                    } else {
                        20 + 3 * ((at + other) % 5) as u64
                    });
                    world.network.change_both(*a, *b, |wire| wire.latency = latency);
                }
            }
            for _ in 0..6 {
                let count = traffic.broadcasts(&mut world, 40);
                assert_eq!((count.lost, count.again), (0, 0), "seed {seed}, change {change}");
                least = least.min(spread(&world));
            }
        }
        assert!(least < 3, "no tree moved");
        traffic.broadcasts(&mut world, 200);
        assert_eq!(spread(&world), 3, "they have found other trees");
    }
}
