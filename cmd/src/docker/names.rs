//! What containers are called: no driver is told, but Docker's API knows.

use super::Driver;
use super::api::Docker;
use super::known::YOUNG;
use crate::control::Request;
use anyhow::Result;
use mesh::Name;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// How often Docker is asked for everything.
const SYNC: Duration = Duration::from_secs(60);
/// How long to wait for a Docker that is away.
const PAUSE: Duration = Duration::from_millis(500);
/// Names of a container, comma separated, beside those it has anyway.
const LABEL: &str = "weft.name";
/// What the service is called whose task a container is, in a swarm.
const SERVICE: &str = "com.docker.swarm.service.name";

impl Driver {
    /// Follows Docker for ever.
    pub(super) async fn follow(self, docker: Docker) {
        let mut is_told = false;
        loop {
            let ended = self.follow_once(&docker, &mut is_told).await;
            if let Err(error) = ended
                && !std::mem::replace(&mut is_told, true)
            {
                warn!("no names for containers until Docker answers: {error:#}");
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self, docker: &Docker, is_told: &mut bool) -> Result<()> {
        // First the events, so that nothing is missed between.
        let mut events = docker.events().await?;
        // A Docker that was killed does not know all that it had, and after a start all is young: so it is soon looked again.
        let mut next = YOUNG + PAUSE;
        loop {
            self.sync(docker).await?;
            *is_told = false;
            let until = tokio::time::Instant::now() + std::mem::replace(&mut next, SYNC);
            while let Ok(event) = timeout(until - tokio::time::Instant::now(), events.next()).await {
                let container = event?["Actor"]["Attributes"]["container"]
                    .as_str()
                    .map(str::to_owned);
                if let Some(container) = container
                    && let Err(error) = self.name(docker, &container).await
                {
                    // It may be gone by now.
                    debug!("{container}: {error:#}");
                }
            }
        }
    }

    /// Takes away what Docker no longer knows, and names all containers.
    async fn sync(&self, docker: &Docker) -> Result<()> {
        let known = self.known(docker).await?;
        self.forget(&known).await;
        self.forget_tasks(docker).await?;
        for container in &known.containers {
            if let Err(error) = self.name(docker, container).await {
                debug!("{container}: {error:#}");
            }
        }
        Ok(())
    }

    /// Tells the router what a container is called.
    async fn name(&self, docker: &Docker, container: &str) -> Result<()> {
        let about = docker.get(&format!("/containers/{container}/json")).await?;
        let name = about["Name"].as_str().unwrap_or_default().trim_start_matches('/');
        let label = |label: &str| about["Config"]["Labels"][label].as_str().unwrap_or_default();
        let labels = [label(LABEL), label(SERVICE)];
        for place in about["NetworkSettings"]["Networks"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, place)| place)
        {
            let Some(endpoint) = place["EndpointID"].as_str() else {
                continue;
            };
            let is_ours = self.saved.lock().await.endpoints.contains_key(endpoint);
            if !is_ours {
                continue;
            }
            let names = names(name, labels, &place["Aliases"]);
            let request = Request::SetNames {
                key: self.key(endpoint),
                name: name.to_owned(),
                names,
            };
            if let Err(error) = self.weft.ask(request).await {
                debug!("{container}: {error}");
            }
        }
        Ok(())
    }
}

/// Everything under which others find a container, as far as it can be a name.
fn names(name: &str, labels: [&str; 2], aliases: &Value) -> Vec<Name> {
    let aliases = aliases.as_array().into_iter().flatten().filter_map(Value::as_str);
    let labels = labels
        .into_iter()
        .flat_map(|label| label.split(','))
        .map(str::trim);
    let told = labels.chain(aliases);
    let mut names: Vec<Name> = std::iter::once(name)
        .chain(told)
        .filter_map(|text| text.parse().ok())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_is_found_under_all_its_names() {
        let found = names(
            "web_1",
            ["shop, www.shop ,web_1,no name", "many"],
            &json!(["db", "0123456789ab"]),
        );
        let expected = ["0123456789ab", "db", "many", "shop", "web_1", "www.shop"];
        assert_eq!(found.iter().map(Name::as_str).collect::<Vec<_>>(), expected);
        assert!(names("", ["", ""], &Value::Null).is_empty());
    }
}
