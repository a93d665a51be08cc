//! `weft simulate --replay`: what a router's control plane was told, told again.

use crate::cli::Cli;
use crate::verbs::{print, print_json};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use simulations::{ReplayError, replay};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};

/// Replays a recording, and fails where it first differs.
pub(crate) fn run(cli: &Cli, path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
    let bar = ProgressBar::new(length).with_style(style()?);
    let started = Instant::now();
    let outcome = replay(bar.wrap_read(BufReader::new(file)), |_| ());
    bar.finish_and_clear();
    let took = started.elapsed();
    match outcome {
        Ok(done) => {
            if cli.json {
                return print_json(&json!({
                    "ok": true, "name": done.name, "id": done.id.to_string(), "inputs": done.inputs,
                    "outputs": done.outputs, "virtual_ms": done.last.0 / 1000, "complete": done.is_complete,
                    "difference": null,
                }));
            }
            let cut = if done.is_complete {
                ""
            } else {
                " The recording ends abruptly."
            };
            print(&format!(
                "{} did the same again: {} inputs over {:.1?}, {} outputs, all equal. Replayed in {took:.1?}.{cut}\n",
                done.name,
                done.inputs,
                Duration::from_micros(done.last.0),
                done.outputs,
            ))
        }
        Err(ReplayError::Differs(difference)) => {
            if cli.json {
                print_json(&json!({
                    "ok": false,
                    "difference": {
                        "input": difference.input, "what": difference.what, "at_ms": difference.at.0 / 1000,
                        "outputs": difference.outputs, "detail": difference.difference,
                    },
                }))?;
            }
            bail!("the replay differs from the recording: {difference}")
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn style() -> Result<ProgressStyle> {
    ProgressStyle::with_template("replaying {wide_bar} {bytes}/{total_bytes} {eta}")
        .context("the progress bar")
}
