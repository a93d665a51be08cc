//! Frames too big for their path.

use crate::harness::*;
use crate::relay::chain;
use mesh::DropReason;
use sleeve::io::memory::Wire;

#[test]
fn frames_too_big_for_a_relayed_path_go_in_two() {
    let mut world = chain(4);
    world.passes(0, 3, 0, 100);
    world.run(ms(300));
    world.net.capture();
    // 1500 less IP, UDP, room for the longest relay header, seal and prefix.
    let largest = 1500 - 48 - 111 - 32 - 4;
    assert!(world.passes(0, 3, 1, largest));
    let relayed = |world: &World| {
        world
            .net
            .captured()
            .iter()
            .filter(|packet| packet.bytes[0] == 3)
            .count()
    };
    assert_eq!(relayed(&world), 3);
    assert!(world.passes(0, 3, 2, largest + 1));
    assert_eq!(relayed(&world), 6, "two datagrams on each of three wires");
    // Two halves hold twice what fits less their own headers.
    let both = 2 * (largest + 4 - 6) - 4;
    assert!(world.passes(0, 3, 3, both));
    assert!(!world.passes(0, 3, 4, both + 1));
    assert_eq!(world.drops(0, DropReason::TooBig), 1);
}

#[test]
fn halves_may_be_lost_doubled_or_late() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.run(secs(1));
    let wire = Wire {
        loss: 0.2,
        duplicates: 0.2,
        ..Wire::default()
    };
    world.wire(0, 1, Some(wire));
    let delivered = (0..200)
        .filter(|&number| world.passes(0, 1, number, 2000))
        .count();
    assert!(
        (80..180).contains(&delivered),
        "{delivered} of 200, two thirds expected"
    );
    world.wire(0, 1, None);
    world.run(secs(6));
    world.send(0, &frame(0, 1, 1, 2000));
    let lost = world.drops(1, DropReason::ReassemblyTimeout);
    assert!(lost > 20, "{lost} halves timed out");
}
