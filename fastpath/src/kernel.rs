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
    /// Reads the state that matters to `desired`.
    ///
    /// # Errors
    /// When the host's own state can't be read. Trouble in one container is part of the answer.
    fn observe(&mut self, desired: &Desired) -> Result<Observed, KernelError>;

    /// Does one step.
    ///
    /// # Errors
    /// What the kernel said.
    fn apply(&mut self, op: &Op) -> Result<(), KernelError>;

    /// Does several steps of which each stands inside the same namespace, or one step: what became of each.
    fn apply_together(&mut self, ops: &[&Op]) -> Vec<Result<(), KernelError>> {
        ops.iter().map(|op| self.apply(op)).collect()
    }

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

/// Plans and applies until nothing is left to do, at most three rounds (others may change things meanwhile). A
/// failure of one attachment does not keep the others from being worked on.
///
/// # Errors
/// When the state can't be read.
pub fn converge(kernel: &mut dyn Kernel, desired: &Desired) -> Result<Report, KernelError> {
    let all = desired.attachments.iter().map(|one| one.host_ifname.clone());
    converge_some(kernel, desired, &all.collect())
}

/// The same, but of the containers only these (by the names of their host ends) are looked at and worked on, and what
/// is not desired at all is removed: a change of one must not take longer the more others there are.
///
/// # Errors
/// When the state can't be read.
pub fn converge_some(
    kernel: &mut dyn Kernel,
    desired: &Desired,
    some: &BTreeSet<String>,
) -> Result<Report, KernelError> {
    let mut desired = desired.clone();
    let is_other = |one: &mut Attachment| !some.contains(&one.host_ifname);
    let others: Vec<_> = desired.attachments.extract_if(.., is_other).collect();
    let desired = &desired;
    let mut report = Report::default();
    for _ in 0..3 {
        let mut observed = kernel.observe(desired)?;
        // They are not among those desired now, and not to be removed for that.
        for other in &others {
            observed.links.remove(&other.host_ifname);
        }
        report.gone = observed.gone();
        report.obstacles = obstacles(desired, &observed);
        let ops = plan(desired, &observed);
        if ops.is_empty() {
            report.failed.clear();
            break;
        }
        report.failed = round(kernel, &ops, &mut report.done);
        if !report.failed.is_empty() && report.done == 0 {
            break;
        }
    }
    Ok(report)
}

/// Applies all steps, except those whose ground a failure has taken away.
fn round(kernel: &mut dyn Kernel, ops: &[Op], done: &mut usize) -> Vec<(Op, KernelError)> {
    let mut failed = Vec::new();
    let mut lost = BTreeSet::new();
    for together in ops.chunk_by(|one, other| one.place().is_some() && one.place() == other.place()) {
        let left: Vec<_> = together
            .iter()
            .filter(|op| !lost.contains(op.subject()))
            .collect();
        for (op, result) in left.iter().zip(kernel.apply_together(&left)) {
            match result {
                Ok(()) => *done += 1,
                Err(error) => {
                    if op.is_vital() {
                        lost.insert(op.subject().to_owned());
                    }
                    failed.push(((*op).clone(), error));
                }
            }
        }
    }
    failed
}
