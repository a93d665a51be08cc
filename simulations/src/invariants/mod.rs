//! What must hold always, whatever fails.
//!
//! | file | subject | looked at |
//! |---|---|---|
//! | this one | no payload in clear; no router that spins | when it happens |
//! | [`nonces`](crate::nonces) | no nonce twice under one key | at each datagram |
//! | `records` | no forged, older or strangers' record is taken in | at each record |
//! | `secrets` | no link and no session by a secret that is gone; no session comes back | at each link, and now and then |
//! | `sizes` | tables, queues and hop counts stay within their bounds | now and then |
//!
//! "Now and then" is every [`LOOK_EVERY`] of virtual time, as [`World::look_around`] is called. State that later parts of
//! the core keep (addresses, names) belongs here, too: what others can make grow goes into
//! [`mesh::Mesh::sizes`], what replicates is seen by `records` whatever its kind, and what must never be true of two
//! routers at once is one more [`Look`] in [`LOOKS`].

mod records;
mod secrets;
mod sizes;
#[cfg(test)]
mod tests;

pub(crate) use records::{Ledger, Witness};

use crate::container::shows_marker;
use crate::{HostId, World};
use mesh::{DropReason, Instant, PeerId, SecretId};
use std::fmt;
use std::mem::discriminant;
use std::time::Duration;

/// How often everything is looked at that is not looked at when it happens.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Violations that are kept.
const MAX_VIOLATIONS: usize = 1000;
/// Addresses that a record tells at most, and the one that an operator gave. Behind a translator a router has some that
/// others saw.
const ADDRESSES: usize = 17;

/// Something looked at now and then. It pushes what it finds.
type Look = fn(&World, &mut Seen, &mut Vec<Violation>);
/// All of these.
const LOOKS: [Look; 3] = [sizes::tables, secrets::links, secrets::sessions];

/// What is remembered of routers from look to look.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ledger: Ledger,
    records: records::Latest,
    sessions: secrets::Sessions,
    apart: secrets::Apart,
    hops: sizes::Hops,
}

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
    /// A router took in a record that its origin never signed.
    Forged {
        /// Who took it.
        host: HostId,
        /// When.
        at: Instant,
        /// In whose name.
        origin: PeerId,
    },
    /// A router took in a record older than one that it had taken in before.
    Older {
        /// Who took it.
        host: HostId,
        /// When.
        at: Instant,
        /// Whose.
        origin: PeerId,
        /// About what.
        kind: u8,
    },
    /// A router took in somebody who never had a secret that is valid there.
    Stranger {
        /// Who took it.
        host: HostId,
        /// When.
        at: Instant,
        /// Whom.
        origin: PeerId,
    },
    /// A link came up, or stays, between routers that have no secret in common.
    LinkOfStrangers {
        /// Whose.
        host: HostId,
        /// When.
        at: Instant,
        /// With whom.
        peer: PeerId,
    },
    /// A link came up by a secret that is not valid any more.
    RetiredSecret {
        /// Whose.
        host: HostId,
        /// When.
        at: Instant,
        /// Which.
        secret: SecretId,
    },
    /// A session is used that should be over: it is too old, another was used since, or its secret is retired.
    OldSession {
        /// By whom.
        host: HostId,
        /// When.
        at: Instant,
        /// With whom.
        peer: PeerId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A message or frame went over as many hops as it may.
    HopLimit {
        /// Where it ended.
        host: HostId,
        /// When that was seen.
        at: Instant,
        /// Of which kind.
        reason: DropReason,
    },
    /// A table or a queue holds more than it may.
    TooLarge {
        /// Whose.
        host: HostId,
        /// When.
        at: Instant,
        /// What is in it.
        what: &'static str,
        /// How much.
        is: usize,
        /// How much there may be.
        most: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, at) = self.place();
        let (host, at) = (host.0, at.0);
        match self {
            Self::ClearText { .. } => write!(f, "host {host} sent a payload in clear")?,
            Self::NonceTwice { .. } => write!(f, "host {host} used a nonce again")?,
            Self::Spins { .. } => write!(f, "the router on host {host} spins")?,
            Self::Forged { origin, .. } => write!(
                f,
                "host {host} took in a record that {} never signed",
                origin.brief()
            )?,
            Self::Older { origin, kind, .. } => write!(
                f,
                "host {host} took in a record of {} (kind {kind}) older than it had before",
                origin.brief()
            )?,
            Self::Stranger { origin, .. } => write!(
                f,
                "host {host} took in {}, which never had its secret",
                origin.brief()
            )?,
            Self::LinkOfStrangers { peer, .. } => write!(
                f,
                "host {host} has a link with {}, but no secret in common",
                peer.brief()
            )?,
            Self::RetiredSecret { secret, .. } => write!(
                f,
                "a link of host {host} came up by secret {secret}, which is not valid any more"
            )?,
            Self::OldSession { peer, why, .. } => {
                write!(f, "host {host} uses a session with {} {why}", peer.brief())?;
            }
            Self::HopLimit { reason, .. } => write!(f, "{} ran out at host {host}", reason.name())?,
            Self::TooLarge { what, is, most, .. } => write!(f, "host {host}: {is} {what}, at most {most}")?,
        }
        write!(f, " at {at} µs")
    }
}

impl Violation {
    /// Where and when.
    #[must_use]
    pub fn place(&self) -> (HostId, Instant) {
        match self {
            Self::ClearText { host, at }
            | Self::NonceTwice { host, at }
            | Self::Spins { host, at }
            | Self::Forged { host, at, .. }
            | Self::Older { host, at, .. }
            | Self::Stranger { host, at, .. }
            | Self::LinkOfStrangers { host, at, .. }
            | Self::RetiredSecret { host, at, .. }
            | Self::OldSession { host, at, .. }
            | Self::HopLimit { host, at, .. }
            | Self::TooLarge { host, at, .. } => (*host, *at),
        }
    }
}

impl World {
    /// Takes note of something that must never be.
    pub(crate) fn violated(&mut self, violation: Violation) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    /// Whether the same was seen there before: that it goes on says nothing new.
    fn is_known(&self, violation: &Violation) -> bool {
        let mut same = self.violations.iter();
        same.any(|other| {
            discriminant(other) == discriminant(violation) && other.place().0 == violation.place().0
        })
    }

    /// All that was signed.
    pub(crate) fn ledger(&self) -> Ledger {
        self.seen.ledger.clone()
    }

    /// Looks at everything that is not looked at when it happens. Whoever lets the world run calls this every
    /// [`LOOK_EVERY`].
    pub fn look_around(&mut self) {
        let mut seen = std::mem::take(&mut self.seen);
        let mut found = Vec::new();
        for look in LOOKS {
            look(self, &mut seen, &mut found);
        }
        self.seen = seen;
        for violation in found {
            if !self.is_known(&violation) {
                self.violated(violation);
            }
        }
    }

    /// Payloads leave a host only encrypted, unless its operator trusts the underlay.
    pub(crate) fn look_for_clear_text(&mut self, host: HostId, bytes: &[u8]) {
        if self.hosts[host.0].options().trusted.is_empty() && shows_marker(bytes) {
            let at = self.now();
            self.violated(Violation::ClearText { host, at });
        }
    }

    /// What was seen that must never be, and what running routers have grown beyond what so many hosts explain.
    #[must_use]
    pub fn excesses(&self) -> Vec<String> {
        let mut excesses: Vec<_> = self.violations.iter().map(ToString::to_string).collect();
        excesses.extend(self.grown());
        for host in self.running() {
            let Some(router) = self.router(host) else { continue };
            for reason in sizes::HOP_LIMITS {
                let met = router.drops.get(reason);
                if met > 0 {
                    excesses.push(format!("host {}: {met} times {}", host.0, reason.name()));
                }
            }
        }
        excesses
    }

    /// What running routers hold beyond what those explain who ever said anything.
    #[must_use]
    pub fn grown(&self) -> Vec<String> {
        let all = self.hosts.len().max(self.seen.ledger.identities());
        let mut grown = Vec::new();
        for host in self.running() {
            let Some(router) = self.router(host) else { continue };
            let now = router.time();
            let mut table = |what: &str, size: usize, most: usize| {
                if size > most {
                    grown.push(format!("host {}: {size} {what}, at most {most}", host.0));
                }
            };
            table("routers known", router.mesh.peers().len(), all);
            table("routes", router.mesh.routes().len(), all);
            table("links", router.mesh.links().len(), 2 * all);
            table("connections", router.open_links(), 2 * all);
            table("targets", router.mesh.targets().len(), ADDRESSES * all);
            table("sessions", router.sleeve.sessions(now).len(), all);
            table("data paths", router.sleeve.paths(now).len(), all);
        }
        let (events, connections) = self.load();
        if connections > 4 * all * all || events > 100 * all * all + 1000 {
            grown.push(format!("{connections} connections and {events} planned events"));
        }
        grown
    }
}
