//! The addresses of a network: indices, and the IPv4 and IPv6 address each stands for.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Shortest prefix: more addresses than that no mesh of ten thousand routers needs.
const SHORTEST: u8 = 8;
/// Longest prefix: below that only two addresses and the ends are left.
const LONGEST: u8 = 29;

/// What addresses are taken from. Index 0 is the network's own address, the last one its broadcast address; both are
/// never given to anybody. Each index is one IPv4 address and, if there is an IPv6 range, one IPv6 address as well, so
/// that one map of who owns what serves both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    v4: Ipv4Addr,
    prefix: u8,
    v6: Option<(Ipv6Addr, u8)>,
}

/// Why a range can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    /// Too large or too small.
    #[error("an IPv4 range for containers has a prefix length from {SHORTEST} to {LONGEST}")]
    Prefix,
    /// There are bits beyond the prefix.
    #[error("the address has bits beyond its prefix length: the range begins at {0}")]
    HostBits(IpAddr),
    /// Not for hosts.
    #[error("it holds addresses that are not of one host")]
    NotUnicast,
    /// The IPv6 range is smaller than the IPv4 range.
    #[error("the IPv6 range must be at least as large as the IPv4 range: a prefix length of {0} or less")]
    TooSmall(u8),
}

impl Default for Pool {
    /// 10.32.0.0/12 and fd57:4546:5400::/64.
    fn default() -> Self {
        Self {
            v4: Ipv4Addr::new(10, 32, 0, 0),
            prefix: 12,
            v6: Some((Ipv6Addr::new(0xfd57, 0x4546, 0x5400, 0, 0, 0, 0, 0), 64)),
        }
    }
}

impl Pool {
    /// A pool of these ranges.
    ///
    /// # Errors
    /// If they are too large, too small, or no ranges of unicast addresses.
    pub fn new((v4, prefix): (Ipv4Addr, u8), v6: Option<(Ipv6Addr, u8)>) -> Result<Self, BadPool> {
        if !(SHORTEST..=LONGEST).contains(&prefix) {
            return Err(BadPool::Prefix);
        }
        let base = u32::from(v4) & u32::MAX << (32 - prefix);
        if base != u32::from(v4) {
            return Err(BadPool::HostBits(Ipv4Addr::from(base).into()));
        }
        if v4.is_multicast() || v4.is_loopback() || v4.octets()[0] >= 224 || v4.octets()[0] == 0 {
            return Err(BadPool::NotUnicast);
        }
        if let Some((v6, length)) = v6 {
            let most = 128 - (32 - prefix);
            if length > most || length == 0 {
                return Err(BadPool::TooSmall(most));
            }
            let base = u128::from(v6) & u128::MAX << (128 - length);
            if base != u128::from(v6) {
                return Err(BadPool::HostBits(Ipv6Addr::from(base).into()));
            }
            if v6.is_multicast() || v6.is_unspecified() || v6.is_loopback() {
                return Err(BadPool::NotUnicast);
            }
        }
        Ok(Self { v4, prefix, v6 })
    }

    /// The IPv4 range.
    #[must_use]
    pub fn v4(&self) -> (Ipv4Addr, u8) {
        (self.v4, self.prefix)
    }

    /// The IPv6 range.
    #[must_use]
    pub fn v6(&self) -> Option<(Ipv6Addr, u8)> {
        self.v6
    }

    /// How many indices there are.
    #[must_use]
    pub fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The addresses of an index, with the prefix lengths of the ranges.
    #[must_use]
    pub fn addresses(&self, index: u32) -> Vec<(IpAddr, u8)> {
        let v4 = Ipv4Addr::from(u32::from(self.v4).wrapping_add(index));
        let v6 = self.v6.map(|(base, prefix)| {
            let address = Ipv6Addr::from(u128::from(base).wrapping_add(index.into()));
            (address.into(), prefix)
        });
        [(v4.into(), self.prefix)].into_iter().chain(v6).collect()
    }

    /// The index of an address, if it is one of the pool's.
    #[must_use]
    pub fn index(&self, address: IpAddr) -> Option<u32> {
        let index = match address {
            IpAddr::V4(v4) => u32::from(v4).checked_sub(self.v4.into())?,
            IpAddr::V6(v6) => {
                let offset = u128::from(v6).checked_sub(self.v6?.0.into())?;
                u32::try_from(offset).ok()?
            }
        };
        (index < self.size()).then_some(index)
    }

    /// True if an index may be given to somebody.
    pub(crate) fn is_usable(&self, index: u32) -> bool {
        index > 0 && index < self.size() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_an_address_of_each_kind() {
        let pool = Pool::default();
        assert_eq!(pool.size(), 1 << 20);
        let addresses = pool.addresses(0x1_0203);
        let expected: [(IpAddr, u8); 2] = [
            ("10.33.2.3".parse().unwrap(), 12),
            ("fd57:4546:5400::1:203".parse().unwrap(), 64),
        ];
        assert_eq!(addresses, expected);
        for (address, _) in addresses {
            assert_eq!(pool.index(address), Some(0x1_0203));
        }
        for outside in [
            "10.31.255.255",
            "10.48.0.0",
            "fd57:4546:5400::10:0",
            "fd57:4546:53ff::1",
        ] {
            assert_eq!(pool.index(outside.parse().unwrap()), None, "{outside}");
        }
        assert!(!pool.is_usable(0) && pool.is_usable(1) && !pool.is_usable((1 << 20) - 1));
    }

    #[test]
    fn odd_ranges_are_refused() {
        let v4 = |text: &str, prefix| Pool::new((text.parse().unwrap(), prefix), None);
        assert_eq!(v4("10.0.0.0", 7), Err(BadPool::Prefix));
        assert_eq!(v4("10.0.0.0", 30), Err(BadPool::Prefix));
        assert_eq!(
            v4("10.32.0.1", 12),
            Err(BadPool::HostBits("10.32.0.0".parse().unwrap()))
        );
        assert_eq!(v4("224.0.0.0", 8), Err(BadPool::NotUnicast));
        assert_eq!(v4("127.0.0.0", 8), Err(BadPool::NotUnicast));
        let both = |v6: &str, length| {
            Pool::new(
                ("10.32.0.0".parse().unwrap(), 12),
                Some((v6.parse().unwrap(), length)),
            )
        };
        assert_eq!(both("fd00::", 109), Err(BadPool::TooSmall(108)));
        assert_eq!(
            both("fd00::1", 64),
            Err(BadPool::HostBits("fd00::".parse().unwrap()))
        );
        assert!(both("fd00::", 108).is_ok() && v4("10.0.0.0", 8).is_ok() && v4("10.0.0.0", 29).is_ok());
    }
}
