//! A pool, as Docker is told to name it: `NETWORK/4` or `NETWORK/6`, one range of a network of the router's, and behind that
//! the part of it that `--ip-range` asks for.

use crate::net::Cidr;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What is before the name of a pool out of which a swarm's manager asks. No network is called so.
const SWARM: &str = "swarm:";

/// So many addresses are tried at the most.
const MOST: u64 = 4096;

/// What Docker asks for addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    /// The router's name for the network.
    pub(super) network: String,
    pub(super) is_v6: bool,
    /// A swarm's manager asks, for tasks on any node.
    pub(super) is_swarms: bool,
    /// Addresses are to be of this part.
    pub(super) within: Option<Cidr>,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let swarm = if self.is_swarms { SWARM } else { "" };
        let kind = if self.is_v6 { 6 } else { 4 };
        write!(f, "{swarm}{}/{kind}", self.network)?;
        match self.within {
            Some(part) => write!(f, "/{part}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_swarms, rest) = match text.strip_prefix(SWARM) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let wrong = || format!("{text:?} is no pool of weft's");
        let mut parts = rest.splitn(3, '/');
        let (network, kind) = parts.next().zip(parts.next()).ok_or_else(wrong)?;
        let is_v6 = match kind {
            "4" => false,
            "6" => true,
            _ => return Err(wrong()),
        };
        Ok(Self {
            network: network.to_owned(),
            is_v6,
            is_swarms,
            within: parts.next().map(str::parse).transpose()?,
        })
    }
}

/// The first address of a range.
pub(super) fn first(range: Cidr) -> IpAddr {
    match range.address {
        IpAddr::V4(at) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(range.prefix));
            Ipv4Addr::from(u32::from(at) & mask.unwrap_or(0)).into()
        }
        IpAddr::V6(at) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(range.prefix));
            Ipv6Addr::from(u128::from(at) & mask.unwrap_or(0)).into()
        }
    }
}

/// Whether a range has all addresses of another.
pub(super) fn includes(range: Cidr, part: Cidr) -> bool {
    let same = Cidr {
        prefix: range.prefix,
        ..part
    };
    range.address.is_ipv4() == part.address.is_ipv4()
        && range.prefix <= part.prefix
        && first(same) == first(range)
}

/// Addresses of a range, but those in use, all of them or the next [`MOST`]; from somewhere on, so that what was given back is
/// seldom given again at once.
pub(super) fn candidates(range: Cidr, start: u64, in_use: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let bits = if range.address.is_ipv4() { 32 } else { 128 } - u32::from(range.prefix);
    let count = 1_u64.checked_shl(bits).unwrap_or(u64::MAX);
    let nth = |number: u64| -> IpAddr {
        let number = start.wrapping_add(number) % count;
        match first(range) {
            IpAddr::V4(at) => Ipv4Addr::from(u32::from(at) | u32::try_from(number).unwrap_or(0)).into(),
            IpAddr::V6(at) => Ipv6Addr::from(u128::from(at) | u128::from(number)).into(),
        }
    };
    let free = (0..count.min(MOST)).map(nth).filter(|at| !in_use.contains(at));
    free.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_as_it_was_written() {
        for text in [
            "default/4",
            "blue/6",
            "swarm:default/4",
            "default/4/10.32.1.0/24",
            "swarm:blue/6/fd00::/80",
        ] {
            let pool: Pool = text.parse().unwrap();
            assert_eq!(pool.to_string(), text);
        }
        for text in [
            "",
            "default",
            "default/5",
            "swarm:",
            "default/4/",
            "default/4/10.32.1.0",
        ] {
            assert!(text.parse::<Pool>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_is_in_its_range_and_has_its_addresses() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        let whole = cidr("10.32.0.0/12");
        for part in ["10.32.0.0/12", "10.47.255.0/24", "10.47.255.255/32"] {
            assert!(includes(whole, cidr(part)), "{part}");
        }
        for part in ["10.48.0.0/24", "10.0.0.0/8", "fd00::/64", "0.0.0.0/0"] {
            assert!(!includes(whole, cidr(part)), "{part}");
        }
        let texts = |range: &str, start: u64, in_use: &[&str]| -> Vec<String> {
            let in_use = in_use.iter().map(|text| text.parse().unwrap()).collect();
            let all = candidates(cidr(range), start, &in_use);
            all.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            texts("10.32.1.6/30", 3, &["10.32.1.5"]),
            ["10.32.1.7", "10.32.1.4", "10.32.1.6"]
        );
        assert_eq!(texts("10.32.1.9/32", 7, &[]), ["10.32.1.9"]);
        assert_eq!(texts("fd00::8/127", 0, &[]), ["fd00::8", "fd00::9"]);
        let most = usize::try_from(MOST).unwrap();
        for large in ["0.0.0.0/0", "fd00::/64", "::/0"] {
            assert_eq!(texts(large, u64::MAX, &[]).len(), most, "{large}");
        }
    }
}
