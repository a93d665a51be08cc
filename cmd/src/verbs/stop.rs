//! `weft stop` and `weft reset`.

use super::{ask, quiet};
use crate::cli::Cli;
use crate::control::{Client, NotRunning, Request};
use crate::state;
use anyhow::{Context, Result, bail};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a router has to stop.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Stops the router and waits until it no longer answers.
pub(super) fn stop(cli: &Cli) -> Result<()> {
    quiet(cli, &Request::Stop)?;
    wait_stopped(cli)
}

fn wait_stopped(cli: &Cli) -> Result<()> {
    let until = Instant::now() + STOP_TIME;
    while Client::connect(&cli.socket).is_ok() {
        if Instant::now() > until {
            bail!("the router does not stop: see its log");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A running router removes its interfaces itself, in its own network namespace, and says where its state is.
pub(super) fn reset(cli: &Cli, yes: bool, bridge: Option<&str>) -> Result<()> {
    if !yes && !confirmed(&cli.state_dir)? {
        bail!("nothing was removed");
    }
    let running = match ask(cli, &Request::Reset) {
        Ok(answer) => {
            wait_stopped(cli)?;
            answer.as_str().map(PathBuf::from)
        }
        Err(error) if error.downcast_ref::<NotRunning>().is_some() => None,
        Err(error) => return Err(error),
    };
    let state_dir = running.as_deref().unwrap_or(&cli.state_dir);
    let _lock = lock_for_reset(state_dir)?;
    if running.is_none() {
        let bridge = bridge.map(str::to_owned).or_else(|| state::bridge_of(state_dir));
        let bridge = bridge.unwrap_or_else(|| fastpath::names::DEFAULT_BRIDGE.into());
        fastpath::apply::remove_all(&bridge).context("cannot remove the interfaces")?;
    }
    state::remove(state_dir)
}

/// Waits until no router holds the state. Held while it is removed: the identity is not taken from under a router that
/// answers on another socket, and none starts meanwhile.
fn lock_for_reset(state_dir: &Path) -> Result<Option<state::StateDir>> {
    let until = Instant::now() + STOP_TIME;
    while state_dir.exists() {
        match state::StateDir::open(state_dir) {
            Ok(lock) => return Ok(Some(lock)),
            Err(error) if Instant::now() > until => {
                return Err(error.context("nothing was removed: is --socket that of the router in use?"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Ok(None)
}

fn confirmed(state_dir: &Path) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this removes identity, secrets and interfaces: say --yes to confirm");
    }
    eprint!(
        "Remove this router's interfaces, identity and secrets ({})? [y/N] ",
        state_dir.display()
    );
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("cannot read the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
