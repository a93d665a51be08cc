//! How much faster than real time fifty whole routers with faults are simulated, on one core.
//!
//! What a second costs depends on how much happens in it: once with faults as often as the swarm has them, once with as
//! many as a bad day has.

use crate::Bench;
use simulations::scenario::{Settings, run};
use simulations::swarm::draw_faults;
use std::time::{Duration, Instant};

const ROUTERS: usize = 50;
const LENGTH: Duration = Duration::from_secs(600);
/// The median of so many seeds counts.
const SEEDS: u64 = 5;
/// How often faults come, in words, and the shortest and longest pause between two.
const PACES: [(&str, [Duration; 2]); 2] = [
    ("every 4 s", [Duration::from_millis(200), Duration::from_secs(8)]),
    ("every 30 s", [Duration::from_secs(10), Duration::from_secs(50)]),
];

impl Bench {
    pub(crate) fn faults(&mut self) {
        for (pace, pause) in PACES {
            let mut times: Vec<f64> = (self.asked.seed..)
                .map(|seed| speed(seed, pause))
                .take(SEEDS as usize)
                .collect();
            times.sort_by(f64::total_cmp);
            let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
            let what = format!(
                "{ROUTERS} routers, {} virtual seconds, a fault {pace}",
                LENGTH.as_secs()
            );
            let figure = format!("{median:.0} × real time ({least:.0}–{most:.0})");
            self.row(&what, figure, "≥ 300 ×", median >= 300.0);
        }
    }
}

/// Virtual seconds in a real one.
fn speed(seed: u64, pause: [Duration; 2]) -> f64 {
    let scenario = draw_faults(seed, ROUTERS, LENGTH, pause).expect("every seed gives a scenario");
    let settings = Settings { peers: ROUTERS, seed };
    let started = Instant::now();
    let outcome = run(&scenario, settings, &mut ()).expect("there are so many routers in it");
    let took = started.elapsed();
    assert!(outcome.report.ok, "{}", outcome.report.table());
    scenario.end().0.as_secs_f64() / took.as_secs_f64()
}
