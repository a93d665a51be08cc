//! Each invariant can fail.

use super::*;
use crate::connection::Packet;
use crate::{Router, World};
use crypto::Keyring;
use mesh::{Forged, Input, Signer, Stamp};
use sleeve::KeySigner;
use std::sync::{Arc, RwLock};

/// Two routers with a link and a session.
fn pair() -> (World, [HostId; 2]) {
    let mut world = World::new(7);
    let hosts = [world.add_host(), world.add_host()];
    world.launch(hosts[0], &[]);
    world.launch(hosts[1], &[hosts[0]]);
    world.all_direct(Duration::from_secs(5)).unwrap();
    world.look_around();
    assert_eq!(world.violations(), []);
    (world, hosts)
}

fn router(world: &mut World, host: HostId) -> &mut Router {
    world.hosts[host.0].router.as_mut().unwrap()
}

/// Lets time pass, looking around.
fn watch(world: &mut World, time: Duration) {
    let end = world.now() + time;
    while world.now() < end {
        world.run(LOOK_EVERY);
        world.look_around();
    }
}

fn names(world: &World) -> Vec<String> {
    world.violations().iter().map(ToString::to_string).collect()
}

#[test]
fn a_record_that_its_origin_never_signed_is_noticed() {
    let (mut world, [host, liar]) = pair();
    // Whoever else has the key.
    let disk = world.disk(liar);
    let thief = KeySigner {
        identity: disk.identity,
        keyring: Arc::new(RwLock::new(disk.keyring)),
    };
    let mut forged = Forged::default();
    let origin = world.id(liar);
    assert!(forged.links(&thief, origin, (disk.epoch, 1 << 40), &[world.id(host)]));
    world.speak(liar, &forged.packet());
    world.run(Duration::from_millis(100));
    assert!(
        matches!(world.violations()[0], Violation::Forged { host: at, origin: of, .. } if (at, of) == (host, origin))
    );
}

#[test]
fn a_record_that_is_older_than_one_before_is_noticed() {
    let (mut world, [host, other]) = pair();
    let origin = world.id(other);
    // A later one was signed, and taken in.
    let version = (1 << 50, 1, [0; 16]);
    let ledger = world.ledger();
    ledger.sign(Stamp {
        origin,
        kind: 2,
        subkey: 0,
        version,
    });
    let (number, place) = ledger.last((origin, 2, 0));
    let run = world.hosts[host.0].run;
    *world.seen.records.of(host, run, number) = place;
    let third = world.add_host();
    world.launch(third, &[other]);
    world.run(Duration::from_secs(3));
    let is_it =
        |seen: &Violation| matches!(seen, Violation::Older { origin: of, kind: 2, .. } if *of == origin);
    assert!(world.violations().iter().any(is_it), "{:?}", names(&world));
}

#[test]
fn somebody_who_never_had_the_secret_is_noticed() {
    let (mut world, [host, other]) = pair();
    world.ledger().forget_secrets(world.id(other));
    // It says who it is once more.
    let address = "10.9.9.9:6783".parse().unwrap();
    let signer = Input::Addresses(vec![address]);
    world.input(other, signer);
    world.ledger().forget_secrets(world.id(other));
    world.run(Duration::from_millis(100));
    let seen = names(&world);
    assert!(
        matches!(world.violations(), [Violation::Stranger { host: at, .. }] if *at == host),
        "{seen:?}"
    );
}

#[test]
fn links_and_sessions_of_a_retired_secret_are_noticed() {
    let (mut world, [host, other]) = pair();
    let old = world.secret();
    let fresh = Keyring::new(vec![world.new_secret(1)]).unwrap();
    // Its cores are not told.
    router(&mut world, host).disk.keyring = fresh;
    watch(&mut world, Duration::from_secs(8));
    assert_eq!(names(&world), Vec::<String>::new());
    watch(&mut world, Duration::from_secs(8));
    let seen = names(&world).join("\n");
    assert!(seen.contains("but no secret in common"), "{seen}");
    assert!(seen.contains("by a secret that it retired"), "{seen}");
    world.look_at_secret(host, other, old);
    let seen = names(&world).join("\n");
    assert!(seen.contains("which is not valid any more"), "{seen}");
}

#[test]
fn a_session_that_comes_back_is_noticed() {
    let (mut world, [host, other]) = pair();
    let (run, peer) = (world.hosts[host.0].run, world.id(other));
    let later = Instant(world.now().0 + 60_000_000);
    world.seen.sessions.note((host, run, peer), later);
    world.look_around();
    assert!(names(&world).join("\n").contains("that another had replaced"));
}

#[test]
fn hop_limits_that_are_met_are_noticed() {
    let (mut world, [host, _]) = pair();
    for reason in sizes::HOP_LIMITS {
        let (mut world, _) = pair();
        world.count(host, reason);
        world.look_around();
        assert!(matches!(world.violations(), [Violation::HopLimit { reason: of, .. }] if *of == reason));
    }
    world.crash(host);
    world.launch(host, &[]);
    world.look_around();
    assert_eq!(world.violations(), []);
}

#[test]
fn tables_and_queues_that_are_too_large_are_noticed() {
    let (mut world, [host, other]) = pair();
    let peer = world.id(other);
    let payload = vec![0; 10];
    // Nobody takes out what follows.
    let core = router(&mut world, host);
    let now = core.time();
    core.mesh.handle_input(now, Input::SendTo { peer, payload });
    world.look_around();
    let seen = names(&world).join("\n");
    assert!(seen.contains("1 outputs that wait, at most 0"), "{seen}");

    let (mut world, _) = pair();
    let large = mesh::Packet::from(vec![0; 17 << 20]);
    let connection = world.connections.values_mut().next().unwrap();
    connection.ends[0].waiting.push_back(Packet::Message(large));
    world.look_around();
    let seen = names(&world).join("\n");
    assert!(seen.contains("bytes that wait on a link"), "{seen}");
}

#[test]
fn a_witness_signs_as_the_router_does() {
    let world = World::new(1);
    let mut random = world.fork("test", 0);
    let identity = Arc::new(crypto::Identity::generate(&mut random));
    let keyring = Arc::new(RwLock::new(Keyring::new(vec![world.main_secret()]).unwrap()));
    let signer = || KeySigner {
        identity: identity.clone(),
        keyring: keyring.clone(),
    };
    let origin = PeerId(identity.public());
    let (plain, witness) = (signer(), Witness::of(origin, signer(), world.ledger()));
    assert_eq!(plain.sign(b"x"), witness.sign(b"x"));
    assert_eq!(plain.admissions(), witness.admissions());
    assert_eq!(plain.hash(b"x"), witness.hash(b"x"));
    assert!(witness.admits(&origin, &plain.admissions()));
    assert!(witness.verify(&origin, b"x", &plain.sign(b"x")));
}
