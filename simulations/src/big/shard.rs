//! Several threads, one course of events.
//!
//! Each thread runs some of the hosts. Nothing that one host does reaches another sooner than the shortest wire's
//! delay, so all may go on by that much without hearing of each other: they run up to a common end, hand over what is
//! for others' hosts, and go on from the earliest event of all. A host sees its own events in the order of their keys
//! in any case, so how many threads there are changes nothing.

use super::event::{Event, Queue};
use super::host::Host;
use super::terms::Terms;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The hosts of one thread.
pub(super) struct Shard {
    /// Host `n` is in shard `n % shards`, at `n / shards`.
    pub(super) hosts: Vec<Host>,
    queue: Queue,
    /// What follows from the event at hand.
    pub(super) planned: Vec<Event>,
    /// For the hosts of others, by shard.
    away: Vec<Vec<Event>>,
    number: usize,
    /// Events that happened.
    pub(super) happened: u64,
}

/// Where threads meet.
struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    next: Vec<AtomicU64>,
    mail: Vec<Mutex<Vec<Event>>>,
}

impl Meeting {
    /// Waits until all are here. Rounds are short, so nobody goes to sleep over it.
    fn wait(&self) {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Release);
            self.round.fetch_add(1, Ordering::AcqRel);
            return;
        }
        let mut turns = 0_u32;
        while self.round.load(Ordering::Acquire) == round {
            turns += 1;
            if turns.is_multiple_of(256) {
                std::thread::yield_now();
            } else {
                spin_loop();
            }
        }
    }
}

impl Shard {
    pub(super) fn new(number: usize, shards: usize) -> Self {
        Self {
            hosts: Vec::new(),
            queue: Queue::default(),
            planned: Vec::new(),
            away: (0..shards).map(|_| Vec::new()).collect(),
            number,
            happened: 0,
        }
    }

    /// Puts what was planned where it belongs.
    pub(super) fn sort(&mut self) {
        let shards = self.away.len();
        for event in self.planned.drain(..) {
            let of = event.to as usize % shards;
            if of == self.number {
                self.queue.plan(event);
            } else {
                self.away[of].push(event);
            }
        }
    }

    /// All that is for the hosts of others.
    pub(super) fn take_away(&mut self) -> impl Iterator<Item = (usize, Vec<Event>)> {
        self.away.iter_mut().map(std::mem::take).enumerate()
    }

    pub(super) fn take_in(&mut self, events: Vec<Event>) {
        events.into_iter().for_each(|event| self.queue.plan(event));
    }

    /// Everything before `end`.
    fn run_to(&mut self, end: u64, terms: &Terms) {
        let shards = self.away.len();
        while let Some(event) = self.queue.pop(end) {
            self.happened += 1;
            if let Some(host) = self.hosts.get_mut(event.to as usize / shards) {
                host.happen(event, terms, &mut self.planned);
            }
            self.sort();
        }
    }

    fn run_with_others(&mut self, end: u64, terms: &Terms, meeting: &Meeting) {
        loop {
            meeting.next[self.number].store(self.queue.next(), Ordering::Release);
            meeting.wait();
            let next = meeting.next.iter().map(|next| next.load(Ordering::Acquire));
            let start = next.min().unwrap_or(u64::MAX);
            if start >= end {
                return;
            }
            self.run_to(end.min(start + terms.least()), terms);
            for (shard, events) in self
                .away
                .iter_mut()
                .enumerate()
                .filter(|(_, events)| !events.is_empty())
            {
                let mut mail = meeting.mail[shard].lock().unwrap_or_else(PoisonError::into_inner);
                mail.append(events);
            }
            meeting.wait();
            let mut mail = meeting.mail[self.number]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let came = std::mem::take(&mut *mail);
            drop(mail);
            self.take_in(came);
        }
    }
}

/// Lets everything before `end` happen.
pub(super) fn run(shards: &mut [Shard], end: u64, terms: &Terms) {
    if let [one] = shards {
        return one.run_to(end, terms);
    }
    let meeting = Meeting {
        threads: shards.len(),
        arrived: AtomicUsize::new(0),
        round: AtomicUsize::new(0),
        next: shards.iter().map(|_| AtomicU64::new(0)).collect(),
        mail: shards.iter().map(|_| Mutex::default()).collect(),
    };
    std::thread::scope(|scope| {
        for shard in shards {
            scope.spawn(|| shard.run_with_others(end, terms, &meeting));
        }
    });
}
