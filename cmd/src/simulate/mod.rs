//! `weft simulate`: the same cores as the daemon's, in a world made of memory and virtual time.

mod replay;

use crate::cli::Cli;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Options of `weft simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Feed a recording (`weft launch --record`) to the same core, and tell where it first does something else.
    #[arg(long, env = "WEFT_REPLAY", value_name = "FILE", required = true)]
    pub(crate) replay: Option<PathBuf>,
}

/// Does what the options say.
pub(crate) fn run(cli: &Cli, options: &Simulate) -> Result<()> {
    match &options.replay {
        Some(path) => replay::run(cli, path),
        None => Ok(()),
    }
}
