//! Why frames don't take the fast path, in words.

use crate::esp::NoEsp;
use mesh::PeerId;
use std::fmt;
use std::net::IpAddr;

/// Why frames to a router take sleeve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The other router has no fast path, or no label yet.
    NoFastPath,
    /// It uses another UDP port.
    OtherPort {
        /// Which.
        port: u16,
    },
    /// There is no route.
    NoRoute,
    /// More hops than a packet may take.
    TooFar {
        /// Of how many it may be.
        most: u8,
    },
    /// There is no direct data path to the first hop.
    NoDirect,
    /// Frames on the first hop are to be encrypted, and the kernel can't do it.
    NoEsp(NoEsp),
    /// The first hop is encrypted, and not all on the way let relays see frames.
    Relayed {
        /// The first who does not; `None`: this router.
        without: Option<PeerId>,
    },
    /// The way is being proven.
    Proving,
    /// The first hop is not fast.
    FirstHop {
        /// To whom it leads.
        via: PeerId,
    },
    /// The first hop is fast, but one behind it is not.
    SomeHop {
        /// Where that begins, as far as this router can tell.
        from: PeerId,
        /// To whom it leads.
        to: PeerId,
    },
    /// Small packets come back, large ones do not.
    Narrow {
        /// Where they were sent.
        address: IpAddr,
        /// Bytes of the large ones.
        mtu: u16,
    },
    /// Nothing comes back.
    Silent {
        /// Where it was sent.
        address: IpAddr,
        /// UDP port.
        port: u16,
    },
    /// Nothing comes back of what the kernel encrypts.
    SilentEsp {
        /// Where it was sent.
        address: IpAddr,
    },
    /// Nothing comes back, and the address is not the router's own.
    Translated {
        /// The address.
        address: IpAddr,
    },
    /// The route has changed a moment ago.
    Settling,
    /// The way was lost again and again.
    Flapping,
    /// The fast path is in use, although the control plane has lost the router.
    Stale,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFastPath => f.write_str("that router offers no fast path"),
            Self::OtherPort { port } => write!(f, "that router uses UDP port {port} for VXLAN"),
            Self::NoRoute => f.write_str("there is no route"),
            Self::TooFar { most: 1 } => {
                f.write_str("without eBPF on this host the fast path leads to direct neighbours only")
            }
            Self::TooFar { most } => write!(f, "the fast path goes over at most {most} hops"),
            Self::NoDirect => f.write_str("there is no direct data path to the first hop"),
            Self::NoEsp(why) => write!(f, "encryption is on, and {why}"),
            Self::Relayed { without } => {
                let who = without.map_or_else(|| "here".to_owned(), |peer| format!("at {}", peer.brief()));
                write!(
                    f,
                    "encryption is on, and relays would see frames: that takes --fast-relay at all routers on the way, \
                     and it lacks {who}"
                )
            }
            Self::Proving => f.write_str("the fast path is being tried"),
            Self::FirstHop { via } => write!(f, "the first hop, to {}, is not fast", via.brief()),
            Self::SomeHop { from, to } => write!(
                f,
                "no probe comes back over the hop from {} to {}",
                from.brief(),
                to.brief()
            ),
            Self::Narrow { address, mtu } => write!(
                f,
                "packets of {mtu} bytes in VXLAN do not come back from {address}, small ones do (MTU)"
            ),
            Self::Silent { address, port } => write!(
                f,
                "nothing comes back from UDP port {port} at {address} (is it blocked?)"
            ),
            Self::SilentEsp { address } => write!(
                f,
                "nothing comes back of what goes to {address} by ESP (is IP protocol 50 blocked?)"
            ),
            Self::Translated { address } => write!(
                f,
                "nothing comes back from {address}, where a translator (NAT) stands before that router"
            ),
            Self::Settling => f.write_str("the route has just changed"),
            Self::Flapping => f.write_str("the fast path was lost a moment ago"),
            Self::Stale => f.write_str("kept although the control plane lost that router"),
        }
    }
}
