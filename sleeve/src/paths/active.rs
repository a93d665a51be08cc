//! A direct path that works: its liveness, its MTU, its round trip time.
//!
//! Checks are probes of the size in use. One that is not answered is followed by others a second apart, with one of
//! the base size beside each. After three the path is down if none of the base size was answered either, else only
//! its MTU has shrunk (RFC 8899, section 4.3: black hole detection) and the search begins anew.

use super::mtu::Search;
use super::probes::Probes;
use super::{
    BASE_MTU, CHECK_ALONE, CHECK_STEP, CHECK_WITH_LINK, FILL_EVERY, HURRY_STEP, IN_USE, LOSSES, RAISE_AFTER,
};
use crate::context::Context;
use crate::plane::Direct;
use crate::{Output, PathState};
use mesh::{Instant, PeerId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A probe of the search counts as lost after four round trips, within these bounds.
const SEARCH_WAIT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// Answers among which the quickest counts.
const FLOOR_OF: usize = 8;
/// Smaller changes of the round trip time are not announced.
const RTT_STEP: Duration = Duration::from_millis(1);
/// What is slower than the quickest of the last answers by more than a fifth and this may have become slow for good:
/// the next checks follow at once, until that quickest one is forgotten or another is as quick.
const SLOWER: Duration = Duration::from_millis(2);

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Fine,
    /// A check was lost; this is the time to look elsewhere.
    Doubtful,
    Dead,
}

/// A working direct path.
pub(super) struct Active {
    pub peer: PeerId,
    pub address: SocketAddr,
    /// When it began to work.
    pub since: Instant,
    /// Smoothed.
    pub rtt: Duration,
    /// Of the last answers, whose quickest is told to mesh: queues and busy hosts only ever add.
    recent: VecDeque<Duration>,
    pub plain: bool,
    search: Search,
    search_at: Option<Instant>,
    /// When the next check is due, and when the last was.
    check_at: Instant,
    checked: Instant,
    unanswered: u8,
    /// Size of the last check: an answer to less does not say that it arrived.
    asked: u16,
    /// When one of the path's MTU was sent last.
    filled: Instant,
    base_answered: bool,
    /// The link beside it has just died: checks follow each other quickly.
    hurry: bool,
    announced: (u16, Duration),
}

impl Active {
    /// A probe of the base size to `address` was just answered.
    pub(super) fn new(
        cx: &mut Context,
        now: Instant,
        peer: PeerId,
        address: SocketAddr,
        rtt: Duration,
    ) -> Self {
        let mut path = Self {
            peer,
            address,
            since: now,
            rtt,
            recent: VecDeque::from([rtt]),
            plain: false,
            search: Search::new(cx.config.max_mtu),
            search_at: Some(now),
            check_at: now + CHECK_STEP,
            checked: now,
            unanswered: 0,
            asked: BASE_MTU,
            filled: now,
            base_answered: false,
            hurry: false,
            announced: (0, rtt),
        };
        path.publish(cx);
        path
    }

    pub(super) fn mtu(&self) -> u16 {
        self.search.proven()
    }

    pub(super) fn state(&self) -> PathState {
        if self.search.is_over() {
            PathState::Up
        } else {
            PathState::Searching
        }
    }

    /// A check was lost, and the next is on its way.
    pub(super) fn is_doubtful(&self) -> bool {
        self.unanswered > 1
    }

    /// Checks at once.
    pub(super) fn check(&mut self, now: Instant) {
        if self.unanswered == 0 {
            self.check_at = now;
        }
    }

    /// Checks at once and quickly: the link to the same router is gone. Until an answer comes, packets go another way
    /// if there is one.
    pub(super) fn hurry(&mut self, cx: &mut Context, now: Instant) {
        self.hurry = true;
        self.unanswered = 0;
        self.check_at = now;
        self.publish(cx);
    }

    /// Both ends trust the other's address, or no longer do.
    pub(super) fn set_plain(&mut self, cx: &mut Context, plain: bool) {
        if self.plain != plain {
            self.plain = plain;
            self.publish(cx);
        }
    }

    /// A probe of `size` bytes was answered after `rtt`. `link`: there is a link with the same router.
    pub(super) fn answered(&mut self, cx: &mut Context, now: Instant, size: u16, rtt: Duration, link: bool) {
        self.rtt = (self.rtt * 7 + rtt) / 8;
        if self.recent.len() >= FLOOR_OF {
            self.recent.pop_front();
        }
        self.recent.push_back(rtt);
        if size >= self.asked {
            (self.unanswered, self.base_answered, self.hurry) = (0, false, false);
            self.check_at = self.checked + self.check_pace(link);
        } else if self.unanswered > 0 && size >= BASE_MTU {
            self.base_answered = true;
        }
        if self.search.passed(size) {
            self.search_at = Some(now);
        }
        self.publish(cx);
    }

    /// Time between two checks, as long as they are answered.
    fn check_pace(&self, link: bool) -> Duration {
        let floor = self.recent.iter().min().copied().unwrap_or_default();
        let excess = self.recent.back().map_or(Duration::ZERO, |last| *last - floor);
        if excess > SLOWER && excess > floor / 5 {
            CHECK_STEP
        } else if link {
            CHECK_WITH_LINK
        } else {
            CHECK_ALONE
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, cx: &mut Context, now: Instant, probes: &mut Probes) -> Health {
        let mut health = Health::Fine;
        if self.check_at <= now {
            if self.unanswered < LOSSES {
                self.send_check(cx, now, probes);
                if self.is_doubtful() {
                    health = Health::Doubtful;
                }
            } else if self.base_answered && self.mtu() > BASE_MTU {
                self.search = Search::new(cx.config.max_mtu);
                (self.unanswered, self.base_answered) = (0, false);
                self.search_at = Some(now);
                self.check_at = now + CHECK_STEP;
                self.publish(cx);
            } else {
                return Health::Dead;
            }
        }
        if self.search_at.is_some_and(|at| at <= now) {
            self.search(cx, now, probes);
        }
        health
    }

    /// When [`Self::tick`] is to be called.
    pub(super) fn deadline(&self) -> Instant {
        self.search_at.map_or(self.check_at, |at| at.min(self.check_at))
    }

    /// A path in use is checked at its MTU, any other mostly for being there only: ten thousand routers with eight idle
    /// links each would send more for this than for all else.
    fn send_check(&mut self, cx: &mut Context, now: Instant, probes: &mut Probes) {
        let is_lost = self.unanswered > 0 && self.asked > 0;
        let fills = is_lost || now.since(self.filled) >= FILL_EVERY || is_in_use(cx, now, &self.peer);
        self.asked = if fills { self.mtu() } else { 0 };
        if fills {
            self.filled = now;
        }
        probes.send(cx, now, &self.peer, self.address, self.asked);
        if self.unanswered > 0 && self.asked > BASE_MTU {
            probes.send(cx, now, &self.peer, self.address, BASE_MTU);
        }
        self.unanswered += 1;
        self.checked = now;
        self.check_at = now + if self.hurry { HURRY_STEP } else { CHECK_STEP };
    }

    fn search(&mut self, cx: &mut Context, now: Instant, probes: &mut Probes) {
        let wait = (self.rtt * 4).clamp(SEARCH_WAIT.0, SEARCH_WAIT.1);
        if self.is_doubtful() {
            // What is lost now says nothing of sizes.
            self.search_at = Some(now + CHECK_STEP);
        } else if self.search.is_over() {
            self.search.raise(cx.config.max_mtu);
            self.search_at = Some(now + RAISE_AFTER).filter(|_| self.search.is_over());
            if self.search_at.is_none() {
                self.probe_next(cx, now, probes, wait);
            }
        } else {
            self.probe_next(cx, now, probes, wait);
        }
    }

    fn probe_next(&mut self, cx: &mut Context, now: Instant, probes: &mut Probes, wait: Duration) {
        match self.search.next() {
            Some(size) => {
                probes.send(cx, now, &self.peer, self.address, size);
                self.search_at = Some(now + wait);
            }
            None => self.search_at = Some(now + RAISE_AFTER),
        }
    }

    /// Tells the plane and mesh what changed.
    fn publish(&mut self, cx: &mut Context) {
        let mtu = self.mtu();
        let direct = Direct {
            address: self.address,
            mtu,
            plain: self.plain,
            doubtful: self.hurry,
        };
        cx.plane.set_direct(self.peer, Some(direct));
        if self.hurry {
            return;
        }
        let floor = self.recent.iter().min().copied().unwrap_or(self.rtt);
        let step = (self.announced.1 / 10).max(RTT_STEP);
        if self.announced.0 != mtu || floor.abs_diff(self.announced.1) > step {
            self.announced = (mtu, floor);
            cx.outputs.push_back(Output::PathUp {
                peer: self.peer,
                mtu,
                rtt: floor,
            });
        }
    }
}

/// Frames went to this router or came from it lately.
pub(super) fn is_in_use(cx: &Context, now: Instant, peer: &PeerId) -> bool {
    let traffic = cx.plane.known(peer).map_or(Instant(0), |peer| peer.traffic());
    traffic > Instant(0) && now.since(traffic) < IN_USE
}
