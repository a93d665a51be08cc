//! The seam: what the router needs of a kernel, and the loop that makes the desired state true.
//!
//! Everything here blocks, for about a millisecond per attachment that needs work; a tokio runtime calls it from
//! `spawn_blocking`, or directly where a pause of that length does no harm.

use crate::guard::GuardError;
use crate::netlink::NetlinkError;
use crate::netns::NetNsError;
use crate::observe::Observed;
use crate::plan::{Attachment, Desired, Obstacle, Op, obstacles, plan};
use mesh::DropReason;
use std::collections::BTreeSet;

/// Why something could not be read from, or done by, the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Netlink failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A namespace could not be used.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The guard failed.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A step made no sense in the present state.
    #[error("{0}")]
    Refused(String),
}

/// What the router needs of a kernel: [`Linux`](crate::apply::Linux), or [`FakeKernel`](crate::fake::FakeKernel).
/// All methods block.
pub trait Kernel: Send {
    /// Reads the state that matters to `desired`. Of the containers' interfaces on the host all are looked at, whoever they
    /// are for; or `only` these, by their names.
    ///
    /// # Errors
    /// When the host's own state can't be read. Trouble in one container is part of the answer.
    fn observe(
        &mut self,
        desired: &Desired,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Observed, KernelError>;

    /// The names of the containers' interfaces on the host that a router with this bridge made, whoever they are for. What
    /// was known of interfaces that are gone is forgotten.
    ///
    /// # Errors
    /// When the links can't be listed.
    fn survey(&mut self, bridge: &str) -> Result<Vec<String>, KernelError>;

    /// Does one step.
    ///
    /// # Errors
    /// What the kernel said.
    fn apply(&mut self, op: &Op) -> Result<(), KernelError>;

    /// Does several steps that are all for the host's namespace, or all inside the same other one.
    fn apply_together(&mut self, ops: &[Op], round: &mut Round) {
        for op in ops {
            round.take(op, || self.apply(op));
        }
    }

    /// Says to all in its network which addresses a container has: who has heard of another that had them before would go on
    /// sending to that for half a minute. That it can't be said is found out in the end.
    fn announce(&mut self, _attachment: &Attachment) {}

    /// Removes all that a router with this bridge name made: bridge, pairs, guard. Nothing happens when nothing is
    /// there. (The TAP device goes with its descriptor.)
    ///
    /// # Errors
    /// What the kernel said; the rest is removed nevertheless.
    fn remove(&mut self, bridge: &str) -> Result<(), KernelError>;

    /// The bridges of other networks than the default one that a router with this bridge made, now or in an earlier run.
    ///
    /// # Errors
    /// When the links can't be listed.
    fn networks(&mut self, _bridge: &str) -> Result<Vec<String>, KernelError> {
        Ok(Vec::new())
    }

    /// What the guard has dropped since this kernel handle was made, by reason.
    ///
    /// # Errors
    /// When the counters can't be read.
    fn read_counters(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError>;
}

/// What [`converge`] did.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps done.
    pub done: usize,
    /// Steps that failed, with the reason.
    pub failed: Vec<(Op, KernelError)>,
    /// Attachments (names of host ends) whose namespace does not exist any more.
    pub gone: Vec<String>,
    /// What stands in the way.
    pub obstacles: Vec<Obstacle>,
}

impl Report {
    /// True when the desired state is reached, but for namespaces that are gone.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.failed.is_empty() && self.obstacles.is_empty()
    }
}

/// The steps of one plan as they are done.
#[derive(Debug, Default)]
pub struct Round {
    done: usize,
    failed: Vec<(Op, KernelError)>,
    /// What nothing more can be done about.
    lost: BTreeSet<String>,
}

impl Round {
    /// Does a step, unless a failure has taken its ground away.
    pub fn take(&mut self, op: &Op, apply: impl FnOnce() -> Result<(), KernelError>) {
        if self.lost.contains(op.subject()) {
            return;
        }
        match apply() {
            Ok(()) => self.done += 1,
            Err(error) => {
                if op.is_vital() {
                    self.lost.insert(op.subject().to_owned());
                }
                self.failed.push((op.clone(), error));
            }
        }
    }

    /// None of these steps could be begun: of the first is told why, the others are as good as tried.
    pub(crate) fn refuse(&mut self, ops: &[Op], error: KernelError) {
        let mut error = Some(error);
        for op in ops {
            let why = || KernelError::Refused("not begun".to_owned());
            self.take(op, || Err(error.take().unwrap_or_else(why)));
        }
    }

    /// What became of the one step that was taken.
    pub(crate) fn into_result(self) -> Result<(), KernelError> {
        self.failed
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// Plans and applies until nothing is left to do, at most three rounds (others may change things meanwhile). A
/// failure of one attachment does not keep the others from being worked on.
///
/// # Errors
/// When the state can't be read.
pub fn converge(kernel: &mut dyn Kernel, desired: &Desired) -> Result<Report, KernelError> {
    work(kernel, desired, None)
}

/// The same, but of the containers only these (by the names of their host ends) are looked at and worked on, and of what is
/// not desired only these are removed: a change of one must not take longer the more others there are.
///
/// # Errors
/// When the state can't be read.
pub fn converge_some(
    kernel: &mut dyn Kernel,
    desired: &Desired,
    some: &BTreeSet<String>,
) -> Result<Report, KernelError> {
    let meant = desired.attachments.iter();
    let meant = meant.filter(|one| some.contains(&one.host_ifname));
    let desired = Desired {
        attachments: meant.cloned().collect(),
        bridge: desired.bridge.clone(),
        tap: desired.tap.clone(),
        fast: desired.fast.clone(),
        plain: desired.plain.clone(),
        gateway: desired.gateway.clone(),
        ..*desired
    };
    work(kernel, &desired, Some(some))
}

fn work(
    kernel: &mut dyn Kernel,
    desired: &Desired,
    only: Option<&BTreeSet<String>>,
) -> Result<Report, KernelError> {
    let mut report = Report::default();
    for _ in 0..3 {
        let observed = kernel.observe(desired, only)?;
        report.gone = observed.gone();
        report.obstacles = obstacles(desired, &observed);
        let ops = plan(desired, &observed);
        if ops.is_empty() {
            report.failed.clear();
            break;
        }
        let round = apply(kernel, &ops);
        report.done += round.done;
        report.failed = round.failed;
        if !report.failed.is_empty() && report.done == 0 {
            break;
        }
        // What was done about containers is what is desired of them; they needn't wait for a second look. Of what stands
        // under all of them another plan may come out, where the kernel can't do what the first one wanted.
        let is_of_container = |op: &Op| only.is_some_and(|only| only.contains(op.subject()));
        if report.failed.is_empty() && ops.iter().all(is_of_container) {
            break;
        }
    }
    Ok(report)
}

fn apply(kernel: &mut dyn Kernel, ops: &[Op]) -> Round {
    let mut round = Round::default();
    for together in ops.chunk_by(|one, other| one.place() == other.place()) {
        kernel.apply_together(together, &mut round);
    }
    round
}
