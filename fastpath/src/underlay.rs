//! The host's own addresses, by which other routers can reach it, and the ways out.

use crate::netlink::link::{Kind, Link};
use crate::netlink::{NetlinkError, Socket, address, link, route};
use std::net::IpAddr;

/// One address of one interface of the underlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderlayAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length of its subnet.
    pub prefix: u8,
    /// The interface that has it.
    pub interface: String,
    /// The interface's MTU in bytes.
    pub mtu: u32,
    /// Routed on the internet, as opposed to private ranges (RFC 1918, 6598, 4193).
    pub global: bool,
}

/// The way to an address of the underlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderlayRoute {
    /// The interface packets leave by.
    pub interface: String,
    /// The largest IP packet in bytes: the interface's MTU, or what is set on or learnt for the route.
    pub mtu: u32,
    /// The address of ours they leave from.
    pub source: Option<IpAddr>,
    /// The next router, when the destination is not on the link.
    pub gateway: Option<IpAddr>,
}

/// Names under which container runtimes and hypervisors make interfaces of their own.
const FOREIGN: &[&str] = &[
    "docker", "br-", "virbr", "cni", "flannel", "cali", "cilium", "lxc", "podman", "kube", "vnet",
];

/// Addresses of the calling thread's namespace that other hosts may reach: global ones first, then private ones;
/// none of loopback, of the link only, or of interfaces made for containers (bridges, pairs, TUN and TAP, and what
/// runtimes make). `bridge` is this router's own.
///
/// # Errors
/// When the interfaces can't be listed.
pub fn addresses(bridge: &str) -> Result<Vec<UnderlayAddress>, NetlinkError> {
    let mut socket = Socket::open()?;
    let links = link::list(&mut socket)?;
    let mut found: Vec<_> = address::list(&mut socket)?
        .into_iter()
        .filter(|address| !address.passing && is_reachable(address.address))
        .filter_map(|address| {
            let link = links.iter().find(|link| link.index == address.index)?;
            is_underlay(link, &links, bridge).then(|| UnderlayAddress {
                address: address.address,
                prefix: address.prefix,
                interface: link.name.clone(),
                mtu: link.mtu,
                global: is_global(address.address),
            })
        })
        .collect();
    found.sort_by_key(|address| !address.global);
    Ok(found)
}

/// Which way a packet to `destination` would leave the calling thread's namespace.
///
/// # Errors
/// When there is no route.
pub fn route_to(destination: IpAddr) -> Result<UnderlayRoute, NetlinkError> {
    let mut socket = Socket::open()?;
    let way = route::toward(&mut socket, destination)?;
    let link = link::list(&mut socket)?
        .into_iter()
        .find(|link| link.index == way.interface);
    let (interface, device) = link.map_or((String::new(), 0), |link| (link.name, link.mtu));
    let mtu = way.mtu.filter(|mtu| *mtu > 0).unwrap_or(device);
    Ok(UnderlayRoute {
        interface,
        mtu,
        source: way.source,
        gateway: way.gateway,
    })
}

/// A pair may well be the way out: a router that runs in a container has nothing else. Its other end is then in
/// another namespace. The ends that lead to containers of this host have no addresses, or bear runtimes' names.
fn is_underlay(link: &Link, links: &[Link], bridge: &str) -> bool {
    let port_of = link
        .master
        .and_then(|master| links.iter().find(|link| link.index == master));
    let of_runtime = FOREIGN.iter().any(|prefix| link.name.starts_with(prefix));
    let for_containers = match link.kind {
        Kind::Bridge => link.ours || of_runtime || link.name == bridge,
        Kind::Tun => true,
        Kind::Veth => !link.peer_elsewhere || of_runtime,
        Kind::Vxlan => link.ours || of_runtime,
        Kind::Other => of_runtime,
    };
    let in_our_bridge = port_of.is_some_and(|port| port.ours || port.name == bridge);
    link.up && !link.loopback && !for_containers && !in_our_bridge
}

fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast())
        }
    }
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            !(v4.is_private() || shared || v4.is_documentation())
        }
        IpAddr::V6(v6) => !v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_ranges_are_told_from_global_ones() {
        for private in [
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "100.64.0.1",
            "100.127.9.9",
            "fd00::1",
        ] {
            assert!(!is_global(private.parse().unwrap()), "{private}");
        }
        for global in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2001:4860::1"] {
            assert!(is_global(global.parse().unwrap()), "{global}");
        }
    }

    #[test]
    fn link_local_and_loopback_reach_nobody() {
        for address in [
            "127.0.0.1",
            "169.254.1.1",
            "::1",
            "fe80::1",
            "0.0.0.0",
            "224.0.0.1",
        ] {
            assert!(!is_reachable(address.parse().unwrap()), "{address}");
        }
    }
}
