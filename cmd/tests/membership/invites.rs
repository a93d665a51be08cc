//! What `weft launch` is given, what is stored, and which of the two counts.

use crate::common::{Host, Lab, fresh_secret, run, until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(8);

/// What a launch that must fail says.
fn refused(host: &Host, args: &[&str], secret: Option<&str>) -> String {
    let mut command = host.launch_command(args);
    if let Some(secret) = secret {
        command.env("WEFT_SECRET", secret);
    }
    run(command, "").failed(1)
}

#[test]
fn the_first_router_makes_a_secret_and_says_what_to_do_next() {
    let Some(lab) = Lab::new("first") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let _first = hosts[0].launch_plain(&[]);
    let (said, id) = (hosts[0].log(), hosts[0].weft(&["id"]).ok());
    let invite = hosts[0].weft(&["invite"]).ok();
    assert!(
        invite.ends_with('\n') && !invite.trim().contains(char::is_whitespace),
        "{invite:?}"
    );
    for part in [
        "h1",
        id.trim(),
        "UDP port 6783",
        &format!("weft launch {}", invite.trim()),
        "systemd-run --unit weft weft launch",
        "weft attach",
    ] {
        assert!(said.contains(part), "nothing about {part:?} in {said}");
    }
    let second = hosts[1].launch_plain(&[invite.trim()]);
    hosts[1].wait_for_peers(2);
    assert!(
        !hosts[1].log().contains("weft launch"),
        "only the first says what to do next"
    );
    // Whoever may list processes would have the mesh's secret.
    let line = std::fs::read(format!("/proc/{}/cmdline", second.pid())).unwrap();
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(
        line.contains("launch") && !line.contains("weft-invite"),
        "{line:?}"
    );

    // Secret and targets are stored: a plain launch finds its mesh again.
    second.terminate();
    let _second = hosts[1].launch_plain(&[]);
    hosts[1].wait_for_peers(2);
}

#[test]
fn an_invite_is_read_from_standard_input() {
    let Some(lab) = Lab::new("stdin") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let _first = hosts[0].launch_plain(&[]);
    let invite = hosts[0].weft(&["invite"]).ok();
    let router = hosts[1].exec_reading(&["-"], &invite);
    hosts[1].wait_for_socket();
    hosts[1].wait_for_peers(2);
    let line = std::fs::read(format!("/proc/{}/cmdline", router.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&line).contains(invite.trim()));
}

#[test]
fn an_invite_of_a_later_router_and_an_advertised_address_work_too() {
    let Some(lab) = Lab::new("invite-chain") else {
        return;
    };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let _first = hosts[0].launch_plain(&["--advertise", "192.0.2.1:7000"]);
    let first = hosts[0].weft(&["invite"]).ok();
    let _second = hosts[1].launch_plain(&[first.trim()]);
    hosts[1].wait_for_peers(2);
    let second = hosts[1].weft(&["invite"]).ok();
    let _third = hosts[2].launch_plain(&[second.trim()]);
    hosts[2].wait_for_peers(3);
    let targets = hosts[1].status()["targets"].to_string();
    assert!(targets.contains("192.0.2.1:7000"), "{targets}");
}

#[test]
fn an_invite_to_another_mesh_is_refused_unless_there_never_was_a_peer() {
    let Some(lab) = Lab::new("two-meshes") else { return };
    let (_switch, hosts) = lab.hosts_on_a_switch(3);
    let _one = hosts[0].launch_plain(&[]);
    let one = hosts[0].weft(&["invite"]).ok();
    let other = hosts[1].launch_plain(&[]);
    let invite = hosts[1].weft(&["invite"]).ok();
    other.terminate();

    // It never had a peer: it joins, and says what it dropped.
    let other = hosts[1].launch_plain(&[one.trim()]);
    hosts[1].wait_for_peers(2);
    assert!(
        hosts[1].log().contains("drops its own secret"),
        "{}",
        hosts[1].log()
    );
    until("that it had a peer is stored", SOON, || {
        let memory = std::fs::read_to_string(hosts[1].state_dir().join("memory.json")).unwrap();
        memory.contains("\"met\": true").then_some(())
    });
    other.terminate();

    let refusal = refused(&hosts[1], &[invite.trim()], None);
    assert!(refusal.contains("weft reset"), "{refusal}");
    let refusal = refused(&hosts[1], &[], Some(&fresh_secret()));
    assert!(refusal.contains("weft reset"), "{refusal}");
    let _other = hosts[1].launch_plain(&[]);
    hosts[1].wait_for_peers(2);
}

#[test]
fn a_peer_without_any_secret_is_an_error_and_an_empty_secret_is_none() {
    let Some(lab) = Lab::new("no-secret") else { return };
    let host = lab.host("h1");
    for secret in [None, Some(""), Some("  ")] {
        let refusal = refused(&host, &["10.9.0.1"], secret);
        for part in ["10.9.0.1", "--secret-file", "WEFT_SECRET", "weft invite"] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }
    let refusal = refused(&host, &["10.9.0.1"], Some("password"));
    assert!(refusal.contains("weft secret new"), "{refusal}");
    let mut file = lab.dir.clone();
    file.push("short");
    std::fs::write(&file, "hunter2").unwrap();
    let refusal = refused(&host, &["--secret-file", file.to_str().unwrap()], None);
    assert!(refusal.contains("weft secret new"), "{refusal}");

    let _router = host.exec(&[], Some(""));
    host.wait_for_socket();
    assert!(host.log().contains("first router"), "{}", host.log());
}

#[test]
fn a_secret_file_works_as_the_environment_does() {
    let Some(lab) = Lab::new("secret-file") else {
        return;
    };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let _first = hosts[0].launch(&[]);
    let file = lab.dir.join("token");
    std::fs::write(&file, format!("{}\n", lab.secret)).unwrap();
    let _second = hosts[1].launch_plain(&["--secret-file", file.to_str().unwrap(), "10.9.0.1"]);
    hosts[1].wait_for_peers(2);
}
