use super::*;
use crate::aead::{OpenKey, SealKey};
use crate::testing::{BrokenRng, TestRng};
use proptest::prelude::*;

/// Bytes of message 1 before the Noise part: version and secret id.
const HEAD_LEN: usize = 1 + 8;

const BOTH: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

fn identity(seed: u64) -> Identity {
    Identity::generate(&mut TestRng::new(seed))
}

fn secret(seed: u64) -> Secret {
    Secret::generate(&mut TestRng::new(100 + seed))
}

fn keyring(seeds: &[u64]) -> Keyring {
    Keyring::new(seeds.iter().map(|&seed| secret(seed)).collect()).unwrap()
}

/// Two routers, seen from the first; the epoch of each is ten times its number.
fn parties<'a>(me: &'a (u64, Identity), them: &(u64, Identity)) -> Parties<'a> {
    Parties {
        identity: &me.1,
        my_id: me.1.public(),
        my_epoch: me.0 * 10,
        their_id: them.1.public(),
        their_data_key: them.1.data_public(),
        their_epoch: them.0 * 10,
    }
}

struct World {
    alice: (u64, Identity),
    bob: (u64, Identity),
}

impl World {
    fn new() -> Self {
        Self {
            alice: (1, identity(1)),
            bob: (2, identity(2)),
        }
    }

    fn alice_sees(&self) -> Parties<'_> {
        parties(&self.alice, &self.bob)
    }

    fn bob_sees(&self) -> Parties<'_> {
        parties(&self.bob, &self.alice)
    }

    /// Alice asks Bob for a session under secret 1.
    fn start(&self) -> (SessionInitiator, Vec<u8>) {
        let mut rng = TestRng::new(10);
        SessionInitiator::start(&self.alice_sees(), &secret(1), 5, &BOTH, 0xa, &mut rng).unwrap()
    }

    fn read(&self, message1: &[u8]) -> Result<Offer, SessionError> {
        SessionResponder::read(&self.bob_sees(), &keyring(&[1, 2]), message1)
    }

    fn answer(&self, message1: &[u8]) -> (SessionKeys, Vec<u8>) {
        self.read(message1)
            .unwrap()
            .accept(Cipher::Aes256Gcm, 0xb, &mut TestRng::new(20))
            .unwrap()
    }
}

fn flip(message: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = message.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

#[test]
fn a_session_carries_packets_both_ways() {
    let world = World::new();
    for cipher in BOTH {
        let (mut initiator, one) = world.start();
        let offer = world.read(&one).unwrap();
        assert_eq!(
            (offer.epoch, offer.counter, offer.index, &offer.ciphers[..]),
            (10, 5, 0xa, &BOTH[..])
        );
        assert_eq!(offer.secret, secret(1).id());
        let (bob, two) = offer.accept(cipher, 0xb, &mut TestRng::new(20)).unwrap();
        let alice = initiator.finish(&two).unwrap();
        assert_eq!((alice.their_index, bob.their_index), (0xb, 0xa));
        assert_eq!(
            (alice.cipher, bob.cipher, alice.secret, bob.secret),
            (cipher, cipher, secret(1).id(), secret(1).id())
        );
        for (from, to, lane) in [
            (&alice.send, &bob.receive, 0),
            (&bob.send, &alice.receive, 0),
            (&alice.send, &bob.receive, 7),
        ] {
            let (from, to) = (from.lane(lane), to.lane(lane));
            let mut packet = *b"frame";
            let tag = SealKey::new(cipher, &from.data)
                .seal_in_place(0, b"head", &mut packet)
                .unwrap();
            let mut packet = [&packet[..], &tag].concat();
            assert_eq!(
                OpenKey::new(cipher, &to.data).open_in_place(0, b"head", &mut packet),
                Ok(5)
            );
            let tag = SealKey::new(cipher, &from.relay).tag(0, b"relay").unwrap();
            assert_eq!(OpenKey::new(cipher, &to.relay).check(0, b"relay", &tag), Ok(()));
        }
    }
}

#[test]
fn no_key_serves_twice() {
    let world = World::new();
    let mut keys = std::collections::BTreeSet::new();
    for (seed, cipher) in [(20, BOTH[0]), (20, BOTH[1]), (21, BOTH[0])] {
        // The same message 1 each time: a replay to a responder that has lost its memory.
        let (_, one) = world.start();
        let (bob, _) = world
            .read(&one)
            .unwrap()
            .accept(cipher, 0xb, &mut TestRng::new(seed))
            .unwrap();
        for lane in 0..8 {
            let (send, receive) = (bob.send.lane(lane), bob.receive.lane(lane));
            keys.extend([send.data, send.relay, receive.data, receive.relay]);
        }
    }
    assert_eq!(keys.len(), 96);
}

#[test]
fn either_valid_secret_will_do() {
    let world = World::new();
    let mut rng = TestRng::new(10);
    for seed in [1, 2] {
        let (mut initiator, one) =
            SessionInitiator::start(&world.alice_sees(), &secret(seed), 5, &BOTH, 0xa, &mut rng).unwrap();
        let (_, two) = world.answer(&one);
        assert_eq!(initiator.finish(&two).unwrap().secret, secret(seed).id());
    }
    let (_, one) = SessionInitiator::start(&world.alice_sees(), &secret(3), 5, &BOTH, 0xa, &mut rng).unwrap();
    assert_eq!(
        world.read(&one).unwrap_err(),
        SessionError::UnknownSecret {
            theirs: secret(3).id()
        }
    );
}

/// An end that claims the right id but has another secret cannot make the other believe it.
#[test]
fn a_false_responder_is_not_believed() {
    let world = World::new();
    let (mut initiator, one) = world.start();
    let (bob, id) = (world.bob_sees(), secret(1).id());
    let prologue = bob.prologue(false, &id).unwrap();
    let guess = secret(2).data_psk();
    let mut handshake = Handshake::responder(&bob.setup(&guess, &prologue, None)).unwrap();
    handshake.read(&one[HEAD_LEN..]).unwrap();
    let two = handshake
        .write(&[0, 0, 0, 0xb, 1], &mut TestRng::new(20))
        .unwrap();
    assert_eq!(initiator.finish(&two).unwrap_err(), SessionError::Unauthentic);
}

#[test]
fn every_part_of_the_parties_counts() {
    let world = World::new();
    let (_, one) = world.start();
    let ring = keyring(&[1]);
    let carol = (2, identity(3));
    let right = world.bob_sees();
    assert!(SessionResponder::read(&right, &ring, &one).is_ok());
    let wrong = [
        Parties {
            my_id: carol.1.public(),
            ..right
        },
        Parties {
            their_id: carol.1.public(),
            ..right
        },
        Parties {
            my_epoch: 21,
            ..right
        },
        Parties {
            their_epoch: 11,
            ..right
        },
        Parties {
            their_data_key: carol.1.data_public(),
            ..right
        },
        parties(&carol, &world.alice),
    ];
    for parties in wrong {
        let read = SessionResponder::read(&parties, &ring, &one);
        assert_eq!(read.unwrap_err(), SessionError::Unauthentic, "{parties:?}");
    }
}

#[test]
fn messages_sent_back_are_refused() {
    let world = World::new();
    let (mut initiator, one) = world.start();
    let reflected = SessionResponder::read(&world.alice_sees(), &keyring(&[1]), &one);
    assert_eq!(reflected.unwrap_err(), SessionError::Unauthentic);
    assert!(initiator.finish(&one).is_err());
    assert!(initiator.finish(&one[HEAD_LEN..]).is_err());
    let (_, two) = world.answer(&one);
    assert!(world.read(&two).is_err());
}

#[test]
fn no_session_with_oneself() {
    let world = World::new();
    let (_, one) = world.start();
    let oneself = parties(&world.alice, &world.alice);
    let copy = Parties {
        their_id: [9; 32],
        ..oneself
    };
    for parties in [oneself, copy] {
        let started = SessionInitiator::start(&parties, &secret(1), 0, &BOTH, 0, &mut TestRng::new(1));
        assert_eq!(started.unwrap_err(), SessionError::SelfSession);
        let read = SessionResponder::read(&parties, &keyring(&[1]), &one);
        assert_eq!(read.unwrap_err(), SessionError::SelfSession);
    }
}

#[test]
fn every_tampered_bit_is_noticed_and_changes_nothing() {
    let world = World::new();
    let (mut initiator, one) = world.start();
    for bit in 0..one.len() * 8 {
        assert!(world.read(&flip(&one, bit)).is_err(), "message 1, bit {bit}");
    }
    let (bob, two) = world.answer(&one);
    for bit in 0..two.len() * 8 {
        assert!(
            initiator.finish(&flip(&two, bit)).is_err(),
            "message 2, bit {bit}"
        );
    }
    let alice = initiator.finish(&two).unwrap();
    assert_eq!(
        (alice.send.lane(0).data, alice.receive.lane(0).data),
        (bob.receive.lane(0).data, bob.send.lane(0).data)
    );
}

#[test]
fn every_truncation_is_noticed_and_changes_nothing() {
    let world = World::new();
    let (mut initiator, one) = world.start();
    for end in 0..one.len() {
        assert!(world.read(&one[..end]).is_err());
    }
    let (_, two) = world.answer(&one);
    for end in 0..two.len() {
        assert!(initiator.finish(&two[..end]).is_err());
    }
    assert!(initiator.finish(&two).is_ok());
}

#[test]
fn a_handshake_ends_once() {
    let world = World::new();
    let (mut initiator, one) = world.start();
    let (_, two) = world.answer(&one);
    assert!(initiator.finish(&two).is_ok());
    assert!(initiator.finish(&two).is_err());
    // Another answer to the same message 1.
    let (_, other) = world
        .read(&one)
        .unwrap()
        .accept(BOTH[0], 0xc, &mut TestRng::new(21))
        .unwrap();
    assert!(initiator.finish(&other).is_err());
}

#[test]
fn an_answer_belongs_to_its_offer() {
    let world = World::new();
    let (_, one) = world.start();
    let (_, two) = world.answer(&one);
    let mut rng = TestRng::new(11);
    let (mut later, _) =
        SessionInitiator::start(&world.alice_sees(), &secret(1), 6, &BOTH, 0xa, &mut rng).unwrap();
    assert_eq!(later.finish(&two).unwrap_err(), SessionError::Unauthentic);
}

#[test]
fn the_cipher_is_the_initiators_first_that_is_allowed() {
    let [aes, chacha] = BOTH;
    assert_eq!(choose(&[aes, chacha], &[chacha, aes]), Some(chacha));
    assert_eq!(choose(&[aes], &[chacha, aes]), Some(aes));
    assert_eq!(choose(&[aes], &[chacha]), None);
    assert_eq!(choose(&[], &[chacha]), None);
}

#[test]
fn no_downgrade() {
    let world = World::new();
    let start = |ciphers: &[Cipher]| {
        SessionInitiator::start(
            &world.alice_sees(),
            &secret(1),
            5,
            ciphers,
            0xa,
            &mut TestRng::new(10),
        )
    };
    let (mut initiator, one) = start(&BOTH[..1]).unwrap();
    let offer = world.read(&one).unwrap();
    assert_eq!(
        offer.accept(BOTH[1], 0xb, &mut TestRng::new(20)).unwrap_err(),
        SessionError::Cipher
    );
    // A responder that chooses what was not offered, or what nobody knows.
    for cipher in [BOTH[1].id(), 0, 255] {
        let mut offer = world.read(&one).unwrap();
        let two = offer
            .handshake
            .write(&[0, 0, 0, 0xb, cipher], &mut TestRng::new(20))
            .unwrap();
        assert_eq!(initiator.finish(&two).unwrap_err(), SessionError::Cipher);
        initiator = start(&BOTH[..1]).unwrap().0;
    }
    assert_eq!(start(&[]).unwrap_err(), SessionError::Cipher);
    assert_eq!(
        start(&[BOTH[0]; MAX_CIPHERS + 1]).unwrap_err(),
        SessionError::Cipher
    );
}

/// Message 1 of a later version of the program: more ciphers, more fields.
#[test]
fn later_offers_are_understood() {
    let world = World::new();
    let one = |payload: &[u8]| {
        let (alice, secret) = (world.alice_sees(), secret(1));
        let (psk, prologue) = (secret.data_psk(), alice.prologue(true, &secret.id()).unwrap());
        let setup = alice.setup(&psk, &prologue, Some(&alice.their_data_key));
        let noise = Handshake::initiator(&setup)
            .unwrap()
            .write(payload, &mut TestRng::new(10))
            .unwrap();
        [&[VERSION], &secret.id().0[..], &noise].concat()
    };
    let offered = |epoch| {
        Offered {
            epoch,
            counter: 5,
            index: 0xa,
            ciphers: BOTH.to_vec(),
        }
        .write()
    };
    let mut payload = offered(10);
    payload[20] = 3;
    payload.extend_from_slice(&[77, b'm', b'o', b'r', b'e']);
    assert_eq!(world.read(&one(&payload)).unwrap().ciphers, BOTH);
    payload[20] = 200;
    assert_eq!(world.read(&one(&payload)).unwrap_err(), SessionError::Malformed);
    for end in 0..20 {
        assert_eq!(
            world.read(&one(&payload[..end])).unwrap_err(),
            SessionError::Malformed
        );
    }
    let many = [&payload[..20], &[MAX_CIPHERS as u8 + 1], &[1; 40]].concat();
    assert_eq!(world.read(&one(&many)).unwrap_err(), SessionError::Malformed);
    let lied = offered(11);
    assert_eq!(world.read(&one(&lied)).unwrap_err(), SessionError::Unauthentic);
}

#[test]
fn versions_are_told() {
    let world = World::new();
    let (_, mut one) = world.start();
    one[0] = 9;
    assert_eq!(world.read(&one).unwrap_err(), SessionError::Version { theirs: 9 });
}

#[test]
fn a_broken_generator_stops_the_handshake() {
    let world = World::new();
    let started = SessionInitiator::start(&world.alice_sees(), &secret(1), 5, &BOTH, 0xa, &mut BrokenRng);
    assert_eq!(started.unwrap_err(), SessionError::Randomness);
    let (_, one) = world.start();
    let accepted = world.read(&one).unwrap().accept(BOTH[0], 0xb, &mut BrokenRng);
    assert_eq!(accepted.unwrap_err(), SessionError::Randomness);
}

#[test]
fn debug_shows_no_key() {
    let world = World::new();
    let (initiator, one) = world.start();
    let (keys, _) = world.answer(&one);
    let (send, receive) = (keys.send.lane(0), keys.receive.lane(0));
    let shown = format!("{initiator:?} {keys:?} {send:?} {:?}", world.read(&one).unwrap());
    for key in [send.data, send.relay, receive.data, receive.relay] {
        assert!(!shown.contains(&format!("{key:?}")));
        assert!(!shown.contains(&data_encoding::HEXLOWER.encode(&key)));
    }
}

proptest! {
    #[test]
    fn any_bytes(noise in prop::collection::vec(any::<u8>(), 0..1200), known: bool) {
        let world = World::new();
        let mut message = noise.clone();
        if known {
            message.splice(..0, [&[VERSION], &secret(1).id().0[..]].concat());
        }
        prop_assert!(world.read(&message).is_err());
        let (mut initiator, one) = world.start();
        prop_assert!(initiator.finish(&noise).is_err());
        let (_, two) = world.answer(&one);
        prop_assert!(initiator.finish(&two).is_ok());
    }
}
