//! Routers find each other, and frames pass.

mod common;

use common::{ms, secs, star};
use mesh::Mac;
use simulations::{Failure, World};

#[test]
fn five_routers_from_one_address_become_a_full_mesh() -> Result<(), Failure> {
    let mut world = World::new(1);
    star(&mut world, 5);
    world.all_direct(secs(3))?;
    world.all_linked_once(secs(2))?;
    world.all_deliver(1, ms(200))?;
    world.no_excess()
}

#[test]
fn a_broadcast_reaches_each_member_once() -> Result<(), Failure> {
    let mut world = World::new(2);
    let hosts = star(&mut world, 4);
    let second = world.attach(hosts[2]);
    world.all_direct(secs(3))?;
    let from = world.containers()[0];
    let frame = world.container(from).frame(Mac::BROADCAST, 9, 200);
    world.send(from, &frame);
    world.run(ms(200));
    for to in world.containers() {
        let expected = usize::from(to != from);
        assert_eq!(world.container(to).count(9), expected, "{to:?}");
    }
    world.detach(second);
    world.run(ms(200));
    world.no_excess()
}

#[test]
fn a_router_that_stops_is_missed_at_once() -> Result<(), Failure> {
    let mut world = World::new(3);
    let hosts = star(&mut world, 3);
    world.all_direct(secs(3))?;
    world.stop(hosts[2]);
    let against = |world: &World| {
        let reaching = hosts[..2].iter().filter(|&&host| world.reaches(host, hosts[2]));
        reaching
            .map(|host| format!("host {} reaches it", host.0))
            .collect()
    };
    world.expect(ms(100), "nobody reaches the router that stopped", against)?;
    world.run(secs(1));
    world.launch(hosts[2], &[]);
    world.all_direct(secs(3))?;
    world.all_deliver(1, ms(200))
}

#[test]
fn a_stranger_with_another_secret_stays_outside() -> Result<(), Failure> {
    let mut world = World::new(4);
    let hosts = star(&mut world, 2);
    let mut disk = world.disk(hosts[1]);
    let secret = world.new_secret(1);
    disk.keyring = crypto::Keyring::new(vec![secret]).unwrap();
    disk.identity = crypto::Identity::generate(&mut world.fork("stranger", 0)).into();
    let stranger = world.add_host_with(disk, Default::default());
    world.launch(stranger, &[hosts[0]]);
    world.run(secs(5));
    assert!(!world.reaches(hosts[0], stranger) && !world.reaches(stranger, hosts[0]));
    let targets = world.router(stranger).unwrap().mesh.targets();
    let errors: Vec<_> = targets
        .iter()
        .filter_map(|target| target.error.as_deref())
        .collect();
    assert!(errors.iter().any(|error| error.contains("secret")), "{errors:?}");
    let refused = world
        .router(hosts[0])
        .unwrap()
        .drops
        .get(mesh::DropReason::SecretRefused);
    assert!((1..10).contains(&refused), "{refused}");
    Ok(())
}
