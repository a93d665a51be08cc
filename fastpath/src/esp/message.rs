//! Messages of the kernel's XFRM interface (`linux/xfrm.h`), as far as they are needed: associations and policies made,
//! removed and listed.
//!
//! Numbers are in the host's order, but for ports and SPIs. Structures end with padding to eight bytes.

use super::{Direction, Policy, Sa, SaId};
use std::net::IpAddr;

/// `NETLINK_XFRM`.
pub(super) const PROTOCOL: u32 = 6;
pub(super) const NEW_SA: u16 = 0x10;
pub(super) const DELETE_SA: u16 = 0x11;
pub(super) const GET_SA: u16 = 0x12;
pub(super) const NEW_POLICY: u16 = 0x13;
pub(super) const DELETE_POLICY: u16 = 0x14;
pub(super) const GET_POLICY: u16 = 0x15;

const TEMPLATE: u16 = 5;
const AEAD: u16 = 18;
const REPLAY_ESN: u16 = 23;
const PROTO: u16 = 25;

const INET: u16 = 2;
const INET6: u16 = 10;
const UDP: u8 = 17;
const ESP: u8 = 50;
const TRANSPORT: u8 = 0;
/// `XFRM_STATE_ESN`.
const WITH_ESN: u8 = 128;
/// No limit.
const ENDLESS: u64 = u64::MAX;
/// Packets that may overtake each other at the receiver; the most that the kernel takes.
const WINDOW: u32 = 4096;
/// Before the policies of others on this host, whatever they say of all traffic with the neighbour.
const PRIORITY: u32 = 100;

const SELECTOR: usize = 56;
const SA_INFO: usize = 224;
const POLICY_INFO: usize = 168;

/// Marks what is ours: the request id of associations and policies, one for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u32);

impl Mark {
    /// That of the router with this bridge.
    #[must_use]
    pub fn of_bridge(bridge: &str) -> Self {
        // FNV-1a, folded to 15 bits; behind "WT".
        let hash = bridge.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self(0x5754_0000 | ((hash ^ hash >> 16) & 0x7fff) << 1)
    }

    fn id(self, direction: Direction) -> u32 {
        self.0 | u32::from(direction == Direction::In)
    }

    fn direction(self, id: u32) -> Option<Direction> {
        [Direction::In, Direction::Out]
            .into_iter()
            .find(|direction| self.id(*direction) == id)
    }
}

/// How long the kernel keeps an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Seconds since it was made.
    pub seconds: u64,
    /// Packets.
    pub packets: u64,
}

/// Bytes of `NEW_SA`.
#[must_use]
pub fn new_sa(sa: &Sa, mark: Mark, port: u16, lifetime: Lifetime) -> Vec<u8> {
    let (from, to) = match sa.direction {
        Direction::In => (sa.ends.there, sa.ends.here),
        Direction::Out => (sa.ends.here, sa.ends.there),
    };
    let mut out = Writer::default();
    // Bound to both addresses: who has a key cannot use it from another's address.
    out.selector(Some(from), Some(to), family(to), port);
    out.sa_id(Some(to), sa.spi);
    out.address(Some(from));
    out.limits(lifetime.seconds, lifetime.packets);
    out.zeros(32 + 12); // what it has done, and what went wrong
    out.u32(0); // sequence number of the kernel's question
    out.u32(mark.id(sa.direction));
    out.u16(family(to));
    out.bytes(&[TRANSPORT, 0, WITH_ESN]);
    out.pad(SA_INFO);
    out.attribute(AEAD, |out| {
        let name = b"rfc4106(gcm(aes))";
        out.bytes(name);
        out.zeros(64 - name.len());
        out.u32(8 * 36);
        out.u32(128);
        out.bytes(&sa.key.0);
    });
    out.attribute(REPLAY_ESN, |out| {
        // The sender needs none, but this is what the kernel wants of both.
        out.u32(WINDOW / 32);
        out.zeros(16);
        out.u32(WINDOW);
    });
    out.0
}

/// Bytes of `DELETE_SA`.
#[must_use]
pub fn delete_sa(id: SaId) -> Vec<u8> {
    let mut out = Writer::default();
    out.address(Some(id.to));
    out.bytes(&id.spi.to_be_bytes());
    out.u16(family(id.to));
    out.bytes(&[ESP, 0]);
    out.0
}

/// Bytes of `GET_SA` that ask for all there are of ESP.
#[must_use]
pub fn list_sas() -> Vec<u8> {
    // Nothing stands before the attributes here.
    let mut out = Writer::default();
    out.attribute(PROTO, |out| out.bytes(&[ESP]));
    out.0
}

/// Bytes of `NEW_POLICY`.
#[must_use]
pub fn new_policy(policy: Policy, mark: Mark) -> Vec<u8> {
    let mut out = Writer::default();
    out.policy_selector(policy);
    out.limits(0, ENDLESS);
    out.zeros(32); // what it has done
    out.u32(PRIORITY);
    out.u32(0); // the kernel numbers it
    // Allowed, if the template is met.
    out.bytes(&[direction(policy.direction), 0, 0, 0]);
    out.pad(POLICY_INFO);
    out.attribute(TEMPLATE, |out| {
        out.sa_id(None, 0);
        out.u16(family(policy.there));
        out.u16(0);
        out.address(None);
        out.u32(mark.id(policy.direction));
        // Required, and with any algorithm: there is only one under this request id.
        out.bytes(&[TRANSPORT, 0, 0, 0]);
        out.bytes(&[0xff; 12]);
    });
    out.0
}

/// Bytes of `DELETE_POLICY`, by the kernel's number: another's may have the same selector.
#[must_use]
pub fn delete_policy(policy: Policy, index: u32) -> Vec<u8> {
    let mut out = Writer::default();
    out.policy_selector(policy);
    out.u32(index);
    out.bytes(&[direction(policy.direction), 0, 0, 0]);
    out.0
}

/// An association as the kernel tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaRead {
    /// What it is known by.
    pub id: SaId,
    /// Which way its packets go.
    pub direction: Direction,
    /// Where they come from.
    pub from: IpAddr,
    /// Packets so far.
    pub packets: u64,
    /// When it was made: seconds of the host's clock.
    pub made: u64,
}

/// Reads an association; `None` if it is none of ours. (Index 0 has what the kernel asks for and nobody gave.)
#[must_use]
pub fn read_sa(body: &[u8], mark: Mark) -> Option<SaRead> {
    let body = body.get(..SA_INFO)?;
    let direction = mark.direction(u32_at(body, 208)?)?;
    let family = u16_at(body, 212)?;
    let spi = u32::from_be_bytes(*body.get(72..)?.first_chunk()?);
    Some(SaRead {
        id: SaId {
            to: address_at(body, 56, family)?,
            spi: Some(spi).filter(|spi| *spi != 0)?,
        },
        direction,
        from: address_at(body, 80, family)?,
        packets: u64::from_ne_bytes(*body.get(168..)?.first_chunk()?),
        made: u64::from_ne_bytes(*body.get(176..)?.first_chunk()?),
    })
}

/// Reads a policy and its number; `None` if it is none of ours.
#[must_use]
pub fn read_policy(body: &[u8], mark: Mark) -> Option<(Policy, u32)> {
    let (info, attributes) = body.split_at_checked(POLICY_INFO)?;
    let template = attribute(attributes, TEMPLATE)?;
    let direction = mark.direction(u32_at(template, 44)?)?;
    let family = u16_at(info, 40)?;
    let there = match direction {
        Direction::Out => address_at(info, 0, family)?,
        Direction::In => address_at(info, 16, family)?,
    };
    let port = u16::from_be_bytes(*info.get(32..)?.first_chunk()?);
    let policy = Policy {
        direction,
        there,
        port,
    };
    Some((policy, u32_at(info, 156)?))
}

fn family(address: IpAddr) -> u16 {
    if address.is_ipv4() { INET } else { INET6 }
}

fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn address_at(bytes: &[u8], at: usize, family: u16) -> Option<IpAddr> {
    let octets: [u8; 16] = *bytes.get(at..)?.first_chunk()?;
    match family {
        INET => octets.first_chunk::<4>().map(|octets| (*octets).into()),
        INET6 => Some(octets.into()),
        _ => None,
    }
}

/// The value of the first attribute of this kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    fn pad(&mut self, length: usize) {
        self.0.resize(length, 0);
    }

    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_ne_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_ne_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_ne_bytes());
    }

    /// `xfrm_address_t`.
    fn address(&mut self, address: Option<IpAddr>) {
        let mut octets = [0; 16];
        match address {
            Some(IpAddr::V4(v4)) => octets[..4].copy_from_slice(&v4.octets()),
            Some(IpAddr::V6(v6)) => octets = v6.octets(),
            None => {}
        }
        self.bytes(&octets);
    }

    /// `xfrm_selector`: UDP from an address, or any, to a port of an address, or of any.
    fn selector(&mut self, from: Option<IpAddr>, to: Option<IpAddr>, family: u16, port: u16) {
        let start = self.0.len();
        let whole = if family == INET { 32 } else { 128 };
        let prefix = |address: Option<IpAddr>| if address.is_some() { whole } else { 0 };
        self.address(to);
        self.address(from);
        self.bytes(&port.to_be_bytes());
        self.u16(u16::MAX);
        self.u32(0); // source port: any
        self.u16(family);
        self.bytes(&[prefix(to), prefix(from), UDP]);
        self.pad(start + SELECTOR);
    }

    fn policy_selector(&mut self, policy: Policy) {
        let Policy {
            direction,
            there,
            port,
        } = policy;
        // Whatever address of its own this host uses.
        match direction {
            Direction::In => self.selector(Some(there), None, family(there), port),
            Direction::Out => self.selector(None, Some(there), family(there), port),
        }
    }

    /// `xfrm_id`.
    fn sa_id(&mut self, to: Option<IpAddr>, spi: u32) {
        self.address(to);
        self.bytes(&spi.to_be_bytes());
        self.bytes(&[ESP, 0, 0, 0]);
    }

    /// `xfrm_lifetime_cfg`: no bounds but these; 0 seconds: for ever.
    fn limits(&mut self, seconds: u64, packets: u64) {
        for limit in [ENDLESS, ENDLESS, ENDLESS, packets, 0, seconds, 0, 0] {
            self.u64(limit);
        }
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.u16(0);
        self.u16(kind);
        value(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.0.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.pad(self.0.len().next_multiple_of(4));
    }
}
