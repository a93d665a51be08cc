//! Who is settled: knows the newest record of every router that it could know of.
//!
//! Judged by the world, which sees all routers at once: those that are joined by links, however many, are one part,
//! and a router is settled when what it knows is what all of its part say of themselves.

use crate::{Film, RouterState, World};
use mesh::{Knowledge, PeerId};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// How each host's router is doing, in the order of the hosts.
    #[must_use]
    pub fn states(&self) -> Vec<RouterState> {
        self.parts_and_states(&self.linked())
    }

    /// Keeps what can be seen now.
    pub fn look(&self, film: &mut Film) {
        let links = self.linked();
        film.look(self.now().0 / 1000, &self.parts_and_states(&links), links);
    }

    /// Pairs of hosts whose routers have a link that both of them count.
    fn linked(&self) -> BTreeSet<(u32, u32)> {
        let numbers: BTreeMap<PeerId, u32> = self
            .running()
            .map(|host| (self.id(host), host.0 as u32))
            .collect();
        let mut half = BTreeSet::new();
        for host in self.running() {
            let Some(router) = self.router(host) else { continue };
            let links = router.mesh.links().into_iter();
            let there = links.filter(|link| link.state == mesh::LinkStatus::Established);
            half.extend(there.filter_map(|link| Some((host.0 as u32, *numbers.get(&link.peer)?))));
        }
        half.iter()
            .filter(|(a, b)| a < b && half.contains(&(*b, *a)))
            .copied()
            .collect()
    }

    fn parts_and_states(&self, links: &BTreeSet<(u32, u32)>) -> Vec<RouterState> {
        let knowledge: Vec<Option<Knowledge>> = self
            .hosts()
            .map(|host| self.router(host).map(|router| router.mesh.knowledge()))
            .collect();
        let part = parts(knowledge.len(), links);
        let mut said = vec![0_u64; knowledge.len()];
        for (number, knows) in knowledge.iter().enumerate() {
            let sum = &mut said[part[number]];
            *sum = sum.wrapping_add(knows.map_or(0, |knows| knows.own));
        }
        let state = |(number, knows): (usize, &Option<Knowledge>)| match knows {
            None => RouterState::Down,
            Some(knows) if knows.all == said[part[number]] => RouterState::Settled,
            Some(_) => RouterState::Unsettled,
        };
        knowledge.iter().enumerate().map(state).collect()
    }
}

/// For each of `count` things the lowest one that it is joined with.
fn parts(count: usize, links: &BTreeSet<(u32, u32)>) -> Vec<usize> {
    fn head(parent: &mut [usize], mut at: usize) -> usize {
        while parent[at] != at {
            parent[at] = parent[parent[at]];
            at = parent[at];
        }
        at
    }
    let mut parent: Vec<_> = (0..count).collect();
    for &(a, b) in links {
        let (a, b) = (head(&mut parent, a as usize), head(&mut parent, b as usize));
        parent[a.max(b)] = a.min(b);
    }
    (0..count).map(|at| head(&mut parent, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;
    use RouterState::{Down, Settled, Unsettled};
    use std::time::Duration;

    #[test]
    fn parts_are_found() {
        let links = BTreeSet::from([(0, 3), (1, 2), (2, 3), (5, 6)]);
        assert_eq!(parts(7, &links), [0, 0, 0, 0, 4, 5, 5]);
    }

    #[test]
    fn a_partition_unsettles_and_settles() -> Result<(), Failure> {
        let mut world = World::new(3);
        let hosts = world.add_hosts(6);
        let mut film = Film::default();
        for &host in &hosts {
            world.launch(host, if host == hosts[0] { &[] } else { &hosts[..1] });
            world.attach(host);
        }
        let run = |world: &mut World, film: &mut Film, ms: u64| {
            for _ in 0..ms / 20 {
                world.run(Duration::from_millis(20));
                world.look(film);
            }
        };
        run(&mut world, &mut film, 10_000);
        assert_eq!(world.states(), [Settled; 6]);
        for (a, b) in hosts[..3]
            .iter()
            .flat_map(|a| hosts[3..].iter().map(move |b| (*a, *b)))
        {
            world.network.cut(a, b);
        }
        run(&mut world, &mut film, 10_000);
        assert_eq!(world.states(), [Settled; 6], "each half knows its own");
        world.crash(hosts[5]);
        run(&mut world, &mut film, 10_000);
        assert_eq!(
            world.states(),
            [Settled, Settled, Settled, Settled, Settled, Down]
        );
        for (a, b) in hosts[..3]
            .iter()
            .flat_map(|a| hosts[3..].iter().map(move |b| (*a, *b)))
        {
            world.network.heal(a, b);
        }
        run(&mut world, &mut film, 30_000);
        assert_eq!(
            world.states(),
            [Settled, Settled, Settled, Settled, Settled, Down]
        );
        // The film saw them apart, and on their way.
        let life = &film.states()[0];
        let unsettled = life.iter().filter(|(_, state)| *state == Unsettled).count();
        assert!((2..40).contains(&unsettled), "{life:?}");
        let across: Vec<_> = film
            .links()
            .filter(|link| link.a < 3 && link.b >= 3 && link.b < 5)
            .collect();
        assert_eq!(across.len(), 6);
        assert!(
            across
                .iter()
                .all(|link| link.turns.len() >= 3 && link.turns.len() % 2 == 1),
            "{across:?}"
        );
        Ok(())
    }
}
