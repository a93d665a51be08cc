//! What `--record` writes down of a real run: no key of it, and enough to replay it.

use crate::common::{Host, Lab, fresh_secret, until, weft};
use crate::keys::{found, secret_bytes};
use crypto::identity::Identity;
use crypto::secret::Secret;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Every key on this host's disk, and what is derived from them.
fn keys(hosts: &[Host], tokens: &[String]) -> BTreeMap<String, Vec<u8>> {
    let mut keys = BTreeMap::new();
    for (number, token) in tokens.iter().enumerate() {
        let secret: Secret = token.parse().unwrap();
        keys.insert(format!("secret {number}"), secret_bytes(token));
        keys.insert(format!("token {number}"), token.trim().as_bytes().to_vec());
        keys.insert(format!("link key {number}"), secret.link_psk().to_vec());
        keys.insert(format!("data key {number}"), secret.data_psk().to_vec());
    }
    for host in hosts {
        let bytes = std::fs::read(host.state_dir().join("identity")).unwrap();
        let identity = Identity::from_bytes(bytes.as_slice().try_into().unwrap());
        let name = &host.name;
        keys.insert(format!("signing key of {name}"), bytes[..32].to_vec());
        keys.insert(format!("private data key of {name}"), bytes[32..].to_vec());
        keys.insert(
            format!("public data key of {name}"),
            identity.data_public().to_vec(),
        );
        for (number, token) in tokens.iter().enumerate() {
            let secret: Secret = token.parse().unwrap();
            let proof = secret.admission(&identity.public()).to_vec();
            keys.insert(format!("proof of {name} by secret {number}"), proof);
        }
    }
    keys
}

#[test]
fn a_recording_of_a_router_holds_no_key_and_replays() {
    let Some(lab) = Lab::new("recording") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let file = lab.dir.join("recording");
    let path = file.to_str().unwrap();
    let _first = hosts[0].launch(&[]);
    let recorded = hosts[1].launch(&["10.9.0.1", "--record", path]);
    let third = hosts[2].launch(&["10.9.0.1"]);
    hosts.iter().for_each(|host| host.wait_for_peers(3));
    let containers = [hosts[0].container(1), hosts[1].container(2)];
    containers[0].wait_for(&containers[1]);
    hosts[1]
        .weft(&["ping", "--control", "-c", "2", &hosts[2].name])
        .ok();

    let old = std::fs::read_to_string(hosts[0].state_dir().join("secrets")).unwrap();
    let old: Vec<String> = old
        .lines()
        .filter(|line| line.starts_with("weft1-"))
        .map(str::to_owned)
        .collect();
    let new = fresh_secret();
    hosts
        .iter()
        .for_each(|host| drop(host.weft_with(&["secret", "add"], &new).ok()));
    let id = old[0].parse::<Secret>().unwrap().id().to_string();
    until("all have it", Duration::from_secs(3), || {
        (hosts[1].weft(&["secret", "retire", &id]).code == Some(0)).then_some(())
    });
    third.kill();
    until("the third is gone", Duration::from_secs(6), || {
        (hosts[1].reachable().len() == 2).then_some(())
    });
    recorded.terminate();

    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let recording = std::fs::read(&file).unwrap();
    let tokens = [old, vec![new]].concat();
    let keys = keys(&hosts, &tokens);
    assert_eq!(keys.len(), 2 * 4 + 3 * (3 + 2));
    assert_eq!(found(&recording, &keys), Vec::<String>::new());
    let output = weft(&["simulate", "--json", "--replay", path]).ok();
    let report: Value = serde_json::from_str(&output).unwrap();
    println!("{} bytes: {report}", recording.len());
    assert_eq!(
        (&report["ok"], &report["complete"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    assert!(report["inputs"].as_u64().unwrap() > 50 && report["outputs"].as_u64().unwrap() > 30);
    assert_eq!(report["name"], hosts[1].name.as_str());
}
