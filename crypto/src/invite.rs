//! An invite: one token that lets a new host join. It holds the secret, where to dial and whom to expect
//! there.
//!
//! Body: version (1), secret (32 bytes), the inviter's Ed25519 public key (32), number of addresses (1), then
//! each address as its length (1) and its characters.

use crate::secret::Secret;
use crate::token::{self, Broken};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What every invite begins with; no address and no secret does.
pub const PREFIX: &str = "weft-invite-";

/// An invite names at most so many addresses.
pub const MAX_ADDRESSES: usize = 32;

/// Bytes of the longest address in an invite.
pub const MAX_ADDRESS_LEN: usize = 255;

const VERSION: u8 = 1;
const HEAD_LEN: usize = 1 + 32 + 32 + 1;
const MAX_TEXT_LEN: usize = token::text_len(HEAD_LEN + MAX_ADDRESSES * (1 + MAX_ADDRESS_LEN));

/// What a new host needs to join the mesh.
///
/// `Display` writes the token, secret included; `Debug` does not show the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The secret of the mesh.
    pub secret: Secret,
    /// The inviter's Ed25519 public key: whoever answers at the addresses must own it.
    pub peer: [u8; 32],
    /// Where to dial, `host:port`, best first. Printable ASCII. The token holds the first [`MAX_ADDRESSES`]
    /// that are neither empty nor longer than [`MAX_ADDRESS_LEN`].
    pub addresses: Vec<String>,
}

impl Invite {
    /// True if `text` means to be an invite (and not an address, a name or a secret), well formed or not.
    #[must_use]
    pub fn is_invite(text: &str) -> bool {
        text.trim().starts_with(PREFIX)
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        let fitting = || {
            self.addresses
                .iter()
                .filter(|address| is_address(address.as_bytes()))
                .take(MAX_ADDRESSES)
        };
        // Room for all of it beforehand: a vector that grows leaves a copy of the secret behind.
        let room = HEAD_LEN + fitting().map(|address| 1 + address.len()).sum::<usize>();
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        body.push(VERSION);
        body.extend_from_slice(self.secret.as_bytes());
        body.extend_from_slice(&self.peer);
        body.push(fitting().count() as u8);
        for address in fitting() {
            body.push(address.len() as u8);
            body.extend_from_slice(address.as_bytes());
        }
        body
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (head, mut rest) = body.split_first_chunk::<HEAD_LEN>()?;
        let secret = Secret::from_bytes(head[1..33].try_into().ok()?);
        let peer = head[33..65].try_into().ok()?;
        let count = usize::from(head[65]);
        if count > MAX_ADDRESSES {
            return None;
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let (&length, after) = rest.split_first()?;
            let (address, after) = after.split_at_checked(usize::from(length))?;
            addresses.push(text(address)?);
            rest = after;
        }
        rest.is_empty().then_some(Self {
            secret,
            peer,
            addresses,
        })
    }
}

/// Addresses get printed: only characters that cannot play tricks on a terminal.
fn is_address(bytes: &[u8]) -> bool {
    (1..=MAX_ADDRESS_LEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn text(address: &[u8]) -> Option<String> {
    is_address(address).then(|| String::from_utf8(address.to_vec()).ok())?
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&token::write(PREFIX, &self.body()))
    }
}

/// Why a text is not an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It does not begin as invites do.
    #[error("not an invite (those begin with `weft-invite-`); `weft invite` prints one")]
    NotAnInvite,
    /// One or more characters are not what was written, or some are missing.
    #[error("the invite is cut off or mistyped; copy it again")]
    Mistyped,
    /// Made by a version of weft whose invites this one cannot read.
    #[error("the invite was made by another version of weft")]
    Version,
    /// Whole, but without sense.
    #[error("the invite is malformed; make another with `weft invite`")]
    Malformed,
}

impl FromStr for Invite {
    type Err = InviteError;

    /// Reads a token; space around it is no matter.
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let code = text.trim().strip_prefix(PREFIX).ok_or(InviteError::NotAnInvite)?;
        if code.len() > MAX_TEXT_LEN {
            return Err(InviteError::Mistyped);
        }
        let body = token::read(PREFIX, code).map_err(|Broken| InviteError::Mistyped)?;
        match body.first() {
            Some(&VERSION) => Self::parse(&body).ok_or(InviteError::Malformed),
            Some(_) => Err(InviteError::Version),
            None => Err(InviteError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRng;
    use proptest::prelude::*;

    fn invite(addresses: &[&str]) -> Invite {
        let secret = Secret::generate(&mut TestRng::new(1));
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        Invite {
            secret,
            peer: [9; 32],
            addresses,
        }
    }

    #[test]
    fn invites_round_trip() {
        for addresses in [
            &[][..],
            &["192.0.2.1:6783"],
            &["[2001:db8::1]:6783", "host.example:1"],
        ] {
            let invite = invite(addresses);
            let token = invite.to_string();
            assert!(Invite::is_invite(&token) && !token.contains(char::is_whitespace));
            assert_eq!(token.parse(), Ok(invite.clone()));
            assert_eq!(format!("{token}\n").parse(), Ok(invite));
        }
    }

    #[test]
    fn the_largest_invite() {
        let long = "x".repeat(MAX_ADDRESS_LEN);
        let invite = invite(&[long.as_str(); MAX_ADDRESSES]);
        assert_eq!(invite.to_string().parse(), Ok(invite));
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let long = "x".repeat(MAX_ADDRESS_LEN + 1);
        let mut addresses = vec!["", "a b", "\u{1b}[2J", &long];
        addresses.extend(["h:1"; MAX_ADDRESSES + 5]);
        let read: Invite = invite(&addresses).to_string().parse().unwrap();
        assert_eq!(read.addresses, ["h:1"; MAX_ADDRESSES]);
    }

    #[test]
    fn other_texts_are_told_apart() {
        let secret = Secret::generate(&mut TestRng::new(1)).token();
        for other in ["", "192.0.2.1", "weft.example:6783", &secret] {
            assert!(!Invite::is_invite(other));
            assert_eq!(other.parse::<Invite>(), Err(InviteError::NotAnInvite));
        }
    }

    #[test]
    fn every_cut_and_every_wrong_character_is_noticed() {
        let token = invite(&["192.0.2.1:6783"]).to_string();
        for at in 0..token.len() {
            assert!(token[..at].parse::<Invite>().is_err());
            let other = if token.as_bytes()[at] == b'a' { "b" } else { "a" };
            let mut wrong = token.clone();
            wrong.replace_range(at..=at, other);
            assert!(wrong.parse::<Invite>().is_err(), "{at}");
        }
    }

    #[test]
    fn versions_are_told() {
        let mut body = invite(&[]).body();
        body[0] = 2;
        assert_eq!(
            token::write(PREFIX, &body).parse::<Invite>(),
            Err(InviteError::Version)
        );
        assert_eq!(
            token::write(PREFIX, &[]).parse::<Invite>(),
            Err(InviteError::Malformed)
        );
    }

    #[test]
    fn debug_hides_the_secret() {
        let invite = invite(&["h:1"]);
        let shown = format!("{invite:?}");
        assert!(!shown.contains(&invite.secret.token()) && shown.contains(&invite.secret.id().to_string()));
    }

    proptest! {
        #[test]
        fn any_text(text in ".{0,200}", code in "[a-z2-7]{0,200}") {
            prop_assert!(text.parse::<Invite>().is_err());
            let _ = format!("{PREFIX}{code}").parse::<Invite>();
        }

        /// Bodies under a right checksum: past the token's checks, into the parser.
        #[test]
        fn any_body(mut body in prop::collection::vec(any::<u8>(), 0..300), version: bool) {
            if let Some(first) = body.first_mut().filter(|_| version) {
                *first = VERSION;
            }
            if let Ok(invite) = token::write(PREFIX, &body).parse::<Invite>() {
                prop_assert_eq!(&*invite.body(), &body);
            }
        }

        #[test]
        fn mutated_bodies(at in 0usize..90, to: u8) {
            let mut body = invite(&["192.0.2.1:6783", "x"]).body();
            let at = at % body.len();
            body[at] = to;
            let _ = token::write(PREFIX, &body).parse::<Invite>();
        }
    }
}
