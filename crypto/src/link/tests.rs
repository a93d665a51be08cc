use super::*;
use crate::noise::MAX_MESSAGE_LEN as NOISE_LIMIT;
use crate::testing::{BrokenRng, TestRng};
use proptest::prelude::*;

const EXPORTER: [u8; 32] = [7; 32];

fn identity(seed: u64) -> Identity {
    Identity::generate(&mut TestRng::new(seed))
}

fn secret(seed: u64) -> Secret {
    Secret::generate(&mut TestRng::new(100 + seed))
}

fn keyring(seeds: &[u64]) -> Keyring {
    Keyring::new(seeds.iter().map(|&seed| secret(seed)).collect()).unwrap()
}

/// Alice (identity 1) dials Bob (identity 2) with secret 1.
fn dial() -> (LinkInitiator, Vec<u8>) {
    let (alice, bob) = (identity(1), identity(2));
    let mut rng = TestRng::new(10);
    LinkInitiator::new(
        &alice,
        &EXPORTER,
        &alice.public(),
        &bob.public(),
        &secret(1),
        &mut rng,
    )
    .unwrap()
}

fn answer(message1: &[u8], keyring: &Keyring) -> Result<(LinkResponder, Vec<u8>), LinkError> {
    let (alice, bob) = (identity(1), identity(2));
    let mut rng = TestRng::new(20);
    LinkResponder::accept(
        &bob,
        &EXPORTER,
        &bob.public(),
        &alice.public(),
        keyring,
        message1,
        &mut rng,
    )
}

fn flip(message: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = message.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

#[test]
fn both_ends_prove_themselves() {
    for secrets in [&[1][..], &[1, 2], &[2, 1]] {
        let (initiator, one) = dial();
        let (responder, two) = answer(&one, &keyring(secrets)).unwrap();
        let (three, proof) = initiator.finish(&two).unwrap();
        assert_eq!(
            proof,
            LinkProof {
                data_public: identity(2).data_public(),
                secret: secret(1).id()
            }
        );
        let proof = responder.finish(&three).unwrap();
        assert_eq!(
            proof,
            LinkProof {
                data_public: identity(1).data_public(),
                secret: secret(1).id()
            }
        );
        assert!(
            [one, two, three]
                .iter()
                .all(|message| message.len() <= MAX_MESSAGE_LEN)
        );
    }
    const { assert!(MAX_MESSAGE_LEN <= NOISE_LIMIT) };
}

#[test]
fn a_secret_not_valid_here_is_named() {
    let (_, one) = dial();
    let error = answer(&one, &keyring(&[2, 3])).unwrap_err();
    assert_eq!(
        error,
        LinkError::UnknownSecret {
            theirs: secret(1).id()
        }
    );
    assert!(error.to_string().contains(&secret(1).id().to_string()));
}

/// Knowing the public id of the secret is not knowing the secret.
#[test]
fn a_false_initiator_gets_no_answer() {
    let (_, mut one) = dial();
    one[..8].copy_from_slice(&secret(2).id().0);
    assert_eq!(answer(&one, &keyring(&[2])).unwrap_err(), LinkError::Unauthentic);
}

/// A responder that runs the handshake with a secret of its own must not get the initiator to believe it.
#[test]
fn a_false_responder_is_not_believed() {
    let (initiator, one) = dial();
    let (alice, mallory) = (identity(1), identity(2));
    let prologue = prologue(&EXPORTER, &alice.public(), &mallory.public(), &secret(1).id()).unwrap();
    let guess = secret(2).link_psk();
    let mut handshake = Handshake::responder(&setup(&mallory, &guess, &prologue)).unwrap();
    assert!(handshake.read(&one[8..]).is_err());
    // Not even by leaving out what it could not verify.
    let mut handshake = Handshake::responder(&setup(&mallory, &guess, &prologue)).unwrap();
    let (_, forged) = {
        let mut rng = TestRng::new(30);
        let mut own = Handshake::initiator(&setup(&alice, &guess, &prologue)).unwrap();
        let one = own.write(&[], &mut rng).unwrap();
        handshake.read(&one).unwrap();
        (one, handshake.write(&[], &mut rng).unwrap())
    };
    assert_eq!(initiator.finish(&forged).unwrap_err(), LinkError::Unauthentic);
}

#[test]
fn messages_belong_to_one_connection_and_two_names() {
    let (alice, bob, carol) = (identity(1), identity(2), identity(3));
    let (_, one) = dial();
    let accept = |exporter: [u8; 32], me: &Identity, them: &Identity| {
        let (me_id, them_id) = (me.public(), them.public());
        LinkResponder::accept(
            me,
            &exporter,
            &me_id,
            &them_id,
            &keyring(&[1]),
            &one,
            &mut TestRng::new(20),
        )
    };
    assert!(accept(EXPORTER, &bob, &alice).is_ok());
    assert_eq!(accept([8; 32], &bob, &alice).unwrap_err(), LinkError::Unauthentic);
    assert_eq!(
        accept(EXPORTER, &bob, &carol).unwrap_err(),
        LinkError::Unauthentic
    );
    assert_eq!(
        accept(EXPORTER, &carol, &alice).unwrap_err(),
        LinkError::Unauthentic
    );
    // Sent back to its author.
    assert_eq!(
        accept(EXPORTER, &alice, &bob).unwrap_err(),
        LinkError::Unauthentic
    );
}

#[test]
fn messages_out_of_order_or_sent_back_are_refused() {
    let (initiator, one) = dial();
    assert!(initiator.finish(&one).is_err());
    let (initiator, one) = dial();
    assert!(initiator.finish(&one[8..]).is_err());
    let (responder, two) = answer(&one, &keyring(&[1])).unwrap();
    assert!(responder.finish(&two).is_err());
    let (responder, _) = answer(&one, &keyring(&[1])).unwrap();
    assert!(responder.finish(&one[8..]).is_err());
}

#[test]
fn no_link_with_oneself() {
    let (alice, mut rng) = (identity(1), TestRng::new(10));
    let id = alice.public();
    let started = LinkInitiator::new(&alice, &EXPORTER, &id, &id, &secret(1), &mut rng);
    assert_eq!(started.unwrap_err(), LinkError::SelfLink);
    let (_, one) = dial();
    let accepted = LinkResponder::accept(&alice, &EXPORTER, &id, &id, &keyring(&[1]), &one, &mut rng);
    assert_eq!(accepted.unwrap_err(), LinkError::SelfLink);
}

/// Two names with one data key.
#[test]
fn no_link_with_a_copy_of_oneself() {
    let (alice, bob) = (identity(1), identity(2));
    let mut bytes = alice.to_bytes();
    bytes[..32].copy_from_slice(&bob.to_bytes()[..32]);
    let copy = Identity::from_bytes(&bytes);
    let (initiator, one) = dial();
    let (responder, two) = LinkResponder::accept(
        &copy,
        &EXPORTER,
        &copy.public(),
        &alice.public(),
        &keyring(&[1]),
        &one,
        &mut TestRng::new(20),
    )
    .unwrap();
    drop(responder);
    assert_eq!(initiator.finish(&two).unwrap_err(), LinkError::SelfLink);
}

#[test]
fn every_tampered_bit_is_noticed() {
    let ring = keyring(&[1, 2]);
    let (_, one) = dial();
    let (_, two) = answer(&one, &ring).unwrap();
    let (three, _) = dial().0.finish(&two).unwrap();
    for bit in 0..one.len() * 8 {
        assert!(answer(&flip(&one, bit), &ring).is_err(), "message 1, bit {bit}");
    }
    for bit in 0..two.len() * 8 {
        assert!(dial().0.finish(&flip(&two, bit)).is_err(), "message 2, bit {bit}");
    }
    for bit in 0..three.len() * 8 {
        let (responder, _) = answer(&one, &ring).unwrap();
        assert!(
            responder.finish(&flip(&three, bit)).is_err(),
            "message 3, bit {bit}"
        );
    }
}

#[test]
fn every_truncation_is_noticed() {
    let ring = keyring(&[1]);
    let (_, one) = dial();
    let (_, two) = answer(&one, &ring).unwrap();
    let (three, _) = dial().0.finish(&two).unwrap();
    for end in 0..one.len() {
        assert!(answer(&one[..end], &ring).is_err());
    }
    for end in 0..two.len() {
        assert!(dial().0.finish(&two[..end]).is_err());
    }
    for end in 0..three.len() {
        assert!(answer(&one, &ring).unwrap().0.finish(&three[..end]).is_err());
    }
}

#[test]
fn weak_randomness_is_an_error() {
    let (alice, bob) = (identity(1), identity(2));
    let started = LinkInitiator::new(
        &alice,
        &EXPORTER,
        &alice.public(),
        &bob.public(),
        &secret(1),
        &mut BrokenRng,
    );
    assert_eq!(started.unwrap_err(), LinkError::Randomness);
}

#[test]
fn debug_shows_no_key() {
    let (initiator, one) = dial();
    let (responder, _) = answer(&one, &keyring(&[1])).unwrap();
    let psk = data_encoding::HEXLOWER.encode(&*secret(1).link_psk());
    assert!(!format!("{initiator:?} {responder:?}").contains(&psk[..8]));
}

proptest! {
    #[test]
    fn any_bytes(noise in prop::collection::vec(any::<u8>(), 0..1200), known: bool) {
        let mut message = noise.clone();
        if known {
            message.splice(..0, secret(1).id().0);
        }
        prop_assert!(answer(&message, &keyring(&[1])).is_err());
        let (initiator, one) = dial();
        prop_assert!(initiator.finish(&noise).is_err());
        let (responder, _) = answer(&one, &keyring(&[1])).unwrap();
        prop_assert!(responder.finish(&noise).is_err());
    }
}
