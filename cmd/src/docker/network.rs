//! Interfaces: Docker's network driver (`remote.md` of libnetwork).

use super::options::{self, option, text};
use super::saved::{Endpoint, Network};
use super::{Answered, Driver};
use crate::control::{ContainerRef, Request};
use crate::net::Cidr;
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What Docker calls interfaces in containers, followed by a number.
const INSIDE: &str = "eth";
/// Options of `docker network create -o`.
const GENERIC: &str = "com.docker.network.generic";
/// Those that there are.
const OPTIONS: [&str; 2] = ["network", "multicast"];

impl Driver {
    /// `CreateNetwork`.
    pub(super) async fn create_network(&self, ask: &Value) -> Answered {
        let id = text(ask, "NetworkID")?;
        let told = &ask["Options"][GENERIC];
        options::check(told, "-o", &OPTIONS)?;
        let ranges = self.ranges().await?;
        let found = options::choose(&ranges, told["network"].as_str(), &ask["IPv4Data"][0])?;
        let network = Network {
            network: found.network(),
            multicast: options::flag(told, "multicast")?,
        };
        self.unnamed.store(0, Ordering::Relaxed);
        let mut saved = self.saved.lock().await;
        self.born.lock().await.insert(id.clone(), Instant::now());
        saved.networks.insert(id, network);
        saved.store()?;
        Ok(json!({}))
    }

    /// `AllocateNetwork`: a swarm's manager asks before any node makes the network.
    pub(super) fn allocate_network(ask: &Value) -> Answered {
        let told = &ask["Options"];
        options::check(told, "-o", &OPTIONS)?;
        options::flag(told, "multicast")?;
        Ok(json!({ "Options": told }))
    }

    /// `DeleteNetwork`.
    pub(super) async fn delete_network(&self, ask: &Value) -> Answered {
        let id = text(ask, "NetworkID")?;
        let mut saved = self.saved.lock().await;
        saved.networks.remove(&id);
        saved.store()?;
        Ok(json!({}))
    }

    /// `CreateEndpoint`. What Docker has chosen must not be repeated in the answer.
    pub(super) async fn create_endpoint(&self, ask: &Value) -> Answered {
        let (network_id, id) = (text(ask, "NetworkID")?, text(ask, "EndpointID")?);
        let network = self.network(&network_id).await?;
        let interface = &ask["Interface"];
        let told = ["Address", "AddressIPv6"].into_iter();
        let mut addresses: Vec<String> = told.filter_map(|key| option(ask, "Interface", key)).collect();
        let mut answer = json!({});
        let mut holder = None;
        let _entered = self.gate.read().await;
        self.born.lock().await.insert(id.clone(), Instant::now());
        if addresses.is_empty() {
            let name = self.key(&id);
            let given = self.weft.ask(Request::Allocate {
                network: network.network.clone(),
                holder: name.clone(),
                want: None,
            });
            let given = given.await?;
            holder = Some(name);
            for cidr in given.as_array().into_iter().flatten().filter_map(Value::as_str) {
                answer[if cidr.contains(':') {
                    "AddressIPv6"
                } else {
                    "Address"
                }] = json!(cidr);
                addresses.push(cidr.to_owned());
            }
        }
        let mac = match interface["MacAddress"].as_str().filter(|mac| !mac.is_empty()) {
            Some(mac) => mac.to_owned(),
            None => {
                let mut random = [0; 6];
                OsRng.fill_bytes(&mut random);
                let mac = fastpath::plan::local_mac(random).to_string();
                answer["MacAddress"] = json!(mac);
                mac
            }
        };
        let endpoint = Endpoint {
            network: network_id,
            addresses,
            mac,
            holder,
            is_joined: false,
        };
        let mut saved = self.saved.lock().await;
        saved.endpoints.insert(id, endpoint);
        saved.store()?;
        Ok(json!({ "Interface": answer }))
    }

    /// `Join`: the pair is made; Docker moves the end it is told of into the container.
    pub(super) async fn join(&self, ask: &Value) -> Answered {
        let (network_id, id) = (text(ask, "NetworkID")?, text(ask, "EndpointID")?);
        let network = self.network(&network_id).await?;
        let _entered = self.gate.read().await;
        let endpoint = {
            let mut saved = self.saved.lock().await;
            let endpoint = saved
                .endpoints
                .get_mut(&id)
                .ok_or_else(|| format!("there is no endpoint {id}"))?;
            endpoint.is_joined = true;
            let endpoint = endpoint.clone();
            saved.store()?;
            endpoint
        };
        let inner = inner(&id);
        let cidrs: Result<Vec<Cidr>, _> = endpoint.addresses.iter().map(|text| text.parse()).collect();
        let container = ContainerRef {
            ifname: inner.clone(),
            mac: Some(endpoint.mac),
            key: Some(self.key(&id)),
            network: network.network.clone(),
            handed: Some(inner.clone()),
            ..ContainerRef::default()
        };
        let attached = self.weft.ask(Request::Attach {
            container: Box::new(container),
            addresses: cidrs?,
            names: Vec::new(),
        });
        attached.await?;
        let multicast = json!({ "Destination": "224.0.0.0/4", "RouteType": 1, "NextHop": "" });
        let routes: Vec<Value> = network.multicast.then_some(multicast).into_iter().collect();
        Ok(json!({
            "InterfaceName": { "SrcName": inner, "DstPrefix": INSIDE },
            "StaticRoutes": routes,
        }))
    }

    /// `Leave`: the pair goes.
    pub(super) async fn leave(&self, ask: &Value) -> Answered {
        let id = text(ask, "EndpointID")?;
        let _entered = self.gate.read().await;
        self.part(&id).await?;
        Ok(json!({}))
    }

    /// `DeleteEndpoint`, which also follows a failed `Join`.
    pub(super) async fn delete_endpoint(&self, ask: &Value) -> Answered {
        let id = text(ask, "EndpointID")?;
        let _entered = self.gate.read().await;
        self.drop_endpoint(&id).await?;
        Ok(json!({}))
    }

    /// Forgets an endpoint, and takes away what there is of it.
    pub(super) async fn drop_endpoint(&self, id: &str) -> Result<(), String> {
        self.part(id).await?;
        let (endpoint, network) = {
            let mut saved = self.saved.lock().await;
            let endpoint = saved.endpoints.remove(id);
            saved.store()?;
            let network = endpoint
                .as_ref()
                .and_then(|endpoint| saved.networks.get(&endpoint.network));
            let network = network.and_then(|network| network.network.clone());
            (endpoint, network)
        };
        self.born.lock().await.remove(id);
        if let Some(holder) = endpoint.and_then(|endpoint| endpoint.holder) {
            self.weft.undo(Request::Release { network, holder }).await;
        }
        Ok(())
    }

    async fn part(&self, id: &str) -> Result<(), String> {
        let was_joined = {
            let mut saved = self.saved.lock().await;
            let endpoint = saved.endpoints.get_mut(id);
            let was_joined = endpoint.is_some_and(|endpoint| std::mem::take(&mut endpoint.is_joined));
            if was_joined {
                saved.store()?;
            }
            was_joined
        };
        if was_joined {
            self.weft.undo(Request::DetachKey { key: self.key(id) }).await;
        }
        Ok(())
    }

    async fn network(&self, id: &str) -> Result<Network, String> {
        let saved = self.saved.lock().await;
        let found = saved.networks.get(id).cloned();
        found.ok_or_else(|| format!("weft does not know the network {id}: was its state removed? Remove the network, and make it again"))
    }

    /// Takes away what the router has for nobody, once there has been trouble.
    pub(super) async fn tidy(&self) {
        if !self.weft.take_untidy() {
            return;
        }
        let _alone = self.gate.write().await;
        let (keys, mut holders) = {
            let saved = self.saved.lock().await;
            let keys: Vec<String> = saved.joined().map(|id| self.key(id)).collect();
            (keys, saved.holders())
        };
        // Asked for and not yet stored, or not yet told of.
        holders.extend(self.born.lock().await.keys().cloned());
        let prefix = self.mark.to_string();
        self.weft
            .undo(Request::Collect {
                prefix: prefix.clone(),
                keep: keys,
            })
            .await;
        self.weft
            .undo(Request::CollectAddresses {
                prefix,
                keep: holders,
            })
            .await;
    }
}

/// What the container's end is called until Docker moves it: at most 15 bytes.
fn inner(endpoint: &str) -> String {
    let usable = endpoint.chars().filter(char::is_ascii_alphanumeric);
    format!("wd{}", usable.take(13).collect::<String>())
}
