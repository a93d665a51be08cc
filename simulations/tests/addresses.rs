//! Addresses in worlds of cores: many routers begin in two groups that know nothing of each other, meet, are cut off from
//! each other, restart with their disks kept, lost and old, and never give out an address that one they had met has in use.
#![allow(clippy::unwrap_used)]
use mesh::ipam::{Pool, Settings};
use mesh::{Input, Mac, PeerId, Vni};
use simulations::{BigWorld, HostId, Profile, Random};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const VNI: Vni = Vni(0);
/// So many others a router is told to dial, some of them in vain at first.
const LINKS: usize = 4;
/// So many doubled addresses are published by those who have them: it is costly where a thousand hear of it.
const PUBLISHED: usize = 50;

/// Where a container of the town is: the host, and its name.
type Place = (HostId, String);

/// A world that counts who has which address.
struct Town {
    world: BigWorld,
    random: Random,
    requests: u64,
    asked: BTreeMap<u64, Place>,
    live: BTreeMap<IpAddr, Vec<Place>>,
    refused: BTreeMap<String, usize>,
    given: usize,
    /// The two groups have not met, or not for long: addresses of one may be live in the other.
    are_apart: bool,
    /// So many were given out to a second container.
    doubled: usize,
    /// Those whose disks are lost.
    gone: Vec<PeerId>,
    backed_up: Vec<HostId>,
    restored: usize,
}

/// Which of the two groups a host begins in.
fn group(host: HostId) -> bool {
    host.0.is_multiple_of(2)
}

impl Town {
    /// Routers in two groups, each of which divides the pool by itself.
    fn new(routers: usize, prefix: u8, threads: usize) -> Self {
        let profile = Profile::Plane {
            least: Duration::from_micros(500),
            most: Duration::from_millis(100),
            seed: 5,
        };
        let mut world = BigWorld::new(5, routers, profile, threads);
        world.forbid_discovery();
        let pool = Pool::new(([10, 32, 0, 0].into(), prefix), None).unwrap();
        world.divide(Settings {
            pool,
            ..Settings::default()
        });
        world.cut(group, None);
        let mut random = Random::new(5);
        for host in 0..routers {
            let before = host.checked_sub(2).map(HostId);
            let others = (0..LINKS.min(host)).map(|_| HostId(random.below(host as u64) as usize));
            let targets: Vec<_> = before.into_iter().chain(others).collect();
            world.launch(HostId(host), Duration::from_millis(10) * host as u32, &targets);
        }
        Self {
            world,
            random,
            requests: 0,
            asked: BTreeMap::new(),
            live: BTreeMap::new(),
            refused: BTreeMap::new(),
            given: 0,
            are_apart: true,
            doubled: 0,
            gone: Vec::new(),
            backed_up: Vec::new(),
            restored: 0,
        }
    }

    fn some_host(&mut self) -> HostId {
        HostId(self.random.below(self.world.len() as u64) as usize)
    }

    fn allocate(&mut self, host: HostId) {
        if self.world.mesh(host).is_none() {
            return;
        }
        self.requests += 1;
        let (number, holder) = (self.requests, format!("c{}", self.requests));
        self.asked.insert(number, (host, holder.clone()));
        let want = None;
        self.world.input(
            host,
            Input::Allocate {
                vni: VNI,
                number,
                holder,
                want,
            },
        );
    }

    fn release(&mut self, host: HostId) {
        if self.world.mesh(host).is_none() {
            return;
        }
        let of_host = |(at, places): (&IpAddr, &Vec<Place>)| {
            let found = places.iter().position(|(other, _)| *other == host);
            found.map(|index| (*at, index))
        };
        if let Some((at, index)) = self.live.iter().find_map(of_host) {
            let places = self.live.get_mut(&at).unwrap();
            let (_, holder) = places.swap_remove(index);
            if places.is_empty() {
                self.live.remove(&at);
            }
            self.world.input(host, Input::Release { vni: VNI, holder });
        }
    }

    /// These containers have ended.
    fn end(&mut self, is_over: impl Fn(&Place) -> bool) {
        self.live.retain(|_, places| {
            places.retain(|place| !is_over(place));
            !places.is_empty()
        });
    }

    /// Lets time pass and looks what was given out.
    fn run(&mut self, time: Duration) {
        self.world.run(time);
        for host in 0..self.world.len() {
            for (number, result) in self.world.take_allocated(HostId(host)) {
                let (host, holder) = self.asked.remove(&number).unwrap();
                match result {
                    Ok(addresses) => self.given_out(addresses[0].0, host, holder),
                    Err(refusal) => {
                        let text = format!("{refusal:?}");
                        let kind = text.split(['(', ' ']).next().unwrap_or_default();
                        *self.refused.entry(kind.to_owned()).or_default() += 1;
                    }
                }
            }
        }
    }

    fn given_out(&mut self, address: IpAddr, host: HostId, holder: String) {
        self.given += 1;
        let places = self.live.entry(address).or_default();
        let strangers = |(other, _): &Place| self.are_apart && group(*other) != group(host);
        assert!(
            places.iter().all(strangers),
            "{address} is live twice: {places:?}, and at {host:?} at {:?}",
            self.world.now()
        );
        self.doubled += usize::from(!places.is_empty());
        places.push((host, holder));
    }

    /// A router has just started: whatever it was asked before is not to be waited for, and containers that its disk does
    /// not know are taken away by it. Only an old disk knows too few.
    fn started(&mut self, host: HostId, is_old: bool) {
        self.asked.retain(|_, (asked, _)| *asked != host);
        let in_use = self.world.mesh(host).unwrap().addresses_in_use();
        let holders: BTreeSet<_> = in_use.into_iter().map(|one| one.holder).collect();
        let own = self.live.values().flatten().filter(|(other, _)| *other == host);
        let own: BTreeSet<_> = own.map(|(_, holder)| holder.clone()).collect();
        assert!(
            is_old || own.is_subset(&holders),
            "{host:?} forgot {:?}",
            own.difference(&holders)
        );
        self.end(|(other, holder)| *other == host && !holders.contains(holder));
        for holder in holders.difference(&own).cloned() {
            self.world.input(host, Input::Release { vni: VNI, holder });
        }
    }

    fn crash(&mut self, host: HostId, loses_disk: bool) {
        if loses_disk {
            self.gone.push(self.world.id(host));
            self.world.lose_disk(host);
            self.backed_up.retain(|other| *other != host);
            self.end(|(other, _)| *other == host);
        } else {
            self.world.crash(host);
        }
    }

    fn back_up(&mut self, hosts: usize) {
        for _ in 0..hosts {
            let host = self.some_host();
            if self.world.mesh(host).is_some() && !self.backed_up.contains(&host) {
                self.world.back_up(host);
                self.backed_up.push(host);
            }
        }
    }

    /// Old disks are put back where others can be asked what has happened since: one after the other, as two who
    /// know only old things tell each other nothing.
    fn restore_all(&mut self) {
        for host in std::mem::take(&mut self.backed_up) {
            let target = self.some_host();
            if target == host || self.world.mesh(host).is_none() || self.world.mesh(target).is_none() {
                continue;
            }
            self.world.restore(host);
            self.world.launch(host, Duration::ZERO, &[target]);
            self.world.run(Duration::from_millis(1));
            self.started(host, true);
            self.restored += 1;
            self.run(Duration::from_millis(400));
            self.allocate(host);
        }
    }

    /// All see every address owned by somebody, and the same shares.
    fn assert_whole(&self, size: u32) {
        let mut first = None;
        for host in self.world.running() {
            let view = self.world.mesh(host).unwrap().addresses_view().remove(0);
            let sum: u32 = view.shares.iter().map(|(_, count)| count).sum();
            assert_eq!(sum, size, "{host:?}: {:?}", view.shares);
            assert!(view.shares.iter().all(|(owner, _)| owner.is_some()));
            assert_eq!(*first.get_or_insert(view.shares.clone()), view.shares, "{host:?}");
        }
    }

    /// Two groups give out addresses, the same ones among others, and meet: each doubled address is named, and from ten
    /// seconds on none is given out that either of them uses.
    fn meet(&mut self) {
        let routers = self.world.len();
        for _ in 0..routers {
            let host = self.some_host();
            self.allocate(host);
        }
        self.run(SECOND * 3);
        assert!(self.doubled > 0, "the groups have no address in common");
        // Their routers publish that they have them.
        let twice = self.live.iter().filter(|(_, places)| places.len() > 1);
        let mut ports = Vec::new();
        for (at, places) in twice.take(PUBLISHED) {
            ports.extend(places.iter().map(|(host, holder)| (*host, mac_of(holder), *at)));
        }
        let doubled: BTreeSet<_> = ports.iter().map(|(_, _, at)| *at).collect();
        for (host, mac, address) in &ports {
            let (vni, mac, addresses) = (VNI, *mac, vec![*address]);
            self.world.input(*host, Input::Attach { vni, mac, addresses });
        }
        self.run(SECOND * 2);
        self.back_up(routers / 100);
        self.world.heal();
        for _ in 0..5 {
            for _ in 0..routers / 20 {
                let host = self.some_host();
                self.allocate(host);
            }
            self.run(SECOND * 2);
        }
        self.are_apart = false;
        self.run(SECOND * 5);
        for host in self.world.running() {
            let view = self.world.mesh(host).unwrap().addresses_view().remove(0);
            let named: BTreeSet<_> = view.doubled.iter().map(|(at, _)| *at).collect();
            assert_eq!(named, doubled, "{host:?}");
        }
        for (host, mac, _) in ports {
            self.world.input(host, Input::Detach { vni: VNI, mac });
        }
    }
}

/// The MAC address of a container.
fn mac_of(holder: &str) -> Mac {
    let number: u32 = holder[1..].parse().unwrap();
    let [a, b, c, d] = number.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

fn live_once(routers: usize, rounds: usize, each: usize, threads: usize) -> Town {
    let mut town = Town::new(routers, 12, threads);
    town.run(Duration::from_millis(10) * routers as u32 + SECOND * 10);
    town.meet();
    for round in 0..rounds {
        eprintln!(
            "round {round} at {:?}, {} addresses given out",
            town.world.now(),
            town.given
        );
        match round % 4 {
            0 => town.restore_all(),
            1 => {
                town.back_up(1.max(routers / 100));
                let bit = town.random.below(8);
                town.world.cut(|host| (host.0 >> bit) & 1 == 0, None);
            }
            3 => {
                town.world.heal();
                town.run(SECOND * 5);
                town.restore_all();
            }
            _ => {}
        }
        let crashed: BTreeSet<_> = (0..routers / 20).map(|_| town.some_host()).collect();
        for (n, host) in crashed.iter().enumerate() {
            town.crash(*host, n % 4 == round % 4);
        }
        for _ in 0..each {
            let host = town.some_host();
            town.allocate(host);
            if town.random.below(4) == 0 {
                town.release(host);
            }
        }
        town.run(SECOND * 5);
        for host in &crashed {
            let target = town.some_host();
            town.world.launch(*host, Duration::ZERO, &[target]);
        }
        town.world.run(Duration::from_millis(1));
        crashed.iter().for_each(|host| town.started(*host, false));
        town.run(SECOND * 5);
    }
    town.world.heal();
    town.run(SECOND * 30);
    town.assert_whole(1 << 20);
    // Those whose disks are lost will not come back.
    for (n, peer) in town.gone.clone().into_iter().enumerate() {
        let host = HostId(n % routers);
        town.world.input(host, Input::Reclaim { number: 0, peer });
    }
    town.run(SECOND * 10);
    town.assert_whole(1 << 20);
    let running: BTreeSet<_> = (0..routers).map(|host| town.world.id(HostId(host))).collect();
    let view = town.world.mesh(HostId(0)).unwrap().addresses_view().remove(0);
    let owners = view.shares.iter().filter_map(|(owner, _)| *owner);
    assert!(owners.into_iter().all(|owner| running.contains(&owner)));
    town
}

#[test]
fn many_routers_never_give_out_an_address_twice() {
    let town = live_once(40, 8, 300, 2);
    assert!(town.given > 1500, "{}: {:?}", town.given, town.refused);
    assert!(town.restored > 0 && town.gone.len() > 2);
}

#[test]
#[ignore = "a thousand routers and a hundred thousand addresses take minutes: `just addresses`"]
fn a_thousand_routers_never_give_out_an_address_twice() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (routers, threads) = (number("WEFT_ROUTERS", 1000), number("WEFT_THREADS", 2));
    let started = std::time::Instant::now();
    let town = live_once(routers, 4, 265 * routers / 10, threads);
    let took = started.elapsed();
    eprintln!(
        "{routers} routers, {} addresses given out in {took:?}, {} of them in use by the other group before they met, \
         {} disks lost, {} put back as they had been; refused {:?}",
        town.given,
        town.doubled,
        town.gone.len(),
        town.restored,
        town.refused
    );
    assert!(town.given > 95 * routers, "{}: {:?}", town.given, town.refused);
}
