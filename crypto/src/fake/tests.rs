use super::*;
use crate::testing::TestRng;
use crate::{
    Keyring, LinkError, LinkInitiator, LinkResponder, OpenKey, Parties, SealKey, Secret, SessionError,
    SessionInitiator, SessionResponder,
};

const EXPORTER: [u8; 32] = [7; 32];

fn secret(seed: u64) -> Secret {
    Secret::generate(&mut TestRng::new(seed))
}

fn fake(seed: u64) -> Identity {
    identity(&mut TestRng::new(seed))
}

fn real(seed: u64) -> Identity {
    Identity::generate(&mut TestRng::new(seed))
}

fn parties<'a>(own: &'a Identity, other: &Identity) -> Parties<'a> {
    Parties {
        identity: own,
        my_id: own.public(),
        my_epoch: 1,
        their_id: other.public(),
        their_data_key: other.data_public(),
        their_epoch: 1,
    }
}

/// The messages of a session handshake, and both ends' keys; `other` is whom the initiator takes the responder for.
fn session(a: &Identity, b: &Identity, other: &Identity) -> Result<[Vec<u8>; 2], SessionError> {
    let secret = secret(1);
    let ciphers = Cipher::ALL;
    let taken_for = Parties {
        their_data_key: other.data_public(),
        ..parties(a, b)
    };
    let (mut initiator, one) =
        SessionInitiator::start(&taken_for, &secret, 1, &ciphers, 10, &mut TestRng::new(2))?;
    let keyring = Keyring::new(vec![secret.clone()]).unwrap();
    let offer = SessionResponder::read(&parties(b, a), &keyring, &one)?;
    let (theirs, two) = offer.accept(ciphers[0], 20, &mut TestRng::new(3))?;
    let ours = initiator.finish(&two)?;
    assert_eq!(ours.send.lane(0).data, theirs.receive.lane(0).data);
    assert_eq!(ours.receive.lane(0).relay, theirs.send.lane(0).relay);
    assert_ne!(ours.send.lane(0).data, ours.receive.lane(0).data);
    Ok([one, two])
}

fn link(a: &Identity, b: &Identity, keyring: &Keyring) -> Result<[Vec<u8>; 3], LinkError> {
    let (a_id, b_id) = (a.public(), b.public());
    let (initiator, one) = LinkInitiator::new(a, &EXPORTER, &a_id, &b_id, &secret(1), &mut TestRng::new(2))?;
    let (responder, two) =
        LinkResponder::accept(b, &EXPORTER, &b_id, &a_id, keyring, &one, &mut TestRng::new(3))?;
    let (three, proof) = initiator.finish(&two)?;
    assert_eq!(proof.data_public, b.data_public());
    assert_eq!(responder.finish(&three)?.data_public, a.data_public());
    Ok([one, two, three])
}

#[test]
fn an_identity_is_fake_only_if_it_comes_from_here() {
    assert!(fake(1).suite().is_fake());
    assert!(!real(1).suite().is_fake());
    assert!(!Identity::from_bytes(&fake(1).to_bytes()).suite().is_fake());
    assert_eq!(Suite::default(), Suite::REAL);
    // The name and the signatures are those of the same seed.
    assert_eq!(fake(1).public(), real(1).public());
    assert_eq!(fake(1).sign(b"record"), real(1).sign(b"record"));
    assert_ne!(fake(1).data_public(), real(1).data_public());
}

#[test]
fn messages_are_as_long_as_real_ones() {
    let lengths = |messages: &[Vec<u8>]| messages.iter().map(Vec::len).collect::<Vec<_>>();
    let keyring = Keyring::new(vec![secret(1)]).unwrap();
    assert_eq!(
        lengths(&session(&fake(1), &fake(2), &fake(2)).unwrap()),
        lengths(&session(&real(1), &real(2), &real(2)).unwrap())
    );
    assert_eq!(
        lengths(&link(&fake(1), &fake(2), &keyring).unwrap()),
        lengths(&link(&real(1), &real(2), &keyring).unwrap())
    );
}

#[test]
fn another_key_is_refused_as_by_the_real_ones() {
    for of in [fake, real] {
        let wrong = session(&of(1), &of(2), &of(3));
        assert_eq!(wrong.unwrap_err(), SessionError::Unauthentic);
        let keyring = Keyring::new(vec![secret(5)]).unwrap();
        assert!(matches!(
            link(&of(1), &of(2), &keyring),
            Err(LinkError::UnknownSecret { .. })
        ));
    }
}

#[test]
fn a_fake_router_and_a_real_one_never_agree() {
    let keyring = Keyring::new(vec![secret(1)]).unwrap();
    for (a, b) in [(fake(1), real(2)), (real(1), fake(2))] {
        assert_eq!(session(&a, &b, &b).unwrap_err(), SessionError::Unauthentic);
        assert_eq!(link(&a, &b, &keyring).unwrap_err(), LinkError::Unauthentic);
    }
    let (seal, key) = (Cipher::Aes256Gcm, [3; 32]);
    let mut packet = b"frame".to_vec();
    let tag = SealKey::behind(Suite::FAKE, seal, &key)
        .seal_in_place(1, b"", &mut packet)
        .unwrap();
    packet.extend(tag);
    assert!(
        OpenKey::new(seal, &key)
            .open_in_place(1, b"", &mut packet)
            .is_err()
    );
}

#[test]
fn a_tampered_handshake_is_refused() {
    let (a, b) = (fake(1), fake(2));
    let [one, _] = session(&a, &b, &b).unwrap();
    let keyring = Keyring::new(vec![secret(1)]).unwrap();
    for bit in 0..one.len() * 8 {
        let mut forged = one.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(
            SessionResponder::read(&parties(&b, &a), &keyring, &forged).is_err(),
            "bit {bit}"
        );
    }
}

#[test]
fn packets_are_scrambled_and_every_tampered_bit_is_noticed() {
    for cipher in Cipher::ALL {
        let seal = SealKey::behind(Suite::FAKE, cipher, &[7; 32]);
        let open = OpenKey::behind(Suite::FAKE, cipher, &[7; 32]);
        let text = b"a frame that nobody may read on its way".to_vec();
        let mut packet = text.clone();
        let tag = seal.seal_in_place(5, b"head", &mut packet).unwrap();
        assert!(
            packet
                .windows(3)
                .all(|some| !text.windows(3).any(|other| some == other))
        );
        packet.extend(tag);
        for bit in 0..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open.open_in_place(5, b"head", &mut forged).is_err(), "bit {bit}");
        }
        for end in 0..packet.len() {
            assert!(
                open.open_in_place(5, b"head", &mut packet[..end].to_vec())
                    .is_err()
            );
        }
        for bit in 0..256 {
            let mut other = [7; 32];
            other[bit / 8] ^= 1 << (bit % 8);
            let other = OpenKey::behind(Suite::FAKE, cipher, &other);
            assert!(other.open_in_place(5, b"head", &mut packet.clone()).is_err());
        }
        assert!(open.open_in_place(6, b"head", &mut packet.clone()).is_err());
        assert!(open.open_in_place(5, b"hea", &mut packet.clone()).is_err());
        let length = open.open_in_place(5, b"head", &mut packet).unwrap();
        assert_eq!(packet[..length], text);
        let limit = crate::aead::COUNTER_LIMIT;
        assert!(seal.seal_in_place(limit, b"", &mut packet).is_err());
    }
    let of = |cipher| {
        SealKey::behind(Suite::FAKE, cipher, &[7; 32])
            .tag(1, b"same")
            .unwrap()
    };
    assert_ne!(of(Cipher::Aes256Gcm), of(Cipher::ChaCha20Poly1305));
}

/// X25519 refuses points of small order; here it is zero.
#[test]
fn a_weak_key_is_refused() {
    let (a, b) = (fake(1), fake(2));
    let weak = Parties {
        their_data_key: [0; 32],
        ..parties(&a, &b)
    };
    let started = SessionInitiator::start(&weak, &secret(1), 1, &Cipher::ALL, 1, &mut TestRng::new(1));
    assert_eq!(started.unwrap_err(), SessionError::Unauthentic);
}
