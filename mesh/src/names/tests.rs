//! Names against a table computed from scratch.

use super::*;
use crate::chunk::subkey;
use crate::record::{Key, Record, kind};
use crate::testing::{FakeSigner, id};
use proptest::prelude::*;

const OWN: u8 = 9;
const NETS: [Vni; 2] = [Vni(1), Vni(2)];

fn name(n: u8) -> Name {
    format!("n{n}").parse().unwrap()
}

fn address(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    Set(usize, u8, Vec<u8>),
    Learn(u8, usize, u64, Said),
    Forget(u8),
    Reached(u8, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let addresses = || prop::collection::vec(0..6_u8, 0..4);
    let entries = prop::collection::vec((0..5_u8, addresses()), 0..5);
    prop_oneof![
        (0..2_usize, 0..5_u8, addresses()).prop_map(|(net, n, to)| Step::Set(net, n, to)),
        (1..4_u8, 0..2_usize, 0..3_u64, entries)
            .prop_map(|(peer, net, chunk, entries)| Step::Learn(peer, net, chunk, entries)),
        (1..4_u8).prop_map(Step::Forget),
        (1..4_u8, any::<bool>()).prop_map(|(peer, is)| Step::Reached(peer, is)),
    ]
}

/// Names by number, each with its addresses.
type Said = Vec<(u8, Vec<u8>)>;

/// What each router says, and whether it is there.
#[derive(Default)]
struct Model {
    said: BTreeMap<(u8, usize, u64), Said>,
    away: BTreeSet<u8>,
    own: BTreeMap<(usize, u8), Vec<u8>>,
}

impl Model {
    fn lookup(&self, net: usize, n: u8) -> Vec<IpAddr> {
        let there = self
            .said
            .iter()
            .filter(|((peer, of, _), _)| *of == net && !self.away.contains(peer));
        let first = there.filter_map(|(_, entries)| entries.iter().find(|(other, _)| *other == n));
        let theirs = first.flat_map(|(_, to)| to);
        let own = self.own.get(&(net, n)).into_iter().flatten();
        let all: BTreeSet<IpAddr> = theirs.chain(own).map(|n| address(*n)).collect();
        all.into_iter().collect()
    }
}

proptest! {
    #[test]
    fn a_name_stands_for_what_all_say_that_can_be_reached(steps in prop::collection::vec(step(), 0..60)) {
        let (mut names, mut model) = (Names::new(id(OWN)), Model::default());
        let mut seen: BTreeMap<(Vni, Name), Vec<IpAddr>> = BTreeMap::new();
        for step in steps {
            let addresses = |to: &[u8]| to.iter().map(|n| address(*n)).collect::<Vec<_>>();
            let changes = match step {
                Step::Set(net, n, to) => {
                    let (_, changes) = names.set(NETS[net], &name(n), addresses(&to)).unwrap();
                    model.own.insert((net, n), to);
                    changes
                }
                Step::Learn(peer, net, chunk, entries) => {
                    let body = NamesBody {
                        vni: NETS[net],
                        entries: entries.iter().map(|(n, to)| (name(*n).to_string(), addresses(to))).collect(),
                    };
                    model.said.insert((peer, net, chunk), entries);
                    names.learn(id(peer), subkey(NETS[net], chunk as u16), &body, !model.away.contains(&peer))
                }
                Step::Forget(peer) => {
                    model.said.retain(|(other, ..), _| *other != peer);
                    names.forget(&id(peer))
                }
                Step::Reached(peer, is) => {
                    if is { model.away.remove(&peer); } else { model.away.insert(peer); }
                    names.note_reached(&id(peer), is)
                }
            };
            for change in changes {
                let key = (change.vni, change.name);
                prop_assert_ne!(seen.get(&key).cloned().unwrap_or_default(), change.addresses.clone());
                seen.insert(key, change.addresses);
            }
            for (at, net) in NETS.into_iter().enumerate() {
                for n in 0..5 {
                    let expected = model.lookup(at, n);
                    prop_assert_eq!(&names.lookup(net, &name(n)), &expected);
                    prop_assert_eq!(seen.get(&(net, name(n))).cloned().unwrap_or_default(), expected);
                }
            }
        }
        let entries: usize = names.claims.values().map(BTreeMap::len).sum();
        prop_assert_eq!(names.entries, entries);
    }

    /// However names and addresses are spread, every chunk fits into a record and all of them say what was set.
    #[test]
    fn what_is_published_is_what_was_set(
        sets in prop::collection::vec((0..40_u8, 0..3_usize, 1..190_usize), 1..120),
    ) {
        let (mut local, mut model, mut out) = (Local::default(), BTreeMap::new(), BTreeMap::new());
        for (n, many, long) in sets {
            let text: String = (0..long).map(|at| if at % 50 == 49 { '.' } else { char::from(b'a' + n % 26) }).collect();
            let Ok(name) = format!("{text}{n}").parse::<Name>() else { continue };
            let count = [0, 3, MAX_NAME_ADDRESSES][many];
            let addresses: Vec<IpAddr> = (0..count).map(|at| [1, n.into(), 0, 0, 0, 0, 0, at as u16].into()).collect();
            for (subkey, body) in local.set(Vni(1), &name, addresses.clone()).unwrap() {
                let key = Key { origin: id(1), kind: kind::NAMES, subkey };
                let bytes = postcard::to_stdvec(&body).unwrap();
                prop_assert!(Record::sign(&FakeSigner(id(1)), key, 1 << 61, 1 << 61, &bytes).is_some());
                out.insert(subkey, body);
            }
            model.insert(name, addresses);
        }
        model.retain(|_, addresses| !addresses.is_empty());
        let published: BTreeMap<Name, Vec<IpAddr>> = out.values().flat_map(believable).collect();
        prop_assert_eq!(&published, &model);
        let anew: BTreeMap<u64, NamesBody> = local.bodies().collect();
        prop_assert_eq!(anew, out);
    }
}

#[test]
fn there_is_an_end_to_what_a_host_names() {
    let mut local = Local::default();
    let addresses: Vec<IpAddr> = (0..256).map(|n| [1, 0, 0, 0, 0, 0, 0, n].into()).collect();
    let mut set = |n: usize| local.set(Vni(1), &format!("n{n}").parse().unwrap(), addresses.clone());
    let room = (0..).take_while(|n| set(*n).is_some()).count();
    assert!((128..=256).contains(&room), "{room}");
    assert_eq!(local.bodies().count(), usize::from(MAX_CHUNKS));
}

#[test]
fn what_is_no_name_or_contradicts_itself_is_passed_over() {
    let mut names = Names::new(id(OWN));
    let entries = vec![
        ("bad name".to_owned(), vec![address(1)]),
        ("web".to_owned(), vec![address(2)]),
        ("WEB".to_owned(), vec![address(3)]),
        ("empty".to_owned(), vec![]),
    ];
    let body = NamesBody { vni: Vni(1), entries };
    assert!(names.learn(id(1), subkey(Vni(2), 0), &body, true).is_empty());
    assert!(
        names
            .learn(id(1), subkey(Vni(1), MAX_CHUNKS), &body, true)
            .is_empty()
    );
    assert!(names.learn(id(OWN), subkey(Vni(1), 0), &body, true).is_empty());
    let changes = names.learn(id(1), subkey(Vni(1), 0), &body, true);
    let expected = NameChange {
        vni: Vni(1),
        name: "web".parse().unwrap(),
        addresses: vec![address(2)],
    };
    assert_eq!(changes, [expected]);
}
