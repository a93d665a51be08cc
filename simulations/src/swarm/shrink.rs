//! Takes away from a failing scenario whatever it fails without.

use crate::scenario::{Action, Heal, Peers, Scenario, Select, Term, Which};

/// A smaller scenario that still `fails`, after at most `runs` runs: first without events (delta debugging, Zeller
/// and Hildebrandt 2002), then without streams of traffic, then with fewer routers.
///
/// Whatever failure counts: a smaller case often fails at another point of the same fault.
pub fn shrink(scenario: &Scenario, runs: usize, fails: &mut dyn FnMut(&Scenario) -> bool) -> Scenario {
    let mut shrinking = Shrinking {
        best: scenario.clone(),
        runs,
        fails,
    };
    shrinking.drop_events();
    shrinking.drop_traffic();
    shrinking.drop_routers();
    shrinking.drop_events();
    shrinking.best
}

struct Shrinking<'a> {
    best: Scenario,
    runs: usize,
    fails: &'a mut dyn FnMut(&Scenario) -> bool,
}

impl Shrinking<'_> {
    /// Keeps a candidate if it can be run and fails.
    fn keep(&mut self, candidate: Scenario) -> bool {
        let is_read = candidate
            .to_toml()
            .ok()
            .and_then(|text| Scenario::parse(&text).ok());
        let Some(runs) = self.runs.checked_sub(1).filter(|_| is_read.is_some()) else {
            return false;
        };
        self.runs = runs;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// All but what ends the faults: without that, a scenario fails for another reason than the one looked for.
    fn drop_events(&mut self) {
        let end = self.best.event.iter().map(|event| event.get_ref().at).max();
        let mut size = self.best.event.len().div_ceil(2);
        while size > 0 && self.runs > 0 {
            let mut at = 0;
            while at < self.best.event.len() {
                let mut candidate = self.best.clone();
                let mut numbers = 0..;
                candidate.event.retain(|event| {
                    let event = event.get_ref();
                    let is_meant = numbers
                        .next()
                        .is_some_and(|number| (at..at + size).contains(&number));
                    !is_meant || (Some(event.at) == end && is_peace(&event.action))
                });
                let is_smaller = candidate.event.len() < self.best.event.len();
                if !is_smaller || !self.keep(candidate) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    fn drop_traffic(&mut self) {
        let mut at = 0;
        while at < self.best.traffic.len() {
            let mut candidate = self.best.clone();
            candidate.traffic.remove(at);
            if !self.keep(candidate) {
                at += 1;
            }
        }
    }

    /// Fewer routers: those with the highest numbers go, and what is done to them.
    fn drop_routers(&mut self) {
        let mut least = 2;
        while least < self.best.peers.default && self.runs > 0 {
            let half = least.midpoint(self.best.peers.default);
            let candidate = with_peers(&self.best, half);
            if !self.keep(candidate) {
                least = half + 1;
            }
        }
    }
}

/// Mends all wires at once.
fn is_peace(action: &Action) -> bool {
    match action {
        Action::Heal(heal) => matches!(heal, Heal::All(true)),
        Action::Wire(change) => change.between == [Select::all(), Select::all()],
        _ => false,
    }
}

/// The scenario among fewer routers.
fn with_peers(scenario: &Scenario, peers: usize) -> Scenario {
    let mut fewer = scenario.clone();
    fewer.peers = Peers {
        default: peers,
        min: peers,
        max: peers,
    };
    fewer.event.retain_mut(|event| {
        let mut all_there = true;
        event.get_mut().action.selects(&mut |select| {
            retain(select, peers);
            all_there &= !select.0.is_empty();
        });
        all_there
    });
    fewer.traffic.retain_mut(|traffic| {
        let traffic = traffic.get_mut();
        let selects = [&mut traffic.from].into_iter().chain(&mut traffic.to);
        let mut all_there = true;
        for select in selects {
            retain(select, peers);
            all_there &= !select.0.is_empty();
        }
        all_there
    });
    fewer
}

/// Takes numbers out of a selection that are too high.
fn retain(select: &mut Select, peers: usize) {
    select.0.retain(|Term { which, .. }| match which {
        Which::One(number) => *number < peers,
        Which::Range(_, last) => *last <= peers,
        Which::Random(count) => *count <= peers,
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::draw;

    /// Fails as soon as router 3 is cut from one of the first while there are seven routers.
    fn fails(scenario: &Scenario) -> bool {
        let number = |select: &Select| select.to_string().parse().unwrap_or(usize::MAX);
        let is_culprit = |action: &Action| match action {
            Action::Cut(ends) => matches!(ends.each_ref().map(number), [3, 0..11] | [0..11, 3]),
            _ => false,
        };
        let events = scenario.event.iter();
        scenario.peers.default >= 7 && events.map(|event| &event.get_ref().action).any(is_culprit)
    }

    #[test]
    fn only_what_matters_is_left() {
        let failing = (0..).map(|seed| draw(seed).unwrap()).find(fails).unwrap();
        let mut runs = 0;
        let shrunk = shrink(&failing, 500, &mut |candidate| {
            runs += 1;
            fails(candidate)
        });
        assert!(fails(&shrunk) && runs <= 500);
        assert_eq!((shrunk.event.len(), shrunk.traffic.len()), (3, 0), "{shrunk:?}");
        let peace = shrunk
            .event
            .iter()
            .filter(|event| is_peace(&event.get_ref().action));
        assert_eq!(peace.count(), 2, "what ends the faults stays");
        assert!(shrunk.peers.default < 12, "{}", shrunk.peers.default);
        let text = shrunk.to_toml().unwrap();
        assert_eq!(Scenario::parse(&text).unwrap().peers, shrunk.peers);
    }

    #[test]
    fn the_budget_is_kept() {
        let mut runs = 0;
        let scenario = draw(1).unwrap();
        shrink(&scenario, 7, &mut |_| {
            runs += 1;
            true
        });
        assert_eq!(runs, 7);
    }
}
