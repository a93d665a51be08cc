//! The core itself: takes inputs to the parts that handle them. No part calls back into this one.

use crate::connector::{Around, Connector};
use crate::graph::Graph;
use crate::ipam::Addresses;
use crate::link::{Greeter, Links};
use crate::linkstate::LinkStates;
use crate::networks::Networks;
use crate::outbox::Outbox;
use crate::own::Own;
use crate::peerlabel::PeerLabels;
use crate::record::Record;
use crate::repair::Turn;
use crate::route::{Detours, Routes};
use crate::routed::Limits;
use crate::schedule::Schedule;
use crate::spread::Spread;
use crate::spread::middle::Middle;
use crate::store::Store;
use crate::{
    Config, DirectPath, DropReason, Input, Instant, Labels, LinkId, LinkLabel, Names, Output, Packet, PeerId,
    Registry, TimerReason, Trees,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The control plane of one router. See the crate's documentation for the way an update takes through it.
pub struct Mesh {
    pub(crate) out: Outbox,
    pub(crate) rng: StdRng,
    pub(crate) own: Own,
    pub(crate) links: Links,
    pub(crate) store: Store,
    pub(crate) connector: Connector,
    pub(crate) registry: Registry,
    pub(crate) addresses: Addresses,
    pub(crate) names: Names,
    pub(crate) networks: Networks,
    pub(crate) graph: Graph,
    pub(crate) routes: Routes,
    pub(crate) detours: Detours,
    pub(crate) labels: Labels,
    pub(crate) trees: Trees,
    /// Who holds which label of the fast path.
    pub(crate) peer_labels: PeerLabels,
    /// The label of each neighbour.
    pub(crate) labelled: BTreeMap<PeerId, LinkLabel>,
    /// Direct data paths, as the driver reports them.
    pub(crate) direct: BTreeMap<PeerId, DirectPath>,
    pub(crate) schedule: Schedule,
    pub(crate) states: LinkStates,
    pub(crate) limits: Limits,
    /// Records to pass on, with the neighbour each came from.
    pub(crate) news: Vec<(Option<PeerId>, Arc<Record>)>,
    /// The message that they came in, if it held nothing else.
    pub(crate) news_as_came: Option<Packet>,
    /// Along which links.
    pub(crate) spread: Spread,
    /// From which router the tree hangs, if that is up to this one.
    pub(crate) middle: Middle,
    /// When to compare records with each neighbour.
    pub(crate) rounds: BTreeMap<PeerId, Instant>,
    pub(crate) leaving: bool,
    /// How far the comparison over each link is.
    pub(crate) turns: BTreeMap<LinkId, Turn>,
}

impl Mesh {
    /// A router that starts now. All its random choices follow from `seed`.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Self {
        let greeter = Greeter {
            id: config.id,
            name: config.name.clone(),
            instance: config.instance,
            epoch: config.epoch,
            versions: config.versions,
        };
        let (addresses, damaged) = Addresses::load(config.id, &config.addresses_of, now, seed);
        let mut mesh = Self {
            out: Outbox::new(config.drops.clone()),
            rng: StdRng::from_seed(seed),
            links: Links::new(greeter, config.keepalive, config.keepalive_misses),
            store: Store::default(),
            connector: Connector::new(
                now,
                config.id,
                config.discovery,
                config.max_links,
                &config.targets,
            ),
            registry: Registry::new(config.id),
            addresses,
            names: Names::new(config.id),
            networks: Networks::new(config.id),
            graph: Graph::new(),
            routes: Routes::default(),
            detours: Detours::default(),
            labels: Labels::new(),
            trees: Trees::new(config.id),
            peer_labels: PeerLabels::default(),
            labelled: BTreeMap::new(),
            direct: BTreeMap::new(),
            schedule: Schedule::default(),
            states: LinkStates::default(),
            limits: Limits::default(),
            news: Vec::new(),
            news_as_came: None,
            spread: Spread::default(),
            middle: Middle::default(),
            rounds: BTreeMap::new(),
            leaving: false,
            turns: BTreeMap::new(),
            own: Own::new(config),
        };
        for vni in damaged {
            let detail = format!("what is stored of the addresses of network {} is damaged", vni.0);
            mesh.out.refuse(DropReason::MalformedRecord, detail);
        }
        mesh.schedule.rush(now);
        mesh.issue_all(now);
        mesh.finish(now, true);
        mesh
    }

    /// Takes in what happened. Drain [`poll_output`](Self::poll_output) afterwards.
    ///
    /// Input that waits shall be handed in before a [`Tick`](Input::Tick): only ticks run timers, so that a
    /// pause of the process does not make neighbours look dead whose messages are in the queue.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        // Most inputs are others' records and keepalives. The former change nothing about this router's links, the latter
        // nothing but delays, which are looked at where they come in.
        let of_packet =
            |is: fn(&Packet) -> bool| matches!(&input, Input::Message { packet, .. } if is(packet));
        let is_records = of_packet(Packet::is_records);
        if !is_records && !of_packet(Packet::is_keepalive) {
            self.states.stir();
        }
        match input {
            Input::LinkUp {
                link,
                peer,
                address,
                direction,
                target,
            } => {
                self.link_up(now, (link, peer, address), direction, target);
            }
            Input::LinkDown { link, reason } => self.links.closed(now, link, &reason),
            Input::Message { link, packet } => self.message(now, link, &packet),
            Input::Oversized { .. } => self.out.drop(DropReason::OversizedMessage),
            Input::Alive { peer } => self.links.alive(now, &peer),
            Input::DialFailed { target, error, own } => {
                self.connector.failed(now, &target, error, own, &mut self.rng);
            }
            Input::Probed { peer, rtt } => self.connector.probed(now, &peer, rtt),
            Input::PathUp { peer, mtu, rtt } => self.path_up(now, peer, mtu, rtt),
            Input::PathDown { peer } => self.path_down(now, &peer),
            Input::SendTo { peer, payload } => self.send_to(&peer, payload),
            Input::Connect { targets, replace } => self.connector.connect(now, &targets, replace),
            Input::ForgetTarget { target } => self.connector.forget_target(&target),
            Input::ForgetPeer { peer } => self.forget_peer(now, peer),
            Input::Addresses(addresses) => self.own.set_addresses(now, addresses),
            Input::Attach { vni, mac, addresses } => {
                let own = self.own.id;
                let change = self.registry.attach(vni, mac, addresses.clone());
                self.ports_changed(now, change);
                self.note_container(vni, mac, own, Some(&addresses));
            }
            Input::Detach { vni, mac } => {
                let own = self.own.id;
                self.note_container(vni, mac, own, None);
                let change = self.registry.detach(vni, &mac);
                self.ports_changed(now, change);
            }
            Input::Allocate {
                vni,
                number,
                holder,
                want,
            } => self.allocate(now, vni, number, holder, want),
            Input::Release { vni, holder } => self.release(now, vni, &holder),
            Input::AddressesKept { vni, number } => self.addresses_kept(now, vni, number),
            Input::Reclaim { number, peer } => self.reclaim(now, number, peer),
            Input::Name { vni, name, addresses } => self.name_changed(now, vni, &name, addresses),
            Input::KnownNetworks(table) => self.restore_networks(now, &table),
            Input::AddNetwork {
                number,
                name,
                vni,
                pool,
            } => self.add_network(now, number, &name, vni, pool),
            Input::RemoveNetwork { number, name } => self.remove_network(now, number, &name),
            Input::UseTree { vni, source } => self.use_tree(now, vni, source),
            Input::FastPath { port } => {
                if self.own.set_vxlan_port(port) {
                    self.settle_label();
                    self.own.renew_info(now);
                }
            }
            Input::SecretsChanged => self.secrets_changed(now),
            Input::EpochPersisted(epoch) => self.epoch_persisted(now, epoch),
            Input::Shutdown => self.shut_down(now),
            Input::Tick => self.tick(now),
        }
        self.finish(now, !is_records);
    }

    /// What the driver shall do next; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When to hand in the next [`Tick`](Input::Tick), and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        let states = self.states.next_timeout().filter(|_| self.own.may_issue());
        let middle = self.middle.next_timeout().filter(|_| self.own.may_issue());
        let issue = self.own.next_timeout().into_iter().chain(states).min();
        [
            (self.links.next_timeout(), TimerReason::Link),
            (self.connector.next_timeout(), TimerReason::Dial),
            (self.rounds.values().min().copied(), TimerReason::Digest),
            (self.spread.next_timeout(), TimerReason::Spread),
            (self.schedule.next_timeout(), TimerReason::Route),
            (middle, TimerReason::Route),
            (self.routes.next_timeout(), TimerReason::Route),
            (self.detours.next_timeout(), TimerReason::Route),
            (self.trees.next_timeout(), TimerReason::Route),
            (issue, TimerReason::Issue),
            (self.networks.next_timeout(), TimerReason::Issue),
            (self.addresses.next_timeout(), TimerReason::Addresses),
            (self.store.next_timeout(), TimerReason::Collect),
        ]
        .into_iter()
        .filter_map(|(at, reason)| Some((at?, reason)))
        .min()
    }

    fn tick(&mut self, now: Instant) {
        if let Some((due, _)) = self.poll_timeout().filter(|(due, _)| *due <= now) {
            self.links.timer_fired(now, due);
        }
        self.links.tick(now, &mut self.spread, &mut self.out);
        self.spread.recent.expire(now);
        self.own.tick(now, &mut self.out);
        self.compare_if_due(now);
        self.ask(now);
        for peer in self.store.collect(now) {
            self.forget_origin(now, &peer);
        }
    }

    /// What follows from whatever just happened: the parts hear of each other's changes, own records are
    /// issued, routes computed, news passed on, targets dialled. `stirred`: links may not be what they were.
    fn finish(&mut self, now: Instant, stirred: bool) {
        let has_happened = self.react(now);
        if has_happened {
            self.states.stir();
        }
        let mut stirred = stirred || has_happened;
        self.issue_if_due(now);
        if self.trees.misses_members(&self.registry) {
            self.schedule.request(now);
        }
        let ends = [self.routes.next_timeout(), self.trees.next_timeout()];
        let is_over = ends.into_iter().flatten().any(|end| end <= now);
        let has_recomputed = self.schedule.take(now) || is_over;
        if has_recomputed {
            self.recompute(now);
        }
        if has_recomputed || self.addresses.next_timeout().is_some_and(|due| due <= now) {
            self.look_at_addresses(now);
        }
        if has_recomputed || self.networks.next_timeout().is_some_and(|due| due <= now) {
            self.look_at_networks(now);
        }
        self.look_for_middle(now);
        self.renew_detours(now);
        self.tell_parents(now);
        self.pass_on(now);
        if self.connector.is_due(now) {
            let addresses = self.own.addresses();
            let around = Around {
                links: &self.links,
                store: &self.store,
                graph: &self.graph,
                spread: &self.spread,
                addresses: &addresses,
            };
            self.connector.poll(now, &around, &mut self.rng, &mut self.out);
            self.act(now);
            stirred = true;
        }
        if stirred {
            self.links.renew_timeout();
        }
    }
}
