//! At rest: who is linked with whom, and who is forgotten.

use super::host;
use super::stage::Stage;
use mesh::{LinkStatus, PeerId};
use std::collections::BTreeSet;
use std::time::Duration;

/// Who is gone for so long is forgotten: ten minutes after it was last reached, and what noticing that takes.
const COLLECTED: Duration = Duration::from_secs(660);

impl Stage {
    pub(super) fn ghosts(&self) -> Vec<String> {
        let gone: Vec<_> = self
            .world
            .hosts()
            .filter(|host| self.world.router(*host).is_none())
            .collect();
        let lives: BTreeSet<PeerId> = self.world.running().map(|host| self.world.id(host)).collect();
        let pairs = self
            .truth
            .members()
            .iter()
            .flat_map(|a| gone.iter().map(move |b| (*a, *b)));
        let dead = pairs.filter(|(_, b)| !lives.contains(&self.world.id(*b)));
        let wrong = dead.filter_map(|(a, b)| {
            if self.world.reaches(a, b) {
                return Some(format!("router {} reaches {}", a.0, b.0));
            }
            let is_known = self.world.router(a)?.mesh.info(&self.world.id(b)).is_some();
            let is_long_dead = self.world.dead_for(b)? > COLLECTED;
            (is_known && is_long_dead).then(|| format!("router {} still knows {}", a.0, b.0))
        });
        wrong.collect()
    }

    /// Routers with fewer or more links than they shall have, given how many others they can link with.
    fn miscounted(&self) -> Vec<String> {
        let members = self.truth.members();
        let mut seen = Vec::new();
        for &host in members {
            let Some(router) = self.world.router(host) else {
                continue;
            };
            let (least, most) = router.mesh.link_bounds();
            let others = members.iter().filter(|other| **other != host);
            let others = others.filter(|other| self.can_link(host, **other)).count();
            let links = router.mesh.links();
            let count = links.iter().filter(|link| link.state == LinkStatus::Established);
            let (count, least) = (count.count(), least.min(others));
            if !(least..=most).contains(&count) {
                seen.push(format!(
                    "router {} has {count} links, not {least} to {most}",
                    host.0
                ));
            }
        }
        seen
    }

    pub(super) fn one_sided(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for &(a, b) in self.sight.links() {
            let (a, b) = (host(a as usize), host(b as usize));
            let claims = |a, b| self.world.links(a, b) > 0;
            if claims(a, b) != claims(b, a) {
                seen.push(format!("the link of {} and {} is known to one of them", a.0, b.0));
            }
        }
        seen
    }

    pub(super) fn badly_linked(&self) -> Vec<String> {
        let mut seen = self.miscounted();
        let links = self.sight.links();
        for group in self.truth.groups().iter().filter(|group| group.len() > 1) {
            let mut reached = BTreeSet::from([group[0]]);
            let mut front = vec![group[0]];
            while let Some(at) = front.pop() {
                for (a, b) in links {
                    let (a, b) = (host(*a as usize), host(*b as usize));
                    let other = if a == at {
                        b
                    } else if b == at {
                        a
                    } else {
                        continue;
                    };
                    if reached.insert(other) {
                        front.push(other);
                    }
                }
            }
            let cut_off = group.iter().filter(|host| !reached.contains(host));
            seen.extend(
                cut_off.map(|host| format!("no links lead from router {} to {}", group[0].0, host.0)),
            );
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostId;

    fn stage() -> Stage {
        let text = "name = \"x\"\nabout = \"x\"\npeers = 3\n";
        let scenario = crate::scenario::Scenario::parse(text).unwrap();
        let settings = crate::scenario::Settings { peers: 3, seed: 1 };
        let mut stage = Stage::new(&scenario, settings).unwrap();
        (0..3).for_each(|router| stage.launch(router));
        stage.refresh();
        stage
    }

    #[test]
    fn missing_links_are_noticed() {
        let mut stage = stage();
        assert_eq!(stage.miscounted().len(), 3);
        stage.world.run(Duration::from_secs(5));
        stage.refresh();
        assert_eq!(stage.badly_linked(), Vec::<String>::new());
    }

    #[test]
    fn the_dead_who_are_known_for_too_long_are_noticed() {
        let mut stage = stage();
        stage.world.run(Duration::from_secs(700));
        stage.world.crash(HostId(2));
        stage.refresh();
        stage.world.run(Duration::from_secs(10));
        assert_eq!(stage.ghosts(), Vec::<String>::new());
        stage.world.set_ended(HostId(2), mesh::Instant(0));
        assert_eq!(
            stage.ghosts(),
            ["router 0 still knows 2", "router 1 still knows 2"]
        );
    }
}
