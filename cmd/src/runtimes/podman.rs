//! Podman, asked by its program. It has no daemon, its API's socket is there only where somebody has turned it on, and how it
//! stores its state changes from version to version.

use super::{Found, Runtime};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::ErrorKind;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// As `podman container exists` says that a container does not.
const NONE: i32 = 1;

/// The container of this name, or with an id that begins so. Without Podman there is none.
pub(super) async fn find(text: &str) -> Result<Vec<Found>> {
    let Some(inspected) = podman("inspect", text).await? else {
        return Ok(Vec::new());
    };
    if !inspected.status.success() {
        let is_none = podman("exists", text).await?;
        return match is_none.and_then(|output| output.status.code()) {
            Some(NONE) => Ok(Vec::new()),
            _ => bail!("{}", String::from_utf8_lossy(&inspected.stderr).trim()),
        };
    }
    let all: Value = serde_json::from_slice(&inspected.stdout).context("its answer is not JSON")?;
    let found = |one: &Value| -> Result<Found> {
        let text_of = |key: &str| one[key].as_str().map(str::to_owned);
        let state = &one["State"];
        let pid = state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        Ok(Found {
            runtime: Runtime::Podman,
            within: None,
            name: text_of("Name").context("a container without a name")?,
            id: text_of("Id").context("a container without an id")?,
            pid: pid.filter(|pid| *pid > 0 && state["Running"] == true),
        })
    };
    all.as_array().into_iter().flatten().map(found).collect()
}

/// `None`: Podman is not installed.
async fn podman(verb: &str, text: &str) -> Result<Option<Output>> {
    let mut command = Command::new("podman");
    command
        .args(["container", verb, text])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match command.output().await {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("`podman` can't be run"),
    }
}
