//! What a neighbour, or one who only knows the secret, may try: each is refused and counted, and costs nothing
//! but itself.

use crate::link::Phase;
use crate::record::{Record, kind};
use crate::testing::{core, id, info, info_record, record};
use crate::wire::{Blob, Hello, Message, News, Ping, Pong, Routed};
use crate::{
    Adjacency, Delay, Direction, DropReason, Drops, Event, Input, Instant, LinkId, LinkLabel, Mesh, Output,
    Packet, PeerId, TimerReason,
};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const LINK: LinkId = LinkId(1);

/// Router 1 with router 2 as its neighbour, played by the test.
struct Bench {
    mesh: Mesh,
    drops: Arc<Drops>,
    now: Instant,
}

fn hello(n: u8) -> Message {
    Message::Hello(Hello {
        version_min: 1,
        version_max: 1,
        name: format!("host-{n}").parse().unwrap(),
        instance: u64::from(n),
        epoch: 1,
        observed: "192.0.2.1:6783".parse().unwrap(),
        number: 1,
    })
}

impl Bench {
    fn new() -> Self {
        let (mesh, drops) = core(1);
        let mut bench = Self {
            mesh,
            drops,
            now: Instant(1_000_000),
        };
        bench.link(LINK, 2);
        bench.say(LINK, &hello(2));
        bench.records(&[info_record(2, 1, 1)]);
        assert!(bench.is_up());
        bench
    }

    fn link(&mut self, link: LinkId, peer: u8) {
        let address = "192.0.2.2:6783".parse().unwrap();
        self.input(Input::LinkUp {
            link,
            peer: id(peer),
            address,
            direction: Direction::In,
            target: None,
        });
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.mesh.handle_input(self.now, input);
        std::iter::from_fn(|| self.mesh.poll_output()).collect()
    }

    fn say(&mut self, link: LinkId, message: &Message) -> Vec<Output> {
        self.input(Input::Message {
            link,
            packet: Packet::new(message.clone()),
        })
    }

    fn records(&mut self, records: &[Arc<Record>]) -> Vec<Output> {
        self.bytes(&batch(records).encode())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<Output> {
        let packet = Packet::from(bytes.to_vec());
        self.input(Input::Message { link: LINK, packet })
    }

    /// Time passes, with a sign of life of the neighbour now and then.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(100);
            self.input(Input::Alive { peer: id(2) });
            self.input(Input::Tick);
        }
    }

    fn is_up(&self) -> bool {
        self.mesh.links.get(LINK).is_some_and(crate::link::Link::is_up)
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason)
    }
}

fn batch(records: &[Arc<Record>]) -> Message {
    Message::Records(records.to_vec().into())
}

/// A record that was tampered with.
fn forged(n: u8, counter: u64) -> Arc<Record> {
    let mut bytes = info_record(n, 1, counter).bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 0x80;
    parsed(bytes)
}

fn parsed(bytes: Vec<u8>) -> Arc<Record> {
    Arc::new(Record::parse(bytes).unwrap())
}

/// The messages sent on a link.
fn sent(outputs: &[Output], on: LinkId) -> Vec<Message> {
    let packets = outputs.iter().filter_map(|output| match output {
        Output::Send { link, packet, .. } if *link == on => Some(packet),
        _ => None,
    });
    packets.map(|packet| packet.message().unwrap().clone()).collect()
}

proptest! {
    #[test]
    fn any_bytes_on_a_link_are_survived(messages in prop::collection::vec(
        (0..20_u8, prop::collection::vec(any::<u8>(), 0..200)), 0..20,
    )) {
        let mut bench = Bench::new();
        for (kind, body) in messages {
            let bytes = [&[kind][..], &body].concat();
            if kind != 4 {
                bench.bytes(&bytes);
            }
        }
        prop_assert!(bench.is_up());
    }

    #[test]
    fn damaged_messages_are_survived(at in any::<prop::sample::Index>(), byte: u8, which in 0..4_usize) {
        let mut bench = Bench::new();
        let links = record(2, (kind::LINK_STATE, 0), (1, 2), &[0]);
        let messages = [
            batch(&[info_record(3, 1, 1), links]),
            Message::Buckets(vec![7; 256]),
            Message::Routed(Routed { origin: id(2), path: vec![id(1)], cursor: 0, payload: Blob(vec![1; 30]) }),
            Message::Ping(Ping { number: 1, reliable: true, echo: None, news: News::default() }),
        ];
        let mut bytes = messages[which].encode();
        let at = at.index(bytes.len() - 1) + 1;
        bytes[at] = byte;
        bench.bytes(&bytes);
        bytes.truncate(at);
        bench.bytes(&bytes);
        prop_assert!(bench.is_up());
    }
}

#[test]
fn before_the_greeting_nothing_else_is_heard() {
    for message in [batch(&[]), Message::Root([0; 32]), Message::Buckets(Vec::new())] {
        let mut bench = Bench::new();
        bench.link(LinkId(2), 3);
        let outputs = bench.say(LinkId(2), &message);
        assert!(
            outputs
                .iter()
                .any(|output| matches!(output, Output::Close { link: LinkId(2), .. }))
        );
        assert_eq!(bench.dropped(DropReason::LinkHandshake), 1);
        assert!(bench.is_up());
    }
    let mut bench = Bench::new();
    bench.link(LinkId(2), 3);
    bench.say(
        LinkId(2),
        &Message::Ping(Ping {
            number: 1,
            reliable: false,
            echo: None,
            news: News::default(),
        }),
    );
    bench.say(LinkId(2), &hello(3));
    assert!(
        bench
            .mesh
            .links
            .get(LinkId(2))
            .is_some_and(crate::link::Link::is_up),
        "pings may overtake"
    );
}

#[test]
fn links_with_oneself_and_with_a_clone_are_told_apart() {
    let mut bench = Bench::new();
    bench.link(LinkId(2), 1);
    bench.say(LinkId(2), &hello(1));
    assert_eq!(bench.dropped(DropReason::SelfLink), 1);
    bench.link(LinkId(3), 1);
    let outputs = bench.say(LinkId(3), &hello(9));
    assert_eq!(bench.dropped(DropReason::IdentityClash), 1);
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Log(Event::Clone { .. })))
    );
}

#[test]
fn another_version_is_refused_in_plain_words() {
    let mut bench = Bench::new();
    bench.link(LinkId(2), 3);
    let Message::Hello(mut hello) = hello(3) else {
        panic!()
    };
    (hello.version_min, hello.version_max) = (7, 9);
    let outputs = bench.say(LinkId(2), &Message::Hello(hello));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Close { reason, .. } if reason.contains("version")))
    );
}

#[test]
fn forged_records_cost_the_forwarder_its_link_and_nobody_else() {
    let mut bench = Bench::new();
    for counter in 0..16 {
        bench.records(&[forged(3, counter)]);
    }
    assert!(bench.is_up(), "a few may be anybody's bad memory");
    bench.now = bench.now + Duration::from_secs(30);
    bench.records(&(0..8).map(|counter| forged(3, counter)).collect::<Vec<_>>());
    assert!(bench.is_up());
    let outputs = bench.records(&(0..99).map(|counter| forged(3, counter)).collect::<Vec<_>>());
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Close { link: LINK, .. }))
    );
    assert_eq!(
        bench.dropped(DropReason::BadSignature),
        25,
        "the rest was not even looked at"
    );
    assert!(bench.mesh.info(&id(3)).is_none());
    bench.link(LinkId(2), 2);
    assert!(
        bench.mesh.links.get(LinkId(2)).is_none(),
        "it is kept off for a while"
    );
    bench.now = bench.now + Duration::from_secs(61);
    bench.link(LinkId(3), 2);
    assert_eq!(
        bench.mesh.links.get(LinkId(3)).map(|link| link.phase),
        Some(Phase::Greeting)
    );
}

#[test]
fn older_and_unadmitted_records_change_nothing() {
    let mut bench = Bench::new();
    bench.records(&[info_record(3, 5, 5)]);
    bench.records(&[info_record(3, 5, 4), info_record(3, 4, 99)]);
    assert_eq!(bench.dropped(DropReason::StaleRecord), 2);
    assert_eq!(bench.mesh.info(&id(3)).map(|info| info.epoch), Some(5));
    let mut stranger = info(4, 1);
    stranger.admissions.clear();
    let stranger = record(
        4,
        (kind::PEER_INFO, 0),
        (1, 1),
        &postcard::to_stdvec(&stranger).unwrap(),
    );
    bench.records(&[record(4, (kind::LINK_STATE, 0), (1, 2), &[0]), stranger]);
    assert_eq!(bench.dropped(DropReason::Unadmitted), 2);
    assert_eq!(bench.mesh.peers().len(), 3);
    assert!(bench.is_up());
}

#[test]
fn a_router_cannot_speak_for_another() {
    let mut bench = Bench::new();
    // Signed by 2, in the name of 3.
    let honest = info_record(2, 1, 9);
    let mut bytes = honest.bytes().to_vec();
    bytes[..32].copy_from_slice(&id(3).0);
    bench.records(&[parsed(bytes)]);
    assert!(bench.mesh.info(&id(3)).is_none());
    // In our own name: no reason to take a greater epoch.
    let mut bytes = record(2, (kind::PEER_INFO, 0), (99, 9), &[]).bytes().to_vec();
    bytes[..32].copy_from_slice(&id(1).0);
    let outputs = bench.records(&[parsed(bytes)]);
    assert!(
        !outputs
            .iter()
            .any(|output| matches!(output, Output::PersistEpoch(_)))
    );
    assert_eq!(bench.dropped(DropReason::BadSignature), 1);
}

#[test]
fn records_too_large_or_cut_are_skipped_and_their_company_is_read() {
    let mut bench = Bench::new();
    // As three pieces of bytes, the way postcard writes them.
    let pieces = [
        vec![0; 100_000],
        vec![0; 10],
        info_record(3, 1, 1).bytes().to_vec(),
    ];
    let message = postcard::to_extend(&pieces.to_vec(), vec![5]).unwrap();
    bench.bytes(&message);
    assert_eq!(bench.dropped(DropReason::OversizedRecord), 1);
    assert_eq!(bench.dropped(DropReason::MalformedRecord), 1);
    assert!(bench.mesh.info(&id(3)).is_some());
    bench.input(Input::Oversized { link: LINK });
    bench.bytes(&vec![5; 1 << 20]);
    assert_eq!(bench.dropped(DropReason::OversizedMessage), 2);
    assert!(bench.is_up());
}

#[test]
fn records_of_later_versions_are_passed_on_as_they_came() {
    let mut bench = Bench::new();
    bench.link(LinkId(2), 3);
    bench.say(LinkId(2), &hello(3));
    let body = [
        &postcard::to_stdvec(&info(4, 1)).unwrap()[..],
        b"more than we know",
    ]
    .concat();
    let records = [
        record(4, (kind::PEER_INFO, 0), (1, 1), &body),
        record(4, (200, 77), (1, 2), b"of an unknown kind"),
    ];
    let outputs = bench.records(&records);
    assert_eq!(sent(&outputs, LinkId(2)), [batch(&records)]);
    assert!(
        sent(&outputs, LINK).is_empty(),
        "not back to where they came from"
    );
}

#[test]
fn one_that_lags_behind_with_its_own_records_is_told() {
    let mut bench = Bench::new();
    bench.records(&[info_record(2, 7, 1)]);
    let outputs = bench.records(&[info_record(2, 6, 1)]);
    assert_eq!(sent(&outputs, LINK), [batch(&[info_record(2, 7, 1)])]);
}

#[test]
fn routed_messages_follow_their_path_or_go_nowhere() {
    let mut bench = Bench::new();
    let mut routed = |origin: u8, path: &[u8], cursor| {
        let path = path.iter().map(|n| id(*n)).collect();
        bench.say(
            LINK,
            &Message::Routed(Routed {
                origin: id(origin),
                path,
                cursor,
                payload: Blob(vec![9]),
            }),
        )
    };
    let delivered = vec![Output::Deliver {
        from: id(2),
        payload: vec![9],
    }];
    assert_eq!(routed(2, &[1], 0), delivered);
    assert!(
        routed(7, &[1], 0).is_empty(),
        "only the origin itself starts a path"
    );
    assert!(routed(2, &[8, 1], 1).is_empty(), "the origin does not come back");
    assert!(routed(7, &[2, 1], 9).is_empty());
    assert!(routed(7, &[2, 8], 1).is_empty(), "not meant for us");
    assert!(routed(1, &[2, 1], 1).is_empty(), "our own");
    assert!(routed(7, &[2, 1, 8], 1).is_empty(), "no link there");
    assert!(routed(7, &[], 0).is_empty());
    let long: Vec<u8> = std::iter::once(1).chain(100..140).collect();
    assert!(routed(2, &long, 0).is_empty());
    assert_eq!(bench.dropped(DropReason::ControlHopLimit), 1);
    assert_eq!(bench.dropped(DropReason::ControlNoRoute), 1);
    assert_eq!(bench.dropped(DropReason::MalformedMessage), 6);
}

#[test]
fn comparisons_are_answered_at_a_limited_rate() {
    let mut bench = Bench::new();
    let answers: usize = (0..2000)
        .map(|_| sent(&bench.say(LINK, &Message::Root([9; 32])), LINK).len())
        .sum();
    assert!(answers <= 300, "{answers}");
    assert!(bench.dropped(DropReason::ControlRate) > 1500);
    assert!(bench.is_up());
}

#[test]
fn while_an_epoch_is_being_stored_nothing_is_issued_and_nothing_spins() {
    let mut bench = Bench::new();
    let outputs = bench.records(&[info_record(1, 40, 1)]);
    assert!(outputs.contains(&Output::PersistEpoch(41)));
    bench.input(Input::PathUp {
        peer: id(2),
        mtu: 1400,
        rtt: Duration::from_millis(3),
    });
    bench.input(Input::Addresses(vec!["10.0.0.9:1".parse().unwrap()]));
    bench.input(Input::Tick);
    let (at, reason) = bench.mesh.poll_timeout().unwrap();
    assert!(at > bench.now, "{reason:?}");
    assert_eq!(bench.mesh.info(&id(1)).map(|info| info.epoch), Some(1));
    let outputs = bench.input(Input::EpochPersisted(41));
    assert!(!sent(&outputs, LINK).is_empty());
    let own = bench.mesh.info(&id(1)).unwrap();
    assert_eq!((own.epoch, own.addresses.len()), (41, 2));
    assert_ne!(
        bench.mesh.poll_timeout().map(|(_, reason)| reason),
        Some(TimerReason::Issue)
    );
}

/// The disk is full when a greater epoch is to be stored, and has room again a minute later.
#[test]
fn an_epoch_that_was_not_stored_is_asked_for_again() {
    let mut bench = Bench::new();
    bench.records(&[info_record(1, 40, 1)]);
    let mut asked = 0;
    for _ in 0..700 {
        bench.now = bench.now + Duration::from_millis(100);
        bench.input(Input::Alive { peer: id(2) });
        let outputs = bench.input(Input::Tick);
        asked += outputs
            .iter()
            .filter(|output| **output == Output::PersistEpoch(41))
            .count();
        let (at, reason) = bench.mesh.poll_timeout().unwrap();
        assert!(at > bench.now, "{reason:?}");
    }
    assert_eq!(asked, 2);
    bench.input(Input::EpochPersisted(41));
    assert_eq!(bench.mesh.info(&id(1)).map(|info| info.epoch), Some(41));
}

/// A link that went while a greater epoch was being stored: no record says so, as the old ones go with their epoch.
#[test]
fn a_link_lost_while_an_epoch_is_stored_is_lost() {
    let mut bench = Bench::new();
    let link = |neighbor: u8| Adjacency {
        neighbor: id(neighbor).short(),
        label: LinkLabel(1),
        delay: Delay::from_us(1000),
        mtu: 0,
    };
    let body = postcard::to_stdvec(&[link(1)][..]).unwrap();
    bench.records(&[record(2, (kind::LINK_STATE, 0), (1, 2), &body)]);
    bench.run(Duration::from_secs(3));
    assert!(bench.mesh.is_reachable(&id(2)));
    let outputs = bench.records(&[info_record(1, 4, 1)]);
    assert!(outputs.contains(&Output::PersistEpoch(5)));
    bench.input(Input::LinkDown {
        link: LINK,
        reason: "gone".to_owned(),
    });
    bench.input(Input::EpochPersisted(5));
    bench.run(Duration::from_secs(3));
    assert!(!bench.mesh.is_reachable(&id(2)));
}

/// What came over a link that was challenged is read in one go; each record goes on, whatever comes after it.
#[test]
fn what_was_held_back_goes_on_as_it_is() {
    let mut bench = Bench::new();
    let other = LinkId(7);
    bench.link(other, 3);
    bench.say(other, &hello(3));
    bench.records(&[info_record(3, 1, 1)]);
    // Router 2 was started again: its new link waits for the old one to fail.
    let again = LinkId(2);
    bench.link(again, 2);
    let mut greeting = hello(2);
    if let Message::Hello(hello) = &mut greeting {
        hello.instance = 99;
    }
    bench.say(again, &greeting);
    let news = info_record(4, 1, 1);
    bench.say(again, &batch(&[Arc::clone(&news)]));
    bench.say(again, &batch(&[info_record(3, 1, 1)]));
    bench.input(Input::LinkDown {
        link: LINK,
        reason: "gone".to_owned(),
    });
    let outputs = bench.input(Input::Tick);
    assert!(bench.mesh.store.info(&id(4)).is_some());
    assert!(
        sent(&outputs, other).contains(&batch(&[news])),
        "{:?}",
        sent(&outputs, other)
    );
}

/// One that is turned away is no neighbour: nothing is planned for it.
#[test]
fn nothing_is_kept_of_those_that_are_turned_away() {
    let mut bench = Bench::new();
    for n in 0..100 {
        let link = LinkId(100 + n);
        bench.link(link, 3);
        bench.say(link, &Message::Full);
        assert!(matches!(
            bench.mesh.links.get(link).unwrap().phase,
            Phase::Full { .. }
        ));
        bench.say(link, &batch(&[record(9, (kind::MACS, 0), (1, 1), &[1, 0])]));
        bench.input(Input::LinkDown {
            link,
            reason: "x".to_owned(),
        });
    }
    assert_eq!(bench.mesh.rounds.keys().collect::<Vec<_>>(), [&id(2)]);
}

#[test]
fn what_a_neighbour_observed_is_announced_unless_it_is_of_no_use() {
    let bench = Bench::new();
    let own = bench.mesh.info(&id(1)).unwrap();
    assert_eq!(own.addresses, ["192.0.2.1:6783".parse().unwrap()]);
    for (n, observed) in [
        (3, "127.0.0.1:6783"),
        (4, "0.0.0.0:1"),
        (5, "[fe80::1]:6783"),
        (6, "192.0.2.1:0"),
    ] {
        let mut bench = Bench::new();
        bench.link(LinkId(9), n);
        let Message::Hello(mut hello) = hello(n) else {
            panic!()
        };
        hello.observed = observed.parse().unwrap();
        bench.say(LinkId(9), &Message::Hello(hello));
        bench.now = bench.now + Duration::from_secs(10);
        bench.input(Input::Tick);
        assert_eq!(
            bench.mesh.info(&id(1)).map(|info| info.addresses.len()),
            Some(1),
            "{observed}"
        );
    }
}

/// Anything a driver might do, in any order.
fn inputs() -> impl Strategy<Value = Input> {
    let peer = || (0..5_u8).prop_map(id);
    let link = || (0..6_u64).prop_map(LinkId);
    let target = || {
        prop_oneof![
            Just("a:1".to_owned()),
            Just("b:2".to_owned()),
            peer().prop_map(|p: PeerId| format!("{p}@c:3"))
        ]
    };
    let message = prop_oneof![
        (1..5_u8).prop_map(|n| hello(n).encode()),
        (1..5_u8, 0..4_u64).prop_map(|(n, e)| batch(&[info_record(n, e, 1)]).encode()),
        any::<[u8; 32]>().prop_map(|root| Message::Root(root).encode()),
        (0..9_u64).prop_map(|number| Message::Pong(Pong {
            number,
            news: News::default()
        })
        .encode()),
        Just(Message::Goodbye.encode()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop_oneof![
        3 => (link(), peer(), any::<bool>(), target()).prop_map(|(link, peer, is_in, target)| Input::LinkUp {
            link,
            peer,
            address: "192.0.2.2:6783".parse().unwrap(),
            direction: if is_in { Direction::In } else { Direction::Out },
            target: (!is_in).then_some(target),
        }),
        1 => link().prop_map(|link| Input::LinkDown { link, reason: "x".to_owned() }),
        6 => (link(), message).prop_map(|(link, bytes)| Input::Message { link, packet: bytes.into() }),
        1 => peer().prop_map(|peer| Input::Alive { peer }),
        1 => (target(), any::<bool>()).prop_map(|(target, own)| Input::DialFailed { target, error: "x".to_owned(), own }),
        1 => (peer(), any::<u16>(), 0..99_u64).prop_map(|(peer, mtu, ms)| Input::PathUp { peer, mtu, rtt: Duration::from_millis(ms) }),
        1 => peer().prop_map(|peer| Input::PathDown { peer }),
        1 => peer().prop_map(|peer| Input::SendTo { peer, payload: vec![1] }),
        1 => (target(), any::<bool>()).prop_map(|(target, replace)| Input::Connect { targets: vec![target], replace }),
        1 => target().prop_map(|target| Input::ForgetTarget { target }),
        1 => peer().prop_map(|peer| Input::ForgetPeer { peer }),
        1 => Just(Input::SecretsChanged),
        1 => any::<bool>().prop_map(|on| Input::FastPath { port: if on { 6784 } else { 0 } }),
        1 => (0..9_u64).prop_map(Input::EpochPersisted),
        1 => Just(Input::Addresses(vec!["10.0.0.9:1".parse().unwrap()])),
        5 => Just(Input::Tick),
    ]
}

proptest! {
    #[test]
    fn whatever_the_driver_does_timers_advance(steps in prop::collection::vec((inputs(), 0..3000_u64), 0..60)) {
        let (mut mesh, _) = core(1);
        let mut now = Instant(0);
        for (input, ms) in steps {
            now = now + Duration::from_millis(ms);
            mesh.handle_input(now, input);
            let outputs = std::iter::from_fn(|| mesh.poll_output()).count();
            prop_assert!(outputs < 200);
            prop_assert_eq!(mesh.digest(), mesh.digest_anew());
            mesh.handle_input(now, Input::Tick);
            while mesh.poll_output().is_some() {}
            let (at, reason) = mesh.poll_timeout().unwrap_or((Instant(u64::MAX), TimerReason::Link));
            prop_assert!(at > now, "{:?} is due at {:?}, now is {:?}", reason, at, now);
        }
    }
}
