//! What verbs other than `weft status` list, for people.

use super::table::{brief, cut_middle, table};
use crate::rate::Rate;
use serde_json::Value;

/// `weft ps`: one line per address.
pub(crate) fn containers(value: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut rows = Vec::new();
    for container in value.as_array().into_iter().flatten() {
        let network = container["network"]
            .as_str()
            .filter(|network| *network != "default");
        let name = text(&container["name"])
            .or_else(|| container["pid"].as_u64().map(|pid| format!("pid {pid}")))
            .or_else(|| text(&container["netns"]).map(|netns| cut_middle(&netns, 24)));
        let mut first = name.zip(text(&container["ifname"]));
        let (mut network, mut limits) = (network.map(str::to_owned), limits(container));
        for address in container["addresses"].as_array().into_iter().flatten() {
            let (name, ifname) = first.take().unwrap_or_default();
            let (network, limits) = (network.take().unwrap_or_default(), std::mem::take(&mut limits));
            rows.push(vec![
                name,
                ifname,
                text(address).unwrap_or_default(),
                network,
                limits,
            ]);
        }
    }
    let mut heads = vec!["container", "interface", "address", "network", "limits"];
    if rows.iter().all(|row| row.last().is_none_or(String::is_empty)) {
        heads.pop();
        rows.iter_mut().for_each(|row| row.truncate(heads.len()));
    }
    table(&heads, &rows, &[24, 15, 39, 24, 30])
}

/// What a container may send and receive, in bits a second.
fn limits(container: &Value) -> String {
    let of = |key: &str, what: &str| Some(format!("{what} {}", Rate::of_bits(container[key].as_u64()?)));
    let limits = [of("egress_rate", "out"), of("ingress_rate", "in")];
    limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `weft network list`: one line per network.
pub(crate) fn networks(value: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |network: &Value| {
        let state = match network["rival"].as_str() {
            Some(rival) => format!("void: {rival} has this VNI"),
            None => String::new(),
        };
        let ranges = [text(&network["range"]), text(&network["range_v6"])];
        vec![
            text(&network["name"]),
            network["vni"].to_string(),
            ranges.join(" "),
            state,
        ]
    };
    let rows: Vec<_> = value.as_array().into_iter().flatten().map(row).collect();
    table(&["network", "vni", "range", ""], &rows, &[40, 8, 46, 60])
}

/// `weft ipam`: one line per owner.
pub(crate) fn shares(value: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = match value["state"].as_str() {
        Some("waiting") => "waiting to hear from another router",
        Some("unconfirmed") => "unconfirmed: no other router was heard of since the start",
        _ => "confirmed",
    };
    let ranges = [text(&value["range"]), text(&value["range_v6"])];
    let ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    let mut out = format!(
        "range  {}\nstate  {state}\nfree   {} here\n",
        ranges.join(" and "),
        value["free"]
    );
    for doubled in value["doubled"].as_array().into_iter().flatten() {
        let routers = doubled["routers"].as_array().into_iter().flatten().map(text);
        let routers: Vec<_> = routers.collect();
        out.push_str(&format!(
            "twice  {} at {}\n",
            text(&doubled["address"]),
            routers.join(" and ")
        ));
    }
    let mut rows = Vec::new();
    for share in value["shares"].as_array().into_iter().flatten() {
        let name = share["name"]
            .as_str()
            .map_or_else(|| "nobody known".to_owned(), str::to_owned);
        let id = brief(share["peer_id"].as_str().unwrap_or_default());
        rows.push(vec![name, id, share["addresses"].to_string()]);
    }
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(&["owner", "id", "addresses"], &rows, &[24, 12, 10]));
    }
    out
}
