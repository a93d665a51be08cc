//! Small parsers of addresses as people write them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The port on which routers find each other unless told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 6783;

/// An IP address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not an address with prefix length, such as 10.32.0.1/12 or fd00::1/64");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let digits = prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix <= most {
            Ok(Self { address, prefix })
        } else {
            Err(wrong())
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why an address can't be given to a container, if it can't.
pub(crate) fn unusable_for_container(cidr: &Cidr) -> Option<&'static str> {
    let address = cidr.address;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Some("is not an address of one host");
    }
    if let IpAddr::V4(v4) = address {
        let host = u32::from(v4) & u32::MAX.checked_shr(cidr.prefix.into()).unwrap_or(0);
        let all = u32::MAX.checked_shr(cidr.prefix.into()).unwrap_or(0);
        if v4.is_broadcast() || (cidr.prefix < 31 && (host == 0 || host == all)) {
            return Some("is the network's own or its broadcast address");
        }
    }
    None
}

/// A port number: digits only, where Rust's own parser also takes a sign.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    text.parse()
        .ok()
        .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// `ADDR` or `ADDR:PORT` of a name server.
pub(crate) fn parse_dns(text: &str) -> Result<SocketAddr, String> {
    const PORT: u16 = 53;
    let whole = text.parse::<SocketAddr>().ok();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    whole
        .or_else(|| bare.parse().ok().map(|ip| SocketAddr::new(ip, PORT)))
        .ok_or_else(|| "an address is expected, with a port or without".into())
}

/// `ADDR:PORT`, `ADDR`, `:PORT` or `PORT`; all addresses and the default port where one is missing.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(ip) = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok(SocketAddr::new(ip, DEFAULT_PORT));
    }
    let port = parse_port(text.strip_prefix(':').unwrap_or(text));
    port.map(|port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
        .ok_or_else(|| format!("{text:?} is not an address and port, such as 0.0.0.0:6783"))
}

/// Writes a target in its one normal form `HOST:PORT` (`[V6]:PORT`), with the default port if none is given.
pub(crate) fn normal_target(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not an address: expected HOST, HOST:PORT, or an IP address");
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            return Err(wrong());
        }
        return Ok(SocketAddr::new(address.ip().to_canonical(), address.port()).to_string());
    }
    if let Ok(ip) = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok(SocketAddr::new(ip.to_canonical(), DEFAULT_PORT).to_string());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, parse_port(port).filter(|&port| port > 0).ok_or_else(wrong)?),
        None => (text, DEFAULT_PORT),
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let fits = host.len() <= 253 && !numeric && host.trim_end_matches('.').split('.').all(label);
    if fits {
        Ok(format!("{host}:{port}"))
    } else {
        Err(wrong())
    }
}

/// `address` without IPv4 hidden in IPv6, as people and records know it.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cidrs() {
        assert_eq!(
            "10.32.0.1/12".parse::<Cidr>().unwrap().to_string(),
            "10.32.0.1/12"
        );
        assert_eq!("fd00::1/64".parse::<Cidr>().unwrap().prefix, 64);
        for bad in [
            "",
            "10.0.0.1",
            "10.0.0.1/33",
            "10.0.0.1/+1",
            "fd00::1/129",
            "x/1",
            "10.0.0.1/24/1",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        let unusable = |text: &str| unusable_for_container(&text.parse().unwrap()).is_some();
        for bad in [
            "10.0.0.0/24",
            "10.0.0.255/24",
            "224.0.0.1/4",
            "::1/128",
            "0.0.0.0/0",
            "ff02::1/64",
        ] {
            assert!(unusable(bad), "{bad}");
        }
        for good in ["10.0.0.1/24", "10.0.0.0/31", "10.0.0.0/32", "fd00::/64"] {
            assert!(!unusable(good), "{good}");
        }
    }

    #[test]
    fn targets_have_one_normal_form() {
        let normal = |text| normal_target(text).unwrap();
        assert_eq!(normal("10.0.0.1"), "10.0.0.1:6783");
        assert_eq!(normal("::ffff:10.0.0.1"), "10.0.0.1:6783");
        assert_eq!(normal("fd00::1"), "[fd00::1]:6783");
        assert_eq!(normal("[fd00::1]"), "[fd00::1]:6783");
        assert_eq!(normal("[fd00::1]:1"), "[fd00::1]:1");
        assert_eq!(normal("host-1.example:7000"), "host-1.example:7000");
        for bad in [
            "",
            "two words",
            "host:0",
            "10.0.0.1:0",
            "[fd00::1]:0",
            "host:70000",
            "10.0.0",
            "10.0.0.1.2:5",
            "a..b",
            "-:x",
        ] {
            assert!(normal_target(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn listen_addresses() {
        for (text, expected) in [
            ("[::]:6783", "[::]:6783"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("127.0.0.1", "127.0.0.1:6783"),
            (":99", "[::]:99"),
            ("99", "[::]:99"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), expected);
        }
        assert!(parse_listen("nowhere").is_err() && parse_listen("+80").is_err());
    }
}
