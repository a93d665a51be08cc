//! Numbers and ranges for networks that were not given any: the same wherever a name is added, so that two hosts that add it
//! apart make the same network.

use crate::ipam::Pool;
use crate::{Name, Vni};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Ranges are taken from 10.128.0.0/9.
const BASE: u32 = 0x0a80_0000;
const BASE_PREFIX: u8 = 9;
/// A range has 2¹⁴ addresses.
const PREFIX: u8 = 18;
/// The first 40 bits of all IPv6 ranges, those of the default network.
const BASE_V6: u128 = 0x00fd_5745_4654 << 88;

fn hash(name: &Name, turn: u32) -> u32 {
    let mut hash = Sha256::new();
    hash.update(name.as_str());
    hash.update(turn.to_be_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    u32::from_be_bytes([a, b, c, d])
}

/// A number that none of these is, also not of networks that were removed: something of them may be left.
pub(super) fn free_number(name: &Name, used: &BTreeSet<Vni>) -> Vni {
    let candidates = (0..).map(|turn| Vni(hash(name, turn) & Vni::MAX));
    let mut free = candidates.filter(|vni| super::is_number(*vni) && !used.contains(vni));
    // There are far fewer networks than numbers.
    free.next().unwrap_or(Vni(2))
}

/// A range that meets none of these.
pub(super) fn free_pool(name: &Name, vni: Vni, pools: &[Pool]) -> Option<Pool> {
    let count = 1_u32 << (PREFIX - BASE_PREFIX);
    let first = hash(name, 0) % count;
    let candidates = (0..count).map(|turn| {
        let v4 = BASE + (((first + turn) % count) << (32 - PREFIX));
        (Ipv4Addr::from(v4), PREFIX)
    });
    let mut free = candidates.filter(|range| !pools.iter().any(|pool| meet(*range, pool.v4())));
    Pool::new(free.next()?, Some(v6(vni))).ok()
}

/// The same range with an IPv6 range beside it, if it has none.
pub(super) fn with_v6(pool: Pool, vni: Vni) -> Pool {
    let v6 = pool.v6().unwrap_or_else(|| v6(vni));
    Pool::new(pool.v4(), Some(v6)).unwrap_or(pool)
}

fn v6(vni: Vni) -> (Ipv6Addr, u8) {
    (Ipv6Addr::from(BASE_V6 | u128::from(vni.0) << 64), 64)
}

fn meet(a: (Ipv4Addr, u8), b: (Ipv4Addr, u8)) -> bool {
    let shorter = a.1.min(b.1);
    let cut = |address: Ipv4Addr| u32::from(address) & u32::MAX << (32 - shorter);
    cut(a.0) == cut(b.0)
}
