//! What the outer headers cost.
//!
//! MTUs here mean whole outer IP packets: IP header, UDP header and datagram. Sizes of frames count the Ethernet
//! header in, but no checksum behind it.

use super::{TAG, data, group, inner, relay};
use std::net::SocketAddr;

/// The smallest MTU a path may have: that of IPv6 (RFC 8200, section 5).
pub const BASE_MTU: u16 = 1280;
/// The largest datagram that is ever handled.
pub const MAX_DATAGRAM: usize = 65_507;
/// IPv4 and UDP headers.
pub const OUTER_V4: usize = 20 + 8;
/// IPv6 and UDP headers.
pub const OUTER_V6: usize = 40 + 8;
/// Header and tag of a sealed or plain datagram.
pub const SEAL: usize = data::LENGTH + TAG;
/// All that is around a frame on a direct path over IPv4.
pub const DIRECT_V4: usize = OUTER_V4 + SEAL + inner::FRAME;
/// All that is around a frame on a direct path over IPv6.
pub const DIRECT_V6: usize = OUTER_V6 + SEAL + inner::FRAME;

/// IP and UDP headers of packets to `address`.
#[must_use]
pub fn outer(address: SocketAddr) -> usize {
    if address.is_ipv6() { OUTER_V6 } else { OUTER_V4 }
}

/// What a sealed message of a relayed path may cost besides itself, IP and UDP. The path may be written anew on the
/// way, and failed links marked: so room is left for the longest header, whatever the source's own.
pub const RELAYED: usize = relay::MAX_LENGTH + SEAL;

/// The longest plaintext that fits into group datagrams whose packets have `mtu` bytes. Any of the hops may go over
/// IPv6.
#[must_use]
pub fn group_room(mtu: u16) -> usize {
    usize::from(mtu).saturating_sub(OUTER_V6 + group::LENGTH + TAG)
}

/// The longest plaintext that fits into one packet of `mtu` bytes straight to `address`.
#[must_use]
pub fn room(mtu: u16, address: SocketAddr) -> usize {
    let outer = outer(address);
    usize::from(mtu)
        .min(MAX_DATAGRAM + outer)
        .saturating_sub(outer + SEAL)
}

/// The longest plaintext that fits into packets of `mtu` bytes over relays. Any of the hops may go over IPv6.
#[must_use]
pub fn relayed_room(mtu: u16) -> usize {
    usize::from(mtu).saturating_sub(OUTER_V6 + RELAYED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overheads_are_as_documented() {
        assert_eq!((DIRECT_V4, DIRECT_V6), (64, 84));
        assert_eq!(OUTER_V6 + RELAYED + inner::FRAME, 195);
        // With the frame's own Ethernet header a container gets at least the underlay's MTU less 110.
        const { assert!(DIRECT_V6 + inner::ETHERNET <= 110) };
    }

    #[test]
    fn room_is_what_is_left() {
        let v4 = "192.0.2.1:6783".parse().unwrap();
        let v6 = "[2001:db8::1]:6783".parse().unwrap();
        assert_eq!(room(1500, v4), 1500 - 60);
        assert_eq!(room(1500, v6), 1500 - 80);
        assert_eq!(relayed_room(1280), 1280 - 80 - 111);
        assert_eq!(room(10, v4), 0);
        assert_eq!((group_room(1500), group_room(100)), (1380, 0));
    }
}
