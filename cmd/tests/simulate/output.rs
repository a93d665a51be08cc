//! What `weft simulate` prints, for programs and for people.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn simulate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.arg("simulate").args(args).output().unwrap()
}

/// Standard output, all of which must be one JSON value.
fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A scenario file that fails: two routers that are cut apart are expected to meet.
fn false_scenario(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    let text = "name = \"false\"\nabout = \"What is expected can't be.\"\npeers = 2\n[[event]]\nat = \"0s\"\n\
                cut = [0, 1]\n[[expect]]\nat = \"1s\"\nwithin = \"2s\"\nreachable = [0, 1]\n[rest]\ncheck = false\n";
    std::fs::write(&path, text).unwrap();
    path
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn is_report(report: &Value) {
    let wanted = ["ok", "name", "seed", "trace_hash", "peers", "events", "failures"];
    assert_eq!(keys(report), BTreeSet::from(wanted));
    assert!(report["ok"].is_boolean() && report["name"].is_string());
    assert!(report["seed"].is_u64() && report["peers"].is_u64() && report["trace_hash"].is_string());
    for event in report["events"].as_array().unwrap() {
        let wanted = ["at_ms", "what", "converged_ms", "bytes_per_router"];
        assert_eq!(keys(event), BTreeSet::from(wanted));
        assert!(event["at_ms"].is_u64() && event["what"].is_string() && event["bytes_per_router"].is_u64());
        assert_eq!(
            keys(&event["converged_ms"]),
            BTreeSet::from(["median", "p99", "max"])
        );
    }
    for failure in report["failures"].as_array().unwrap() {
        assert_eq!(
            keys(failure),
            BTreeSet::from(["at_ms", "expected", "seen", "replay"])
        );
        assert!(failure["at_ms"].is_u64());
    }
}

#[test]
fn one_seed_is_one_report_and_several_are_a_list() {
    let one = simulate(&["chain", "--json"]);
    assert!(one.status.success());
    let one = json(&one);
    is_report(&one);
    assert_eq!((&one["ok"], &one["seed"]), (&Value::from(true), &Value::from(1)));

    let several = simulate(&["chain", "--seed", "1", "--seeds", "2", "--json"]);
    assert!(several.status.success());
    let several = json(&several);
    assert_eq!(keys(&several), BTreeSet::from(["ok", "runs"]));
    let runs = several["runs"].as_array().unwrap();
    runs.iter().for_each(is_report);
    // The same seed is the same run.
    assert_eq!(runs[0], one);
    assert_eq!(
        (runs.len(), &runs[1]["seed"], &several["ok"]),
        (2, &Value::from(2), &Value::from(true))
    );
    assert_ne!(runs[0]["trace_hash"], runs[1]["trace_hash"]);

    // A list of one is a list.
    let only = json(&simulate(&["chain", "--seeds", "1", "--json"]));
    assert_eq!(only["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn what_fails_exits_with_one_and_says_how_to_see_it_again() {
    let path = false_scenario("fails");
    let path = path.to_str().unwrap();
    let output = simulate(&[path, "--seed", "7", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    is_report(&report);
    assert_eq!(report["ok"], Value::from(false));
    let failure = &report["failures"][0];
    let replay = failure["replay"].as_str().unwrap();
    assert_eq!(replay, format!("weft simulate {path} --peers 2 --seed 7"));
    assert_eq!(failure["at_ms"], Value::from(3000));
    assert!(
        failure["expected"]
            .as_str()
            .unwrap()
            .contains("reachable: 0 and 1")
    );
    assert!(
        failure["seen"]
            .as_str()
            .unwrap()
            .contains("router 0 does not reach router 1")
    );

    // That command does just that again, and people read the same.
    let again = simulate(&replay.split(' ').skip(2).collect::<Vec<_>>());
    assert_eq!(again.status.code(), Some(1));
    let table = String::from_utf8(again.stdout).unwrap();
    for text in [
        "seed 7",
        "failed at 3.000 s",
        "expected reachable: 0 and 1",
        "seen: router 0",
        replay,
        report["trace_hash"].as_str().unwrap(),
    ] {
        assert!(table.contains(text), "{text}: {table}");
    }
    let both = simulate(&[path, "--seeds", "2", "--json"]);
    assert_eq!(
        (both.status.code(), &json(&both)["ok"]),
        (Some(1), &Value::from(false))
    );
}

#[test]
fn the_table_says_what_it_cost() {
    let output = simulate(&["new-address"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{table}");
    for text in [
        "median",
        "p99",
        "max",
        "B/rtr",
        "per router ",
        " messages",
        " lost, 0 twice",
        "lost or twice while routers converged",
        "× the best on average",
        "of CPU time",
        "MB at most",
        "trace ",
    ] {
        assert!(table.contains(text), "{text}: {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn scenarios_are_listed() {
    let list = json(&simulate(&["--list", "--json"]));
    let list = list.as_array().unwrap();
    let people = simulate(&["--list"]);
    let people = String::from_utf8_lossy(&people.stdout).into_owned();
    assert_eq!(people.lines().count(), list.len());
    for (row, line) in list.iter().zip(people.lines()) {
        assert_eq!(keys(row), BTreeSet::from(["name", "about", "peers"]));
        let name = row["name"].as_str().unwrap();
        assert!(line.starts_with(name) && row["peers"].is_u64() && row["about"].is_string());
        let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(is_fine), "{name}");
    }
}

#[test]
fn a_trace_is_one_event_a_line() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chain.jsonl");
    let output = simulate(&["chain", "--json", "--trace", path.to_str().unwrap()]);
    assert!(output.status.success());
    json(&output);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut last = 0;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(keys(&event), BTreeSet::from(["at_us", "router", "what"]));
        last = event["at_us"].as_u64().unwrap();
    }
    assert!(last > 1_000_000 && text.lines().count() > 20);
}

#[test]
fn what_can_not_be_is_said() {
    for (args, text) in [
        (&["no-such-thing"][..], "weft simulate --list"),
        (&["chain", "--peers", "100000"], "this scenario takes"),
        (&["--replay", "/no/such/file"], "cannot open /no/such/file"),
    ] {
        let output = simulate(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(text) && output.stdout.is_empty(), "{said}");
    }
}
