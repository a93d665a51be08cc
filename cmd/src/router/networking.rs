//! Networks: which there are, and which of them is meant.

use super::Router;
use super::containers::Answer;
use crate::control::NetworkRequest;
use crate::net::Cidr;
use fastpath::names;
use mesh::ipam::Pool;
use mesh::{Input, Name, NetworkRefusal, NetworkTable, NetworkView, Vni};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tracing::info;

/// What the default network is called.
const DEFAULT: &str = "default";

/// Who waits for the core's answer about a network.
#[derive(Default)]
pub(crate) struct NetworkAsks {
    next: u64,
    waiting: BTreeMap<u64, Answer>,
}

impl Router {
    /// The network of this name or number, and its name if it is not the default one.
    pub(super) fn network(&self, text: Option<&str>) -> Result<(Vni, Option<Name>), String> {
        let Some(text) = text.filter(|text| *text != DEFAULT) else {
            return Ok((Vni::DEFAULT, None));
        };
        let views = self.mesh.network_views();
        let named = views.iter().find(|view| view.name.as_str() == text);
        let number = text.parse().ok().map(Vni);
        // A network may be called as this one is numbered.
        if named.is_none() && number == Some(Vni::DEFAULT) {
            return Ok((Vni::DEFAULT, None));
        }
        let numbered = || {
            views
                .iter()
                .find(|view| Some(view.vni) == number && view.rival.is_none())
        };
        let view = named.or_else(numbered).ok_or_else(|| {
            format!("there is no network {text}: `weft network list` shows which there are, `weft network add` makes one")
        })?;
        match &view.rival {
            None => Ok((view.vni, Some(view.name.clone()))),
            Some(rival) => Err(format!(
                "the network {text} carries nothing, as {rival} had its VNI first: remove it, and add it with another"
            )),
        }
    }

    /// The bridge of a network.
    pub(super) fn bridge_of(&self, vni: Vni) -> String {
        names::of_network(&self.containers.bridge, vni)
    }

    /// `weft network`.
    pub(super) fn network_request(&mut self, request: NetworkRequest, answer: Answer) {
        let asks = &mut self.network_asks;
        let number = asks.next + 1;
        let input = match request {
            NetworkRequest::List => return drop(answer.send(Ok(self.list_networks()))),
            NetworkRequest::Add { name, vni, subnet } => {
                subnet.map(pool).transpose().map(|pool| Input::AddNetwork {
                    number,
                    name,
                    vni: vni.map(Vni),
                    pool,
                })
            }
            NetworkRequest::Remove { name } => Ok(Input::RemoveNetwork { number, name }),
        };
        match input {
            Ok(input) => {
                asks.next = number;
                asks.waiting.insert(number, answer);
                self.feed(input);
            }
            Err(error) => drop(answer.send(Err(error.into()))),
        }
    }

    /// What the core says.
    pub(super) fn network_answered(&mut self, number: u64, result: Result<NetworkView, NetworkRefusal>) {
        if let Some(answer) = self.network_asks.waiting.remove(&number) {
            let result = result
                .map(|view| shown(&view))
                .map_err(|refusal| refusal.to_string().into());
            let _ = answer.send(result);
        }
    }

    /// Networks came or went. Containers of one that may not carry anything any more are cut off.
    pub(super) fn networks_changed(&mut self, table: NetworkTable) {
        info!(
            count = table.values().filter(|entry| entry.pool.is_some()).count(),
            "networks changed"
        );
        self.memory.networks = table;
        self.persist_memory();
        // Without interfaces there is nothing to cut.
        let _ = self.converge();
    }

    fn list_networks(&self) -> Value {
        let views = self.mesh.addresses_view();
        let home = views.iter().find(|view| view.vni == Vni::DEFAULT);
        let home = home.map(|view| {
            let rival = None;
            line(DEFAULT, Vni::DEFAULT, &view.pool, rival)
        });
        let others = self.mesh.network_views();
        home.into_iter().chain(others.iter().map(shown)).collect()
    }
}

fn shown(view: &NetworkView) -> Value {
    line(view.name.as_str(), view.vni, &view.pool, view.rival.as_ref())
}

fn line(name: &str, vni: Vni, pool: &Pool, rival: Option<&Name>) -> Value {
    let (v4, prefix) = pool.v4();
    let v6 = pool.v6().map(|(v6, prefix)| format!("{v6}/{prefix}"));
    json!({ "name": name, "vni": vni.0, "range": format!("{v4}/{prefix}"), "range_v6": v6, "rival": rival })
}

fn pool(subnet: Cidr) -> Result<Pool, String> {
    let IpAddr::V4(v4) = subnet.address else {
        return Err("--subnet is an IPv4 range; the IPv6 range beside it follows from the VNI".into());
    };
    Pool::new((v4, subnet.prefix), None).map_err(|error| format!("--subnet {subnet}: {error}"))
}
