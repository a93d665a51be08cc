//! Blocks, relays, latencies.

mod common;

use common::{ms, secs, star};
use mesh::{DropReason, Input};
use simulations::{Failure, HostId, Line, World};
use sleeve::{PlaneConfig, Scratch, Sink};

/// Waits until data between two hosts takes so many hops, both ways.
fn hops(
    world: &mut World,
    (a, b): (HostId, HostId),
    hops: usize,
    within: std::time::Duration,
) -> Result<(), Failure> {
    let against = move |world: &World| {
        let pairs = [(a, b), (b, a)].into_iter();
        let wrong = pairs.filter(|(a, b)| world.hops(*a, *b) != Some(hops));
        wrong
            .map(|(a, b)| format!("{a:?} to {b:?}: {:?}", world.hops(a, b)))
            .collect()
    };
    world.expect(within, &format!("{hops} hops"), against).map(|_| ())
}

fn a_blocked_pair_is_relayed(one_way: bool) -> Result<(), Failure> {
    let mut world = World::new(10 + u64::from(one_way));
    let h = star(&mut world, 5);
    world.all_direct(secs(3))?;
    let pair = (h[1], h[3]);
    let (a, b) = (world.containers()[1], world.containers()[3]);
    for n in 0..20 {
        world.send_to(a, b, n, 100);
        world.send_to(b, a, n, 100);
        world.run(ms(50));
    }
    if one_way {
        world.network.block(pair.0, pair.1);
    } else {
        world.network.cut(pair.0, pair.1);
    }
    hops(&mut world, pair, 2, secs(4))?;
    world.all_deliver(1, ms(200))?;
    // It stays so, and frames go on passing.
    for round in 2..22 {
        world.run(ms(800));
        world.all_deliver(round, ms(200))?;
    }
    world.network.heal(pair.0, pair.1);
    world.all_direct(secs(30))?;
    world.all_linked_once(secs(30))?;
    world.all_deliver(99, ms(200))?;
    world.no_excess()
}

#[test]
fn a_pair_blocked_both_ways_is_relayed_and_direct_again() -> Result<(), Failure> {
    a_blocked_pair_is_relayed(false)
}

#[test]
fn a_pair_blocked_one_way_is_relayed_and_direct_again() -> Result<(), Failure> {
    a_blocked_pair_is_relayed(true)
}

/// Takes what a data half makes of datagrams.
#[derive(Default)]
struct Found(Vec<Vec<u8>>);

impl Sink for Found {
    fn datagram(&mut self, _: std::net::SocketAddr, _: &[u8]) {}
    fn frame(&mut self, _: mesh::Vni, frame: &[u8]) {
        self.0.push(frame.to_vec());
    }
    fn control(&mut self, _: mesh::PeerId, _: sleeve::Via, message: &[u8]) {
        self.0.push(message.to_vec());
    }
    fn need(&mut self, _: mesh::PeerId) {}
    fn alive(&mut self, _: mesh::PeerId) {}
    fn group(&mut self, _: mesh::Vni) {}
    fn tree(&mut self, _: mesh::Vni, _: mesh::ShortId) {}
}

#[test]
fn a_relay_carries_what_it_cannot_read() -> Result<(), Failure> {
    let mut world = World::new(20);
    let hosts = world.add_hosts(3);
    let (a, r, b) = (hosts[0], hosts[1], hosts[2]);
    world.network.cut(a, b);
    world.launch(r, &[]);
    world.launch(a, &[r]);
    world.launch(b, &[r]);
    let (from, to) = (world.attach(a), world.attach(b));
    hops(&mut world, (a, b), 2, secs(3))?;
    world.send_to(from, to, 0, 100);
    world.run(secs(1));
    world.capture();
    for number in 1..=50 {
        world.send_to(from, to, number, 1300);
        world.run(ms(10));
    }
    world.run(ms(200));
    for number in 1..=50 {
        assert_eq!(world.container(to).count(number), 1, "{number}");
    }
    let to_relay: Vec<_> = world.captured().into_iter().filter(|sent| sent.to == r).collect();
    let bulk: Vec<_> = to_relay
        .iter()
        .filter(|sent| sent.from == a && sent.bytes.len() > 500)
        .collect();
    assert!(bulk.len() >= 50);
    // The relay opens none of them, whole or without the header that is for it.
    let router = world.router(r).unwrap();
    let (now, address) = (router.time(), world.address(a));
    for sent in bulk {
        let mut found = Found::default();
        for start in 0..80 {
            let mut bytes = sent.bytes[start..].to_vec();
            router
                .plane
                .inbound(now, address, &mut bytes, &mut Scratch::default(), &mut found);
        }
        assert!(found.0.is_empty());
    }
    // And a stranger makes nothing of them at all.
    let stranger = sleeve::Plane::new(PlaneConfig {
        id: world.id(b),
        drops: std::sync::Arc::default(),
        trusted: Vec::new(),
        container_mtu: 1390,
    });
    let mut found = Found::default();
    for sent in to_relay {
        stranger.inbound(
            now,
            address,
            &mut sent.bytes.clone(),
            &mut Scratch::default(),
            &mut found,
        );
    }
    assert!(found.0.is_empty());
    world.no_excess()?;
    world.network.heal(a, b);
    world.all_direct(secs(30)).map(|_| ())
}

#[test]
fn halves_of_a_mesh_part_and_meet() -> Result<(), Failure> {
    let mut world = World::new(30);
    let h = star(&mut world, 6);
    world.all_direct(secs(3))?;
    for &a in &h[..3] {
        for &b in &h[3..] {
            world.network.cut(a, b);
        }
    }
    let against = |world: &World| {
        let pairs = h[..3].iter().flat_map(|a| h[3..].iter().map(move |b| (*a, *b)));
        let still = pairs.filter(|(a, b)| world.reaches(*a, *b));
        still.map(|(a, b)| format!("{a:?} still reaches {b:?}")).collect()
    };
    world.expect(secs(6), "nobody reaches the other half", against)?;
    world.run(secs(60));
    world.network.heal_all();
    world.all_reachable(secs(30))?;
    world.all_direct(secs(90))?;
    world.all_deliver(1, ms(200))?;
    world.no_excess()
}

#[test]
fn those_without_a_link_go_direct_when_they_talk() -> Result<(), Failure> {
    let mut world = World::new(40);
    let hosts = world.add_hosts(10);
    let (a, b) = (hosts[2], hosts[7]);
    for (at, &host) in hosts.iter().enumerate() {
        world.set_options(host, |options| options.discovery = false);
        let targets: Vec<_> = hosts[..at]
            .iter()
            .copied()
            .filter(|to| (host, *to) != (b, a))
            .collect();
        world.launch(host, &targets);
        world.attach(host);
    }
    let peer = world.id(b);
    world.input(a, Input::ForgetPeer { peer });
    world.run(secs(5));
    assert_eq!((world.links(a, b), world.links(b, a)), (0, 0));
    assert_eq!((world.hops(a, b), world.hops(b, a)), (Some(2), Some(2)));
    let (from, to) = (world.containers()[2], world.containers()[7]);
    let start = world.now();
    let mut number = 0;
    while world.hops(a, b) != Some(1) || world.hops(b, a) != Some(1) {
        assert!(
            world.now().since(start) < secs(3),
            "not direct after 3 s of traffic"
        );
        number += 1;
        world.send_to(from, to, number, 100);
        world.run(ms(20));
    }
    world.run(ms(200));
    // Only what came before the first session is lost.
    let came = (1..=number)
        .filter(|number| world.container(to).count(*number) == 1)
        .count() as u64;
    let lost = world
        .router(a)
        .map_or(0, |router| router.drops.get(DropReason::NoSession));
    assert_eq!(came + lost, number);
    assert!(lost < 10, "{lost}");
    world.no_excess()
}

#[test]
fn a_far_faster_relay_is_used_and_small_changes_are_not() -> Result<(), Failure> {
    let mut world = World::new(50);
    let h = star(&mut world, 3);
    let (r, a, b) = (h[0], h[1], h[2]);
    for (one, other, latency) in [(a, b, 60), (a, r, 5), (r, b, 5)] {
        world
            .network
            .change_both(one, other, |wire| wire.latency = ms(latency));
    }
    world.run(secs(20));
    hops(&mut world, (a, b), 2, ms(0))?;
    let peer = world.id(b);
    let changes = |world: &World| {
        let log = &world.router(a).unwrap().log;
        log.iter()
            .filter(|(_, line)| matches!(line, Line::Route(to, _) if *to == peer))
            .count()
    };
    // Direct is a little better or a little worse than relayed, in turns: nothing changes but perhaps once.
    let before = changes(&world);
    let (from, to) = (world.containers()[1], world.containers()[2]);
    for round in 0..60 {
        let latency = 10 + round % 4;
        world.network.change_both(a, b, |wire| wire.latency = ms(latency));
        world.send_to(from, to, round, 100);
        world.run(secs(2));
    }
    let hops_changed = world
        .router(a)
        .unwrap()
        .log
        .iter()
        .filter_map(|(_, line)| match line {
            Line::Route(to, path) if *to == peer => path.as_ref().map(Vec::len),
            _ => None,
        });
    let mut flips: Vec<_> = hops_changed.skip(before).collect();
    flips.dedup();
    assert!(flips.len() <= 2, "{flips:?}");
    for number in 0..60 {
        assert_eq!(world.container(to).count(number), 1, "{number}");
    }
    // Clearly better again: direct.
    world.network.change_both(a, b, |wire| wire.latency = ms(4));
    hops(&mut world, (a, b), 1, secs(60))?;
    world.no_excess()
}

#[test]
fn a_narrow_wire_still_carries_what_fits_containers() -> Result<(), Failure> {
    let mut world = World::new(60);
    let h = star(&mut world, 2);
    world.network.change_both(h[0], h[1], |wire| wire.mtu = 1300);
    world.all_direct(secs(3))?;
    world.run(secs(10));
    let (a, b) = (world.containers()[0], world.containers()[1]);
    for (number, length) in [(1, 100), (2, 1200), (3, 1404)] {
        world.send_to(a, b, number, length);
        world.run(ms(100));
        assert_eq!(world.container(b).count(number), 1, "{length} bytes");
    }
    let drops = &world.router(h[0]).unwrap().drops;
    assert_eq!(drops.get(DropReason::TooBig), 0);
    world.no_excess()
}
