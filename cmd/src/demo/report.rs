//! What the demo prints: the steps as they happen, and at the end a table of what was measured.
//!
//! On a terminal a running step shows at once and is overwritten by its outcome; elsewhere there is one plain line
//! per step. Nothing is wider than 80 columns. A reader that goes away (`weft demo | head`) disturbs nothing.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Columns of the narrowest terminal.
const WIDTH: usize = 80;
/// Columns of a step's title.
const TITLE: usize = 46;
/// Columns of the table's first column.
const LABEL: usize = 46;

/// Prints and collects.
#[derive(Debug)]
pub(crate) struct Report {
    terminal: bool,
    colour: bool,
    start: Instant,
    rows: Vec<(String, String)>,
    failed: bool,
}

/// What a step has to say when it is done.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Its one most telling figure.
    pub(crate) figure: String,
    rows: Vec<(String, String)>,
    shown: Vec<String>,
    skipped: bool,
}

impl Notes {
    /// Adds a row to the table.
    pub(crate) fn measured(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.rows.push((what.into(), value.into()));
    }

    /// Adds lines that are shown below the step.
    pub(crate) fn show(&mut self, text: &str) {
        self.shown.extend(text.lines().map(str::to_owned));
    }

    /// Says that the step could not be done here, which is no failure.
    pub(crate) fn skip(&mut self, why: &str) {
        self.skipped = true;
        self.figure = why.to_owned();
    }
}

impl Report {
    /// Begins to print on standard output.
    pub(crate) fn start() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            terminal,
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            start: Instant::now(),
            rows: Vec::new(),
            failed: false,
        }
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: &str) {
        say(&format!("{text}\n"));
    }

    /// Does a step and prints how it went.
    pub(crate) fn step<T>(&mut self, title: &str, work: impl FnOnce(&mut Notes) -> Result<T>) -> Result<T> {
        if self.terminal {
            say(&format!("  … {title}"));
        }
        let mut notes = Notes::default();
        let outcome = work(&mut notes);
        let (sign, colour) = match (&outcome, notes.skipped) {
            (Ok(_), false) => ('✓', 32),
            (Ok(_), true) => ('–', 33),
            (Err(_), _) => ('✗', 31),
        };
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let sign = self.paint(sign, colour);
        if let Err(error) = &outcome {
            self.failed = true;
            say(&format!("{clear}  {sign} {title}\n"));
            for line in wrap(&format!("{error:#}"), WIDTH - 6) {
                self.line(&format!("      {line}"));
            }
        } else {
            let figure = &notes.figure;
            say(&format!(
                "{clear}  {sign} {}\n",
                format!("{title:TITLE$}{figure}").trim_end()
            ));
        }
        for line in &notes.shown {
            self.line(&cut(&format!("      {line}"), WIDTH));
        }
        self.rows.append(&mut notes.rows);
        outcome.with_context(|| format!("the demo failed at the step \"{title}\""))
    }

    fn paint(&self, sign: char, colour: u8) -> String {
        if self.colour {
            format!("\x1b[{colour}m{sign}\x1b[0m")
        } else {
            sign.to_string()
        }
    }

    /// How far a long step is; `total` in bytes.
    pub(crate) fn progress(&self, total: u64) -> Progress {
        Progress {
            terminal: self.terminal,
            bar: None,
            total,
            quarters: 0,
        }
    }

    /// Prints the table, and the last word.
    pub(crate) fn finish(&self, interrupted: bool) {
        if !self.rows.is_empty() {
            say("\n");
            say(&table(&self.rows));
        }
        let took = self.start.elapsed().as_secs_f64();
        let word = match (interrupted, self.failed) {
            (true, _) => "Interrupted.",
            (false, true) => "Something failed; see above.",
            (false, false) => "All steps passed.",
        };
        self.line(&format!("\n  {word} The demo took {took:.1} s."));
    }
}

/// The progress of a transfer: a bar on a terminal, a line per quarter elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    bar: Option<ProgressBar>,
    total: u64,
    quarters: u64,
}

impl Progress {
    fn draw(&mut self, done: u64) {
        let total = self.total;
        let bar = self.bar.get_or_insert_with(|| {
            // In place of the line that names the step.
            say("\r\x1b[K");
            let template = "  … {bar:32} {decimal_bytes:>10} {decimal_bytes_per_sec:>12} {eta:>4}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stdout())
                .with_style(style.progress_chars("━╸ "))
        });
        bar.set_position(done);
    }

    /// Shows that `done` bytes are done.
    pub(crate) fn set(&mut self, done: u64) {
        if self.terminal {
            return self.draw(done);
        }
        let quarters = done.saturating_mul(4).checked_div(self.total).unwrap_or(0);
        if quarters > self.quarters && quarters < 4 {
            say(&format!("      {} % …\n", quarters * 25));
        }
        self.quarters = self.quarters.max(quarters);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes to standard output, whoever reads it.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Two columns under a heading.
fn table(rows: &[(String, String)]) -> String {
    let value = WIDTH - 2 - LABEL - 2;
    let rule = format!("  {}  {}\n", "─".repeat(LABEL), "─".repeat(value));
    let mut text = format!("  {:LABEL$}  measured\n{rule}", "what");
    for (what, measured) in rows {
        let row = format!("  {:LABEL$}  {}", cut(what, LABEL), cut(measured, value));
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text + &rule
}

/// `text` in at most `width` characters, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// `text` in lines of at most `width` characters, broken between words where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

/// A time in the unit that reads best.
pub(crate) fn time(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..1000 => format!("{us} µs"),
        1000..100_000 => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        100_000..1_000_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

/// Bytes as megabytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// How fast `bytes` moved in `time`.
pub(crate) fn speed(bytes: u64, time: Duration) -> String {
    format!(
        "{:.0} Mbit/s",
        bytes as f64 * 8.0 / 1e6 / time.as_secs_f64().max(1e-9)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_80_columns() {
        let long = "x".repeat(100);
        let rows = [
            ("ping over IPv4".to_owned(), "0.31 ms".to_owned()),
            (long.clone(), long),
        ];
        let table = table(&rows);
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
        assert_eq!(table.lines().count(), 5);
        let column = |line: &str, text: &str| {
            let at = line.find(text).unwrap();
            line[..at].chars().count()
        };
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(column(lines[0], "measured"), column(lines[2], "0.31"));
        assert!(lines[3].ends_with('…'));
    }

    #[test]
    fn errors_are_wrapped_between_words() {
        let text = "one two three four five six seven";
        let lines = wrap(text, 10);
        assert!(lines.iter().all(|line| line.chars().count() <= 10));
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrap(&"y".repeat(30), 10)[0].chars().count(), 10);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(time(Duration::from_micros(310)), "310 µs");
        assert_eq!(time(Duration::from_micros(1234)), "1.23 ms");
        assert_eq!(time(Duration::from_millis(234)), "234 ms");
        assert_eq!(time(Duration::from_millis(3100)), "3.10 s");
        assert_eq!(megabytes(100_000_000), "100.0 MB");
        assert_eq!(speed(125_000_000, Duration::from_secs(2)), "500 Mbit/s");
    }
}
