//! `weft attach` and `weft detach`.

use crate::common::run::weft_command;
use crate::common::{Container, Lab, run, until};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// From the command's return until other hosts get answers.
const REACHABLE: Duration = Duration::from_millis(200);

fn addresses(container: &Container) -> Vec<String> {
    let text = container
        .run("ip", &["-o", "addr", "show", "dev", "eth0", "scope", "global"])
        .ok();
    text.lines()
        .map(|line| line.split_whitespace().nth(3).unwrap().to_owned())
        .collect()
}

#[test]
fn attaching_twice_changes_nothing_and_another_address_is_added() {
    let Some(lab) = Lab::new("attach") else { return };
    let pair = lab.pair();
    let container = &pair.right_container;
    let [v4, v6] = container.cidrs();
    let before = pair.right.status()["attachments"].clone();
    assert_eq!(container.attach_to(&pair.right).ok(), format!("{v4}\n{v6}\n"));
    assert_eq!(pair.right.status()["attachments"], before);
    assert_eq!(addresses(container), [v4.as_str(), v6.as_str()]);

    let more = "10.32.7.7/12";
    let out = pair
        .right
        .weft(&["attach", "--netns", &container.path(), more])
        .ok();
    assert_eq!(out, format!("{v4}\n{v6}\n{more}\n"));
    let out = pair
        .right
        .weft(&["attach", "--json", "--netns", &container.path(), more])
        .ok();
    assert_eq!(
        serde_json::from_str::<Vec<String>>(&out).unwrap(),
        [v4.as_str(), v6.as_str(), more]
    );
    let (_, took) = until("the added address answers", Duration::from_secs(3), || {
        pair.left_container
            .pings("10.32.7.7".parse().unwrap())
            .then_some(())
    });
    println!("the added address answers after {took:?}");

    pair.right.weft(&["detach", "--netns", &container.path()]).ok();
    assert!(pair.right.status()["attachments"].as_array().unwrap().is_empty());
    let inside = fastpath::wire::interfaces(&container.netns).unwrap();
    assert_eq!(inside, ["lo"]);
    assert!(!pair.left_container.pings(container.v4));
    let again = pair
        .right
        .weft(&["detach", "--netns", &container.path()])
        .failed(1);
    assert!(again.contains("eth0"), "{again}");
}

#[test]
fn a_container_is_reachable_from_other_hosts_200_ms_after_attach_returned() {
    let Some(lab) = Lab::new("reachable") else { return };
    let pair = lab.pair();
    let mut slowest = Duration::ZERO;
    for number in 10..20 {
        let container = Container::detached(number);
        container.attach_to(&pair.right).ok();
        let returned = Instant::now();
        std::thread::sleep(REACHABLE / 2);
        let answered = answers_within(&pair.left_container, container.v4, REACHABLE / 2);
        assert!(
            answered,
            "{} does not answer, {:?} after attach",
            container.v4,
            returned.elapsed()
        );
        slowest = slowest.max(returned.elapsed());
    }
    println!("the slowest of ten answered after {slowest:?}");
}

/// One ping, sent now.
fn answers_within(from: &Container, to: IpAddr, time: Duration) -> bool {
    let time = time.as_secs_f64().to_string();
    from.run("ping", &["-n", "-c1", "-W", &time, &to.to_string()])
        .code
        == Some(0)
}

#[test]
fn names_paths_and_processes_tell_which_container_is_meant() {
    let Some(lab) = Lab::new("which") else { return };
    let pair = lab.pair();
    let name = format!("weft-test-{}", std::process::id());
    crate::common::run_in(&pair.right.netns, "ip", &["netns", "add", &name]).ok();
    let _removed = Named(name.clone());
    assert_eq!(
        pair.right
            .weft(&["attach", "--netns", &name, "10.32.1.1/12"])
            .ok(),
        "10.32.1.1/12\n"
    );
    pair.left_container
        .run("ping", &["-n", "-c3", "-i0.2", "-W1", "10.32.1.1"])
        .ok();
    let row = pair
        .right
        .row("attachments", "netns", &format!("/run/netns/{name}"))
        .unwrap();
    assert_eq!(
        (&row["pid"], &row["ifname"]),
        (&serde_json::Value::Null, &"eth0".into())
    );

    let container = Container::detached(9);
    let mut sleeper = crate::common::start(&container.netns, "sleep", &["100"]).0;
    let pid = sleeper.id().to_string();
    let out = pair
        .right
        .weft(&["attach", "--pid", &pid, "--ifname", "mesh0", "fd32::99/64"])
        .ok();
    assert_eq!(out, "fd32::99/64\n");
    pair.left_container
        .run("ping", &["-n", "-c3", "-i0.2", "-W1", "fd32::99"])
        .ok();
    let row = pair.right.row("attachments", "ifname", "mesh0").unwrap();
    assert_eq!(row["pid"].to_string(), pid);
    pair.right
        .weft(&["detach", "--pid", &pid, "--ifname", "mesh0"])
        .ok();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

/// A named namespace that goes with the test.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip")
            .args(["netns", "del", &self.0])
            .status();
    }
}

#[test]
fn what_cannot_be_attached_is_refused_and_leaves_nothing_behind() {
    let Some(lab) = Lab::new("refused") else { return };
    let pair = lab.pair();
    let taken = Container::detached(3);
    let (path, v4) = (taken.path(), format!("{}/12", pair.right_container.v4));
    let attach = |netns: &str, cidr: &str| pair.right.weft(&["attach", "--netns", netns, cidr]).failed(1);
    assert!(attach("no-such-namespace", "10.32.0.9/12").contains("no-such-namespace"));
    assert!(attach("/etc/hostname", "10.32.0.9/12").contains("/etc/hostname"));
    for cidr in [
        "224.0.0.1/12",
        "10.32.0.0/12",
        "10.47.255.255/12",
        "127.0.0.1/8",
        "0.0.0.0/0",
        "ff02::1/64",
    ] {
        assert!(attach(&path, cidr).contains(cidr), "{cidr}");
    }
    assert!(attach(&path, &v4).contains("already"));
    assert_eq!(fastpath::wire::interfaces(&taken.netns).unwrap(), ["lo"]);
    assert_eq!(pair.right.status()["attachments"].as_array().unwrap().len(), 1);
}

#[test]
fn who_asks_several_times_at_once_and_is_refused_leaves_nothing_behind() {
    let Some(lab) = Lab::new("at-once") else { return };
    let host = lab.host("h1");
    let _router = host.launch(&[]);
    let container = Container::detached(1);
    container
        .run(
            "ip",
            &["link", "add", "eth0", "type", "veth", "peer", "name", "other"],
        )
        .ok();
    let (socket, path, [v4, v6]) = (host.socket(), container.path(), container.cidrs());
    let ask = || {
        let mut command = weft_command(&["attach", "--netns", &path, &v4, &v6]);
        command.env("WEFT_SOCKET", &socket);
        run(command, "")
    };
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let refused = ask().failed(1);
                    assert!(refused.contains("another interface named eth0"), "{refused}");
                });
            }
        });
        let left = host.status()["attachments"].clone();
        assert!(left.as_array().unwrap().is_empty(), "{left:#}");
    }
    // And who succeeds is told so, however many ask.
    container.run("ip", &["link", "del", "eth0"]).ok();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| ask().ok());
        }
    });
    assert_eq!(addresses(&container), container.cidrs());
}

#[test]
fn a_router_with_containers_gets_no_other_bridge() {
    let Some(lab) = Lab::new("other-bridge") else {
        return;
    };
    let host = lab.host("h1");
    let router = host.launch(&[]);
    let container = host.container(1);
    router.terminate();
    let refused = run(host.launch_command(&["--bridge", "other"]), "").failed(1);
    assert!(refused.contains("--bridge weft"), "{refused}");
    let router = host.launch(&[]);
    assert_eq!(addresses(&container), container.cidrs());
    host.weft(&["detach", "--netns", &container.path()]).ok();
    router.terminate();
    let _router = host.launch(&["--bridge", "other"]);
    container.attach_to(&host).ok();
}

#[test]
fn who_has_an_address_after_another_is_found_at_once() {
    let Some(lab) = Lab::new("heirs") else { return };
    let pair = lab.pair();
    let beside = pair.right.container(3);
    beside.wait_for(&pair.right_container);
    pair.left_container.wait_for(&pair.right_container);
    pair.right
        .weft(&["detach", "--netns", &pair.right_container.path()])
        .ok();
    let heir = pair.right.container(2);
    // Both still have the Ethernet address of the one before in their tables.
    for from in [&beside, &pair.left_container] {
        for to in [heir.v4, heir.v6] {
            let (_, took) = until("the new one answers", Duration::from_secs(3), || {
                from.pings(to).then_some(())
            });
            println!("{} reaches {to} after {took:?}", from.v4);
        }
    }
}
