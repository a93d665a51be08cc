//! The thread that keeps the kernel as the router wants it: bridge, TAP port, containers' interfaces.
//!
//! Programming a container takes about a millisecond of waiting for the kernel, too long for the router's own
//! task when there are many. So the router hands over what it desires and is told what came of it; between
//! orders the thread looks every two seconds whether somebody has taken something away, and at once when
//! the kernel says so.

use fastpath::kernel::{Kernel, Report, converge_some};
use fastpath::plan::{Attachment, Desired, Obstacle};
use mesh::DropReason;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the kernel is looked at unasked.
const PATROL: Duration = Duration::from_secs(2);

/// Containers that are looked at in one go: whoever attaches one waits no longer than for these.
const AT_ONCE: usize = 8;

/// How long after a report of the kernel's it is looked at: more will follow.
const LOOK_DELAY: Duration = Duration::from_millis(200);

/// Number of an order, repeated in its outcome.
pub(crate) type Ticket = u64;

/// What the router orders.
#[derive(Debug)]
enum Order {
    /// Make this so, one for each network.
    Converge(Ticket, Vec<Desired>),
    /// Read what the port guard has dropped.
    Counters(Ticket),
    /// Look now.
    Look,
    /// Say whose addresses these are, now that their frames pass.
    Announce(Box<Attachment>),
    /// Remove everything.
    Remove(Ticket),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The kernel was worked on; `None` as ticket for unasked repairs.
    Converged {
        ticket: Option<Ticket>,
        result: Result<Arc<Report>, String>,
    },
    /// Drops by reason since launch.
    Counters {
        ticket: Ticket,
        counters: BTreeMap<DropReason, u64>,
    },
    /// Everything is removed.
    Removed {
        ticket: Ticket,
        result: Result<(), String>,
    },
}

/// The router's hold on the thread. When it is dropped the thread ends, and leaves everything as it is.
#[derive(Debug)]
pub(crate) struct Ports {
    orders: Sender<Order>,
    next: Ticket,
    /// A look is ordered and has not begun: another would find the same.
    looking: Arc<AtomicBool>,
}

impl Ports {
    /// Starts the thread, which makes its hold on the kernel itself: loading the guard takes a while.
    pub(crate) fn start(
        kernel: impl FnOnce() -> Box<dyn Kernel> + Send + 'static,
        outcomes: mpsc::Sender<Outcome>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (orders, received) = channel();
        let looking = Arc::new(AtomicBool::new(false));
        let begun = looking.clone();
        let run = move || {
            let worker = Worker {
                kernel: kernel(),
                outcomes,
                desired: Vec::new(),
                troubled: BTreeSet::new(),
                made: BTreeSet::new(),
                look_at: None,
                left: VecDeque::new(),
                looking: begun,
            };
            worker.run(&received);
        };
        let thread = thread::Builder::new().name("ports".into()).spawn(run)?;
        let ports = Self {
            orders,
            next: 0,
            looking,
        };
        Ok((ports, thread))
    }

    /// Fails only when the thread has panicked: nobody would ever answer.
    fn order(&mut self, order: impl FnOnce(Ticket) -> Order) -> Result<Ticket, String> {
        self.next += 1;
        let sent = self.orders.send(order(self.next));
        sent.map_err(|_| "the thread that makes interfaces has ended: start the router again".to_owned())?;
        Ok(self.next)
    }

    /// Makes the kernel as desired, now and from now on.
    pub(crate) fn converge(&mut self, desired: Vec<Desired>) -> Result<Ticket, String> {
        self.order(|ticket| Order::Converge(ticket, desired))
    }

    /// Asks for the port guard's counters.
    pub(crate) fn counters(&mut self) -> Result<Ticket, String> {
        self.order(Order::Counters)
    }

    /// Says to all in its network which addresses a container has.
    pub(crate) fn announce(&mut self, attachment: Attachment) {
        // Of a thread that has ended, attach tells.
        let _ = self.order(|_| Order::Announce(Box::new(attachment)));
    }

    /// Removes everything the router made.
    pub(crate) fn remove(&mut self) -> Result<Ticket, String> {
        self.order(Order::Remove)
    }

    /// The kernel reports a change: look whether it concerns us. Attaching must not wait behind a look for every
    /// interface that others on this host make.
    pub(crate) fn look(&mut self) {
        if !self.looking.swap(true, Ordering::AcqRel) {
            // Of a thread that has ended, attach tells.
            let _ = self.order(|_| Order::Look);
        }
    }
}

struct Worker {
    kernel: Box<dyn Kernel>,
    outcomes: mpsc::Sender<Outcome>,
    /// One for each network, the default one first.
    desired: Vec<Desired>,
    /// Host ends of what did not work when it was last tried.
    troubled: BTreeSet<String>,
    /// Host ends of what has worked, in this run or an earlier one.
    made: BTreeSet<String>,
    /// When to look at everything because the kernel has reported changes.
    look_at: Option<Instant>,
    /// What is still to be looked at of a patrol: network, and host ends.
    left: VecDeque<(String, BTreeSet<String>)>,
    looking: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>) {
        // What was taken from the queue and is of another kind than what is being done.
        let mut next = None;
        loop {
            let rest = match self.look_at {
                _ if !self.left.is_empty() => Duration::ZERO,
                Some(at) => at.saturating_duration_since(Instant::now()),
                None => PATROL,
            };
            let order = next.take().map_or_else(|| orders.recv_timeout(rest), Ok);
            let outcome = match order {
                Ok(Order::Converge(ticket, desired)) => {
                    if self.desired.is_empty() {
                        // What there is at the start was made by an earlier run; what was asked for since was not.
                        let all = desired.iter().flat_map(|desired| &desired.attachments);
                        self.made.extend(all.map(|one| one.host_ifname.clone()));
                    }
                    // Of those that wait only the last is made so: it is what all of them led to.
                    let (mut tickets, mut last) = (vec![ticket], desired);
                    while let Ok(order) = orders.try_recv() {
                        match order {
                            Order::Converge(ticket, desired) => {
                                tickets.push(ticket);
                                last = desired;
                            }
                            other => {
                                next = Some(other);
                                break;
                            }
                        }
                    }
                    if !self.converge_for(&tickets, last) {
                        return;
                    }
                    None
                }
                Ok(Order::Counters(ticket)) => {
                    let counters = self.kernel.read_counters().unwrap_or_default();
                    Some(Outcome::Counters {
                        ticket,
                        counters: counters.into_iter().collect(),
                    })
                }
                Ok(Order::Remove(ticket)) => self.remove(ticket),
                Ok(Order::Announce(attachment)) => {
                    self.kernel.announce(&attachment);
                    None
                }
                Ok(Order::Look) => {
                    self.looking.store(false, Ordering::Release);
                    // What this thread does itself is news of the kernel, too: not a look for each.
                    self.look_at.get_or_insert_with(|| Instant::now() + LOOK_DELAY);
                    None
                }
                Err(RecvTimeoutError::Timeout) => self.patrol(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(outcome) = outcome
                && self.outcomes.blocking_send(outcome).is_err()
            {
                return;
            }
        }
    }

    /// Does what was asked for under all these tickets, and answers each. False if nobody listens any more.
    fn converge_for(&mut self, tickets: &[Ticket], desired: Vec<Desired>) -> bool {
        let before = std::mem::replace(&mut self.desired, desired);
        let is_wanted = |host: &String| {
            let mut all = self.desired.iter().flat_map(|desired| &desired.attachments);
            all.any(|one| one.host_ifname == *host)
        };
        self.made.retain(is_wanted);
        // Only what has changed, or did not work, is worked on: the patrol looks at everything.
        let due = |desired: &Desired| {
            let old = before.iter().find(|old| old.bridge == desired.bridge);
            let old_ports = old.map_or(&[][..], |old| &old.attachments);
            let is_due =
                |one: &&Attachment| !old_ports.contains(one) || self.troubled.contains(&one.host_ifname);
            let some = desired.attachments.iter().filter(is_due);
            let over = old_ports.iter().filter(|old| !is_wanted(&old.host_ifname));
            let some: BTreeSet<_> = some.chain(over).map(|one| one.host_ifname.clone()).collect();
            let is_same = some.is_empty() && old == Some(desired);
            (some, is_same)
        };
        let mut due: Vec<_> = self.desired.iter().map(due).collect();
        let is_new = |bridge: &String| before.iter().all(|old| old.bridge != *bridge);
        for (desired, (some, _)) in self.desired.iter().zip(&mut due) {
            if is_new(&desired.bridge) {
                // An earlier run may have left what nobody wants any more.
                some.extend(self.kernel.survey(&desired.bridge).unwrap_or_default());
            }
        }
        // Nothing has changed: then something is to be mended.
        let is_mending = due.iter().all(|(_, is_same)| *is_same);
        let mut result = self.remove_others(&before);
        for (at, (some, is_same)) in due.iter().enumerate() {
            if is_mending || !is_same {
                result = joined(result, self.work_on(at, some));
            }
        }
        let result = result.map(Arc::new);
        tickets.iter().all(|ticket| {
            let (ticket, result) = (Some(*ticket), result.clone());
            self.outcomes
                .blocking_send(Outcome::Converged { ticket, result })
                .is_ok()
        })
    }

    /// Networks that are desired no more: at the start also those that an earlier run left.
    fn remove_others(&mut self, before: &[Desired]) -> Result<Report, String> {
        let is_desired = |bridge: &String| self.desired.iter().any(|desired| desired.bridge == *bridge);
        let gone: Vec<String> = match (before.first(), self.desired.first()) {
            (None, Some(first)) => {
                let there = self
                    .kernel
                    .networks(&first.bridge)
                    .map_err(|error| error.to_string())?;
                there.into_iter().filter(|bridge| !is_desired(bridge)).collect()
            }
            _ => {
                let old = before.iter().map(|desired| desired.bridge.clone());
                old.filter(|bridge| !is_desired(bridge)).collect()
            }
        };
        for bridge in gone {
            self.kernel.remove(&bridge).map_err(|error| error.to_string())?;
        }
        Ok(Report::default())
    }

    /// Looks at some containers, and after the last of them begins with the first of all networks again. Work that nobody
    /// asked for is reported only when there was some.
    fn patrol(&mut self) -> Option<Outcome> {
        if self.left.is_empty() {
            self.look_at = None;
            for desired in &self.desired {
                // What is there and nobody wants is due as well. Why it can't be listed will be told with the first few.
                let there = self.kernel.survey(&desired.bridge).unwrap_or_default();
                let wanted = desired.attachments.iter().map(|one| one.host_ifname.clone());
                let all: BTreeSet<_> = wanted.chain(there).collect();
                let mut all = all.into_iter().peekable();
                loop {
                    let some = all.by_ref().take(AT_ONCE).collect();
                    self.left.push_back((desired.bridge.clone(), some));
                    if all.peek().is_none() {
                        break;
                    }
                }
            }
        }
        let (bridge, due) = self.left.pop_front()?;
        let mut result = Ok(Report::default());
        for at in 0..self.desired.len() {
            let desired = &self.desired[at];
            let is_due = |host: &&String| {
                self.troubled.contains(*host) || desired.bridge == bridge && due.contains(*host)
            };
            let hosts = desired.attachments.iter().map(|one| &one.host_ifname);
            // What is in trouble is part of every report: it would be taken for mended.
            let mut some: BTreeSet<_> = hosts.filter(is_due).cloned().collect();
            if desired.bridge == bridge {
                some.extend(due.iter().cloned());
            }
            if desired.bridge == bridge || !some.is_empty() {
                result = joined(result, self.work_on(at, &some));
            }
        }
        let quiet = matches!(&result, Ok(report) if report.done == 0 && report.gone.is_empty() && report.is_reached());
        let result = result.map(Arc::new);
        (!quiet).then_some(Outcome::Converged { ticket: None, result })
    }

    /// Works on one network, and of its containers on these.
    fn work_on(&mut self, at: usize, some: &BTreeSet<String>) -> Result<Report, String> {
        let desired = &self.desired[at];
        let mut report =
            converge_some(self.kernel.as_mut(), desired, some).map_err(|error| error.to_string())?;
        self.find_replaced(&mut report);
        self.troubled.retain(|host| !some.contains(host));
        self.troubled.extend(report.gone.iter().cloned());
        let failed = report.failed.iter().map(|(op, _)| op.subject().to_owned());
        self.troubled.extend(failed);
        if !report.obstacles.is_empty() {
            // Of some it is not told whose they are.
            self.troubled.extend(some.iter().cloned());
        }
        let works = |one: &&Attachment| {
            let host = &one.host_ifname;
            some.contains(host) && !self.troubled.contains(host)
        };
        let works = desired.attachments.iter().filter(works);
        self.made.extend(works.map(|one| one.host_ifname.clone()));
        Ok(report)
    }

    /// Where an interface that was ours is another's, the container is another, too: a namespace that came after ours has its
    /// path and number.
    fn find_replaced(&self, report: &mut Report) {
        let replaced = report.obstacles.extract_if(
            ..,
            |obstacle| matches!(obstacle, Obstacle::NameTaken { host, .. } if self.made.contains(host)),
        );
        report.gone.extend(replaced.filter_map(|obstacle| match obstacle {
            Obstacle::NameTaken { host, .. } => Some(host),
            _ => None,
        }));
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Outcome> {
        let desired = std::mem::take(&mut self.desired);
        let removed = desired.iter().map(|desired| {
            self.kernel
                .remove(&desired.bridge)
                .map_err(|error| error.to_string())
        });
        // All of them, whatever becomes of one.
        let results: Vec<_> = removed.collect();
        let result = results.into_iter().collect();
        Some(Outcome::Removed { ticket, result })
    }
}

/// What was done in two networks.
fn joined(one: Result<Report, String>, other: Result<Report, String>) -> Result<Report, String> {
    let (mut one, other) = (one?, other?);
    one.done += other.done;
    one.failed.extend(other.failed);
    one.gone.extend(other.gone);
    one.obstacles.extend(other.obstacles);
    Ok(one)
}
