//! The kernel's fast path: news of the control plane to [`Overlay`], its decisions into the kernel's tables.
//!
//! It is there when the operator allows it (`--overlay`), frames may travel in clear to somebody (`--trusted-subnets`) or
//! the kernel can encrypt them ([`esp`]), and the kernel takes the programs. Otherwise [`FastPath::why`] says what is
//! missing.

use super::Router;
use super::desk::{Desk, Notes};
use super::esp::{self, Esp};
use crate::cli::{Launch, OverlayChoice};
use fastpath::Fast;
use fastpath::esp::{NoEsp, Watch};
use fastpath::kernel::Report;
use fastpath::overlay::{CHANGE, Config, Direct, Input, MAX_HOPS, Output, Overlay, UNUSED, Why};
use fastpath::plan::{PORT_STEP, Plain};
use fastpath::vxlan::{Came, Hop, Local, PATIENCE, ProbeError, ProbeSocket, Switch, Tables};
use mesh::{FdbChange, Instant, Mac, PeerId, PeerLabel, Vni};
use rand_core::{OsRng, RngCore};
use sleeve::PathState;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

/// How often direct paths are looked at, whatever sleeve says of them.
const LOOK: Duration = Duration::from_secs(1);
/// How often the programs hear that this router lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long packets for the label that this router had before are taken.
const FORMER: Duration = Duration::from_secs(60);
/// How often the plan is made anew where there are no programs.
const PLAN: Duration = Duration::from_millis(20);
/// Answers to probes that may wait; more are as good as lost.
const ANSWERS: usize = 4096;

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

/// Behind whom MAC addresses are, as far as the programs are to know.
#[derive(Default)]
struct Macs {
    behind: BTreeMap<(Vni, Mac), PeerId>,
    labels: BTreeMap<PeerId, PeerLabel>,
    /// Of routers: theirs, so that a new label finds them.
    of: BTreeMap<PeerId, BTreeSet<(Vni, Mac)>>,
    told: BTreeMap<(Vni, Mac), PeerLabel>,
    /// Left by an earlier run, and not heard of since; until when they stay.
    left: BTreeSet<(Vni, Mac)>,
    left_until: Option<Instant>,
}

/// Loads the programs if they are wanted. Takes some 50 ms; whoever starts the router waits, as what an earlier run
/// left must be known before the control plane says anything.
pub(crate) fn prepare(
    options: &Launch,
    mtu: u16,
    now: Instant,
) -> (FastPath, Option<Switch>, mpsc::Receiver<Came>, Option<Watch>) {
    let (answers, inbox) = mpsc::channel(ANSWERS);
    let mut watch = None;
    let wanted = if options.overlay == OverlayChoice::Sleeve {
        Err("sleeve was asked for with --overlay sleeve".to_owned())
    } else {
        let esp = esp::prepare(options, now).map(|(esp, news)| {
            watch = Some(news);
            esp
        });
        match esp {
            Err(why) if options.trusted_subnets.is_empty() => Err(no_esp(&why)),
            esp => Ok((
                Fast::of_bridge(&options.bridge, Vni::DEFAULT, options.vxlan_port),
                esp,
            )),
        }
    };
    let loaded = wanted.and_then(|(fast, esp)| match load(options) {
        Ok((switch, tables)) => Ok((fast, esp, Some(switch), Desk::Programs(Box::new(tables)))),
        Err(error) => {
            watch = None;
            let why = "the fast path without eBPF has no encryption".to_owned();
            if options.trusted_subnets.is_empty() {
                return Err(no_esp(&why));
            }
            without_programs(options, fast, &error).map(|(fast, notes)| (fast, Err(why), None, notes))
        }
    });
    let (laid, switch) = match loaded {
        Ok((fast, esp, switch, tables)) => {
            let mut tables = tables;
            forget_untrusted(&mut tables, options, esp.as_ref().ok());
            let laid = Laid::new(options, (fast, tables), esp, mtu, now);
            (Ok(laid), switch)
        }
        Err(why) => {
            if options.overlay == OverlayChoice::Fast {
                warn!("no frame will pass, as --overlay fast allows nothing else: {why}");
            }
            (Err(why), None)
        }
    };
    let left = laid.is_err().then(|| options.bridge.clone());
    let fast = FastPath { laid, answers, left };
    (fast, switch, inbox, watch)
}

/// What it takes where the kernel can't encrypt.
fn no_esp(why: &str) -> String {
    format!(
        "encryption is on, and {why}; without, the fast path needs both hosts in each other's --trusted-subnets"
    )
}

fn load(options: &Launch) -> Result<(Switch, Tables), String> {
    if options.no_ebpf {
        return Err("it is asked to do without eBPF".to_owned());
    }
    Switch::load(&options.bridge).map_err(|error| error.to_string())
}

/// A kernel that takes no programs has devices with fixed tables, for direct neighbours that have none either.
fn without_programs(options: &Launch, fast: Fast, error: &str) -> Result<(Fast, Desk), String> {
    let port = fast.port.checked_add(PORT_STEP);
    let Some(port) = port.filter(|_| options.overlay == OverlayChoice::Auto) else {
        return Err(format!("this host's kernel has no fast path: {error}"));
    };
    warn!(
        port,
        "this host's kernel takes no eBPF programs ({error}): its fast path leads only to direct neighbours of the same kind, and \
         what containers send by it is not checked for their IP addresses"
    );
    Ok((Fast { port, ..fast }, Desk::Plain(Notes::default())))
}

/// What an earlier run left for addresses outside the subnets that this one trusts goes before anything else, unless the
/// kernel encrypts it: no frame leaves in the clear that is to be encrypted now.
fn forget_untrusted(tables: &mut Desk, options: &Launch, esp: Option<&Esp>) {
    let subnets: Vec<_> = options
        .trusted_subnets
        .iter()
        .map(|cidr| (cidr.address, cidr.prefix))
        .collect();
    let is_outside =
        |address| !sleeve::trusts(&subnets, address) && !esp.is_some_and(|esp| esp.protects(address));
    for (label, hop) in tables.hops() {
        if is_outside(hop.address) {
            complain(tables.set_hop(label, None, Duration::ZERO));
        }
    }
    for (address, _) in tables.senders() {
        if is_outside(address) {
            complain(tables.set_sender(address, None));
        }
    }
}

impl Laid {
    fn new(
        options: &Launch,
        (fast, tables): (Fast, Desk),
        esp: Result<Esp, String>,
        mtu: u16,
        now: Instant,
    ) -> Self {
        let config = Config {
            port: fast.port,
            mtu,
            grace: Duration::from_secs(options.grace.into()),
            hops: match &tables {
                Desk::Programs(_) => MAX_HOPS,
                Desk::Plain(_) => 1,
            },
            first: OsRng.next_u64(),
        };
        let grace = config.grace;
        let overlay = Overlay::new(config, now, tables.hops(), tables.senders())
            .with_groups(now, tables.groups(), tables.trees())
            .with_relays(options.fast_relay);
        let left: BTreeSet<_> = tables.macs().into_iter().collect();
        let macs = Macs {
            left_until: Some(now + grace).filter(|_| !left.is_empty()),
            left,
            ..Macs::default()
        };
        Self {
            tables,
            overlay,
            esp,
            capabilities: BTreeMap::new(),
            fast_relay: options.fast_relay,
            fast,
            fast_only: options.overlay == OverlayChoice::Fast,
            probes: None,
            reader: None,
            trouble: None,
            own: PeerLabel::NONE,
            former: (PeerLabel::NONE, now),
            macs,
            trees: BTreeMap::new(),
            next_look: now,
            next_heartbeat: now,
            last_plan: now,
        }
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

    /// Writes what the programs shall know of a MAC address, if it is not what they know.
    fn tell_mac(&mut self, key: (Vni, Mac)) {
        let macs = &mut self.macs;
        let peer = macs.behind.get(&key);
        let label = peer.and_then(|peer| macs.labels.get(peer)).copied();
        let wanted = label.filter(|label| label.is_some());
        let was_left = macs.left.remove(&key);
        let told = macs.told.get(&key).copied();
        if told == wanted && !(was_left && wanted.is_none()) {
            return;
        }
        match wanted {
            Some(label) => {
                macs.told.insert(key, label);
                complain(self.tables.set_mac(key.0, key.1, label));
            }
            None => {
                macs.told.remove(&key);
                complain(self.tables.remove_mac(key.0, key.1));
            }
        }
    }

    fn set_behind(&mut self, key: (Vni, Mac), peer: Option<PeerId>) {
        let old = match peer {
            Some(peer) => {
                self.macs.of.entry(peer).or_default().insert(key);
                self.macs.behind.insert(key, peer)
            }
            None => self.macs.behind.remove(&key),
        };
        if let Some(old) = old.filter(|old| Some(*old) != peer)
            && let Some(of) = self.macs.of.get_mut(&old)
        {
            of.remove(&key);
            if of.is_empty() {
                self.macs.of.remove(&old);
            }
        }
        self.tell_mac(key);
    }

    fn expire_left(&mut self, now: Instant) {
        if self.macs.left_until.is_some_and(|until| until <= now) {
            self.macs.left_until = None;
            for key in std::mem::take(&mut self.macs.left) {
                if !self.macs.told.contains_key(&key) {
                    complain(self.tables.remove_mac(key.0, key.1));
                }
            }
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
        matches!(laid.tables, Desk::Programs(_)).then(|| laid.fast.clone())
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

    /// Why frames to a router take sleeve, or what else is to be said; nothing when all is well.
    pub(crate) fn why(&self, peer: &PeerId) -> Option<String> {
        let laid = match &self.laid {
            Ok(laid) => laid,
            Err(why) => return Some(why.clone()),
        };
        let trouble = || laid.trouble.clone();
        let words = |why: Why| match (why, &laid.esp) {
            (Why::NoEsp(NoEsp::Here), Err(why)) => no_esp(why),
            (why, _) => why.to_string(),
        };
        trouble().or_else(|| laid.overlay.why(peer).map(words))
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let laid = self.laid.as_ref().ok()?;
        let looks = [laid.next_look, laid.next_heartbeat];
        looks
            .into_iter()
            .chain(laid.overlay.poll_timeout())
            .chain(laid.macs.left_until)
            .chain(laid.esp.as_ref().ok().map(Esp::next_timeout))
            .chain(laid.tables.has_news().then_some(laid.last_plan + PLAN))
            .min()
    }

    /// The forwarding table changed.
    pub(super) fn apply_fdb(&mut self, vni: Vni, change: &FdbChange) {
        let Ok(laid) = &mut self.laid else { return };
        match change {
            FdbChange::Set { mac, peer, .. } => laid.set_behind((vni, *mac), Some(*peer)),
            FdbChange::Remove { mac } => laid.set_behind((vni, *mac), None),
            FdbChange::Members(_) => {}
        }
    }
}

impl Router {
    /// News for the fast path.
    pub(super) fn feed_fast(&mut self, input: Input) {
        let now = self.shore.clock.now();
        let Ok(laid) = &mut self.fast.laid else { return };
        laid.overlay.handle_input(now, input);
        for output in laid.overlay.take_outputs() {
            self.fast_output(&output);
        }
    }

    fn fast_output(&mut self, output: &Output) {
        let Ok(laid) = &mut self.fast.laid else { return };
        match *output {
            Output::Hop { label, hop } => {
                let within = if hop.is_some_and(|hop: Hop| hop.carries) {
                    CHANGE
                } else {
                    Duration::ZERO
                };
                complain(laid.tables.set_hop(label, hop, within));
            }
            Output::Sender { address, label } => complain(laid.tables.set_sender(address, label)),
            Output::Probe { to, number, size, by } => {
                let Some(probes) = &laid.probes else { return };
                let asked = match (&laid.tables, by) {
                    (Desk::Programs(_), _) => probes.ask((to, laid.own), by, number, size),
                    (desk, _) => {
                        let by = by.and_then(|(address, _)| match address {
                            IpAddr::V4(host) => Some(host),
                            IpAddr::V6(_) => None,
                        });
                        let Some(host) = by.or_else(|| desk.host_of(to)) else {
                            return;
                        };
                        probes.ask_host(host, (to, laid.own), number, size)
                    }
                };
                if let Err(error) = asked {
                    // The hatch is gone or down: the next look of the thread that keeps it mends that.
                    debug!("a probe was not sent: {error}");
                    laid.probes = None;
                }
            }
            Output::Group { vni, ref members } => {
                complain(laid.tables.set_group(vni, members));
            }
            Output::Tree {
                vni,
                source,
                ref place,
            } => {
                complain(laid.tables.set_tree(vni, source, place.as_ref()));
                let is_ready = place.as_ref().is_some_and(|place| place.ready);
                if let Some(was_ready) = laid.trees.get_mut(&vni).filter(|_| !source.is_some())
                    && std::mem::replace(was_ready, is_ready) != is_ready
                {
                    let overlay = if is_ready { "the fast path" } else { "sleeve" };
                    info!(network = vni.0, "frames for groups take {overlay}");
                }
            }
            Output::ProbeTree { vni, number, size } => {
                let Some(probes) = &laid.probes else { return };
                if let Err(error) = probes.ask_tree(vni, laid.own, number, size) {
                    debug!("a probe was not sent: {error}");
                    laid.probes = None;
                }
            }
            Output::Moved { peer, fast } => {
                let name = self.name(&peer);
                if fast {
                    info!(peer = name, "frames take the fast path");
                } else {
                    let why = self.fast.why(&peer).unwrap_or_default();
                    info!(peer = name, "frames take sleeve: {why}");
                }
            }
        }
    }

    /// Something came by the hatch.
    pub(super) fn probe_came(&mut self, came: Came) {
        match came {
            Came::Answer { from, number } => self.feed_fast(Input::Answer { from, number }),
            Came::Question {
                to,
                from,
                number,
                size,
            } => {
                let Ok(laid) = &self.fast.laid else { return };
                let host = laid.tables.host_of(from).filter(|_| to == laid.own);
                if let (Some(host), Some(probes)) = (host, &laid.probes) {
                    // What can't be sent is as good as lost on the way.
                    let _ = probes.answer_host(host, (from, to), number, size);
                }
            }
            Came::Tree { vni, source } => {
                let who = self
                    .fast
                    .laid
                    .as_ref()
                    .ok()
                    .and_then(|laid| laid.overlay.who(source));
                if let Some(source) = who.map(|who| who.short()) {
                    self.feed(mesh::Input::UseTree { vni, source });
                }
            }
        }
    }

    /// This router's place in a tree.
    pub(super) fn fast_tree(&mut self, vni: Vni, source: PeerId, tree: Option<mesh::Tree>) {
        if let (Ok(laid), true) = (&mut self.fast.laid, source == self.settings.id) {
            if tree.is_some() {
                laid.trees.entry(vni).or_default();
            } else {
                laid.trees.remove(&vni);
            }
        }
        self.feed_fast(Input::Tree { vni, source, tree });
    }

    /// Which of this router's trees its containers had frames for.
    fn look_at_trees(&mut self) {
        let Ok(laid) = &self.fast.laid else { return };
        let is_used = |vni: &Vni| laid.tables.tree_used(*vni).is_some_and(|ago| ago < UNUSED);
        let used: Vec<_> = laid.trees.keys().filter(|vni| is_used(vni)).copied().collect();
        for vni in used {
            self.feed_fast(Input::TreeUsed { vni });
        }
    }

    /// Time has come.
    pub(super) fn fast_timers(&mut self) {
        let now = self.shore.clock.now();
        if self.fast.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        let Ok(laid) = &mut self.fast.laid else { return };
        laid.expire_left(now);
        if now >= laid.last_plan + PLAN && laid.tables.take_news() {
            laid.last_plan = now;
            // What fails is told with the kernel's report.
            let _ = self.converge();
        }
        let Ok(laid) = &mut self.fast.laid else { return };
        if laid.next_heartbeat <= now {
            laid.set_local(now);
        }
        if laid.next_look <= now {
            laid.next_look = now + LOOK;
            // The hatch went down for a moment, and came up again.
            if laid.reader.is_some() && laid.is_deaf() {
                let _ = laid.listen(&self.fast.answers);
            }
            let paths = self.sleeve.paths(now);
            for path in paths {
                self.direct_path(path.peer, Some(&path));
            }
            self.look_at_trees();
        }
        self.esp_timers(now);
        self.feed_fast(Input::Tick);
    }

    /// Sleeve's direct path to a router may have changed.
    pub(super) fn path_changed(&mut self, peer: PeerId) {
        if self.fast.laid.is_ok() {
            let path = self.sleeve.path(self.shore.clock.now(), &peer);
            self.direct_path(peer, path.as_ref());
        }
    }

    fn direct_path(&mut self, peer: PeerId, path: Option<&sleeve::PathView>) {
        let path = path.filter(|path| path.state != PathState::Probing);
        let found = path.and_then(|path| Some((path.address?.ip().to_canonical(), path.encrypted)));
        let path = match found {
            Some((address, encrypted)) => {
                let cover = self.cover(peer, address, encrypted);
                Some(Direct { address, cover })
            }
            None => {
                self.uncover(peer);
                None
            }
        };
        self.feed_fast(Input::Direct { peer, path });
    }

    /// A router's label on the fast path; this router's own is kept over restarts.
    pub(super) fn peer_label(&mut self, peer: PeerId, label: PeerLabel) {
        let now = self.shore.clock.now();
        if peer == self.settings.id {
            if label.is_some() && self.memory.label != label.0 {
                self.memory.label = label.0;
                self.persist_memory();
            }
            let Ok(laid) = &mut self.fast.laid else { return };
            if laid.own.is_some() && laid.own != label {
                laid.former = (laid.own, now + FORMER);
            }
            laid.own = label;
            laid.set_local(now);
            return;
        }
        if let Ok(laid) = &mut self.fast.laid {
            laid.macs.labels.insert(peer, label);
            for key in laid.macs.of.get(&peer).cloned().unwrap_or_default() {
                laid.tell_mac(key);
            }
        }
        self.feed_fast(Input::Label { peer, label });
    }

    /// A router is no longer known.
    pub(super) fn fast_forget(&mut self, peer: PeerId) {
        if let Ok(laid) = &mut self.fast.laid {
            laid.macs.labels.remove(&peer);
            laid.capabilities.remove(&peer);
        }
        self.uncover(peer);
        self.feed_fast(Input::PeerGone(peer));
    }

    /// A router's record.
    pub(super) fn fast_peer(&mut self, info: &mesh::PeerInfo) {
        if let Ok(laid) = &mut self.fast.laid {
            laid.capabilities.insert(info.peer, info.capabilities);
            self.feed_fast(Input::Relay {
                peer: info.peer,
                allowed: info.capabilities & mesh::capability::FAST_RELAY != 0,
            });
            let addresses = info.addresses.iter().map(|address| address.ip().to_canonical());
            self.feed_fast(Input::Peer {
                peer: info.peer,
                port: info.vxlan_port,
                addresses: addresses.collect::<Vec<IpAddr>>(),
            });
        }
    }

    /// The kernel was worked on: is the fast path there? Others hear of it, or that it is not.
    pub(super) fn look_at_fast(&mut self, report: &Report) {
        let Ok(laid) = &mut self.fast.laid else {
            // The devices are gone by now, and nothing goes past what is removed.
            if let Some(bridge) = self.fast.left.take_if(|_| report.is_reached()) {
                esp::remove_left(&bridge);
            }
            return;
        };
        let devices = [&laid.fast.vxlan, &laid.fast.stub, &laid.fast.hatch];
        let failed = report
            .failed
            .iter()
            .find(|(op, _)| devices.iter().any(|device| *device == op.subject()));
        let mut trouble = failed.map(|(_, error)| format!("this host's kernel has no fast path: {error}"));
        if trouble.is_none() && laid.is_deaf() {
            let listening = laid.listen(&self.fast.answers);
            trouble = listening
                .err()
                .map(|error| format!("this host has no fast path: {error}"));
        }
        let is_news = trouble.is_some() != laid.trouble.is_some();
        laid.trouble = trouble;
        if is_news {
            let port = if laid.trouble.is_none() { laid.fast.port } else { 0 };
            if let Some(why) = &laid.trouble {
                warn!("{why}");
            }
            self.feed(mesh::Input::FastPath { port });
        }
    }
}
