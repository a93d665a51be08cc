//! What Docker knows, by its API. What is stored here and Docker does not know is taken away: an engine or a driver that was
//! killed says nothing of what it had.

use super::Driver;
use super::api::Docker;
use super::saved::Held;
use crate::control::Request;
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tracing::warn;

/// What is younger may not be known to Docker yet, whose own list follows its calls by less than a second.
pub(super) const YOUNG: Duration = Duration::from_secs(15);

/// What Docker has, all of it by its ids.
pub(super) struct Known {
    /// When it was asked.
    at: Instant,
    networks: BTreeSet<String>,
    /// In networks of this driver's.
    endpoints: BTreeSet<String>,
    pub(super) containers: BTreeSet<String>,
    /// Of containers in all networks with addresses of a plugin's: other drivers may use this one's addresses.
    macs: BTreeSet<String>,
}

impl Driver {
    /// Asks Docker.
    pub(super) async fn known(&self, docker: &Docker) -> Result<Known> {
        let mut known = Known {
            at: Instant::now(),
            networks: BTreeSet::new(),
            endpoints: BTreeSet::new(),
            containers: BTreeSet::new(),
            macs: BTreeSet::new(),
        };
        let ours: BTreeSet<String> = self.saved.lock().await.networks.keys().cloned().collect();
        let listed = docker.get("/networks").await?;
        for one in listed.as_array().into_iter().flatten() {
            let Some(id) = one["Id"].as_str() else {
                continue;
            };
            known.networks.insert(id.to_owned());
            let is_ours = ours.contains(id);
            let ipam = one["IPAM"]["Driver"].as_str().unwrap_or("default");
            if is_ours || !["default", "null"].contains(&ipam) {
                known.add(is_ours, &docker.get(&format!("/networks/{id}")).await?);
            }
        }
        Ok(known)
    }

    /// Takes away what Docker does not know.
    pub(super) async fn forget(&self, known: &Known) {
        let _alone = self.gate.write().await;
        let is_young = |born: &Instant| *born + YOUNG > known.at;
        self.born.lock().await.retain(|_, born| is_young(born));
        let gone = {
            let (mut saved, born) = (self.saved.lock().await, self.born.lock().await);
            let is_over = |id: &String| !known.endpoints.contains(id) && !born.contains_key(id);
            let gone: Vec<String> = saved.endpoints.keys().filter(|id| is_over(id)).cloned().collect();
            let before = saved.networks.len();
            saved
                .networks
                .retain(|id, _| known.networks.contains(id) || born.contains_key(id));
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
        let mut macs = known.macs.clone();
        macs.extend(
            self.saved
                .lock()
                .await
                .endpoints
                .values()
                .map(|one| one.mac.clone()),
        );
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
}

impl Known {
    /// Adds what Docker says of one network.
    fn add(&mut self, is_ours: bool, network: &Value) {
        for (container, place) in network["Containers"].as_object().into_iter().flatten() {
            self.macs.extend(place["MacAddress"].as_str().map(str::to_owned));
            if is_ours {
                self.endpoints
                    .extend(place["EndpointID"].as_str().map(str::to_owned));
                self.containers.insert(container.clone());
            }
        }
    }
}
