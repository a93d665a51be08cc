//! What stands behind handshakes and sealed packets: X25519 and real ciphers, or the [`fake`](crate::fake) of both.
//!
//! An [`Identity`](crate::Identity) has one, and passes it on to every handshake it takes part in and every key that
//! comes of one. There is no setting for it: whoever makes an identity in any other way than
//! [`fake::identity`](crate::fake::identity) has the real one.

use std::fmt;

/// X25519 and the ciphers of [`Cipher`](crate::Cipher), unless a simulated world asked for less.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Suite(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Real,
    Fake,
}

impl Suite {
    /// X25519 (RFC 7748) and AEADs.
    pub const REAL: Self = Self(Kind::Real);

    /// What only [`fake`](crate::fake) hands out.
    pub(crate) const FAKE: Self = Self(Kind::Fake);

    /// True for the suite that protects nothing.
    #[must_use]
    pub fn is_fake(self) -> bool {
        self == Self::FAKE
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_fake() {
            "Suite::FAKE"
        } else {
            "Suite::REAL"
        })
    }
}
