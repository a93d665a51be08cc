//! Several cores joined in memory, when all goes well and when it does not.

#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use mesh::{DropReason, FdbChange, Input, Mac, TargetState, Vni};
use std::time::Duration;
use world::World;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A full mesh of `n`, at rest.
fn mesh_of(n: u8) -> World {
    let mut world = World::new(n);
    for host in 0..usize::from(n) {
        world.launch(host, if host == 0 { &[] } else { &[0] });
    }
    world.until(secs(5), World::is_full_mesh);
    world.run(secs(5));
    assert!(world.is_full_mesh());
    world
}

/// Three in a line without discovery: 0 – 1 – 2.
fn chain() -> World {
    let mut world = World::new(3);
    world.hosts.iter_mut().for_each(|host| host.discovery = false);
    world.launch(0, &[]);
    world.launch(1, &[0]);
    world.launch(2, &[1]);
    world.until(secs(2), |world| (0..3).all(|n| world.reachable(n) == 3));
    world.run(secs(2));
    world
}

#[test]
fn five_that_know_one_address_form_a_full_mesh_within_three_seconds() {
    let mut world = World::new(5);
    for host in 0..5 {
        world.launch(host, if host == 0 { &[] } else { &[0] });
    }
    let took = world.until(secs(3), World::is_full_mesh);
    assert!(took < secs(3), "{took:?}");
    world.run(secs(90));
    assert!(world.is_full_mesh());
    for a in 0..5 {
        assert!((0..5).filter(|b| *b != a).all(|b| world.hops(a, b) == Some(1)));
        assert_eq!(world.dropped(a, DropReason::BadSignature), 0);
        assert_eq!(world.dropped(a, DropReason::MalformedMessage), 0);
    }
}

#[test]
fn nothing_is_said_twice_when_nothing_happens() {
    let mut world = mesh_of(5);
    world.run(secs(60));
    let before: Vec<_> = world.hosts.iter().map(|host| host.sent_bytes).collect();
    world.run(secs(60));
    for (host, before) in world.hosts.iter().zip(before) {
        // Four neighbours: a ping and a pong a second each, two comparisons a minute.
        assert!(
            host.sent_bytes - before < 4 * (120 * 6 + 4 * 40),
            "{}",
            host.sent_bytes - before
        );
    }
}

#[test]
fn ten_form_a_full_mesh_whoever_they_know() {
    let mut world = World::new(10);
    for host in 0..10 {
        let known: &[usize] = if host == 0 { &[] } else { &[host - 1] };
        world.launch(host, known);
    }
    world.until(secs(5), World::is_full_mesh);
    world.run(secs(5));
    // Everything told goes over every link: what comes and goes together must be told together.
    let sent: u64 = world.hosts.iter().map(|host| host.sent_bytes).sum();
    assert!(sent < 2_000_000, "{sent}");
    world.kill(4);
    world.until(secs(4), |world| {
        (0..10).filter(|n| *n != 4).all(|n| world.reachable(n) == 9)
    });
}

#[test]
fn without_discovery_a_chain_stays_a_chain_and_all_are_reachable() {
    let mut world = chain();
    world.run(secs(60));
    assert_eq!(
        (world.linked(0, 1), world.linked(1, 2), world.linked(0, 2)),
        (1, 1, 0)
    );
    assert_eq!((world.hops(0, 2), world.hops(2, 0)), (Some(2), Some(2)));
    let (own, far) = (world.hosts[0].id, world.hosts[2].id);
    world.input(
        0,
        Input::SendTo {
            peer: far,
            payload: b"over one relay".to_vec(),
        },
    );
    world.run_ms(10);
    assert_eq!(world.hosts[2].delivered, [(own, b"over one relay".to_vec())]);
}

#[test]
fn with_discovery_a_chain_becomes_direct() {
    let mut world = World::new(3);
    world.launch(0, &[]);
    world.launch(1, &[0]);
    world.launch(2, &[1]);
    world.until(secs(3), |world| world.linked(0, 2) == 1);
    world.until(secs(1), |world| world.hops(0, 2) == Some(1));
}

#[test]
fn a_cut_pair_goes_over_a_relay_and_is_direct_again_when_healed() {
    for both_ways in [true, false] {
        let mut world = mesh_of(3);
        world.block(0, 1);
        if both_ways {
            world.block(1, 0);
        }
        world.until(secs(4), |world| {
            world.hops(0, 1) == Some(2) && world.hops(1, 0) == Some(2)
        });
        world.run(secs(100));
        assert_eq!(world.reachable(0), 3);
        assert_eq!((world.linked(0, 1), world.linked(1, 0)), (0, 0));
        world.heal(0, 1);
        world.until(secs(30), |world| {
            world.hops(0, 1) == Some(1) && world.hops(1, 0) == Some(1)
        });
        world.run(secs(10));
        assert!(world.is_full_mesh());
    }
}

#[test]
fn partitions_heal() {
    let mut world = mesh_of(4);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.cut(a, b);
    }
    world.until(secs(5), |world| (0..4).all(|n| world.reachable(n) == 2));
    world.run(secs(20));
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.heal(a, b);
    }
    world.until(secs(80), World::is_full_mesh);
}

#[test]
fn crashed_and_launched_again_it_is_back_at_once() {
    let mut world = mesh_of(3);
    world.kill(1);
    world.run_ms(200);
    world.launch(1, &[]);
    let took = world.until(secs(4), World::is_full_mesh);
    assert!(took < secs(3), "{took:?}");
    world.run(secs(20));
    assert!(world.is_full_mesh());
    assert!((0..3).all(|n| !world.saw_clone(n)));
}

#[test]
fn a_restart_finds_the_mesh_by_what_it_learnt() {
    let mut world = mesh_of(3);
    // The one that knew no address at first.
    world.kill(0);
    world.run(secs(10));
    world.launch(0, &[]);
    world.until(secs(3), World::is_full_mesh);
}

#[test]
fn an_identity_from_an_old_backup_takes_a_greater_epoch() {
    let mut world = mesh_of(3);
    for _ in 0..3 {
        world.kill(1);
        world.run_ms(100);
        world.launch(1, &[]);
        world.run(secs(5));
    }
    world.kill(1);
    world.hosts[1].epoch = 0;
    world.run(secs(5));
    world.launch(1, &[]);
    world.until(secs(4), World::is_full_mesh);
    assert!(world.hosts[1].epoch > 4);
    let epoch = world.hosts[1].epoch;
    world.run(secs(60));
    assert_eq!(world.hosts[1].epoch, epoch);
    let own = world.hosts[1].id;
    assert_eq!(world.mesh(0).info(&own).map(|info| info.epoch), Some(epoch));
    assert!(!world.saw_clone(1));
}

#[test]
fn a_clone_is_told_and_disturbs_nobody() {
    let mut world = mesh_of(3);
    let twin = world.add_host(world.hosts[1].id);
    world.hosts[twin].epoch = world.hosts[1].epoch;
    let epoch = world.hosts[1].epoch;
    world.launch(twin, &[0]);
    world.run(secs(100));
    // Nothing the twin said of itself was believed, so the first had no race to run.
    assert_eq!(world.hosts[1].epoch, epoch);
    assert!(world.saw_clone(0) || world.saw_clone(1) || world.saw_clone(2));
    assert_eq!(world.linked(0, 2), 1);
    assert_eq!((world.linked(0, 1), world.linked(2, 1)), (1, 1));
    assert_eq!(world.linked(twin, 0), 0);
    assert!(world.dropped(0, DropReason::IdentityClash) > 0);
}

#[test]
fn clones_that_are_linked_elsewhere_notice_each_other() {
    // The two never meet at one router: 0 – 1 – 2 – 3 with 3 a twin of 0.
    let mut world = World::new(3);
    world.hosts.iter_mut().for_each(|host| host.discovery = false);
    let twin = world.add_host(world.hosts[0].id);
    world.hosts[twin].discovery = false;
    world.launch(1, &[]);
    world.launch(2, &[1]);
    world.launch(0, &[1]);
    world.run(secs(2));
    world.launch(twin, &[2]);
    world.run(secs(60));
    assert!(world.saw_clone(0) && world.saw_clone(twin));
    assert_eq!(world.linked(1, 2), 1);
    // The race goes on slowly.
    assert!(world.hosts[0].epoch < 40, "{}", world.hosts[0].epoch);
}

#[test]
fn a_goodbye_is_heard_within_a_second() {
    let mut world = chain();
    world.input(2, Input::Shutdown);
    world.run_ms(500);
    assert_eq!((world.reachable(0), world.reachable(1)), (2, 2));
    assert_eq!(world.linked(1, 2), 0);
    assert_eq!(world.hops(0, 2), None);
}

#[test]
fn forgotten_it_is_not_discovered_again_until_asked_for() {
    let mut world = World::new(3);
    world.hosts[0].discovery = true;
    world.hosts[2].discovery = false;
    world.launch(1, &[]);
    world.launch(0, &[1]);
    world.launch(2, &[1]);
    world.until(secs(5), |world| world.linked(0, 2) == 1);
    let far = world.hosts[2].id;
    world.input(0, Input::ForgetPeer { peer: far });
    world.run(secs(90));
    assert_eq!(world.linked(0, 2), 0);
    assert_eq!((world.reachable(0), world.hops(0, 2)), (3, Some(2)));
    let target = world.hosts[2].address.to_string();
    world.input(
        0,
        Input::Connect {
            targets: vec![target],
            replace: false,
        },
    );
    world.until(secs(2), |world| world.linked(0, 2) == 1);
}

#[test]
fn the_dead_are_collected_and_their_old_records_stay_out() {
    let mut world = mesh_of(3);
    world.kill(2);
    let dead = world.hosts[2].id;
    world.run(secs(590));
    assert!(world.mesh(0).info(&dead).is_some());
    world.run(secs(60));
    assert!(world.mesh(0).info(&dead).is_none() && !world.hosts[0].peers.contains_key(&dead));
    world.run(secs(60));
    assert_eq!(world.mesh(1).peers().len(), 2);
    world.launch(2, &[0]);
    world.until(secs(3), World::is_full_mesh);
}

#[test]
fn one_that_was_parted_for_an_hour_is_back_unchanged() {
    let mut world = mesh_of(3);
    world.cut(0, 2);
    world.cut(1, 2);
    world.run(secs(3600));
    assert_eq!(world.mesh(0).peers().len(), 2);
    world.heal(0, 2);
    world.heal(1, 2);
    world.until(secs(120), World::is_full_mesh);
}

#[test]
fn secrets_roll_without_losing_a_link() {
    let mut world = mesh_of(4);
    let (old, new) = (*b"secret-1", *b"secret-2");
    for host in 0..4 {
        world.hosts[host].secrets.set(&[old, new]);
        world.input(host, Input::SecretsChanged);
        world.run_ms(700);
        assert!(world.is_full_mesh());
    }
    world.run(secs(10));
    for host in 0..4 {
        let peers = world.mesh(host).peers();
        assert!(
            peers
                .iter()
                .all(|peer| peer.info.as_ref().unwrap().admissions.len() == 2)
        );
    }
    for host in 0..4 {
        world.hosts[host].secrets.set(&[new]);
        world.input(host, Input::SecretsChanged);
        world.run_ms(700);
        assert!(world.is_full_mesh());
    }
}

#[test]
fn one_that_missed_the_new_secret_is_out() {
    let mut world = mesh_of(3);
    for host in 0..2 {
        world.hosts[host].secrets.set(&[*b"secret-1", *b"secret-2"]);
        world.input(host, Input::SecretsChanged);
    }
    world.run(secs(1));
    for host in 0..2 {
        world.hosts[host].secrets.set(b"secret-2".as_chunks().0);
        world.input(host, Input::SecretsChanged);
    }
    world.run(secs(30));
    assert_eq!(
        (world.reachable(0), world.reachable(1), world.reachable(2)),
        (2, 2, 1)
    );
    assert!(world.mesh(0).info(&world.hosts[2].id).is_none());
    let targets = world.mesh(2).targets();
    assert!(
        targets.iter().all(|target| target.state == TargetState::Retrying),
        "{targets:?}"
    );
}

#[test]
fn itself_as_a_target_is_dialled_once() {
    let mut world = World::new(1);
    world.launch(0, &[0]);
    world.run(secs(300));
    assert_eq!(world.hosts[0].dials.len(), 1);
    assert_eq!(world.mesh(0).targets()[0].state, TargetState::Failed);
}

#[test]
fn ports_are_known_everywhere_at_once() {
    let mut world = chain();
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let addresses = vec!["10.32.0.1".parse().unwrap()];
    world.input(
        0,
        Input::Attach {
            vni: Vni::DEFAULT,
            mac,
            addresses: addresses.clone(),
        },
    );
    world.run_ms(5);
    let set = FdbChange::Set {
        mac,
        peer: world.hosts[0].id,
        addresses,
    };
    assert!(world.hosts[2].fdb.iter().any(|fdb| fdb.change == set));
    world.kill(0);
    world.run_ms(100);
    world.hosts[2].fdb.clear();
    world.launch(0, &[1]);
    world.run(secs(3));
    assert!(
        world.hosts[2]
            .fdb
            .iter()
            .any(|fdb| fdb.change == FdbChange::Remove { mac }),
        "ports of an earlier run go"
    );
}

#[test]
fn broadcast_has_trees_in_large_networks_only() {
    let mut world = mesh_of(7);
    world.run(secs(5));
    let attach = |world: &mut World, n: usize| {
        let (vni, mac) = (Vni::DEFAULT, Mac([2, 0, 0, 0, 0, n as u8]));
        let addresses = vec![];
        world.input(n, Input::Attach { vni, mac, addresses });
        world.run(secs(1));
    };
    (0..5).for_each(|n| attach(&mut world, n));
    assert!(world.hosts.iter().all(|host| host.trees.is_empty()));
    attach(&mut world, 5);
    for host in &world.hosts[..6] {
        let root = host.trees[&(Vni::DEFAULT, host.id)].root.as_ref();
        assert_eq!(root.map(|root| root.reached.len()), Some(5));
    }
    world.kill(5);
    world.run(secs(10));
    let root = world.hosts[0].trees[&(Vni::DEFAULT, world.hosts[0].id)]
        .root
        .as_ref();
    assert_eq!(
        root.map(|root| root.reached.len()),
        Some(4),
        "it is still a member, but not reached"
    );
    let (vni, mac) = (Vni::DEFAULT, Mac([2, 0, 0, 0, 0, 4]));
    world.input(4, Input::Detach { vni, mac });
    world.run(secs(1));
    assert!(world.hosts[0].trees.is_empty(), "five are few");
}

#[test]
fn messages_of_one_origin_are_limited() {
    let mut world = chain();
    let far = world.hosts[2].id;
    for _ in 0..500 {
        world.input(
            0,
            Input::SendTo {
                peer: far,
                payload: vec![1],
            },
        );
    }
    world.run_ms(100);
    assert!(
        (200..215).contains(&world.hosts[2].delivered.len()),
        "{}",
        world.hosts[2].delivered.len()
    );
    assert!(world.dropped(1, DropReason::ControlRate) > 280);
    world.input(
        0,
        Input::SendTo {
            peer: far,
            payload: vec![0; mesh::MAX_PAYLOAD + 1],
        },
    );
    assert_eq!(world.dropped(0, DropReason::OversizedMessage), 1);
    world.input(
        0,
        Input::SendTo {
            peer: world::id(99),
            payload: vec![0],
        },
    );
    assert_eq!(world.dropped(0, DropReason::ControlNoRoute), 1);
}

#[test]
fn discovery_stops_at_max_links_and_incoming_links_at_twice_that() {
    let mut world = World::new(8);
    world.hosts.iter_mut().for_each(|host| host.max_links = 4);
    for host in 0..8 {
        world.launch(host, if host == 0 { &[] } else { &[0] });
    }
    world.run(secs(100));
    for host in 0..8 {
        let links = world.mesh(host).links().len();
        assert!((1..=8).contains(&links), "{links}");
        assert_eq!(world.reachable(host), 8);
    }
}

#[test]
fn a_paused_process_does_not_call_others_dead() {
    let mut world = mesh_of(2);
    let before = world.hosts[0].log.len();
    // Host 0 sleeps for two and a half seconds, then the queue comes in after a late tick.
    let mut sleeper = world.hosts[0].mesh.take();
    world.run_ms(2500);
    std::mem::swap(&mut world.hosts[0].mesh, &mut sleeper);
    world.run(secs(10));
    assert!(world.is_full_mesh());
    assert_eq!(world.hosts[0].log.len(), before);
}

/// A backup is older than what the others remember of a router that they have collected.
#[test]
fn an_identity_from_an_old_backup_is_back_after_it_was_collected() {
    let mut world = mesh_of(3);
    for _ in 0..3 {
        world.kill(2);
        world.run_ms(100);
        world.launch(2, &[]);
        world.run(secs(5));
    }
    world.kill(2);
    world.run(secs(700));
    let back = world.hosts[2].id;
    assert!(world.mesh(0).info(&back).is_none());
    world.hosts[2].epoch = 0;
    world.launch(2, &[0]);
    world.until(secs(5), |world| (0..3).all(|n| world.reachable(n) == 3));
    assert!(world.hosts[2].epoch > 4);
}
