//! Tokens, keys and handshakes. Whatever bytes come in the place of a true message, only that very message is taken.

use crate::bytes::{Bytes, edited};
use crate::random::Random;
use crypto::link::{LinkInitiator, LinkResponder};
use crypto::replay::{Replay, WINDOW};
use crypto::session::{Parties, SessionInitiator, SessionResponder};
use crypto::{Cipher, Identity, Invite, Keyring, OpenKey, ReplayWindow, SealKey, Secret, identity, invite};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Text → [`Secret`] → token: the text again, without the space around it.
pub fn secret_token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(secret) = text.parse::<Secret>() {
        assert_eq!(secret.token(), text.trim());
        assert!(!Invite::is_invite(text));
        assert!(!format!("{secret:?}").contains(&secret.token()[6..]));
    }
}

/// Text → [`Invite`] → text: the same again; no invite is taken for a secret.
pub fn invite_token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(parsed) = text.parse::<Invite>() {
        assert_eq!(parsed.to_string(), text.trim());
        assert!(parsed.addresses.len() <= invite::MAX_ADDRESSES);
        let printable = |address: &String| address.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(parsed.addresses.iter().all(printable));
        assert!(Invite::is_invite(text) && text.parse::<Secret>().is_err());
    }
}

/// Structures around public keys as TLS hands them over; and signatures that nobody made.
pub fn public_key(input: &[u8]) {
    let Some(public) = identity::public_from_spki(input) else {
        return;
    };
    assert_eq!((input.len(), &input[12..]), (44, &public[..]));
    assert!(!identity::verify(&public, input, &[0; 64]));
    let mut forged = [0; 64];
    forged[..32].copy_from_slice(&public);
    assert!(!identity::verify(&public, b"", &forged));
}

struct Ends {
    one: Identity,
    two: Identity,
    keyring: Keyring,
}

static ENDS: LazyLock<Ends> = LazyLock::new(|| {
    let random = &mut Random(1);
    let (one, two) = (Identity::generate(random), Identity::generate(random));
    let secrets = vec![Secret::generate(random), Secret::generate(random)];
    let keyring = Keyring::new(secrets).expect("two secrets");
    Ends { one, two, keyring }
});

/// What the fuzzer puts in place of `genuine`: the bytes themselves, or edits of what is genuine.
fn forged(genuine: &[u8], edit: bool, input: &[u8]) -> Vec<u8> {
    if edit {
        edited(genuine, input)
    } else {
        input.to_vec()
    }
}

/// The three messages of a link's handshake, one of them forged. First byte: which, and whether it is edited.
pub fn link_handshake(input: &[u8]) {
    let mut bytes = Bytes(input);
    let choice = bytes.byte();
    let forge = |genuine: &[u8]| forged(genuine, choice & 4 != 0, bytes.0);
    let Ends { one, two, keyring } = &*ENDS;
    let (a, b) = (one.public(), two.public());
    let initiator = LinkInitiator::new(one, &[7; 32], &a, &b, keyring.preferred(), &mut Random(2));
    let (initiator, first) = initiator.expect("a handshake");
    let accept =
        |message: &[u8]| LinkResponder::accept(two, &[7; 32], &b, &a, keyring, message, &mut Random(3));
    if choice & 3 == 0 {
        let message = forge(&first);
        assert_eq!(accept(&message).is_ok(), message == first);
        return;
    }
    let (responder, second) = accept(&first).expect("the true message");
    if choice & 3 == 1 {
        let message = forge(&second);
        assert_eq!(initiator.finish(&message).is_ok(), message == second);
        return;
    }
    let (third, proof) = initiator.finish(&second).expect("the true message");
    assert_eq!(proof.data_public, two.data_public());
    let message = forge(&third);
    assert_eq!(responder.finish(&message).is_ok(), message == third);
}

/// Both messages of a session's handshake, one of them forged; the true one counts all the same.
pub fn session_handshake(input: &[u8]) {
    let mut bytes = Bytes(input);
    let choice = bytes.byte();
    let forge = |genuine: &[u8]| forged(genuine, choice & 4 != 0, bytes.0);
    let Ends { one, two, keyring } = &*ENDS;
    let parties = |identity: &'static Identity, other: &Identity, epochs: [u64; 2]| Parties {
        identity,
        my_id: identity.public(),
        my_epoch: epochs[0],
        their_id: other.public(),
        their_data_key: other.data_public(),
        their_epoch: epochs[1],
    };
    let (near, far) = (parties(one, two, [5, 6]), parties(two, one, [6, 5]));
    let started = SessionInitiator::start(&near, keyring.preferred(), 9, &Cipher::ALL, 77, &mut Random(4));
    let (mut initiator, first) = started.expect("a handshake");
    if choice & 1 == 0 {
        let message = forge(&first);
        let offer = SessionResponder::read(&far, keyring, &message);
        assert_eq!(offer.is_ok(), message == first);
    }
    let offer = SessionResponder::read(&far, keyring, &first).expect("the true message");
    assert_eq!((offer.epoch, offer.counter, offer.index), (5, 9, 77));
    let (keys, second) = offer.accept(Cipher::ALL[0], 88, &mut Random(5)).expect("offered");
    let message = forge(&second);
    if choice & 1 == 1 && message != second {
        assert!(initiator.finish(&message).is_err());
    }
    let mine = initiator.finish(&second).expect("the true message");
    assert_eq!(mine.send.lane(0).data, keys.receive.lane(0).data);
    assert_eq!((mine.their_index, keys.their_index), (88, 77));
    assert!(initiator.finish(&second).is_err());
}

/// Sealed bytes that were edited, or never sealed. Bytes: cipher, counter (8), piece of associated data, the rest.
pub fn sealed(input: &[u8]) {
    let mut bytes = Bytes(input);
    let choice = bytes.byte();
    let cipher = Cipher::ALL[usize::from(choice & 1)];
    let (seal, open) = (SealKey::new(cipher, &[9; 32]), OpenKey::new(cipher, &[9; 32]));
    let (counter, head) = (bytes.long(), bytes.piece());
    let open_it = |mut bytes: Vec<u8>| {
        let opened = open.open_in_place(counter, head, &mut bytes);
        opened.map(|length| bytes[..length].to_vec())
    };
    if let Ok(plaintext) = open_it(bytes.0.to_vec()) {
        // Who does not know the key sends such only by playing back what this seals.
        let mut again = plaintext.clone();
        let tag = seal
            .seal_in_place(counter, head, &mut again)
            .expect("it was opened");
        assert_eq!([&again[..], &tag].concat(), bytes.0);
    }
    let script = bytes.take(4);
    let mut genuine = bytes.0.to_vec();
    let Ok(tag) = seal.seal_in_place(counter, head, &mut genuine) else {
        assert!(counter >= crypto::aead::COUNTER_LIMIT);
        return;
    };
    genuine.extend(tag);
    let changed = edited(&genuine, script);
    assert_eq!(open_it(changed.clone()).is_ok(), changed == genuine);
    assert_eq!(open_it(genuine).as_deref(), Ok(bytes.0));
}

/// Counters against a set that forgets nothing. Steps of nine bytes: what to do, and a counter or a distance.
pub fn replay(input: &[u8]) {
    let mut window = ReplayWindow::new();
    let mut seen = BTreeSet::new();
    for step in input.chunks_exact(9).take(512) {
        let mut bytes = Bytes(step);
        let (how, value) = (bytes.byte(), bytes.long());
        let highest: u64 = seen.last().copied().unwrap_or(0);
        let counter = match how % 3 {
            0 => value,
            1 => highest.saturating_add(value % (3 * WINDOW)),
            _ => highest.saturating_sub(value % (3 * WINDOW)),
        };
        let expected = if !seen.is_empty() && counter <= highest && highest - counter >= WINDOW {
            Err(Replay::TooOld)
        } else if seen.contains(&counter) {
            Err(Replay::Seen)
        } else {
            Ok(())
        };
        assert_eq!(window.check(counter), expected, "{counter} after {highest}");
        if how & 0x80 == 0 {
            assert_eq!(window.commit(counter), expected);
            if expected.is_ok() {
                seen.insert(counter);
            }
        }
    }
}
