//! Several networks on the same hosts: added once, there everywhere, and never a frame from one to another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod apart;
mod life;

use common::{Container, Host};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

/// Attaches a container with an address and a MAC address of the caller's choice.
pub(crate) fn attach(host: &Host, container: &Container, network: &str, cidr: &str, mac: &str) {
    let container = json!({
        "netns": container.path(),
        "pid": null,
        "ifname": "eth0",
        "mac": mac,
        "network": network,
    });
    let request = json!({ "Attach": { "container": container, "addresses": [cidr], "names": [] } });
    let mut stream = UnixStream::connect(host.socket()).unwrap();
    writeln!(stream, "{request}").unwrap();
    let answer = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .last()
        .unwrap();
    assert_eq!(answer, r#""Done""#);
}

/// `weft network list`, without the default one.
pub(crate) fn networks(host: &Host) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&host.weft(&["network", "list", "--json"]).ok()).unwrap();
    all.into_iter().filter(|one| one["name"] != "default").collect()
}
