//! Names: known everywhere soon, withdrawn when what they name is gone, and nobody else's business in between.

#![allow(clippy::unwrap_used)]

mod common;

use common::{ms, secs, star};
use mesh::{Input, Name, Vni};
use simulations::{Failure, HostId, World};
use std::collections::BTreeMap;
use std::net::IpAddr;

const NET: Vni = Vni(1);

fn address(n: u8) -> IpAddr {
    [10, 32, 0, n].into()
}

fn name(world: &mut World, host: HostId, name: &str, addresses: &[u8]) {
    let name: Name = name.parse().unwrap();
    let addresses = addresses.iter().map(|n| address(*n)).collect();
    world.input(
        host,
        Input::Name {
            vni: NET,
            name,
            addresses,
        },
    );
}

/// Waits until each of these hosts has just these names.
fn expect(
    world: &mut World,
    within: std::time::Duration,
    hosts: &[HostId],
    names: &[(&str, &[u8])],
) -> Result<(), Failure> {
    let wanted: BTreeMap<(Vni, Name), Vec<IpAddr>> = names
        .iter()
        .map(|(name, addresses)| {
            let addresses = addresses.iter().map(|n| address(*n)).collect();
            ((NET, name.parse().unwrap()), addresses)
        })
        .collect();
    let hosts = hosts.to_vec();
    let differing = move |world: &World| {
        let names = |host: &HostId| {
            world
                .router(*host)
                .map(|router| router.names.clone())
                .unwrap_or_default()
        };
        let differing = hosts.iter().filter(|host| names(host) != wanted);
        differing
            .map(|host| format!("{host:?} has {:?}", names(host)))
            .collect()
    };
    world.expect(within, "the names", differing).map(|_| ())
}

#[test]
fn names_come_and_go_with_what_they_name() -> Result<(), Failure> {
    let mut world = World::new(21);
    let h = star(&mut world, 5);
    world.all_direct(secs(3))?;
    name(&mut world, h[1], "web", &[1, 2]);
    name(&mut world, h[2], "web", &[3]);
    name(&mut world, h[2], "db", &[4]);
    expect(&mut world, secs(1), &h, &[("web", &[1, 2, 3]), ("db", &[4])])?;

    // One of two containers ends: within a second everybody knows.
    name(&mut world, h[1], "web", &[2]);
    expect(&mut world, secs(1), &h, &[("web", &[2, 3]), ("db", &[4])])?;

    // A router crashes: its names go when the mesh no longer reaches it, and come back with it.
    world.crash(h[2]);
    let left = [h[0], h[1], h[3], h[4]];
    expect(&mut world, secs(15), &left, &[("web", &[2])])?;
    world.launch(h[2], &[h[0]]);
    expect(&mut world, secs(15), &left, &[("web", &[2])])?;
    name(&mut world, h[2], "db", &[5]);
    expect(&mut world, secs(15), &h, &[("web", &[2]), ("db", &[5])])?;

    // It says goodbye: at once.
    world.stop(h[2]);
    expect(&mut world, secs(1), &left, &[("web", &[2])])
}

#[test]
fn each_side_of_a_cut_has_the_names_it_can_reach() -> Result<(), Failure> {
    let mut world = World::new(22);
    let h = star(&mut world, 6);
    world.all_direct(secs(3))?;
    for (n, host) in (1..).zip(&h) {
        name(&mut world, *host, "any", &[n]);
    }
    expect(&mut world, secs(1), &h, &[("any", &[1, 2, 3, 4, 5, 6])])?;
    world.network.partition(6, |host| u32::from(host.0 >= 3));
    expect(&mut world, secs(15), &h[..3], &[("any", &[1, 2, 3])])?;
    expect(&mut world, secs(15), &h[3..], &[("any", &[4, 5, 6])])?;
    // What changes meanwhile is known afterwards.
    name(&mut world, h[0], "any", &[7]);
    name(&mut world, h[5], "any", &[]);
    world.run(ms(500));
    world.network.heal_all();
    expect(&mut world, secs(60), &h, &[("any", &[2, 3, 4, 5, 7])])
}
