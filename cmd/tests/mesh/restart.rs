//! Routers end, by force or in good order, and come back as who they were.

use crate::common::{Lab, until, weft};
use std::time::Duration;

/// How long after a relaunch containers may wait for each other.
const BACK: Duration = Duration::from_secs(5);

#[test]
fn a_router_killed_and_launched_again_is_the_same_and_containers_work_again() {
    let Some(lab) = Lab::new("kill-relaunch") else {
        return;
    };
    let pair = lab.pair();
    let host = &pair.right;
    let before = host.status();
    let id = host.weft(&["id"]).ok();
    pair.right_router.kill();
    assert!(
        fastpath::wire::interfaces(&host.netns)
            .unwrap()
            .contains(&"weft".to_owned()),
        "the bridge stays"
    );

    let router = host.launch_plain(&[]);
    let (_, _) = until("the containers talk again", BACK, || {
        pair.left_container.pings(pair.right_container.v4).then_some(())
    });
    println!(
        "containers talk {:?} after the relaunch",
        router.started.elapsed()
    );
    pair.left_container.wait_for(&pair.right_container);
    assert_eq!(host.weft(&["id"]).ok(), id);
    let after = host.status();
    assert_eq!(before["attachments"], after["attachments"]);
    assert_eq!(before["targets"][0]["address"], after["targets"][0]["address"]);
    // Frames go on while the new run's first records are on their way.
    until("h1 sees h2 again", Duration::from_secs(1), || {
        (pair.left.reachable() == ["h1", "h2"]).then_some(())
    });
}

#[test]
fn peers_learn_within_a_second_that_a_router_was_told_to_end() {
    let Some(lab) = Lab::new("sigterm") else { return };
    let pair = lab.pair();
    pair.right_router.signal(rustix::process::Signal::TERM);
    let (_, took) = until("h1 is alone", Duration::from_secs(1), || {
        (pair.left.reachable() == ["h1"]).then_some(())
    });
    println!("learnt after {took:?}");
    pair.right_router.terminate();
    assert!(!pair.right.socket().exists());
    assert!(pair.right.weft(&["status"]).failed(1).contains("weft launch"));
}

#[test]
fn stop_ends_the_router_and_leaves_the_containers_their_interfaces() {
    let Some(lab) = Lab::new("stop") else { return };
    let mut pair = lab.pair();
    pair.right.weft(&["stop"]).ok();
    assert_eq!(pair.right_router.ended(), Some(0));
    let inside = fastpath::wire::interfaces(&pair.right_container.netns).unwrap();
    assert!(inside.contains(&"eth0".to_owned()), "{inside:?}");
    let _router = pair.right.launch_plain(&[]);
    pair.left_container.wait_for(&pair.right_container);
}

#[test]
fn reset_removes_interfaces_identity_and_secrets() {
    let Some(lab) = Lab::new("reset") else { return };
    let mut pair = lab.pair();
    let refusal = pair.right.weft(&["reset"]).failed(1);
    assert!(refusal.contains("--yes"), "{refusal}");
    let id = pair.right.weft(&["id"]).ok();
    pair.right.weft(&["reset", "--yes"]).ok();
    assert_eq!(pair.right_router.ended(), Some(0));
    assert!(!pair.right.state_dir().exists());
    let left = fastpath::wire::interfaces(&pair.right.netns).unwrap();
    assert!(left.iter().all(|name| !name.starts_with("weft")), "{left:?}");
    let inside = fastpath::wire::interfaces(&pair.right_container.netns).unwrap();
    assert!(!inside.contains(&"eth0".to_owned()), "{inside:?}");
    let _router = pair.right.launch(&["10.9.0.1"]);
    pair.right.wait_for_peers(2);
    assert_ne!(pair.right.weft(&["id"]).ok(), id);
}

#[test]
fn reset_cleans_up_after_a_router_that_was_killed() {
    let Some(lab) = Lab::new("reset-killed") else {
        return;
    };
    let pair = lab.pair();
    pair.right_router.kill();
    pair.right.weft(&["reset", "--yes"]).ok();
    assert!(!pair.right.state_dir().exists());
    let left = fastpath::wire::interfaces(&pair.right.netns).unwrap();
    assert_eq!(left, ["lo", "net9"]);
    pair.right.weft(&["reset", "--yes"]).ok();
}

#[test]
fn reset_from_another_namespace_removes_what_is_in_the_routers() {
    let Some(lab) = Lab::new("reset-outside") else {
        return;
    };
    let mut pair = lab.pair();
    let socket = pair.right.socket().display().to_string();
    weft(&["--socket", &socket, "reset", "--yes"]).ok();
    assert_eq!(pair.right_router.ended(), Some(0));
    assert!(!pair.right.state_dir().exists());
    let left = fastpath::wire::interfaces(&pair.right.netns).unwrap();
    assert_eq!(left, ["lo", "net9"]);
}
