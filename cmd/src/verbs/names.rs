//! `weft dns`.

use super::{ask, print, print_json, quiet};
use crate::cli::{Cli, DnsVerb};
use crate::control::{DnsRequest, Request};
use anyhow::Result;
use serde_json::Value;

/// What containers are called: looks up, adds, removes.
pub(super) fn dns(cli: &Cli, verb: &DnsVerb) -> Result<()> {
    let (name, addresses, is_added) = match verb {
        DnsVerb::Lookup { what, network } => {
            let (what, network) = (what.clone(), network.clone());
            return found(
                cli,
                &ask(cli, &Request::Dns(DnsRequest::Lookup { what, network }))?,
            );
        }
        DnsVerb::List { network } => {
            let network = network.clone();
            return found(cli, &ask(cli, &Request::Dns(DnsRequest::List { network }))?);
        }
        DnsVerb::Add { name, addresses } => (name.clone(), addresses.clone(), true),
        DnsVerb::Remove { name, addresses } => (name.clone(), addresses.clone(), false),
    };
    let request = if is_added {
        DnsRequest::Add { name, addresses }
    } else {
        DnsRequest::Remove { name, addresses }
    };
    quiet(cli, &Request::Dns(request))
}

/// Prints names and what they stand for: what was asked for alone, all of a list side by side.
fn found(cli: &Cli, value: &Value) -> Result<()> {
    if cli.json {
        return print_json(value);
    }
    let texts = |value: &Value, key: &str| -> Vec<String> {
        let texts = value[key].as_array().into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let lines: Vec<String> = match value.as_array() {
        Some(all) => {
            let line = |one: &Value| {
                let name = one["name"].as_str().unwrap_or_default();
                texts(one, "addresses")
                    .into_iter()
                    .map(|address| format!("{name}  {address}"))
                    .collect::<Vec<_>>()
            };
            all.iter().flat_map(line).collect()
        }
        None => [texts(value, "addresses"), texts(value, "names")].concat(),
    };
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}
