//! What containers are called, and which of them are gone: no driver is told, but Docker's API knows.

use super::Driver;
use super::api::Docker;
use super::saved::Held;
use crate::control::Request;
use anyhow::Result;
use mesh::Name;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// How often Docker is asked for everything.
const SYNC: Duration = Duration::from_secs(60);
/// How long to wait for a Docker that is away.
const PAUSE: Duration = Duration::from_millis(500);
/// What is younger may not be known to Docker yet, whose own list follows its calls by less than a second.
const YOUNG: Duration = Duration::from_secs(15);
/// Names of a container, comma separated, beside those it has anyway.
const LABEL: &str = "weft.name";
/// What the service is called whose task a container is, in a swarm.
const SERVICE: &str = "com.docker.swarm.service.name";

impl Driver {
    /// Follows Docker for ever.
    pub(super) async fn follow(self, docker: Docker) {
        loop {
            if docker.exists()
                && let Err(error) = self.follow_once(&docker).await
            {
                debug!("{error:#}");
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self, docker: &Docker) -> Result<()> {
        // First the events, so that nothing is missed between.
        let mut events = docker.events().await?;
        // A Docker that was killed does not know all that it had, and after a start all is young: so it is soon looked again.
        let mut next = YOUNG + PAUSE;
        loop {
            self.sync(docker).await?;
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

    /// Names all containers, and forgets what Docker no longer knows.
    async fn sync(&self, docker: &Docker) -> Result<()> {
        let listed = docker.get("/networks").await?;
        let listed: BTreeSet<String> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|network| network["Id"].as_str().map(str::to_owned))
            .collect();
        let ours: Vec<String> = self.saved.lock().await.networks.keys().cloned().collect();
        let (mut endpoints, mut containers) = (BTreeSet::new(), BTreeSet::new());
        for id in ours.iter().filter(|id| listed.contains(*id)) {
            let network = docker.get(&format!("/networks/{id}")).await?;
            for (container, place) in network["Containers"].as_object().into_iter().flatten() {
                endpoints.extend(place["EndpointID"].as_str().map(str::to_owned));
                containers.insert(container.clone());
            }
        }
        for container in containers {
            if let Err(error) = self.name(docker, &container).await {
                debug!("{container}: {error:#}");
            }
        }
        self.forget(&listed, &endpoints).await;
        self.forget_tasks(docker).await
    }

    async fn forget(&self, networks: &BTreeSet<String>, endpoints: &BTreeSet<String>) {
        let _alone = self.gate.write().await;
        self.born.lock().await.retain(|_, at| at.elapsed() <= YOUNG);
        let gone = {
            let (mut saved, born) = (self.saved.lock().await, self.born.lock().await);
            let is_over = |id: &String| !endpoints.contains(id) && !born.contains_key(id);
            let gone: Vec<String> = saved.endpoints.keys().filter(|id| is_over(id)).cloned().collect();
            let before = saved.networks.len();
            saved
                .networks
                .retain(|id, _| networks.contains(id) || born.contains_key(id));
            if before != saved.networks.len()
                && let Err(error) = saved.store()
            {
                warn!("{error}");
            }
            gone
        };
        for id in gone {
            warn!(endpoint = id, "Docker does not know it any more: taken away");
            if let Err(error) = self.drop_endpoint(&id).await {
                warn!("{error}");
            }
        }
        let macs: BTreeSet<String> = {
            let saved = self.saved.lock().await;
            saved.endpoints.values().map(|one| one.mac.clone()).collect()
        };
        let is_left = |held: &Held| held.mac.as_ref().is_some_and(|mac| !macs.contains(mac));
        self.free(|_, held| is_left(held)).await;
    }

    /// Frees addresses, but those that are so young that Docker may not have said yet whose they are.
    pub(super) async fn free(&self, is_left: impl Fn(&str, &Held) -> bool) {
        let unused: Vec<Held> = {
            let (mut saved, born) = (self.saved.lock().await, self.born.lock().await);
            let is_over = |name: &str, held: &Held| is_left(name, held) && !born.contains_key(&held.holder);
            let over = saved.addresses.extract_if(.., |name, held| is_over(name, held));
            let unused: Vec<Held> = over.map(|(_, held)| held).collect();
            if !unused.is_empty()
                && let Err(error) = saved.store()
            {
                warn!("{error}");
            }
            unused
        };
        for held in unused {
            warn!(
                holder = held.holder,
                "nobody uses the address that it was given: free again"
            );
            let (network, holder) = (held.network, held.holder);
            self.weft.undo(Request::Release { network, holder }).await;
        }
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
