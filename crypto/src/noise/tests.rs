use super::*;
use crate::testing::{BrokenRng, TestRng};
use proptest::prelude::*;

const IK: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const XX: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";

fn public(private: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*private)).to_bytes()
}

fn setup<'a>(private: &'a [u8; 32], remote: Option<&'a [u8; 32]>) -> Setup<'a> {
    Setup {
        suite: Suite::REAL,
        protocol: IK,
        private,
        remote,
        psk: (2, &[9; 32]),
        prologue: b"prologue",
    }
}

/// Our randomness with the primitives that `snow` itself brings.
struct Stock(Ephemeral);

impl CryptoResolver for Stock {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(self.0.clone()))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

#[test]
fn speaks_noise_with_the_stock_primitives() {
    let ephemeral = Ephemeral::default();
    let state = Builder::with_resolver(IK.parse().unwrap(), Box::new(Stock(ephemeral.clone())))
        .local_private_key(&[2; 32])
        .and_then(|builder| builder.psk(2, &[9; 32]))
        .and_then(|builder| builder.prologue(b"prologue"))
        .and_then(Builder::build_responder)
        .unwrap();
    let mut theirs = Handshake { state, ephemeral };
    let mut ours = Handshake::initiator(&setup(&[1; 32], Some(&public(&[2; 32])))).unwrap();

    let one = ours.write(b"hello", &mut TestRng::new(1)).unwrap();
    assert_eq!(theirs.read(&one).unwrap(), b"hello");
    assert_eq!(theirs.remote(), Some(public(&[1; 32])));
    let two = theirs.write(b"and you", &mut TestRng::new(2)).unwrap();
    assert_eq!(ours.read(&two).unwrap(), b"and you");
    let (a, b) = (ours.split().unwrap(), theirs.split().unwrap());
    assert_eq!(
        (a.to_responder, a.to_initiator, a.transcript),
        (b.to_responder, b.to_initiator, b.transcript)
    );
}

#[test]
fn no_keys_before_the_end() {
    let mut ours = Handshake::initiator(&setup(&[1; 32], Some(&public(&[2; 32])))).unwrap();
    assert!(ours.split().is_none());
    ours.write(b"", &mut TestRng::new(1)).unwrap();
    assert!(ours.split().is_none());
}

#[test]
fn the_generator_decides_everything() {
    let one = |seed| {
        let mut ours = Handshake::initiator(&setup(&[1; 32], Some(&public(&[2; 32])))).unwrap();
        ours.write(b"", &mut TestRng::new(seed)).unwrap()
    };
    assert_eq!(one(1), one(1));
    assert_ne!(one(1)[..32], one(2)[..32]);
}

#[test]
fn a_broken_generator_stops_the_handshake() {
    let mut ours = Handshake::initiator(&setup(&[1; 32], Some(&public(&[2; 32])))).unwrap();
    assert_eq!(ours.write(b"", &mut BrokenRng), Err(Failure::Randomness));
    assert!(ours.write(b"", &mut TestRng::new(1)).is_ok());
}

#[test]
fn an_ephemeral_key_is_used_once() {
    let mut slot = Ephemeral::default();
    slot.draw(&mut TestRng::new(1)).unwrap();
    assert!(slot.try_fill_bytes(&mut [0; 32]).is_ok());
    assert_eq!(slot.try_fill_bytes(&mut [0; 32]), Err(Error::Rng));
}

/// The points of small order (RFC 7748 §7): zero, one, and one of order eight.
#[test]
fn weak_keys_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let eight = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    let eight = data_encoding::HEXLOWER
        .decode(eight.as_bytes())
        .unwrap()
        .try_into()
        .unwrap();
    for weak in [[0; 32], one, eight] {
        let mut ours = Handshake::initiator(&setup(&[1; 32], Some(&weak))).unwrap();
        assert_eq!(ours.write(b"", &mut TestRng::new(1)), Err(Failure::Unauthentic));
        // As an ephemeral key in a message that came in.
        let mut ours = Handshake::responder(&setup(&[1; 32], None)).unwrap();
        assert_eq!(
            ours.read(&[&weak[..], &[0; 64]].concat()),
            Err(Failure::Unauthentic)
        );
    }
}

proptest! {
    #[test]
    fn any_bytes(message in prop::collection::vec(any::<u8>(), 0..300), xx: bool) {
        let protocol = if xx { XX } else { IK };
        let psk = (if xx { 0 } else { 2 }, &[9; 32]);
        let setup = Setup { suite: Suite::REAL, protocol, private: &[1; 32], remote: None, psk, prologue: b"" };
        prop_assert!(Handshake::responder(&setup).unwrap().read(&message).is_err());
    }
}
