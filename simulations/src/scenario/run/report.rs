//! What comes of a run: for programs as JSON, for people as a table.

use crate::Cost;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether everything was as expected.
    pub ok: bool,
    /// The scenario's name.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// The digest of everything that happened: the same for the same seed and program.
    pub trace_hash: String,
    /// How many routers.
    pub peers: usize,
    /// What was done, and what followed.
    pub events: Vec<EventReport>,
    /// What was not as expected.
    pub failures: Vec<FailureReport>,
    /// Figures of the whole run; for people, as they depend on the machine, too.
    #[serde(skip)]
    pub figures: Figures,
}

/// What was done at a time, and what followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// When, in milliseconds of virtual time.
    pub at_ms: u64,
    /// What.
    pub what: String,
    /// Until routers knew the mesh as it then was.
    pub converged_ms: Converged,
    /// Control traffic from then to the next event, in bytes sent per router.
    pub bytes_per_router: u64,
}

/// How long routers took, in milliseconds. `None`: some were not done when the next event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Converged {
    /// Half of them.
    pub median: Option<u64>,
    /// 99 of 100.
    pub p99: Option<u64>,
    /// All.
    pub max: Option<u64>,
}

/// An expectation that did not come true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// When, in milliseconds of virtual time.
    pub at_ms: u64,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub seen: String,
    /// The command that runs just this again.
    pub replay: String,
}

/// Figures of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Frames that containers sent to others that could be reached.
    pub frames_sent: u64,
    /// Those that did not come.
    pub frames_lost: u64,
    /// Those that came more than once.
    pub frames_twice: u64,
    /// Those that were lost or came twice and had been sent while routers converged.
    pub frames_unwell_converging: u64,
    /// Control messages and packets sent, per router.
    pub messages_per_router: u64,
    /// Control bytes sent, per router.
    pub bytes_per_router: u64,
    /// Cost of routes over that of the best paths: the mean and the largest, over all pairs.
    pub stretch: Option<(f64, f64)>,
    /// How long the run was.
    pub virtual_time: Duration,
    /// What it cost this machine.
    pub cost: Cost,
}

impl Converged {
    /// Of these times; `None` for routers that were not done.
    pub(super) fn of(mut times: Vec<Option<u64>>) -> Self {
        times.sort_unstable_by_key(|time| time.unwrap_or(u64::MAX));
        let at = |share: usize| {
            let last = times.len().checked_sub(1)?;
            times[(times.len() * share / 100).min(last)]
        };
        Self {
            median: at(50),
            p99: at(99),
            max: times.last().copied().flatten(),
        }
    }
}

impl Report {
    /// The table for people, at most 80 columns wide.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}: {} routers, seed {}\n{}\n\n{:>9}  {:<34} {:>7} {:>7} {:>7}  {:>7}\n",
            self.name,
            self.peers,
            self.seed,
            if self.ok {
                "all as expected"
            } else {
                "FAILED, see below"
            },
            "at",
            "event",
            "median",
            "p99",
            "max",
            "B/rtr",
        );
        for event in &self.events {
            let Converged { median, p99, max } = event.converged_ms;
            let _ = writeln!(
                text,
                "{:>7} s  {:<34} {:>7} {:>7} {:>7}  {:>7}",
                seconds(event.at_ms),
                cut(&event.what, 34),
                time(median),
                time(p99),
                time(max),
                short(event.bytes_per_router),
            );
        }
        let figures = &self.figures;
        let _ = writeln!(
            text,
            "\nper router   {} messages, {} of control traffic",
            figures.messages_per_router,
            bytes(figures.bytes_per_router)
        );
        if figures.frames_sent > 0 {
            let Figures {
                frames_sent,
                frames_lost,
                frames_twice,
                frames_unwell_converging: converging,
                ..
            } = figures;
            let _ = writeln!(
                text,
                "frames       {frames_sent} sent, {frames_lost} lost, {frames_twice} twice\n             \
                 {converging} lost or twice while routers converged"
            );
        }
        if let Some((mean, most)) = figures.stretch {
            let _ = writeln!(
                text,
                "paths        {mean:.2} × the best on average, {most:.2} × at most"
            );
        }
        let virtual_s = figures.virtual_time.as_secs_f64();
        let cpu = figures.cost.cpu.as_secs_f64();
        let _ = writeln!(
            text,
            "the run      {virtual_s:.0} s in {cpu:.2} s of CPU time ({:.0} ×), {} at most\ntrace        {}",
            virtual_s / cpu.max(0.001),
            bytes(figures.cost.peak),
            self.trace_hash
        );
        for failure in &self.failures {
            let _ = writeln!(
                text,
                "\nfailed at {} s: expected {}\n  seen: {}\n  again: {}",
                seconds(failure.at_ms),
                failure.expected,
                failure.seen,
                failure.replay
            );
        }
        text
    }
}

fn seconds(ms: u64) -> String {
    if ms < 1_000_000 {
        format!("{}.{:03}", ms / 1000, ms % 1000)
    } else {
        (ms / 1000).to_string()
    }
}

fn time(ms: Option<u64>) -> String {
    match ms {
        None => "–".into(),
        Some(ms) if ms < 10_000 => format!("{ms} ms"),
        Some(ms) if ms < 1_000_000 => format!("{:.1} s", ms as f64 / 1000.0),
        Some(ms) => format!("{} min", ms / 60_000),
    }
}

fn short(bytes: u64) -> String {
    match bytes {
        0..10_000 => bytes.to_string(),
        10_000..10_000_000 => format!("{} k", bytes / 1000),
        _ => format!("{} M", bytes / 1_000_000),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_a_terminal() {
        let event = EventReport {
            at_ms: 123_456_789,
            what: "partition 0%..50% | 50%..100% and more text than there is room for".into(),
            converged_ms: Converged::of(vec![Some(5), None, Some(12_345_678)]),
            bytes_per_router: 987_654_321,
        };
        let report = Report {
            ok: true,
            name: "x".repeat(30),
            seed: u64::MAX,
            trace_hash: "0".repeat(32),
            peers: 10_000,
            events: vec![event],
            failures: Vec::new(),
            figures: Figures {
                frames_sent: 123_456_789,
                frames_lost: 123_456_789,
                frames_twice: 123_456_789,
                messages_per_router: u64::MAX,
                stretch: Some((1.0, 99.9)),
                ..Figures::default()
            },
        };
        for line in report.table().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert_eq!(report.events[0].converged_ms.max, None);
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains("figures"), "{json}");
    }

    #[test]
    fn shares_of_times() {
        let times = (1..=200).map(Some).collect();
        let converged = Converged::of(times);
        assert_eq!(
            (converged.median, converged.p99, converged.max),
            (Some(101), Some(199), Some(200))
        );
        assert_eq!(Converged::of(Vec::new()), Converged::default());
    }
}
