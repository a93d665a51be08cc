//! Taking over from routers that are missed for long.

use super::*;
use std::time::Duration;

const AFTER: u64 = 60 * SECOND;

fn town(seed: u64, routers: usize) -> World {
    let mut world = World::new(seed, routers, 20);
    world.settings.reclaim = Some(Duration::from_micros(AFTER));
    (0..routers).for_each(|n| world.launch(n, n > 0));
    world.run(30 * SECOND);
    world
}

fn owned(world: &World, n: usize) -> u32 {
    let ring = world.routers[n].ring.as_ref().unwrap();
    ring.owned().map(|(span, _)| span.len()).sum()
}

fn allocate(world: &mut World, n: usize, count: usize) -> usize {
    let before = world.given;
    (0..count).for_each(|_| world.allocate(n));
    world.run(SECOND);
    world.given - before
}

#[test]
fn what_a_dead_router_did_not_use_is_taken_over_and_what_it_used_stays_its_own() {
    let mut world = town(1, 5);
    assert_eq!(allocate(&mut world, 3, 20), 20);
    let before = owned(&world, 3);
    world.crash(3);
    world.run(AFTER - 5 * SECOND);
    let ring = world.routers[0].ring.as_ref().unwrap();
    let share = |ring: &Ring, id| {
        ring.shares()
            .iter()
            .find(|(owner, _)| *owner == Some(id))
            .unwrap()
            .1
    };
    assert_eq!(share(ring, world.routers[3].id), before, "too early");
    world.run(20 * SECOND);
    let left = share(world.routers[0].ring.as_ref().unwrap(), world.routers[3].id);
    assert!((200..=256 + 20).contains(&left), "{left} of {before}");
    let takers: Vec<_> = (0..5)
        .filter(|n| {
            world.routers[*n]
                .log
                .iter()
                .any(|event| matches!(event, IpamEvent::TookOver { .. }))
        })
        .collect();
    assert_eq!(takers.len(), 1, "the lowest alone: {takers:?}");
    // What it had is nobody else's, whatever is asked for.
    for n in [0, 1, 2, 4] {
        assert!(allocate(&mut world, n, 200) > 100);
    }
    // Back with its disk, it goes on with what is left, and asks others for more.
    world.launch(3, true);
    world.run(15 * SECOND);
    assert_eq!(owned(&world, 3), left);
    assert_eq!(allocate(&mut world, 3, 20), 20);
    world.run(30 * SECOND);
    world.assert_whole();
    let ring = world.routers[takers[0]].ring.as_ref().unwrap();
    assert!(ring.state.reclaimed.is_empty(), "{:?}", ring.state.reclaimed);
}

#[test]
fn who_is_cut_off_goes_on_with_what_nobody_may_take_over() {
    let mut world = town(2, 5);
    // One against four; it does not know that it is missed.
    world.routers[2].side = 1;
    world.run(AFTER / 2);
    let reserve = allocate(&mut world, 2, 2000);
    assert!((200..=256).contains(&reserve), "{reserve}");
    world.run(AFTER);
    assert_eq!(
        allocate(&mut world, 2, 10),
        0,
        "it takes nothing back while it is alone"
    );
    assert!(world.routers.iter().any(|router| {
        router
            .log
            .iter()
            .any(|event| matches!(event, IpamEvent::TookOver { count, .. } if *count > 0))
    }));
    for n in [0, 1, 3, 4] {
        assert!(allocate(&mut world, n, 256) > 200);
    }
    world.cut(1);
    world.run(60 * SECOND);
    world.assert_whole();
}

#[test]
fn without_a_majority_nobody_takes_anything_over() {
    let mut world = town(3, 4);
    (0..2).for_each(|n| world.crash(n));
    world.run(5 * AFTER);
    let took = |event: &IpamEvent| matches!(event, IpamEvent::TookOver { .. });
    assert!(world.routers.iter().all(|router| !router.log.iter().any(took)));
}

#[test]
fn more_is_taken_back_while_the_others_hear_of_it() {
    let mut world = town(4, 3);
    let mut given = 0;
    for _ in 0..8 {
        given += allocate(&mut world, 0, 150);
        world.run(20 * SECOND);
    }
    assert_eq!(given, 8 * 150);
}

#[test]
fn a_certain_address_is_taken_back_for_who_wants_it() {
    let mut world = town(5, 3);
    let ring = world.routers[0].ring.as_ref().unwrap();
    let (start, _) = *ring.spare.told().last().unwrap();
    world.requests += 1;
    let number = world.requests;
    world.routers[0].asked.insert(number, "fixed".to_owned());
    let request = Request {
        number,
        holder: "fixed".to_owned(),
        want: Some(start + 3),
    };
    world.act(0, |ring, now, around| ring.allocate(now, request, around));
    world.run(5 * SECOND);
    assert_eq!(world.given, 0, "others may take it over");
    world.run(15 * SECOND);
    assert_eq!(
        (world.given, world.live.get(&(start + 3)).map(Vec::len)),
        (1, Some(1))
    );
}

/// The last addresses, too, are taken back when they are needed.
#[test]
fn nothing_is_promised_for_ever() {
    let mut world = World::new(5, 2, 26);
    world.settings.reclaim = Some(Duration::from_micros(AFTER));
    (0..2).for_each(|n| world.launch(n, n > 0));
    world.run(30 * SECOND);
    for n in 0..2 {
        for _ in 0..40 {
            world.allocate(n);
            world.run(30 * SECOND);
        }
    }
    // One is the first's to the last, as it never gives away all it has.
    assert!(world.given >= 61, "{} {:?}", world.given, world.refused);
}
