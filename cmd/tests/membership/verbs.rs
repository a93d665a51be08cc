//! The command line: what it prints, what it refuses, and with which exit code.

use crate::common::{Lab, fresh_secret, run, skipped, weft};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn secret_new_prints_the_token_and_a_newline_and_needs_nothing() {
    let outcome = weft(&[
        "secret",
        "new",
        "--state-dir",
        "/nonexistent",
        "--socket",
        "/nonexistent",
    ]);
    let out = outcome.ok();
    let token = out.strip_suffix('\n').unwrap();
    assert!(
        token.starts_with("weft1-") && !token.contains(char::is_whitespace),
        "{out:?}"
    );
    assert_ne!(fresh_secret(), fresh_secret());
    assert!(!std::path::Path::new("/nonexistent").exists());
}

#[test]
fn verbs_without_a_router_say_so_and_what_to_start() {
    let socket = std::env::temp_dir().join("weft-no-such-router");
    let socket = socket.to_str().unwrap();
    let verbs: [&[&str]; 13] = [
        &["status"],
        &["status", "peers", "--json"],
        &["connect", "10.0.0.1"],
        &["forget", "x"],
        &["attach", "--pid", "1", "10.0.0.1/24"],
        &["detach", "--pid", "1"],
        &["ping", "x"],
        &["trace", "x"],
        &["secret", "list"],
        &["secret", "retire", "x"],
        &["invite"],
        &["id"],
        &["stop"],
    ];
    for verb in verbs {
        let outcome = weft(&[&["--socket", socket], verb].concat());
        assert!(outcome.out.is_empty(), "{outcome:?}");
        let error = outcome.failed(1);
        assert!(
            error.contains(socket) && error.contains("weft launch"),
            "{verb:?}: {error}"
        );
        assert_eq!(error.trim().lines().count(), 1, "{verb:?}: {error}");
    }
}

#[test]
fn usage_errors_exit_with_two() {
    let wrong: [&[&str]; 9] = [
        &[],
        &["frobnicate"],
        &["launch", "--mtu", "1279"],
        &["launch", "--listen", "nowhere"],
        &["launch", "--cipher", "rot13"],
        &["attach", "10.0.0.1/24"],
        &["attach"],
        &["connect"],
        &["status", "weather"],
    ];
    for args in wrong {
        weft(args).failed(2);
    }
    for args in [
        ["--help", "launch"],
        ["completions", "bash"],
        ["completions", "fish"],
    ] {
        assert!(!weft(&args).ok().is_empty());
    }
    assert_eq!(
        weft(&["--version"]).ok(),
        format!("weft {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_socket_is_for_root_and_its_group_and_state_is_for_root_alone() {
    let Some(lab) = Lab::new("modes") else { return };
    let pair = lab.pair();
    for host in [&pair.left, &pair.right] {
        assert_eq!(mode(&host.socket()), 0o660);
        assert_eq!(mode(&host.state_dir()), 0o700);
        let files: Vec<_> = std::fs::read_dir(host.state_dir())
            .unwrap()
            .map(|file| file.unwrap())
            .collect();
        assert!(files.len() >= 4, "{files:?}");
        for file in files {
            assert_eq!(mode(&file.path()), 0o600, "{file:?}");
        }
    }
}

#[test]
fn a_second_router_with_the_same_state_or_socket_is_refused() {
    let Some(lab) = Lab::new("twice") else { return };
    let host = lab.host("h1");
    let _router = host.launch(&[]);
    let mut again = host.exec(&[], Some(&lab.secret));
    assert_eq!(again.ended(), Some(1));
    assert!(host.log().contains("another router uses"), "{}", host.log());

    let other = lab.host("h2");
    std::fs::remove_dir(&other.dir).unwrap();
    std::os::unix::fs::symlink(&host.dir, &other.dir).unwrap();
    let elsewhere = lab.dir.join("elsewhere");
    let mut again = other.exec(&["--state-dir", elsewhere.to_str().unwrap()], Some(&lab.secret));
    assert_eq!(again.ended(), Some(1));
    assert!(host.log().contains("already answers"), "{}", host.log());
    host.weft(&["id"]).ok();
}

#[test]
fn a_state_directory_that_cannot_be_written_stops_the_launch() {
    if skipped() {
        return;
    }
    let Some(lab) = Lab::new("read-only") else { return };
    let host = lab.host("h1");
    std::fs::write(host.state_dir(), "a file where a directory should be").unwrap();
    let mut router = host.exec(&[], None);
    assert_eq!(router.ended(), Some(1));
    assert!(host.log().contains("state"), "{}", host.log());
}

#[test]
fn the_service_manager_is_told_when_the_router_is_ready() {
    let Some(lab) = Lab::new("notify") else { return };
    let host = lab.host("h1");
    let path = lab.dir.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut command = host.launch_command(&[]);
    command.env("NOTIFY_SOCKET", &path).stderr(Stdio::null());
    let mut router = command.spawn().unwrap();
    let mut buffer = [0; 256];
    let told = manager
        .recv(&mut buffer)
        .map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
    let answers = host.weft(&["id"]).code;
    router.kill().unwrap();
    router.wait().unwrap();
    assert!(
        told.as_ref().is_ok_and(|told| told.contains("READY=1")),
        "{told:?}"
    );
    assert_eq!(answers, Some(0), "it was said to be ready");
}

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let Some(lab) = Lab::new("json-log") else { return };
    let host = lab.host("h1");
    let router = host.launch(&["--log-format", "json", "127.0.0.1:1"]);
    router.terminate();
    let log = host.log();
    assert!(log.lines().count() > 1, "{log}");
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn a_router_goes_on_when_nobody_reads_its_log_any_more() {
    let Some(lab) = Lab::new("unread-log") else {
        return;
    };
    let host = lab.host("h1");
    let mut child = host
        .launch_command(&[])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    host.wait_for_socket();
    // Each of them is a line of the log.
    for name in ["blue", "red"] {
        host.weft(&["network", "add", name]).ok();
    }
    host.weft(&["id"]).ok();
    host.weft(&["stop"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_fast_path_needs_a_port_of_its_own() {
    let Some(lab) = Lab::new("one-port") else { return };
    let host = lab.host("h1");
    let refused = run(host.launch_command(&["--vxlan-port", "6783"]), "").failed(1);
    assert!(
        refused.contains("--vxlan-port") && refused.contains("6783"),
        "{refused}"
    );
    assert!(!host.state_dir().exists(), "nothing was made");
    let _router = host.launch(&["--vxlan-port", "6783", "--overlay", "sleeve"]);
}

#[test]
fn who_has_stopped_a_router_can_start_one() {
    let Some(lab) = Lab::new("stop-start") else { return };
    let host = lab.host("h1");
    for verb in [&["stop"][..], &["reset", "--yes"]] {
        for _ in 0..10 {
            let mut router = host.launch(&[]);
            host.weft(verb).ok();
            let port = host.netns.run(|| std::net::UdpSocket::bind("[::]:6783"));
            assert!(port.unwrap().is_ok(), "{verb:?}");
            assert_eq!(router.ended(), Some(0));
        }
    }
}
