//! Addresses: Docker's IPAM driver (`ipam-driver.md` of libnetwork).
//!
//! A pool is one range of a network of the router's, named `NETWORK/4` or `NETWORK/6`. Docker asks for an address of each
//! kind by the MAC address of the interface, so both are the same index of the router's range.

use super::saved::Held;
use super::{Answered, Driver, PREFIX};
use crate::control::{NetworkRequest, Request};
use crate::net::Cidr;
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Instant;

/// What the default network is called.
pub(super) const DEFAULT: &str = "default";
const MAC: &str = "com.docker.network.endpoint.macaddress";
const GATEWAY: &str = "com.docker.network.gateway";

/// A network of the router's.
pub(super) struct Range {
    pub(super) name: String,
    pub(super) v4: Cidr,
    pub(super) v6: Option<Cidr>,
}

impl Range {
    /// As the router's requests name it.
    pub(super) fn network(&self) -> Option<String> {
        Some(self.name.clone()).filter(|name| name != DEFAULT)
    }
}

impl Driver {
    /// The networks of the router's that carry frames.
    pub(super) async fn ranges(&self) -> Result<Vec<Range>, String> {
        let all = self.weft.ask(Request::Network(NetworkRequest::List)).await?;
        let range = |one: &Value| {
            let cidr = |key: &str| one[key].as_str().and_then(|text| text.parse().ok());
            Some(Range {
                name: one["name"].as_str()?.to_owned(),
                v4: cidr("range")?,
                v6: cidr("range_v6"),
            })
        };
        let all = all
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["rival"].is_null());
        Ok(all.filter_map(range).collect())
    }

    /// `RequestPool`: which range of which network. `--ipam-opt network=NAME` names the network, or `--subnet` its range.
    pub(super) async fn request_pool(&self, ask: &Value) -> Answered {
        let ranges = self.ranges().await?;
        let named = option(ask, "Options", "network");
        let pool = ask["Pool"].as_str().unwrap_or_default();
        let is_v6 = ask["V6"].as_bool().unwrap_or_default() || pool.contains(':');
        let of_kind = |range: &Range| if is_v6 { range.v6 } else { Some(range.v4) };
        if ask["SubPool"].as_str().is_some_and(|part| !part.is_empty()) {
            return Err("--ip-range is not supported: weft divides the addresses among hosts itself".into());
        }
        let wanted: Option<Cidr> = match pool {
            "" => None,
            text => Some(text.parse()?),
        };
        let fits = |range: &&Range| {
            let is_named = named.as_deref().is_none_or(|name| range.name == name);
            let is_wanted = wanted.is_none_or(|wanted| of_kind(range) == Some(wanted));
            is_named && is_wanted && (named.is_some() || wanted.is_some() || range.name == DEFAULT)
        };
        let found = ranges
            .iter()
            .find(fits)
            .and_then(|range| Some((range, of_kind(range)?)));
        let (range, cidr) = found.ok_or_else(|| {
            format!(
                "weft has no network{} with the range {pool:?}: make it with `weft network add NAME --subnet …`, \
                 and name it with --ipam-opt network=NAME",
                named.map(|name| format!(" {name}")).unwrap_or_default(),
            )
        })?;
        // So told, Docker asks for no address of a gateway, of which there is none.
        Ok(json!({
            "PoolID": format!("{}/{}", range.name, if is_v6 { 6 } else { 4 }),
            "Pool": cidr.to_string(),
            "Data": { GATEWAY: cidr.to_string() },
        }))
    }

    /// `RequestAddress`.
    pub(super) async fn request_address(&self, ask: &Value) -> Answered {
        let pool = text(ask, "PoolID")?;
        let (network, is_v6) = parts(&pool)?;
        let want = match ask["Address"].as_str().unwrap_or_default() {
            "" => None,
            text => Some(
                text.parse::<IpAddr>()
                    .map_err(|_| format!("{text} is not an address"))?,
            ),
        };
        if option(ask, "Options", "RequestAddressType").as_deref() == Some(GATEWAY) {
            return self.gateway(&network, is_v6, want).await;
        }
        let mac = option(ask, "Options", MAC);
        let name = mac
            .clone()
            .unwrap_or_else(|| format!("{:016x}", OsRng.next_u64()));
        let network = Some(network).filter(|name| name != DEFAULT);
        let holder = format!("{PREFIX}{}/{name}", network.as_deref().unwrap_or(DEFAULT));
        let _entered = self.gate.read().await;
        // Known before it is given, so that nobody takes it for a leftover.
        self.born.lock().await.insert(holder.clone(), Instant::now());
        let given = self.weft.ask(Request::Allocate {
            network: network.clone(),
            holder: holder.clone(),
            want,
        });
        let given = given.await?;
        let cidrs = given.as_array().into_iter().flatten().filter_map(Value::as_str);
        let cidrs: Vec<Cidr> = cidrs.filter_map(|text| text.parse().ok()).collect();
        let of_kind = cidrs.iter().find(|cidr| cidr.address.is_ipv6() == is_v6);
        let Some(cidr) = of_kind else {
            self.weft.undo(Request::Release { network, holder }).await;
            return Err("the network has no range of that kind".into());
        };
        let held = Held { network, holder, mac };
        let mut saved = self.saved.lock().await;
        saved.addresses.insert(format!("{pool}|{}", cidr.address), held);
        saved.store()?;
        Ok(json!({ "Address": cidr.to_string() }))
    }

    /// There is no gateway; what is asked for as one is only shown to people.
    async fn gateway(&self, network: &str, is_v6: bool, want: Option<IpAddr>) -> Answered {
        let ranges = self.ranges().await?;
        let range = ranges.iter().find(|range| range.name == network);
        let cidr = range.and_then(|range| if is_v6 { range.v6 } else { Some(range.v4) });
        let cidr = cidr.ok_or_else(|| format!("weft has no network {network}"))?;
        if let Some(want) = want {
            return Err(format!("{want} can't be a gateway: weft's networks have none"));
        }
        Ok(json!({ "Address": cidr.to_string() }))
    }

    /// `ReleaseAddress`.
    pub(super) async fn release_address(&self, ask: &Value) -> Answered {
        let (pool, address) = (text(ask, "PoolID")?, text(ask, "Address")?);
        let _entered = self.gate.read().await;
        let over = {
            let mut saved = self.saved.lock().await;
            let gone = saved.addresses.remove(&format!("{pool}|{address}"));
            saved.store()?;
            // The other kind of address has the same holder.
            gone.filter(|gone| !saved.addresses.values().any(|held| held.holder == gone.holder))
        };
        if let Some(Held { network, holder, .. }) = over {
            self.born.lock().await.remove(&holder);
            self.weft.undo(Request::Release { network, holder }).await;
        }
        Ok(json!({}))
    }
}

/// The network and the kind of a pool.
fn parts(pool: &str) -> Result<(String, bool), String> {
    match pool.rsplit_once('/') {
        Some((name, "4")) => Ok((name.to_owned(), false)),
        Some((name, "6")) => Ok((name.to_owned(), true)),
        _ => Err(format!("{pool:?} is no pool of weft's")),
    }
}

/// A text that must be there.
pub(super) fn text(value: &Value, key: &str) -> Result<String, String> {
    let text = value[key].as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| format!("{key} is missing"))
}

/// A text among options, if it is there.
pub(super) fn option(value: &Value, options: &str, key: &str) -> Option<String> {
    value[options][key]
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}
