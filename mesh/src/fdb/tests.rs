//! The registry against a table computed from scratch.

use super::*;
use crate::chunk::subkey;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const OWN: PeerId = PeerId([5; 32]);
const NET: Vni = Vni(7);

type Table = BTreeMap<(Vni, Mac), (PeerId, Vec<IpAddr>)>;
type Members = BTreeMap<Vni, Vec<PeerId>>;

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn address(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn body(vni: Vni, macs: &[u8]) -> MacsBody {
    MacsBody {
        vni,
        entries: macs.iter().map(|&n| (mac(n), vec![address(n)])).collect(),
    }
}

/// What the data threads make of the deltas.
#[derive(Debug, Default, PartialEq)]
struct Replay {
    table: Table,
    members: Members,
}

impl Replay {
    fn apply(&mut self, deltas: Vec<Fdb>) -> Result<(), TestCaseError> {
        for Fdb { vni, change } in deltas {
            match change {
                FdbChange::Set { mac, peer, addresses } => {
                    let place = (peer, addresses);
                    prop_assert_ne!(self.table.get(&(vni, mac)), Some(&place), "nothing new");
                    self.table.insert((vni, mac), place);
                }
                FdbChange::Remove { mac } => prop_assert!(self.table.remove(&(vni, mac)).is_some()),
                FdbChange::Members(members) => {
                    prop_assert_ne!(self.members.get(&vni), Some(&members), "nothing new");
                    self.members.insert(vni, members);
                    self.members.retain(|_, members| !members.is_empty());
                }
            }
        }
        Ok(())
    }
}

fn table(registry: &Registry) -> Replay {
    let row =
        |(vni, mac, peer, addresses): (Vni, Mac, PeerId, &[IpAddr])| ((vni, mac), (peer, addresses.to_vec()));
    let vnis = (0..10)
        .map(Vni)
        .map(|vni| (vni, registry.members(vni).copied().collect::<Vec<_>>()));
    Replay {
        table: registry.iter().map(row).collect(),
        members: vnis.filter(|(_, members)| !members.is_empty()).collect(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Learn(u8, u16, MacsBody),
    Forget(u8),
    Attach(u8),
    Detach(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    let entry = (0u8..8, prop::collection::vec(0u8..4, 0..3))
        .prop_map(|(n, ips)| (mac(n), ips.into_iter().map(address).collect::<Vec<_>>()));
    let body = (7u32..9, prop::collection::vec(entry, 0..5)).prop_map(|(vni, entries)| MacsBody {
        vni: Vni(vni),
        entries,
    });
    prop_oneof![
        6 => (1u8..9, 0u16..3, body).prop_map(|(origin, chunk, body)| Step::Learn(origin, chunk, body)),
        1 => (1u8..9).prop_map(Step::Forget),
        1 => (0u8..8).prop_map(Step::Attach),
        1 => (0u8..8).prop_map(Step::Detach),
    ]
}

/// The newest bodies and own ports after `steps`, and the table that follows: for each address the claimant with
/// the lowest id, its lowest chunk, its first entry.
fn reference(steps: &[Step]) -> (BTreeMap<(PeerId, u64), MacsBody>, BTreeSet<Mac>, Replay) {
    let (mut bodies, mut own) = (BTreeMap::new(), BTreeSet::new());
    for step in steps {
        match step {
            Step::Learn(origin, chunk, body) => {
                bodies.insert((peer(*origin), subkey(body.vni, *chunk)), body.clone());
            }
            Step::Forget(origin) => bodies.retain(|(of, _), _| *of != peer(*origin)),
            Step::Attach(n) => drop(own.insert(mac(*n))),
            Step::Detach(n) => drop(own.remove(&mac(*n))),
        }
    }
    bodies.retain(|(origin, _), _| *origin != OWN);
    let mut expected = Replay::default();
    for ((origin, _), body) in &bodies {
        for (mac, addresses) in &body.entries {
            let members = expected.members.entry(body.vni).or_default();
            if !members.contains(origin) {
                members.push(*origin);
            }
            if !(body.vni == NET && own.contains(mac)) {
                expected
                    .table
                    .entry((body.vni, *mac))
                    .or_insert((*origin, addresses.clone()));
            }
        }
    }
    (bodies, own, expected)
}

proptest! {
    #[test]
    fn deltas_and_table_follow_from_the_newest_bodies_alone(
        steps in prop::collection::vec(any_step(), 0..40),
        order: prop::sample::Index,
    ) {
        let mut registry = Registry::new(OWN);
        let mut replay = Replay::default();
        for step in &steps {
            let deltas = match step {
                Step::Learn(origin, chunk, body) => registry.learn(peer(*origin), subkey(body.vni, *chunk), body),
                Step::Forget(origin) => registry.forget(&peer(*origin)),
                Step::Attach(n) => registry.attach(NET, mac(*n), vec![address(*n)]).fdb,
                Step::Detach(n) => registry.detach(NET, &mac(*n)).fdb,
            };
            replay.apply(deltas)?;
            prop_assert_eq!(&replay, &table(&registry));
        }
        let (bodies, own, expected) = reference(&steps);
        prop_assert_eq!(&replay, &expected);

        // A router that only ever saw the newest bodies, in another order, has the same table.
        let mut late = Registry::new(OWN);
        let mut bodies: Vec<_> = bodies.into_iter().collect();
        let turn = if bodies.is_empty() { 0 } else { order.index(bodies.len()) };
        bodies.rotate_left(turn);
        for ((origin, subkey), body) in bodies.iter().rev() {
            late.learn(*origin, *subkey, body);
        }
        for mac in own {
            late.attach(NET, mac, vec![]);
        }
        prop_assert_eq!(table(&late), expected);
    }

    #[test]
    fn what_is_published_is_what_others_learn(steps in prop::collection::vec((0u8..32, any::<bool>()), 0..80)) {
        let mut registry = Registry::new(OWN);
        let mut other = Registry::new(peer(1));
        let mut attached = BTreeSet::new();
        for (n, attach) in steps {
            let change = if attach {
                attached.insert(mac(n));
                registry.attach(NET, mac(n), vec![address(n)])
            } else {
                attached.remove(&mac(n));
                registry.detach(NET, &mac(n))
            };
            prop_assert!(change.publish.len() <= 1 && change.fdb.is_empty());
            for (subkey, body) in change.publish {
                other.learn(OWN, subkey, &body);
            }
        }
        prop_assert!(registry.local(NET).map(|(mac, _)| *mac).collect::<BTreeSet<_>>() == attached);
        prop_assert!(other.iter().map(|(_, mac, _, _)| mac).eq(attached));
    }
}

#[test]
fn chunks_are_stable_bounded_and_emptied_in_place() {
    let mut registry = Registry::new(OWN);
    let port = |n: u16| Mac([2, 0, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    for n in 0..300 {
        let change = registry.attach(NET, port(n), vec![]);
        assert_eq!(change.publish.len(), 1);
        assert_eq!(change.publish[0].0, subkey(NET, u16::from(n >= 256)));
    }
    assert!(registry.attach(NET, port(3), vec![]).publish.is_empty());
    // Another address changes the chunk the port is in, and room in the first one moves nobody.
    assert_eq!(registry.detach(NET, &port(0)).publish[0].1.entries.len(), 255);
    assert_eq!(
        registry.attach(NET, port(299), vec![address(1)]).publish[0].0,
        subkey(NET, 1)
    );
    for n in 256..300 {
        registry.detach(NET, &port(n));
    }
    assert_eq!(
        registry.published().nth(1),
        Some((
            subkey(NET, 1),
            MacsBody {
                vni: NET,
                entries: vec![]
            }
        ))
    );
    assert!(registry.detach(NET, &port(299)).publish.is_empty());
}

#[test]
fn a_full_network_refuses_more_ports() {
    let mut registry = Registry::new(OWN);
    let room = MAX_CHUNK_ENTRIES * usize::from(MAX_CHUNKS);
    for n in 0..=room {
        let n = n.to_be_bytes();
        registry.attach(NET, Mac([2, 0, 0, n[5], n[6], n[7]]), vec![]);
    }
    assert_eq!((registry.local(NET).count(), registry.refused()), (room, 1));
}

#[test]
fn odd_bodies_count_as_empty() {
    let mut registry = Registry::new(OWN);
    assert_eq!(registry.learn(peer(1), subkey(NET, 0), &body(NET, &[1])).len(), 2);
    // Own records coming back, another network's subkey, a chunk beyond the limit, no such network.
    assert!(registry.learn(OWN, subkey(NET, 0), &body(NET, &[2])).is_empty());
    assert!(
        registry
            .learn(peer(2), subkey(Vni(8), 0), &body(NET, &[2]))
            .is_empty()
    );
    assert!(
        registry
            .learn(peer(2), subkey(NET, MAX_CHUNKS), &body(NET, &[2]))
            .is_empty()
    );
    let huge = Vni(1 << 24);
    assert!(
        registry
            .learn(peer(2), subkey(huge, 0), &body(huge, &[2]))
            .is_empty()
    );
    assert!(registry.learn(peer(2), u64::MAX, &body(NET, &[2])).is_empty());
    let groups = vec![
        (Mac::BROADCAST, vec![]),
        (Mac([0; 6]), vec![]),
        (Mac([1, 0, 0x5e, 0, 0, 1]), vec![]),
    ];
    assert!(
        registry
            .learn(
                peer(2),
                subkey(NET, 0),
                &MacsBody {
                    vni: NET,
                    entries: groups
                }
            )
            .is_empty()
    );
    // The one that was there is replaced all the same.
    let changes = registry.learn(peer(1), subkey(NET, 0), &body(Vni(9), &[1]));
    let expected = [FdbChange::Remove { mac: mac(1) }, FdbChange::Members(vec![])];
    assert_eq!(
        changes.into_iter().map(|fdb| fdb.change).collect::<Vec<_>>(),
        expected
    );
    let many = (0..2 * MAX_ENTRY_ADDRESSES).map(|n| address(n as u8)).collect();
    let entries = vec![(mac(1), many); 2];
    registry.learn(peer(1), subkey(NET, 0), &MacsBody { vni: NET, entries });
    assert!(
        registry
            .iter()
            .all(|(_, _, _, addresses)| addresses.len() == MAX_ENTRY_ADDRESSES)
    );
}

#[test]
fn the_lowest_id_wins_and_the_next_takes_over() {
    let mut registry = Registry::new(OWN);
    registry.learn(peer(3), subkey(NET, 0), &body(NET, &[1]));
    assert_eq!(registry.lookup(NET, &mac(1)), Some(peer(3)));
    registry.learn(peer(1), subkey(NET, 0), &body(NET, &[1]));
    registry.learn(peer(2), subkey(NET, 0), &body(NET, &[1]));
    assert_eq!(registry.lookup(NET, &mac(1)), Some(peer(1)));
    let gone = registry.attach(NET, mac(1), vec![]).fdb;
    assert_eq!(
        gone,
        [Fdb {
            vni: NET,
            change: FdbChange::Remove { mac: mac(1) }
        }]
    );
    assert_eq!(registry.lookup(NET, &mac(1)), None);
    registry.forget(&peer(1));
    let back = registry.detach(NET, &mac(1)).fdb;
    let set = FdbChange::Set {
        mac: mac(1),
        peer: peer(2),
        addresses: vec![address(1)],
    };
    assert_eq!(
        back,
        [Fdb {
            vni: NET,
            change: set
        }]
    );
}

#[test]
fn one_origin_cannot_fill_the_table() {
    let mut registry = Registry::new(OWN);
    for vni in 0..2000 {
        registry.learn(peer(1), subkey(Vni(vni), 0), &body(Vni(vni), &[1]));
    }
    assert_eq!((registry.iter().count(), registry.refused()), (1024, 976));
    registry.learn(peer(2), subkey(NET, 0), &body(NET, &[2]));
    assert_eq!(registry.lookup(NET, &mac(2)), Some(peer(2)));
    registry.forget(&peer(1));
    assert_eq!(registry.iter().count(), 1);
}
