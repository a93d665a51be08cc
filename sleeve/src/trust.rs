//! Trusted subnets.

use std::net::IpAddr;

/// True if `address` is in one of `subnets` (address, prefix length).
#[must_use]
pub fn trusts(subnets: &[(IpAddr, u8)], address: IpAddr) -> bool {
    subnets
        .iter()
        .any(|&(subnet, length)| contains(subnet, length, address.to_canonical()))
}

fn contains(subnet: IpAddr, length: u8, address: IpAddr) -> bool {
    // Bits beyond the prefix are shifted out; a prefix longer than the address covers that address alone.
    match (subnet, address) {
        (IpAddr::V4(subnet), IpAddr::V4(address)) => {
            let shift = 32u32.saturating_sub(length.into());
            subnet.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(subnet), IpAddr::V6(address)) => {
            let shift = 128u32.saturating_sub(length.into());
            subnet.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_contain_what_they_should() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let subnets = [
            (ip("10.1.0.0"), 16),
            (ip("2001:db8::"), 32),
            (ip("192.0.2.7"), 32),
        ];
        for inside in ["10.1.255.1", "2001:db8:ffff::1", "192.0.2.7", "::ffff:10.1.2.3"] {
            assert!(trusts(&subnets, ip(inside)), "{inside}");
        }
        for outside in ["10.2.0.1", "2001:db9::1", "192.0.2.6", "::ffff:10.2.0.1"] {
            assert!(!trusts(&subnets, ip(outside)), "{outside}");
        }
        assert!(trusts(&[(ip("0.0.0.0"), 0)], ip("203.0.113.9")));
        assert!(!trusts(&[(ip("0.0.0.0"), 0)], ip("::1")));
        assert!(!trusts(&[], ip("127.0.0.1")));
    }
}
