//! Ciphers and trusted networks.

use crate::common::capture::{Capture, holds};
use crate::common::traffic::tcp;
use crate::common::{Container, Host, Lab, Router, Switch, until};
use std::time::Duration;

const MARKER: &str = "<the-marker-of-a-plain-message>";
const SOON: Duration = Duration::from_secs(8);

/// Two linked hosts with a container each, launched with these options.
struct Two {
    left: Container,
    right: Container,
    _routers: [Router; 2],
    hosts: Vec<Host>,
    _switch: Switch,
}

impl Two {
    fn new(lab: &Lab, left: &[&str], right: &[&str]) -> Self {
        let (switch, hosts) = lab.hosts_on_a_switch(2);
        let routers = [
            hosts[0].launch(left),
            hosts[1].launch(&[right, &["10.9.0.1"]].concat()),
        ];
        hosts.iter().for_each(|host| host.wait_for_peers(2));
        Self {
            left: hosts[0].container(1),
            right: hosts[1].container(2),
            _routers: routers,
            hosts,
            _switch: switch,
        }
    }

    /// True if what the containers send is readable on the wire.
    fn in_clear(&self, lab: &Lab) -> bool {
        self.left.wait_for(&self.right);
        let capture = Capture::start(&self.hosts[0].netns, "net9", lab.dir.join("wire"));
        let payload = MARKER.repeat(20_000);
        tcp(&self.left, &self.right, self.right.v4, payload.as_bytes());
        let (path, bytes) = capture.stop();
        assert!(bytes > payload.len() as u64);
        holds(&path, MARKER)
    }

    fn encrypted(&self) -> [bool; 2] {
        [0, 1].map(|at| self.hosts[at].status()["encrypted"].as_bool().unwrap())
    }
}

#[test]
fn subnets_that_both_ends_trust_are_crossed_in_clear() {
    let Some(lab) = Lab::new("trusted") else { return };
    let trust: &[&str] = &["--trusted-subnets", "10.9.0.0/24,fd09::/64"];
    let two = Two::new(&lab, trust, trust);
    two.left.wait_for(&two.right);
    until("both say that it is not encrypted", SOON, || {
        (two.encrypted() == [false, false]).then_some(())
    });
    let row = two.hosts[0].data_row("h2").unwrap();
    assert_eq!(row["encrypted"], false);
    assert!(two.in_clear(&lab));
}

#[test]
fn trust_of_one_end_alone_leaves_all_encrypted() {
    let Some(lab) = Lab::new("half-trusted") else {
        return;
    };
    let two = Two::new(&lab, &["--trusted-subnets", "10.9.0.0/24,fd09::/64"], &[]);
    assert!(!two.in_clear(&lab));
    assert_eq!(two.encrypted(), [true, true]);
    assert_eq!(two.hosts[0].data_row("h2").unwrap()["encrypted"], true);
}

#[test]
fn traffic_passes_with_a_cipher_forced_on_one_end_or_both() {
    let Some(lab) = Lab::new("cipher") else { return };
    let aes: &[&str] = &["--cipher", "aes-256-gcm"];
    let chacha: &[&str] = &["--cipher", "chacha20-poly1305"];
    for (left, right) in [(aes, aes), (chacha, chacha), (chacha, &[][..]), (&[][..], aes)] {
        let two = Two::new(&lab, left, right);
        two.left.wait_for(&two.right);
        drop(two);
        for name in ["h1", "h2"] {
            std::fs::remove_dir_all(lab.dir.join(name)).unwrap();
        }
    }
}

#[test]
fn ciphers_that_do_not_meet_are_named_and_no_frame_passes() {
    let Some(lab) = Lab::new("no-cipher") else { return };
    let two = Two::new(
        &lab,
        &["--cipher", "aes-256-gcm"],
        &["--cipher", "chacha20-poly1305"],
    );
    assert!(!two.left.pings(two.right.v4));
    assert!(!two.right.pings(two.left.v6));
    until("a log names the cipher", SOON, || {
        two.hosts
            .iter()
            .any(|host| host.log().contains("cipher"))
            .then_some(())
    });
    let refused = two
        .hosts
        .iter()
        .map(|host| host.drops("bad_handshake"))
        .sum::<u64>();
    assert!(refused > 0);
    assert!(!two.left.pings(two.right.v4));
}
