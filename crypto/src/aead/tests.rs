use super::*;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn sealed(key: &SealKey, counter: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut buf = plaintext.to_vec();
    let tag = key.seal_in_place(counter, aad, &mut buf).unwrap();
    buf.extend_from_slice(&tag);
    buf
}

/// The GCM specification by McGrew and Viega (as submitted to NIST), test cases 13 and 14: a zero key and
/// nonce.
#[test]
fn aes_gcm_matches_the_specification() {
    let key = SealKey::new(Cipher::Aes256Gcm, &[0; 32]);
    assert_eq!(
        key.tag(0, &[]).unwrap()[..],
        hex("530f8afbc74536b9a963b4f1c4cb738b")
    );
    let expected = hex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    assert_eq!(sealed(&key, 0, &[], &[0; 16]), expected);
}

#[test]
fn a_counter_stands_big_endian_in_the_nonce() {
    let bytes = *nonce(0x0102_0304_0506_0708).unwrap().as_ref();
    assert_eq!(bytes, [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn every_tampered_bit_is_noticed() {
    for cipher in Cipher::ALL {
        let (seal, open) = (SealKey::new(cipher, &[7; 32]), OpenKey::new(cipher, &[7; 32]));
        let packet = sealed(&seal, 5, b"head", b"a frame");
        for bit in 0..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                open.open_in_place(5, b"head", &mut forged),
                Err(Unauthentic),
                "{cipher} bit {bit}"
            );
        }
        for end in 0..packet.len() {
            assert_eq!(
                open.open_in_place(5, b"head", &mut packet[..end].to_vec()),
                Err(Unauthentic)
            );
        }
        assert_eq!(
            open.open_in_place(6, b"head", &mut packet.clone()),
            Err(Unauthentic)
        );
        assert_eq!(
            open.open_in_place(5, b"Head", &mut packet.clone()),
            Err(Unauthentic)
        );
        let mut buf = packet;
        assert_eq!(open.open_in_place(5, b"head", &mut buf), Ok(7));
        assert_eq!(&buf[..7], b"a frame");
    }
}

#[test]
fn ciphers_and_keys_do_not_mix() {
    let packet = sealed(&SealKey::new(Cipher::Aes256Gcm, &[7; 32]), 0, &[], b"x");
    let other = OpenKey::new(Cipher::ChaCha20Poly1305, &[7; 32]);
    assert!(other.open_in_place(0, &[], &mut packet.clone()).is_err());
    let other = OpenKey::new(Cipher::Aes256Gcm, &[8; 32]);
    assert!(other.open_in_place(0, &[], &mut packet.clone()).is_err());
}

#[test]
fn tags_alone() {
    for cipher in Cipher::ALL {
        let (seal, open) = (SealKey::new(cipher, &[7; 32]), OpenKey::new(cipher, &[7; 32]));
        let mut tag = seal.tag(9, b"header").unwrap();
        assert_eq!(open.check(9, b"header", &tag), Ok(()));
        assert_eq!(open.check(8, b"header", &tag), Err(Unauthentic));
        assert_eq!(open.check(9, b"heade", &tag), Err(Unauthentic));
        tag[15] ^= 1;
        assert_eq!(open.check(9, b"header", &tag), Err(Unauthentic));
    }
}

#[test]
fn the_limit_is_hard() {
    for cipher in Cipher::ALL {
        let (seal, open) = (SealKey::new(cipher, &[7; 32]), OpenKey::new(cipher, &[7; 32]));
        let last = sealed(&seal, COUNTER_LIMIT - 1, &[], b"last");
        assert_eq!(
            open.open_in_place(COUNTER_LIMIT - 1, &[], &mut last.clone()),
            Ok(4)
        );
        for counter in [COUNTER_LIMIT, u64::MAX] {
            let mut buf = *b"kept";
            assert_eq!(seal.seal_in_place(counter, &[], &mut buf), Err(Exhausted));
            assert_eq!(&buf, b"kept");
            assert_eq!(seal.tag(counter, &[]), Err(Exhausted));
            assert_eq!(
                open.open_in_place(counter, &[], &mut last.clone()),
                Err(Unauthentic)
            );
        }
    }
}

#[test]
fn names_and_numbers() {
    for cipher in Cipher::ALL {
        assert_eq!(cipher.to_string().parse(), Ok(cipher));
        assert_eq!(Cipher::from_id(cipher.id()), Some(cipher));
    }
    assert_eq!("none".parse::<Cipher>(), Err(UnknownCipher));
    assert_eq!(Cipher::from_id(0), None);
    assert!(Cipher::ALL.contains(&Cipher::preferred()));
}

#[test]
fn debug_names_the_cipher_only() {
    let seal = SealKey::new(Cipher::Aes256Gcm, &[0x11; 32]);
    let open = OpenKey::new(Cipher::ChaCha20Poly1305, &[0x11; 32]);
    assert_eq!(
        format!("{seal:?} {open:?}"),
        "SealKey(aes-256-gcm) OpenKey(chacha20-poly1305)"
    );
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        key: [u8; 32], counter in 0..COUNTER_LIMIT, aad in bytes(40), plaintext in bytes(200), aes: bool,
    ) {
        let cipher = if aes { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 };
        let mut buf = sealed(&SealKey::new(cipher, &key), counter, &aad, &plaintext);
        let length = OpenKey::new(cipher, &key).open_in_place(counter, &aad, &mut buf).unwrap();
        prop_assert_eq!(&buf[..length], &plaintext[..]);
    }

    #[test]
    fn chacha_agrees_with_another_implementation(
        key: [u8; 32], counter in 0..COUNTER_LIMIT, aad in bytes(40), plaintext in bytes(200),
    ) {
        let ours = sealed(&SealKey::new(Cipher::ChaCha20Poly1305, &key), counter, &aad, &plaintext);
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        let theirs = ChaCha20Poly1305::new(Key::from_slice(&key));
        let payload = Payload { msg: &plaintext, aad: &aad };
        prop_assert_eq!(theirs.encrypt(&nonce.into(), payload).unwrap(), ours);
    }

    #[test]
    fn any_bytes_are_refused(key: [u8; 32], counter: u64, mut buf in bytes(100), tag: [u8; 16], aes: bool) {
        let cipher = if aes { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 };
        let open = OpenKey::new(cipher, &key);
        prop_assert!(open.check(counter, &buf, &tag).is_err());
        prop_assert!(open.open_in_place(counter, &[], &mut buf).is_err());
    }
}
