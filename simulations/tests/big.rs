//! Worlds of cores alone: they join, survive, heal, and happen the same way however many threads run them.
#![allow(clippy::unwrap_used)]
use mesh::{Input, Mac, Vni};
use simulations::{BigWorld, Class, HostId, Profile, Random};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Routers that are told to dial eight others each.
fn joined(routers: usize, threads: usize) -> BigWorld {
    let profile = Profile::Plane {
        least: Duration::from_micros(500),
        most: Duration::from_millis(100),
        seed: 3,
    };
    let mut world = BigWorld::new(3, routers, profile, threads);
    world.forbid_discovery();
    let mut random = Random::new(3);
    for host in 0..routers {
        let targets: Vec<_> = (0..8.min(host))
            .map(|_| HostId(random.below(host as u64) as usize))
            .collect();
        world.launch(HostId(host), Duration::from_millis(50) * host as u32, &targets);
    }
    world.run(SECOND * 5);
    world
}

#[test]
fn threads_change_nothing() {
    let [one, two] = [1, 2].map(|threads| {
        let mut world = joined(40, threads);
        world.cut(|host| host.0 < 20, None);
        world.run(SECOND * 5);
        world.heal();
        world.run(SECOND * 2);
        (world.trace_hash(), world.happened(), world.all_traffic())
    });
    assert_eq!(one, two);
    assert!(one.1 > 10_000);
}

#[test]
fn routers_join_and_half_of_them_survive() {
    let mut world = joined(60, 2);
    let agreed = world.until(SECOND / 10, SECOND * 30, BigWorld::all_agree);
    assert!(agreed.is_some(), "{} of 60 informed", world.informed());
    world.run(SECOND * 10);
    let stretch = world.stretch(&[HostId(0), HostId(30), HostId(59)]);
    assert_eq!((stretch.routes, stretch.missing), (177, 0));
    assert!(stretch.mean >= 1.0 && stretch.max < 1.25, "{stretch:?}");
    assert!(world.all_routable());

    for host in (0..60).step_by(2) {
        world.crash(HostId(host));
    }
    assert!(!world.all_routable() && !world.all_agree());
    let routable = world.until(SECOND / 4, SECOND * 20, BigWorld::all_routable);
    assert!(
        routable.is_some_and(|time| time > SECOND),
        "nobody is told of a crash: {routable:?}"
    );
    assert!(
        world
            .until(SECOND / 4, SECOND * 20, BigWorld::all_agree)
            .is_some()
    );
    assert_eq!(world.running().len(), 30);

    world.launch(HostId(0), SECOND, &[HostId(1)]);
    world.run(SECOND * 2);
    assert!(
        world
            .until(SECOND / 4, SECOND * 20, BigWorld::all_agree)
            .is_some()
    );
    assert_eq!(world.running().len(), 31);
}

#[test]
fn a_record_is_seen_everywhere_but_behind_a_cut() {
    let mut world = joined(40, 2);
    assert!(
        world
            .until(SECOND / 10, SECOND * 30, BigWorld::all_agree)
            .is_some()
    );
    world.cut(|host| host.0 < 10, None);
    world.run(SECOND * 10);
    let attach = |n| Input::Attach {
        vni: Vni(1),
        mac: Mac([2, 0, 0, 0, 0, n]),
        addresses: Vec::new(),
    };
    world.watch(Mac([2, 0, 0, 0, 0, 1]));
    let (start, before) = (world.now(), world.all_traffic());
    world.input(HostId(0), attach(1));
    world.run(SECOND);
    let seen = world.seen();
    assert_eq!(seen.len(), 9);
    assert!(seen.iter().all(|at| *at > start && *at < start + SECOND / 2));
    let sent = (world.all_traffic() - before).sent(Class::Control);
    assert!(sent.messages >= 9 && sent.bytes > sent.messages * 60, "{sent:?}");
    world.heal();
    world.run(SECOND * 30);
    assert_eq!(world.seen().len(), 39);
}

#[test]
fn nobody_answers_a_dial_to_a_dead_host() {
    let mut world = joined(2, 1);
    world.crash(HostId(0));
    world.run(SECOND * 10);
    let target = world.address(HostId(0), false).to_string();
    let targets = world.mesh(HostId(1)).unwrap().targets();
    let target = targets.into_iter().find(|view| view.target == target).unwrap();
    assert!(target.error.is_some());
    assert!(world.linked_with(HostId(1)).is_empty());
}
