//! Control messages for routers further away: session handshakes and addresses to try.
//!
//! The origin writes the whole path into the message; each relay hands it to the next name on it. So relays
//! need agree on nothing, and a message cannot go round in circles.

use crate::bucket::Bucket;
use crate::outbox::Outbox;
use crate::wire::{Blob, Message, Routed};
use crate::{DropReason, Instant, LinkId, MAX_PAYLOAD, PeerId, Size};
use std::collections::BTreeMap;

/// Longest path.
pub(crate) const MAX_HOPS: usize = 32;
/// Messages of one origin over one neighbour that pass at once, and per minute. Whoever begins to talk with everybody
/// sends one to each; sleeve begins with half as many, so that what it answers has room too.
const BURST: u32 = 200;
const RATE: u32 = 100 * 60;
/// Origins whose rate is watched at a time.
const MAX_BUCKETS: usize = 8192;

/// Limits what each origin may have carried. Origins are told apart by neighbour, too: what a neighbour sends in
/// another's name does not count against that other's own messages.
#[derive(Debug, Default)]
pub(crate) struct Limits(BTreeMap<(PeerId, PeerId), Bucket>);

impl Limits {
    /// Origins that are watched.
    pub(crate) fn size(&self) -> Size {
        Size::new("origins whose rate is watched", self.0.len(), MAX_BUCKETS)
    }

    fn allow(&mut self, now: Instant, neighbor: PeerId, origin: PeerId) -> bool {
        if self.0.len() >= MAX_BUCKETS && !self.0.contains_key(&(neighbor, origin)) {
            self.0.retain(|_, bucket| !bucket.is_full(now));
            if self.0.len() >= MAX_BUCKETS {
                return false;
            }
        }
        self.0
            .entry((neighbor, origin))
            .or_insert_with(|| Bucket::new(now, BURST, RATE))
            .take(now)
    }
}

/// Starts a message on its way along `path`; `link` leads to its first hop.
pub(crate) fn send(own: PeerId, link: LinkId, path: Vec<PeerId>, payload: Vec<u8>, out: &mut Outbox) {
    if payload.len() > MAX_PAYLOAD {
        return out.drop(DropReason::OversizedMessage);
    }
    if path.len() > MAX_HOPS {
        return out.drop(DropReason::ControlHopLimit);
    }
    out.send(
        link,
        Message::Routed(Routed {
            origin: own,
            path,
            cursor: 0,
            payload: Blob(payload),
        }),
    );
}

/// A message came from this neighbour: it is for this router (origin and payload), or handed on. `link_to` finds the link with a router.
pub(crate) fn receive<'a>(
    now: Instant,
    own: PeerId,
    neighbor: PeerId,
    message: &'a Routed,
    limits: &mut Limits,
    link_to: impl Fn(&PeerId) -> Option<LinkId>,
    out: &mut Outbox,
) -> Option<(PeerId, &'a [u8])> {
    let cursor = usize::from(message.cursor);
    let from_origin = (cursor == 0) == (message.origin == neighbor);
    if message.path.get(cursor) != Some(&own) || !from_origin || message.origin == own {
        out.drop(DropReason::MalformedMessage);
        return None;
    }
    if message.path.len() > MAX_HOPS {
        out.drop(DropReason::ControlHopLimit);
        return None;
    }
    if message.payload.0.len() > MAX_PAYLOAD {
        out.drop(DropReason::OversizedMessage);
        return None;
    }
    if !limits.allow(now, neighbor, message.origin) {
        out.drop(DropReason::ControlRate);
        return None;
    }
    let Some(next) = message.path.get(cursor + 1) else {
        return Some((message.origin, &message.payload.0));
    };
    match link_to(next) {
        Some(link) => {
            let mut message = message.clone();
            message.cursor += 1;
            out.send(link, Message::Routed(message));
        }
        None => out.drop(DropReason::ControlNoRoute),
    }
    None
}
