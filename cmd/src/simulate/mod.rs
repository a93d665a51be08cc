//! `weft simulate`: the same cores as the daemon's, in a world made of memory and virtual time.
//!
//! [`scenario`] runs scenarios, [`swarm`] random ones, [`replay`] a recording of a router.

mod replay;
mod scenario;
mod swarm;

use crate::cli::Cli;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Options of `weft simulate`.
#[derive(Debug, Args)]
#[group(id = "simulation")]
pub(crate) struct Simulate {
    /// A scenario: a file, the name of one that comes with the program, or `swarm` for random faults.
    #[arg(value_name = "FILE|NAME", required_unless_present_any = ["list", "replay"])]
    pub(crate) scenario: Option<String>,
    /// List the scenarios that come with the program.
    #[arg(long, conflicts_with_all = ["scenario", "replay"])]
    pub(crate) list: bool,
    /// How many routers, where the scenario leaves that open.
    #[arg(long, value_name = "N", requires = "scenario", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) peers: Option<u32>,
    /// Where all chance comes from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Run so many seeds, from S on.
    #[arg(long, value_name = "N", requires = "scenario", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seeds: Option<u32>,
    /// Run so many seeds of the swarm at a time.
    #[arg(long, value_name = "N", requires = "scenario", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// Of a seed of the swarm that failed, print the smallest scenario that still fails.
    #[arg(long, requires = "scenario")]
    pub(crate) shrink: bool,
    /// Write a page that shows the run to this file.
    #[arg(long, value_name = "OUT", requires = "scenario", conflicts_with = "seeds")]
    pub(crate) html: Option<PathBuf>,
    /// Write what happened to this file, one event a line, as JSON.
    #[arg(long, value_name = "OUT", requires = "scenario", conflicts_with = "seeds")]
    pub(crate) trace: Option<PathBuf>,
    /// Feed a recording (`weft launch --record`) to the same core, and tell where it first does something else.
    #[arg(long, env = "WEFT_REPLAY", value_name = "FILE", conflicts_with = "scenario")]
    pub(crate) replay: Option<PathBuf>,
}

/// Does what the options say.
pub(crate) fn run(cli: &Cli, options: &Simulate) -> Result<()> {
    match (&options.replay, &options.scenario) {
        (_, Some(scenario)) if scenario == "swarm" => swarm::swarm(cli, options),
        (_, Some(scenario)) => scenario::run(cli, options, scenario),
        (Some(path), None) => replay::run(cli, path),
        (None, None) => scenario::list(cli),
    }
}
