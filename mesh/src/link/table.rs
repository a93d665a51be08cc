//! All links of this router: their beginning, their life signs, their end.

use super::health::Health;
use super::state::{Link, Phase};
use crate::outbox::Outbox;
use crate::spread::{Keepalive, Spread};
use crate::wire::{Hello, Message, Ping};
use crate::{Delay, Direction, DropReason, Instant, LinkId, PeerId, PeerName};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Links at a time, whatever their phase.
pub(crate) const MAX_LINKS: usize = 4096;
/// Time for the other end to read which routers it may dial instead.
const REFERRAL: Duration = Duration::from_secs(1);
/// Time for the other end's hello.
pub(crate) const GREETING: Duration = Duration::from_secs(3);

/// Who we are on all links.
#[derive(Debug, Clone)]
pub(crate) struct Greeter {
    pub(crate) id: PeerId,
    pub(crate) name: PeerName,
    pub(crate) instance: u64,
    pub(crate) epoch: u64,
    /// Lowest and highest version of the protocol.
    pub(crate) versions: (u16, u16),
}

/// What the rest of the core must know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happened {
    /// The link with this neighbour that is used is a new one. `first`: there was none before.
    Neighbor { peer: PeerId, link: LinkId, first: bool },
    /// No link with this neighbour is left.
    NeighborLost { peer: PeerId, reason: String },
    /// A router that was dialled has all the links it takes.
    Full { peer: PeerId },
    /// A neighbour told our address as it sees us.
    Observed(SocketAddr),
    /// A link ended; `lived` is how long it was up.
    Ended {
        peer: PeerId,
        target: Option<String>,
        reason: String,
        lived: Option<Duration>,
    },
    /// A dial reached this router itself.
    Own { target: Option<String> },
    /// Somebody else uses our identity, or a neighbour's.
    Clone { detail: String },
}

/// The links.
#[derive(Debug)]
pub(crate) struct Links {
    pub(super) greeter: Greeter,
    pub(super) links: BTreeMap<LinkId, Link>,
    /// For each neighbour the link that is used.
    pub(super) primary: BTreeMap<PeerId, LinkId>,
    pub(super) happened: VecDeque<Happened>,
    health: Health,
    count: u64,
    pub(super) keepalive: Duration,
    window: Duration,
    /// When `tick` has something to do, as of when links changed last.
    due: Option<Instant>,
}

impl Links {
    /// None yet. `misses` keepalive intervals without a sign of life end a link.
    pub(crate) fn new(greeter: Greeter, keepalive: Duration, misses: u32) -> Self {
        Self {
            greeter,
            links: BTreeMap::new(),
            primary: BTreeMap::new(),
            happened: VecDeque::new(),
            health: Health::default(),
            count: 0,
            keepalive,
            window: keepalive * misses,
            due: None,
        }
    }

    /// From now on greet with this epoch.
    pub(crate) fn set_epoch(&mut self, epoch: u64) {
        self.greeter.epoch = epoch;
    }

    /// What happened since the last call.
    pub(crate) fn next_happened(&mut self) -> Option<Happened> {
        self.happened.pop_front()
    }

    /// A connection came up: say hello.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        ids: (LinkId, PeerId, SocketAddr),
        direction: Direction,
        target: Option<String>,
        out: &mut Outbox,
    ) {
        let (id, _, address) = ids;
        if self.links.contains_key(&id) {
            return;
        }
        self.count += 1;
        let hello = Hello {
            version_min: self.greeter.versions.0,
            version_max: self.greeter.versions.1,
            name: self.greeter.name.clone(),
            instance: self.greeter.instance,
            epoch: self.greeter.epoch,
            observed: address,
            number: self.count,
        };
        out.send(id, Message::Hello(hello));
        self.links
            .insert(id, Link::new(now, ids, direction, target, self.count));
    }

    /// A connection came up for which there is no room: say so. The other end may read what is sent next.
    pub(crate) fn turn_away(&mut self, now: Instant, ids: (LinkId, PeerId, SocketAddr), out: &mut Outbox) {
        let mut link = Link::new(now, ids, Direction::In, None, 0);
        link.phase = Phase::Full {
            until: now + REFERRAL,
        };
        out.send(ids.0, Message::Full);
        self.links.entry(ids.0).or_insert(link);
    }

    /// The other end has no room; it names others.
    pub(crate) fn turned_away(&mut self, now: Instant, id: LinkId) {
        let link = self.links.get_mut(&id);
        if let Some(link) = link.filter(|link| link.phase == Phase::Greeting) {
            link.phase = Phase::Full {
                until: now + REFERRAL,
            };
            let peer = link.peer;
            self.happened.push_back(Happened::Full { peer });
        }
    }

    /// The other end said hello.
    pub(crate) fn greeted(&mut self, now: Instant, id: LinkId, hello: Hello, out: &mut Outbox) {
        let Some(link) = self
            .links
            .get_mut(&id)
            .filter(|link| link.phase == Phase::Greeting)
        else {
            out.drop(DropReason::MalformedMessage);
            return;
        };
        let (peer, target) = (link.peer, link.target.clone());
        let (instance, observed) = (hello.instance, hello.observed);
        let (lowest, highest) = self.greeter.versions;
        if hello.version_min > highest || hello.version_max < lowest {
            out.refuse(
                DropReason::LinkHandshake,
                format!("{} speaks another version of the protocol", link.address),
            );
            return self.close(now, id, "no common protocol version", out);
        }
        link.hello = Some(hello);
        link.heard = now;
        if peer != self.greeter.id {
            self.happened.push_back(Happened::Observed(observed));
            return self.settle(now, id, out);
        }
        if instance == self.greeter.instance {
            out.drop(DropReason::SelfLink);
            self.happened.push_back(Happened::Own { target });
            self.close(now, id, "a link with itself", out);
        } else {
            let detail = format!(
                "another router with this router's identity answers at {}",
                link.address
            );
            out.drop(DropReason::IdentityClash);
            self.happened.push_back(Happened::Clone { detail });
            self.close(now, id, "another router has this identity", out);
        }
    }

    /// A message came on this link.
    pub(crate) fn heard(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.heard = link.heard.max(now);
        }
    }

    /// Authenticated data came from this router.
    pub(crate) fn alive(&mut self, now: Instant, peer: &PeerId) {
        if let Some(link) = self.primary.get(peer).and_then(|id| self.links.get_mut(id)) {
            link.heard = link.heard.max(now);
        }
    }

    /// Answers a ping.
    pub(crate) fn pinged(
        &mut self,
        now: Instant,
        id: LinkId,
        ping: &Ping,
        spread: &mut Spread,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if let Some(echo) = &ping.echo
            && link.echoed(now, echo)
        {
            spread.saw(&link.peer, id, Keepalive::Pong(echo.number));
        }
        let news = spread.show(&link.peer, id, Keepalive::Pong(ping.number));
        link.answer(now, ping, (self.keepalive, news), out);
    }

    /// A ping was answered.
    pub(crate) fn ponged(
        &mut self,
        now: Instant,
        id: LinkId,
        number: u64,
        spread: &mut Spread,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(asked) = link.rtt.answered(now, number) else {
            return;
        };
        link.answered(now, number, self.keepalive);
        spread.saw(&link.peer, id, Keepalive::Ping(number));
        self.proved(now, id, (number, asked), out);
    }

    /// Ends a link: tells the driver, and the core at once.
    pub(crate) fn close(&mut self, now: Instant, id: LinkId, reason: &'static str, out: &mut Outbox) {
        if self.end(now, id, reason) {
            out.push(crate::Output::Close { link: id, reason });
        }
    }

    /// The driver says that a connection is gone.
    pub(crate) fn closed(&mut self, now: Instant, id: LinkId, reason: &str) {
        self.end(now, id, reason);
        self.links.remove(&id);
    }

    /// True if the link was not at its end before.
    fn end(&mut self, now: Instant, id: LinkId, reason: &str) -> bool {
        let Some(link) = self
            .links
            .get_mut(&id)
            .filter(|link| link.phase != Phase::Closing)
        else {
            return false;
        };
        let lived = link.up_since().map(|since| now.since(since));
        link.phase = Phase::Closing;
        let (peer, target) = (link.peer, link.target.clone());
        self.happened.push_back(Happened::Ended {
            peer,
            target,
            reason: reason.to_owned(),
            lived,
        });
        self.release(now, id);
        self.choose(peer, reason);
        true
    }

    /// Timers: hellos that never came, challenges that ended, pings that are due, links that are dead.
    pub(crate) fn tick(&mut self, now: Instant, spread: &mut Spread, out: &mut Outbox) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        let keepalive = self.keepalive;
        let others = self
            .links
            .values()
            .any(|link| link.is_ping_due(now, keepalive, false));
        for id in ids {
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            match link.phase {
                Phase::Greeting if now.since(link.opened) >= GREETING => {
                    out.refuse(
                        DropReason::LinkHandshake,
                        format!("{} never said hello", link.address),
                    );
                    self.close(now, id, "no hello", out);
                }
                Phase::Challenged { until, .. } if now >= until => self.unanswered(now, id, out),
                Phase::Full { until } if now >= until => {
                    self.close(now, id, "all links are taken; others were named", out);
                }
                Phase::Up { .. } if now >= self.health.deadline(link.heard, self.window) => {
                    self.close(now, id, "no sign of life", out);
                }
                Phase::Up { .. } if link.is_ping_due(now, keepalive, others) => {
                    let (number, reliable) = link.next_ping();
                    let news = spread.show(&link.peer, id, Keepalive::Ping(number));
                    link.ping(now, (keepalive, reliable), news, out);
                }
                _ => {}
            }
        }
    }

    /// A timer of the core that was due at `due` fires now.
    pub(crate) fn timer_fired(&mut self, now: Instant, due: Instant) {
        self.health.fired(now, due);
    }

    /// When [`tick`](Self::tick) has something to do; too early for links that gave a sign of life since.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Finds that anew. Whoever changed something about links does it when it is done.
    pub(crate) fn renew_timeout(&mut self) {
        let due = |link: &Link| match link.phase {
            Phase::Greeting => Some(link.opened + GREETING),
            Phase::Challenged { until, .. } | Phase::Full { until } => Some(until),
            Phase::Up { .. } => Some(link.next_ping.min(self.health.deadline(link.heard, self.window))),
            Phase::Closing => None,
        };
        self.due = self.links.values().filter_map(due).min();
    }

    /// One link.
    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    /// One way over a link, as it is told, once it was measured.
    pub(crate) fn measured(&self, id: LinkId) -> Option<Delay> {
        let rtt = self.links.get(&id)?.rtt.floor_us()?;
        Some(Delay::from_us(rtt / 2))
    }

    /// One link, to count what came over it.
    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// All links but those that end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values().filter(|link| link.phase != Phase::Closing)
    }

    /// All neighbours, each with the link that is used.
    pub(crate) fn neighbors(&self) -> impl Iterator<Item = (&PeerId, &Link)> {
        self.primary
            .iter()
            .filter_map(|(peer, id)| Some((peer, self.links.get(id)?)))
    }

    /// The link that is used with this router.
    pub(crate) fn with(&self, peer: &PeerId) -> Option<&Link> {
        self.primary.get(peer).and_then(|id| self.links.get(id))
    }
}
