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
fn data_passes_where_a_link_was_until_the_other_end_is_gone() {
    let mut world = joined(40, 2);
    world.run(SECOND * 10);
    assert!(world.all_routable());
    // The last one dialled others, and nobody dials it.
    let (a, b) = (HostId(39), world.linked_with(HostId(39))[0]);
    let peer = world.id(b);
    world.input(a, Input::ForgetPeer { peer });
    world.run(SECOND / 2);
    assert!(!world.linked_with(a).contains(&b));
    assert!(
        world.all_routable(),
        "a link that was given up on purpose breaks no route"
    );
    let checks = |world: &BigWorld| world.all_traffic().sent(Class::Probe).packets;
    let before = checks(&world);
    world.run(SECOND * 10);
    assert!(
        (39..=44).contains(&(checks(&world) - before)),
        "each end checks the path once a second, and answers"
    );
    let path = |world: &BigWorld| world.mesh(a).unwrap().data_path(&peer);
    assert_eq!(path(&world), Some(vec![peer]));

    world.crash(b);
    world.run(SECOND * 2);
    assert_eq!(path(&world), Some(vec![peer]), "nobody has noticed");
    world.run(SECOND * 6);
    assert_eq!(path(&world), None);
    assert!(world.all_routable());
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

/// What a router makes of the mesh: its neighbours, its parent, and the hops, cost and MTU of each route.
fn view_of(world: &BigWorld, host: HostId) -> impl PartialEq + std::fmt::Debug + use<> {
    let mesh = world.mesh(host).unwrap();
    let routes: Vec<_> = mesh
        .routes()
        .into_iter()
        .map(|(to, route)| (to, route.path, route.cost_us, route.mtu))
        .collect();
    (world.linked_with(host), mesh.spread_parent(), routes)
}

#[test]
fn a_placed_mesh_is_one_that_routers_reach_themselves() {
    const ROUTERS: usize = 200;
    let world = || {
        let profile = Profile::Plane {
            least: Duration::from_micros(500),
            most: Duration::from_millis(100),
            seed: 5,
        };
        let mut world = BigWorld::new(5, ROUTERS, profile, 2);
        world.forbid_discovery();
        world
    };
    let (mut joined, mut placed) = (world(), world());
    let links = placed.draw_links();
    assert_eq!(links, joined.draw_links());
    for host in (0..ROUTERS).map(HostId) {
        let dialled = links.iter().filter(|(from, _)| *from == host);
        let dialled: Vec<_> = dialled.map(|(_, to)| *to).collect();
        joined.launch(host, SECOND, &dialled);
    }
    joined.run(SECOND * 5);
    let agreed = joined.until(SECOND, SECOND * 60, BigWorld::all_agree);
    assert!(agreed.is_some(), "{} informed", joined.informed());
    // By then no path is kept any more only because it was there first.
    joined.run(SECOND * 60);

    placed.place(&links, |_| true);
    assert!(placed.all_agree(), "{} informed", placed.informed());
    // By then both trees hang from the middle.
    placed.run(SECOND * 70);
    assert!(placed.all_routable());
    for host in (0..ROUTERS).map(HostId) {
        let degree = placed.linked_with(host).len();
        assert!((6..=12).contains(&degree), "{degree}");
        assert_eq!(view_of(&placed, host), view_of(&joined, host), "{host:?}");
    }

    // Left alone, they find nothing to tell each other, and who comes later learns all from them.
    let issued = |world: &BigWorld| -> u64 {
        let hosts = (0..ROUTERS).filter_map(|host| world.mesh(HostId(host)));
        hosts.map(mesh::Mesh::issued).sum()
    };
    let (before, traffic) = (issued(&placed), placed.all_traffic());
    placed.run(SECOND * 60);
    assert_eq!(issued(&placed), before);
    let sent = (placed.all_traffic() - traffic).sent(Class::Control);
    assert!(
        sent.bytes < 200 * sent.messages && sent.messages < 100 * ROUTERS as u64,
        "{sent:?}"
    );
    assert!(placed.all_agree());
    placed.crash(HostId(7));
    let targets: Vec<_> = (0..6).map(HostId).collect();
    placed.launch(HostId(7), SECOND * 10, &targets);
    placed.run(SECOND * 12);
    let agreed = placed.until(SECOND, SECOND * 60, BigWorld::all_agree);
    assert!(agreed.is_some(), "{} informed", placed.informed());
    assert!(placed.all_routable());
}

/// From whom the shared tree hangs: those that have no parent in it.
fn roots(world: &BigWorld) -> Vec<HostId> {
    let running = world.running().into_iter();
    let is_root = |host: &HostId| world.mesh(*host).unwrap().spread_parent().is_none();
    running.filter(is_root).collect()
}

fn lowest(world: &BigWorld) -> HostId {
    let running = world.running().into_iter();
    running.min_by_key(|host| world.id(*host)).unwrap()
}

/// The costs of the routes to half of all, and to 99 % of all, together.
fn distance(world: &BigWorld, host: HostId) -> u64 {
    let routes = world.mesh(host).unwrap().routes();
    let mut costs: Vec<_> = routes.iter().map(|(_, route)| route.cost_us).collect();
    costs.sort_unstable();
    costs[costs.len() / 2] + costs[costs.len() * 99 / 100]
}

/// The only root, which is hardly further from all than the best of those of lowest id.
fn middle(world: &BigWorld) -> HostId {
    let roots = roots(world);
    assert_eq!(roots.len(), 1, "{roots:?}");
    let root = roots[0];
    let mut candidates = world.running();
    candidates.sort_by_key(|host| world.id(*host));
    let nearest = candidates[..32].iter().map(|host| distance(world, *host)).min();
    let far = distance(world, root) as f64 / nearest.unwrap() as f64;
    assert!(far < 1.08, "{root:?} is {far} times as far");
    root
}

#[test]
fn the_tree_hangs_from_one_in_the_middle_and_from_another_when_that_dies() {
    let profile = Profile::Plane {
        least: Duration::from_micros(500),
        most: Duration::from_millis(100),
        seed: 9,
    };
    let mut world = BigWorld::new(9, 100, profile, 2);
    world.forbid_discovery();
    let links = world.draw_links();
    world.place(&links, |_| true);
    let lowest_of_all = lowest(&world);
    assert_eq!(roots(&world), [lowest_of_all]);
    world.run(SECOND * 70);
    let first = middle(&world);
    assert_ne!(first, lowest_of_all);
    let issued = |world: &BigWorld| world.mesh(lowest_of_all).unwrap().issued();
    let before = issued(&world);
    world.run(SECOND * 700);
    assert_eq!(roots(&world), [first]);
    assert_eq!(issued(&world), before, "nothing changes any more");

    world.crash(first);
    world.run(SECOND * 20);
    assert_eq!(roots(&world), [lowest_of_all], "until it has found another");
    world.run(SECOND * 60);
    assert_ne!(middle(&world), first);

    // Without the lowest, who names the root, the next does.
    world.crash(lowest_of_all);
    world.run(SECOND * 100);
    middle(&world);
}

#[test]
fn in_a_placed_mesh_those_that_were_told_nothing_keep_their_links() {
    let profile = Profile::Plane {
        least: Duration::from_micros(500),
        most: Duration::from_millis(100),
        seed: 6,
    };
    let mut world = BigWorld::new(6, 60, profile, 1);
    let links = world.draw_links();
    world.place(&links, |host| host.0.is_multiple_of(4));
    let known = |world: &BigWorld, host| world.mesh(HostId(host)).unwrap().routes().len();
    assert_eq!((known(&world, 0), known(&world, 56)), (59, 59));
    assert!(known(&world, 1) <= 12, "its neighbours at most");
    for host in (0..60).filter(|host| host % 4 != 0) {
        world.crash(HostId(host));
    }
    let routable = world.until(SECOND / 4, SECOND * 20, BigWorld::all_routable);
    assert!(routable.is_some_and(|time| time > SECOND), "{routable:?}");
}

#[test]
fn halves_that_are_placed_beside_each_other_meet_over_one_wire() {
    let profile = Profile::Plane {
        least: Duration::from_micros(500),
        most: Duration::from_millis(100),
        seed: 4,
    };
    let is_even = |host: HostId| host.0.is_multiple_of(2);
    let mut world = BigWorld::new(4, 80, profile, 2);
    world.forbid_discovery();
    world.cut(is_even, None);
    let links = world.draw_links();
    assert!(links.iter().all(|(a, b)| is_even(*a) == is_even(*b)), "{links:?}");
    world.place(&links, |_| true);
    world.run(SECOND * 20);
    let known = |world: &BigWorld, host| world.mesh(HostId(host)).unwrap().routes().len();
    for host in 0..80 {
        assert_eq!(known(&world, host), 39, "router {host} knows its own half");
    }

    let (a, b) = (HostId(2), HostId(5));
    world.cut(is_even, Some((a, b)));
    let (targets, replace) = (vec![world.address(b, false).to_string()], false);
    world.input(a, Input::Connect { targets, replace });
    let met = world.until(Duration::from_millis(10), SECOND * 5, BigWorld::all_agree);
    assert!(met.is_some_and(|time| time > Duration::ZERO), "{met:?}");
    world.run(SECOND * 3);
    for host in 0..80 {
        assert_eq!(known(&world, host), 79, "router {host} knows all");
    }
}
