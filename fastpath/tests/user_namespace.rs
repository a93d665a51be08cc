//! In a user namespace of one's own, as the demo uses it without root: no test harness here, because only a process
//! with a single thread may enter one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Host, ip, reaches};
use fastpath::guard::GuardError;
use fastpath::user::{UserNamespaceError, enter_user_namespace};
use fastpath::{Kernel, NetNs};

fn main() {
    if let Err(error) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        assert!(!common::in_ci(), "no /dev/net/tun, and CI=true");
        println!("skipped: this user may not open /dev/net/tun ({error})");
        return;
    }
    match enter_user_namespace() {
        Ok(()) => {}
        Err(UserNamespaceError::Refused(error)) => {
            assert!(!common::in_ci(), "no user namespaces, and CI=true");
            println!("skipped: no user namespace to be had ({error})");
            return;
        }
        Err(other) => panic!("{other}"),
    }
    assert!(fastpath::user::is_root());
    containers_reach_each_other_without_the_guard();
    println!("test in a user namespace ... ok");
    std::thread::scope(|scope| {
        let again = scope.spawn(enter_user_namespace).join().unwrap();
        assert!(matches!(again, Err(UserNamespaceError::Threads)));
    });
}

fn containers_reach_each_other_without_the_guard() {
    let mut host = Host::without_guard();
    let refused = host.kernel.load_guard().unwrap_err();
    assert!(
        matches!(refused, GuardError::Load(_) | GuardError::Program(_)),
        "{refused}"
    );
    assert!(refused.is_permission(), "{refused:?}");
    let (left, right) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    host.attach(&left, "eth0", &["10.1.0.1/16", "fd00:1::1/64"]);
    host.attach(&right, "eth0", &["10.1.0.2/16", "fd00:1::2/64"]);
    assert!(reaches((&left, ip("10.1.0.1")), (&right, ip("10.1.0.2"))));
    assert!(reaches((&left, ip("fd00:1::1")), (&right, ip("fd00:1::2"))));
    host.tap = None;
    host.kernel.remove(common::BRIDGE).unwrap();
    assert_eq!(host.interfaces(), ["lo"]);
}
