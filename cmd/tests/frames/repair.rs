//! What somebody deletes is made again.

use crate::common::{Lab, Pair, run_in, until};
use std::time::Duration;

const REPAIRED: Duration = Duration::from_secs(5);

/// The interface of the host whose name fits.
fn interface(pair: &Pair, fits: impl Fn(&str) -> bool) -> String {
    let found = fastpath::wire::interfaces(&pair.right.netns).unwrap();
    let name = found.iter().find(|name| fits(name));
    name.unwrap_or_else(|| panic!("{found:?}")).clone()
}

/// Deletes the interface; the containers must reach each other again in time.
fn survives_deletion(pair: &Pair, name: &str) {
    run_in(&pair.right.netns, "ip", &["link", "del", name]).ok();
    let (_, took) = until(
        &format!("the containers talk again without {name}"),
        REPAIRED,
        || pair.left_container.pings(pair.right_container.v4).then_some(()),
    );
    println!("{name} repaired after {took:?}");
    pair.left_container.wait_for(&pair.right_container);
}

#[test]
fn veth_bridge_and_tap_are_repaired_within_five_seconds() {
    let Some(lab) = Lab::new("repair") else { return };
    let pair = lab.pair();
    let before = pair.right.status()["attachments"].clone();
    let bridge = "weft";
    let tap = fastpath::names::tap(bridge);
    let veth = interface(&pair, |name| name.starts_with("wv"));
    survives_deletion(&pair, &veth);
    survives_deletion(&pair, &tap);
    survives_deletion(&pair, bridge);
    assert_eq!(pair.right.status()["attachments"], before);
}

#[test]
fn settings_that_somebody_changes_are_put_right() {
    let Some(lab) = Lab::new("put-right") else { return };
    let pair = lab.pair();
    let veth = interface(&pair, |name| name.starts_with("wv"));
    let changes: [&[&str]; 4] = [
        &["link", "set", &veth, "nomaster"],
        &["link", "set", &veth, "down"],
        &["link", "set", "weft", "down"],
        &["link", "set", &fastpath::names::tap("weft"), "nomaster"],
    ];
    for change in changes {
        run_in(&pair.right.netns, "ip", change).ok();
        until(
            &format!("the containers talk again after {change:?}"),
            REPAIRED,
            || pair.left_container.pings(pair.right_container.v4).then_some(()),
        );
    }
}

#[test]
fn a_container_that_ends_is_detached_by_itself() {
    let Some(lab) = Lab::new("gone") else { return };
    let Pair {
        right,
        right_container,
        left_container,
        right_router: _router,
        ..
    } = lab.pair();
    let address = right_container.v4;
    drop(right_container);
    until("it is detached", REPAIRED, || {
        right.status()["attachments"]
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
    assert!(!left_container.pings(address));
}
