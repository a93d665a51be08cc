//! The operator's round trips over the data path.

use crate::context::Context;
use crate::message::{Message, Nonce};
use crate::wire::relay::MAX_LABELS;
use crate::{How, Output, PingError};
use mesh::{Instant, LinkLabel, PeerId, Route};
use std::time::Duration;

/// How long a session, and then the answer, is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How soon sending is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// A ping that was not answered yet.
struct Ping {
    id: u64,
    /// Who is to answer.
    peer: PeerId,
    path: Vec<PeerId>,
    /// `None`: as frames go. What stands behind the labels is for a path in parts.
    labels: Option<(Vec<LinkLabel>, Option<u32>)>,
    nonce: u64,
    sent: Option<Instant>,
    /// When to try to send, or to give up.
    at: Instant,
    give_up: Instant,
}

/// The labels of the first so many relays of a route, or of those that fit into a header, and what the last of them
/// has to fall below if it has to find the way on.
fn along(route: &Route, relays: usize) -> (Vec<LinkLabel>, Option<u32>) {
    let labels: Vec<_> = route
        .labels
        .iter()
        .take(relays.min(MAX_LABELS))
        .copied()
        .collect();
    let cost = u32::try_from(route.cost_us).unwrap_or(u32::MAX);
    let rest = (labels.len() < relays).then_some(cost);
    (labels, rest)
}

/// All pings under way.
#[derive(Default)]
pub(crate) struct Pings(Vec<Ping>);

impl Pings {
    /// Starts one along `route`. Returns the router that a session is needed with.
    pub(crate) fn start(
        &mut self,
        cx: &mut Context,
        now: Instant,
        id: u64,
        route: Option<&Route>,
        hops: Option<usize>,
    ) -> Option<PeerId> {
        let Some(route) = route else {
            cx.outputs.push_back(Output::PingFailed {
                id,
                why: PingError::NoRoute,
            });
            return None;
        };
        let hops = hops.map_or(Some(route.path.len()), |hops| {
            (1..=route.path.len()).contains(&hops).then_some(hops)
        });
        let path = hops.and_then(|hops| route.path.get(..hops));
        let Some((path, peer)) = path.and_then(|path| Some((path, path.last()?))) else {
            cx.outputs.push_back(Output::PingFailed {
                id,
                why: PingError::NoSuchHop,
            });
            return None;
        };
        let labels = (path.len() < route.path.len()).then(|| along(route, path.len() - 1));
        let nonce = cx.rng.next_u64();
        let give_up = now + PATIENCE;
        self.0.push(Ping {
            id,
            peer: *peer,
            path: path.to_vec(),
            labels,
            nonce,
            sent: None,
            at: now,
            give_up,
        });
        Some(*peer)
    }

    /// An answer came.
    pub(crate) fn pong(&mut self, cx: &mut Context, now: Instant, from: &PeerId, pong: Nonce) {
        let place = self
            .0
            .iter()
            .position(|ping| ping.nonce == pong.nonce && ping.peer == *from);
        let Some(ping) = place.map(|place| self.0.swap_remove(place)) else {
            return;
        };
        let rtt = ping.sent.map_or(Duration::ZERO, |sent| now.since(sent));
        cx.outputs.push_back(Output::Pong {
            id: ping.id,
            peer: ping.peer,
            rtt,
            path: ping.path,
        });
    }

    /// Sends what can be sent, gives up what took too long.
    pub(crate) fn tick(&mut self, cx: &mut Context, now: Instant) {
        for ping in self
            .0
            .iter_mut()
            .filter(|ping| ping.sent.is_none() && ping.at <= now)
        {
            ping.try_send(cx, now);
        }
        self.0.retain(|ping| {
            if now < ping.give_up {
                return true;
            }
            let why = match ping.sent {
                Some(_) => PingError::NoAnswer,
                None if cx.session(now, &ping.peer).is_some() => PingError::NoRoute,
                None => PingError::NoSession,
            };
            cx.outputs.push_back(Output::PingFailed { id: ping.id, why });
            false
        });
    }

    /// When [`Self::tick`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let next = |ping: &Ping| {
            if ping.sent.is_some() {
                ping.give_up
            } else {
                ping.at.min(ping.give_up)
            }
        };
        self.0.iter().map(next).min()
    }
}

impl Ping {
    fn try_send(&mut self, cx: &mut Context, now: Instant) {
        self.at = now + RETRY;
        let how = match (&self.labels, self.path.first()) {
            (Some((labels, rest)), Some(&first)) => How::Via {
                first,
                labels,
                rest: *rest,
            },
            _ => How::Route,
        };
        let message = Message::Ping(Nonce { nonce: self.nonce });
        // Not sent means: no session or no path yet, and there is time to wait for them.
        if cx.send(now, &self.peer, &message, how).is_ok() {
            self.sent = Some(now);
            self.give_up = now + PATIENCE;
        }
    }
}
