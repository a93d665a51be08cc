//! Addresses for containers: given out, taken back, waited for.

use super::give::Want;
use super::ring::{Ring, Trust, UNCONFIRMED_AFTER};
use super::{Act, Answer, Around, Refusal, Request, Waiting};
use crate::{Instant, PeerId};
use std::time::Duration;

/// How long a request waits for space that others may give.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much longer it waits for the first division, which may take a few seconds in a network that is new.
const DIVIDING: Duration = Duration::from_secs(7);
/// Requests that may wait at a time.
const MOST_WAITING: usize = 4096;

impl Ring {
    /// Somebody wants an address. The answer comes when it is stored; at once, if there is none to be had.
    pub(crate) fn allocate(&mut self, now: Instant, request: Request, around: &dyn Around) {
        let patience = match self.trust {
            Trust::Waiting(_) => PATIENCE + UNCONFIRMED_AFTER,
            _ => PATIENCE,
        };
        let takes_back = request.want.is_some_and(|want| self.spare.promised().has(want));
        let patience = patience
            + if takes_back {
                2 * super::spare::KNOWN
            } else {
                Duration::ZERO
            };
        if self.waiting.len() >= MOST_WAITING {
            return self.answer(request.number, Err(Refusal::Busy));
        }
        let until = now + patience;
        self.waiting.push_back(Waiting {
            request,
            until,
            is_prolonged: false,
        });
        self.look(now, around);
    }

    /// Gives those that wait what there is.
    pub(super) fn serve(&mut self, now: Instant, around: &dyn Around) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            match self.find(now, &waiting.request, around) {
                Ok(index) => {
                    if !self.space.used().contains_key(&index) {
                        self.give_out(index, &waiting.request.holder);
                    }
                    self.answer(waiting.request.number, Ok(index));
                }
                Err(refusal) if refusal.may_pass() && now < waiting.until => self.waiting.push_back(waiting),
                Err(Refusal::Undivided) if !waiting.is_prolonged => {
                    waiting.until = waiting.until + DIVIDING;
                    waiting.is_prolonged = true;
                    self.waiting.push_back(waiting);
                }
                Err(refusal) => self.answer(waiting.request.number, Err(refusal)),
            }
        }
    }

    /// An answer comes after everything that was changed so far is stored; a refusal needs nothing.
    fn answer(&mut self, number: u64, result: Result<u32, Refusal>) {
        let pending = !self.changes.is_empty() || self.is_changed;
        let batch = if result.is_ok() {
            self.ordered + u64::from(pending)
        } else {
            self.stored
        };
        let answer = Answer { number, result };
        if batch <= self.stored {
            self.acts.push_back(Act::Answer(answer));
        } else {
            self.answers.push_back((batch, answer));
        }
    }

    /// The address for a request: what its holder has, what it wants, or the next free one.
    fn find(&mut self, now: Instant, request: &Request, around: &dyn Around) -> Result<u32, Refusal> {
        match (self.space.of(&request.holder), request.want) {
            (Some(index), None) => return Ok(index),
            (_, Some(want)) if self.space.used().get(&want) == Some(&request.holder) => return Ok(want),
            _ => {}
        }
        if self.state.ring.is_none() && self.is_settled() && self.may_found(now, around) {
            self.found(around);
        }
        if !self.is_settled() || self.state.ring.is_none() || !self.state.fence.is_empty() {
            if self.state.ring.is_none() && self.is_settled() {
                self.ask(now, around, Want::Some);
            }
            return Err(self.unready(around));
        }
        let avoid = self.avoided(now, around);
        if let Some(want) = request.want {
            return self.find_wanted(now, want, &avoid, around);
        }
        if let Some(index) = self.space.next(&avoid, |index| around.is_taken(index)) {
            return Ok(index);
        }
        if self.ask(now, around, Want::Some) {
            return Err(Refusal::NoSpaceYet);
        }
        Err(self.nothing_left(around))
    }

    fn find_wanted(
        &mut self,
        now: Instant,
        want: u32,
        avoid: &super::ranges::Set,
        around: &dyn Around,
    ) -> Result<u32, Refusal> {
        if !self.pool.is_usable(want) {
            return Err(Refusal::NotInPool);
        }
        if self.space.is_free(want) && self.spare.promised().has(want) {
            self.want_back(want);
            return Err(Refusal::Promised);
        }
        if self.space.used().contains_key(&want) || avoid.has(want) || around.is_taken(want) {
            return Err(Refusal::Taken);
        }
        if self.space.is_free(want) {
            return Ok(want);
        }
        let owner = self.view.get(want).and_then(|holder| holder.peer);
        if self.ask(now, around, Want::This(want)) {
            Err(Refusal::Asking(owner))
        } else {
            Err(Refusal::Elsewhere(owner))
        }
    }

    /// Why nothing could be given out if somebody asked now, as far as that is known without trying.
    pub(super) fn obstacle(&self, around: &dyn Around) -> Option<Refusal> {
        let known = |refusal: &Refusal| matches!(refusal, Refusal::Unsettled | Refusal::TooFew { .. });
        Some(self.unready(around)).filter(known)
    }

    /// Why nothing can be given out now.
    pub(super) fn unready(&self, around: &dyn Around) -> Refusal {
        let seen = around.count() + 1;
        match (self.trust, self.state.ring, self.init) {
            (Trust::Waiting(_), ..) => Refusal::Unsettled,
            (_, None, Some(init)) if seen <= init / 2 => Refusal::TooFew {
                seen,
                needed: init / 2 + 1,
            },
            (_, None, _) => Refusal::Undivided,
            _ => Refusal::Fenced(self.state.fence.iter().copied().collect()),
        }
    }

    fn give_out(&mut self, index: u32, holder: &str) {
        for number in self.space.freed_in(super::ranges::Span::new(index, index + 1)) {
            self.changes.freed(self.vni, number, None);
        }
        self.space.take(index, holder);
        self.changes.used(self.vni, index, Some(holder));
    }

    /// A container is gone: its addresses are free. Returns them.
    pub(crate) fn release(&mut self, now: Instant, holder: &str) -> Vec<u32> {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.request.holder == holder {
                self.answer(waiting.request.number, Err(Refusal::Released));
            } else {
                self.waiting.push_back(waiting);
            }
        }
        let mut released = Vec::new();
        while let Some(index) = self.space.of(holder) {
            let is_owned = self.is_owned(index);
            self.space.release(index, is_owned);
            self.changes.used(self.vni, index, None);
            match self.space.last_freed().filter(|_| is_owned) {
                Some((number, index)) => self.changes.freed(self.vni, number, Some(index)),
                // One stray less: others may use the address.
                None => self.is_changed = true,
            }
            let given = self
                .answers
                .iter_mut()
                .filter(|(_, answer)| answer.result == Ok(index));
            given.for_each(|(_, answer)| answer.result = Err(Refusal::Released));
            released.push(index);
        }
        self.settle(now);
        released
    }

    /// Who has what here.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (u32, &str)> {
        self.space
            .used()
            .iter()
            .map(|(index, holder)| (*index, holder.as_str()))
    }

    /// For each router that owns something: how many addresses.
    pub(crate) fn shares(&self) -> Vec<(Option<PeerId>, u32)> {
        let mut shares = std::collections::BTreeMap::<Option<PeerId>, u32>::new();
        for (span, holder) in self.view.iter() {
            *shares.entry(holder.peer).or_default() += span.len();
        }
        shares.into_iter().collect()
    }
}
