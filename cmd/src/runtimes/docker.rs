//! Docker, asked over its socket.

use super::{Found, Runtime};
use crate::docker::Docker;
use anyhow::{Context as _, Result};
use std::path::Path;

/// The container of this name, or with an id that begins so. Without Docker there is none.
pub(super) async fn find(socket: &Path, text: &str) -> Result<Vec<Found>> {
    let docker = Docker(socket.to_owned());
    if !docker.answers().await {
        return Ok(Vec::new());
    }
    let Some(one) = docker.find(&format!("/containers/{text}/json")).await? else {
        return Ok(Vec::new());
    };
    let text_of = |key: &str| {
        one[key]
            .as_str()
            .map(|text| text.trim_start_matches('/').to_owned())
    };
    let state = &one["State"];
    let pid = state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    Ok(vec![Found {
        runtime: Runtime::Docker,
        within: None,
        name: text_of("Name").context("a container without a name")?,
        id: text_of("Id").context("a container without an id")?,
        pid: pid.filter(|pid| *pid > 0 && state["Running"] == true),
    }])
}
