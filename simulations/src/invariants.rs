//! What must hold always, whatever fails: looked at when it happens.

use crate::container::shows_marker;
use crate::{HostId, World};
use mesh::{DropReason, Instant};
use std::fmt;

/// Something that must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A container's payload was sent in clear.
    ClearText {
        /// By whom.
        host: HostId,
        /// When.
        at: Instant,
    },
    /// Two datagrams were sealed with one key under one nonce.
    NonceTwice {
        /// By whom.
        host: HostId,
        /// When the second was sent.
        at: Instant,
    },
    /// A router wants to be woken at once, again and again.
    Spins {
        /// Which.
        host: HostId,
        /// When.
        at: Instant,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClearText { host, at } => {
                write!(f, "host {} sent a payload in clear at {} µs", host.0, at.0)
            }
            Self::NonceTwice { host, at } => {
                write!(f, "host {} used a nonce again at {} µs", host.0, at.0)
            }
            Self::Spins { host, at } => write!(f, "the router on host {} spins at {} µs", host.0, at.0),
        }
    }
}

impl World {
    /// Payloads leave a host only encrypted, unless its operator trusts the underlay.
    pub(crate) fn look_for_clear_text(&mut self, host: HostId, bytes: &[u8]) {
        if self.hosts[host.0].options().trusted.is_empty() && shows_marker(bytes) {
            let at = self.now();
            self.violations.push(Violation::ClearText { host, at });
        }
    }

    /// What running routers have grown beyond what so many hosts explain, and packets that went in circles.
    #[must_use]
    pub fn excesses(&self) -> Vec<String> {
        let hosts = self.hosts.len();
        let mut excesses: Vec<_> = self.violations.iter().map(ToString::to_string).collect();
        for host in self.running() {
            let Some(router) = self.router(host) else { continue };
            let now = router.time();
            let mut table = |what: &str, size: usize, most: usize| {
                if size > most {
                    excesses.push(format!("host {}: {size} {what}, at most {most}", host.0));
                }
            };
            table("routers known", router.mesh.peers().len(), hosts);
            table("routes", router.mesh.routes().len(), hosts);
            table("links", router.mesh.links().len(), 2 * hosts);
            table("connections", router.open_links(), 2 * hosts);
            table("targets", router.mesh.targets().len(), 2 * hosts);
            table("sessions", router.sleeve.sessions(now).len(), hosts);
            table("data paths", router.sleeve.paths(now).len(), hosts);
            for reason in [DropReason::HopLimit, DropReason::ControlHopLimit] {
                table(
                    reason.name(),
                    usize::try_from(router.drops.get(reason)).unwrap_or(usize::MAX),
                    0,
                );
            }
        }
        let (events, connections) = self.load();
        if connections > 4 * hosts * hosts || events > 100 * hosts * hosts + 1000 {
            excesses.push(format!("{connections} connections and {events} planned events"));
        }
        excesses
    }
}
