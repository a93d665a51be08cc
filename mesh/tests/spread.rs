//! How records spread: along one tree, and around those who break it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use mesh::{FdbChange, Input, Mac, Vni};
use std::time::Duration;
use world::World;

/// The first byte of messages that carry records, and of those that ask for some by their marks.
const RECORDS: u8 = 5;
const WANT: u8 = 12;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Without discovery, these links, each with its latency in milliseconds; at rest.
fn graph(hosts: u8, links: &[(usize, usize, u64)]) -> World {
    let mut world = World::new(hosts);
    world.hosts.iter_mut().for_each(|host| host.discovery = false);
    for (a, b, latency) in links {
        world.slow.insert((*a.min(b), *a.max(b)), ms(*latency));
    }
    for host in 0..usize::from(hosts) {
        let dials = links.iter().filter(|(a, _, _)| *a == host).map(|(_, b, _)| *b);
        world.launch(host, &dials.collect::<Vec<_>>());
    }
    let all = usize::from(hosts);
    world.until(secs(5), |world| (0..all).all(|n| world.reachable(n) == all));
    world.run(secs(10));
    world
}

fn attach(world: &mut World, host: usize, n: u8) {
    let mac = Mac([2, 0, 0, 0, 0, n]);
    let (vni, addresses) = (Vni::DEFAULT, Vec::new());
    world.input(host, Input::Attach { vni, mac, addresses });
}

fn knows(world: &World, host: usize, n: u8) -> bool {
    let is_it = |change: &FdbChange| matches!(change, FdbChange::Set { mac, .. } if mac.0[5] == n);
    world.hosts[host].fdb.iter().any(|fdb| is_it(&fdb.change))
}

/// Something changes at `from`; how long until `to` knows of it?
fn took(world: &mut World, (from, to): (usize, usize), n: u8) -> Duration {
    attach(world, from, n);
    world.until(secs(4), |world| knows(world, to, n))
}

/// 0, the root, with 1 and 2 below it, and 3 below both; 1 is the nearer one.
fn diamond() -> World {
    graph(4, &[(0, 1, 5), (0, 2, 5), (1, 3, 5), (2, 3, 20)])
}

#[test]
fn each_router_gets_a_record_once_unless_it_is_next_to_its_origin() {
    // A ring of eight and its four diameters: three links each.
    let links: Vec<_> = (0..8)
        .map(|n| (n, (n + 1) % 8, 5))
        .chain((0..4).map(|n| (n, n + 4, 7)))
        .collect();
    let mut world = graph(8, &links);
    for origin in 0..8 {
        let before: u64 = world.hosts.iter().map(|host| host.sent).sum();
        attach(&mut world, origin, origin as u8);
        world.run_ms(60);
        assert!((0..8).all(|n| n == origin || knows(&world, n, origin as u8)));
        let sent = world.hosts.iter().map(|host| host.sent).sum::<u64>() - before;
        // Seven have to get it. The three neighbours start at once, so some get it from two sides; pings go on.
        assert!(sent <= 7 + 8, "{sent}");
        world.run(secs(3));
    }
}

#[test]
fn what_a_parent_withholds_is_asked_of_others_and_soon_comes_by_itself() {
    let mut world = diamond();
    assert!(took(&mut world, (0, 3), 1) < ms(15), "along the tree");
    world.run(secs(2));
    world.loses = Box::new(|from, _, bytes, _| from == 1 && bytes[0] == RECORDS);
    for n in 2..8 {
        let took = took(&mut world, (0, 3), n);
        // Up to a second until the next ping shows it, then some patience.
        assert!(took < ms(1500), "{took:?}");
        if n > 4 {
            assert!(took < ms(40), "a second parent brings it: {took:?}");
        }
        world.run(secs(2));
    }
    assert!((0..4).all(|n| world.reachable(n) == 4));
}

#[test]
fn what_a_child_withholds_is_asked_of_others_as_well() {
    let mut world = diamond();
    world.loses = Box::new(|from, _, bytes, _| from == 1 && bytes[0] == RECORDS);
    for n in 2..8 {
        let took = took(&mut world, (3, 0), n);
        assert!(took < ms(2600), "{took:?}");
        if n > 5 {
            assert!(took < ms(60), "{took:?}");
        }
        world.run(secs(2));
    }
}

#[test]
fn nobody_is_asked_for_what_the_tree_brings() {
    let mut world = diamond();
    let wants = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = std::rc::Rc::clone(&wants);
    world.loses = Box::new(move |_, _, bytes, _| {
        count.set(count.get() + u32::from(bytes[0] == WANT));
        false
    });
    for n in 0..40 {
        attach(&mut world, usize::from(n) % 4, n);
        world.run_ms(130);
    }
    world.run(secs(3));
    assert!((1..4).all(|host| (0..40).step_by(4).all(|n| knows(&world, host, n))));
    assert_eq!(wants.get(), 0);
}

#[test]
fn a_full_mesh_of_thirty_two_forms_without_a_flood() {
    let mut world = World::new(32);
    for host in 0..32 {
        world.launch(host, if host == 0 { &[] } else { &[0] });
    }
    world.until(secs(5), World::is_full_mesh);
    world.run(secs(10));
    let sent: u64 = world.hosts.iter().map(|host| host.sent_bytes).sum();
    assert!(sent < 12_000_000, "{sent}");
}

#[test]
fn half_of_the_keepalives_may_be_lost_and_the_dead_are_noticed_all_the_same() {
    let mut world = World::new(5);
    for host in 0..5 {
        world.launch(host, if host == 0 { &[] } else { &[0] });
    }
    world.until(secs(3), World::is_full_mesh);
    world.run(secs(5));
    let mut state = 1_u32;
    world.loses = Box::new(move |_, _, _, reliable| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        !reliable && state >> 31 == 0
    });
    let downs = |world: &World| {
        let all = world.hosts.iter().flat_map(|host| &host.log);
        all.filter(|(_, event)| matches!(event, mesh::Event::LinkDown { .. }))
            .count()
    };
    world.run(secs(60));
    // Of twenty ends of links, each for a minute.
    assert!(downs(&world) <= 10, "{}", downs(&world));
    world.loses = Box::new(|_, _, _, _| false);
    world.run(secs(60));
    world.kill(3);
    world.until(ms(3600), |world| {
        (0..5).filter(|n| *n != 3).all(|n| world.reachable(n) == 4)
    });
}
