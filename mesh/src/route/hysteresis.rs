//! When a better path is better enough.
//!
//! Delays are measured, so the cheapest of several similar paths changes all the time; sessions, path MTUs and
//! the order of packets suffer from every change. A path in use is kept until another is better by a clear margin,
//! and direct paths are preferred to relayed ones, which cost other routers their bandwidth:
//!
//! | in use | leaves for | when that is better by more than |
//! |---|---|---|
//! | nothing, or broken | direct path | always, unless the best relayed path is better by >12 % and >5 ms |
//! | direct path | relayed path | 12 % and 5 ms |
//! | relayed path | direct path | always, unless the best relayed path is better by >6 % and >2.5 ms |
//! | relayed path | another relayed path | 10 % and 1 ms |

//! Relayed paths that are kept though another one is a little better are the exception: they are few, and after
//! [`KEPT_FOR`](super::KEPT_FOR) the better one is taken anyway.

/// By how much a path has to be better than another: both in percent of that one's cost and in microseconds.
struct Margin {
    percent: u64,
    us: u64,
}

/// What makes a direct path be left.
const LEAVE_DIRECT: Margin = Margin {
    percent: 12,
    us: 5000,
};
/// What makes a relayed path be kept beside a direct one: half of the above, so that the two can't alternate.
const STAY_RELAYED: Margin = Margin { percent: 6, us: 2500 };
/// What makes a relayed path be left for another.
const LEAVE_RELAYED: Margin = Margin {
    percent: 10,
    us: 1000,
};

impl Margin {
    fn exceeded(&self, new_us: u64, old_us: u64) -> bool {
        let percent_left = 100 - self.percent;
        new_us.saturating_mul(100) < old_us.saturating_mul(percent_left)
            && old_us.saturating_sub(new_us) > self.us
    }
}

/// Which path to use from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The one without a relay.
    Direct,
    /// The relayed one in use.
    Current,
    /// The cheapest.
    Best,
}

/// The path to use from now on, by what each costs.
///
/// `current` is the relayed one in use, `None` if there is none or it is broken; `best` the cheapest of all;
/// `direct` the one without a relay, if it exists.
pub(super) fn choose(current: Option<u64>, best: u64, direct: Option<u64>) -> Choice {
    let margin = if current.is_some() {
        STAY_RELAYED
    } else {
        LEAVE_DIRECT
    };
    match (direct, current) {
        (Some(direct), _) if !margin.exceeded(best, direct) => Choice::Direct,
        (_, Some(current)) if !LEAVE_RELAYED.exceeded(best, current) => Choice::Current,
        _ => Choice::Best,
    }
}

/// True if a relayed path is to be kept, were there no direct one.
pub(super) fn is_kept(current: u64, best: u64) -> bool {
    choose(Some(current), best, None) == Choice::Current
}

#[cfg(test)]
mod tests {
    use super::Choice::{Best, Current, Direct};
    use super::*;

    #[test]
    fn a_direct_path_is_left_only_for_a_clearly_better_one() {
        // Much better in percent, little in time; the other way round; both.
        assert_eq!(choose(None, 1100, Some(6000)), Direct);
        assert_eq!(choose(None, 45_000, Some(51_000)), Direct);
        assert_eq!(choose(None, 39_000, Some(44_000)), Direct);
        assert_eq!(choose(None, 39_000, Some(44_500)), Best);
    }

    #[test]
    fn a_first_choice_prefers_the_direct_path() {
        assert_eq!(choose(None, 1200, Some(5000)), Direct);
        assert_eq!(choose(None, 1200, Some(9000)), Best);
        assert_eq!(choose(None, 1200, None), Best);
    }

    #[test]
    fn a_relayed_path_returns_to_the_direct_one_when_it_gains_little() {
        assert_eq!(choose(Some(1120), 150, Some(150)), Direct);
        assert_eq!(choose(Some(1120), 1120, Some(3600)), Direct);
        assert_eq!(choose(Some(1120), 1120, Some(3700)), Current);
    }

    #[test]
    fn a_relayed_path_is_left_for_another_only_beyond_the_noise() {
        assert_eq!(choose(Some(5000), 4000, None), Current);
        assert_eq!(choose(Some(20_000), 18_500, None), Current);
        assert_eq!(choose(Some(20_000), 17_999, None), Best);
    }

    #[test]
    fn no_pair_of_costs_alternates() {
        for relayed in (500..60_000).step_by(500) {
            for direct in (500..60_000).step_by(500) {
                let best = relayed.min(direct);
                let first = choose(None, best, Some(direct));
                let current = (first != Direct).then_some(relayed);
                let again = choose(current, best, Some(direct));
                assert_eq!(
                    first == Direct,
                    again == Direct,
                    "relayed {relayed}, direct {direct}"
                );
            }
        }
    }
}
