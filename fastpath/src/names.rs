//! The names of what the router makes in the host's namespace.
//!
//! Linux allows 15 bytes. All names of one router carry a mark derived from its bridge's name, so several routers
//! with different bridge names can share a namespace, and each knows its own by name alone, after any restart.

use crate::netns::NetNsRef;
use mesh::Vni;

/// The longest interface name in bytes, IFNAMSIZ − 1.
pub const LONGEST: usize = 15;

/// The bridge a router makes when it is not told another name.
pub const DEFAULT_BRIDGE: &str = "weft";

/// True when Linux takes `name` for an interface.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    let fits = (1..=LONGEST).contains(&name.len()) && name != "." && name != "..";
    fits && name
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
}

/// The bridge of a network, for a router whose own bridge has this name of at most eight bytes. The default network's is
/// that one. All names below follow from a network's bridge.
#[must_use]
pub fn of_network(bridge: &str, vni: Vni) -> String {
    if vni == Vni::DEFAULT {
        bridge.to_owned()
    } else {
        format!("{bridge}-{:06x}", vni.0)
    }
}

/// True for the bridges of networks of the router with this bridge, the default one's left out.
#[must_use]
pub fn is_network(bridge: &str, name: &str) -> bool {
    let number = name.strip_prefix(bridge).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| number.len() == 6 && number.bytes().all(is_hex))
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The TAP device of the router with this bridge.
#[must_use]
pub fn tap(bridge: &str) -> String {
    format!("wt{:06x}", mark(bridge))
}

/// The stub of the router with this bridge: the bridge's mesh port when there is a fast path.
#[must_use]
pub fn stub(bridge: &str) -> String {
    format!("ws{:06x}", mark(bridge))
}

/// The other end of the stub, by which the router's probes enter and leave.
#[must_use]
pub fn hatch(bridge: &str) -> String {
    format!("wh{:06x}", mark(bridge))
}

/// The VXLAN device of the router with this bridge.
#[must_use]
pub fn vxlan(bridge: &str) -> String {
    format!("wx{:06x}", mark(bridge))
}

/// The nftables table of the router with this bridge.
#[must_use]
pub fn filter(bridge: &str) -> String {
    format!("weft-{bridge}")
}

/// The nftables table of a network whose containers reach what is outside by this host.
#[must_use]
pub fn gateway(bridge: &str) -> String {
    format!("weft-gw-{bridge}")
}

/// True for the devices of the fast path of the router with this bridge.
#[must_use]
pub fn is_fast(bridge: &str, name: &str) -> bool {
    [stub(bridge), hatch(bridge), vxlan(bridge)]
        .iter()
        .any(|device| device == name)
}

/// The host's end of a pair whose other end somebody else puts where it belongs, and knows by this key.
#[must_use]
pub fn handed(bridge: &str, key: &str) -> String {
    let mut hash = Fnv::new();
    hash.add(b"handed");
    hash.add(key.as_bytes());
    format!("wv{:06x}{:07x}", mark(bridge), hash.0 >> 36)
}

/// The host's own interface in the mesh, if it has one.
#[must_use]
pub fn exposed(bridge: &str) -> String {
    let name = format!("{bridge}-host");
    if is_valid(&name) {
        name
    } else {
        format!("we{:06x}", mark(bridge))
    }
}

/// The host's end of the pair that leads to `ifname` in the namespace `netns`.
#[must_use]
pub fn host(bridge: &str, netns: &NetNsRef, ifname: &str) -> String {
    let mut hash = Fnv::new();
    hash.add(&netns.inode.to_le_bytes());
    hash.add(ifname.as_bytes());
    // 15 bytes are full: 6 digits of mark leave 7 for the container's interface, 28 bits.
    format!("wv{:06x}{:07x}", mark(bridge), hash.0 >> 36)
}

/// True when `name` is a host end that the router with this bridge made.
#[must_use]
pub fn is_host(bridge: &str, name: &str) -> bool {
    let rest = name.strip_prefix(&format!("wv{:06x}", mark(bridge)));
    rest.is_some_and(|rest| rest.len() == 7 && rest.bytes().all(is_hex))
}

/// The name a container's interface bears until it is complete. Same hash as the host's end, so that two
/// attachments in one namespace never meet.
#[must_use]
pub fn unfinished(host: &str) -> String {
    format!("w~{}", host.get(2..).unwrap_or(host))
}

/// A number for the network with this bridge, the same in all its devices' names.
pub(crate) fn number(bridge: &str) -> u32 {
    u32::try_from(mark(bridge)).unwrap_or(0)
}

fn mark(bridge: &str) -> u64 {
    let mut hash = Fnv::new();
    hash.add(bridge.as_bytes());
    hash.0 >> 40
}

/// FNV-1a, 64 bits: names must stay the same across versions, which the standard hasher does not promise.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // A last mix: the upper bits of FNV change little with the last bytes.
        self.0 ^= self.0 >> 29;
        self.0 = self.0.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.0 ^= self.0 >> 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netns(inode: u64) -> NetNsRef {
        NetNsRef {
            path: "/proc/1/ns/net".into(),
            inode,
        }
    }

    #[test]
    fn names_fit_and_are_told_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for bridge in ["weft", "weft0", "weft1"] {
            for inode in 4_026_531_840..4_026_531_940_u64 {
                for ifname in ["eth0", "eth1"] {
                    let name = host(bridge, &netns(inode), ifname);
                    assert_eq!(name.len(), LONGEST);
                    assert!(is_host(bridge, &name) && is_valid(&unfinished(&name)));
                    assert!(!is_host("other", &name));
                    assert!(seen.insert(name));
                }
            }
        }
        assert!(!is_host("weft", &tap("weft")));
    }

    #[test]
    fn names_never_change() {
        assert_eq!(tap("weft"), "wt11174a");
        assert_eq!(host("weft", &netns(4_026_531_840), "eth0"), "wv11174a088dab5");
    }

    #[test]
    fn each_network_has_a_bridge_of_its_own() {
        assert_eq!(of_network("weft", Vni::DEFAULT), "weft");
        let other = of_network("longname", Vni(0xa_bcde));
        assert_eq!(other, "longname-0abcde");
        assert!(is_valid(&other) && is_network("longname", &other));
        for no in ["longname", "longname-0abcd", "longname-host12", "other-0abcde"] {
            assert!(!is_network("longname", no), "{no}");
        }
        assert!(is_valid(&exposed(&other)) && is_host(&other, &handed(&other, "key")));
    }

    #[test]
    fn what_linux_refuses_is_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "sixteen-bytes-xx"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
        assert!(is_valid("weft"));
    }
}
