//! nftables. Of this module's own is one table per router: VXLAN is taken only by the interface that leads back to its sender.
//!
//! ```text
//! table inet weft-<bridge> { chain vxlan { type filter hook input priority mangle;
//!     udp dport 6784 fib saddr . iif oif missing counter drop }
//!   chain sealed { type filter hook output priority mangle;
//!     udp dport 6784 ip daddr ADDRESS rt ipsec missing counter drop } }
//! ```
//! The programs at the VXLAN device can't see by which interface a packet came. So a container of another bridge, or
//! whoever else can send to this host by another interface, could pass for a neighbour by its address alone; this rule
//! compares interface and route, as reverse path filtering does, for this port only. The other chain holds back what is to be
//! encrypted and would not be, should somebody take the IPsec policies away. The whole table is made in one
//! transaction. (`linux/netfilter/nf_tables.h` names the numbers.)

use super::{NetlinkError, messages};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const DUMP: u16 = 0x300;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0x0a00;
const DELETE_TABLE: u16 = 0x0a02;
const GET_TABLE: u16 = 0x0a01;
pub(crate) const NEW_CHAIN: u16 = 0x0a03;
pub(crate) const NEW_RULE: u16 = 0x0a06;
const GET_RULE: u16 = 0x0a07;
pub(crate) const NEW_SET: u16 = 0x0a09;
pub(crate) const NEW_SET_ELEMENTS: u16 = 0x0a0c;
/// `NFPROTO_INET`: IPv4 and IPv6.
const INET: u8 = 1;
const NESTED: u16 = 0x8000;
/// Of what comes in.
const CHAIN: &str = "vxlan";
/// Of what goes out.
const SEALED: &str = "sealed";
const PATIENCE: Duration = Duration::from_secs(2);

/// A rule that counts, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// UDP port.
    pub(crate) port: u16,
    /// Packets dropped.
    pub(crate) dropped: u64,
    /// It looks at what goes out, and is to be encrypted.
    pub(crate) sealed: bool,
}

/// Attributes, one after the other.
#[derive(Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }

    pub(crate) fn number(self, kind: u16, number: u32) -> Self {
        self.with(kind, &number.to_be_bytes())
    }

    pub(crate) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.with(kind | NESTED, &inner.0)
    }

    /// An expression of a rule.
    pub(crate) fn expression(self, name: &str, data: &Self) -> Self {
        let inner = Self::default().text(1, name).nest(2, data);
        self.nest(1, &inner)
    }
}

pub(crate) fn new() -> Attributes {
    Attributes::default()
}

/// Register 1 equals these bytes.
pub(crate) fn equals(bytes: &[u8]) -> Attributes {
    new().number(1, 1).number(2, 0).nest(3, &new().with(1, bytes))
}

/// Begins the expressions of a rule: `udp dport PORT`.
fn to_port(port: u16) -> Attributes {
    let udp = 17;
    let destination = new().number(1, 1).number(2, 2).number(3, 2).number(4, 2);
    new()
        .expression("meta", &new().number(1, 1).number(2, 16)) // layer 4 protocol
        .expression("cmp", &equals(&[udp]))
        .expression("payload", &destination)
        .expression("cmp", &equals(&port.to_be_bytes()))
}

/// Ends them: `counter drop`, or `accept`.
pub(crate) fn verdict(expressions: Attributes, accepts: bool) -> Attributes {
    let counted = if accepts {
        expressions
    } else {
        expressions.expression("counter", &new())
    };
    let code = new().nest(2, &new().number(1, accepts.into()));
    counted.expression("immediate", &new().number(1, 0).nest(2, &code))
}

/// `udp dport PORT fib saddr . iif oif missing counter drop`
fn by_wrong_interface(port: u16) -> Attributes {
    let is_there = new().number(1, 1).number(2, 1).number(3, 1 | 8 | 32);
    let expressions = to_port(port)
        .expression("fib", &is_there)
        .expression("cmp", &equals(&[0; 4]));
    verdict(expressions, false)
}

/// `udp dport PORT ip saddr ADDRESS accept`
fn from(port: u16, address: IpAddr) -> Attributes {
    verdict(with_address(port, address, (12, 8)), true)
}

/// `udp dport PORT ip daddr ADDRESS rt ipsec missing counter drop`
fn unsealed(port: u16, address: IpAddr) -> Attributes {
    let is_transformed = new().number(1, 1).number(2, 4);
    let expressions = with_address(port, address, (16, 24))
        .expression("rt", &is_transformed)
        .expression("cmp", &equals(&[0]));
    verdict(expressions, false)
}

/// `at`: where the address is in the network header, of IPv4 and of IPv6.
fn with_address(port: u16, address: IpAddr, at: (u32, u32)) -> Attributes {
    // Of nfproto.
    let (family, at, octets) = match address {
        IpAddr::V4(address) => (2, at.0, address.octets().to_vec()),
        IpAddr::V6(address) => (10, at.1, address.octets().to_vec()),
    };
    let length = u32::try_from(octets.len()).unwrap_or(0);
    let load = new().number(1, 1).number(2, 1).number(3, at).number(4, length);
    to_port(port)
        .expression("meta", &new().number(1, 1).number(2, 15))
        .expression("cmp", &equals(&[family]))
        .expression("payload", &load)
        .expression("cmp", &equals(&octets))
}

fn rule(table: &str, chain: &str, expressions: &Attributes) -> Attributes {
    new().text(1, table).text(2, chain).nest(4, expressions)
}

fn chain(table: &str, name: &str) -> Attributes {
    let hook = if name == CHAIN { 1 } else { 3 }; // input, output
    let hook = new().number(1, hook).number(2, (-150_i32).cast_unsigned()); // mangle
    new()
        .text(1, table)
        .text(3, name)
        .nest(4, &hook)
        .number(5, 1)
        .text(7, "filter")
}

/// Appends a message; `resource` is the subsystem of a batch.
fn push(to: &mut Vec<u8>, kind: u16, flags: u16, family: u8, resource: u16, attributes: &Attributes) {
    let length = u32::try_from(20 + attributes.0.len()).unwrap_or(u32::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend((REQUEST | flags).to_ne_bytes());
    to.extend(1_u32.to_ne_bytes());
    to.extend([0; 4]);
    to.extend([family, 0]);
    to.extend(resource.to_be_bytes());
    to.extend(&attributes.0);
}

fn open(doing: &str) -> Result<OwnedFd, NetlinkError> {
    let trouble = |error| NetlinkError::new(doing, error);
    let flags = SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))
        .map_err(trouble)?;
    let timeout = rustix::net::sockopt::Timeout::Recv;
    rustix::net::sockopt::set_socket_timeout(&fd, timeout, Some(PATIENCE)).map_err(trouble)?;
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0)).map_err(trouble)?;
    Ok(fd)
}

/// Sends, and hands every message that comes to `take` until it says that it was the last.
fn ask(
    doing: &str,
    request: &[u8],
    mut take: impl FnMut(u16, &[u8]) -> Option<Result<(), NetlinkError>>,
) -> Result<(), NetlinkError> {
    let fd = open(doing)?;
    let trouble = |error| NetlinkError::new(doing, error);
    rustix::net::send(&fd, request, SendFlags::empty()).map_err(trouble)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (length, _) = rustix::net::recv(&fd, &mut buffer[..], RecvFlags::empty()).map_err(trouble)?;
        for (header, body) in messages(&buffer[..length]) {
            if let Some(end) = take(header.message_type, body) {
                return end;
            }
        }
    }
}

/// What an acknowledgement says.
fn acknowledged(doing: &str, body: &[u8]) -> Result<(), NetlinkError> {
    match body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code)) {
        0 => Ok(()),
        code => {
            let error = std::io::Error::from_raw_os_error(code.saturating_neg());
            Err(NetlinkError::new(doing, error))
        }
    }
}

/// Makes the table, in place of one that may be there. `only`: whose packets are taken; none: everybody's. `sealed`: where
/// nothing may go unencrypted.
pub(crate) fn install(
    table: &str,
    port: u16,
    only: Option<&BTreeSet<IpAddr>>,
    sealed: &BTreeSet<IpAddr>,
) -> Result<(), NetlinkError> {
    let senders = only.into_iter().flatten().map(|address| from(port, *address));
    let others = only.map(|_| verdict(to_port(port), false));
    let incoming = std::iter::once(by_wrong_interface(port))
        .chain(senders)
        .chain(others);
    let incoming = incoming.map(|rule| (CHAIN, rule));
    let outgoing = sealed.iter().map(|address| (SEALED, unsealed(port, *address)));
    let mut messages = vec![(NEW_CHAIN, chain(table, CHAIN))];
    if !sealed.is_empty() {
        messages.push((NEW_CHAIN, chain(table, SEALED)));
    }
    let rules = incoming.chain(outgoing);
    messages.extend(rules.map(|(chain, expressions)| (NEW_RULE, rule(table, chain, &expressions))));
    replace("make the rules for VXLAN", table, &messages)
}

/// Makes a table of these messages, in place of one that may be there, in one transaction.
pub(crate) fn replace(doing: &str, table: &str, messages: &[(u16, Attributes)]) -> Result<(), NetlinkError> {
    let name = new().text(1, table);
    let mut batch = Vec::new();
    push(&mut batch, BATCH_BEGIN, 0, 0, 10, &new());
    push(&mut batch, NEW_TABLE, CREATE, INET, 0, &name);
    push(&mut batch, DELETE_TABLE, 0, INET, 0, &name);
    push(&mut batch, NEW_TABLE, CREATE, INET, 0, &name);
    for (at, (kind, attributes)) in (1..).zip(messages) {
        let order = if *kind == NEW_RULE { APPEND } else { 0 };
        // The whole batch is acknowledged with its last message, or refused with any.
        let last = if at == messages.len() { ACK } else { 0 };
        push(&mut batch, *kind, CREATE | order | last, INET, 0, attributes);
    }
    push(&mut batch, BATCH_END, 0, 0, 10, &new());
    ask(doing, &batch, |kind, body| {
        (kind == 2).then(|| acknowledged(doing, body))
    })
}

/// True if there is a table of this name.
pub(crate) fn is_there(table: &str) -> Result<bool, NetlinkError> {
    let mut request = Vec::new();
    push(&mut request, GET_TABLE, ACK, INET, 0, &new().text(1, table));
    let doing = "look for a table";
    let result = ask(doing, &request, |kind, body| {
        (kind == 2).then(|| acknowledged(doing, body))
    });
    match result {
        Err(error) if error.is(rustix::io::Errno::NOENT) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Removes the table; nothing happens when there is none.
pub(crate) fn remove(table: &str) -> Result<(), NetlinkError> {
    let mut batch = Vec::new();
    push(&mut batch, BATCH_BEGIN, 0, 0, 10, &new());
    push(&mut batch, DELETE_TABLE, ACK, INET, 0, &new().text(1, table));
    push(&mut batch, BATCH_END, 0, 0, 10, &new());
    let doing = "remove a table";
    super::or_missing(ask(doing, &batch, |kind, body| {
        (kind == 2).then(|| acknowledged(doing, body))
    }))
}

/// The rules that count, in order; none when the table is not there.
pub(crate) fn read(table: &str) -> Result<Vec<Rule>, NetlinkError> {
    let mut request = Vec::new();
    push(&mut request, GET_RULE, DUMP, INET, 0, &new().text(1, table));
    let doing = "read the rule against VXLAN by the wrong interface";
    let mut found = Vec::new();
    let result = ask(doing, &request, |kind, body| match kind {
        2 | 3 => Some(acknowledged(doing, body)),
        NEW_RULE => {
            found.extend(body.get(4..).and_then(|rule| parse(table, rule)));
            None
        }
        _ => None,
    });
    super::or_missing(result)?;
    Ok(found)
}

/// The attributes in some bytes.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d, ..] = *bytes else { return None };
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & !NESTED, value))
    })
}

/// The first attribute of this kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

fn parse(table: &str, rule: &[u8]) -> Option<Rule> {
    let is_ours = find(rule, 1)?.strip_suffix(&[0]) == Some(table.as_bytes());
    let (mut port, mut dropped, mut sealed) = (None, None, false);
    for (_, expression) in attributes(find(rule, 4).filter(|_| is_ours)?) {
        let (name, data) = (find(expression, 1)?, find(expression, 2).unwrap_or_default());
        match name {
            b"cmp\0" => {
                let value = find(data, 3).and_then(|data| find(data, 1));
                port = port.or_else(|| Some(u16::from_be_bytes(value?.try_into().ok()?)));
            }
            b"rt\0" => sealed = true,
            b"counter\0" => {
                dropped = find(data, 2).and_then(|value| Some(u64::from_be_bytes(value.try_into().ok()?)));
            }
            _ => {}
        }
    }
    Some(Rule {
        port: port?,
        dropped: dropped?,
        sealed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_fatal(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse("weft", &bytes);
        }
    }

    #[test]
    fn what_is_asked_for_is_read() {
        for sealed in [false, true] {
            let (chain, asked) = if sealed {
                (SEALED, unsealed(6784, IpAddr::from([10, 0, 0, 1])))
            } else {
                (CHAIN, by_wrong_interface(6784))
            };
            let made = rule("weft-weft", chain, &asked);
            // The kernel tells the counter's numbers.
            let counter = new().expression("counter", &new().with(1, &[0; 8]).with(2, &7_u64.to_be_bytes()));
            let expressions = find(&made.0, 4).unwrap();
            let told = new()
                .text(1, "weft-weft")
                .nest(4, &Attributes([expressions, &counter.0].concat()));
            let rule = Rule {
                port: 6784,
                dropped: 7,
                sealed,
            };
            assert_eq!(parse("weft-weft", &told.0), Some(rule));
            assert_eq!(parse("weft-other", &told.0), None);
        }
    }
}
