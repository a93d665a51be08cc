//! Results of ADD (section 5), in the version of the configuration.

use super::Plugin;
use super::call::Call;
use super::conf::{GC_SINCE, get};
use super::error::{Code, Failure};
use super::other::Given;
use crate::net::Cidr;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The result of an ADD: what came before, if anything did, and this attachment.
pub(super) fn of(
    plugin: &Plugin,
    attached: &Value,
    given: Option<&Given>,
    routes: &[(Cidr, IpAddr)],
) -> Result<Value, Failure> {
    let (conf, call) = (&plugin.conf, &plugin.call);
    let mut result = match &conf.previous {
        Some(Value::Object(previous)) => previous.clone(),
        Some(_) => return Err(Failure::new(Code::Decode, "prevResult is not an object")),
        None => Map::new(),
    };
    result.insert("cniVersion".into(), json!(conf.version));
    let mut interfaces = take(&mut result, "interfaces");
    let host = interfaces.len();
    interfaces.push(json!({ "name": attached["host_ifname"] }));
    let mut inside = json!({
        "name": call.ifname,
        "mac": attached["mac"],
        "sandbox": call.netns,
    });
    if conf.is_since(GC_SINCE) {
        inside["mtu"] = attached["mtu"].clone();
    }
    interfaces.push(inside);
    result.insert("interfaces".into(), Value::Array(interfaces));
    let mut ips = take(&mut result, "ips");
    for address in attached["addresses"].as_array().into_iter().flatten() {
        let mut ip = json!({ "address": address, "interface": host + 1 });
        let text = address.as_str().unwrap_or_default();
        let is_v4 = !text.contains(':');
        if !conf.is_since("1.0.0") {
            ip["version"] = json!(if is_v4 { "4" } else { "6" });
        }
        let known = given.map_or(&[][..], |given| &given.addresses).iter();
        let gateway = known
            .filter(|(cidr, _)| cidr.to_string() == text)
            .find_map(|(_, gateway)| *gateway);
        let own = || {
            gateways_of(attached)
                .into_iter()
                .find(|gateway| gateway.is_ipv4() == is_v4)
        };
        if let Some(gateway) = gateway.or_else(own) {
            ip["gateway"] = json!(gateway);
        }
        ips.push(ip);
    }
    result.insert("ips".into(), Value::Array(ips));
    let mut told = take(&mut result, "routes");
    for (dst, gateway) in routes {
        told.push(json!({ "dst": dst.to_string(), "gw": gateway }));
    }
    result.insert("routes".into(), Value::Array(told));
    let is_set = |dns: &&Value| dns.as_object().is_some_and(|dns| !dns.is_empty());
    let told = given.map(|given| &given.dns).filter(is_set);
    let told = told.or_else(|| Some(&conf.dns).filter(is_set)).cloned();
    let told = told.or_else(|| own_dns(&attached["dns"]));
    match told {
        Some(dns) => drop(result.insert("dns".into(), dns)),
        None => drop(result.entry("dns").or_insert_with(|| json!({}))),
    }
    Ok(Value::Object(result))
}

/// The host's own addresses in the network, if the container reaches what is outside by them.
pub(super) fn gateways_of(attached: &Value) -> Vec<IpAddr> {
    let list = attached["gateways"].as_array().into_iter().flatten();
    list.filter_map(|one| one.as_str()?.parse().ok()).collect()
}

/// Where the router answers names in the container's network, if it does.
fn own_dns(shown: &Value) -> Option<Value> {
    let servers = shown["nameservers"]
        .as_array()
        .filter(|servers| !servers.is_empty())?;
    let domain = &shown["domain"];
    Some(json!({ "nameservers": servers, "domain": domain, "search": [domain] }))
}

/// Takes out the list under a key; empty if there is none.
fn take(result: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match result.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// The addresses that a result gives to this call's interface.
pub(super) fn addresses_of(result: &Value, call: &Call) -> Vec<Cidr> {
    let list = |key: &str| {
        get(result, key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let interfaces = list("interfaces");
    let is_own = |ip: &Value| {
        let index = get(ip, "interface")
            .and_then(Value::as_u64)
            .and_then(|index| usize::try_from(index).ok());
        let interface = index.and_then(|index| interfaces.get(index));
        interface.is_some_and(|one| {
            let text = |key: &str| {
                get(one, key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            text("name") == call.ifname && !text("sandbox").is_empty()
        })
    };
    let ips = list("ips").into_iter().filter(is_own);
    ips.filter_map(|ip| get(&ip, "address")?.as_str()?.parse().ok())
        .collect()
}
