//! Meshes too large for all to be linked with all.

#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::collections::BTreeSet;
use std::time::Duration;
use world::World;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Places of hosts on a square, 10 ms across at least and 60 ms at most: near ones are a few milliseconds apart.
fn scatter(world: &mut World) {
    let place = |n: usize| ((n * 37 % 101) as f64, (n * 61 % 97) as f64);
    for a in 0..world.hosts.len() {
        for b in 0..a {
            let (x, y) = (place(a).0 - place(b).0, place(a).1 - place(b).1);
            let us = 200.0 + 400.0 * (x * x + y * y).sqrt();
            world.slow.insert((b, a), Duration::from_micros(us as u64));
        }
    }
}

fn running(world: &World) -> Vec<usize> {
    let hosts = 0..world.hosts.len();
    hosts.filter(|n| world.hosts[*n].mesh.is_some()).collect()
}

/// Those that are linked with a host, as that one has it.
fn neighbors(world: &World, n: usize) -> Vec<usize> {
    let others = running(world).into_iter();
    others
        .filter(|other| *other != n && world.linked(n, *other) > 0)
        .collect()
}

fn degrees(world: &World) -> Vec<usize> {
    let mut degrees: Vec<_> = running(world)
        .iter()
        .map(|n| neighbors(world, *n).len())
        .collect();
    degrees.sort_unstable();
    degrees
}

/// Whether everybody who runs sees everybody who does, and nobody else.
fn is_whole(world: &World) -> bool {
    let running = running(world);
    running.iter().all(|n| world.reachable(*n) == running.len())
}

/// Whether links that both ends have join all who run, whatever these know.
fn is_one_component(world: &World) -> bool {
    let running = running(world);
    let mut seen = BTreeSet::from([running[0]]);
    let mut open = vec![running[0]];
    while let Some(n) = open.pop() {
        for other in neighbors(world, n) {
            if world.linked(other, n) > 0 && seen.insert(other) {
                open.push(other);
            }
        }
    }
    seen.len() == running.len()
}

/// Links are bounded above twenty routers.
fn world_of(hosts: u8) -> World {
    let mut world = World::new(hosts);
    world.hosts.iter_mut().for_each(|host| host.max_links = 16);
    scatter(&mut world);
    world
}

fn grown(hosts: u8) -> World {
    let mut world = world_of(hosts);
    for host in 0..usize::from(hosts) {
        world.launch(host, if host == 0 { &[] } else { &[0] });
        world.run_ms(20);
    }
    world.run(secs(40));
    world
}

#[test]
fn many_that_know_one_address_form_one_mesh_of_bounded_links() {
    let world = grown(48);
    let degrees = degrees(&world);
    assert!(is_whole(&world));
    assert!(degrees[0] >= 4 && *degrees.last().unwrap() <= 12, "{degrees:?}");
    let mean = degrees.iter().sum::<usize>() as f64 / degrees.len() as f64;
    assert!((6.0..=10.0).contains(&mean), "{mean}");
}

#[test]
fn links_are_few_and_two_of_each_router_s_are_near() {
    let world = grown(48);
    let mut shares = Vec::new();
    for n in running(&world) {
        let us = |other: usize| world.slow[&(n.min(other), n.max(other))];
        let mut all: Vec<_> = (0..48).filter(|other| *other != n).map(us).collect();
        all.sort_unstable();
        let mut linked: Vec<_> = neighbors(&world, n).into_iter().map(us).collect();
        linked.sort_unstable();
        // How many of all are nearer than the second of those linked.
        shares.push(all.partition_point(|delay| *delay < linked[1]));
    }
    shares.sort_unstable();
    assert!(shares[24] <= 4 && shares[43] <= 10, "{shares:?}");
}

#[test]
fn two_halves_meet_again() {
    let mut world = grown(48);
    for a in 0..24 {
        for b in 24..48 {
            world.cut(a, b);
        }
    }
    world.run(secs(60));
    assert!((0..48).all(|n| world.reachable(n) == 24));
    for a in 0..24 {
        for b in 24..48 {
            world.heal(a, b);
        }
    }
    world.until(secs(20), is_whole);
    world.run(secs(30));
    let degrees = degrees(&world);
    assert!(degrees[0] >= 4 && degrees[47] <= 12, "{degrees:?}");
}

#[test]
fn few_that_are_left_of_many_find_each_other() {
    let mut world = grown(90);
    for n in (0..90).filter(|n| n % 10 != 3) {
        world.kill(n);
    }
    world.until(secs(10), is_one_component);
    world.until(secs(5), is_whole);
}

#[test]
fn one_that_must_not_discover_keeps_its_link() {
    let mut world = world_of(40);
    world.hosts[39].discovery = false;
    for host in 0..39 {
        world.launch(host, if host == 0 { &[] } else { &[0] });
        world.run_ms(20);
    }
    world.run(secs(40));
    world.launch(39, &[0]);
    world.until(secs(10), |world| world.linked(39, 0) == 1);
    world.run(secs(60));
    assert_eq!(world.linked(39, 0), 1);
    assert!(is_whole(&world));
}
