//! Namespaces, the TAP device, the watcher and the underlay.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{BRIDGE, Host, ip, skipped};
use fastpath::netns::NetNsError;
use fastpath::tap::TapError;
use fastpath::watch::{Changes, Watcher};
use fastpath::wire::{self, End};
use fastpath::{NetNs, NetNsRef, Tap, names, underlay};
use std::io::{ErrorKind, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    if skipped() {
        return;
    }
    let here = NetNs::current().unwrap();
    let made = NetNs::create_anonymous().unwrap();
    assert_ne!(made, here);
    assert_eq!(made.run(|| NetNs::current().unwrap()).unwrap(), made);
    assert_eq!(NetNs::current().unwrap(), here);
    let panicked = made.run(|| panic!("on purpose"));
    assert!(matches!(panicked, Err(NetNsError::Panicked(text)) if text == "on purpose"));
    // Loopback works from the start.
    assert!(common::reaches(
        (&made, ip("127.0.0.1")),
        (&made, ip("127.0.0.1"))
    ));
}

#[test]
fn programs_start_inside() {
    if skipped() {
        return;
    }
    let made = NetNs::create_anonymous().unwrap();
    let mut command = Command::new("sleep");
    command.arg("30").stdout(Stdio::null());
    let mut child = made.spawn(command).unwrap();
    let found = NetNs::of_pid(child.id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found, made);
    assert!(NetNs::of_pid(child.id()).is_err_and(|error| error.is_gone()));
    assert!(made.spawn(Command::new("/no/such/program")).is_err());
}

#[test]
fn a_path_serves_other_processes() {
    if skipped() {
        return;
    }
    let made = NetNs::create_anonymous().unwrap();
    let mut command = Command::new("readlink");
    command.arg(made.path()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    assert_eq!(text.trim(), format!("net:[{}]", made.inode()));
    let noted = NetNsRef::at(made.path()).unwrap();
    drop(made);
    assert!(noted.open().is_err_and(|error| error.is_gone()));
}

#[test]
fn a_tap_goes_with_its_descriptor_and_its_name_is_its_own() {
    if skipped() {
        return;
    }
    let netns = NetNs::create_anonymous().unwrap();
    let make = |name: &'static str| netns.run(|| Tap::create(name, 1400)).unwrap();
    let tap = make("t0").unwrap();
    tap.set_nonblocking(true).unwrap();
    assert_eq!(tap.read(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(tap.write(&[0; 64]).is_err(), "the device is down");
    assert!(matches!(make("t0"), Err(TapError::Busy(_))));
    assert!(matches!(
        make("a-name-too-long-for-it"),
        Err(TapError::Create { .. })
    ));
    wire::set_up(
        End {
            netns: &netns,
            ifname: "t0",
        },
        true,
    )
    .unwrap();
    assert_eq!(tap.write(&[0; 64]).unwrap(), 64);
    assert_eq!(wire::interfaces(&netns).unwrap(), ["lo", "t0"]);
    drop(tap);
    // A program that another test is just starting has a copy of the descriptor until it runs.
    let deadline = Instant::now() + Duration::from_secs(5);
    while wire::interfaces(&netns).unwrap() != ["lo"] {
        assert!(Instant::now() < deadline, "the device stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_deleted_tap_says_so() {
    if skipped() {
        return;
    }
    let netns = NetNs::create_anonymous().unwrap();
    let tap = netns.run(|| Tap::create("t0", 1400)).unwrap().unwrap();
    wire::delete(End {
        netns: &netns,
        ifname: "t0",
    })
    .unwrap();
    let error = tap.read(&mut [0; 64]).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::BADFD.raw_os_error())
    );
}

/// What the watcher tells while `deed` is done.
fn watched(netns: &NetNs, deed: impl FnOnce() + Send) -> Changes {
    netns
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut watcher = Watcher::new().unwrap();
                deed();
                let mut changes = Changes::default();
                let quiet = Duration::from_millis(200);
                while let Ok(found) = tokio::time::timeout(quiet, watcher.changed()).await {
                    let found = found.unwrap();
                    changes.links |= found.links;
                    changes.addresses |= found.addresses;
                }
                changes
            })
        })
        .unwrap()
}

#[test]
fn the_watcher_tells_of_links_and_addresses() {
    if skipped() {
        return;
    }
    let (netns, other) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    let end = End {
        netns: &netns,
        ifname: "up0",
    };
    let far = End {
        netns: &other,
        ifname: "up0",
    };
    assert_eq!(watched(&netns, || {}), Changes::default());
    assert!(watched(&netns, || wire::connect(end, far, 1500).unwrap()).links);
    assert!(watched(&netns, || wire::add_address(end, ip("192.0.2.1"), 24).unwrap()).addresses);
    assert!(watched(&netns, || wire::set_up(end, false).unwrap()).links);
    assert_eq!(
        watched(&netns, || wire::add_address(far, ip("192.0.2.2"), 24).unwrap()),
        Changes::default()
    );
}

#[test]
fn the_underlay_is_what_others_can_reach() {
    if skipped() {
        return;
    }
    let mut host = Host::without_guard();
    let container = NetNs::create_anonymous().unwrap();
    host.attach(&container, "eth0", &["10.1.0.1/16"]);
    let other = NetNs::create_anonymous().unwrap();
    for (name, mtu, addresses) in [
        (
            "up0",
            9000,
            &[
                ("10.9.0.1", 24),
                ("8.8.8.1", 24),
                ("fd09::1", 64),
                ("169.254.0.1", 16),
            ][..],
        ),
        ("docker0", 1500, &[("172.17.0.1", 16)]),
        ("down0", 1500, &[("8.8.9.1", 24)]),
    ] {
        let end = End {
            netns: &host.netns,
            ifname: name,
        };
        wire::connect(
            end,
            End {
                netns: &other,
                ifname: name,
            },
            mtu,
        )
        .unwrap();
        for (address, prefix) in addresses {
            wire::add_address(end, ip(address), *prefix).unwrap();
        }
    }
    wire::set_up(
        End {
            netns: &host.netns,
            ifname: "down0",
        },
        false,
    )
    .unwrap();
    let tap = names::tap(BRIDGE);
    wire::add_address(
        End {
            netns: &host.netns,
            ifname: &tap,
        },
        ip("10.8.0.1"),
        24,
    )
    .unwrap();
    let found = host.netns.run(|| underlay::addresses(BRIDGE)).unwrap().unwrap();
    let texts: Vec<_> = found.iter().map(|found| found.address.to_string()).collect();
    assert_eq!(texts, ["8.8.8.1", "10.9.0.1", "fd09::1"]);
    assert!(
        found
            .iter()
            .all(|found| found.interface == "up0" && found.mtu == 9000)
    );
    assert_eq!(
        found.iter().map(|found| found.global).collect::<Vec<_>>(),
        [true, false, false]
    );
}

#[test]
fn the_way_out_has_an_interface_a_source_and_an_mtu() {
    if skipped() {
        return;
    }
    let (netns, other) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    let end = End {
        netns: &netns,
        ifname: "up0",
    };
    wire::connect(
        end,
        End {
            netns: &other,
            ifname: "up0",
        },
        1420,
    )
    .unwrap();
    wire::add_address(end, ip("192.0.2.1"), 24).unwrap();
    wire::add_address(end, ip("2001:db8::1"), 64).unwrap();
    let toward = |address| netns.run(|| underlay::route_to(address)).unwrap();
    let near = toward(ip("192.0.2.7")).unwrap();
    assert_eq!(
        (near.interface.as_str(), near.mtu, near.gateway),
        ("up0", 1420, None)
    );
    assert_eq!(near.source, Some(ip("192.0.2.1")));
    assert!(toward(ip("198.51.100.1")).is_err());
    wire::add_route(&netns, ip("0.0.0.0"), 0, ip("192.0.2.254")).unwrap();
    assert_eq!(
        toward(ip("198.51.100.1")).unwrap().gateway,
        Some(ip("192.0.2.254"))
    );
    let near6 = toward(ip("2001:db8::7")).unwrap();
    assert_eq!((near6.interface.as_str(), near6.mtu), ("up0", 1420));
}
