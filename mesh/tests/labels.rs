//! Labels of the fast path: whatever routers start with, each ends with one of its own, and all know the same.

#![allow(clippy::unwrap_used)]

mod world;

use mesh::{PeerId, PeerLabel};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use world::World;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// All routers but the last have a fast path, and all start with the same label on disk.
fn clones_of_a_disk(n: u8) -> World {
    let mut world = World::new(n);
    for host in 0..usize::from(n) {
        world.hosts[host].label = PeerLabel(7);
        world.hosts[host].is_fast = host + 1 < usize::from(n);
        world.launch(host, if host == 0 { &[] } else { &[0] });
    }
    world.until(secs(5), World::is_full_mesh);
    world.run(secs(5));
    world
}

/// Who has which label, if all say the same and no two have one.
fn agreed(world: &World) -> BTreeMap<PeerId, PeerLabel> {
    let held = |host: &world::Host| -> BTreeMap<_, _> {
        host.labels
            .iter()
            .filter(|(_, label)| label.is_some())
            .map(|(peer, label)| (*peer, *label))
            .collect()
    };
    let first = held(&world.hosts[0]);
    for host in &world.hosts {
        assert_eq!(held(host), first);
        let own = if host.is_fast { Some(&host.label) } else { None };
        assert_eq!(first.get(&host.id), own);
    }
    assert_eq!(first.values().collect::<BTreeSet<_>>().len(), first.len());
    first
}

#[test]
fn of_routers_with_one_label_all_but_one_move() {
    let world = clones_of_a_disk(6);
    let labels = agreed(&world);
    assert_eq!(labels.len(), 5);
    assert_eq!(labels.values().filter(|label| **label == PeerLabel(7)).count(), 1);
}

#[test]
fn a_label_lasts_over_restarts_also_against_a_newcomer_who_has_the_same() {
    let mut world = clones_of_a_disk(4);
    let before = agreed(&world);
    world.kill(1);
    world.run(secs(10));
    world.launch(1, &[0]);
    world.until(secs(5), World::is_full_mesh);
    world.run(secs(5));
    assert_eq!(agreed(&world), before);
}

#[test]
fn who_gets_a_fast_path_later_takes_a_label_and_who_loses_it_keeps_none_for_others() {
    let mut world = clones_of_a_disk(4);
    world.hosts[3].is_fast = true;
    world.hosts[3].label = PeerLabel::NONE;
    world.input(3, mesh::Input::FastPath { port: 6784 });
    world.run(secs(2));
    assert_eq!(agreed(&world).len(), 4);
    let last = world.hosts[3].id;
    assert_eq!(world.hosts[0].peers[&last].vxlan_port, 6784);
    world.input(3, mesh::Input::FastPath { port: 0 });
    world.run(secs(2));
    assert_eq!(world.hosts[0].peers[&last].vxlan_port, 0);
}

#[test]
fn two_halves_that_chose_alike_part_their_labels_when_they_meet() {
    let mut world = World::new(4);
    for host in 0..4 {
        world.hosts[host].is_fast = true;
        world.hosts[host].label = PeerLabel(host as u16 % 2 + 1);
    }
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.cut(a, b);
    }
    world.launch(0, &[]);
    world.launch(1, &[0]);
    world.launch(2, &[0]);
    world.launch(3, &[2]);
    world.run(secs(10));
    assert_eq!(world.hosts[2].label, PeerLabel(1));
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.heal(a, b);
    }
    world.until(secs(90), World::is_full_mesh);
    world.run(secs(10));
    let labels = agreed(&world);
    assert!(labels.values().any(|label| *label == PeerLabel(1)));
    assert!(labels.values().any(|label| *label == PeerLabel(2)));
}
