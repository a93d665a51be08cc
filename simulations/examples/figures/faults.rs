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
/// How often faults come, in words, and the shortest and longest pause between two.
const PACES: [(&str, [Duration; 2]); 2] = [
    ("every 4 s", [Duration::from_millis(200), Duration::from_secs(8)]),
    ("every 30 s", [Duration::from_secs(10), Duration::from_secs(50)]),
];

impl Bench {
    pub(crate) fn faults(&mut self) {
        for (pace, pause) in PACES {
            let what = format!(
                "{ROUTERS} routers, {} virtual seconds, a fault {pace}",
                LENGTH.as_secs()
            );
            let speeds: Result<Vec<f64>, _> = (self.asked.seed..)
                .map(|seed| speed(seed, pause))
                .take(SEEDS)
                .collect();
            let (figure, is_met) = match speeds {
                Ok(mut speeds) => {
                    speeds.sort_by(f64::total_cmp);
                    let [least, median, most] = [0, SEEDS / 2, SEEDS - 1].map(|at| speeds[at]);
                    let figure = format!("{median:.0} × real time ({least:.0}–{most:.0})");
                    (figure, median >= 300.0)
                }
                Err(error) => (error.to_string(), false),
            };
            self.row(&what, figure, "≥ 300 ×", is_met);
        }
    }
}

/// Virtual seconds in a real one.
fn speed(seed: u64, pause: [Duration; 2]) -> Result<f64, ScenarioError> {
    let scenario = draw_faults(seed, ROUTERS, LENGTH, pause)?;
    let started = Instant::now();
    let outcome = run(&scenario, Settings { peers: ROUTERS, seed }, &mut ())?;
    let took = started.elapsed();
    assert!(outcome.report.ok, "{}", outcome.report.table());
    Ok(scenario.end().0.as_secs_f64() / took.as_secs_f64())
}
