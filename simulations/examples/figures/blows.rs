//! What a mesh does after a blow: healed after it was cut in two, and when most of it is gone.

use crate::{Bench, SECOND, mac, ms};
use mesh::{Input, Vni};
use simulations::{BigWorld, Class, HostId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// On which side of the cut a host is.
fn is_even(host: HostId) -> bool {
    host.0.is_multiple_of(2)
}

impl Bench {
    /// A mesh that was whole is cut, all change, and one wire between the halves heals.
    pub(crate) fn heal(&mut self) {
        let started = Instant::now();
        let routers = self.asked.routers;
        self.world.cut(is_even, None);
        self.world.run(SECOND * 20);
        for host in 0..routers {
            let place = HostId(host);
            let addresses = [true, false]
                .map(|second| self.world.address(place, second))
                .to_vec();
            self.world.input(place, Input::Addresses(addresses));
            let addresses = vec![[10, 0, 0, 2].into()];
            self.world.input(
                place,
                Input::Attach {
                    vni: Vni(1),
                    mac: mac(2, host),
                    addresses,
                },
            );
            if host % 100 == 99 {
                self.world.run(SECOND / 10);
            }
        }
        self.world.run(SECOND * 20);
        self.said(started, "cut, every record changed");
        self.join_halves("50/50 heal, every record changed, one link");
        self.world.heal();
        self.rest();
    }

    /// Two halves find each other that have never met: to each, all records of the other one are new, as they are when all
    /// have changed meanwhile, and it takes half the memory until then.
    pub(crate) fn meet(&mut self) {
        self.place_halves(is_even);
        self.settle();
        self.join_halves("two halves that had never met, one link");
    }

    /// One wire between the halves is whole again, and a router at its one end dials the one at its other end.
    fn join_halves(&mut self, what: &str) {
        let started = Instant::now();
        let routers = self.asked.routers;
        let (a, b) = (HostId(0), HostId(1));
        self.world.cut(is_even, Some((a, b)));
        let targets = vec![self.world.address(b, false).to_string()];
        self.world.input(
            a,
            Input::Connect {
                targets,
                replace: false,
            },
        );
        let before_link = self.world.now();
        let step = Duration::from_millis(1);
        let is_linked =
            |world: &BigWorld| world.linked_with(a).contains(&b) && world.linked_with(b).contains(&a);
        if self.world.until(step, SECOND * 60, is_linked).is_none() {
            return self.row(what, "never linked".to_owned(), "≤ 2.5 s", false);
        }
        let linked = self.world.linked_at(b).unwrap_or(before_link);
        let size = |world: &BigWorld, even: bool| -> u64 {
            let of_side = (0..routers).map(HostId).filter(|host| is_even(*host) == even);
            of_side
                .filter_map(|host| Some(world.mesh(host)?.own_bytes() as u64))
                .sum()
        };
        let (evens, odds) = (size(&self.world, true), size(&self.world, false));
        let half = routers as u64 / 2;
        let minimal = evens * half + odds * (routers as u64 - half);
        let before = self.world.all_traffic();
        let healed = self
            .agree(Duration::from_millis(10))
            .map(|_| self.world.now() - linked);
        self.said(started, "healed");
        // What follows late counts, too.
        self.world.run(SECOND);
        let traffic = self.world.all_traffic() - before;
        let sent = traffic.sent(Class::Control).bytes + traffic.sent(Class::Ack).bytes;
        let share = sent as f64 / minimal as f64;
        let figure = format!(
            "{}; {share:.2} × the minimal {:.0} MB",
            healed.map_or("never".to_owned(), ms),
            minimal as f64 / 1e6
        );
        let is_met = healed.is_some_and(|time| time <= Duration::from_millis(2500)) && share <= 1.2;
        self.row(what, figure, "≤ 2.5 s, ≤ 1.2 ×", is_met);
    }

    /// Those that are to survive: a tenth.
    pub(crate) fn draw_survivors(&mut self) -> BTreeSet<HostId> {
        let mut alive: Vec<_> = (0..self.asked.routers).map(HostId).collect();
        let survivors = alive.len().div_ceil(10);
        while alive.len() > survivors {
            let at = self.random.below(alive.len() as u64) as usize;
            alive.swap_remove(at);
        }
        alive.into_iter().collect()
    }

    pub(crate) fn kill(&mut self) {
        let survivors = self.draw_survivors();
        self.kill_all_but(&survivors);
    }

    /// Kills the others; the survivors shall find together.
    pub(crate) fn kill_all_but(&mut self, survivors: &BTreeSet<HostId>) {
        let started = Instant::now();
        for host in self.world.running() {
            if !survivors.contains(&host) {
                self.world.crash(host);
            }
        }
        let joined = self.world.until(SECOND / 4, SECOND * 60, BigWorld::all_routable);
        self.said(started, "90 % killed");
        let agreed = self.agree(SECOND / 4).is_some();
        let figure = format!(
            "{}; {}",
            joined.map_or("never".to_owned(), ms),
            if agreed {
                "all agree then"
            } else {
                "they do not agree later"
            }
        );
        let is_met = joined.is_some_and(|time| time <= SECOND * 10) && agreed;
        self.row(
            "90 % killed at once: one component, routable",
            figure,
            "≤ 10 s",
            is_met,
        );
    }
}
