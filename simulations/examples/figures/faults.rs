//! How much faster than real time fifty whole routers with faults are simulated, on one core.
//!
//! What a second costs depends on how much happens in it: once with faults as often as the swarm has them, once with as
//! many as a bad day has.

use crate::Bench;
use simulations::scenario::{ScenarioError, Settings, run};
use simulations::swarm::draw_faults;
use std::time::{Duration, Instant};

const ROUTERS: usize = 50;
const LENGTH: Duration = Duration::from_secs(600);
/// The median of so many seeds counts.
const SEEDS: usize = 5;
/// The shortest and longest time between two draws, some of which give no fault.
const PACES: [[Duration; 2]; 2] = [
    [Duration::from_millis(200), Duration::from_secs(8)],
    [Duration::from_secs(10), Duration::from_secs(50)],
];

impl Bench {
    pub(crate) fn faults(&mut self) {
        for pause in PACES {
            let length = LENGTH.as_secs();
            let runs: Result<Vec<(f64, usize)>, _> = (self.asked.seed..)
                .map(|seed| speed(seed, pause))
                .take(SEEDS)
                .collect();
            let (pace, figure, is_met) = match runs {
                Ok(mut runs) => {
                    runs.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                    let [least, median, most] = [0, SEEDS / 2, SEEDS - 1].map(|at| runs[at].0);
                    let faults: usize = runs.iter().map(|(_, faults)| faults).sum();
                    let pace = format!("a fault every {} s", length * SEEDS as u64 / faults.max(1) as u64);
                    let figure = format!("{median:.0} × real time ({least:.0}–{most:.0})");
                    (pace, figure, median >= 300.0)
                }
                Err(error) => ("faults".to_owned(), error.to_string(), false),
            };
            let what = format!("{ROUTERS} routers, {length} virtual seconds, {pace}");
            self.row(&what, figure, "≥ 300 ×", is_met);
        }
    }
}

/// Virtual seconds in a real one, and how many faults there were.
fn speed(seed: u64, pause: [Duration; 2]) -> Result<(f64, usize), ScenarioError> {
    let scenario = draw_faults(seed, ROUTERS, LENGTH, pause)?;
    let at = || scenario.event.iter().map(|event| event.get_ref().at);
    // What ends the faults comes last, all of it at once.
    let end = at().max();
    let faults = at().filter(|at| Some(*at) < end).count();
    let started = Instant::now();
    let outcome = run(&scenario, Settings { peers: ROUTERS, seed }, &mut ())?;
    let took = started.elapsed();
    assert!(outcome.report.ok, "{}", outcome.report.table());
    Ok((scenario.end().0.as_secs_f64() / took.as_secs_f64(), faults))
}
