//! Path MTU.

use crate::harness::*;
use mesh::DropReason;
use sleeve::io::memory::Wire;
use sleeve::{Event, PathState};

fn narrow(mtu: u16) -> Option<Wire> {
    Some(Wire {
        mtu,
        ..Wire::default()
    })
}

fn mtu(world: &World, n: usize) -> u16 {
    world.nodes[n].sleeve.paths(world.now)[0].mtu
}

#[test]
fn larger_and_odd_sizes_are_found() {
    for (max_mtu, real) in [
        (9000, 9000),
        (9000, 1500),
        (9000, 4000),
        (1500, 1420),
        (1500, 1300),
        (1500, 1280),
    ] {
        let mut world = World::with(
            2,
            &Options {
                max_mtu,
                ..Options::default()
            },
        );
        world.wire(0, 1, narrow(real));
        world.link(0, 1);
        world.run(ms(100));
        assert!(world.passes(0, 1, 1, 1000), "at the base at once");
        world.run(secs(15));
        for n in [0, 1] {
            let found = mtu(&world, n);
            assert!(
                found <= real && real - found < 16,
                "{found} found of {real} (up to {max_mtu})"
            );
            assert_eq!(world.nodes[n].sleeve.paths(world.now)[0].state, PathState::Up);
            assert_eq!(world.nodes[n].direct[&(1 - n)], found, "mesh knows");
        }
        let fits = usize::from(mtu(&world, 0)) - 64;
        assert!(world.passes(0, 1, 2, fits) && world.passes(0, 1, 3, fits + 1));
    }
}

#[test]
fn a_path_that_narrows_is_measured_anew() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(5));
    assert_eq!(mtu(&world, 0), 1500);
    world.wire(0, 1, narrow(1300));
    for n in 0..15 {
        assert!(world.passes(0, 1, n, 100));
        world.run(secs(1));
    }
    assert!((1284..=1300).contains(&mtu(&world, 0)), "{}", mtu(&world, 0));
    assert_eq!(world.nodes[0].downs, 0, "narrow is not dead");
    assert!(world.passes(0, 1, 1, 1200) && world.passes(0, 1, 2, 1400));
    // And widens again.
    world.wire(0, 1, None);
    world.run(secs(90));
    assert_eq!(mtu(&world, 0), 1500);
}

#[test]
fn a_path_that_narrows_while_nobody_uses_it_is_measured_within_two_minutes() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(5));
    world.wire(0, 1, narrow(1300));
    world.run(secs(15));
    assert_eq!(mtu(&world, 0), 1500, "small checks are answered");
    world.run(secs(75));
    assert!((1284..=1300).contains(&mtu(&world, 0)), "{}", mtu(&world, 0));
    assert_eq!(world.nodes[0].downs, 0);
}

#[test]
fn a_path_below_the_base_is_reported_as_unusable() {
    let mut world = World::new(2);
    world.wire(0, 1, narrow(1279));
    world.link(0, 1);
    world.run(secs(10));
    assert!(world.nodes[0].direct.is_empty());
    let address = world.nodes[1].address;
    let too_narrow = Event::PathTooNarrow {
        peer: world.nodes[1].id,
        address,
    };
    assert!(world.nodes[0].logs.contains(&too_narrow));
    assert!(!world.passes(0, 1, 1, 100));
    assert!(world.drops(0, DropReason::NoRoute) > 0);
    world.wire(0, 1, None);
    world.run(secs(12));
    assert!(world.passes(0, 1, 2, 100));
    world.wire(0, 1, narrow(1200));
    world.run(secs(10));
    assert_eq!(
        world.nodes[0].downs, 1,
        "a working path that narrows too much goes down"
    );
}
