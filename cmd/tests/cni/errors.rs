//! What must fail fails with the code and the words that the specification asks for.

use crate::plugin::{call, conf};
use serde_json::Value;
use std::path::Path;

const ADD: [(&str, &str); 5] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/nowhere/at/all"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/nowhere/bin"),
];

/// The variables of a call of this verb, but that one is another; an empty value: it is not there.
fn variables<'a>(verb: &'a str, name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut all = ADD.to_vec();
    all[0].1 = verb;
    all.retain(|(other, _)| *other != name);
    if !value.is_empty() {
        all.push((name, value));
    }
    all
}

fn good() -> Value {
    conf(Path::new("/nowhere/weft.sock"), "1.1.0")
}

#[test]
fn missing_and_senseless_variables() {
    let good = good().to_string();
    let needs = |verb, name| match verb {
        "ADD" | "CHECK" => name != "CNI_PATH",
        "DEL" => ["CNI_CONTAINERID", "CNI_IFNAME"].contains(&name),
        "GC" => name == "CNI_PATH",
        _ => false,
    };
    let mut rows = 0;
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] {
        for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
            let answer = call(&variables(verb, name, ""), &good);
            if needs(verb, name) {
                let (code, words) = answer.failed();
                assert!(
                    code == 4 && words.contains(name),
                    "{verb} without {name}: {code} {words}"
                );
            } else if !answer.success {
                let (code, words) = answer.failed();
                assert!(code != 4, "{verb} needs no {name}: {code} {words}");
            }
            rows += 1;
        }
    }
    assert_eq!(rows, 24);
    // Whoever is to call another plugin has to know where it is.
    let mut delegating = conf(Path::new("/nowhere/weft.sock"), "1.1.0");
    delegating["ipam"] = serde_json::json!({ "type": "host-local" });
    for verb in ["DEL", "STATUS"] {
        let (code, words) = call(&variables(verb, "CNI_PATH", ""), &delegating.to_string()).failed();
        assert!(code == 4 && words.contains("CNI_PATH"), "{verb}: {code} {words}");
    }
    for verb in ["ADD", "DEL", "CHECK"] {
        for (name, value) in [
            ("CNI_CONTAINERID", "-first"),
            ("CNI_CONTAINERID", "a/b"),
            ("CNI_CONTAINERID", "a b"),
            ("CNI_IFNAME", "sixteen-letters-"),
            ("CNI_IFNAME", "."),
            ("CNI_IFNAME", ".."),
            ("CNI_IFNAME", "a/b"),
            ("CNI_IFNAME", "a:b"),
            ("CNI_IFNAME", "a b"),
            ("CNI_ARGS", "novalue"),
            ("CNI_ARGS", "=x"),
        ] {
            let (code, words) = call(&variables(verb, name, value), &good).failed();
            assert!(
                code == 4 && words.contains(name),
                "{verb} {name}={value}: {code} {words}"
            );
        }
    }
}

#[test]
fn verbs_that_there_are_not() {
    for verb in ["", "add", "FROB"] {
        let mut all = ADD.to_vec();
        all[0].1 = verb;
        let (code, words) = call(&all, &good().to_string()).failed();
        assert!(
            code == 4 && words.contains("CNI_COMMAND"),
            "{verb:?}: {code} {words}"
        );
    }
}

#[test]
fn configurations_that_make_no_sense() {
    let table: [(&str, u64, &str); 24] = [
        ("", 6, "JSON"),
        ("{", 6, "JSON"),
        ("[]", 6, "JSON"),
        ("7", 6, "JSON"),
        (r#"{"name": "n"}"#, 1, "incompatible"),
        (r#"{"cniVersion": "0.2.0", "name": "n"}"#, 1, "0.2.0"),
        (r#"{"cniVersion": "2.0.0", "name": "n"}"#, 1, "2.0.0"),
        (r#"{"cniVersion": "frob", "name": "n"}"#, 1, "frob"),
        (r#"{"cniVersion": 1, "name": "n"}"#, 6, "cniVersion"),
        (r#"{"cniVersion": "1.1.0"}"#, 7, "missing network name"),
        (
            r#"{"cniVersion": "1.1.0", "name": ""}"#,
            7,
            "missing network name",
        ),
        (r#"{"cniVersion": "1.1.0", "name": "-n"}"#, 7, "network name"),
        (r#"{"cniVersion": "1.1.0", "name": "a/b"}"#, 7, "network name"),
        (r#"{"cniVersion": "1.1.0", "name": 7}"#, 7, "network name"),
        (r#"{"cniVersion": "1.1.0", "name": "n", "ipam": 7}"#, 7, "ipam"),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "ipam": {"type": "../x"}}"#,
            7,
            "ipam",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "routes": 7}"#,
            7,
            "routes",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "routes": [{"dst": "x"}]}"#,
            7,
            "routes",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "runtimeConfig": {"ips": [7]}}"#,
            7,
            "ips",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "network": ["blue"]}"#,
            7,
            "network is neither a name nor a VNI",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "ipam": {"type": "host-local"}, "isGateway": true}"#,
            2,
            "isGateway=true",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "ipam": {"type": "host-local"}, "ipMasq": true}"#,
            2,
            "ipMasq=true",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "hairpinMode": "yes"}"#,
            7,
            "hairpinMode is neither",
        ),
        (
            r#"{"cniVersion": "1.1.0", "name": "n", "cni.dev/valid-attachments": 7}"#,
            7,
            "attachments",
        ),
    ];
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        for (input, code, word) in table {
            let (got, words) = call(&variables(verb, "CNI_ARGS", ""), input).failed();
            assert!(
                got == code && words.contains(word),
                "{verb} {input}: {got} {words}"
            );
        }
    }
}

#[test]
fn verbs_that_came_with_later_versions() {
    for (verb, since) in [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")] {
        for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let input = conf(Path::new("/nowhere/weft.sock"), version).to_string();
            let (code, words) = call(&variables(verb, "CNI_ARGS", ""), &input).failed();
            assert_eq!(
                code == 1 && words.contains(verb),
                version < since,
                "{verb} {version}: {code} {words}"
            );
        }
    }
}

#[test]
fn without_a_router_and_without_a_container() {
    let answer =
        |verb: &str, name: &str, value: &str| call(&variables(verb, name, value), &good().to_string());
    let (code, words) = answer("ADD", "CNI_ARGS", "").failed();
    assert!(code == 3 && words.contains("/nowhere/at/all"), "{code} {words}");
    let (code, words) = answer("ADD", "CNI_NETNS", "/etc/hostname").failed();
    assert!(code == 4 && words.contains("/etc/hostname"), "{code} {words}");
    let (code, words) = answer("ADD", "CNI_NETNS", "/proc/self/ns/net").failed();
    assert!(code == 4 && words.contains("own"), "{code} {words}");
    // Everything is gone already.
    answer("DEL", "CNI_ARGS", "").ok();
    answer("DEL", "CNI_NETNS", "").ok();
    let (code, words) = answer("CHECK", "CNI_ARGS", "").failed();
    assert!(code == 7 && words.contains("prevResult"), "{code} {words}");
    let (code, words) = answer("STATUS", "CNI_ARGS", "").failed();
    assert!(
        code == 51 && words.contains("/nowhere/weft.sock"),
        "{code} {words}"
    );
    let (code, words) = answer("GC", "CNI_ARGS", "").failed();
    assert!(
        code == 7 && words.contains("cni.dev/valid-attachments"),
        "{code} {words}"
    );
    let mut good = good();
    good["cni.dev/valid-attachments"] = Value::Null;
    let (code, words) = call(&variables("GC", "CNI_ARGS", ""), &good.to_string()).failed();
    assert!(
        code == 11 && words.contains("/nowhere/weft.sock"),
        "{code} {words}"
    );
}

#[test]
fn version_tells_what_is_spoken() {
    for (input, answered) in [
        (r#"{"cniVersion": "0.4.0"}"#, "0.4.0"),
        (r#"{"cniVersion": "9.9.9"}"#, "9.9.9"),
        ("{}", "1.1.0"),
        ("", "1.1.0"),
    ] {
        let output = call(&[("CNI_COMMAND", "VERSION")], input).ok();
        assert_eq!(output["cniVersion"], answered, "{input}");
        assert_eq!(
            output["supportedVersions"],
            serde_json::json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        );
    }
    let (code, _) = call(&[("CNI_COMMAND", "VERSION")], "{").failed();
    assert_eq!(code, 6);
}
