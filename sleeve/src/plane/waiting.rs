//! Frames that wait for their session.
//!
//! The first frame to a router one has no session with would be lost, and with it the first second of every
//! conversation. A few are kept instead, for as long as a handshake takes. None leaves before there is a session.

use super::outbound::Outgoing;
use super::peer::due;
use super::{Plane, Scratch, Sink};
use crate::wire::inner::Partial;
use mesh::{DropReason, Drops, Instant, PeerId, Vni};
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Most frames that wait, and most of them for one router.
const MAX: usize = 64;
const MAX_PER_PEER: usize = 8;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often group keys and routers are looked through for those that are no longer needed.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Frames without a session, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<Frame>);

#[derive(Debug)]
struct Frame {
    peer: PeerId,
    vni: Vni,
    since: Instant,
    bytes: Vec<u8>,
    partial: Option<Partial>,
}

impl Waiting {
    /// Keeps a frame. False: there is no room for it.
    fn push(&mut self, now: Instant, peer: PeerId, outgoing: Outgoing<'_>, drops: &Drops) -> bool {
        self.expire(now, drops);
        let same = self.0.iter().filter(|waiting| waiting.peer == peer).count();
        if self.0.len() >= MAX || same >= MAX_PER_PEER {
            return false;
        }
        self.0.push_back(Frame {
            peer,
            vni: outgoing.vni,
            since: now,
            bytes: outgoing.frame.to_vec(),
            partial: outgoing.partial,
        });
        true
    }

    /// Gives up on frames that waited too long.
    fn expire(&mut self, now: Instant, drops: &Drops) {
        while self
            .0
            .front()
            .is_some_and(|frame| now.since(frame.since) >= PATIENCE)
        {
            self.0.pop_front();
            drops.count(DropReason::NoSession);
        }
    }

    /// Takes out the next frame for `peer`.
    fn pop(&mut self, peer: &PeerId) -> Option<Frame> {
        let place = self.0.iter().position(|frame| frame.peer == *peer)?;
        self.0.remove(place)
    }
}

impl Plane {
    /// Lets a frame wait for a session with `peer`.
    pub(super) fn wait(&self, now: Instant, peer: PeerId, outgoing: Outgoing<'_>) -> Result<(), DropReason> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = waiting.push(now, peer, outgoing, &self.config.drops);
        if kept { Ok(()) } else { Err(DropReason::NoSession) }
    }

    /// There is a session with `peer`: sends what waited for it.
    pub(crate) fn release(&self, now: Instant, peer: &PeerId, scratch: &mut Scratch, sink: &mut dyn Sink) {
        loop {
            let frame = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.expire(now, &self.config.drops);
                waiting.pop(peer)
            };
            let Some(frame) = frame else {
                return scratch.flush(sink);
            };
            if let Some(peer) = self.known(peer) {
                // The control half has no way to a TAP: nobody can be told here, so what is too big goes in two.
                peer.told.store(now.0.max(1), Ordering::Relaxed);
                let outgoing = Outgoing {
                    vni: frame.vni,
                    frame: &frame.bytes,
                    partial: frame.partial,
                };
                self.count(self.forward(now, &peer, outgoing, scratch, sink));
            }
        }
    }

    /// Gives up on whatever waited too long, or is too old.
    pub(crate) fn expire(&self, now: Instant) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expire(now, &self.config.drops);
        self.halves
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expire(now, &self.config.drops);
        if due(&self.swept, now, SWEEP_EVERY) {
            self.expire_groups(now);
            self.forget_idle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);
    const FRAME: Outgoing<'_> = Outgoing {
        vni: Vni(1),
        frame: &[0; 60],
        partial: None,
    };

    #[test]
    fn few_wait_and_not_for_long() {
        let (mut waiting, drops) = (Waiting::default(), Drops::default());
        let kept = |waiting: &mut Waiting, peer| waiting.push(Instant(0), peer, FRAME, &drops);
        assert_eq!((0..20).filter(|_| kept(&mut waiting, A)).count(), MAX_PER_PEER);
        let others = (3..200).filter(|&n| kept(&mut waiting, PeerId([n; 32])));
        assert_eq!(others.count(), MAX - MAX_PER_PEER);
        assert!(!kept(&mut waiting, B));
        assert!(waiting.pop(&B).is_none() && waiting.pop(&A).is_some());
        waiting.expire(Instant(0) + PATIENCE, &drops);
        assert!(waiting.pop(&A).is_none());
        assert_eq!(drops.get(DropReason::NoSession), MAX as u64 - 1);
    }
}
