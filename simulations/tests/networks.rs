//! Networks with the same addresses: what is sent in one is seen in that one alone, over either overlay, while the mesh
//! comes apart and together again.

#![allow(clippy::unwrap_used)]

mod common;

use common::{ms, secs};
use mesh::{Mac, Vni};
use simulations::{ContainerId, HostId, World, number_of};

/// Enough members that groups take trees.
const HOSTS: usize = 7;
/// Numbers of frames below this are of the first network, the others of the second.
const SECOND: u64 = 1 << 32;

/// A line of routers, so that frames pass relays, each with a container in both networks: equal but for the network.
fn line(seed: u64, fast: bool) -> (World, [Vec<ContainerId>; 2]) {
    let mut world = World::new(seed);
    world.fake_crypto();
    let hosts = world.add_hosts(HOSTS);
    let mut networks = [Vec::new(), Vec::new()];
    for (at, host) in hosts.iter().enumerate() {
        for further in hosts.iter().skip(at + 2) {
            world.network.cut(*host, *further);
        }
        world.set_options(*host, |options| {
            options.discovery = false;
            options.fast = fast;
            if fast {
                options.trusted = vec![("0.0.0.0".parse().unwrap(), 0), ("::".parse().unwrap(), 0)];
            }
        });
        let before = at.checked_sub(1).map(|before| hosts[before]);
        world.launch(*host, before.as_slice());
        let last = u8::try_from(at + 1).unwrap();
        for (vni, containers) in [Vni(1), Vni(2)].into_iter().zip(&mut networks) {
            let address = [10, 32, 0, last].into();
            containers.push(world.attach_as(*host, vni, Mac([2, 0, 0, 0, 0, last]), vec![address]));
        }
    }
    (world, networks)
}

/// Each sends to each and to all, in both networks at the same time. Returns the next unused number.
fn everybody_speaks(world: &mut World, networks: &[Vec<ContainerId>; 2], mut number: u64) -> u64 {
    for from in 0..HOSTS {
        for to in (0..HOSTS).filter(|to| *to != from) {
            for (containers, base) in networks.iter().zip([0, SECOND]) {
                world.send_to(containers[from], containers[to], base + number, 200);
            }
            number += 1;
        }
        for (containers, base) in networks.iter().zip([0, SECOND]) {
            let frame = world
                .container(containers[from])
                .frame(Mac::BROADCAST, base + number, 100);
            world.send(containers[from], &frame);
        }
        number += 1;
        world.run(ms(20));
    }
    world.run(secs(1));
    number
}

/// Of the frames numbered from `first` up to `next` in each network: how many came there. In the other one, none ever did.
fn came(world: &World, networks: &[Vec<ContainerId>; 2], first: u64, next: u64) -> [usize; 2] {
    let mut came = [0; 2];
    for (second, containers) in networks.iter().enumerate() {
        for container in containers {
            let received = &world.container(*container).received;
            let numbers = received
                .iter()
                .map(|received| number_of(&received.frame).unwrap());
            for number in numbers {
                assert_eq!(
                    usize::from(number >= SECOND),
                    second,
                    "{number} came to the other network"
                );
                came[second] += usize::from((first..next).contains(&(number % SECOND)));
            }
        }
    }
    came
}

/// Each to each, and each to all others.
const ALL: usize = 2 * HOSTS * (HOSTS - 1);

fn nothing_crosses(fast: bool) {
    let (mut world, networks) = line(31, fast);
    world.run(secs(8));
    // The first frames make the sessions and trees that the others take.
    let known = everybody_speaks(&mut world, &networks, 0);
    world.run(secs(5));
    let apart = everybody_speaks(&mut world, &networks, known);
    assert_eq!(came(&world, &networks, known, apart), [ALL; 2]);
    if fast {
        let (first, last) = (HostId(0), world.id(HostId(HOSTS - 1)));
        assert!(world.router(first).unwrap().is_fast(&last));
    }

    // Three on one side, four on the other.
    world.network.partition(HOSTS, |host| u32::from(host.0 >= 3));
    world.run(ms(500));
    let settled = everybody_speaks(&mut world, &networks, apart);
    world.run(secs(15));
    let together = everybody_speaks(&mut world, &networks, settled);
    let inside = 2 * (3 * 2 + 4 * 3);
    assert_eq!(came(&world, &networks, settled, together), [inside; 2]);

    world.network.heal_all();
    // While links come up and overlays change.
    let mut next = together;
    for _ in 0..6 {
        next = everybody_speaks(&mut world, &networks, next);
    }
    world.run(secs(20));
    let end = everybody_speaks(&mut world, &networks, next);
    assert_eq!(came(&world, &networks, next, end), [ALL; 2]);
}

#[test]
fn nothing_crosses_over_sleeve() {
    nothing_crosses(false);
}

#[test]
fn nothing_crosses_over_the_fast_path() {
    nothing_crosses(true);
}
