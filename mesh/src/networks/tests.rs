use super::*;
use crate::testing::id;
use proptest::prelude::*;
use rand::SeedableRng as _;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn pool(third: u8) -> Pool {
    Pool::new(([10, 200, third, 0].into(), 24), None).unwrap()
}

fn entry() -> impl Strategy<Value = (Name, NetworkEntry)> {
    let removed_or = prop::option::of((0..3_u8).prop_map(pool));
    (0..4_u8, 1..6_u64, 1..4_u8, 2..6_u32, removed_or).prop_map(|(of, stamp, by, vni, pool)| {
        let by = id(by).short();
        let vni = Vni(vni);
        (name(&format!("n{of}")), NetworkEntry { stamp, by, vni, pool })
    })
}

proptest! {
    #[test]
    fn in_which_order_statements_are_heard_does_not_matter(
        (told, other) in prop::collection::vec(entry(), 0..20)
            .prop_flat_map(|told| (Just(told.clone()), Just(told).prop_shuffle())),
    ) {
        let hear = |told: &[(Name, NetworkEntry)]| {
            let mut networks = Networks::new(id(9));
            for (n, (name, entry)) in (1..).zip(told) {
                let entries = vec![(name.to_string(), *entry)];
                networks.learn(id(n), &NetworksBody { entries });
            }
            (networks.table().clone(), networks.views())
        };
        let (first, second) = (hear(&told), hear(&other));
        prop_assert_eq!(&first, &second);
        // Of those that are to be used no two have one number.
        let mut used: Vec<_> = first.1.iter().filter(|view| view.rival.is_none()).map(|view| view.vni).collect();
        let count = used.len();
        used.sort_unstable();
        used.dedup();
        prop_assert_eq!(used.len(), count);
        let there: BTreeSet<_> = first.0.values().filter(|entry| entry.pool.is_some()).map(|entry| entry.vni).collect();
        prop_assert_eq!(there.len(), count, "each number that somebody has is used");
    }
}

#[test]
fn what_is_not_given_is_chosen_the_same_everywhere_and_is_free() {
    let home = Pool::default();
    let [mut here, mut there] = [1, 2].map(|n| Networks::new(id(n)));
    let mut all = Vec::new();
    for n in 0..100 {
        let name = name(&format!("net-{n}"));
        let added = here.add(&name, None, None, Some(home)).unwrap();
        assert_eq!(
            here.add(&name, None, None, Some(home)),
            Ok(added.clone()),
            "again is fine"
        );
        all.push(added);
    }
    let first = there.add(&name("net-0"), None, None, Some(home)).unwrap();
    assert_eq!(first, all[0]);
    for (n, view) in all.iter().enumerate() {
        let (base, prefix) = view.pool.v4();
        assert!(prefix == 18 && base.octets()[1] >= 128 && view.pool.v6().is_some());
        assert!(home.index(base.into()).is_none());
        let others = all[n + 1..].iter();
        assert!(
            others
                .clone()
                .all(|other| other.vni != view.vni && other.pool.index(base.into()).is_none())
        );
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut networks = Networks::new(id(1));
    let blue = networks
        .add(&name("blue"), Some(Vni(7)), Some(pool(1)), None)
        .unwrap();
    let refuse = |networks: &mut Networks, text: &str, vni, range| {
        networks.add(&name(text), vni, range, None).unwrap_err()
    };
    assert_eq!(refuse(&mut networks, "default", None, None), NetworkRefusal::Name);
    assert_eq!(
        refuse(&mut networks, &"x".repeat(41), None, None),
        NetworkRefusal::Name
    );
    for number in [0, 1, 1 << 24] {
        assert_eq!(
            refuse(&mut networks, "red", Some(Vni(number)), None),
            NetworkRefusal::Number
        );
    }
    assert_eq!(
        refuse(&mut networks, "red", Some(Vni(7)), None),
        NetworkRefusal::Taken(name("blue"))
    );
    assert_eq!(
        refuse(&mut networks, "blue", Some(Vni(8)), None),
        NetworkRefusal::Exists(name("blue"))
    );
    assert_eq!(
        refuse(&mut networks, "blue", None, Some(pool(2))),
        NetworkRefusal::Exists(name("blue"))
    );
    assert_eq!(
        networks.remove(&name("red")),
        Err(NetworkRefusal::Unknown(name("red")))
    );
    // The same range in another network is fine; so is a name that was removed, with another number.
    let same = networks.add(&name("red"), None, Some(pool(1)), None).unwrap();
    assert_eq!(same.pool.v4(), blue.pool.v4());
    assert!(networks.remove(&name("red")).is_ok());
    let again = networks.add(&name("red"), None, None, None).unwrap();
    assert_ne!(again.vni, same.vni);
}

#[test]
fn who_has_a_number_first_keeps_it() {
    let [mut here, mut there] = [1, 2].map(|n| Networks::new(id(n)));
    here.add(&name("early"), Some(Vni(7)), None, None).unwrap();
    there.add(&name("other"), None, None, None).unwrap();
    there.add(&name("late"), Some(Vni(7)), None, None).unwrap();
    assert!(here.learn(id(2), &there.body()));
    assert!(there.learn(id(1), &here.body()));
    assert_eq!(here.views(), there.views());
    let late = here
        .views()
        .into_iter()
        .find(|view| view.name == name("late"))
        .unwrap();
    assert_eq!(late.rival, Some(name("early")));
    here.remove(&name("early")).unwrap();
    let late = here
        .views()
        .into_iter()
        .find(|view| view.name == name("late"))
        .unwrap();
    assert_eq!(late.rival, None);
}

#[test]
fn what_a_router_that_is_gone_said_is_said_by_another() {
    let [mut author, mut heir, mut third] = [1, 2, 3].map(|n| Networks::new(id(n)));
    author.add(&name("blue"), None, None, None).unwrap();
    heir.learn(id(1), &author.body());
    let mut rng = StdRng::seed_from_u64(1);
    let mut now = Instant::default();
    assert!(!heir.look(now, |_| true, &mut rng) && heir.next_timeout().is_none());
    assert!(!heir.look(now, |_| false, &mut rng));
    now = heir.next_timeout().unwrap();
    assert!(heir.look(now, |_| false, &mut rng) && heir.has_body());
    third.learn(id(2), &heir.body());
    assert_eq!(third.views(), author.views());
    // What is said later takes its place: then it is no longer the heir's.
    author.remove(&name("blue")).unwrap();
    assert!(heir.learn(id(1), &author.body()) && !heir.has_body() && heir.views().is_empty());
}

#[test]
fn after_a_restart_all_is_as_it_was() {
    let mut author = Networks::new(id(1));
    author.add(&name("blue"), None, None, None).unwrap();
    let [mut again, mut other] = [1, 2].map(|n| Networks::new(id(n)));
    assert!(again.restore(author.table()) && other.restore(author.table()));
    assert_eq!([again.views(), other.views()], [author.views(), author.views()]);
    assert!(again.has_body() && !other.has_body());
}

#[test]
fn nonsense_is_not_believed() {
    let mut networks = Networks::new(id(1));
    let entry = |stamp, vni| NetworkEntry {
        stamp,
        by: id(2).short(),
        vni: Vni(vni),
        pool: Some(pool(1)),
    };
    let odd = [
        ("a".to_owned(), entry(MAX_STAMP, 7)),
        ("b".to_owned(), entry(1, 1)),
        ("c".to_owned(), entry(1, 1 << 24)),
        ("default".to_owned(), entry(1, 7)),
        ("no name!".to_owned(), entry(1, 7)),
    ];
    assert!(!networks.learn(
        id(2),
        &NetworksBody {
            entries: odd.to_vec()
        }
    ));
    let many = (0..1000).map(|n| (format!("n{n}"), entry(1, n + 2))).collect();
    assert!(networks.learn(id(2), &NetworksBody { entries: many }));
    assert_eq!(networks.views().len(), MAX_NETWORKS);
    for n in 0..300 {
        let name = name(&format!("n{n}"));
        let _ = networks.remove(&name);
    }
    assert!(networks.table().len() <= MAX_REMOVED + 1 && networks.views().is_empty());
    let body = networks.body();
    assert!(postcard::to_stdvec(&body).unwrap().len() < 15_000);
}
