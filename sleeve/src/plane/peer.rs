//! Another router as the data half knows it.

use super::session::Session;
use crate::wire::marks::Mark;
use crate::wire::relay::MAX_LABELS;
use arc_swap::ArcSwapOption;
use mesh::{Instant, LinkLabel, PeerId, Route, ShortId};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The working direct path to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direct {
    pub address: SocketAddr,
    /// Largest IP packet proven to pass.
    pub mtu: u16,
    /// Both ends trust the other's address: frames go unencrypted.
    pub plain: bool,
    /// The link beside it has just died, and nothing has shown since that this path has not: relays take another way
    /// if they have one.
    pub doubtful: bool,
}

/// The data route to a router.
#[derive(Debug)]
pub(crate) struct Way {
    /// In microseconds.
    pub cost: u32,
    /// The links that it leads over, this router's own first.
    pub links: Box<[Mark]>,
    /// `None`: by its direct path.
    pub relays: Option<Relays>,
}

/// The relays of a way.
#[derive(Debug)]
pub(crate) struct Relays {
    pub first: Arc<Peer>,
    /// Those that fit into one header.
    pub labels: Box<[LinkLabel]>,
    /// The path goes on behind the last label.
    pub in_parts: bool,
    pub mtu: u16,
}

impl Way {
    /// `peer` gives the entry of the first relay. `None` for a route that makes no sense.
    pub(crate) fn new(own: ShortId, route: &Route, peer: impl FnOnce(PeerId) -> Arc<Peer>) -> Option<Self> {
        let hops = route.path.iter().map(PeerId::short);
        let links = [own].into_iter().chain(hops.clone()).zip(hops);
        let relays = match *route.path {
            [] => return None,
            [_] => None,
            [first, ..] => {
                let labels = &route.labels[..route.labels.len().min(MAX_LABELS)];
                let missing = (route.path.len() - 1).checked_sub(labels.len())?;
                // A part ends where the header is full, not before.
                if missing > 0 && labels.len() < MAX_LABELS {
                    return None;
                }
                Some(Relays {
                    first: peer(first),
                    labels: labels.into(),
                    in_parts: missing > 0,
                    mtu: route.mtu,
                })
            }
        };
        Some(Self {
            cost: u32::try_from(route.cost_us).unwrap_or(u32::MAX),
            links: links.map(|(one, other)| Mark::of(one, other)).collect(),
            relays,
        })
    }

    /// The labels for one header, none of a direct path.
    pub(crate) fn labels(&self) -> impl Iterator<Item = LinkLabel> {
        let relays = self.relays.iter();
        relays.flat_map(|relays| relays.labels.iter().copied())
    }

    /// What the router at the end of this part has to be nearer than; `None`: that is the destination.
    pub(crate) fn rest(&self) -> Option<u32> {
        let in_parts = self.relays.as_ref().is_some_and(|relays| relays.in_parts);
        in_parts.then_some(self.cost)
    }
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub id: PeerId,
    pub short: ShortId,
    /// What is sealed to it goes under this session.
    pub current: ArcSwapOption<Session>,
    /// Sessions only received on.
    others: Mutex<Others>,
    pub way: ArcSwapOption<Way>,
    pub direct: ArcSwapOption<Direct>,
    /// Numbers split frames.
    pub split: AtomicU32,
    /// When the control half was last told of need, of life, and a container of a small MTU.
    pub needed: AtomicU64,
    pub alive: AtomicU64,
    pub told: AtomicU64,
    /// When the last frame went to it or came from it, in microseconds.
    traffic: AtomicU64,
}

#[derive(Debug, Default)]
struct Others {
    /// Made by the other end, not confirmed by a packet yet.
    next: Option<Arc<Session>>,
    previous: Option<Arc<Session>>,
}

impl Peer {
    pub(crate) fn new(id: PeerId) -> Self {
        Self {
            id,
            short: id.short(),
            current: ArcSwapOption::empty(),
            others: Mutex::default(),
            way: ArcSwapOption::empty(),
            direct: ArcSwapOption::empty(),
            split: AtomicU32::new(0),
            needed: AtomicU64::new(0),
            alive: AtomicU64::new(0),
            told: AtomicU64::new(0),
            traffic: AtomicU64::new(0),
        }
    }

    /// The session to seal with.
    pub(crate) fn sending(&self, now: Instant) -> Option<Arc<Session>> {
        self.current.load_full().filter(|session| session.usable(now))
    }

    /// Puts in a session this router initiated: it is sent on at once. Returns what it displaced. One that waits
    /// for its first packet goes on waiting: the other end may be sending on it already.
    pub(crate) fn install_current(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        let mut others = self.others();
        std::mem::replace(&mut others.previous, self.current.swap(Some(session)))
    }

    /// Puts in a session that the other end initiated: only received on until [`Self::confirm`]. Returns what it
    /// displaced.
    pub(crate) fn install_next(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        self.others().next.replace(session)
    }

    /// A packet under `session` came: if it waited for that, it becomes current. Returns whether it did, and what
    /// it displaced.
    pub(crate) fn confirm(&self, session: &Arc<Session>) -> (bool, Option<Arc<Session>>) {
        let mut others = self.others();
        match others.next.take_if(|next| Arc::ptr_eq(next, session)) {
            Some(next) => (
                true,
                std::mem::replace(&mut others.previous, self.current.swap(Some(next))),
            ),
            None => (false, None),
        }
    }

    /// The session that waits for its first packet.
    pub(crate) fn next(&self) -> Option<Arc<Session>> {
        self.others().next.clone()
    }

    /// The session whose packets to here bear this index.
    pub(crate) fn with_index(&self, index: u32) -> Option<Arc<Session>> {
        let others = self.others();
        let current = self.current.load_full();
        let all = [current, others.next.clone(), others.previous.clone()];
        all.into_iter().flatten().find(|session| session.index == index)
    }

    /// When the oldest of its sessions was made.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let others = self.others();
        let current = self.current.load_full();
        [&others.next, &others.previous, &current]
            .into_iter()
            .flatten()
            .map(|session| session.born)
            .min()
    }

    /// Takes out every session for which `keep` is false.
    pub(crate) fn retain(&self, keep: impl Fn(&Session) -> bool) -> [Option<Arc<Session>>; 3] {
        let mut others = self.others();
        let next = others.next.take_if(|session| !keep(session));
        let previous = others.previous.take_if(|session| !keep(session));
        let current = match self.current.load_full() {
            Some(session) if !keep(&session) => self.current.swap(None),
            _ => None,
        };
        [next, previous, current]
    }

    /// There is neither a route nor a direct path to it, nor a session with it.
    pub(crate) fn is_idle(&self) -> bool {
        self.way.load().is_none() && self.direct.load().is_none() && self.oldest().is_none()
    }

    /// Notes that a frame went to it or came from it.
    pub(crate) fn touch(&self, now: Instant) {
        self.traffic.store(now.0, Ordering::Relaxed);
    }

    /// When the last frame went to it or came from it; the epoch of the clock if none did.
    pub(crate) fn traffic(&self) -> Instant {
        Instant(self.traffic.load(Ordering::Relaxed))
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True, for one caller, if `every` has passed since the last time it was true for `cell`.
pub(crate) fn due(cell: &AtomicU64, now: Instant, every: Duration) -> bool {
    let last = cell.load(Ordering::Relaxed);
    // Zero says never.
    if last != 0 && now.since(Instant(last)) < every {
        return false;
    }
    cell.compare_exchange(last, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}
