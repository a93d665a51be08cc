//! All figures of all rounds, and their medians.

use super::place::Kind;
use crate::demo::ping::Times;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What was measured once.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// One TCP stream.
    pub(crate) gbit_per_s: f64,
    /// Of all routers together, during that stream.
    pub(crate) cpu_s_per_gib: Option<f64>,
    /// Datagrams of 64 bytes that arrived, in thousands a second.
    pub(crate) kpps: f64,
    /// Pings while nothing else happened: median, 99th percentile, microseconds.
    pub(crate) ping_us: [f64; 2],
    /// Beside one TCP stream.
    pub(crate) loaded_ping_us: [f64; 2],
    /// One byte to and fro over TCP, a second.
    pub(crate) round_trips: f64,
    /// The largest router, after all that.
    pub(crate) rss_mib: Option<f64>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            gbit_per_s,
            kpps,
            ping_us: [median, _],
            ..
        } = self;
        write!(f, "{gbit_per_s:.2} Gbit/s, {kpps:.0} kpps, ping {median:.0} µs")
    }
}

/// Median and 99th percentile.
pub(crate) fn microseconds(times: &Times) -> [f64; 2] {
    [50, 99].map(|percent| times.percentile(percent).as_secs_f64() * 1e6)
}

/// What the figures were taken on.
#[derive(Debug, Serialize)]
struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
}

impl Machine {
    fn this() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processor: name.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What is printed.
#[derive(Debug)]
pub(crate) struct Report {
    order: Vec<Kind>,
    rounds: BTreeMap<Kind, Vec<Figures>>,
}

/// A column: its heading, and its figure with the decimals shown.
type Column = (&'static str, fn(&Figures) -> Option<f64>, usize);

const COLUMNS: [Column; 9] = [
    ("Gbit/s", |f| Some(f.gbit_per_s), 2),
    ("CPU-s/GiB", |f| f.cpu_s_per_gib, 2),
    ("kpps", |f| Some(f.kpps), 0),
    ("ping µs", |f| Some(f.ping_us[0]), 0),
    ("p99", |f| Some(f.ping_us[1]), 0),
    ("loaded µs", |f| Some(f.loaded_ping_us[0]), 0),
    ("p99", |f| Some(f.loaded_ping_us[1]), 0),
    ("trips/s", |f| Some(f.round_trips), 0),
    ("RSS MiB", |f| f.rss_mib, 1),
];

impl Report {
    /// Nothing measured yet.
    pub(crate) fn new(places: &[Kind]) -> Self {
        Self {
            order: places.to_vec(),
            rounds: BTreeMap::new(),
        }
    }

    /// One more round of a place.
    pub(crate) fn add(&mut self, kind: Kind, figures: Figures) {
        self.rounds.entry(kind).or_default().push(figures);
    }

    /// Prints everything to standard output.
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            let rounds: Vec<_> = self
                .order
                .iter()
                .map(|kind| serde_json::json!({ "place": kind.to_string(), "rounds": self.rounds.get(kind) }))
                .collect();
            let all = serde_json::json!({ "machine": Machine::this(), "places": rounds });
            println!("{}", serde_json::to_string_pretty(&all).context("write JSON")?);
            return Ok(());
        }
        print!("{}", self.table());
        Ok(())
    }

    fn table(&self) -> String {
        let Machine {
            kernel,
            processor,
            cores,
        } = Machine::this();
        let mut text = format!("\n{:26}", "medians");
        for (heading, ..) in COLUMNS {
            text += &format!("{heading:>11}");
        }
        text.push('\n');
        for kind in &self.order {
            let Some(rounds) = self.rounds.get(kind) else {
                continue;
            };
            text += &format!("{kind:26}");
            for (_, figure, decimals) in COLUMNS {
                text += &match median(rounds.iter().filter_map(figure)) {
                    Some(figure) => format!("{figure:>11.decimals$}"),
                    None => format!("{:>11}", "–"),
                };
            }
            text.push('\n');
        }
        text += &format!(
            "\nTCP: one stream. kpps: UDP datagrams of 64 bytes that arrived. loaded: pings beside one TCP stream.\n\
             CPU: all routers of that row. Wires of 1500 bytes without super-frames; all hosts and both ends of all\n\
             traffic share {cores} cores ({processor}, Linux {kernel}).\n"
        );
        text
    }
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<_> = figures.collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() % 2 {
        _ if all.is_empty() => None,
        0 => Some((all[middle - 1] + all[middle]) / 2.0),
        _ => Some(all[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
    }
}
