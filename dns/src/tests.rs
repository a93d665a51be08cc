//! Questions and answers, as bytes and as messages.

use super::*;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{self, DNSClass, RData, RecordType};
use mesh::{Name, Vni};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::net::IpAddr;

const NET: Vni = Vni(7);

fn zone(names: &[(&str, &[&str])]) -> Zone {
    let mut zone = Zone::new("weft.local").unwrap();
    for (name, addresses) in names {
        zone.apply(NameChange {
            vni: NET,
            name: name.parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        });
    }
    zone
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(rr::Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask_as(zone: &Zone, message: &Message, vni: Vni, transport: Transport, seed: u64) -> Option<Message> {
    let mut rng = StdRng::seed_from_u64(seed);
    match zone.answer(&message.to_vec().unwrap(), vni, transport, &mut rng) {
        Verdict::Answer(bytes) => Some(Message::from_vec(&bytes).unwrap()),
        Verdict::Forward => None,
        Verdict::Silence => panic!("no answer to {message:?}"),
    }
}

fn ask(zone: &Zone, name: &str, kind: RecordType) -> Option<Message> {
    ask_as(zone, &question(name, kind), NET, Transport::Udp, 1)
}

fn data(message: &Message) -> BTreeSet<String> {
    message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn names_have_the_addresses_of_the_kind_that_is_asked_for() {
    let zone = zone(&[
        ("web", &["10.32.0.1", "10.32.0.2", "fd00::1"]),
        ("db", &["10.32.0.3"]),
    ]);
    let answer = ask(&zone, "web.weft.local.", RecordType::A).unwrap();
    assert_eq!(data(&answer), set(&["10.32.0.1", "10.32.0.2"]));
    let header = answer.metadata;
    assert!(
        header.authoritative && header.recursion_available && header.recursion_desired && !header.truncation
    );
    assert_eq!((header.id, header.response_code), (77, ResponseCode::NoError));
    assert!(answer.answers.iter().all(|record| record.ttl == TTL));
    let answer = ask(&zone, "web.weft.local.", RecordType::AAAA).unwrap();
    assert_eq!(data(&answer), set(&["fd00::1"]));
    let answer = ask(&zone, "web.weft.local.", RecordType::ANY).unwrap();
    assert_eq!(answer.answers.len(), 3);
}

#[test]
fn no_record_is_not_no_name() {
    let zone = zone(&[("db", &["10.32.0.3"]), ("_http._tcp.web", &["10.32.0.4"])]);
    let negative = |name, kind| {
        let answer = ask(&zone, name, kind).unwrap();
        assert!(answer.answers.is_empty() && answer.metadata.authoritative);
        let soa = &answer.authorities[0];
        assert!(matches!(&soa.data, RData::SOA(soa) if soa.minimum == TTL));
        assert_eq!(soa.name.to_ascii(), "weft.local.");
        answer.metadata.response_code
    };
    assert_eq!(
        negative("db.weft.local.", RecordType::AAAA),
        ResponseCode::NoError
    );
    assert_eq!(negative("db.weft.local.", RecordType::MX), ResponseCode::NoError);
    assert_eq!(negative("weft.local.", RecordType::A), ResponseCode::NoError);
    // Something is below it.
    assert_eq!(negative("web.weft.local.", RecordType::A), ResponseCode::NoError);
    assert_eq!(
        negative("_tcp.web.weft.local.", RecordType::A),
        ResponseCode::NoError
    );
    assert_eq!(negative("no.weft.local.", RecordType::A), ResponseCode::NXDomain);
    assert_eq!(
        negative("x.db.weft.local.", RecordType::A),
        ResponseCode::NXDomain
    );
    assert_eq!(
        negative("a\\.b.weft.local.", RecordType::A),
        ResponseCode::NXDomain
    );
    let soa = ask(&zone, "weft.local.", RecordType::SOA).unwrap();
    assert_eq!(soa.answers.len(), 1);
}

#[test]
fn case_does_not_matter_and_comes_back_as_it_was() {
    let zone = zone(&[("WEB", &["10.32.0.1"])]);
    let answer = ask(&zone, "wEb.WEFT.lOcAl.", RecordType::A).unwrap();
    assert_eq!(data(&answer), set(&["10.32.0.1"]));
    assert_eq!(answer.answers[0].name.to_ascii(), "wEb.WEFT.lOcAl.");
}

#[test]
fn addresses_have_names() {
    let zone = zone(&[("web", &["10.32.0.1", "fd00::1"]), ("www", &["10.32.0.1"])]);
    let answer = ask(&zone, "1.0.32.10.in-addr.arpa.", RecordType::PTR).unwrap();
    assert_eq!(data(&answer), set(&["web.weft.local.", "www.weft.local."]));
    let six = format!("1.{}0.0.d.f.ip6.arpa.", "0.".repeat(27));
    let answer = ask(&zone, &six, RecordType::PTR).unwrap();
    assert_eq!(data(&answer), set(&["web.weft.local."]));
    assert!(
        ask(&zone, "1.0.32.10.in-addr.arpa.", RecordType::A)
            .unwrap()
            .answers
            .is_empty()
    );
    // Addresses that are not of this mesh, and what is no whole address.
    assert!(ask(&zone, "2.0.32.10.in-addr.arpa.", RecordType::PTR).is_none());
    assert!(ask(&zone, "32.10.in-addr.arpa.", RecordType::PTR).is_none());
}

#[test]
fn other_domains_are_asked_elsewhere_and_other_networks_have_other_names() {
    let zone = zone(&[("web", &["10.32.0.1"])]);
    assert!(ask(&zone, "example.org.", RecordType::A).is_none());
    assert!(ask(&zone, "webweft.local.", RecordType::A).is_none());
    let other = ask_as(
        &zone,
        &question("web.weft.local.", RecordType::A),
        Vni(8),
        Transport::Udp,
        1,
    )
    .unwrap();
    assert_eq!(other.metadata.response_code, ResponseCode::NXDomain);
    let arpa = question("1.0.32.10.in-addr.arpa.", RecordType::PTR);
    assert!(ask_as(&zone, &arpa, Vni(8), Transport::Udp, 1).is_none());
}

#[test]
fn fifty_addresses_fit_where_there_is_room_and_are_cut_where_not() {
    let many: Vec<String> = (0..50).map(|n| format!("10.32.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let zone = zone(&[("many", &many)]);
    let plain = question("many.weft.local.", RecordType::A);
    let cut = ask_as(&zone, &plain, NET, Transport::Udp, 1).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = ask_as(&zone, &plain, NET, Transport::Tcp, 1).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(data(&whole), set(&many));
    for (size, is_cut) in [
        (100, true),
        (512, true),
        (800, true),
        (1232, false),
        (4096, false),
    ] {
        let mut asked = plain.clone();
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        asked.set_edns(edns);
        let answer = ask_as(&zone, &asked, NET, Transport::Udp, 1).unwrap();
        assert_eq!(answer.metadata.truncation, is_cut, "{size}");
        assert!(answer.to_vec().unwrap().len() <= usize::from(size.max(512)));
        assert_eq!(answer.edns.map(|edns| edns.max_payload()), Some(1232));
    }
}

#[test]
fn each_address_comes_first_in_its_turn() {
    let zone = zone(&[("web", &["10.32.0.1", "10.32.0.2", "10.32.0.3"])]);
    let asked = question("web.weft.local.", RecordType::A);
    let firsts = (0..60).map(|seed| {
        let answer = ask_as(&zone, &asked, NET, Transport::Udp, seed).unwrap();
        answer.answers[0].data.to_string()
    });
    let firsts: Vec<String> = firsts.collect();
    for address in ["10.32.0.1", "10.32.0.2", "10.32.0.3"] {
        let times = firsts.iter().filter(|first| *first == address).count();
        assert!((8..=35).contains(&times), "{address}: {times} of 60");
    }
}

#[test]
fn what_is_no_proper_question_is_refused_in_the_proper_way() {
    let zone = zone(&[("web", &["10.32.0.1"])]);
    let code = |message: &Message| {
        ask_as(&zone, message, NET, Transport::Udp, 1)
            .unwrap()
            .metadata
            .response_code
    };
    let good = question("web.weft.local.", RecordType::A);
    let mut update = good.clone();
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut two = good.clone();
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
    let mut chaos = good.clone();
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(code(&chaos), ResponseCode::Refused);
    let mut later = good.clone();
    let mut edns = Edns::new();
    edns.set_version(1);
    later.set_edns(edns);
    // Sixteen has two names.
    assert_eq!(u16::from(code(&later)), u16::from(ResponseCode::BADVERS));

    let mut rng = StdRng::seed_from_u64(1);
    let mut answer = |bytes: &[u8]| zone.answer(bytes, NET, Transport::Udp, &mut rng);
    assert_eq!(answer(&[0; 11]), Verdict::Silence);
    let mut is_answer = good.to_vec().unwrap();
    is_answer[2] |= 0x80;
    assert_eq!(answer(&is_answer), Verdict::Silence);
    let cut = &good.to_vec().unwrap()[..20];
    let Verdict::Answer(bytes) = answer(cut) else {
        panic!()
    };
    let answer = Message::from_vec(&bytes).unwrap();
    assert_eq!(
        (answer.metadata.id, answer.metadata.response_code),
        (77, ResponseCode::FormErr)
    );
}

#[test]
fn a_domain_is_a_name() {
    assert_eq!(Zone::new("Weft.Local.").unwrap().domain(), "weft.local.");
    for bad in ["", ".", "a b", "-x", &"x.".repeat(40)] {
        assert_eq!(Zone::new(bad).unwrap_err(), BadDomain, "{bad}");
    }
}

proptest! {
    /// After any changes the zone is as if only what is left had ever been there.
    #[test]
    fn nothing_is_left_of_what_went(
        changes in prop::collection::vec((prop::sample::select(vec!["a", "b.a", "c.b.a", "c"]), 0..4_usize), 0..40),
    ) {
        let all = ["10.0.0.1", "10.0.0.2", "fd00::1"];
        let mut last = std::collections::BTreeMap::new();
        let changes: Vec<_> = changes.into_iter().map(|(name, count)| (name, &all[..count])).collect();
        for (name, addresses) in &changes {
            last.insert(*name, *addresses);
        }
        let (one, other) = (zone(&changes), zone(&last.into_iter().collect::<Vec<_>>()));
        prop_assert_eq!(one.all(NET), other.all(NET));
        for name in ["a.", "b.a.", "c.b.a.", "c.", "d."] {
            for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
                let asked = |zone| {
                    let answer = ask(zone, &format!("{name}weft.local."), kind).unwrap();
                    (answer.metadata.response_code, data(&answer))
                };
                prop_assert_eq!(asked(&one), asked(&other));
            }
        }
        for address in all {
            let address: IpAddr = address.parse().unwrap();
            prop_assert!(one.names(NET, &address).eq(other.names(NET, &address)));
            let named: Vec<Name> = one.all(NET).into_iter().filter(|(_, to)| to.contains(&address)).map(|(name, _)| name.clone()).collect();
            prop_assert!(one.names(NET, &address).eq(&named));
        }
    }

    #[test]
    fn any_bytes_are_answered_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200), tcp: bool) {
        let zone = zone(&[("web", &["10.32.0.1"])]);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        if let Verdict::Answer(answer) = zone.answer(&bytes, NET, transport, &mut StdRng::seed_from_u64(1)) {
            let answer = Message::from_vec(&answer).unwrap();
            prop_assert_eq!(answer.metadata.id.to_be_bytes(), [bytes[0], bytes[1]]);
            prop_assert_eq!(answer.metadata.message_type, MessageType::Response);
        }
    }
}
