//! The thread that keeps the router's state on disk.
//!
//! To be sure of a file means to wait for the disk, for tens of milliseconds on a good day and for seconds on a bad
//! one; neighbours of a router that waited so long would think it dead. So the router hands over what is to be
//! kept, goes on, and is told when it is safe; whatever must not happen before that waits for the word.

use super::Router;
use super::containers::{Answer, Asked, Change};
use crate::address_store::AddressStore;
use crate::control::Refused;
use crate::state::{Attachment, Memory, StateDir};
use crypto::keyring::Keyring;
use mesh::ipam::Batch;
use mesh::{Input, Vni};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc;
use tracing::error;

/// Number of an order, repeated in its outcome.
type Ticket = u64;

/// What shall be on disk. Each replaces what was there of its kind.
enum Order {
    Memory(Box<Memory>),
    Secrets(Keyring),
    Attachments(Vec<Attachment>),
    /// Changes, not a whole: none may be left out.
    Addresses(Vec<Batch>),
}

/// What came of an order.
#[derive(Debug)]
pub(crate) struct Kept {
    ticket: Ticket,
    result: Result<(), String>,
}

/// What waits for the word that an order was carried out.
pub(super) enum Then {
    /// The core and sleeve shall hear of the epoch.
    Epoch(u64),
    /// The secrets are used, and the asker answered.
    Secrets {
        keyring: Keyring,
        /// The id of the one that is no longer valid, if the change is that.
        retired: Option<String>,
        value: Value,
        answer: Answer,
    },
    /// The asker is answered; it is done even if it could not be stored.
    Answer { value: Value, answer: Answer },
    /// The kernel is told of the containers, and the asker answered after that.
    Containers(Change),
    /// The core shall hear that addresses are stored.
    Addresses { vni: Vni, number: u64 },
    /// Nothing; if it fails, the log has a line.
    Nothing,
}

/// The router's hold on the thread. Dropping it waits until all orders are carried out.
pub(crate) struct Keeper {
    /// None while it is being dropped.
    orders: Option<Sender<(Ticket, Order)>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    next: Ticket,
    waiting: BTreeMap<Ticket, Then>,
}

impl Keeper {
    /// Hands the directory, and with it the lock on it, to a thread of its own.
    pub(crate) fn start(
        state: StateDir,
        addresses: AddressStore,
        outcomes: mpsc::UnboundedSender<Kept>,
    ) -> std::io::Result<Self> {
        let (orders, received) = channel();
        let path = state.path().to_owned();
        let run = move || work(&state, addresses, &received, &outcomes);
        let thread = thread::Builder::new().name("state".into()).spawn(run)?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
            path,
            next: 0,
            waiting: BTreeMap::new(),
        })
    }

    /// The state directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// True while new secrets are on their way to the disk.
    fn is_storing_secrets(&self) -> bool {
        self.waiting
            .values()
            .any(|then| matches!(then, Then::Secrets { .. }))
    }

    /// Who waits for a change of the containers' list that is on its way to the disk, in the order of the changes.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = &mut Asked> {
        self.waiting.values_mut().filter_map(|then| match then {
            Then::Containers(Change(asked)) => Some(asked),
            _ => None,
        })
    }

    /// Gives `then` back if nobody is there to carry the order out.
    fn order(&mut self, order: Order, then: Then) -> Option<Then> {
        self.next += 1;
        let sent = self.orders.as_ref().map(|orders| orders.send((self.next, order)));
        if !matches!(sent, Some(Ok(()))) {
            return Some(then);
        }
        self.waiting.insert(self.next, then);
        None
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that stores the state has panicked");
        }
    }
}

fn work(
    state: &StateDir,
    mut addresses: AddressStore,
    orders: &Receiver<(Ticket, Order)>,
    outcomes: &mpsc::UnboundedSender<Kept>,
) {
    while let Ok(first) = orders.recv() {
        for (tickets, order) in merged([first].into_iter().chain(orders.try_iter())) {
            let result = match order {
                Order::Memory(memory) => state.store_memory(&memory),
                Order::Secrets(keyring) => state.store_secrets(&keyring),
                Order::Attachments(attachments) => state.store_attachments(&attachments),
                Order::Addresses(batches) => addresses.apply(&batches),
            };
            let result = result.map_err(|error| format!("{error:#}"));
            for ticket in tickets {
                // Nobody listens any more when the router is ending.
                let _ = outcomes.send(Kept {
                    ticket,
                    result: result.clone(),
                });
            }
        }
    }
}

/// Of several orders of one kind only the last is carried out, in the place of all; changes of addresses all of them.
fn merged(orders: impl Iterator<Item = (Ticket, Order)>) -> Vec<(Vec<Ticket>, Order)> {
    let mut merged: Vec<(Vec<Ticket>, Order)> = Vec::new();
    for (ticket, mut order) in orders {
        let same = |(_, other): &(_, Order)| std::mem::discriminant(other) == std::mem::discriminant(&order);
        let mut tickets = match merged.iter().position(same) {
            Some(at) => {
                let (tickets, before) = merged.remove(at);
                if let (Order::Addresses(mut all), Order::Addresses(more)) = (before, &mut order) {
                    all.append(more);
                    *more = all;
                }
                tickets
            }
            None => Vec::new(),
        };
        tickets.push(ticket);
        merged.push((tickets, order));
    }
    merged
}

impl Router {
    /// Stores what must outlive the router.
    pub(crate) fn persist_memory(&mut self) {
        self.keep(Order::Memory(Box::new(self.memory.clone())), Then::Nothing);
    }

    /// Stores the epoch; core and sleeve hear of it when it is safe.
    pub(crate) fn persist_epoch(&mut self, epoch: u64) {
        self.memory.epoch = epoch;
        self.keep(Order::Memory(Box::new(self.memory.clone())), Then::Epoch(epoch));
    }

    /// Stores the containers' list.
    pub(super) fn persist_attachments(&mut self, then: Then) {
        self.keep(Order::Attachments(self.containers.attached.clone()), then);
    }

    /// Stores changes of addresses; the core hears of it.
    pub(super) fn persist_addresses(&mut self, vni: Vni, batch: Batch) {
        let number = batch.number;
        self.keep(Order::Addresses(vec![batch]), Then::Addresses { vni, number });
    }

    /// Stores new secrets, then uses them and answers. `retired` is the id of one that is no longer among them.
    pub(super) fn persist_secrets(
        &mut self,
        keyring: Keyring,
        retired: Option<String>,
        value: Value,
        answer: Answer,
    ) {
        if self.keeper.is_storing_secrets() {
            let busy = "another change of the secrets is being stored: try again";
            return drop(answer.send(Err(Refused::for_now(busy))));
        }
        let then = Then::Secrets {
            keyring: keyring.clone(),
            retired,
            value,
            answer,
        };
        self.keep(Order::Secrets(keyring), then);
    }

    fn keep(&mut self, order: Order, then: Then) {
        if let Some(then) = self.keeper.order(order, then) {
            let gone = "the thread that stores the state has ended: start the router again";
            self.carry_on(then, Err(gone.to_owned()));
        }
    }

    /// The thread has carried out an order, or failed to.
    pub(crate) fn kept(&mut self, kept: Kept) {
        if let Some(then) = self.keeper.waiting.remove(&kept.ticket) {
            self.carry_on(then, kept.result);
        }
    }

    /// A full disk is reported and does not stop traffic.
    fn carry_on(&mut self, then: Then, result: Result<(), String>) {
        if let Err(error) = &result {
            error!("{error}");
        }
        match (then, result) {
            (Then::Epoch(epoch), Ok(())) => {
                self.feed(Input::EpochPersisted(epoch));
                self.feed_sleeve(sleeve::Input::Epoch(epoch));
            }
            (Then::Secrets { answer, .. }, Err(error)) => drop(answer.send(Err(error.into()))),
            (
                Then::Secrets {
                    keyring,
                    retired,
                    value,
                    answer,
                },
                Ok(()),
            ) => {
                self.use_keyring(keyring);
                let Some(id) = retired else {
                    return drop(answer.send(Ok(value)));
                };
                self.memory.retired.push(id);
                self.keep(
                    Order::Memory(Box::new(self.memory.clone())),
                    Then::Answer { value, answer },
                );
            }
            (Then::Answer { value, answer }, _) => drop(answer.send(Ok(value))),
            (Then::Containers(change), result) => self.change_stored(change, result),
            (Then::Addresses { vni, number }, Ok(())) => self.feed(Input::AddressesKept { vni, number }),
            (Then::Addresses { .. }, Err(error)) => self.addresses_lost(&error),
            (Then::Epoch(_), Err(_)) | (Then::Nothing, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_kind_is_written_for_all() {
        let memory = |epoch| {
            Order::Memory(Box::new(Memory {
                epoch,
                ..Memory::default()
            }))
        };
        let orders = [
            (1, memory(1)),
            (2, Order::Attachments(Vec::new())),
            (3, memory(2)),
            (4, memory(3)),
        ];
        let merged = merged(orders.into_iter());
        let tickets: Vec<_> = merged.iter().map(|(tickets, _)| tickets.clone()).collect();
        assert_eq!(tickets, [vec![2], vec![1, 3, 4]]);
        assert!(matches!(&merged[1].1, Order::Memory(memory) if memory.epoch == 3));
    }

    #[test]
    fn all_changes_of_addresses_are_written_in_their_order() {
        let batch = |number| Batch {
            number,
            changes: Vec::new(),
        };
        let order = |number| Order::Addresses(vec![batch(number)]);
        let orders = [
            (1, order(1)),
            (2, Order::Attachments(Vec::new())),
            (3, order(2)),
            (4, order(3)),
        ];
        let merged = super::merged(orders.into_iter());
        assert_eq!(merged[1].0, [1, 3, 4]);
        assert!(matches!(&merged[1].1, Order::Addresses(all) if *all == [batch(1), batch(2), batch(3)]));
    }

    #[test]
    fn what_was_ordered_is_on_disk_when_the_keeper_is_gone() {
        let path = std::env::temp_dir().join(format!("weft-keeper-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let (outcomes, mut inbox) = mpsc::unbounded_channel();
        let state = StateDir::open(&path).unwrap();
        let (addresses, _) = state.addresses().unwrap();
        let mut keeper = Keeper::start(state, addresses, outcomes).unwrap();
        for epoch in 1..=50 {
            let memory = Memory {
                epoch,
                ..Memory::default()
            };
            assert!(
                keeper
                    .order(Order::Memory(Box::new(memory)), Then::Nothing)
                    .is_none()
            );
        }
        assert!(StateDir::open(&path).is_err(), "the lock is held");
        drop(keeper);
        assert_eq!(StateDir::open(&path).unwrap().memory().unwrap().epoch, 50);
        let mut heard = 0;
        while let Ok(kept) = inbox.try_recv() {
            heard += 1;
            assert_eq!((kept.ticket, kept.result), (heard, Ok(())));
        }
        assert_eq!(heard, 50);
        std::fs::remove_dir_all(&path).unwrap();
    }
}
