//! The kernel's fast path: news of the control plane to [`Overlay`], its decisions into the kernel's tables.
//!
//! It is there when the operator allows it (`--overlay`), frames may travel in clear to somebody (`--trusted-subnets`) or
//! the kernel can encrypt them (`esp`), and the kernel takes the programs. Otherwise [`FastPath::why`] says what is
//! missing.
//!
//! `prepare` finds what there is at the start, `serve` carries news and decisions, `macs` knows what is to be told of MAC
//! addresses.

mod macs;
mod prepare;
mod serve;

pub(crate) use prepare::prepare;

use super::desk::Desk;
use super::esp::Esp;
use fastpath::Fast;
use fastpath::esp::NoEsp;
use fastpath::overlay::{Overlay, Why};
use fastpath::plan::Plain;
use fastpath::vxlan::{Came, Local, PATIENCE, ProbeError, ProbeSocket};
use macs::Macs;
use mesh::{Instant, PeerId, PeerLabel, Vni};
use prepare::no_esp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

/// How often the programs hear that this router lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the plan is made anew where there are no programs.
const PLAN: Duration = Duration::from_millis(20);

/// The fast path, or why there is none.
pub(crate) struct FastPath {
    pub(super) laid: Result<Laid, String>,
    answers: mpsc::Sender<Came>,
    /// The bridge of which an earlier run may have left associations, where none are wanted.
    left: Option<String>,
}

/// A router's hold on the programs' tables.
pub(super) struct Laid {
    tables: Desk,
    pub(super) overlay: Overlay,
    /// What encrypts where it is to be, or why nothing can.
    pub(super) esp: Result<Esp, String>,
    /// What routers say they can.
    pub(super) capabilities: BTreeMap<PeerId, u32>,
    fast_relay: bool,
    fast: Fast,
    fast_only: bool,
    /// The hatch, once there is one, and what reads from it.
    probes: Option<Arc<ProbeSocket>>,
    reader: Option<JoinHandle<()>>,
    /// Why others can't be told of it, as it was last found.
    trouble: Option<String>,
    own: PeerLabel,
    former: (PeerLabel, Instant),
    macs: Macs,
    /// Networks in which this router has a tree of its own, and whether frames for groups take it.
    trees: BTreeMap<Vni, bool>,
    next_look: Instant,
    next_heartbeat: Instant,
    /// When the kernel's plan was last made anew, where there are no programs.
    last_plan: Instant,
}

impl Laid {
    fn why(&self, peer: &PeerId, name: &dyn Fn(&PeerId) -> String) -> Option<String> {
        let why = self.overlay.why(peer)?;
        let first = |via: &PeerId, because: String| {
            format!("the first hop, to {}, is not fast: {because}", name(via))
        };
        let words = match &why {
            Why::NoEsp(NoEsp::Here) if let Err(why) = &self.esp => no_esp(why),
            Why::FirstHop { via } if let Some(because) = self.why(via, name) => {
                return Some(first(via, because));
            }
            Why::SomeHop { from, to } => {
                let (from, to) = (name(from), name(to));
                format!(
                    "the hop from {from} to {to} is not fast; `weft status connections` on {from} says why"
                )
            }
            Why::Relayed { without } => {
                let who = without.as_ref().map_or_else(|| "this router".to_owned(), name);
                format!("encryption is on, and relays would see frames: {who} lacks --fast-relay")
            }
            why => why.to_string(),
        };
        let via = self.overlay.first_hop(peer);
        Some(match (why, via) {
            (Why::NoEsp(_) | Why::NoDirect, Some(via)) => first(&via, words),
            _ => words,
        })
    }

    fn set_local(&mut self, now: Instant) {
        self.next_heartbeat = now + HEARTBEAT;
        if !self.own.is_some() {
            return;
        }
        let local = Local {
            label: self.own,
            former: self.former.0,
            former_for: self.former.1.since(now),
            fast_only: self.fast_only,
            patience: PATIENCE,
        };
        complain(self.tables.set_local(&local));
    }

    /// True if answers to probes reach nobody: there was no hatch yet, or it went down for a moment.
    fn is_deaf(&self) -> bool {
        self.probes.is_none() || self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Opens the hatch, and has what comes by it read.
    fn listen(&mut self, answers: &mpsc::Sender<Came>) -> Result<(), ProbeError> {
        let probes = Arc::new(ProbeSocket::open(&self.fast.hatch)?);
        self.probes = Some(probes.clone());
        let answers = answers.clone();
        let reader = tokio::spawn(async move {
            // Ends with the hatch, or with the router.
            while let Ok(came) = probes.next().await {
                if let Err(mpsc::error::TrySendError::Closed(_)) = answers.try_send(came) {
                    return;
                }
            }
        });
        // Every socket gets every answer: one reader is enough.
        if let Some(before) = self.reader.replace(reader) {
            before.abort();
        }
        Ok(())
    }

    /// Writes what changed of MAC addresses.
    fn write_macs(&mut self, changes: impl IntoIterator<Item = macs::Change>) {
        for ((vni, mac), label) in changes {
            complain(match label {
                Some(label) => self.tables.set_mac(vni, mac, label),
                None => self.tables.remove_mac(vni, mac),
            });
        }
    }
}

/// A table that can't be written is one that is full; the frames in question go another way, or nowhere.
fn complain(result: Result<(), fastpath::guard::GuardError>) {
    if let Err(error) = result {
        warn!("the fast path's tables: {error}");
    }
}

impl FastPath {
    /// What is to be laid, if anything.
    pub(crate) fn wanted(&self) -> Option<Fast> {
        let laid = self.laid.as_ref().ok()?;
        matches!(laid.tables, Desk::Programs(_)).then(|| Fast {
            sealed: laid.esp.as_ref().map(Esp::sealed).unwrap_or_default(),
            ..laid.fast.clone()
        })
    }

    /// What is to be laid instead where there are no programs.
    pub(crate) fn plain(&self) -> Option<Plain> {
        let laid = self.laid.as_ref().ok()?;
        let Fast { vni, port, .. } = laid.fast;
        let (vxlan, hatch) = (laid.fast.vxlan.clone(), laid.fast.hatch.clone());
        laid.tables.plain(|| Plain {
            vni,
            vxlan,
            hatch,
            port,
            macs: BTreeMap::new(),
            senders: BTreeSet::new(),
        })
    }

    /// The UDP port to tell others of from the start: what was there in the last run will be there again.
    pub(crate) fn port(&self) -> u16 {
        self.laid.as_ref().map_or(0, |laid| laid.fast.port)
    }

    /// What others are told that it can.
    pub(crate) fn capabilities(&self) -> u32 {
        let Ok(laid) = &self.laid else { return 0 };
        let esp = if laid.esp.is_ok() {
            mesh::capability::ESP
        } else {
            0
        };
        let relay = if laid.fast_relay {
            mesh::capability::FAST_RELAY
        } else {
            0
        };
        esp | relay
    }

    /// True if frames to a router take the fast path.
    pub(crate) fn is_fast(&self, peer: &PeerId) -> bool {
        self.laid.as_ref().is_ok_and(|laid| laid.overlay.is_fast(peer))
    }

    /// True if frames to a router take the fast path although the control plane lost it (`--grace`).
    pub(crate) fn is_stale(&self, peer: &PeerId) -> bool {
        self.laid.as_ref().is_ok_and(|laid| laid.overlay.is_stale(peer))
    }

    /// Why frames to a router take sleeve, or what else is to be said; nothing when all is well. `name` is what people call
    /// routers.
    pub(crate) fn why(&self, peer: &PeerId, name: &dyn Fn(&PeerId) -> String) -> Option<String> {
        match &self.laid {
            Ok(laid) => laid.trouble.clone().or_else(|| laid.why(peer, name)),
            Err(why) => Some(why.clone()),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let laid = self.laid.as_ref().ok()?;
        let looks = [laid.next_look, laid.next_heartbeat];
        looks
            .into_iter()
            .chain(laid.overlay.poll_timeout())
            .chain(laid.macs.next_timeout())
            .chain(laid.esp.as_ref().ok().map(Esp::next_timeout))
            .chain(laid.tables.has_news().then_some(laid.last_plan + PLAN))
            .min()
    }
}
