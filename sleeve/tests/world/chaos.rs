//! Whatever happens, in whatever order: afterwards, when everything is well again, frames pass.

use crate::harness::*;
use mesh::DropReason;
use rand_core::RngCore;
use sleeve::Input;
use sleeve::io::memory::Wire;

const NODES: usize = 4;

fn something(world: &mut World, random: &mut Random, options: &Options) {
    let pick = |random: &mut Random, n: usize| random.next_u32() as usize % n;
    let a = pick(random, NODES);
    let b = (a + 1 + pick(random, NODES - 1)) % NODES;
    match pick(random, 12) {
        0 => world.link(a, b),
        1 => world.unlink(a, b),
        2 => world.relayed(&[a, (0..NODES).find(|&n| n != a && n != b).unwrap(), b], 1500),
        3 => world.wire(a, b, Some(Wire::cut())),
        4 => world.wire(
            a,
            b,
            Some(Wire {
                mtu: 1200 + pick(random, 400) as u16,
                ..Wire::default()
            }),
        ),
        5 => world.wire(
            a,
            b,
            Some(Wire {
                loss: 0.3,
                duplicates: 0.3,
                ..Wire::default()
            }),
        ),
        6 => world.wire(a, b, None),
        7 => world.restart(a, options),
        8 => {
            let rings: [&[u64]; 3] = [&[1], &[1, 2], &[2, 1]];
            world.input(a, Input::Keyring(keyring(rings[pick(random, 3)])));
        }
        9 => {
            let (gone, info) = (world.nodes[b].id, world.nodes[b].info());
            world.input(a, Input::PeerGone(gone));
            world.input(a, Input::Peer(info));
        }
        10 => world.lose_control = pick(random, 10),
        _ => {
            let (peer, hops) = (world.nodes[b].id, [None, Some(1), Some(2)][pick(random, 3)]);
            world.input(a, Input::Ping { id: 1, peer, hops });
        }
    }
    for number in 0..pick(random, 5) {
        world.send(a, &frame(a, b, number as u32, 60 + pick(random, 2500)));
    }
    world.run(ms([1, 20, 300, 4000, 30_000][pick(random, 5)]));
}

#[test]
fn all_is_well_that_ends_well() {
    for seed in 1..=12 {
        let options = Options {
            seed,
            ..Options::default()
        };
        let mut world = World::with(NODES, &options);
        let mut random = Random(seed);
        for _ in 0..60 {
            something(&mut world, &mut random, &options);
        }
        world.lose_control = 0;
        for a in 0..NODES {
            world.input(a, Input::Keyring(keyring(&[1])));
            for b in 0..a {
                world.wire(a, b, None);
                world.link(a, b);
            }
        }
        // Long enough for a larger MTU to be tried again.
        world.run(secs(80));
        for a in 0..NODES {
            for b in (0..NODES).filter(|&b| b != a) {
                assert!(world.passes(a, b, 1, 1400), "seed {seed}: {a} to {b}");
                assert_eq!(
                    world.nodes[a].direct.get(&b),
                    Some(&1500),
                    "seed {seed}: {a} to {b}"
                );
            }
            assert_eq!(world.drops(a, DropReason::Garbage), 0);
        }
    }
}
