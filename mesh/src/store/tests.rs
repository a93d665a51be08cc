use super::*;
use crate::record::Record;
use crate::testing::{FakeSigner, id, info, info_record, record};
use proptest::prelude::*;

const JUDGE: FakeSigner = FakeSigner(PeerId([0; 32]));

fn all(store: &Store) -> Vec<Arc<Record>> {
    store
        .infos()
        .flat_map(|(id, _)| store.records(id))
        .cloned()
        .collect()
}

/// Takes in what another store holds, in the order in which messages are read: `PeerInfo` first.
fn absorb(store: &mut Store, mut records: Vec<Arc<Record>>) {
    records.sort_by_key(|record| record.key.kind != kind::PEER_INFO);
    for record in records {
        store.merge(Instant(0), record, &JUDGE);
    }
    let bytes: usize = all(store).iter().map(|record| record.bytes().len()).sum();
    assert_eq!(store.bytes, bytes);
}

fn union(a: &[Arc<Record>], b: &[Arc<Record>]) -> Vec<Arc<Record>> {
    let mut store = Store::default();
    absorb(&mut store, a.to_vec());
    absorb(&mut store, b.to_vec());
    all(&store)
}

/// Records of a few routers: few keys and versions, so that they meet; some of the same version differ.
fn some_records() -> impl Strategy<Value = Vec<Arc<Record>>> {
    let version = (1..4_u64, 1..4_u64);
    let one =
        (1..4_u8, 0..4_u8, 0..2_u64, version, any::<bool>()).prop_map(|(n, kind, subkey, version, twin)| {
            match kind {
                0 | kind::PEER_INFO => info_record(n, version.0, version.1),
                kind::LINK_STATE => record(n, (kind, subkey), version, &[0, u8::from(twin)]),
                _ => record(n, (9, subkey), version, &[u8::from(twin)]),
            }
        });
    prop::collection::vec(one, 0..24)
}

proptest! {
    #[test]
    fn merge_is_commutative_associative_and_idempotent(
        a in some_records(),
        b in some_records(),
        c in some_records(),
    ) {
        let (a, b, c) = (union(&a, &[]), union(&b, &[]), union(&c, &[]));
        prop_assert_eq!(union(&a, &b), union(&b, &a));
        prop_assert_eq!(union(&union(&a, &b), &c), union(&a, &union(&b, &c)));
        prop_assert_eq!(union(&a, &a), a);
    }

    #[test]
    fn merge_in_any_order_ends_alike(records in some_records(), seed in any::<u64>()) {
        let mut shuffled = records.clone();
        shuffled.sort_by_key(|record| seed.rotate_left(u32::from(record.version.hash[0])) ^ u64::from(record.version.hash[1]));
        // Twice: what came before its origin was known comes again, as comparison makes sure.
        let (mut one, mut other) = (Store::default(), Store::default());
        for _ in 0..2 {
            absorb(&mut one, records.clone());
            for record in &shuffled {
                other.merge(Instant(0), record.clone(), &JUDGE);
            }
        }
        prop_assert_eq!(all(&one), all(&other));
    }
}

/// What the sums should be, from nothing.
fn assert_sums(store: &mut Store, now: Instant) {
    store.fade(now);
    let (mut sums, mut reached) = (Sums::default(), 0_u64);
    for (id, origin) in store.origins.sorted() {
        let is_away = !origin.is_reachable;
        let is_covered = !is_away || now.since(origin.since) < PASSED_ON;
        assert_eq!(origin.is_covered, is_covered);
        assert_eq!(store.away.contains(&(origin.since, id)), is_away);
        for record in origin.records.iter() {
            sums.add(record, is_covered);
            reached = reached.wrapping_add(if is_away { 0 } else { record.mark() });
        }
    }
    assert_eq!((store.reached(), store.root()), (reached, sums.root()));
    for bucket in 0..=255 {
        let sorted = |records: &[Arc<Record>]| {
            let mut marks: Vec<_> = records.iter().map(|record| record.mark()).collect();
            marks.sort_unstable();
            marks
        };
        assert_eq!(sorted(store.sums().covered(bucket)), sorted(sums.covered(bucket)));
        assert_eq!(sorted(store.sums().all(bucket)), sorted(sums.all(bucket)));
    }
    let origins = store.origins.sorted().into_iter();
    let away = origins.filter(|(_, origin)| !origin.is_reachable);
    assert_eq!(store.away.len(), away.count());
    assert!(store.fading.is_subset(&store.away));
    let ends: BTreeSet<_> = store
        .floors
        .iter()
        .map(|(id, floor)| (floor.until, *id))
        .collect();
    assert_eq!(store.floor_ends, ends);
}

proptest! {
    #[test]
    fn sums_are_those_of_what_is_there_whatever_happened(
        steps in prop::collection::vec((some_records(), 1..4_u8, 0..6_u8, 0..90_u64), 0..30),
    ) {
        let (mut store, mut now) = (Store::default(), Instant(0));
        for (records, n, what, seconds) in steps {
            now = now + Duration::from_secs(seconds);
            match what {
                0 | 1 => records.into_iter().for_each(|record| drop(store.merge(now, record, &JUDGE))),
                2 => drop(store.remove(&id(n))),
                3 | 4 => store.note_reachable(now, &id(n), what == 3),
                _ => {
                    now = now + COLLECT_AFTER * u32::from(seconds > 60);
                    store.collect(now);
                }
            }
            assert_sums(&mut store, now);
        }
    }
}

#[test]
fn a_router_always_counts_itself_in() {
    let mut store = Store::default();
    store.put_own(Instant(0), info_record(1, 1, 1));
    let later = Instant(0) + COLLECT_AFTER;
    store.note_reachable(later, &id(1), false);
    assert_sums(&mut store, later + COLLECT_AFTER);
    assert_eq!(store.reached(), info_record(1, 1, 1).mark());
    assert_eq!(
        (store.next_timeout(), store.collect(later + COLLECT_AFTER)),
        (None, Vec::new())
    );
    assert_ne!(store.root(), Store::default().root());
}

fn merged(store: &mut Store, record: Arc<Record>) -> Merged {
    store.merge(Instant(0), record, &JUDGE)
}

#[test]
fn strangers_and_forgeries_are_refused() {
    let mut store = Store::default();
    let links = record(1, (kind::LINK_STATE, 0), (1, 2), &[0]);
    assert_eq!(
        merged(&mut store, links.clone()),
        Merged::Refused(DropReason::Unadmitted)
    );
    let mut forged = info_record(1, 1, 1).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Arc::new(Record::parse(forged).unwrap());
    assert_eq!(
        merged(&mut store, forged),
        Merged::Refused(DropReason::BadSignature)
    );
    let mut stranger = crate::testing::info(1, 1);
    stranger.admissions[0].proof[0] ^= 1;
    let stranger = record(
        1,
        (kind::PEER_INFO, 0),
        (1, 1),
        &postcard::to_stdvec(&stranger).unwrap(),
    );
    assert_eq!(
        merged(&mut store, stranger),
        Merged::Refused(DropReason::Unadmitted)
    );
    let borrowed = record(
        1,
        (kind::PEER_INFO, 0),
        (1, 1),
        &postcard::to_stdvec(&crate::testing::info(2, 1)).unwrap(),
    );
    assert_eq!(
        merged(&mut store, borrowed),
        Merged::Refused(DropReason::MalformedRecord)
    );
    assert_eq!(
        merged(&mut store, info_record(1, 1, 1)),
        Merged::New(Replaced::default())
    );
    assert_eq!(merged(&mut store, info_record(1, 1, 1)), Merged::Known);
    assert_eq!(merged(&mut store, links), Merged::New(Replaced::default()));
    let older = record(1, (kind::LINK_STATE, 0), (1, 1), &[0]);
    assert_eq!(
        merged(&mut store, older),
        Merged::Refused(DropReason::StaleRecord)
    );
    let chunk = record(1, (kind::LINK_STATE, 1), (1, 3), &[0]);
    assert_eq!(
        merged(&mut store, chunk),
        Merged::Refused(DropReason::MalformedRecord)
    );
    let nonsense = record(1, (kind::LINK_STATE, 0), (1, 3), &[0xff; 9]);
    assert_eq!(
        merged(&mut store, nonsense),
        Merged::Refused(DropReason::MalformedRecord)
    );
}

#[test]
fn a_new_run_takes_the_old_ones_records_along() {
    let mut store = Store::default();
    merged(&mut store, info_record(1, 1, 1));
    let links = record(1, LINKS, (1, 2), &[0]);
    merged(&mut store, Arc::clone(&links));
    merged(&mut store, record(1, (9, 7), (2, 1), &[]));
    let outdated = vec![LINKS];
    assert_eq!(
        merged(&mut store, info_record(1, 2, 1)),
        Merged::New(Replaced {
            outdated,
            links: Some(links)
        })
    );
    assert_eq!(store.records(&id(1)).count(), 2);
    let leftover = record(1, (kind::LINK_STATE, 0), (1, 99), &[0]);
    assert_eq!(
        merged(&mut store, leftover),
        Merged::Refused(DropReason::StaleRecord)
    );
}

#[test]
fn the_collected_come_back_only_as_new_as_they_were() {
    let mut store = Store::default();
    merged(&mut store, info_record(1, 5, 1));
    merged(&mut store, record(1, (9, 0), (5, 8), &[]));
    let later = Instant(0) + COLLECT_AFTER;
    assert_eq!(store.next_timeout(), Some(later));
    assert_eq!(store.collect(later), [id(1)]);
    assert_eq!(store.bytes, 0);
    assert_eq!(
        merged(&mut store, info_record(1, 4, 9)),
        Merged::Refused(DropReason::StaleRecord)
    );
    assert_eq!(
        merged(&mut store, info_record(1, 5, 1)),
        Merged::New(Replaced::default())
    );
    assert_eq!(
        merged(&mut store, record(1, (9, 0), (5, 7), &[])),
        Merged::Refused(DropReason::StaleRecord)
    );
    assert_eq!(
        merged(&mut store, record(1, (9, 0), (5, 8), &[])),
        Merged::New(Replaced::default())
    );
    store.remove(&id(1));
    store.collect(later + FLOOR_KEPT);
    assert_eq!(
        merged(&mut store, info_record(1, 4, 9)),
        Merged::New(Replaced::default())
    );
}

/// Who makes up routers, small ones first, gets no more room in the end than there is.
#[test]
fn large_newcomers_take_the_place_of_as_many_as_they_need() {
    let mut store = Store::default();
    for n in 1..100 {
        merged(&mut store, info_record(n, 1, 1));
    }
    // As if others had the rest.
    store.bytes = MAX_BYTES;
    let mut body = postcard::to_stdvec(&info(200, 1)).unwrap();
    body.resize(10_000, 0);
    let large = record(200, (kind::PEER_INFO, 0), (1, 1), &body);
    assert_eq!(merged(&mut store, large), Merged::New(Replaced::default()));
    assert!(store.bytes <= MAX_BYTES, "{}", store.bytes - MAX_BYTES);
    assert!(store.count() > 1);
}

/// Who makes up routers fills the store, but not for those that are there.
#[test]
fn those_that_are_there_go_before_those_that_are_not() {
    let mut store = Store::default();
    merged(&mut store, info_record(1, 1, 1));
    store.note_reachable(Instant(0), &id(1), true);
    for n in 2..100 {
        merged(&mut store, info_record(n, 1, 1));
    }
    store.bytes = MAX_BYTES;
    for record in [record(1, LINKS, (1, 2), &[0]), record(99, LINKS, (1, 2), &[0])] {
        assert_eq!(merged(&mut store, record), Merged::New(Replaced::default()));
        assert!(store.bytes <= MAX_BYTES, "{}", store.bytes - MAX_BYTES);
    }
    assert!(store.info(&id(1)).is_some() && store.info(&id(99)).is_some());
    assert_eq!(store.take_evicted(), [id(2)]);
    // Nobody makes room for himself.
    let mut store = Store::default();
    merged(&mut store, info_record(1, 1, 1));
    store.bytes = MAX_BYTES;
    let more = record(1, LINKS, (1, 2), &[0]);
    assert_eq!(merged(&mut store, more), Merged::Refused(DropReason::StoreFull));
}

#[test]
fn no_router_fills_the_store() {
    let mut store = Store::default();
    merged(&mut store, info_record(1, 1, 1));
    for subkey in 0..MAX_ORIGIN_UNKNOWN as u64 {
        assert_eq!(
            merged(&mut store, record(1, (9, subkey), (1, 2), &[])),
            Merged::New(Replaced::default())
        );
    }
    let more = record(1, (10, 1000), (1, 2), &[]);
    assert_eq!(merged(&mut store, more), Merged::Refused(DropReason::StoreFull));
    assert_eq!(
        merged(&mut store, record(1, (9, 0), (1, 3), &[])),
        Merged::New(Replaced::default()),
        "newer ones always fit"
    );
    let big = vec![0; 15 << 10];
    let outcomes: Vec<_> = (0..500_u64)
        .map(|subkey| {
            let body = [&[1, 0][..], &big].concat();
            merged(&mut store, record(1, (kind::MACS, subkey), (1, 2), &body))
        })
        .collect();
    assert!(outcomes.contains(&Merged::Refused(DropReason::StoreFull)));
    assert!(store.bytes <= MAX_ORIGIN_BYTES);
}

#[test]
fn two_routers_never_share_a_short_id() {
    let mut store = Store::default();
    merged(&mut store, info_record(1, 1, 1));
    let mut twin = crate::testing::info(1, 1);
    twin.peer.0[31] ^= 1;
    twin.admissions = vec![crate::testing::admission(&twin.peer)];
    let key = Key {
        origin: twin.peer,
        kind: kind::PEER_INFO,
        subkey: 0,
    };
    let body = postcard::to_stdvec(&twin).unwrap();
    let twin = Arc::new(Record::sign(&FakeSigner(twin.peer), key, 1, 1, &body).unwrap());
    let clash = Merged::Refused(DropReason::IdentityClash);
    assert_eq!(merged(&mut store, Arc::clone(&twin)), clash);
    store.remove(&id(1));
    assert_eq!(merged(&mut store, twin), Merged::New(Replaced::default()));
    assert_eq!(merged(&mut store, info_record(1, 1, 1)), clash);
}
