use super::*;
use crate::Instant;
use crate::store::sums::BUCKETS;
use crate::testing::{FakeSigner, id, info_record, record};
use crate::wire::Message;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn merge(store: &mut Store, records: impl IntoIterator<Item = Arc<Record>>) {
    for record in records {
        store.merge(Instant(0), record, &FakeSigner(id(0)));
    }
}

fn store(records: impl IntoIterator<Item = Arc<Record>>) -> Store {
    let mut store = Store::default();
    merge(&mut store, records);
    store
}

/// What one exchange moves.
#[derive(Debug, Default, PartialEq)]
struct Moved {
    records: usize,
    record_bytes: usize,
    other_bytes: usize,
}

impl Moved {
    fn records(&mut self, to: &mut Store, records: Vec<Arc<Record>>) {
        self.records += records.len();
        self.record_bytes += records.iter().map(|record| record.bytes().len()).sum::<usize>();
        merge(to, records);
    }

    fn message(&mut self, message: &Message) {
        let size = message.encode().len();
        assert!(size <= 64 << 10, "{size}");
        self.other_bytes += size;
    }
}

/// One end begins: everything that is said, and then everything that is given.
fn exchange(ours: &mut Store, theirs: &mut Store) -> Moved {
    let mut moved = Moved::default();
    let sums = theirs.sums().short();
    moved.message(&Message::Buckets(sums.clone()));
    for held in list(ours.sums(), &ours.sums().differing(&sums)) {
        assert!(held.is_sound());
        moved.message(&Message::Held(held.clone()));
        let mut older = BTreeSet::new();
        let mut answers = Vec::new();
        for differ in answer(theirs.sums(), &held) {
            assert!(differ.is_sound());
            moved.message(&Message::Differ(differ.clone()));
            if let Some(ask) = question(ours, &differ, &mut older) {
                assert!(ask.is_sound());
                moved.message(&Message::Ask(ask.clone()));
                let asked = find(theirs.sums(), &ask.buckets, &ask.marks.0);
                answers.push(asked);
            }
            let mut give = find(ours.sums(), &differ.buckets, &differ.want.0);
            give.retain(|record| !older.contains(&record.mark()));
            moved.records(theirs, give);
        }
        for asked in answers.drain(..) {
            moved.records(ours, asked);
        }
    }
    moved
}

fn of(n: u8, subkeys: std::ops::Range<u64>, counter: u64) -> impl Iterator<Item = Arc<Record>> {
    let records = subkeys.map(move |subkey| record(n, (9, subkey), (1, subkey + counter), &[7; 80]));
    std::iter::once(info_record(n, 1, 1)).chain(records)
}

proptest! {
    #[test]
    fn one_exchange_repairs_both_ends_and_gives_nothing_in_vain(
        common in 0..60_u64,
        a in 0..9_u64,
        b in 0..9_u64,
        newer in prop::collection::vec((0..60_u64, any::<bool>()), 0..9),
    ) {
        let mut ours = store(of(1, 0..common, 2).chain(of(2, 0..a, 2)));
        let mut theirs = store(of(1, 0..common, 2).chain(of(3, 0..b, 2)));
        let newer: BTreeMap<u64, bool> = newer.into_iter().filter(|(subkey, _)| *subkey < common).collect();
        for (&subkey, &is_ours) in &newer {
            let newer = record(1, (9, subkey), (1, 999), &[]);
            merge(if is_ours { &mut ours } else { &mut theirs }, [newer]);
        }
        let moved = exchange(&mut ours, &mut theirs);
        prop_assert_eq!(moved.records as u64, a + b + 2 + newer.len() as u64);
        prop_assert_eq!(ours.root(), theirs.root());
        prop_assert_eq!(exchange(&mut ours, &mut theirs).records, 0);
    }
}

#[test]
fn halves_that_meet_exchange_little_more_than_what_they_lack() {
    let (low, high) = ((1..=125_u8), (126..=250_u8));
    // Half of what each lacks is new, the other half is newer than what it has.
    let halves = |newer: std::ops::RangeInclusive<u8>| {
        let all = (1..=250_u8).flat_map(|n| of(n, 0..20, 2));
        let more = newer.flat_map(|n| of(n, 0..20, 3).chain(of(n, 20..40, 3)));
        store(all.chain(more))
    };
    let (mut ours, mut theirs) = (halves(low), halves(high));
    let moved = exchange(&mut ours, &mut theirs);
    assert_eq!(moved.records, 250 * 40);
    assert_eq!(ours.root(), theirs.root());
    let share = moved.other_bytes as f64 / moved.record_bytes as f64;
    assert!(share < 0.2, "{share} {moved:?}");
}

#[test]
fn what_is_here_but_no_longer_passed_on_is_not_asked_for() {
    let mut ours = store(of(1, 0..5, 2));
    let mut theirs = store(of(1, 0..5, 2).chain(of(2, 0..5, 2)));
    ours.fade(Instant(0) + crate::store::PASSED_ON);
    assert_eq!(ours.root(), Store::default().root());
    assert_eq!(exchange(&mut ours, &mut theirs).records, 6);
    let mut ours = store(of(1, 0..5, 2));
    ours.fade(Instant(0) + crate::store::PASSED_ON);
    let mut theirs = store(of(1, 0..5, 2));
    assert_eq!(exchange(&mut theirs, &mut ours).records, 0);
}

#[test]
fn lists_are_bounded_and_nothing_falls_between_two_of_them() {
    let of_bucket = |n: u8, wanted: u8| {
        let is = move |subkey: &u64| bucket(id(n).short(), 9, *subkey) == wanted;
        (0..)
            .filter(is)
            .map(move |subkey| record(n, (9, subkey), (1, 2), &[]))
    };
    let (mut ours, mut theirs) = (Sums::default(), Sums::default());
    let full: Vec<_> = of_bucket(1, 100).take(3 * MAX_LISTED + 7).collect();
    full.iter().for_each(|record| ours.add(record, true));
    // A few more, and a few less.
    full.iter().skip(9).for_each(|record| theirs.add(record, true));
    let few: Vec<_> = of_bucket(2, 100)
        .take(30)
        .chain(of_bucket(2, 101).take(5))
        .collect();
    few.iter().for_each(|record| theirs.add(record, true));
    let lists = list(&ours, &ours.differing(&theirs.short()));
    let sizes: Vec<_> = lists
        .iter()
        .map(|list| (list.buckets.clone(), list.marks.0.len()))
        .collect();
    let whole = (vec![100], MAX_LISTED);
    assert_eq!(
        sizes,
        [
            whole.clone(),
            whole.clone(),
            whole,
            (vec![100], 7),
            (vec![101], 0)
        ]
    );
    assert!(lists.iter().all(Held::is_sound));
    let answers: Vec<_> = lists.iter().flat_map(|list| answer(&theirs, list)).collect();
    assert_eq!(answers.iter().map(|answer| answer.want.0.len()).sum::<usize>(), 9);
    assert_eq!(answers.iter().map(|answer| answer.have.len()).sum::<usize>(), 35);
    // Whoever has nothing is told everything, in parts.
    let nothing = list(&Sums::default(), &(0..=255).collect::<Vec<u8>>());
    assert_eq!((nothing.len(), nothing[0].buckets.len()), (1, BUCKETS));
    let parts = answer(&ours, &nothing[0]);
    assert_eq!(parts.len(), 4);
    assert!(parts.iter().all(Differ::is_sound));
    assert_eq!(parts.iter().filter(|part| part.more).count(), 3);
}

#[test]
fn lists_that_nobody_makes_are_told_from_those_that_are_cut() {
    let held = |buckets: &[u8], range: (u64, u64), marks: &[u64]| Held {
        buckets: buckets.to_vec(),
        from: range.0,
        to: range.1,
        marks: Marks(marks.to_vec()),
    };
    let (all, full) = ((0, u64::MAX), (0..MAX_LISTED as u64).collect::<Vec<_>>());
    assert!(held(&[1, 2], all, &[3, 4]).is_sound());
    assert!(held(&[1], (0, 5000), &full).is_sound());
    assert!(held(&[1], (5, u64::MAX), &[]).is_sound());
    for wrong in [
        held(&[2, 1], all, &[]),
        held(&[1, 1], all, &[]),
        held(&[1], all, &[4, 3]),
        held(&[1], all, &[3, 3]),
        held(&[1], all, &[&full[..], &[9999]].concat()),
        held(&[1, 2], (5, u64::MAX), &[]),
        held(&[1], (0, 5000), &[3]),
        held(&[1], (0, 5), &full),
        held(&[1], (5, u64::MAX), &[4]),
        held(&[1], (5, 4), &full),
    ] {
        assert!(!wrong.is_sound(), "{wrong:?}");
    }
    let mut differ = Differ {
        buckets: vec![1],
        want: Marks(vec![1, 2]),
        have: Vec::new(),
        more: false,
    };
    assert!(differ.is_sound());
    differ.have = vec![name(&info_record(1, 1, 1)); 2];
    assert!(!differ.is_sound(), "twice the same");
    differ.have.clear();
    differ.want.0.push(2);
    assert!(!differ.is_sound());
    let ask = |marks: &[u64]| Ask {
        buckets: vec![1],
        marks: Marks(marks.to_vec()),
    };
    assert!(ask(&[1, 2]).is_sound() && !ask(&[2, 1]).is_sound() && !ask(&[1, 1]).is_sound());
}
