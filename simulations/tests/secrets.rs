//! What a retired secret opens: nothing, whatever was under way when it was retired.

#![allow(clippy::unwrap_used)]

use mesh::Input;
use simulations::{Failure, HostId, World};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Two routers that know nothing of each other, 50 ms apart. These also have a second secret.
fn apart(with_next: &[usize]) -> (World, [HostId; 2]) {
    let mut world = World::new(1);
    world.network.set_usual(simulations::Wire {
        latency: 50 * MS,
        ..simulations::Wire::default()
    });
    let hosts = [world.add_host(), world.add_host()];
    for host in hosts {
        world.launch(host, &[]);
    }
    let next = world.new_secret(1);
    for &which in with_next {
        assert!(world.add_secret(hosts[which], &next));
    }
    (world, hosts)
}

fn dial(world: &mut World, from: HostId, to: HostId) {
    let targets = vec![world.address(to).to_string()];
    world.input(
        from,
        Input::Connect {
            targets,
            replace: false,
        },
    );
}

#[test]
fn a_handshake_that_is_under_way_does_not_outlive_its_secret() -> Result<(), Failure> {
    // The secret is retired at either end, after each of the handshake's five ways.
    for (end, ways) in (0..2).flat_map(|end| (1..6).map(move |ways| (end, ways))) {
        let (mut world, hosts) = apart(&[0, 1]);
        dial(&mut world, hosts[0], hosts[1]);
        world.run(ways * 50 * MS - 10 * MS);
        let main = world.secret();
        assert!(world.retire_secret(hosts[end], main));
        world.run(Duration::from_secs(1));
        world.no_excess()?;
        // The other end follows, and nothing is left to hinder them.
        assert!(world.retire_secret(hosts[1 - end], main));
        world.all_linked_once(Duration::from_secs(20))?;
        world.no_excess()?;
    }
    Ok(())
}

/// Found by looking at when links come up: who said nothing kept the link that a retired secret had opened.
#[test]
fn who_never_said_who_it_is_is_parted_with() {
    let (mut world, [host, stranger]) = apart(&[0]);
    dial(&mut world, stranger, host);
    while world.links(host, stranger) == 0 {
        world.run(MS);
    }
    let id = world.id(stranger);
    assert!(world.router(host).unwrap().mesh.info(&id).is_none());
    let main = world.secret();
    assert!(world.retire_secret(host, main));
    // What the stranger says of itself is still on its way.
    world.run(300 * MS);
    assert_eq!(world.links(host, stranger), 0);
    world.run(Duration::from_secs(60));
    world.look_around();
    assert_eq!(world.violations(), []);
}

/// Found by reading: the oldest secret was offered every time, and whoever had retired it could not be dialled by those that had not.
#[test]
fn who_has_both_secrets_dials_who_has_retired_one() -> Result<(), Failure> {
    let (mut world, hosts) = apart(&[0, 1]);
    let main = world.secret();
    assert!(world.retire_secret(hosts[1], main));
    dial(&mut world, hosts[0], hosts[1]);
    world.all_linked_once(Duration::from_secs(1))?;
    world.no_excess()
}
