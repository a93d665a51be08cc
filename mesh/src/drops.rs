//! Every datagram, frame, message or record that is thrown away is counted under one reason.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why something was thrown away. The names are what `weft status --json` shows under `drops`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum DropReason { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name shown to people and scripts.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

drop_reasons! {
    // Datagrams at the data port.
    /// Neither QUIC nor any known kind of sleeve datagram.
    Garbage = "garbage",
    /// Shorter than its kind needs.
    Truncated = "truncated",
    /// Names a session that does not exist here.
    UnknownSession = "unknown_session",
    /// The AEAD tag is wrong.
    Unauthentic = "unauthentic",
    /// Seen before, or older than the replay window.
    Replayed = "replayed",
    /// Authenticated only, where policy asks for encryption.
    PlainRefused = "plain_refused",
    /// Opened, but what was inside makes no sense.
    Malformed = "malformed",
    /// More than a queue or table holds.
    Overflow = "overflow",
    /// The second half of a split frame never came.
    ReassemblyTimeout = "reassembly_timeout",
    // Relayed datagrams.
    /// The relay header's tag is wrong.
    RelayUnauthentic = "relay_unauthentic",
    /// The relay header was seen before.
    RelayReplayed = "relay_replayed",
    /// The label names no link of this router.
    UnknownLabel = "unknown_label",
    /// The hop counter ran out.
    HopLimit = "hop_limit",
    /// The next link has failed, and no way is known that avoids it and all others that are marked.
    NoDetour = "no_detour",
    /// The next link has failed, and there is no room for another mark.
    MarksFull = "marks_full",
    /// At the end of a part of its path it is no nearer to its destination.
    NotNearer = "not_nearer",
    // Broadcast along trees.
    /// Came along a source's tree from another router than this one's parent in it, or from no tree known here.
    NotMyParent = "not_my_parent",
    /// Sealed under a group key that this router, a member of the network, does not have.
    UnknownGroupKey = "unknown_group_key",
    // Frames on their way out.
    /// No route to the destination's router.
    NoRoute = "no_route",
    /// No session with the destination's router (yet).
    NoSession = "no_session",
    /// No router is known to hold this MAC address.
    UnknownDestination = "unknown_destination",
    /// The frame fits no way there, and nobody could be told.
    TooBig = "too_big",
    /// The operating system refused to send.
    SendFailed = "send_failed",
    // What attached containers may not do.
    /// Sent from a MAC address that is not the container's.
    SpoofedMac = "spoofed_mac",
    /// Sent from an IP address that is not the container's.
    SpoofedAddress = "spoofed_address",
    /// Answered DHCP as a server.
    DhcpServer = "dhcp_server",
    /// Advertised itself as an IPv6 router.
    RouterAdvertisement = "router_advertisement",
    /// Came from a container, meant for the host itself.
    HostBound = "host_bound",
    /// Sent beyond the limit that the container's runtime has set.
    OverLimit = "over_limit",
    // The kernel's fast path.
    /// VXLAN from an address that is no neighbour's, or is to be encrypted and can't be.
    VxlanUnknownSource = "vxlan_unknown_source",
    /// VXLAN in clear from an address that is to encrypt it; what the kernel drops by other policies is counted with it.
    VxlanPlain = "vxlan_plain",
    /// VXLAN without a whole frame or probe in it.
    VxlanTruncated = "vxlan_truncated",
    /// VXLAN that names no router.
    VxlanNoLabel = "vxlan_no_label",
    /// VXLAN for a router that is not known, or there is no way to.
    VxlanUnknownLabel = "vxlan_unknown_label",
    /// VXLAN that would go back to where it came from.
    VxlanLoop = "vxlan_loop",
    /// VXLAN that came over more hops than its way has.
    VxlanHopLimit = "vxlan_hop_limit",
    /// VXLAN for an address that is not attached here in that network.
    VxlanNotAttached = "vxlan_not_attached",
    /// VXLAN from an address that is attached here.
    VxlanSpoofed = "vxlan_spoofed",
    /// VXLAN by another interface than the one that leads to its sender.
    VxlanWrongInterface = "vxlan_wrong_interface",
    /// No proven way for VXLAN to go on.
    VxlanUnproven = "vxlan_unproven",
    /// VXLAN long after the router gave its last sign of life.
    VxlanForsaken = "vxlan_forsaken",
    /// VXLAN along a source's tree from another router than this one's parent in it, or along no tree known here.
    VxlanNotParent = "vxlan_not_parent",
    // Handshakes.
    /// A session handshake older than one seen before.
    StaleHandshake = "stale_handshake",
    /// A session handshake that does not verify.
    BadHandshake = "bad_handshake",
    /// More handshakes than the rate allows.
    HandshakeRate = "handshake_rate",
    /// A link whose secret is not ours.
    SecretRefused = "secret_refused",
    /// A link that never proved knowledge of the secret.
    NoProof = "no_proof",
    /// A link with ourselves.
    SelfLink = "self_link",
    /// The second of two links with one router.
    DuplicateLink = "duplicate_link",
    /// A second router with an identity that is already here.
    IdentityClash = "identity_clash",
    /// A connection that failed before it was a link.
    LinkHandshake = "link_handshake",
    // Control messages and records.
    /// A control message larger than allowed; it is skipped, the link stays.
    OversizedMessage = "oversized_message",
    /// A control message that can't be parsed.
    MalformedMessage = "malformed_message",
    /// A control message of a kind this version does not know.
    UnknownMessage = "unknown_message",
    /// A part of a comparison of records that answers nothing that was asked.
    UnaskedMessage = "unasked_message",
    /// More links or control messages than allowed at a time.
    ControlRate = "control_rate",
    /// A control message for a router there is no way to.
    ControlNoRoute = "control_no_route",
    /// A control message that went over too many hops.
    ControlHopLimit = "control_hop_limit",
    /// A record whose signature is wrong.
    BadSignature = "bad_signature",
    /// A record of an origin that never proved the secret.
    Unadmitted = "unadmitted",
    /// A record larger than allowed.
    OversizedRecord = "oversized_record",
    /// A record that can't be parsed.
    MalformedRecord = "malformed_record",
    /// A record older than the one stored.
    StaleRecord = "stale_record",
    /// More origins or records than the store holds.
    StoreFull = "store_full",
}

/// One counter per [`DropReason`], shared by all parts of a router.
#[derive(Debug)]
pub struct Drops([AtomicU64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Drops {
    /// Counts one drop.
    pub fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `n` drops.
    pub fn add(&self, reason: DropReason, n: u64) {
        self.0[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Drops counted under `reason` so far.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// All reasons that occurred, with their counts.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason, self.get(reason)))
            .filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_name() {
        let drops = Drops::default();
        for &reason in DropReason::ALL {
            drops.count(reason);
        }
        drops.add(DropReason::NoRoute, 2);
        assert_eq!(drops.nonzero().count(), DropReason::ALL.len());
        assert_eq!(drops.get(DropReason::NoRoute), 3);
        let names: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
