//! Whether an interface listens yet where its IPv6 addresses are asked for.
//!
//! A neighbour looks for an address at its solicited-node group (RFC 4291, section 2.7.1). The kernel joins that
//! group from a work queue, some time after the address is there. A solicitation that comes earlier is lost, and
//! the next comes a second later. Only `/proc/net/igmp6` tells.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Long enough for a work queue on a busy machine.
const PATIENCE: Duration = Duration::from_millis(500);

/// Waits, but not for long, until the interface `ifname` of the thread's namespace listens to the groups of all of
/// `addresses`; false when it still doesn't.
pub(crate) fn await_joined(ifname: &str, addresses: impl Iterator<Item = IpAddr>) -> bool {
    let wanted: Vec<_> = addresses.filter_map(group).collect();
    let start = Instant::now();
    loop {
        // `thread-self`, because `/proc/net` is the namespace of the process's first thread.
        let Ok(table) = std::fs::read_to_string("/proc/thread-self/net/igmp6") else {
            return true; // no way to tell
        };
        if wanted.iter().all(|group| listens(&table, ifname, group)) {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The solicited-node group of an IPv6 address, in the digits of the table.
fn group(address: IpAddr) -> Option<String> {
    let IpAddr::V6(address) = address else { return None };
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(a),
        u16::from(b) << 8 | u16::from(c),
    );
    Some(format!("{:032x}", group.to_bits()))
}

/// Lines are: index, name, group, users, flags, timer.
fn listens(table: &str, ifname: &str, group: &str) -> bool {
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(ifname) && fields.next() == Some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_in_the_table() {
        let table = "1    lo   ff020000000000000000000000000001     1 0000000C 0\n\
                     2    eth0 ff0200000000000000000001ff000001     1 00000004 0\n";
        let group = group("fd00:1::1".parse().unwrap()).unwrap();
        assert!(listens(table, "eth0", &group) && !listens(table, "lo", &group));
        assert_eq!(super::group("10.0.0.1".parse().unwrap()), None);
    }
}
