//! `weft status` and the status page: what scripts may rely on.

use crate::common::{Host, Lab, until};
use crate::schema;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One request to the status page, from the host itself: status line and body.
fn get(host: &Host, path: &str) -> (String, String) {
    let answer = host.netns.run(|| {
        let mut stream = TcpStream::connect("127.0.0.1:6784").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

#[test]
fn the_status_is_as_its_schema_says() {
    let Some(lab) = Lab::new("schema") else { return };
    let pair = lab.pair();
    pair.left.wait_for_direct("h2");
    pair.left.weft(&["connect", "10.9.0.99", "127.0.0.1"]).ok();
    let failed = until("a target fails", Duration::from_secs(10), || {
        let status = pair.left.status();
        let failed = status["targets"]
            .as_array()
            .unwrap()
            .iter()
            .any(|target| target["error"].is_string());
        (failed && status["drops"].as_object().is_some_and(|drops| !drops.is_empty())).then_some(status)
    });
    let status = failed.0;
    for listing in ["peers", "connections", "routes", "targets", "attachments"] {
        assert!(
            !status[listing].as_array().unwrap().is_empty(),
            "{listing} is empty: {status:#}"
        );
    }
    assert_eq!(schema::faults(&status), Vec::<String>::new(), "{status:#}");
    assert_eq!(schema::faults(&pair.right.status()), Vec::<String>::new());

    let own: Vec<_> = status["peers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|peer| peer["self"] == true)
        .collect();
    assert_eq!(own.len(), 1);
    assert_eq!(
        (&own[0]["peer_id"], &own[0]["reachable"]),
        (&status["peer_id"], &true.into())
    );
    assert!(
        status["routes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|route| route["peer_id"] != status["peer_id"])
    );
    assert_eq!(status["routes"][0]["path"], serde_json::json!(["h2"]));
}

#[test]
fn each_listing_is_the_array_of_the_whole_and_text_fits_eighty_columns() {
    let Some(lab) = Lab::new("listings") else { return };
    let pair = lab.pair();
    let whole = pair.left.status();
    for listing in ["peers", "connections", "routes", "targets", "attachments"] {
        let text = pair.left.weft(&["status", listing, "--json"]).ok();
        let alone: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            alone.as_array().unwrap().len(),
            whole[listing].as_array().unwrap().len(),
            "{listing}"
        );
        let text = pair.left.weft(&["status", listing]).ok();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
    let text = pair.left.weft(&["status"]).ok();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("h1") && text.contains("h2"), "{text}");
}

#[test]
fn the_status_page_says_the_same_as_the_verb() {
    let Some(lab) = Lab::new("http") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(1);
    let _router = hosts[0].launch(&["--http", "6784"]);
    let (head, body) = get(&hosts[0], "/status");
    assert!(head.contains("200"), "{head}");
    let page: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(keys(&page), keys(&hosts[0].status()));
    assert_eq!(schema::faults(&page), Vec::<String>::new());
    let (head, body) = get(&hosts[0], "/healthz");
    assert!(head.contains("200") && body.trim() == "ok", "{head} {body}");
    assert!(get(&hosts[0], "/").0.contains("404"));
    // Loopback only, unless told otherwise.
    let outside = hosts[0]
        .netns
        .run(|| TcpStream::connect(("10.9.0.1", 6784)).is_ok());
    assert!(!outside.unwrap());
}
