//! A host that forwards for containers: what they send to the outside leaves by it, in its name if they wish so, and what
//! comes from outside for them goes in by it.
//!
//! ```text
//! table inet weft-gw-<bridge> { set v4 { … } set v6 { … } chain out { type nat hook postrouting priority srcnat;
//!     oifname <bridge> accept; ip daddr <inside> accept; …; ip saddr @v4 masquerade; ip6 saddr @v6 masquerade } }
//! ```
//! The first rule is for what passes the bridge, which the host's netfilter may see as well: that is never translated.
//!
//! One for each network that has such containers. A change replaces the whole table in one transaction; connections keep
//! the addresses they have. Forwarding is switched on, and never off again: others may rely on it by then.

use crate::names;
use crate::netlink::NetlinkError;
use crate::netlink::nft::{self, Attributes, new};
use crate::observe::Observed;
use crate::op::Op;
use crate::plan::Desired;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

const CHAIN: &str = "out";
const DOING: &str = "make the table of a gateway";
/// Addresses in one message: an attribute has at most 64 KiB.
const AT_ONCE: usize = 1000;
const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// What a host does for one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gateway {
    /// The network's own ranges, with prefix lengths: what goes there is never masqueraded.
    pub inside: BTreeSet<(IpAddr, u8)>,
    /// Containers in whose place the host speaks to everybody else.
    pub masqueraded: BTreeSet<IpAddr>,
}

pub(crate) fn plan_gateway(desired: &Desired, observed: &Observed, ops: &mut Vec<Op>) {
    let name = names::gateway(&desired.bridge);
    match &desired.gateway {
        Some(gateway) if observed.gateway.as_ref() != Some(gateway) => ops.push(Op::Gateway {
            name,
            bridge: desired.bridge.clone(),
            gateway: gateway.clone(),
        }),
        None if observed.gateway.is_some() => ops.push(Op::NoGateway { name }),
        _ => {}
    }
}

/// What is there. `made` is what this run has put there; of another's it is only known that there is something.
pub(crate) fn observe(table: &str, made: Option<&Gateway>) -> Option<Gateway> {
    let is_there = nft::is_there(table).unwrap_or(false);
    let made = made.filter(|_| forwards());
    is_there.then(|| made.cloned().unwrap_or_else(nothing_known))
}

/// Equal to nothing that anybody wants: it has an address that no container has.
fn nothing_known() -> Gateway {
    let unspecified = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    Gateway {
        inside: BTreeSet::new(),
        masqueraded: BTreeSet::from([unspecified]),
    }
}

/// Switches forwarding on and puts the table in the place of one that may be there.
pub(crate) fn install(table: &str, bridge: &str, gateway: &Gateway) -> Result<(), NetlinkError> {
    forward()?;
    nft::replace(DOING, table, &messages(table, bridge, gateway))
}

fn is_on(path: &str) -> bool {
    // Where there is no such file there is nothing to forward.
    fs::read_to_string(path).map_or(true, |text| text.trim() != "0")
}

fn forwards() -> bool {
    is_on(IPV4) && is_on(&format!("{IPV6}/all/forwarding"))
}

fn forward() -> Result<(), NetlinkError> {
    let trouble = |error| NetlinkError::new("switch forwarding on", error);
    if !is_on(IPV4) {
        fs::write(IPV4, "1").map_err(trouble)?;
    }
    let all = format!("{IPV6}/all/forwarding");
    if is_on(&all) {
        return Ok(());
    }
    // A host that forwards takes no more advertisements of routers, unless it is told to nevertheless (2): those by which
    // it has its own way out.
    for interface in fs::read_dir(IPV6).map_err(trouble)?.flatten() {
        let accept = interface.path().join("accept_ra");
        if fs::read_to_string(&accept).is_ok_and(|text| text.trim() == "1") {
            fs::write(&accept, "2").map_err(trouble)?;
        }
    }
    fs::write(&all, "1").map_err(trouble)
}

/// Of an IP version: its number in `meta nfproto`, name of the set, where in the header source and destination are.
struct Family {
    number: u8,
    /// How `nft list` shows it.
    shown_as: u32,
    set: &'static str,
    source: u32,
    destination: u32,
    length: u32,
}

const FAMILIES: [Family; 2] = [
    Family {
        number: 2,
        shown_as: 7,
        set: "v4",
        source: 12,
        destination: 16,
        length: 4,
    },
    Family {
        number: 10,
        shown_as: 8,
        set: "v6",
        source: 8,
        destination: 24,
        length: 16,
    },
];

fn family(address: IpAddr) -> &'static Family {
    let [v4, v6] = &FAMILIES;
    if address.is_ipv4() { v4 } else { v6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// All after the table itself.
fn messages(table: &str, bridge: &str, gateway: &Gateway) -> Vec<(u16, Attributes)> {
    let mut messages = Vec::new();
    for (id, family) in (1..).zip(&FAMILIES) {
        let set = new()
            .text(1, table)
            .text(2, family.set)
            .number(3, 0)
            .number(4, family.shown_as)
            .number(5, family.length)
            .number(10, id);
        messages.push((nft::NEW_SET, set));
        let own = |address: &&IpAddr| family.number == self::family(**address).number;
        let own: Vec<_> = gateway.masqueraded.iter().filter(own).collect();
        for some in own.chunks(AT_ONCE) {
            let element = |all: Attributes, address: &&IpAddr| {
                let key = new().nest(1, &new().with(1, &octets(**address)));
                all.nest(1, &key)
            };
            let elements = some.iter().fold(new(), element);
            let elements = new().text(1, table).text(2, family.set).nest(3, &elements);
            messages.push((nft::NEW_SET_ELEMENTS, elements));
        }
    }
    let hook = new().number(1, 4).number(2, 100); // postrouting, srcnat
    let chain = new()
        .text(1, table)
        .text(3, CHAIN)
        .nest(4, &hook)
        .number(5, 1)
        .text(7, "nat");
    messages.push((nft::NEW_CHAIN, chain));
    let inside = gateway
        .inside
        .iter()
        .map(|(address, prefix)| inside(*address, *prefix));
    let rules = [on_bridge(bridge)].into_iter().chain(inside);
    let rules = rules.chain(FAMILIES.iter().map(masquerade));
    messages.extend(rules.map(|rule| {
        let rule = new().text(1, table).text(2, CHAIN).nest(4, &rule);
        (nft::NEW_RULE, rule)
    }));
    messages
}

/// Begins a rule: packets of this IP version, and an address of their header in register 1.
fn of(family: &Family, at: u32) -> Attributes {
    let address = new()
        .number(1, 1)
        .number(2, 1)
        .number(3, at)
        .number(4, family.length);
    new()
        .expression("meta", &new().number(1, 1).number(2, 15))
        .expression("cmp", &nft::equals(&[family.number]))
        .expression("payload", &address)
}

/// `oifname BRIDGE accept`
fn on_bridge(bridge: &str) -> Attributes {
    let mut name = bridge.as_bytes().to_vec();
    name.resize(16, 0);
    let expressions = new()
        .expression("meta", &new().number(1, 1).number(2, 7))
        .expression("cmp", &nft::equals(&name));
    nft::verdict(expressions, true)
}

/// `ip daddr ADDRESS/PREFIX accept`
fn inside(address: IpAddr, prefix: u8) -> Attributes {
    let family = family(address);
    let mask: Vec<u8> = (0..family.length)
        .map(|byte| {
            let bits = u32::from(prefix).saturating_sub(byte * 8).min(8);
            u8::MAX.checked_shl(8 - bits).unwrap_or(0)
        })
        .collect();
    let network: Vec<u8> = octets(address)
        .iter()
        .zip(&mask)
        .map(|(byte, mask)| byte & mask)
        .collect();
    let masked = new()
        .number(1, 1)
        .number(2, 1)
        .number(3, family.length)
        .nest(4, &new().with(1, &mask))
        .nest(5, &new().with(1, &vec![0; mask.len()]));
    let expressions = of(family, family.destination)
        .expression("bitwise", &masked)
        .expression("cmp", &nft::equals(&network));
    nft::verdict(expressions, true)
}

/// `ip saddr @SET masquerade`
fn masquerade(family: &Family) -> Attributes {
    of(family, family.source)
        .expression("lookup", &new().text(1, family.set).number(2, 1))
        .expression("masq", &new())
}
