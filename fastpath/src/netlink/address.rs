//! Addresses of interfaces.

use super::{Mode, NetlinkError, Socket};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr};

/// One address of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
    /// Reachable from anywhere, as far as the kernel knows: neither of the link nor of the host alone.
    pub(crate) universal: bool,
    /// Not yet usable, or about to go, or short-lived: nothing to tell others.
    pub(crate) passing: bool,
}

/// All addresses of the namespace.
pub(crate) fn list(socket: &mut Socket) -> Result<Vec<Address>, NetlinkError> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = socket.dump("list addresses", &request)?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => parse(&message),
            _ => None,
        })
        .collect())
}

fn parse(message: &AddressMessage) -> Option<Address> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let flags = flags.unwrap_or_else(|| AddressFlags::from_bits_retain(message.header.flags.bits().into()));
    let address = local.or(address)?;
    let fleeting = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    Some(Address {
        index: message.header.index,
        address,
        prefix: message.header.prefix_len,
        universal: message.header.scope == AddressScope::Universe,
        // For IPv6, "secondary" marks the temporary addresses of RFC 8981.
        passing: flags.intersects(fleeting) || (address.is_ipv6() && flags.contains(AddressFlags::Secondary)),
    })
}

/// Gives interface `index` an address: IPv4 with its broadcast address, IPv6 usable at once.
pub(crate) fn add(socket: &mut Socket, index: u32, address: IpAddr, prefix: u8) -> Result<(), NetlinkError> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    match address {
        IpAddr::V4(address) => {
            message.header.family = AddressFamily::Inet;
            message
                .attributes
                .extend(broadcast(address, prefix).map(AddressAttribute::Broadcast));
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // The router has checked already that nobody else has it: no need to wait a second and ask.
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    let doing = format!("add address {address}/{prefix}");
    super::or_exists(socket.change(&doing, RouteNetlinkMessage::NewAddress(message), Mode::Create))
}

/// The last address of the subnet; none for /31 and /32 (RFC 3021).
fn broadcast(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    let hosts = u32::MAX.checked_shr(prefix.into())?;
    (prefix < 31).then(|| Ipv4Addr::from_bits(address.to_bits() | hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_addresses_follow_the_prefix() {
        let address = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(broadcast(address, 24), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(broadcast(address, 0), Some(Ipv4Addr::BROADCAST));
        assert_eq!(broadcast(address, 31), None);
        assert_eq!(broadcast(address, 33), None);
    }
}
