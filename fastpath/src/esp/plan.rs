//! What is to be done: the difference between what there is to be and what there is, as a list of steps.

use super::message::SaRead;
use super::{Direction, Ends, EspError, Policy, Sa, SaId};
use std::collections::{BTreeMap, BTreeSet};

/// What there is to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// UDP port of VXLAN.
    pub port: u16,
    /// Between these addresses nothing passes unencrypted.
    pub guarded: BTreeSet<Ends>,
    /// Associations that stay, if they are there.
    pub keep: BTreeSet<SaId>,
    /// Associations to make. Each is made once: a key is never used from the beginning again.
    pub fresh: Vec<Sa>,
}

/// What there is of this router's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Policies, with the kernel's numbers of them; the same may be there twice.
    pub policies: BTreeSet<(Policy, u32)>,
    /// Associations.
    pub sas: BTreeMap<SaId, Seen>,
}

/// An association that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which way its packets go.
    pub direction: Direction,
    /// Between which addresses.
    pub ends: Ends,
    /// Packets so far.
    pub packets: u64,
    /// When it was made: seconds of the host's clock.
    pub made: u64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Demand encryption.
    AddPolicy(Policy),
    /// Make an association.
    AddSa(Sa),
    /// Remove an association.
    RemoveSa(SaId),
    /// Demand encryption no more.
    RemovePolicy(Policy, u32),
}

/// What [`converge`] found and did.
#[derive(Debug, Default)]
pub struct Report {
    /// What there is now.
    pub observed: Observed,
    /// Steps that failed.
    pub failed: Vec<(Op, EspError)>,
}

/// The kernel, or one in memory.
pub trait Kernel {
    /// What there is of this router's.
    ///
    /// # Errors
    /// What the kernel said.
    fn observe(&mut self) -> Result<Observed, EspError>;

    /// Does one step.
    ///
    /// # Errors
    /// What the kernel said.
    fn apply(&mut self, op: &Op) -> Result<(), EspError>;
}

impl Seen {
    pub(super) fn read(read: &SaRead) -> Self {
        let (here, there) = match read.direction {
            Direction::In => (read.id.to, read.from),
            Direction::Out => (read.from, read.id.to),
        };
        Self {
            direction: read.direction,
            ends: Ends { here, there },
            packets: read.packets,
            made: read.made,
        }
    }
}

impl Observed {
    /// True if nothing passes unencrypted between this host and that address.
    #[must_use]
    pub fn is_guarded(&self, ends: Ends, port: u16) -> bool {
        policies(ends, port).iter().all(|policy| self.has(policy))
    }

    fn has(&self, policy: &Policy) -> bool {
        self.policies.iter().any(|(there, _)| there == policy)
    }
}

/// Both policies between this host and a neighbour's address.
fn policies(ends: Ends, port: u16) -> [Policy; 2] {
    [Direction::In, Direction::Out].map(|direction| Policy {
        direction,
        there: ends.there,
        port,
    })
}

/// The steps, in their order: encryption is demanded before there is anything to encrypt with, and until there is
/// nothing left; what receives is there before what sends; and what is new before what is old goes.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Op> {
    let wanted: BTreeSet<_> = desired
        .guarded
        .iter()
        .flat_map(|ends| policies(*ends, desired.port))
        .collect();
    let missing = wanted.iter().filter(|policy| !observed.has(policy));
    let mut ops: Vec<_> = missing.copied().map(Op::AddPolicy).collect();

    let is_new = |sa: &&Sa| !observed.sas.contains_key(&sa.id());
    let mut fresh: Vec<_> = desired.fresh.iter().filter(is_new).cloned().collect();
    fresh.sort_by_key(|sa| sa.direction);
    let made: BTreeSet<_> = desired.fresh.iter().map(Sa::id).collect();
    ops.extend(fresh.into_iter().map(Op::AddSa));

    let is_old = |id: &SaId| !desired.keep.contains(id) && !made.contains(id);
    let mut old: Vec<_> = observed.sas.iter().filter(|(id, _)| is_old(id)).collect();
    old.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.direction));
    ops.extend(old.into_iter().map(|(id, _)| Op::RemoveSa(*id)));

    let mut seen = BTreeSet::new();
    let surplus = observed
        .policies
        .iter()
        .filter(|(policy, _)| !wanted.contains(policy) || !seen.insert(*policy));
    ops.extend(surplus.map(|(policy, index)| Op::RemovePolicy(*policy, *index)));
    ops
}

/// Looks, does what is to be done, and looks again if there was something. A step that fails keeps none of the others
/// from being done, except that nothing is made for addresses that can't be guarded.
///
/// # Errors
/// When the kernel can't be looked at.
pub fn converge(kernel: &mut dyn Kernel, desired: &Desired) -> Result<Report, EspError> {
    let observed = kernel.observe()?;
    let ops = plan(desired, &observed);
    if ops.is_empty() {
        let failed = Vec::new();
        return Ok(Report { observed, failed });
    }
    let (mut failed, mut open) = (Vec::new(), BTreeSet::new());
    for op in ops {
        if matches!(&op, Op::AddSa(sa) if open.contains(&sa.ends.there)) {
            continue;
        }
        if let Err(error) = kernel.apply(&op) {
            if let Op::AddPolicy(policy) = &op {
                open.insert(policy.there);
            }
            failed.push((op, error));
        }
    }
    let observed = kernel.observe()?;
    Ok(Report { observed, failed })
}
