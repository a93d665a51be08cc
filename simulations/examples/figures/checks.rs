//! What whole routers send at rest: control planes, and sleeve's checks of the paths beside their links.
//!
//! What a router sends for its paths depends on how many links it keeps, not on how many routers there are, so a hundred
//! stand for ten thousand; what it sends for its links is [`steady`](Bench::steady), of any size.

use crate::{Bench, SECOND};
use simulations::{Class, Profile, Traffic, World};
use std::time::Duration;

/// Routers, more than keep links with all others.
const ROUTERS: usize = 100;
/// Until links are as they stay.
const SETTLING: Duration = Duration::from_secs(300);
/// Paths that nobody uses are checked every few seconds, and once a minute with a large packet.
const MEASURED: u64 = 120;

impl Bench {
    pub(crate) fn checks(&mut self) {
        let mut world = World::new(self.asked.seed);
        world.fake_crypto();
        world.network.set_profile(Some(Profile::Plane {
            least: Duration::from_micros(500),
            most: Duration::from_millis(100),
            seed: self.asked.seed,
        }));
        let hosts = world.add_hosts(ROUTERS);
        for host in &hosts {
            world.set_options(*host, |options| options.max_links = self.asked.max_links);
            let known = hosts.first().filter(|first| *first != host);
            world.launch(*host, known.map_or(&[], std::slice::from_ref));
            world.run(SECOND);
        }
        world.run(SETTLING);
        let all = |world: &World| {
            let each = hosts.iter().map(|host| world.traffic(*host));
            each.fold(Traffic::default(), |sum, one| sum + one)
        };
        let before = all(&world);
        world.run(SECOND * MEASURED as u32);
        let traffic = all(&world) - before;
        let a_second = |bytes: u64| bytes as f64 / (ROUTERS as u64 * MEASURED) as f64;
        let sent = a_second(traffic.all_sent().bytes);
        let sleeve = a_second(traffic.sent(Class::Data).bytes);
        let links: usize = hosts
            .iter()
            .filter_map(|host| Some(world.router(*host)?.mesh.links().len()))
            .sum();
        let figure = format!(
            "{:.2} kB/s sent, {:.2} of it sleeve's; {:.1} links",
            sent / 1000.0,
            sleeve / 1000.0,
            links as f64 / ROUTERS as f64,
        );
        let what = format!("steady traffic of {ROUTERS} whole routers");
        self.row(&what, figure, "≤ 3 kB/s", sent <= 3000.0);
    }
}
