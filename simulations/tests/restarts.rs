//! Crashes, old disks, clones, secrets that roll.

mod common;

use common::{ms, secs, star};
use mesh::{DropReason, Instant};
use simulations::{ContainerId, Failure, HostId, World};

fn session_age(world: &World, from: HostId, to: HostId) -> Option<Instant> {
    let router = world.router(from)?;
    let peer = world.id(to);
    let sessions = router.sleeve.sessions(router.time());
    sessions
        .into_iter()
        .find(|session| session.peer == peer)
        .map(|session| session.born)
}

/// Sends a frame every `every` ms for so many frames, both ways between each two; says which were lost.
fn traffic(
    world: &mut World,
    containers: &[ContainerId],
    frames: u64,
    every: u64,
    first: u64,
) -> Vec<String> {
    let pairs: Vec<_> = containers
        .iter()
        .flat_map(|a| containers.iter().map(move |b| (*a, *b)))
        .filter(|(a, b)| a != b)
        .collect();
    for number in first..first + frames {
        for (a, b) in &pairs {
            world.send_to(*a, *b, number * 1000 + a.host.0 as u64, 150);
        }
        world.run(ms(every));
    }
    world.run(ms(300));
    let mut lost = Vec::new();
    for number in first..first + frames {
        for (a, b) in &pairs {
            let count = world.container(*b).count(number * 1000 + a.host.0 as u64);
            if count != 1 {
                lost.push(format!(
                    "frame {number} from {} to {}: {count} times",
                    a.host.0, b.host.0
                ));
            }
        }
    }
    lost
}

fn a_crashed_router_comes_back(old_disk: bool) -> Result<(), Failure> {
    let mut world = World::new(100 + u64::from(old_disk));
    let h = star(&mut world, 4);
    let backup = world.disk(h[2]);
    world.all_direct(secs(3))?;
    world.run(secs(3));
    for _ in 0..3 {
        // Each launch takes a new epoch, so that the backup falls behind.
        world.crash(h[2]);
        world.run(secs(5));
        world.launch(h[2], &[]);
        world.all_direct(secs(5))?;
    }
    let before = session_age(&world, h[0], h[2]);
    world.crash(h[2]);
    if old_disk {
        world.set_disk(h[2], backup);
    }
    world.run(secs(1));
    world.launch(h[2], &[]);
    world.run(secs(1));
    world.all_direct(secs(6))?;
    world.run(secs(3));
    world.all_deliver(1, ms(300))?;
    let after = session_age(&world, h[0], h[2]);
    assert!(after > before && after.is_some(), "{before:?} {after:?}");
    world.all_linked_once(secs(2))?;
    let containers = world.containers();
    let lost = traffic(&mut world, &containers, 20, 100, 10);
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    world.no_excess()
}

#[test]
fn a_crashed_router_comes_back_with_its_disk() -> Result<(), Failure> {
    a_crashed_router_comes_back(false)
}

#[test]
fn a_crashed_router_comes_back_with_an_older_disk() -> Result<(), Failure> {
    a_crashed_router_comes_back(true)
}

#[test]
fn a_clone_disturbs_nobody() -> Result<(), Failure> {
    let mut world = World::new(110);
    let h = star(&mut world, 4);
    world.all_direct(secs(3))?;
    world.run(secs(2));
    let containers = world.containers();
    let epoch = world.disk(h[2]).epoch;
    let mut disk = world.disk(h[2]);
    disk.ports.clear();
    let clone = world.add_host_with(disk, Default::default());
    world.launch(clone, &[h[0], h[1]]);
    let lost = traffic(&mut world, &containers, 300, 100, 1);
    assert!(lost.is_empty(), "{} lost:\n{}", lost.len(), lost.join("\n"));
    let clashes: u64 = world
        .running()
        .map(|host| world.router(host).unwrap().drops.get(DropReason::IdentityClash))
        .sum();
    assert!(clashes > 0);
    assert_eq!(world.disk(h[2]).epoch, epoch);
    world.no_excess()
}

#[test]
fn a_secret_rolls_under_traffic() -> Result<(), Failure> {
    let mut world = World::new(120);
    let h = star(&mut world, 3);
    world.all_direct(secs(3))?;
    world.run(secs(2));
    let containers = world.containers();
    let (old, new) = (world.secret(), world.new_secret(1));
    let mut lost = traffic(&mut world, &containers, 20, 50, 100);
    for (at, &host) in h.iter().enumerate() {
        assert!(world.add_secret(host, &new));
        lost.extend(traffic(&mut world, &containers, 20, 50, 200 + 20 * at as u64));
    }
    for (at, &host) in h.iter().enumerate() {
        assert!(world.retire_secret(host, old));
        lost.extend(traffic(&mut world, &containers, 20, 50, 300 + 20 * at as u64));
    }
    lost.extend(traffic(&mut world, &containers, 200, 50, 400));
    assert!(lost.is_empty(), "{} lost:\n{}", lost.len(), lost.join("\n"));
    for (a, b) in world.pairs() {
        let router = world.router(a).unwrap();
        let sessions = router.sleeve.sessions(router.time());
        let peer = world.id(b);
        let session = sessions.into_iter().find(|session| session.peer == peer).unwrap();
        assert_eq!(session.secret.0, new.id().0, "{a:?} with {b:?}");
    }
    world.all_direct(secs(5))?;
    world.no_excess()
}
