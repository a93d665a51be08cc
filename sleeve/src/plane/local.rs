//! What a router sees to by itself when a container sends: what it may send, questions that are answered here, and
//! answers to frames that are too big.

use super::peer::{Peer, due};
use super::tables::Network;
use super::{Plane, Scratch};
use crate::ethernet::guard::{self, LinkLocal, Port};
use crate::ethernet::too_big::{self, Verdict};
use crate::ethernet::{arp, nd};
use crate::wire::inner;
use mesh::{DropReason, Instant, Mac};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The longest frame made here: an ICMPv6 error, with the Ethernet header.
pub(super) const LONGEST_REPLY: usize = 1280 + inner::ETHERNET;
/// How often containers are told of the MTU of the path to one router. What comes in between is split.
const TELL_EVERY: Duration = Duration::from_millis(5);

impl Network {
    /// Lets through what the sending port may send. Returns the frame's destination.
    pub(super) fn guard(&self, frame: &[u8]) -> Result<Mac, DropReason> {
        let destination = frame.first_chunk().ok_or(DropReason::Malformed)?;
        let source = frame
            .get(6..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(DropReason::Malformed)?;
        let mac = Mac(*source);
        let addresses = self.ports.get(&mac).ok_or(DropReason::SpoofedMac)?;
        guard::check(
            frame,
            &Port {
                mac,
                addresses,
                link_local: LinkLocal::FromMac,
                forwards: self.gateway == Some(mac),
            },
        )?;
        Ok(Mac(*destination))
    }

    /// Answers a question for the MAC address of an IP address behind another router. Returns the answer's length.
    pub(super) fn answer(&self, frame: &[u8], reply: &mut [u8]) -> Option<usize> {
        let lookup = |address| self.holder(address);
        arp::answer(frame, lookup, reply).or_else(|| nd::answer(frame, lookup, reply))
    }

    /// Who holds `address` behind another router; nobody if a port here does.
    fn holder(&self, address: IpAddr) -> Option<Mac> {
        let mac = *self.owners.get(&address)?;
        let local = self.ports.values().any(|addresses| addresses.contains(&address));
        (!local).then_some(mac)
    }
}

impl Plane {
    /// For a frame that is longer than the `room` its path has: the length of the answer to its sender, if one is
    /// due. Else it is to be split.
    pub(super) fn too_big(
        &self,
        now: Instant,
        peer: &Peer,
        frame: &[u8],
        room: usize,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let mtu = u16::try_from(room.saturating_sub(inner::ETHERNET)).unwrap_or(u16::MAX);
        let mtu = mtu.min(self.container_mtu.load(Ordering::Relaxed));
        match too_big::judge(frame, mtu, scratch.reply()) {
            Verdict::TooBig(length) if due(&peer.told, now, TELL_EVERY) => Some(length),
            _ => None,
        }
    }
}
