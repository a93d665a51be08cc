//! The timeline, broken into single acts, and how each is done.

use super::host;
use super::lie::PORTIONS;
use super::stage::Stage;
use super::traffic::Streams;
use crate::scenario::{Action, DiskState, Heal, LieKind, Scenario};
use crate::{Disk, Options};
use mesh::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One thing that is done at one instant.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// An event of the scenario.
    Event(usize, Action),
    /// A router is launched for the first time.
    Launch(usize),
    /// A cut that comes or goes, of a link that flaps.
    Flap(Vec<(usize, usize)>, bool),
    /// Some of the lies.
    Lies(Vec<usize>, LieKind, usize, u64),
}

impl Act {
    /// What to call it in a report; `None`: it belongs to something that was told already.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Event(_, action) => Some(action.to_string()),
            _ => None,
        }
    }
}

/// Everything that will be done, in order.
pub(super) fn agenda(scenario: &Scenario, stage: &Stage) -> BTreeMap<(Instant, usize), Act> {
    let mut acts: Vec<(Instant, Act)> = Vec::new();
    let mut later: BTreeSet<usize> = BTreeSet::new();
    for (number, event) in scenario.event.iter().enumerate() {
        let event = event.get_ref();
        let at = Instant(0) + event.at.0;
        let select = |select| stage.select(select, "event", number);
        match &event.action {
            Action::Join(join) => {
                let routers = select(&join.routers);
                let step = join.over.0 / u32::try_from(routers.len().max(1)).unwrap_or(u32::MAX);
                acts.push((at, Act::Event(number, event.action.clone())));
                for (nth, router) in (0..).zip(&routers) {
                    acts.push((at + step * nth, Act::Launch(*router)));
                }
                later.extend(routers);
            }
            Action::Flap(flap) => {
                acts.push((at, Act::Event(number, event.action.clone())));
                let pairs = pairs(stage, &flap.between, number);
                let (half, end) = (flap.period.0 / 2, Instant(0) + flap.until.0);
                let half = half.max(Duration::from_millis(1));
                let mut time = at;
                let mut cut = true;
                while time < end {
                    acts.push((time, Act::Flap(pairs.clone(), cut)));
                    (time, cut) = (time + half, !cut);
                }
                acts.push((end.max(at), Act::Flap(pairs, false)));
            }
            Action::Lie(lie) => {
                acts.push((at, Act::Event(number, event.action.clone())));
                let liars = select(&lie.by);
                let portions = PORTIONS.min(lie.count.max(1));
                let step = lie.over.0 / u32::try_from(portions).unwrap_or(1);
                for portion in 0..portions {
                    let share = (portion + 1) * lie.count / portions - portion * lie.count / portions;
                    let salt = (number * PORTIONS + portion) as u64;
                    let portion = u32::try_from(portion).unwrap_or(0);
                    acts.push((
                        at + step * portion,
                        Act::Lies(liars.clone(), lie.kind, share, salt),
                    ));
                }
            }
            action => acts.push((at, Act::Event(number, action.clone()))),
        }
    }
    let mut launches = Vec::new();
    for (router, options) in stage.options.iter().enumerate() {
        if !later.contains(&router) {
            let at = Instant(0) + options.launch.unwrap_or_default().0;
            launches.push((at, Act::Launch(router)));
        }
    }
    let numbered = launches.into_iter().chain(acts).enumerate();
    numbered.map(|(number, (at, act))| ((at, number), act)).collect()
}

/// The pairs between two selections.
fn pairs(stage: &Stage, between: &[crate::scenario::Select; 2], number: usize) -> Vec<(usize, usize)> {
    let of = |which: usize, purpose| stage.select(&between[which], purpose, number);
    let (a, b) = (of(0, "event"), of(1, "event to"));
    let all = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
    all.filter(|(a, b)| a != b).collect()
}

impl Stage {
    pub(super) fn perform(&mut self, act: &Act, streams: &mut Streams) {
        match act {
            Act::Event(number, action) => self.event(*number, action, streams),
            Act::Launch(router) => self.launch(*router),
            Act::Flap(pairs, cut) => {
                for &(a, b) in pairs {
                    self.block(a, b, *cut);
                    self.block(b, a, *cut);
                }
            }
            Act::Lies(liars, kind, count, number) => self.lie(liars, *kind, *count, *number),
        }
    }

    fn event(&mut self, number: usize, action: &Action, streams: &mut Streams) {
        let _ = streams;
        let select = |stage: &Self, select| stage.select(select, "event", number);
        match action {
            Action::Partition(groups) => {
                let groups: Vec<_> = groups.iter().map(|group| select(self, group)).collect();
                self.partition(&groups);
            }
            Action::Heal(Heal::All(_)) => self.heal_all(),
            Action::Heal(Heal::Between(between)) => {
                for (a, b) in pairs(self, between, number) {
                    self.heal(a, b);
                }
            }
            Action::Cut(between) => {
                for (a, b) in pairs(self, between, number) {
                    self.block(a, b, true);
                    self.block(b, a, true);
                }
            }
            Action::Block(between) => {
                for (a, b) in pairs(self, between, number) {
                    self.block(a, b, true);
                }
            }
            Action::Wire(change) => {
                let pairs = pairs(self, &change.between, number);
                self.change_wires(&pairs, change.one_way, change.to, false);
            }
            Action::Crash(routers) => {
                for router in select(self, routers) {
                    self.world.crash(host(router));
                }
            }
            Action::Stop(routers) => {
                for router in select(self, routers) {
                    self.world.stop(host(router));
                }
            }
            Action::Restart(restart) => {
                for router in select(self, &restart.routers) {
                    self.restart(router, restart.disk);
                }
            }
            Action::Readdress(routers) => {
                for router in select(self, routers) {
                    self.world.readdress(host(router));
                }
            }
            Action::Rebind(routers) => {
                let nats = select(self, routers)
                    .into_iter()
                    .filter_map(|at| self.world.nat(host(at)));
                for nat in nats.collect::<BTreeSet<_>>() {
                    self.world.rebind(nat);
                }
            }
            Action::AddSecret(change) => {
                let secret = self.secret(&change.secret);
                for router in select(self, &change.routers) {
                    self.world.add_secret(host(router), &secret);
                }
            }
            Action::RetireSecret(change) => {
                let secret = self.secret(&change.secret).id();
                for router in select(self, &change.routers) {
                    self.world.retire_secret(host(router), secret);
                }
            }
            Action::Pause(pause) => {
                for router in select(self, &pause.routers) {
                    self.world.pause(host(router), pause.length.0);
                }
            }
            // No core ever sees a wall clock: what jumps is not there to be read. Whoever lets one in will be found
            // out by the scenario that expects nothing to happen.
            Action::Clock(jump) => {
                for router in select(self, &jump.routers) {
                    self.world.jump_clock(host(router), jump.by.back, jump.by.by.0);
                }
            }
            Action::Clone(clone) => {
                let dial: Vec<_> = select(self, &clone.dial).into_iter().map(host).collect();
                for of in select(self, &clone.of) {
                    let disk = self.world.disk(host(of));
                    let twin = self.world.add_host_with(disk, Options::default());
                    self.world.launch(twin, &dial);
                }
            }
            Action::Lie(lie) => {
                self.remember(&select(self, &lie.by));
                if lie.kind == LieKind::Garbage {
                    // What passes from now on is there to be damaged.
                    self.world.capture();
                }
            }
            Action::Attach(hosts) => {
                for router in select(self, hosts) {
                    self.world.attach(host(router));
                }
            }
            Action::Detach(hosts) => {
                let hosts = select(self, hosts);
                let containers = self.world.containers().into_iter();
                for container in containers.filter(|container| hosts.contains(&container.host.0)) {
                    self.world.detach(container);
                }
            }
            Action::Join(_) | Action::Flap(_) => {}
        }
        self.truth.outdate();
    }

    fn restart(&mut self, router: usize, disk: DiskState) {
        self.world.crash(host(router));
        match disk {
            DiskState::Kept => {}
            DiskState::Old => {
                if let Some(old) = self.first_disks.get(router).cloned() {
                    self.world.set_disk(host(router), old);
                }
            }
            DiskState::Lost => {
                let keyring = self.world.disk(host(router)).keyring;
                self.fresh += 1;
                let mut random = self.world.fork("fresh identity", self.fresh);
                let identity = self.world.new_identity(&mut random);
                self.world.set_disk(host(router), Disk::new(identity, keyring));
            }
        }
        self.launch(router);
        if disk != DiskState::Kept {
            self.world.reattach(host(router));
        }
    }
}
