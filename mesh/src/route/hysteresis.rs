//! When a better path is better enough.
//!
//! Delays are measured, so the cheapest of several similar paths changes all the time; sessions, path MTUs and
//! the order of packets suffer from every change. A path in use is kept until another is better by a clear margin,
//! and direct paths are preferred to relayed ones, which cost other routers their bandwidth:
//!
//! | in use | leaves for | when that is better by more than |
//! |---|---|---|
//! | nothing, or broken | direct path | always, unless the best relayed path is better by >20 % and >5 ms |
//! | direct path | relayed path | 20 % and 5 ms |
//! | relayed path | direct path | always, unless the best relayed path is better by >10 % and >2.5 ms |
//! | relayed path | another relayed path | 10 % and 1 ms |

use super::Route;

/// By how much a path has to be better than another: both in percent of that one's cost and in microseconds.
struct Margin {
    percent: u64,
    us: u64,
}

/// What makes a direct path be left.
const LEAVE_DIRECT: Margin = Margin {
    percent: 20,
    us: 5000,
};
/// What makes a relayed path be kept beside a direct one: half of the above, so that the two can't alternate.
const STAY_RELAYED: Margin = Margin {
    percent: 10,
    us: 2500,
};
/// What makes a relayed path be left for another.
const LEAVE_RELAYED: Margin = Margin {
    percent: 10,
    us: 1000,
};

impl Margin {
    fn exceeded(&self, new: &Route, old: &Route) -> bool {
        let percent_left = 100 - self.percent;
        new.cost_us.saturating_mul(100) < old.cost_us.saturating_mul(percent_left)
            && old.cost_us.saturating_sub(new.cost_us) > self.us
    }
}

/// The route to use from now on.
///
/// `current` is the one in use with its present cost, `None` if there is none or it is broken; `best` the cheapest
/// of all; `direct` the one without a relay, if it exists.
pub(super) fn choose(current: Option<Route>, best: Route, direct: Option<Route>) -> Route {
    let current_relayed = current.filter(|current| current.path.len() > 1);
    let margin = if current_relayed.is_some() {
        STAY_RELAYED
    } else {
        LEAVE_DIRECT
    };
    // A broken direct path is not among the edges any more, so `direct` also stands for a current direct one.
    match (direct, current_relayed) {
        (Some(direct), _) if !margin.exceeded(&best, &direct) => direct,
        (_, Some(current)) if !LEAVE_RELAYED.exceeded(&best, &current) => current,
        _ => best,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkLabel, PeerId};

    fn route(hops: usize, cost_us: u64) -> Route {
        let path = (0..hops).map(|hop| PeerId([hop as u8; 32])).collect();
        Route {
            path,
            labels: vec![LinkLabel(1); hops - 1],
            cost_us,
            mtu: 1400,
        }
    }

    /// Hops and cost of what is chosen.
    fn chosen(current: Option<Route>, best: Route, direct: Option<Route>) -> (usize, u64) {
        let route = choose(current, best, direct);
        (route.path.len(), route.cost_us)
    }

    #[test]
    fn a_direct_path_is_left_only_for_a_clearly_better_one() {
        let direct = |cost| Some(route(1, cost));
        // Much better in percent, little in time; the other way round; both.
        assert_eq!(chosen(direct(6000), route(2, 1100), direct(6000)), (1, 6000));
        assert_eq!(
            chosen(direct(50_000), route(2, 41_000), direct(50_000)),
            (1, 50_000)
        );
        assert_eq!(
            chosen(direct(25_000), route(2, 20_000), direct(25_000)),
            (1, 25_000)
        );
        assert_eq!(
            chosen(direct(25_100), route(2, 20_000), direct(25_100)),
            (2, 20_000)
        );
    }

    #[test]
    fn a_first_choice_prefers_the_direct_path() {
        assert_eq!(chosen(None, route(2, 1200), Some(route(1, 5000))), (1, 5000));
        assert_eq!(chosen(None, route(2, 1200), Some(route(1, 9000))), (2, 1200));
        assert_eq!(chosen(None, route(3, 1200), None), (3, 1200));
    }

    #[test]
    fn a_relayed_path_returns_to_the_direct_one_when_it_gains_little() {
        let current = || Some(route(2, 1120));
        assert_eq!(chosen(current(), route(1, 150), Some(route(1, 150))), (1, 150));
        assert_eq!(chosen(current(), route(2, 1120), Some(route(1, 3600))), (1, 3600));
        assert_eq!(chosen(current(), route(2, 1120), Some(route(1, 3700))), (2, 1120));
    }

    #[test]
    fn a_relayed_path_is_left_for_another_only_beyond_the_noise() {
        let current = |cost| Some(route(2, cost));
        assert_eq!(chosen(current(5000), route(3, 4000), None), (2, 5000));
        assert_eq!(chosen(current(20_000), route(3, 18_500), None), (2, 20_000));
        assert_eq!(chosen(current(20_000), route(3, 17_999), None), (3, 17_999));
    }

    #[test]
    fn no_pair_of_costs_alternates() {
        for relayed in (500..60_000).step_by(500) {
            for direct in (500..60_000).step_by(500) {
                let best = || {
                    if relayed < direct {
                        route(2, relayed)
                    } else {
                        route(1, direct)
                    }
                };
                let first = choose(None, best(), Some(route(1, direct)));
                let again = choose(Some(first.clone()), best(), Some(route(1, direct)));
                assert_eq!(first, again, "relayed {relayed}, direct {direct}");
            }
        }
    }
}
