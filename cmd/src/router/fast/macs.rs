//! Behind whom MAC addresses are, as far as the programs are to know.
//!
//! An address that is nowhere any more stays in the tables for [`LINGER`]: a router that was restarted says what it is
//! anew, and a moment later what containers it has, and its kernel has delivered to them all the while. Frames for one
//! that is really gone are dropped there instead of here.

use mesh::{Instant, Mac, PeerId, PeerLabel, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an address outlives the news that it is nowhere.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// An address in a network.
pub(super) type Place = (Vni, Mac);
/// What the programs are to be told: behind whom an address is, or that it is nowhere.
pub(super) type Change = (Place, Option<PeerLabel>);

/// Behind whom addresses are, and what the programs know of it.
#[derive(Debug, Default)]
pub(super) struct Macs {
    behind: BTreeMap<Place, PeerId>,
    labels: BTreeMap<PeerId, PeerLabel>,
    /// Of routers: theirs, so that a new label finds them.
    of: BTreeMap<PeerId, BTreeSet<Place>>,
    told: BTreeMap<Place, PeerLabel>,
    /// Attached to this host.
    own: BTreeSet<Place>,
    /// In the tables without a reason, also what an earlier run left; until when they stay.
    leaving: BTreeMap<Place, Instant>,
    /// The same by time.
    queue: BTreeSet<(Instant, Place)>,
}

impl Macs {
    /// Starts with what an earlier run left, which stays until then if nobody speaks of it.
    pub(super) fn new(left: impl IntoIterator<Item = Place>, until: Instant) -> Self {
        let mut macs = Self::default();
        for place in left {
            macs.leave(place, until);
        }
        macs
    }

    /// An address is behind a router, or nowhere.
    pub(super) fn set(&mut self, now: Instant, place: Place, peer: Option<PeerId>) -> Option<Change> {
        let old = match peer {
            Some(peer) => {
                self.of.entry(peer).or_default().insert(place);
                self.behind.insert(place, peer)
            }
            None => self.behind.remove(&place),
        };
        if let Some(old) = old.filter(|old| Some(*old) != peer)
            && let Some(of) = self.of.get_mut(&old)
        {
            of.remove(&place);
            if of.is_empty() {
                self.of.remove(&old);
            }
        }
        self.tell(now, place)
    }

    /// A router has this label, or none.
    pub(super) fn set_label(&mut self, now: Instant, peer: PeerId, label: PeerLabel) -> Vec<Change> {
        self.labels.insert(peer, label);
        let places = self.of.get(&peer).cloned().unwrap_or_default();
        places
            .into_iter()
            .filter_map(|place| self.tell(now, place))
            .collect()
    }

    /// A router is no longer known.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.labels.remove(peer);
    }

    /// An address is attached to this host, or no more: nothing is sent elsewhere meanwhile.
    pub(super) fn set_own(&mut self, now: Instant, place: Place, attached: bool) -> Option<Change> {
        if attached {
            self.own.insert(place);
        } else {
            self.own.remove(&place);
        }
        self.tell(now, place)
    }

    /// What has stayed for long enough.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((_, place)) = self.queue.first().copied().filter(|(until, _)| *until <= now) {
            self.stay(place);
            self.told.remove(&place);
            changes.push((place, None));
        }
        changes
    }

    /// When to call [`expire`](Self::expire).
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.queue.first().map(|(until, _)| *until)
    }

    fn tell(&mut self, now: Instant, place: Place) -> Option<Change> {
        if self.own.contains(&place) {
            let was_left = self.stay(place).is_some();
            return (self.told.remove(&place).is_some() || was_left).then_some((place, None));
        }
        let peer = self.behind.get(&place);
        let label = peer.and_then(|peer| self.labels.get(peer)).copied();
        let told = self.told.get(&place).copied();
        let Some(label) = label.filter(|label| label.is_some()) else {
            if told.is_some() && !self.leaving.contains_key(&place) {
                self.leave(place, now + LINGER);
            }
            return None;
        };
        self.stay(place);
        (self.told.insert(place, label) != Some(label)).then_some((place, Some(label)))
    }

    fn leave(&mut self, place: Place, until: Instant) {
        self.leaving.insert(place, until);
        self.queue.insert((until, place));
    }

    fn stay(&mut self, place: Place) -> Option<Instant> {
        let until = self.leaving.remove(&place)?;
        self.queue.remove(&(until, place));
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Place = (Vni(1), Mac([2, 0, 0, 0, 0, 1]));
    const TWO: Place = (Vni(1), Mac([2, 0, 0, 0, 0, 2]));
    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);

    fn at(seconds: u64) -> Instant {
        Instant(0) + Duration::from_secs(seconds)
    }

    fn known() -> Macs {
        let mut macs = Macs::default();
        assert_eq!(macs.set(at(0), ONE, Some(A)), None);
        assert_eq!(
            macs.set_label(at(0), A, PeerLabel(7)),
            [(ONE, Some(PeerLabel(7)))]
        );
        macs.set_label(at(0), B, PeerLabel(8));
        macs
    }

    #[test]
    fn a_router_that_returns_finds_its_addresses_as_they_were() {
        let mut macs = known();
        assert_eq!(macs.set(at(1), ONE, None), None);
        assert_eq!(macs.set(at(2), ONE, Some(A)), None);
        assert_eq!((macs.next_timeout(), macs.expire(at(99))), (None, vec![]));
        // The same when its label is not known for a moment.
        assert_eq!(macs.set_label(at(3), A, PeerLabel::NONE), []);
        assert_eq!(
            macs.set_label(at(4), A, PeerLabel(9)),
            [(ONE, Some(PeerLabel(9)))]
        );
    }

    #[test]
    fn what_is_nowhere_goes_when_its_time_is_over() {
        let mut macs = known();
        macs.set(at(1), ONE, None);
        assert_eq!(macs.next_timeout(), Some(at(1) + LINGER));
        assert_eq!(macs.expire(at(10)), []);
        assert_eq!(macs.expire(at(11)), [(ONE, None)]);
        assert_eq!(macs.next_timeout(), None);
    }

    #[test]
    fn what_moved_is_elsewhere_at_once() {
        let mut macs = known();
        macs.set(at(1), ONE, None);
        assert_eq!(macs.set(at(2), ONE, Some(B)), Some((ONE, Some(PeerLabel(8)))));
        // To this host, whether the other router has noticed or not.
        assert_eq!(macs.set_own(at(3), ONE, true), Some((ONE, None)));
        assert_eq!(macs.set(at(4), ONE, None), None);
        assert_eq!(macs.set_own(at(5), ONE, false), None);
        assert_eq!(
            (macs.set_own(at(6), ONE, true), macs.next_timeout()),
            (None, None)
        );
    }

    #[test]
    fn what_an_earlier_run_left_stays_until_then_or_is_claimed() {
        let mut macs = Macs::new([ONE, TWO], at(60));
        // Known before its router's label is: it stays as it is.
        assert_eq!(macs.set(at(1), ONE, Some(A)), None);
        assert_eq!(
            macs.set_label(at(2), A, PeerLabel(7)),
            [(ONE, Some(PeerLabel(7)))]
        );
        assert_eq!(macs.expire(at(60)), [(TWO, None)]);
        assert_eq!(macs.next_timeout(), None);
    }
}
