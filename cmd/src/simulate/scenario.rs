//! Scenarios, from a file or from those that come with the program.

use super::Simulate;
use crate::cli::Cli;
use crate::verbs::print;
use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use simulations::scenario::{self, Outcome, Report, Scenario, Settings, Watch};
use simulations::{Page, PageEvent, PageFailure};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

/// Lists the built-in scenarios.
pub(super) fn list(cli: &Cli) -> Result<()> {
    let mut all = Vec::new();
    for (name, text) in scenario::builtins() {
        let scenario = Scenario::parse(text).with_context(|| format!("scenario {name}"))?;
        all.push(scenario);
    }
    if cli.json {
        let rows = all.iter().map(|scenario| {
            json!({ "name": scenario.name, "about": scenario.about, "peers": scenario.peers.default })
        });
        return print(&format!("{}\n", serde_json::Value::from_iter(rows)));
    }
    let width = all.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for scenario in &all {
        let room = 80_usize.saturating_sub(width + 7);
        text += &format!(
            "{:width$} {:>4}  {}\n",
            scenario.name,
            scenario.peers.default,
            cut(&scenario.about, room)
        );
    }
    print(&text)
}

/// Runs a scenario.
pub(super) fn run(cli: &Cli, options: &Simulate, wanted: &str) -> Result<()> {
    let scenario = find(wanted)?;
    let peers = options
        .peers
        .map_or(scenario.peers.default, |peers| peers as usize);
    let last = options
        .seed
        .saturating_add(u64::from(options.seeds.unwrap_or(1)) - 1);
    let mut reports = Vec::new();
    for seed in options.seed..=last {
        let mut viewer = Viewer::new(cli, options, &scenario, seed)?;
        let settings = Settings { peers, seed };
        let outcome =
            scenario::run(&scenario, settings, &mut viewer).with_context(|| format!("scenario {wanted}"))?;
        viewer.finish()?;
        if let Some(path) = &options.html {
            std::fs::write(path, page(&scenario, &outcome).render())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut report = outcome.report;
        if wanted != scenario.name {
            // A file is run again by its path.
            for failure in &mut report.failures {
                let own = format!("simulate {} ", scenario.name);
                failure.replay = failure.replay.replace(&own, &format!("simulate {wanted} "));
            }
        }
        if !cli.json {
            show(&report, options.seeds.is_some())?;
        }
        reports.push(report);
    }
    let ok = reports.iter().all(|report| report.ok);
    if cli.json {
        let value = match options.seeds {
            Some(_) => json!({ "ok": ok, "runs": reports }),
            None => serde_json::to_value(reports.first())?,
        };
        print(&format!("{value}\n"))?;
    }
    if ok {
        return Ok(());
    }
    let failed: Vec<_> = reports
        .iter()
        .filter(|report| !report.ok)
        .map(|report| report.seed.to_string())
        .collect();
    bail!(
        "scenario {} failed with seed {}",
        scenario.name,
        failed.join(", ")
    )
}

fn find(wanted: &str) -> Result<Scenario> {
    if let Some(found) = scenario::builtin(wanted) {
        return Ok(found?);
    }
    let path = Path::new(wanted);
    if !path.exists() {
        bail!(
            "there is no file and no scenario {wanted:?}: `weft simulate --list` names those that come with weft"
        );
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {wanted}"))?;
    Scenario::parse(&text).map_err(|error| anyhow!("{wanted}: {error}"))
}

/// The whole table for one run, a line for each of several.
fn show(report: &Report, is_one_of_several: bool) -> Result<()> {
    if is_one_of_several && report.ok {
        let figures = &report.figures;
        let slowest = report
            .events
            .iter()
            .filter_map(|event| event.converged_ms.max)
            .max();
        return print(&format!(
            "seed {:<6} as expected, {:.2} s of CPU time, slowest convergence {} ms\n",
            report.seed,
            figures.cost.cpu.as_secs_f64(),
            slowest.unwrap_or(0),
        ));
    }
    print(&report.table())
}

/// Shows how far the run is, and writes its trace.
struct Viewer {
    bar: ProgressBar,
    trace: Option<BufWriter<File>>,
    error: Option<std::io::Error>,
}

impl Viewer {
    fn new(cli: &Cli, options: &Simulate, scenario: &Scenario, seed: u64) -> Result<Self> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{}, seed {seed}", scenario.name));
        if cli.json && !console_is_there() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let trace = options.trace.as_ref().map(|path| {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()));
            file.map(BufWriter::new)
        });
        Ok(Self {
            bar,
            trace: trace.transpose()?,
            error: None,
        })
    }

    fn finish(mut self) -> Result<()> {
        self.bar.finish_and_clear();
        let flushed = self.trace.as_mut().map_or(Ok(()), std::io::Write::flush);
        self.error.map_or(flushed, Err).context("cannot write the trace")
    }
}

fn console_is_there() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

impl Watch for Viewer {
    fn progress(&mut self, done: Duration, all: Duration) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.bar.set_length(ms(all));
        self.bar.set_position(ms(done));
        self.bar
            .set_message(format!("{:.0} of {:.0} s", done.as_secs_f64(), all.as_secs_f64()));
    }

    fn happened(&mut self, at: mesh::Instant, router: Option<usize>, what: &str) {
        let Some(trace) = &mut self.trace else { return };
        let line = json!({ "at_us": at.0, "router": router, "what": what });
        if let Err(error) = writeln!(trace, "{line}") {
            self.error.get_or_insert(error);
        }
    }

    fn listens(&self) -> bool {
        self.trace.is_some()
    }
}

fn page(scenario: &Scenario, outcome: &Outcome) -> Page {
    let report = &outcome.report;
    let ms = |time: Option<u64>| time.map(|ms| ms as f64);
    let events = report.events.iter().map(|event| {
        let of = event.converged_ms;
        let converged_ms = match (ms(of.median), ms(of.p99), ms(of.max)) {
            (Some(median), Some(p99), Some(max)) => Some([median, p99, max]),
            _ => None,
        };
        PageEvent {
            at_ms: event.at_ms,
            what: event.what.clone(),
            converged_ms,
            bytes_per_router: Some(event.bytes_per_router as f64),
        }
    });
    let failures = report.failures.iter().map(|failure| PageFailure {
        at_ms: failure.at_ms,
        expected: failure.expected.clone(),
        seen: failure.seen.clone(),
        replay: failure.replay.clone(),
    });
    let figures = &report.figures;
    let mut shown = vec![
        (
            "control bytes per router".to_owned(),
            figures.bytes_per_router.to_string(),
        ),
        (
            "virtual time".to_owned(),
            format!("{:.0} s", figures.virtual_time.as_secs_f64()),
        ),
        (
            "CPU time".to_owned(),
            format!("{:.2} s", figures.cost.cpu.as_secs_f64()),
        ),
    ];
    if let Some((mean, most)) = figures.stretch {
        shown.push((
            "path stretch, mean and greatest".to_owned(),
            format!("{mean:.2}, {most:.2}"),
        ));
    }
    if figures.frames_sent > 0 {
        let lost = format!("{} of {}", figures.frames_lost, figures.frames_sent);
        shown.push(("frames lost".to_owned(), lost));
    }
    Page {
        name: report.name.clone(),
        about: scenario.about.clone(),
        seed: report.seed,
        trace_hash: report.trace_hash.clone(),
        routers: (0..outcome.film.states().len())
            .map(|router| format!("router {router}"))
            .collect(),
        film: outcome.film.clone(),
        events: events.collect(),
        failures: failures.collect(),
        figures: shown,
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
