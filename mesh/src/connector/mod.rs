//! Decides what is dialled, and when; who is taken in; who shall leave.
//!
//! Targets come from the operator, from an earlier run, or (discovery) from the addresses other routers list in
//! their records. A target whose router is linked is not dialled. In a mesh of up to `--max-links` other routers all
//! are dialled, and of two that discover each other the lower id dials at once and the higher a second later, so that
//! they seldom collide. In a larger one links are bounded: a router chooses some.
//!
//! | file | subject |
//! |---|---|
//! | `targets`, `target` | what is dialled, address by address |
//! | `policy` | how many links of which kind, where they are bounded |
//! | `candidates` | a few dozen routers and how far they are |
//! | `choose` | whom to dial next, where links are bounded |
//! | `admit` | whom to take in, to name to others, to ask to leave |
//! | `around` | what all this looks at |

mod admit;
mod around;
mod candidates;
mod choose;
mod policy;
mod target;
mod targets;
#[cfg(test)]
mod tests;

pub(crate) use around::Around;
pub(crate) use target::{Source, Stage, Target, TargetId};

use crate::outbox::Outbox;
use crate::{Direction, Instant, PeerId};
use admit::Callers;
use candidates::Candidates;
use choose::{Chooser, Wanted};
use policy::{Bounds, Hold, Holds, Role};
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use targets::{Aim, Targets};

/// Routers that are kept off for a while.
const MAX_SHUNNED: usize = 1024;
/// Routers that are not wanted for a while.
const MAX_AVOIDED: usize = 1024;
/// A link that was taken although there was no room is told to the mesh only when it has lasted so long.
const SETTLED: Duration = Duration::from_secs(3);
/// While routers become known all that are known count, not only those that are reachable already.
const GROWING: Duration = Duration::from_secs(3);
/// A mesh that grew within this time may be a large one: until it has been still for so long, no more are dialled than
/// a router of a large one links with.
const FILLING: Duration = Duration::from_millis(500);
/// Who was turned away is in a mesh too large to link with all, even if it does not see that yet.
const HINTED: Duration = Duration::from_secs(10);
/// A mesh must have been small for so long before all are linked with all again: most of it may only seem lost.
const SMALL: Duration = Duration::from_secs(30);
/// Between two counts of the reachable routers, in a large mesh.
const COUNTING: Duration = Duration::from_secs(1);

/// How this router chooses its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All are linked with all.
    Full,
    /// Each router has some links.
    Bounded,
    /// Only what the operator gave is dialled.
    Given,
}

/// What the core shall do with a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask it to leave.
    Ask {
        /// Whom.
        peer: PeerId,
        /// Not only if the link is of no use to it.
        must: bool,
    },
    /// It asked this router to leave: close the link.
    Leave(PeerId),
}

/// All that is known about what to link with.
#[derive(Debug)]
pub(crate) struct Connector {
    own: PeerId,
    discovery: bool,
    bounds: Bounds,
    mode: Mode,
    targets: Targets,
    /// All neighbours.
    holds: Holds,
    /// Whom this router dials, where links are bounded.
    wanted: BTreeMap<PeerId, Wanted>,
    candidates: Candidates,
    callers: Callers,
    chooser: Chooser,
    shunned: BTreeMap<PeerId, Instant>,
    /// Dialled in vain, or left.
    avoided: BTreeMap<PeerId, Instant>,
    size: Size,
    acts: Vec<Act>,
    changed: bool,
    next: Option<Instant>,
    stopped: bool,
}

/// What is remembered of the size of the mesh.
#[derive(Debug, Default)]
struct Size {
    known: usize,
    /// When a router became known.
    grown: Option<Instant>,
    /// When this router was turned away.
    hinted: Option<Instant>,
    counted: Option<Instant>,
    /// Since when few enough are reachable for a full mesh.
    small: Option<Instant>,
}

impl Connector {
    /// With these targets to begin with.
    pub(crate) fn new(
        now: Instant,
        own: PeerId,
        discovery: bool,
        max_links: usize,
        targets: &[String],
    ) -> Self {
        Self {
            own,
            discovery,
            bounds: Bounds::of(max_links),
            mode: if discovery { Mode::Full } else { Mode::Given },
            targets: Targets::new(now, own, targets),
            holds: Holds::default(),
            wanted: BTreeMap::new(),
            candidates: Candidates::default(),
            callers: Callers::default(),
            chooser: Chooser::default(),
            shunned: BTreeMap::new(),
            avoided: BTreeMap::new(),
            size: Size::default(),
            acts: Vec::new(),
            changed: true,
            next: None,
            stopped: false,
        }
    }

    /// Dials nothing any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.next = None;
    }

    /// The operator wants these dialled now, and kept.
    pub(crate) fn connect(&mut self, now: Instant, texts: &[String], replace: bool) {
        self.targets.connect(now, texts, replace);
        self.changed = true;
    }

    /// The operator wants a target dropped.
    pub(crate) fn forget_target(&mut self, text: &str) {
        self.targets.forget_target(text);
        self.changed = true;
    }

    /// The operator wants a router's targets dropped, and it not discovered.
    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.targets.forget_peer(peer);
        self.wanted.remove(&peer);
        self.changed = true;
    }

    /// A router was collected: what was discovered of it goes.
    pub(crate) fn peer_gone(&mut self, peer: &PeerId) {
        self.targets.peer_gone(peer);
        self.wanted.remove(peer);
        self.candidates.remove(peer);
    }

    /// Keeps off a router that misbehaved.
    pub(crate) fn shun(&mut self, peer: PeerId, until: Instant) {
        if self.shunned.len() < MAX_SHUNNED {
            self.shunned.insert(peer, until);
        }
    }

    /// True while this router is kept off.
    pub(crate) fn is_shunned(&self, now: Instant, peer: &PeerId) -> bool {
        self.shunned.get(peer).is_some_and(|until| *until > now)
    }

    fn avoid(&mut self, peer: PeerId, until: Instant) {
        if self.avoided.len() < MAX_AVOIDED {
            self.avoided.insert(peer, until);
        }
    }

    /// Something changed in the mesh that may be a reason to dial. In a large one that happens all the time, and the
    /// next look comes soon enough.
    pub(crate) fn look_again(&mut self) {
        self.changed |= self.mode == Mode::Full || self.holds.0.len() < self.bounds.least;
    }

    /// A connection came up. False if it is no longer wanted.
    pub(crate) fn link_up(&mut self, peer: PeerId, direction: Direction, target: Option<&str>) -> bool {
        self.changed = true;
        if let Some(wanted) = self.wanted.get_mut(&peer) {
            wanted.is_connected = true;
        }
        self.targets.link_up(peer, direction, target)
    }

    /// A link is in use with this router, at this address.
    pub(crate) fn linked(&mut self, now: Instant, peer: PeerId, address: SocketAddr, direction: Direction) {
        self.changed = true;
        self.targets.linked(peer, address, self.discovery);
        self.avoided.remove(&peer);
        let wanted = self.wanted.remove(&peer);
        let is_surplus = self.callers.take(&peer);
        if self.holds.0.contains_key(&peer) {
            return;
        }
        let is_random_missing = self.holds.of(Role::Random) < self.bounds.random;
        let role = match wanted {
            Some(wanted) => wanted.role,
            // What was given counts among the random ones.
            None if direction == Direction::Out && is_random_missing => Role::Random,
            None => Role::Other,
        };
        let hold = Hold {
            role: if self.mode == Mode::Bounded {
                role
            } else {
                Role::Other
            },
            since: now,
            is_pinned: self.targets.is_given(&peer),
            is_surplus: is_surplus && wanted.is_none(),
            asked: None,
            must_go: false,
        };
        self.holds.0.insert(peer, hold);
    }

    /// A connection ended.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        peer: &PeerId,
        text: Option<&str>,
        reason: &str,
        lived: Option<Duration>,
        rng: &mut StdRng,
    ) {
        self.changed = true;
        if let Some(wanted) = self.wanted.get_mut(peer) {
            wanted.is_connected = false;
        }
        self.targets.ended(now, peer, text, reason, lived, rng);
    }

    /// No link with this router is left: its targets wait a moment before they are dialled again. True if one of both
    /// had asked the other to leave.
    pub(crate) fn lost(&mut self, now: Instant, peer: &PeerId, rng: &mut StdRng) -> bool {
        self.changed = true;
        let hold = self.holds.0.remove(peer);
        self.candidates.remove(peer);
        match hold {
            Some(hold) if hold.asked.is_some() => self.avoid(*peer, now + admit::LEFT),
            Some(_) => self.chooser.lost(now),
            // Taken out when this router decided to leave.
            None => {}
        }
        self.targets.lost(now, peer, rng);
        hold.is_none_or(|hold| hold.asked.is_some())
    }

    /// A dial ended without a connection. `own`: it reached this router itself.
    pub(crate) fn failed(&mut self, now: Instant, text: &str, error: String, own: bool, rng: &mut StdRng) {
        self.changed = true;
        self.targets.failed(now, text, error, own, rng);
    }

    /// A probe was answered, or not.
    pub(crate) fn probed(&mut self, now: Instant, peer: &PeerId, rtt: Option<Duration>) {
        self.changed = true;
        self.candidates.probed(now, peer, rtt);
        self.chooser.probed(peer, rtt.is_some());
    }

    /// True if [`poll`](Self::poll) has something to do.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.stopped && (self.changed || self.next.is_some_and(|next| next <= now))
    }

    /// When it has, if nothing else happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// What to do with the neighbours, since the last call.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Dials what is due, and has the targets stored if they changed.
    pub(crate) fn poll(&mut self, now: Instant, around: &Around<'_>, rng: &mut StdRng, out: &mut Outbox) {
        self.changed = false;
        self.next = None;
        self.shunned.retain(|_, until| *until > now);
        self.avoided.retain(|_, until| *until > now);
        self.targets.expire(now, rng);
        self.choose_mode(now, around, rng);
        if self.mode == Mode::Bounded {
            self.choose(now, around, rng, out);
        }
        let wanted = &self.wanted;
        let is_wanted = |peer: &PeerId| wanted.contains_key(peer);
        let aim = match self.mode {
            Mode::Full if self.is_filling(now) => Aim::All(self.bounds.most, self.bounds.most),
            Mode::Full => Aim::All(self.bounds.bounded, self.bounds.hard),
            Mode::Bounded | Mode::Given => Aim::These {
                is_wanted: &is_wanted,
                is_needy: self.mode == Mode::Given || self.holds.total() < self.bounds.least,
            },
        };
        if self.discovery {
            self.targets.discover(now, around, aim);
        }
        let shunned = &self.shunned;
        let is_shunned = |peer: &PeerId| shunned.contains_key(peer);
        let dial = self.targets.dial(now, around, aim, &is_shunned, out);
        self.targets.persist(out);
        self.wake(dial);
        // Those kept off come back when their time is over; new links are told when they have settled.
        self.wake(self.shunned.values().min().copied());
        self.wake(self.next_settled(now));
        self.next = self.next.map(|next| next.max(Instant(now.0 + 1)));
    }

    fn is_filling(&self, now: Instant) -> bool {
        let until = self.size.grown.map(|at| at + FILLING);
        until.is_some_and(|until| now < until)
    }

    fn wake(&mut self, at: Option<Instant>) {
        self.next = self.next.into_iter().chain(at).min();
    }

    /// Finds whether the mesh is so large that links are bounded.
    fn choose_mode(&mut self, now: Instant, around: &Around<'_>, rng: &mut StdRng) {
        let is_bounded = self.mode == Mode::Bounded;
        if std::mem::replace(&mut self.size.known, around.known()) < around.known() {
            self.size.grown = Some(now);
        }
        let is_counted = self.size.counted.is_some_and(|at| now.since(at) < COUNTING);
        if self.mode == Mode::Given || is_bounded && is_counted {
            return;
        }
        self.size.counted = Some(now);
        let until = |at: Option<Instant>, time| at.map(|at| at + time).filter(|end| now < *end);
        let growing = until(self.size.grown, GROWING);
        let hinted = until(self.size.hinted, HINTED);
        let count = match growing {
            Some(_) => around.known(),
            None => around.reachable(),
        };
        let is_small = count <= self.bounds.full;
        self.size.small = is_small.then(|| self.size.small.unwrap_or(now));
        let has_been_small = self.size.small.is_some_and(|at| now.since(at) >= SMALL);
        if !is_bounded && (count > self.bounds.bounded || hinted.is_some()) {
            self.mode = Mode::Bounded;
            self.bind(now, rng);
        } else if is_bounded && hinted.is_none() && (has_been_small || around.known() <= self.bounds.full) {
            self.mode = Mode::Full;
            self.unbind();
        }
        self.wake(growing);
        self.wake(hinted);
        let filled = self.size.grown.map(|at| at + FILLING);
        self.wake(filled.filter(|at| now < *at));
    }

    fn next_settled(&self, now: Instant) -> Option<Instant> {
        let fresh = self.holds.0.values().filter(|hold| hold.is_surplus);
        fresh
            .map(|hold| hold.since + SETTLED)
            .filter(|at| *at > now)
            .min()
    }

    /// Whether the link with this neighbour is one that the mesh is told of: not while it was only taken for one that
    /// is about to find others.
    pub(crate) fn is_told(&self, now: Instant, peer: &PeerId) -> bool {
        let hold = self.holds.0.get(peer);
        hold.is_none_or(|hold| !hold.is_surplus || now >= hold.since + SETTLED)
    }

    /// Targets, whoever named them.
    pub(crate) fn size(&self) -> crate::Size {
        crate::Size::new("targets", self.targets.iter().count(), targets::MAX_TARGETS)
    }

    /// Links at rest, at least (if there are so many others) and at most.
    pub(crate) fn link_bounds(&self) -> (usize, usize) {
        let bounds = &self.bounds;
        match self.mode {
            Mode::Full => (bounds.bounded, bounds.hard),
            Mode::Bounded => (bounds.enough, bounds.most),
            Mode::Given => (0, usize::MAX),
        }
    }

    /// All targets, in the order of their texts.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&TargetId, &Target)> {
        self.targets.iter()
    }
}
