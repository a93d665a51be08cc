//! Names of things: routers, links, networks and Ethernet addresses.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// A router's identity: the 32 bytes of its Ed25519 public key (RFC 8032).
///
/// Shown as 64 lower-case hexadecimal digits; people may use any unique prefix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerId(pub [u8; 32]);

/// The first eight bytes of a [`PeerId`], for headers where thirty-two are too many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShortId(pub [u8; 8]);

/// As the bytes are. The first eight nearly always decide, and as a number they are compared without a call: tables
/// keyed by identities are what the core looks into most.
impl Ord for PeerId {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let first = |id: &Self| u64::from_be_bytes(id.short().0);
        first(self).cmp(&first(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PeerId {
    /// The eight bytes that stand for this router in relay headers.
    #[inline]
    #[must_use]
    pub fn short(&self) -> ShortId {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ShortId([a, b, c, d, e, f, g, h])
    }

    /// The first twelve hexadecimal digits, enough for people to tell routers apart.
    #[must_use]
    pub fn brief(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..4], f)
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl FromStr for PeerId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(InvalidName::PeerId);
        }
        let mut id = [0; 32];
        for (byte, digits) in id.iter_mut().zip(bytes.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16).ok_or(InvalidName::PeerId);
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        Ok(Self(id))
    }
}

/// Why a text does not name what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not 64 hexadecimal digits.
    #[error("a peer id is 64 hexadecimal digits")]
    PeerId,
    /// Not a router name.
    #[error("a router's name is 1 to 63 printable characters without spaces")]
    PeerName,
    /// Not a MAC address.
    #[error("a MAC address is six pairs of hexadecimal digits with colons between")]
    Mac,
}

/// A router's nickname: a label for people, never an identity. 1–63 printable ASCII characters, no spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(String);

impl PeerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PeerName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        let fits = (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(Self(name))
        } else {
            Err(InvalidName::PeerName)
        }
    }
}

impl FromStr for PeerName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        name.to_owned().try_into()
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> Self {
        name.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link of this router, numbered by the driver; never reused within one run, never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

/// A router's own number for one of its links. Relayed packets carry the path as a list of these, so that a
/// relay forwards by one array lookup. Not reused for ten minutes. Zero is never a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkLabel(pub u16);

/// A virtual network: the 24-bit VNI of RFC 7348.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vni(pub u32);

impl Vni {
    /// The network a container joins when none is named.
    pub const DEFAULT: Self = Self(1);
    /// The largest VNI, 2²⁴−1.
    pub const MAX: u32 = 0x00ff_ffff;
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

/// As one number: every frame is looked up by it.
impl Hash for Mac {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]));
    }
}

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// True for broadcast and multicast addresses (the group bit of IEEE 802).
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut mac = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut mac {
            let pair = pairs
                .next()
                // The standard parser would take a sign, too.
                .filter(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .ok_or(InvalidName::Mac)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidName::Mac)?;
        }
        if pairs.next().is_some() {
            Err(InvalidName::Mac)
        } else {
            Ok(Self(mac))
        }
    }
}

/// The public identifier of a shared secret: never the secret itself, and of no help in finding it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretId(pub [u8; 8]);

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_ids_are_ordered_as_their_bytes() {
        let at = |place: usize, byte: u8| {
            let mut bytes = [7; 32];
            bytes[place] = byte;
            PeerId(bytes)
        };
        for (one, other) in (0..32).flat_map(|place| (0..32).map(move |other| (place, other))) {
            for (a, b) in [(at(one, 3), at(other, 200)), (at(one, 9), at(other, 9))] {
                assert_eq!(a.cmp(&b), a.0.cmp(&b.0));
            }
        }
    }

    #[test]
    fn peer_ids_round_trip_as_text() {
        let id = PeerId(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("+f".repeat(32).parse::<PeerId>(), Err(InvalidName::PeerId));
        assert_eq!("é".repeat(32).parse::<PeerId>(), Err(InvalidName::PeerId));
    }

    #[test]
    fn names_are_short_and_printable() {
        assert!("host-1.example".parse::<PeerName>().is_ok());
        for bad in ["", "two words", "tab\t", "ünïcode", &"x".repeat(64)] {
            assert_eq!(bad.parse::<PeerName>(), Err(InvalidName::PeerName), "{bad:?}");
        }
    }

    #[test]
    fn macs_round_trip_as_text() {
        let mac = Mac([0x02, 0, 0xab, 0xcd, 0xef, 1]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for bad in [
            "",
            "02:00:ab:cd:ef",
            "02:00:ab:cd:ef:01:02",
            "2:0:ab:cd:ef:1",
            "zz:00:ab:cd:ef:01",
            "02:00:ab:cd:ef:+1",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(InvalidName::Mac), "{bad:?}");
        }
    }
}
