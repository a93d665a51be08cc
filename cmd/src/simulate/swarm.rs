//! `weft simulate swarm`: random faults, seed after seed, and what is left of a seed that failed.

use super::Simulate;
use crate::cli::Cli;
use crate::verbs::print;
use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use simulations::scenario::{Report, Scenario, Settings, run};
use simulations::swarm::{draw, shrink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Runs that shrinking a failing seed may take.
const SHRINKING: usize = 150;
/// Failing seeds after which the rest is not run.
const ENOUGH: usize = 5;

/// Runs the seeds asked for, several at a time.
pub(super) fn swarm(cli: &Cli, options: &Simulate) -> Result<()> {
    let count = u64::from(options.seeds.unwrap_or(1));
    let bar = ProgressBar::new(count).with_style(ProgressStyle::with_template(
        "swarm {wide_bar} {pos} of {len} seeds",
    )?);
    let reports = play(options.seed, count, options.jobs, &bar)?;
    bar.finish_and_clear();
    let failed: Vec<_> = reports.iter().filter(|report| !report.ok).collect();
    if cli.json {
        let value = match options.seeds {
            Some(_) => json!({ "ok": failed.is_empty(), "runs": reports }),
            None => serde_json::to_value(reports.first())?,
        };
        print(&format!("{value}\n"))?;
    } else {
        let virtual_s: f64 = reports
            .iter()
            .map(|report| report.figures.virtual_time.as_secs_f64())
            .sum();
        print(&format!(
            "swarm: {} seeds from {} on, {} failed, {:.0} s of virtual time\n",
            reports.len(),
            options.seed,
            failed.len(),
            virtual_s
        ))?;
        for report in &failed {
            print(&report.table())?;
        }
    }
    let Some(first) = failed.first() else {
        return Ok(());
    };
    if options.shrink {
        let text = shrunk(first.seed)?;
        let name = format!("swarm-{}.toml", first.seed);
        eprintln!(
            "what is left of seed {} (save it as {name}, then: weft simulate {name} --seed {}):\n",
            first.seed, first.seed
        );
        eprintln!("{text}");
    }
    let seeds: Vec<_> = failed.iter().map(|report| report.seed.to_string()).collect();
    bail!("the swarm failed with seed {}", seeds.join(", "))
}

/// All reports, in the order of their seeds.
fn play(first: u64, count: u64, jobs: u16, bar: &ProgressBar) -> Result<Vec<Report>> {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let reports = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let seed = first.saturating_add(at);
            let scenario = draw(seed).with_context(|| format!("seed {seed}"))?;
            let report = report_of(&scenario, seed)?;
            bar.inc(1);
            let mut reports = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            reports.push(report);
            let failed = reports.iter().filter(|report: &&Report| !report.ok).count();
            stop.fetch_or(failed >= ENOUGH, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread of the swarm panicked"),
        })
    })?;
    let mut reports = reports
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    reports.sort_by_key(|report| report.seed);
    Ok(reports)
}

/// Runs one; a panic of the core is a failure like others.
fn report_of(scenario: &Scenario, seed: u64) -> Result<Report> {
    let settings = Settings {
        peers: scenario.peers.default,
        seed,
    };
    match catch_unwind(AssertUnwindSafe(|| run(scenario, settings, &mut ()))) {
        Ok(outcome) => {
            let mut report = outcome?.report;
            for failure in &mut report.failures {
                failure.replay = format!("weft simulate swarm --seed {seed}");
            }
            Ok(report)
        }
        Err(_) => bail!("seed {seed}: the core panicked; weft simulate swarm --seed {seed} does it again"),
    }
}

fn shrunk(seed: u64) -> Result<String> {
    let scenario = draw(seed)?;
    let bar = ProgressBar::new_spinner().with_message(format!("shrinking seed {seed}"));
    let least = shrink(&scenario, SHRINKING, &mut |candidate| {
        bar.tick();
        report_of(candidate, seed).map_or(true, |report| !report.ok)
    });
    bar.finish_and_clear();
    Ok(least.to_toml()?)
}
