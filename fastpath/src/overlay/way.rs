//! Ways: found, kept, replaced, and told to the kernel.
//!
//! A way in use stays in use while the one that is to replace it is being proven. So an address that changes, a route
//! that changes and a router that is restarted cost no frame, as long as the old way works.

use super::proof::{self, Proof, Step};
use super::{Cover, Input, MAX_HOPS, Next, Output, Overlay, Pair, STABLE, Way, Why};
use crate::vxlan::Hop;
use mesh::{Instant, PeerId, PeerLabel};
use std::net::IpAddr;

impl Overlay {
    /// Something about a router changed: its own way, and of those behind it.
    pub(super) fn renew_around(&mut self, now: Instant, peer: PeerId) {
        self.renew_sender(now, peer);
        self.renew(now, peer);
        // Whose route begins with it, whether there is a way or not, and whose way does, route or not.
        let begins = |pair: &Pair| pair.route.as_ref().and_then(|path| path.first()) == Some(&peer);
        let behind: Vec<_> = self
            .pairs
            .iter()
            .filter(|(other, pair)| **other != peer && begins(pair))
            .map(|(other, _)| *other)
            .collect();
        let kept = self.behind.get(&peer).into_iter().flatten().copied();
        for other in behind.into_iter().chain(kept.collect::<Vec<_>>()) {
            self.renew(now, other);
        }
    }

    /// Packets are taken from a neighbour's address while both trust each other's, and from the one it had before for
    /// some time.
    fn renew_sender(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get(&peer).filter(|pair| pair.label.is_some()) else {
            return;
        };
        let (label, direct) = (pair.label, pair.direct);
        if direct.is_some_and(|direct| direct.barred().is_some()) {
            return self.drop_senders(label);
        }
        let current = direct.map(|direct| direct.address);
        if let Some(address) = current {
            let told = self.senders.insert(address, (label, None));
            if told.map(|(told, _)| told) != Some(label) {
                let label = Some(label);
                self.out.push(Output::Sender { address, label });
            }
        }
        for (address, (of, stale)) in &mut self.senders {
            if *of == label && Some(*address) != current {
                stale.get_or_insert(now);
            }
        }
    }

    pub(super) fn drop_senders(&mut self, label: PeerLabel) {
        let gone = self.senders.iter().filter(|(_, (of, _))| *of == label);
        for address in gone.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.drop_sender(address);
        }
    }

    fn drop_sender(&mut self, address: IpAddr) {
        if self.senders.remove(&address).is_some() {
            self.out.push(Output::Sender { address, label: None });
        }
    }

    /// The way to a router as the control plane sees it now.
    fn resolve(&self, pair: &Pair) -> Result<Way, Why> {
        let is_direct = pair.route.as_ref().is_some_and(|path| path.len() == 1);
        if let Some(why) = pair
            .direct
            .filter(|_| is_direct)
            .and_then(|direct| direct.barred())
        {
            return Err(why);
        }
        if !pair.label.is_some() || pair.port == 0 {
            return Err(Why::NoFastPath);
        }
        if pair.port != self.config.port {
            return Err(Why::OtherPort { port: pair.port });
        }
        let path = pair.route.as_ref().ok_or(Why::NoRoute)?;
        let via = *path.first().ok_or(Why::NoRoute)?;
        let distance = u8::try_from(path.len()).unwrap_or(u8::MAX);
        let most = self.config.hops.min(MAX_HOPS);
        if distance > most {
            return Err(Why::TooFar { most });
        }
        let first = self.pairs.get(&via).ok_or(Why::NoDirect)?;
        let direct = first.direct.ok_or(Why::NoDirect)?;
        if let Some(why) = direct.barred() {
            return Err(why);
        }
        // Behind an encrypted hop frames are open to the relay's kernel.
        if distance > 1 && direct.cover == Cover::Esp && !self.may_relay(path) {
            let without = self.relay.then(|| path.iter().find(|peer| !self.allows(peer)));
            let without = without.flatten().copied();
            return Err(Why::Relayed { without });
        }
        if first.port != self.config.port || !first.label.is_some() {
            return Err(Why::FirstHop { via });
        }
        Ok(Way {
            via,
            address: direct.address,
            distance,
            covered: direct.cover == Cover::Esp,
        })
    }

    pub(super) fn renew(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get(&peer) else { return };
        let way = self.resolve(pair);
        let is_over = match &way {
            Err(Why::NoEsp(_) | Why::Relayed { .. } | Why::OtherPort { .. }) => true,
            Err(Why::NoFastPath) => pair.is_told && pair.port == 0,
            _ => false,
        };
        if let Ok(way) = &way {
            self.claim_left(now, peer, way.via);
        }
        if is_over {
            self.forget_left(peer);
        }
        let Some(pair) = self.pairs.get(&peer) else { return };
        let keeps = pair.carries() && pair.proof.is_proven() && self.may_keep(pair);
        let grace = self.config.grace;
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        match way {
            Err(Why::NoRoute | Why::NoDirect) if keeps => {
                pair.next = None;
                let since = *pair.stale.get_or_insert(now);
                pair.until = Some(since + grace);
            }
            Ok(way) if keeps && pair.way != Ok(way) => {
                pair.stale = None;
                if pair.next.as_ref().is_none_or(|next| next.way != way) {
                    let (settles, proof) = (now + STABLE, Proof::new(now));
                    pair.next = Some(Next { way, settles, proof });
                    pair.until = Some(now + grace);
                }
            }
            way => self.set_way(now, peer, way),
        }
        self.tell(now, peer);
    }

    /// True if a way may stay as it is: its first hop is not known to want encryption now, or gets it.
    fn may_keep(&self, pair: &Pair) -> bool {
        let Ok(way) = &pair.way else { return false };
        let first = self.pairs.get(&way.via).and_then(|first| first.direct);
        first.is_none_or(|direct| match direct.cover {
            Cover::Plain => true,
            Cover::Esp => way.covered,
            Cover::Missing(_) => false,
        })
    }

    /// True if this router and all on a path let relays see frames.
    fn may_relay(&self, path: &[PeerId]) -> bool {
        self.relay && path.iter().all(|peer| self.allows(peer))
    }

    fn allows(&self, peer: &PeerId) -> bool {
        self.pairs.get(peer).is_some_and(|pair| pair.relay)
    }

    /// True if others' frames may go on to this router.
    fn may_pass(&self, pair: &Pair, way: &Way) -> bool {
        let path = pair.route.as_deref().unwrap_or_default();
        !self.is_covered(&way.via) || self.may_relay(path)
    }

    /// A router allows relays what it did not, or the other way round: of consequence for all routes over it.
    pub(super) fn renew_over(&mut self, now: Instant, peer: PeerId) {
        let is_over = |pair: &Pair| pair.route.as_ref().is_some_and(|path| path.contains(&peer));
        let over: Vec<_> = self
            .pairs
            .iter()
            .filter(|(_, pair)| is_over(pair))
            .map(|(other, _)| *other)
            .collect();
        for other in over {
            self.renew(now, other);
        }
    }

    /// What an earlier run left for this router is its way, until the one that was found now is proven.
    fn claim_left(&mut self, now: Instant, peer: PeerId, via: PeerId) {
        let Some(pair) = self.pairs.get(&peer).filter(|pair| pair.way.is_err()) else {
            return;
        };
        let label = pair.label;
        let Some(left) = self.adopted.remove(&label) else {
            return;
        };
        // The first hop may have been another router then: whose address it is, the earlier run left as well.
        let owner = self
            .senders
            .get(&left.address)
            .and_then(|(label, _)| self.labels.get(label));
        let via = owner.copied().unwrap_or(via);
        let first = self.pairs.get(&via).and_then(|first| first.direct);
        let way = Way {
            via,
            address: left.address,
            distance: left.distance,
            covered: first.is_some_and(|direct| direct.cover == Cover::Esp && direct.address == left.address),
        };
        self.set_way(now, peer, Ok(way));
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.told = Some((label, left));
            if left.carries {
                pair.proof.inherit(now);
                pair.settles = now;
            }
        }
    }

    /// What an earlier run left for a router to which frames are to be encrypted now, or who has no fast path any more, or another
    /// port than this run, goes at once.
    fn forget_left(&mut self, peer: PeerId) {
        let label = self.pairs.get(&peer).map(|pair| pair.label);
        if let Some(label) = label.filter(|label| self.adopted.remove(label).is_some()) {
            self.out.push(Output::Hop { label, hop: None });
        }
    }

    pub(super) fn set_way(&mut self, now: Instant, peer: PeerId, way: Result<Way, Why>) {
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        (pair.stale, pair.until, pair.next) = (None, None, None);
        if pair.way == way {
            return;
        }
        let via = |way: &Result<Way, Why>| way.as_ref().ok().map(|way| way.via);
        let (old, new) = (via(&pair.way), via(&way));
        pair.settles = now + STABLE;
        pair.proof.restart(now);
        pair.way = way;
        if let Some(others) = old.and_then(|via| self.behind.get_mut(&via)) {
            others.remove(&peer);
        }
        if let Some(via) = new {
            self.behind.entry(via).or_default().insert(peer);
        }
    }

    /// The next way takes the place of the one in use, if it is proven, or the one in use is not any more.
    fn promote(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get(&peer) else { return };
        let Some(next) = &pair.next else { return };
        let settled = next.way.distance == 1 || now >= next.settles;
        let is_better =
            next.proof.is_proven() && settled && (next.way.via == peer || self.is_proven(&next.way.via));
        if !is_better && pair.proof.is_proven() {
            return;
        }
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        let Some(next) = pair.next.take() else { return };
        self.set_way(now, peer, Ok(next.way));
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.settles = next.settles;
            pair.proof.succeed(next.proof);
        }
    }

    /// Tells the kernel what it does not know yet, and when to look again.
    pub(super) fn tell(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get(&peer) else { return };
        let hop = pair.way.as_ref().ok().map(|way| {
            let first = self.is_proven(&way.via) || self.was_proven(&way.via);
            let settled = way.distance == 1 || now >= pair.settles;
            Hop {
                address: way.address,
                distance: way.distance,
                carries: first && pair.proof.is_proven() && settled && !pair.proof.is_held(now),
                relays: first && self.may_pass(pair, way),
            }
        });
        let wanted = hop.map(|hop| (pair.label, hop));
        let (told, was_fast, due) = (pair.told, pair.carries(), due(pair, now));
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        pair.told = wanted;
        let old = std::mem::replace(&mut pair.due, due);
        let is_fast = pair.carries();
        if old != due {
            old.map(|old| self.queue.remove(&(old, peer)));
            due.map(|due| self.queue.insert((due, peer)));
        }
        if told != wanted {
            if let Some((label, _)) = told.filter(|(label, _)| wanted.is_none_or(|(new, _)| new != *label)) {
                self.out.push(Output::Hop { label, hop: None });
            }
            if let Some((label, hop)) = wanted {
                let hop = Some(hop);
                self.out.push(Output::Hop { label, hop });
            }
        }
        if was_fast != is_fast {
            let fast = is_fast;
            self.out.push(Output::Moved { peer, fast });
            self.groups_of(now, peer);
        }
    }

    /// Tells of a router whose probes came back or did not, and if that changes something, of those behind it.
    pub(super) fn proof_changed(&mut self, now: Instant, peer: PeerId, before: bool) {
        self.promote(now, peer);
        self.tell(now, peer);
        if self.is_proven(&peer) == before {
            return;
        }
        let behind: Vec<_> = self.behind.get(&peer).into_iter().flatten().copied().collect();
        for other in behind.into_iter().filter(|other| *other != peer) {
            self.promote(now, other);
            self.tell(now, other);
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        while let Some((at, peer)) = self.queue.first().copied().filter(|(at, _)| *at <= now) {
            self.queue.remove(&(at, peer));
            if let Some(pair) = self.pairs.get_mut(&peer) {
                pair.due = None;
            }
            self.look(now, peer);
        }
        let grace = self.config.grace;
        let gone: Vec<_> = self
            .senders
            .iter()
            .filter(|(_, (_, stale))| stale.is_some_and(|since| now.since(since) >= grace))
            .map(|(address, _)| *address)
            .collect();
        for address in gone {
            self.drop_sender(address);
        }
        if self.adopted_until.is_some_and(|until| until <= now) {
            self.adopted_until = None;
            for label in std::mem::take(&mut self.adopted).into_keys() {
                self.out.push(Output::Hop { label, hop: None });
            }
            for peer in self.pairs.keys().copied().collect::<Vec<_>>() {
                self.tell(now, peer);
            }
        }
    }

    fn look(&mut self, now: Instant, peer: PeerId) {
        let Some(pair) = self.pairs.get(&peer) else { return };
        if pair.until.is_some_and(|until| until <= now) {
            let way = self.resolve(pair);
            self.set_way(now, peer, way);
            return self.tell(now, peer);
        }
        let ways = self.pairs.len();
        let Some(pair) = self.pairs.get_mut(&peer) else {
            return;
        };
        let (label, before) = (pair.label, pair.proof.is_proven());
        let mtu = self.config.mtu;
        let mut ask = |step, by| {
            if let Step::Ask { small } = step {
                self.out.push(Output::Probe {
                    to: label,
                    number: self.number,
                    size: if small { proof::SMALL } else { mtu },
                    by,
                });
                self.number = self.number.wrapping_add(1);
            }
            self.number
        };
        let number = ask(Step::Wait, None);
        let is_direct = pair.way.as_ref().is_ok_and(|way| way.distance == 1);
        let number = ask(pair.proof.step(now, number, is_direct, ways), None);
        if let Some(next) = &mut pair.next {
            let (address, distance) = (next.way.address, next.way.distance);
            ask(
                next.proof.step(now, number, distance == 1, ways),
                Some((address, distance)),
            );
        }
        self.proof_changed(now, peer, before);
    }

    /// Takes in news of a router that is of no use to the programs: it is forgotten.
    pub(super) fn forget(&mut self, now: Instant, peer: PeerId) {
        let label = PeerLabel::NONE;
        self.handle_input(now, Input::Label { peer, label });
        if let Some(pair) = self.pairs.get_mut(&peer) {
            (pair.port, pair.direct, pair.route) = (0, None, None);
        }
        self.renew_around(now, peer);
        self.set_way(now, peer, Err(Why::NoFastPath));
        self.tell(now, peer);
        if let Some(due) = self.pairs.remove(&peer).and_then(|pair| pair.due) {
            self.queue.remove(&(due, peer));
        }
    }
}

/// When something is to be done about a router.
fn due(pair: &Pair, now: Instant) -> Option<Instant> {
    pair.way.as_ref().ok()?;
    let later = |at: Instant| Some(at).filter(|at| *at > now);
    let next = pair.next.as_ref();
    [
        Some(pair.proof.next()),
        later(pair.settles),
        pair.proof.held_until().and_then(later),
        pair.until,
        next.map(|next| next.proof.next()),
        next.and_then(|next| later(next.settles)),
    ]
    .into_iter()
    .flatten()
    .min()
}
