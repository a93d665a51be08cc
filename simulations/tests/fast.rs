//! The kernel's fast path in the simulated world: the daemon's decisions over the model of the programs, with latency,
//! views that differ, and relays that forward by tables of their own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{ms, secs};
use mesh::{DropReason, Mac, Vni};
use simulations::{ContainerId, HostId, World};

/// Routers in a ring of wires: nobody reaches any but its two neighbours.
fn ring(seed: u64, count: usize) -> (World, Vec<HostId>, Vec<ContainerId>) {
    let mut world = World::new(seed);
    world.fake_crypto();
    let hosts = world.add_hosts(count);
    for (at, a) in hosts.iter().enumerate() {
        for (other, b) in hosts.iter().enumerate().skip(at + 1) {
            let apart = other - at;
            if apart != 1 && apart != count - 1 {
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

/// Sends frames between all pairs every 40 ms; how many were lost of how many, and how many came twice.
fn traffic(
    world: &mut World,
    containers: &[ContainerId],
    number: &mut u64,
    time: u64,
) -> (usize, usize, usize) {
    let first = *number;
    for _ in 0..time / 40 {
        for (a, from) in containers.iter().enumerate() {
            for to in containers.iter().filter(|to| *to != from) {
                world.send_to(*from, *to, *number * 100 + a as u64, 150);
            }
        }
        *number += 1;
        world.run(ms(40));
    }
    world.run(ms(300));
    let (mut lost, mut all, mut doubled) = (0, 0, 0);
    for number in first..*number {
        for (a, from) in containers.iter().enumerate() {
            for to in containers.iter().filter(|to| *to != from) {
                let count = world.container(*to).count(number * 100 + a as u64);
                (all, lost, doubled) = (
                    all + 1,
                    lost + usize::from(count == 0),
                    doubled + usize::from(count > 1),
                );
            }
        }
    }
    (lost, all, doubled)
}

#[test]
fn frames_are_lost_while_views_differ_only_until_a_dead_wire_is_noticed() {
    for seed in 0..2 {
        let (mut world, hosts, containers) = ring(500 + seed, 6);
        until(&mut world, 20, |world| fast(world) == 30);
        let mut number = 1;
        assert_eq!(
            traffic(&mut world, &containers, &mut number, 2000).0,
            0,
            "nothing happens"
        );
        world.network.cut(hosts[0], hosts[1]);
        // The fast path is left after 1.7 s; sleeve, which then has the frames, notices after three seconds as ever.
        let unnoticed = traffic(&mut world, &containers, &mut number, 4000);
        let differ = traffic(&mut world, &containers, &mut number, 6000);
        println!(
            "seed {seed}: a wire dies: {unnoticed:?} lost, sent, doubled in four seconds, then {differ:?}"
        );
        // A third of all pairs goes over that wire at most.
        assert!(unnoticed.0 * 3 < unnoticed.1, "{unnoticed:?}");
        assert_eq!(
            (differ.0, differ.2),
            (0, 0),
            "views differ, and nothing is lost any more"
        );
        until(&mut world, 10, |world| fast(world) == 30);
        assert_eq!(
            traffic(&mut world, &containers, &mut number, 1000).0,
            0,
            "it is over"
        );
        world.network.heal(hosts[0], hosts[1]);
        let healed = traffic(&mut world, &containers, &mut number, 6000);
        println!("seed {seed}: it comes back: {healed:?}");
        assert_eq!(
            (healed.0, healed.2),
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
    let mut number = 10_000;
    let vni = Vni::DEFAULT;
    let spread = |world: &mut World, number: &mut u64, rounds: usize| {
        let first = *number;
        for _ in 0..rounds {
            for (a, from) in containers.iter().enumerate() {
                let frame = world
                    .container(*from)
                    .frame(Mac::BROADCAST, *number * 100 + a as u64, 150);
                world.send(*from, &frame);
            }
            *number += 1;
            world.run(ms(50));
        }
        world.run(ms(300));
        let (mut lost, mut doubled, mut all) = (0, 0, 0);
        for number in first..*number {
            for (a, from) in containers.iter().enumerate() {
                for to in containers.iter().filter(|to| *to != from) {
                    let count = world.container(*to).count(number * 100 + a as u64);
                    (all, lost, doubled) = (
                        all + 1,
                        lost + usize::from(count == 0),
                        doubled + count.saturating_sub(1),
                    );
                }
            }
        }
        (lost, doubled, all)
    };
    // By sleeve at first, whose keys have to be given to all.
    spread(&mut world, &mut number, 120);
    let all = |world: &World| hosts.iter().all(|host| world.router(*host).unwrap().spreads(vni));
    assert!(all(&world), "all seven spread by their kernels");
    assert_eq!(spread(&mut world, &mut number, 30), (0, 0, 30 * 42));
    world.network.cut(hosts[2], hosts[3]);
    let dying = spread(&mut world, &mut number, 120);
    println!("a wire dies: {dying:?} lost, doubled, sent in six seconds");
    assert_eq!(dying.1, 0, "nothing comes twice");
    world.run(secs(5));
    spread(&mut world, &mut number, 100);
    assert!(all(&world), "they have found other trees");
    assert_eq!(spread(&mut world, &mut number, 30), (0, 0, 30 * 42));
    world.network.heal(hosts[2], hosts[3]);
    let healing = spread(&mut world, &mut number, 120);
    println!("it comes back: {healing:?}");
    assert_eq!(healing.1, 0, "nothing comes twice");
}
