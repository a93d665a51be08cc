//! What is lost after a failure, once the two ends of the line have noticed it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{ms, secs};
use mesh::DropReason;
use simulations::{ContainerId, Failure, HostId, World};
use std::collections::BTreeMap;

/// Routers in a square of so many rows.
const WIDE: usize = 4;

/// Joined with those beside them only, 5 to 20 ms apart.
fn grid(seed: u64) -> (World, Vec<HostId>) {
    let mut world = World::new(seed);
    let apart = |at: usize, to: usize| {
        let beside = to == at + WIDE || (to == at + 1 && !to.is_multiple_of(WIDE));
        !beside
    };
    let hosts = world.add_hosts(WIDE * WIDE);
    for at in 0..hosts.len() {
        for to in at + 1..hosts.len() {
            let delay = ms(5 + (at * 7 + to * 3) as u64 % 15);
            world
                .network
                .change_both(hosts[at], hosts[to], |wire| wire.latency = delay);
            if apart(at, to) {
                world.network.cut(hosts[at], hosts[to]);
            }
        }
    }
    for (at, &host) in hosts.iter().enumerate() {
        let known: Vec<_> = (0..at).filter(|&to| !apart(to, at)).map(|to| hosts[to]).collect();
        world.launch(host, &known);
        world.attach(host);
    }
    (world, hosts)
}

/// Frames that were sent, and who shall get them.
type Sent = BTreeMap<u64, ContainerId>;

/// One container sends a frame to each other one, and some milliseconds pass.
fn turn(world: &mut World, turn: usize, sent: &mut Sent) {
    let all = world.containers();
    let from = all[turn % all.len()];
    for &to in all.iter().filter(|to| **to != from) {
        let number = (turn * all.len() + to.host.0) as u64 + 1;
        world.send_to(from, to, number, 200);
        sent.insert(number, to);
    }
    world.run(ms(5));
}

fn lost(world: &World, sent: &Sent) -> usize {
    let came = |(number, to): &(&u64, &ContainerId)| world.container(**to).count(**number) > 0;
    sent.iter().filter(|sent| !came(sent)).count()
}

fn a_line_dies_under_traffic(seed: u64, (a, b): (usize, usize)) -> Result<(), Failure> {
    let (mut world, hosts) = grid(seed);
    world.all_reachable(secs(10))?;
    let (a, b) = (hosts[a], hosts[b]);
    let mut turns = 0..;
    let mut some = |world: &mut World, while_true: &dyn Fn(&World, usize) -> bool| {
        let mut sent = Sent::new();
        for count in 0.. {
            if !while_true(world, count) {
                break;
            }
            turn(world, turns.next().unwrap(), &mut sent);
        }
        sent
    };
    some(&mut world, &|_, count| count < 500);
    world.network.cut(a, b);
    let unnoticed = some(&mut world, &|world, _| world.links(a, b) + world.links(b, a) > 0);
    let after = some(&mut world, &|_, count| count < 300);
    world.run(secs(1));
    let over_it = lost(&world, &unnoticed);
    assert!(over_it > 100, "only {over_it} frames were to go over it");
    let gone = lost(&world, &after);
    assert!(gone * 1000 <= after.len(), "{gone} of {} lost", after.len());
    for host in hosts {
        let router = world.router(host).unwrap();
        assert_eq!(router.drops.get(DropReason::HopLimit), 0);
    }
    Ok(())
}

#[test]
fn a_line_in_the_middle_dies_under_traffic() -> Result<(), Failure> {
    (1..4).try_for_each(|seed| a_line_dies_under_traffic(seed, (5, 6)))
}

#[test]
fn a_line_at_a_corner_dies_under_traffic() -> Result<(), Failure> {
    a_line_dies_under_traffic(4, (0, 1))
}
