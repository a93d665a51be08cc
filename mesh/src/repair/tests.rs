use super::*;
use crate::testing::{FakeSigner, core, id, info_record, record};
use crate::wire::Marks;
use crate::{Direction, Drops, Input, Output, Packet};
use std::collections::VecDeque;

const LINK: LinkId = LinkId(1);

/// Two routers with one link. What one says, the other hears in order.
struct Pair {
    cores: [Mesh; 2],
    drops: [Arc<Drops>; 2],
    wires: [VecDeque<Packet>; 2],
    now: Instant,
    /// Bytes of messages of records, and of all others, since they were last set back.
    bytes: [usize; 2],
}

impl Pair {
    /// Each knows the records of its own of these routers.
    fn new(known: [std::ops::Range<u8>; 2]) -> Self {
        let ((one, ones), (other, others)) = (core(1), core(2));
        let mut pair = Self {
            cores: [one, other],
            drops: [ones, others],
            wires: [VecDeque::new(), VecDeque::new()],
            now: Instant(1_000_000),
            bytes: [0, 0],
        };
        for (at, known) in known.into_iter().enumerate() {
            known.for_each(|n| pair.learn(at, n));
        }
        for at in [0, 1] {
            let direction = [Direction::Out, Direction::In][at];
            pair.input(
                at,
                Input::LinkUp {
                    link: LINK,
                    peer: id(2 - at as u8),
                    address: "192.0.2.2:6783".parse().unwrap(),
                    direction,
                    target: None,
                },
            );
        }
        pair
    }

    fn learn(&mut self, at: usize, n: u8) {
        let records = (0..60).map(|subkey| record(n, (9, subkey), (1, 2), &[7; 60]));
        for record in std::iter::once(info_record(n, 1, 1)).chain(records) {
            self.cores[at].store.merge(self.now, record, &FakeSigner(id(0)));
        }
    }

    fn input(&mut self, at: usize, input: Input) {
        self.cores[at].handle_input(self.now, input);
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.cores[at].poll_output() {
            if let Output::Send { packet, .. } = output {
                let is_records = matches!(packet.message(), Ok(Message::Records(_)));
                assert!(packet.bytes().len() <= 64 << 10);
                self.bytes[usize::from(!is_records)] += packet.bytes().len();
                self.wires[1 - at].push_back(packet);
            }
        }
    }

    /// Until nothing is under way.
    fn rest(&mut self) {
        while let Some(at) = (0..2).find(|at| !self.wires[*at].is_empty()) {
            for packet in std::mem::take(&mut self.wires[at]) {
                self.input(at, Input::Message { link: LINK, packet });
            }
        }
    }

    fn compare(&mut self, at: usize) {
        let now = self.now;
        self.cores[at].compare(now, LINK);
        self.drain(at);
    }

    fn are_alike(&mut self) -> bool {
        self.cores[0].store.root() == self.cores[1].store.root()
    }

    fn record_bytes(&self, known: std::ops::Range<u8>) -> usize {
        let store = &self.cores[0].store;
        let of = |n| {
            let origin = id(n);
            let records = store.records(&origin).map(|record| record.bytes().len());
            records.sum::<usize>()
        };
        known.map(of).sum()
    }
}

#[test]
fn routers_that_meet_give_each_other_what_they_lack_and_no_more() {
    let mut pair = Pair::new([10..60, 40..100]);
    pair.rest();
    assert!(pair.are_alike());
    let lacked = pair.record_bytes(10..40) + pair.record_bytes(60..100);
    let bytes: usize = pair.bytes.iter().sum();
    assert!(bytes < lacked * 6 / 5, "{:?} for {lacked}", pair.bytes);
    for drops in &pair.drops {
        assert_eq!(drops.nonzero().collect::<Vec<_>>(), []);
    }
    // And then there is nothing more to say.
    pair.bytes = [0, 0];
    pair.compare(0);
    pair.rest();
    assert!(pair.bytes[0] == 0 && pair.bytes[1] < 50, "{:?}", pair.bytes);
}

#[test]
fn both_may_begin_at_once_and_one_of_them_goes_on() {
    let mut pair = Pair::new([10..11, 10..11]);
    pair.rest();
    (20..60).for_each(|n| pair.learn(0, n));
    (60..80).for_each(|n| pair.learn(1, n));
    pair.bytes = [0, 0];
    pair.compare(0);
    pair.compare(1);
    pair.rest();
    assert!(pair.are_alike());
    let lacked = pair.record_bytes(20..80);
    assert!(
        pair.bytes.iter().sum::<usize>() < lacked * 6 / 5,
        "{:?} for {lacked}",
        pair.bytes
    );
    // One after the other, while the first is under way.
    (100..120).for_each(|n| pair.learn(0, n));
    pair.bytes = [0, 0];
    pair.compare(0);
    for _ in 0..3 {
        for at in [1, 0] {
            pair.wires[at].pop_front().into_iter().for_each(|packet| {
                pair.input(at, Input::Message { link: LINK, packet });
            });
        }
        pair.compare(1);
    }
    pair.rest();
    assert!(pair.are_alike());
    let lacked = pair.record_bytes(100..120);
    assert!(pair.bytes[0] < lacked * 11 / 10, "{:?} for {lacked}", pair.bytes);
}

#[test]
fn rounds_wait_for_lists_that_are_being_answered() {
    let mut pair = Pair::new([10..11, 10..11]);
    pair.rest();
    pair.learn(0, 20);
    pair.compare(0);
    // The sums come, the lists go, and then nothing for a while.
    for _ in 0..2 {
        for at in [1, 0] {
            let packets: Vec<_> = pair.wires[at].drain(..).collect();
            for packet in packets {
                pair.input(at, Input::Message { link: LINK, packet });
            }
        }
        if pair.cores[0].turns[&LINK].lists > 0 {
            break;
        }
    }
    assert_eq!(pair.cores[0].turns[&LINK].lists, 1);
    let begun = |pair: &mut Pair| {
        let (peer, now) = (id(2), pair.now);
        pair.cores[0].rounds.insert(peer, now);
        pair.cores[0].compare_if_due(now);
        let root = |output| matches!(output, Output::Send { packet, .. } if matches!(packet.message(), Ok(Message::Root(_))));
        std::iter::from_fn(|| pair.cores[0].poll_output()).any(root)
    };
    pair.now = pair.now + LIST_WAIT / 2;
    assert!(!begun(&mut pair));
    pair.now = pair.now + LIST_WAIT;
    assert!(begun(&mut pair), "it is not coming any more");
}

/// What a liar says to router 1, and how often it was refused for `reason`.
fn refused(messages: &[Message], reason: DropReason) -> u64 {
    let mut pair = Pair::new([10..11, 10..11]);
    pair.rest();
    pair.bytes = [0, 0];
    for message in messages {
        let packet = Packet::new(message.clone());
        pair.input(0, Input::Message { link: LINK, packet });
    }
    assert!(
        pair.cores[0]
            .links
            .get(LINK)
            .is_some_and(crate::link::Link::is_up)
    );
    pair.drops[0].get(reason)
}

fn whole(buckets: &[u8], marks: &[u64]) -> Message {
    Message::Held(Held {
        buckets: buckets.to_vec(),
        from: 0,
        to: u64::MAX,
        marks: Marks(marks.to_vec()),
    })
}

fn differ(want: &[u64], more: bool) -> Message {
    Message::Differ(Differ {
        buckets: vec![1],
        want: Marks(want.to_vec()),
        have: Vec::new(),
        more,
    })
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let ask = Message::Ask(Ask {
        buckets: vec![1],
        marks: Marks(vec![1]),
    });
    let unasked = [
        Message::Buckets(vec![7; BUCKETS]),
        Message::Buckets(Vec::new()),
        whole(&[1], &[]),
        differ(&[], false),
        ask,
    ];
    assert_eq!(refused(&unasked, DropReason::UnaskedMessage), 5);
    // Everything may be listed once.
    let root = Message::Root([9; 32]);
    let lists = [
        root.clone(),
        whole(&[1, 2], &[5]),
        whole(&[2, 3], &[]),
        whole(&[3], &[]),
    ];
    assert_eq!(refused(&lists, DropReason::UnaskedMessage), 1);
    let everything = whole(&(0..=255).collect::<Vec<_>>(), &[]);
    let twice = [root, everything.clone(), everything];
    assert_eq!(refused(&twice, DropReason::UnaskedMessage), 1);
}

#[test]
fn lists_that_are_wrong_are_refused() {
    let long: Vec<u64> = (0..=digest::MAX_LISTED as u64).collect();
    let wrong = [
        Message::Root([9; 32]),
        Message::Buckets(vec![7; 255]),
        whole(&[1], &long),
        whole(&[1], &[3, 3]),
        whole(&[2, 1], &[]),
        differ(&long, false),
        differ(&[2, 1], false),
        differ(&[1, 2], true),
        Message::Ask(Ask {
            buckets: vec![1],
            marks: Marks(long.clone()),
        }),
    ];
    assert_eq!(refused(&wrong, DropReason::MalformedMessage), 8);
}

#[test]
fn a_list_in_parts_goes_on_where_it_ended() {
    let part = |from: u64, to: u64| {
        let last = if to == u64::MAX {
            from + 9
        } else {
            from + digest::MAX_LISTED as u64
        };
        Message::Held(Held {
            buckets: vec![1],
            from,
            to,
            marks: Marks((from..last).collect()),
        })
    };
    let root = Message::Root([9; 32]);
    let good = [
        root.clone(),
        part(0, 4999),
        part(5000, 9999),
        part(10_000, u64::MAX),
    ];
    assert_eq!(refused(&good, DropReason::UnaskedMessage), 0);
    let gap = [root.clone(), part(0, 4999), part(5001, 9999)];
    assert_eq!(refused(&gap, DropReason::UnaskedMessage), 1);
    let after = [root, part(0, 4999), part(5000, u64::MAX), part(10_000, u64::MAX)];
    assert_eq!(refused(&after, DropReason::UnaskedMessage), 1);
}

#[test]
fn a_liar_has_everything_listed_a_few_times_a_minute() {
    let mut pair = Pair::new([10..30, 10..30]);
    pair.rest();
    pair.bytes = [0, 0];
    let everything = whole(&(0..=255).collect::<Vec<_>>(), &[]);
    for _ in 0..100 {
        for message in [Message::Root([9; 32]), everything.clone()] {
            let packet = Packet::new(message);
            pair.input(0, Input::Message { link: LINK, packet });
        }
    }
    let all = 20 * 61 * 45;
    assert!(
        pair.bytes[1] < SUMS_BURST as usize * (all + 5000),
        "{:?}",
        pair.bytes
    );
    assert!(pair.drops[0].get(DropReason::ControlRate) > 0);
}
