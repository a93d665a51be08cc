//! Ways that take the place of others, and those that an earlier run left.

use super::*;

/// Router 2 is behind 1; 3 is another neighbour.
fn fork() -> World {
    let mut world = World::line();
    world.meet(3);
    world.direct(3, Some(false));
    world.route(3, Some(&[3]));
    world.run(secs(10));
    world
}

#[test]
fn another_path_is_proven_beside_the_old_one_and_takes_its_place_in_one_write() {
    let mut world = fork();
    let before = world.writes;
    world.route(2, Some(&[3, 2]));
    world.run(ms(1500));
    assert_eq!(
        (world.hops[&label(2)].address, world.is_fast(2)),
        (address(1), true)
    );
    world.run(secs(1));
    assert_eq!(
        (world.hops[&label(2)].address, world.is_fast(2)),
        (address(3), true)
    );
    assert_eq!(world.writes - before, 1);
    // One that can't be proven takes over when the old one fails, and frames take sleeve.
    world.deaf.insert(address(1));
    world.route(2, Some(&[1, 2]));
    world.run(secs(10));
    assert_eq!(
        (world.hops[&label(2)].address, world.is_fast(2)),
        (address(3), true)
    );
    world.answers.remove(&label(2));
    world.until(secs(3), |world| !world.is_fast(2));
    assert_eq!(world.hops[&label(2)].address, address(1));
}

#[test]
fn a_neighbour_that_restarts_is_not_left_for_a_detour() {
    let mut world = fork();
    world.direct(1, None);
    world.route(1, Some(&[3, 1]));
    world.run(secs(1));
    assert_eq!((world.hops[&label(1)].distance, world.is_fast(1)), (1, true));
    world.direct(1, Some(false));
    world.route(1, Some(&[1]));
    world.run(secs(5));
    assert_eq!((world.is_fast(1), world.why(1)), (true, None));
    world.direct(1, None);
    world.route(1, Some(&[3, 1]));
    world.run(secs(4));
    assert_eq!((world.hops[&label(1)].distance, world.is_fast(1)), (2, true));
}

#[test]
fn a_neighbour_that_moves_is_followed_without_a_gap() {
    let mut world = World::line();
    world.run(secs(10));
    let moved = |world: &mut World, address, encrypted| {
        let path = Some(Direct {
            address,
            cover: cover(encrypted),
        });
        world.input(Input::Direct { peer: id(1), path });
    };
    moved(&mut world, address(11), false);
    for _ in 0..40 {
        world.run(ms(100));
        assert!(world.is_fast(1) && world.is_fast(2));
    }
    assert!(world.hops.values().all(|hop| hop.address == address(11)));
    assert_eq!(world.senders.len(), 2, "what is on the way still counts");
    world.run(secs(60));
    assert_eq!(world.senders.keys().collect::<Vec<_>>(), [&address(11)]);
    moved(&mut world, address(12), true);
    assert!(world.hops.is_empty() && world.senders.is_empty());
}

#[test]
fn what_an_earlier_run_left_carries_on_without_a_write() {
    let mut first = World::line();
    first.run(secs(10));
    // The order in which a new run learns things is not that in which the first did.
    for order in 0..6 {
        let mut world = World::after(first.hops.clone(), first.senders.clone());
        world.run(secs(3));
        world.meet(if order % 2 == 0 { 1 } else { 2 });
        world.meet(if order % 2 == 0 { 2 } else { 1 });
        world.run(ms(300));
        let steps: [fn(&mut World); 3] = [
            |world| world.direct(1, Some(false)),
            |world| world.route(1, Some(&[1])),
            |world| world.route(2, Some(&[1, 2])),
        ];
        for step in 0..3 {
            steps[(step + order / 2) % 3](&mut world);
            world.run(ms(100));
            assert!(world.hops.values().all(|hop| hop.carries), "{order} {step}");
        }
        world.run(secs(120));
        assert!(world.is_fast(1) && world.is_fast(2));
        assert_eq!((world.writes, &world.senders), (0, &first.senders));
    }
    // Nobody claims it.
    let mut world = World::after(first.hops.clone(), first.senders.clone());
    world.run(secs(61));
    assert!(world.hops.is_empty() && world.senders.is_empty());
}

#[test]
fn what_an_earlier_run_left_goes_where_frames_are_to_be_encrypted_now() {
    let mut first = World::line();
    first.run(secs(10));
    let mut world = World::after(first.hops.clone(), first.senders.clone());
    world.meet(1);
    world.direct(1, Some(true));
    world.route(1, Some(&[1]));
    world.run(ms(1));
    let left: Vec<_> = first
        .hops
        .keys()
        .filter(|label| !world.hops.contains_key(label))
        .collect();
    assert_eq!(left, [&label(1)]);
}
