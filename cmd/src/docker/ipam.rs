//! Addresses: Docker's IPAM driver (`ipam-driver.md` of libnetwork).
//!
//! Docker asks for an address of each kind by the MAC address of the interface, so both are the same index of the router's
//! range.

use super::options::{self, option, text};
use super::pool::{self, Pool};
use super::saved::Held;
use super::weft::{Failed, PAUSE};
use super::{Answered, Driver};
use crate::control::{NetworkRequest, Request};
use crate::net::Cidr;
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// What the default network is called.
pub(super) const DEFAULT: &str = "default";
const MAC: &str = "com.docker.network.endpoint.macaddress";
const GATEWAY: &str = "com.docker.network.gateway";
/// So many times in a row Docker asks for any range only if it does not take the one that it is given.
const STUBBORN: u32 = 16;
/// How long addresses of a part of the range are tried.
const TRYING: Duration = Duration::from_secs(10);
/// The address space out of which one host's Docker asks.
pub(super) const LOCAL: &str = "weft-local";
/// The address space out of which a swarm's manager asks.
pub(super) const SWARM: &str = "weft-swarm";

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
        options::check(&ask["Options"], "--ipam-opt", &["network"])?;
        let ranges = self.ranges().await?;
        let named = option(ask, "Options", "network");
        let pool = ask["Pool"].as_str().unwrap_or_default();
        let is_v6 = ask["V6"].as_bool().unwrap_or_default() || pool.contains(':');
        let of_kind = |range: &Range| if is_v6 { range.v6 } else { Some(range.v4) };
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
        let (range, cidr) = found.ok_or_else(|| match (&named, wanted) {
            (Some(name), _) if ranges.iter().all(|range| range.name != *name) => options::unknown(name),
            (Some(name), Some(wanted)) => format!("{wanted} is not the range of weft's network {name}"),
            (_, None) => "weft's network has no IPv6 range".into(),
            (None, Some(wanted)) => format!(
                "weft has no network with the range {wanted}: make it with `weft network add NAME --subnet {wanted}`, \
                 or leave --subnet out"
            ),
        })?;
        if wanted.is_none() && ask["AddressSpace"] != SWARM {
            self.is_taken(cidr)?;
        }
        let within = match ask["SubPool"].as_str().unwrap_or_default() {
            "" => None,
            part => Some(part_of(cidr, part.parse()?)?),
        };
        let pool = Pool {
            within,
            network: range.name.clone(),
            is_v6,
            is_swarms: ask["AddressSpace"] == SWARM,
        };
        Ok(json!({
            "PoolID": pool.to_string(),
            "Pool": cidr.to_string(),
            "Data": { GATEWAY: cidr.to_string() },
        }))
    }

    /// Docker asks for ever for another range than one in which the host has a route or a name server. It takes it if it was
    /// its caller's choice.
    fn is_taken(&self, cidr: Cidr) -> Result<(), String> {
        if self.unnamed.fetch_add(1, Ordering::Relaxed) < STUBBORN {
            return Ok(());
        }
        self.unnamed.store(0, Ordering::Relaxed);
        Err(format!(
            "Docker does not take the range {cidr} by itself, as this host has a route or a name server there: say --subnet {cidr}"
        ))
    }

    /// `RequestAddress`.
    pub(super) async fn request_address(&self, ask: &Value) -> Answered {
        let (id, pool) = asked_pool(ask)?;
        let want = match ask["Address"].as_str().unwrap_or_default() {
            "" => None,
            text => Some(
                text.parse::<IpAddr>()
                    .map_err(|_| format!("{text} is not an address"))?,
            ),
        };
        if option(ask, "Options", "RequestAddressType").as_deref() == Some(GATEWAY) {
            return self.gateway(&pool, want).await;
        }
        if let Some(want) = want
            && let Some(cidr) = self.of_manager(&id, &pool, want).await?
        {
            return Ok(json!({ "Address": cidr.to_string() }));
        }
        let mac = option(ask, "Options", MAC);
        let name = mac
            .clone()
            .unwrap_or_else(|| format!("{:016x}", OsRng.next_u64()));
        let network = Some(pool.network).filter(|name| name != DEFAULT);
        let holder = format!("{}{}/{name}", self.mark, network.as_deref().unwrap_or(DEFAULT));
        let _entered = self.gate.read().await;
        // Known before it is given, so that nobody takes it for a leftover.
        self.born.lock().await.insert(holder.clone(), Instant::now());
        let given = match pool.within.filter(|_| want.is_none()) {
            Some(part) => self.allocate_within(part, &network, &holder).await?,
            None => self.weft.ask(allocation(&network, &holder, want)).await?,
        };
        let cidrs = given.as_array().into_iter().flatten().filter_map(Value::as_str);
        let cidrs: Vec<Cidr> = cidrs.filter_map(|text| text.parse().ok()).collect();
        let of_kind = cidrs.iter().find(|cidr| cidr.address.is_ipv6() == pool.is_v6);
        let Some(cidr) = of_kind else {
            self.weft.undo(Request::Release { network, holder }).await;
            return Err("the network has no range of that kind".into());
        };
        let held = Held {
            network,
            holder,
            mac,
            is_swarms: pool.is_swarms,
        };
        let mut saved = self.saved.lock().await;
        saved.addresses.insert(held_by(&id, &cidr.address), held);
        saved.store()?;
        Ok(json!({ "Address": cidr.to_string() }))
    }

    /// An address of a part of the range, whichever router it belongs to. Which of them others use only their routers know, so
    /// they are tried, one after the other: what one router does not answer for now another may. If none was to be had, but one
    /// may be in a moment, once more.
    async fn allocate_within(&self, part: Cidr, network: &Option<String>, holder: &str) -> Answered {
        let in_use: BTreeSet<IpAddr> = {
            let saved = self.saved.lock().await;
            let names = saved.addresses.keys().filter_map(|name| name.rsplit_once('|'));
            names.filter_map(|(_, address)| address.parse().ok()).collect()
        };
        let (mut refused, until) = (String::from("all are in use"), Instant::now() + TRYING);
        let mut may_pass = true;
        while std::mem::take(&mut may_pass) {
            for want in pool::candidates(part, OsRng.next_u64(), &in_use) {
                let request = Arc::new(allocation(network, holder, Some(want)));
                match self.weft.try_ask(&request).await {
                    Ok(given) => return Ok(given),
                    Err(Failed::Refused(why)) => refused = why,
                    Err(Failed::Away(why)) => (refused, may_pass) = (why, true),
                }
                if Instant::now() > until {
                    may_pass = false;
                    break;
                }
            }
            if may_pass {
                sleep(PAUSE).await;
            }
        }
        Err(format!(
            "no address of the --ip-range {part} is to be had: {refused}"
        ))
    }

    /// The range of a pool.
    pub(super) async fn range_of(&self, pool: &Pool) -> Result<Cidr, String> {
        let ranges = self.ranges().await?;
        let range = ranges.iter().find(|range| range.name == pool.network);
        let cidr = range.and_then(|range| if pool.is_v6 { range.v6 } else { Some(range.v4) });
        cidr.ok_or_else(|| format!("weft has no network {} with a range of that kind", pool.network))
    }

    /// There is no gateway; what is asked for as one is only shown to people.
    async fn gateway(&self, pool: &Pool, want: Option<IpAddr>) -> Answered {
        let cidr = self.range_of(pool).await?;
        // A swarm's nodes ask for what its manager was told.
        if let Some(want) = want.filter(|want| *want != cidr.address) {
            return Err(format!(
                "{want} can't be the --gateway: networks of weft have none, and containers reach what is outside by Docker's own bridge"
            ));
        }
        Ok(json!({ "Address": cidr.to_string() }))
    }

    /// `ReleaseAddress`.
    pub(super) async fn release_address(&self, ask: &Value) -> Answered {
        let (id, address) = (text(ask, "PoolID")?, text(ask, "Address")?);
        let _entered = self.gate.read().await;
        let over = {
            let mut saved = self.saved.lock().await;
            let gone = saved.addresses.remove(&held_by(&id, &address));
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

fn allocation(network: &Option<String>, holder: &str, want: Option<IpAddr>) -> Request {
    Request::Allocate {
        network: network.clone(),
        holder: holder.to_owned(),
        want,
    }
}

/// A part of a range.
fn part_of(range: Cidr, part: Cidr) -> Result<Cidr, String> {
    if !pool::includes(range, part) {
        return Err(format!(
            "the --ip-range {part} is not a part of the range {range}"
        ));
    }
    Ok(Cidr {
        address: pool::first(part),
        ..part
    })
}

/// The pool that is asked of, and how Docker names it.
fn asked_pool(ask: &Value) -> Result<(String, Pool), String> {
    let id = text(ask, "PoolID")?;
    let pool = id.parse()?;
    Ok((id, pool))
}

/// What an address is stored under.
pub(super) fn held_by(pool: &str, address: &dyn std::fmt::Display) -> String {
    format!("{pool}|{address}")
}
