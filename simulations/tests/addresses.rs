//! Addresses in worlds of cores: many routers divide a pool, are cut off from each other, restart, and never give out an
//! address twice.
#![allow(clippy::unwrap_used)]
use mesh::ipam::{Pool, Settings};
use mesh::{Input, Vni};
use simulations::{BigWorld, HostId, Profile, Random};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const VNI: Vni = Vni(0);

/// A world that counts who has which address.
struct Town {
    world: BigWorld,
    random: Random,
    requests: u64,
    asked: BTreeMap<u64, (HostId, String)>,
    live: BTreeMap<IpAddr, (HostId, String)>,
    refused: BTreeMap<String, usize>,
    given: usize,
}

impl Town {
    fn new(routers: usize, prefix: u8) -> Self {
        let profile = Profile::Plane {
            least: Duration::from_micros(500),
            most: Duration::from_millis(100),
            seed: 5,
        };
        let mut world = BigWorld::new(5, routers, profile, 2);
        world.forbid_discovery();
        let pool = Pool::new(([10, 32, 0, 0].into(), prefix), None).unwrap();
        world.divide(Settings {
            pool,
            ..Settings::default()
        });
        let mut random = Random::new(5);
        for host in 0..routers {
            let targets: Vec<_> = (0..8.min(host))
                .map(|_| HostId(random.below(host as u64) as usize))
                .collect();
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
        let found = self.live.iter().find(|(_, (other, _))| *other == host);
        if let Some((address, (_, holder))) = found.map(|(address, entry)| (*address, entry.clone())) {
            self.live.remove(&address);
            self.world.input(host, Input::Release { vni: VNI, holder });
        }
    }

    /// Lets time pass and looks what was given out.
    fn run(&mut self, time: Duration) {
        self.world.run(time);
        for host in 0..self.world.len() {
            for (number, result) in self.world.take_allocated(HostId(host)) {
                let (host, holder) = self.asked.remove(&number).unwrap();
                match result {
                    Ok(addresses) => {
                        self.given += 1;
                        let (address, _) = addresses[0];
                        let before = self.live.insert(address, (host, holder));
                        assert_eq!(before, None, "{address} is live twice");
                    }
                    Err(refusal) => {
                        let text = format!("{refusal:?}");
                        *self.refused.entry(text).or_default() += 1;
                    }
                }
            }
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
}

fn live_once(routers: usize, rounds: usize, each: usize) -> Town {
    let mut town = Town::new(routers, 12);
    town.run(Duration::from_millis(10) * routers as u32 + SECOND * 10);
    for round in 0..rounds {
        match round % 4 {
            1 => {
                let bit = town.random.below(8);
                town.world.cut(|host| (host.0 >> bit) & 1 == 0, None);
            }
            3 => town.world.heal(),
            _ => {}
        }
        let crashed: Vec<_> = (0..routers / 20).map(|_| town.some_host()).collect();
        crashed.iter().for_each(|host| town.world.crash(*host));
        for _ in 0..each {
            let host = town.some_host();
            town.allocate(host);
            if town.random.below(4) == 0 {
                town.release(host);
            }
        }
        town.run(SECOND * 5);
        for host in crashed {
            let target = town.some_host();
            if town.world.mesh(host).is_none() {
                // What it was asked in vain is not to be waited for.
                town.asked.retain(|_, (asked, _)| *asked != host);
                town.world.launch(host, Duration::ZERO, &[target]);
            }
        }
        town.run(SECOND * 5);
    }
    town.world.heal();
    town.run(SECOND * 30);
    town.assert_whole(1 << 20);
    town
}

#[test]
fn many_routers_never_give_out_an_address_twice() {
    let town = live_once(40, 8, 300);
    assert!(town.given > 1500, "{}: {:?}", town.given, town.refused);
}

#[test]
#[ignore = "a thousand routers and a hundred thousand addresses take minutes: `just addresses`"]
fn a_thousand_routers_never_give_out_an_address_twice() {
    let routers = std::env::var("WEFT_ROUTERS").map_or(1000, |text| text.parse().unwrap());
    let started = std::time::Instant::now();
    let town = live_once(routers, 4, 265 * routers / 10);
    let (given, refused) = (town.given, town.refused);
    let took = started.elapsed();
    eprintln!("{routers} routers, {given} addresses given out in {took:?}, refused {refused:?}");
    assert!(given > 95 * routers, "{given}: {refused:?}");
}
