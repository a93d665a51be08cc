//! Addresses in whole cores: divided, kept over restarts, remembered for routers that are long gone.

#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use mesh::ipam::{Pool, Refusal, Trust};
use mesh::{DropReason, Event, Input, Mac, PeerId, Vni};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use world::World;

const VNI: Vni = Vni(1);

fn town(hosts: u8) -> World {
    let mut world = World::new(hosts);
    for host in &mut world.hosts {
        host.pool = Some(Pool::new(([10, 32, 0, 0].into(), 24), None).unwrap());
    }
    world
}

fn allocate(world: &mut World, n: usize, number: u64) {
    let holder = format!("c{number}");
    world.input(
        n,
        Input::Allocate {
            vni: VNI,
            number,
            holder,
            want: None,
        },
    );
}

/// What became of the request with this number.
fn given(world: &World, n: usize, number: u64) -> Option<Result<IpAddr, Refusal>> {
    let mut found = world.hosts[n].given.iter().filter(|(other, _)| *other == number);
    found
        .next()
        .map(|(_, result)| result.clone().map(|addresses| addresses[0].0))
}

fn shares(world: &World, n: usize) -> Vec<(Option<PeerId>, u32)> {
    world.mesh(n).addresses_view()[0].shares.clone()
}

#[test]
fn who_sees_each_other_shares_and_newcomers_get_some() {
    let mut world = town(4);
    for n in 0..3 {
        world.launch(n, &[0]);
    }
    world.run_ms(4000);
    for n in 0..3 {
        assert_eq!(shares(&world, n).len(), 3);
        assert_eq!(shares(&world, n), shares(&world, 0));
    }
    world.launch(3, &[1]);
    world.run_ms(4000);
    for n in 0..4 {
        let shares = shares(&world, n);
        assert_eq!(
            (shares.len(), shares.iter().map(|(_, count)| count).sum::<u32>()),
            (4, 256)
        );
        allocate(&mut world, n, 1);
    }
    world.run_ms(100);
    let all: BTreeSet<_> = (0..4).map(|n| given(&world, n, 1).unwrap().unwrap()).collect();
    assert_eq!(all.len(), 4);
}

#[test]
fn what_the_dead_owned_is_known_to_those_that_come_after_them() {
    let mut world = town(4);
    for n in 0..3 {
        world.launch(n, &[0]);
    }
    world.run_ms(4000);
    let gone = world.hosts[2].id;
    world.kill(2);
    // Its records have left the stores of the others.
    world.run(Duration::from_secs(700));
    assert!(world.mesh(0).peers().iter().all(|peer| peer.id != gone));
    // And these have been restarted, all at once.
    for n in 0..2 {
        world.kill(n);
    }
    for n in 0..2 {
        world.launch(n, &[0]);
    }
    world.run_ms(3000);
    world.launch(3, &[1]);
    world.run_ms(5000);
    let of_gone = |world: &World| {
        let shares = shares(world, 3);
        shares
            .into_iter()
            .find(|(owner, _)| *owner == Some(gone))
            .map(|(_, count)| count)
    };
    assert_eq!(of_gone(&world), Some(256 / 3 + 1));
    let peer = gone;
    world.input(3, Input::Reclaim { number: 1, peer });
    world.run_ms(1000);
    assert_eq!(
        (world.hosts[3].reclaimed.clone(), of_gone(&world)),
        (vec![Ok(256 / 3 + 1)], None)
    );
    assert_eq!(shares(&world, 0), shares(&world, 3));
    assert_eq!(world.dropped(3, DropReason::BadSignature), 0);
}

#[test]
fn after_a_restart_a_router_hears_a_neighbour_or_says_that_it_did_not() {
    let mut world = town(2);
    world.launch(0, &[0]);
    world.launch(1, &[0]);
    world.run_ms(4000);
    world.kill(1);
    world.cut(0, 1);
    world.launch(1, &[0]);
    allocate(&mut world, 1, 7);
    world.run_ms(9000);
    assert_eq!(given(&world, 1, 7), None);
    world.run_ms(2000);
    assert!(given(&world, 1, 7).unwrap().is_ok());
    assert_eq!(world.mesh(1).addresses_view()[0].trust, Trust::Unconfirmed);
    world.heal(0, 1);
    world.run(Duration::from_secs(20));
    assert_eq!(world.mesh(1).addresses_view()[0].trust, Trust::Confirmed);
    world.kill(1);
    world.launch(1, &[0]);
    allocate(&mut world, 1, 8);
    world.run_ms(3000);
    assert!(
        given(&world, 1, 8).unwrap().is_ok(),
        "a neighbour was there: nothing to wait for"
    );
}

#[test]
fn groups_that_began_apart_name_what_is_there_twice_and_keep_their_links() {
    let mut world = town(4);
    world.launch(0, &[0]);
    world.launch(1, &[0]);
    world.launch(2, &[2]);
    world.launch(3, &[2]);
    world.run_ms(4000);
    for n in 0..4 {
        allocate(&mut world, n, 1);
    }
    world.run_ms(100);
    for n in 0..4 {
        let address = given(&world, n, 1).unwrap().unwrap();
        let mac = Mac([2, 0, 0, 0, 0, n as u8]);
        world.input(
            n,
            Input::Attach {
                vni: VNI,
                mac,
                addresses: vec![address],
            },
        );
    }
    let twice = |world: &World, n: usize| world.mesh(n).addresses_view()[0].doubled.clone();
    assert!((0..4).all(|n| twice(&world, n).is_empty()));
    let targets = vec![world.hosts[0].address.to_string()];
    world.input(
        2,
        Input::Connect {
            targets,
            replace: false,
        },
    );
    world.run_ms(5000);
    for n in 0..4 {
        assert_eq!(twice(&world, n).len(), 2, "router {n}");
        assert_eq!(shares(&world, n), shares(&world, 0));
        assert_eq!(world.reachable(n), 4);
    }
    let named = |event: &Event| {
        matches!(
            event,
            Event::Addresses {
                event: mesh::ipam::IpamEvent::Doubled { .. },
                ..
            }
        )
    };
    assert!(
        world
            .hosts
            .iter()
            .all(|host| host.log.iter().any(|(_, event)| named(event)))
    );
    // The two are never given out again while they are in use, and new ones are new.
    let mut seen: BTreeSet<_> = (0..4).map(|n| given(&world, n, 1).unwrap().unwrap()).collect();
    assert_eq!(seen.len(), 2);
    for number in 2..40 {
        for n in 0..4 {
            allocate(&mut world, n, number);
        }
        world.run_ms(1000);
        for n in 0..4 {
            let address = given(&world, n, number).unwrap().unwrap();
            assert!(seen.insert(address), "{address} at {n}");
        }
    }
}

/// Networks come and go, as they do where each test run has its own.
#[test]
fn a_router_that_had_hundreds_of_networks_is_still_heard() {
    let mut world = town(2);
    world.launch(0, &[]);
    world.launch(1, &[0]);
    world.run(Duration::from_secs(5));
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let blue: mesh::Name = "blue".parse().unwrap();
    let turn = |world: &mut World, n: u32| {
        let name: mesh::Name = format!("net-{n}").parse().unwrap();
        let add = Input::AddNetwork {
            number: 0,
            name: name.clone(),
            vni: Some(Vni(1000 + n)),
            pool: None,
        };
        world.input(0, add);
        let vni = Vni(1000 + n);
        let addresses = vec![];
        world.input(0, Input::Attach { vni, mac, addresses });
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        let name_is = |addresses| Input::Name {
            vni,
            name: blue.clone(),
            addresses,
        };
        world.input(0, name_is(addresses));
        world.run_ms(100);
        let is_there = world.hosts[1]
            .fdb
            .drain(..)
            .any(|fdb| fdb.vni == vni && matches!(fdb.change, mesh::FdbChange::Set { .. }));
        world.input(0, Input::Detach { vni, mac });
        world.input(0, name_is(Vec::new()));
        world.run_ms(100);
        world.input(0, Input::RemoveNetwork { number: 0, name });
        world.run_ms(100);
        is_there
    };
    for n in 0..700 {
        assert!(
            turn(&mut world, n),
            "network {n} {}",
            world.dropped(1, DropReason::StoreFull)
        );
    }
}
