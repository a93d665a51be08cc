//! The router's loop: one thing at a time, queued things before timers.

use super::{Conflist, Kept, PortOutcome, Router};
use crate::control::Command;
use crate::link::{CloseCode, LinkHandle};
use crate::{data, link};
use fastpath::esp;
use fastpath::vxlan::Came;
use fastpath::watch::Watcher;
use fastpath::{Tap, names, underlay};
use mesh::{DropReason, Input, Vni};
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tracing::{error, info, warn};

/// Longest sleep; timers are far shorter.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long after a report of the kernel's this host's addresses are read: more will follow.
const LEARN_DELAY: Duration = Duration::from_millis(200);
/// After so many queued things timers are handled in between.
const MOST_IN_A_ROW: u32 = 256;
/// What is told of a router elsewhere that shows this router's identity.
const CLONE: &str = "another router uses this router's identity: remove the state directory of one of them";

/// Everything the router listens to.
pub(crate) struct Inbox {
    pub(crate) links: Receiver<link::Event>,
    pub(crate) data: Receiver<data::Event>,
    pub(crate) commands: Receiver<Command>,
    /// `None` on a router that can't make interfaces.
    pub(crate) ports: Option<Receiver<PortOutcome>>,
    /// As many as there were orders, which the router itself gives.
    pub(crate) kept: UnboundedReceiver<Kept>,
    /// Probes of the fast path that came back.
    pub(crate) answers: Receiver<Came>,
    /// `None` where the kernel has no ESP for the fast path.
    pub(crate) esp: Option<esp::Watch>,
    pub(crate) watcher: Option<Watcher>,
}

/// One thing of it.
enum News {
    Link(link::Event),
    Data(data::Event),
    Ports(PortOutcome),
    Kept(Kept),
    ThreadEnded(&'static str),
    Command(Command),
    Probe(Came),
    Kernel,
    Esp,
}

impl Inbox {
    /// The next thing; no source can keep the others waiting.
    async fn next(&mut self) -> News {
        tokio::select! {
            Some(event) = self.links.recv() => News::Link(event),
            Some(event) = self.data.recv() => News::Data(event),
            outcome = outcome(&mut self.ports) => outcome.map_or(News::ThreadEnded("ports"), News::Ports),
            kept = self.kept.recv() => kept.map_or(News::ThreadEnded("state"), News::Kept),
            Some(command) = self.commands.recv() => News::Command(command),
            Some(answer) = self.answers.recv() => News::Probe(answer),
            () = changed(&mut self.watcher) => News::Kernel,
            () = esp_changed(&mut self.esp) => News::Esp,
        }
    }
}

impl Router {
    /// Runs until `weft stop`, SIGTERM or SIGINT, and leaves cleanly.
    pub(crate) async fn run(mut self, mut inbox: Inbox) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.learn_addresses();
        self.reconcile_addresses();
        if let Err(why) = self.converge() {
            warn!("containers can't be attached here: {why}");
        }
        while !self.stopping {
            self.drain();
            while self.look_at_gateways() {
                self.drain();
            }
            self.one(&mut inbox, &mut terminate, &mut interrupt).await;
        }
        self.leave(&mut inbox).await;
        self.broken
            .map_or(Ok(()), |what| Err(std::io::Error::other(what)))
    }

    async fn one(&mut self, inbox: &mut Inbox, terminate: &mut Signal, interrupt: &mut Signal) {
        let due = self.next_timer();
        tokio::select! {
            biased;
            _ = terminate.recv() => self.stopping = true,
            _ = interrupt.recv() => self.stopping = true,
            news = inbox.next() => self.news(news),
            () = tokio::time::sleep_until(due) => self.timers(),
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Link(event) => self.link_event(event),
            News::Data(event) => self.data_event(event),
            News::Ports(outcome) => self.port_outcome(outcome),
            News::Kept(kept) => self.kept(kept),
            News::ThreadEnded(name) => self.thread_ended(name),
            News::Command(command) => self.command(command),
            News::Probe(came) => self.probe_came(came),
            News::Kernel => self.kernel_changed(),
            News::Esp => self.esp_changed(),
        }
        // Queued news come before timers, but not for ever.
        self.in_a_row += 1;
        if self.in_a_row >= MOST_IN_A_ROW {
            self.timers();
        }
    }

    fn next_timer(&self) -> tokio::time::Instant {
        let mesh = self.mesh.poll_timeout().map(|(at, _)| at);
        let sleeve = self.sleeve.poll_timeout();
        let due = [
            self.pings.next_deadline(),
            self.fast.next_timeout(),
            self.learn_at,
            self.conflist.as_ref().map(Conflist::next_look),
        ];
        let earliest = [mesh, sleeve].into_iter().chain(due).flatten().min();
        let at = earliest.map(|at| self.shore.clock.at(at).into());
        at.unwrap_or_else(|| tokio::time::Instant::now() + LONGEST_SLEEP)
    }

    fn timers(&mut self) {
        self.in_a_row = 0;
        let now = self.shore.clock.now();
        // Each core for itself: the other would look at all it has, and find nothing to do.
        if self.mesh.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.feed(Input::Tick);
        }
        if self.sleeve.poll_timeout().is_some_and(|at| at <= now) {
            self.feed_sleeve(sleeve::Input::Tick);
        }
        self.fast_timers();
        if self.learn_at.is_some_and(|at| at <= now) {
            self.learn_at = None;
            self.learn_addresses();
        }
        self.look_at_conflist();
        self.pings.expire(now);
        self.recording.flush();
    }

    fn link_event(&mut self, event: link::Event) {
        match event {
            link::Event::Up {
                handle,
                direction,
                target,
            } => {
                if self.is_retired(&handle) {
                    return self.refuse_retired(&handle, target);
                }
                let (link, peer, address) = (handle.id, handle.peer, handle.address);
                self.links.insert(link, handle);
                self.know_linked();
                self.feed(Input::LinkUp {
                    link,
                    peer,
                    address,
                    direction,
                    target,
                });
            }
            link::Event::Down { link, reason } => {
                self.links.remove(&link);
                self.know_linked();
                self.feed(Input::LinkDown { link, reason });
            }
            link::Event::Message { link, bytes } => {
                let packet = bytes.into();
                self.feed(Input::Message { link, packet });
            }
            link::Event::Oversized { link } => self.feed(Input::Oversized { link }),
            link::Event::DialFailed { target, error, own } => {
                let elsewhere = own && self.is_elsewhere(&target);
                if elsewhere {
                    self.refused(DropReason::IdentityClash, &format!("{target}: {CLONE}"));
                }
                let error = if elsewhere { CLONE.into() } else { error };
                self.feed(Input::DialFailed {
                    target,
                    error,
                    own: own && !elsewhere,
                });
            }
            link::Event::Advertised { addresses } => {
                self.advertised = addresses;
                self.learn_addresses();
            }
            link::Event::Refused { reason, detail } => self.refused(reason, &detail),
        }
    }

    /// True if the secret by which a link came up was retired while its handshake went on.
    fn is_retired(&self, handle: &LinkHandle) -> bool {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        keyring.get(&handle.secret).is_none()
    }

    fn refuse_retired(&mut self, handle: &LinkHandle, target: Option<String>) {
        let error = "the secret was retired during the handshake";
        handle.close(CloseCode::SecretRefused, error);
        self.refused(DropReason::SecretRefused, &format!("{}: {error}", handle.address));
        if let Some(target) = target {
            let (error, own) = (error.to_owned(), false);
            self.feed(Input::DialFailed { target, error, own });
        }
    }

    fn know_linked(&self) {
        self.ids
            .set_linked(self.links.values().map(|link| link.address).collect());
    }

    /// True if `target` is an address, and not one of this host's: who answers there with this router's identity
    /// is a clone. (Behind a NAT it may be the router itself after all; then it is dialled in vain, seldom.)
    fn is_elsewhere(&self, target: &str) -> bool {
        let address: Option<SocketAddr> = target.parse().ok();
        address.is_some_and(|address| !address.ip().is_loopback() && !self.addresses.contains(&address))
    }

    fn refused(&self, reason: DropReason, detail: &str) {
        self.drops.count(reason);
        self.log_refusal(reason, detail);
    }

    /// One line each for the first few, then for every doubling: a flood must not fill the disk.
    pub(crate) fn log_refusal(&self, reason: DropReason, detail: &str) {
        let count = self.drops.get(reason);
        if count <= 16 || count.is_power_of_two() {
            warn!(reason = reason.name(), count, "refused: {detail}");
        }
    }

    fn data_event(&mut self, event: data::Event) {
        match event {
            data::Event::Message { from, via, bytes } => {
                self.feed_sleeve(sleeve::Input::Message { from, via, bytes });
            }
            data::Event::Need { peer } => self.feed_sleeve(sleeve::Input::Need { peer }),
            data::Event::Alive { peer } => {
                self.feed(Input::Alive { peer });
                self.feed_sleeve(sleeve::Input::Alive { peer });
            }
            data::Event::ThreadEnded { name } => self.thread_ended(name),
            data::Event::TapLost { .. } if self.containers.ports.is_err() => {}
            data::Event::Group { vni } => self.feed_sleeve(sleeve::Input::Group { vni }),
            data::Event::Tree { vni, source } => self.feed_sleeve(sleeve::Input::TreeUsed { vni, source }),
            data::Event::TapLost { vni } => {
                // That of a network without containers goes with its bridge.
                if self.wanted_networks().contains(&vni) {
                    warn!(vni = vni.0, "the TAP device is gone: making it anew");
                    let _ = self.converge();
                }
            }
        }
    }

    /// A router without it would be deaf and look alive; whoever supervises it starts it again.
    fn thread_ended(&mut self, name: &str) {
        error!("the thread {name:?} ended unexpectedly");
        self.broken = Some(format!("the thread {name:?} ended unexpectedly"));
        self.stopping = true;
    }

    /// Makes the TAP device of each network that has containers, and lacks it.
    pub(super) fn make_taps(&mut self) {
        let wanted = self.wanted_networks();
        for vni in wanted.iter().filter(|vni| !self.shore.taps.has(**vni)) {
            let bridge = self.bridge_of(*vni);
            if let Err(error) = start_tap(&self.shore, (&bridge, *vni), self.containers.mtu) {
                error!("{error}");
            }
        }
        for vni in self.shore.taps.networks() {
            if !wanted.contains(&vni) {
                self.shore.taps.take(vni);
            }
        }
    }

    fn kernel_changed(&mut self) {
        if let Ok(ports) = &mut self.containers.ports {
            ports.look();
        }
        // Each container that comes or goes is several reports, and none of them is about the underlay.
        let soon = self.shore.clock.now() + LEARN_DELAY;
        self.learn_at.get_or_insert(soon);
    }

    /// Reads this host's addresses; the core publishes them, sleeve offers them.
    pub(crate) fn learn_addresses(&mut self) {
        let found = match underlay::addresses(&self.containers.bridge) {
            Ok(found) => found,
            Err(error) => return warn!("cannot list this host's addresses: {error}"),
        };
        let port = self.settings.listen.port();
        let bound = self.settings.listen.ip().to_canonical();
        let usable = |address: &std::net::IpAddr| {
            if bound.is_unspecified() {
                bound.is_ipv6() || address.is_ipv4()
            } else {
                *address == bound
            }
        };
        let mut addresses = self.advertised.clone();
        let own = found
            .iter()
            .map(|own| own.address)
            .filter(usable)
            .map(|ip| SocketAddr::new(ip, port));
        addresses.extend(own);
        let mtu = found
            .iter()
            .map(|own| own.mtu)
            .max()
            .unwrap_or(1500)
            .clamp(1280, 65_535);
        self.feed_sleeve(sleeve::Input::MaxMtu(u16::try_from(mtu).unwrap_or(u16::MAX)));
        if addresses != self.addresses {
            self.addresses.clone_from(&addresses);
            self.feed(Input::Addresses(addresses.clone()));
            self.feed_sleeve(sleeve::Input::Addresses(addresses));
        }
    }

    /// Neighbours learn at once; containers keep their interfaces.
    async fn leave(&mut self, inbox: &mut Inbox) {
        info!("stopping");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.set_conflist_aside();
        self.feed(Input::Shutdown);
        self.drain();
        self.feed_sleeve(sleeve::Input::Shutdown);
        // Let the goodbyes reach the wire before the connections are closed.
        let until = tokio::time::Instant::now() + Duration::from_millis(100);
        while let Ok(Some(event)) = tokio::time::timeout_at(until, inbox.links.recv()).await {
            if let link::Event::Down { link, .. } = event {
                self.links.remove(&link);
            }
            if self.links.is_empty() {
                break;
            }
        }
        self.dialer.close().await;
        self.shore.bell.stop();
    }
}

/// The next outcome; `None` once the thread has ended.
async fn outcome(ports: &mut Option<Receiver<PortOutcome>>) -> Option<PortOutcome> {
    match ports {
        Some(ports) => ports.recv().await,
        None => std::future::pending().await,
    }
}

async fn changed(watcher: &mut Option<Watcher>) {
    match watcher {
        Some(listening) => {
            if listening.changed().await.is_err() {
                *watcher = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// Waits until associations or policies of the kernel's change.
async fn esp_changed(watch: &mut Option<esp::Watch>) {
    match watch {
        Some(listening) => {
            if listening.changed().await.is_err() {
                *watch = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// Makes the TAP device of a network's bridge and gives it to the lanes.
pub(crate) fn start_tap(shore: &data::Shore, (bridge, vni): (&str, Vni), mtu: u16) -> Result<(), String> {
    // The old descriptor first: the device's name is free only when it is closed.
    shore.taps.take(vni);
    let name = names::tap(bridge);
    let queues =
        Tap::queues(&name, mtu, shore.offloads, shore.bell.lanes()).map_err(|error| error.to_string())?;
    if let Some(granted) = queues
        .first()
        .map(Tap::offloads)
        .filter(|granted| *granted != shore.offloads)
    {
        tracing::warn!(wanted = ?shore.offloads, ?granted, "this kernel does not do all that makes sleeve fast");
    }
    for queue in &queues {
        queue.set_nonblocking(true).map_err(|error| error.to_string())?;
    }
    shore.taps.put(vni, queues);
    Ok(())
}
