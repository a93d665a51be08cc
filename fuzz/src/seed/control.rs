//! Seeds of tokens, handshakes and the control plane.

use super::Seed;
use crate::bytes::join;
use crate::random::Random;
use crate::records::{self, Header, kind};
use crate::router::{NEIGHBOR, OWN, Router, THIRD, signed};
use crypto::{Cipher, Identity, Invite, SealKey, Secret};
use mesh::{Mac, NamesBody, PeerId, Vni};

pub(super) fn tokens() -> Vec<Seed> {
    let random = &mut Random(7);
    let (secret, identity) = (Secret::generate(random), Identity::generate(random));
    let invite = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        let (secret, peer) = (secret.clone(), identity.public());
        Invite {
            secret,
            peer,
            addresses,
        }
        .to_string()
        .into_bytes()
    };
    let id = PeerId(identity.public()).to_string();
    vec![
        ("secret_token", "token", secret.token().into_bytes()),
        (
            "secret_token",
            "newline",
            format!("{}\n", secret.token()).into_bytes(),
        ),
        ("invite_token", "none", invite(&[])),
        (
            "invite_token",
            "two",
            invite(&["192.0.2.1:6783", "host.example:6783"]),
        ),
        ("public_key", "key", identity.spki_der()),
        ("names", "id", id.into_bytes()),
        ("names", "name", b"host-1.example".to_vec()),
        ("names", "mac", b"02:42:ac:11:00:02".to_vec()),
        ("written_address", "v4", b"192.0.2.1:6783".to_vec()),
        ("written_address", "v6", b"[2001:db8::1]:6783".to_vec()),
        ("written_address", "v6_bare", b"2001:db8::1".to_vec()),
        ("written_address", "mapped", b"::ffff:10.0.0.1".to_vec()),
        ("written_address", "host", b"host-1.example:7000".to_vec()),
        ("written_address", "port", b":6783".to_vec()),
        ("written_address", "prefix", b"10.32.0.1/12".to_vec()),
        ("written_address", "prefix6", b"fd00::1/64".to_vec()),
    ]
}

pub(super) fn handshakes() -> Vec<Seed> {
    let edit = |which: u8, place: u8| vec![which | 4, 0, 0, place, 1, 2, 0, 200, 0];
    let mut sealed = vec![0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, 5, 6];
    let mut text = b"some plaintext".to_vec();
    let tag = SealKey::new(Cipher::ALL[0], &[9; 32]).seal_in_place(7, &[5, 6], &mut text);
    sealed.extend([&text[..], &tag.expect("a small counter")].concat());
    let unsealed = [&[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 8][..], &[0, 0, 3, 1], b"text"].concat();
    let step = |how: u8, value: u64| [&[how][..], &value.to_be_bytes()].concat();
    let window = crypto::replay::WINDOW;
    let steps = [
        step(0, 5),
        step(1, 1),
        step(1, window - 1),
        step(2, window),
        step(2, 64),
        step(0, u64::MAX),
    ];
    vec![
        ("link_handshake", "first", edit(0, 3)),
        ("link_handshake", "second", edit(1, 40)),
        ("link_handshake", "third", edit(2, 60)),
        ("link_handshake", "garbage", [&[1][..], &[7; 96]].concat()),
        ("session_handshake", "first", edit(0, 30)),
        ("session_handshake", "second", edit(1, 40)),
        ("session_handshake", "garbage", [&[1][..], &[7; 96]].concat()),
        ("sealed", "played_back", sealed),
        ("sealed", "edited", unsealed),
        ("replay", "edges", steps.concat()),
    ]
}

/// A routed message's body: origin, path, cursor, payload.
type Routed = (PeerId, Vec<PeerId>, u8, Vec<u8>);

pub(super) fn mesh() -> Vec<Seed> {
    let header = |origin, kind, subkey| Header {
        origin,
        kind,
        subkey,
        epoch: 1,
        counter: 2,
    };
    let routed = |path: &[PeerId], cursor| {
        let body: Routed = (
            if cursor == 0 { NEIGHBOR } else { THIRD },
            path.to_vec(),
            cursor,
            b"hello".to_vec(),
        );
        records::message(kind::ROUTED, &body)
    };
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    let news = records::records(&[
        signed(header(THIRD, 3, 1 << 16), &records::macs(Vni(1), mac)),
        signed(header(THIRD, 2, 0), &records::links(&[])),
        signed(header(NEIGHBOR, 77, 5), b"of a later version"),
    ]);
    let forged = records::record(header(THIRD, 2, 0), &records::links(&[(OWN, 3)]), |_| [7; 64]);
    let hello = records::hello("neighbor", 7);
    let ping = records::ping(1);
    let goodbye = vec![kind::GOODBYE];
    let [root, held, ask, buckets, differ] = comparison();
    let together = [&news, &ping, &root, &held, &ask, &routed(&[OWN], 0)].map(Clone::clone);
    vec![
        ("link_message", "news", join(&[news])),
        (
            "link_message",
            "forged",
            join(&vec![records::records(&[forged]); 18]),
        ),
        (
            "link_message",
            "keepalives",
            join(&[ping.clone(), records::pong(1)]),
        ),
        (
            "link_message",
            "comparison",
            join(&[buckets.clone(), differ.clone(), root.clone(), held, ask]),
        ),
        (
            "link_message",
            "routed_here",
            join(&[routed(&[OWN], 0), routed(&[NEIGHBOR, OWN], 1)]),
        ),
        (
            "link_message",
            "routed_on",
            join(&[routed(&[OWN, NEIGHBOR], 0), routed(&[OWN, THIRD], 0)]),
        ),
        ("recording", "doubted", [vec![0], join(&together)].concat()),
        ("recording", "believed", [vec![1], join(&together)].concat()),
        ("link_message", "goodbye", join(&[hello.clone(), goodbye.clone()])),
        ("link_message", "together", join(&together)),
        ("greeting", "hello", join(std::slice::from_ref(&hello))),
        ("greeting", "keepalives_first", join(&[ping, hello])),
        ("greeting", "too_early", join(&[root])),
        ("greeting", "goodbye", join(&[goodbye])),
        ("record_body", "all", join(&bodies(mac))),
        ("record_body", "runs", join(&runs(mac))),
        ("record_body", "networks", join(&networks())),
        ("forwarding", "moves", join(&changes(mac))),
        ("claims", "come_and_go", join(&claims())),
        (
            "question",
            "address",
            dns_question(b"\x03web\x04weft\x05local\0", 1),
        ),
        (
            "question",
            "reverse",
            dns_question(b"\x011\x010\x0232\x0210\x07in-addr\x04arpa\0", 12),
        ),
        ("question", "elsewhere", dns_question(b"\x07example\x03org\0", 28)),
    ]
}

/// The messages by which a neighbour compares what it holds with the router under test: three of a comparison that it
/// leads, two of one that the router leads. All of them are such that there is something to answer.
fn comparison() -> [Vec<u8>; 5] {
    type Held = (Vec<u8>, u64, u64, Vec<[u8; 8]>);
    type Have = ([u8; 8], [u8; 8], u8, u64, u64, u64);
    type Differ = (Vec<u8>, Vec<[u8; 8]>, Vec<Have>, bool);
    fn said<T: serde::de::DeserializeOwned>(router: &mut Router, question: &[u8]) -> T {
        router.message(question);
        let answer = router.sent.first().map_or(&[][..], |(_, answer)| answer);
        postcard::from_bytes(answer.get(1..).unwrap_or_default()).expect("an answer")
    }
    let mut router = Router::linked(false);
    let buckets = records::message(kind::BUCKETS, &vec![0u64; 256]);
    let (asked, _, _, marks): Held = said(&mut router, &buckets);
    let newer: Have = ([7; 8], THIRD.short().0, 2, 0, 1, 9);
    let unknown: Have = ([8; 8], [9; 8], 1, 0, 1, 1);
    let differ = records::message(kind::DIFFER, &(asked, marks, vec![newer, unknown], false));
    router.message(&differ);
    assert_eq!(router.sent.len(), 2, "a question, and records");
    let root = records::message(kind::ROOT, &[0u8; 32]);
    let _: Vec<u64> = said(&mut router, &root);
    let everything: Held = ((0..=255).collect(), 0, u64::MAX, vec![[7; 8]]);
    let held = records::message(kind::HELD, &everything);
    let (_, wanted, shown, _): Differ = said(&mut router, &held);
    assert_eq!((wanted, shown.len()), (vec![[7; 8]], 7));
    let marks: Vec<_> = shown.iter().map(|have| have.0).collect();
    let ask = records::message(kind::ASK, &(everything.0, marks));
    [root, held, ask, buckets, differ]
}

/// A piece of `record_body`.
fn piece(origin: u8, kind: u8, place: [u8; 4], version: [u8; 2], body: &[u8]) -> Vec<u8> {
    [&[origin, kind][..], &place, &version, body].concat()
}

fn info(peer: PeerId, epoch: u64) -> Vec<u8> {
    postcard::to_stdvec(&records::info(peer, epoch)).expect("plain data")
}

fn bodies(mac: Mac) -> Vec<Vec<u8>> {
    let stranger = PeerId([0x70; 32]);
    let links = records::links(&[(NEIGHBOR, 1), (THIRD, 2)]);
    vec![
        piece(0x70, 3, [0, 0, 1, 0], [4, 3], &records::macs(Vni(1), mac)),
        piece(0x70, 2, [0, 0, 0, 0], [4, 2], &links),
        piece(0x70, 1, [0, 0, 0, 0], [4, 1], &info(stranger, 4)),
        piece(
            1,
            2,
            [0, 0, 0, 0],
            [1, 5],
            &records::links(&[(NEIGHBOR, 9), (stranger, 4)]),
        ),
        piece(1, 3, [0, 0, 1, 0], [1, 6], &records::macs(Vni(1), mac)),
        piece(1, 99, [0, 0, 1, 0], [1, 7], b"of a later version"),
    ]
}

/// Another run of a router takes over, and somebody speaks in our name.
fn runs(mac: Mac) -> Vec<Vec<u8>> {
    vec![
        piece(1, 1, [0, 0, 0, 0], [2, 1], &info(THIRD, 2)),
        piece(1, 3, [0, 0, 1, 1], [1, 9], &records::macs(Vni(1), mac)),
        piece(1, 3, [0, 0, 1, 1], [2, 2], &records::macs(Vni(1), mac)),
        piece(
            1,
            3,
            [0, 0, 1, 1],
            [2, 2],
            &records::macs(Vni(1), Mac([2, 0, 0, 0, 0, 8])),
        ),
        piece(2, 1, [0, 0, 0, 0], [3, 0xff], &info(OWN, 3)),
    ]
}

/// Routers that do not agree on networks: two numbers for one name, two names for one number, one that is removed, and
/// what is no network.
fn networks() -> Vec<Vec<u8>> {
    let [near, third] = [NEIGHBOR, THIRD].map(|peer| peer.short());
    let said = |origin: u8, counter: u8, body: &[u8]| piece(origin, 7, [0; 4], [1, counter], body);
    let later = [("blue", 2, 0x00aa_aaaa, true), ("green", 3, 0x00bb_bbbb, false)];
    vec![
        said(0, 10, &records::networks(near, &[("blue", 1, 0x00cc_cccc, true)])),
        said(
            1,
            10,
            &records::networks(third, &[("green", 2, 0x00bb_bbbb, true)]),
        ),
        said(1, 11, &records::networks(third, &later)),
        said(
            0,
            11,
            &records::networks(near, &[("red", 5, 0x00aa_aaaa, true), ("blue", 2, 7, true)]),
        ),
        said(
            2,
            0xff,
            &records::networks(OWN.short(), &[("blue", u64::MAX, 1, true)]),
        ),
        said(
            0,
            12,
            &records::networks(near, &[("no name", 1, 1, true), ("big", 1, u32::MAX, true)]),
        ),
        piece(0, 7, [0, 0, 1, 0], [1, 13], &records::networks(near, &later)),
    ]
}

/// Pieces of `claims`.
fn claims() -> Vec<Vec<u8>> {
    let change = |what: u8, origin: u8, rest: &[u8]| [&[what, origin, 0, 0, 1, 0], rest].concat();
    let body = |name: &str| {
        let entries = vec![(name.to_owned(), vec![[10, 32, 0, 1].into()])];
        postcard::to_stdvec(&NamesBody { vni: Vni(1), entries }).expect("plain data")
    };
    vec![
        change(3, 0, &body("web")),
        change(3, 2, &body("WEB")),
        change(0, 2, &[]),
        change(3, 2, &body("no name")),
        change(1, 2, &[]),
        change(2, 0, &[]),
    ]
}

/// A question with an OPT record.
fn dns_question(name: &[u8], kind: u8) -> Vec<u8> {
    let header = [0x12, 0x67, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];
    [&header, name, &[0, kind, 0, 1], &opt].concat()
}

/// Pieces of `forwarding`.
fn changes(mac: Mac) -> Vec<Vec<u8>> {
    let change = |what: u8, origin: u8, rest: &[u8]| [&[what, origin, 0, 0, 1, 0], rest].concat();
    let body = records::macs(Vni(1), mac);
    vec![
        change(3, 0, &body),
        change(3, 2, &body),
        change(0, 0, &mac.0),
        change(2, 0, &[]),
        change(1, 0, &mac.0),
        change(3, 2, &records::macs(Vni(1), Mac([2, 0, 0, 0, 0, 7]))),
    ]
}
