//! Frames for groups of a larger network: along the source's tree, kernel by kernel.

use crate::common::{Container, Host, Lab, until};
use crate::{TRUST, overlay};
use rustix::process::Signal;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// How many of `count` broadcasts come to each of these.
fn broadcast(from: &Container, to: &[UdpSocket], port: u16, count: usize) -> Vec<usize> {
    let sender = from.udp(from.v4, 0);
    sender.set_broadcast(true).unwrap();
    for _ in 0..count {
        sender.send_to(b"to all", ("10.47.255.255", port)).unwrap();
    }
    let mut buffer = [0; 16];
    to.iter()
        .map(|socket| {
            (0..2 * count)
                .take_while(|_| socket.recv_from(&mut buffer).is_ok())
                .count()
        })
        .collect()
}

#[test]
fn broadcasts_of_six_members_take_the_source_s_tree_while_all_routers_stand_still() {
    let Some(lab) = Lab::new("fast-groups") else {
        return;
    };
    // A hub that is no member, and six members that are linked with nobody but it.
    let (_switch, hosts) = lab.hosts_on_a_switch(7);
    let mut routers = vec![hosts[0].launch(&[&TRUST[..], &["--no-discovery"]].concat())];
    for host in &hosts[1..] {
        routers.push(host.launch(&[&TRUST[..], &["--no-discovery", "10.9.0.1"]].concat()));
    }
    let members = &hosts[1..];
    members.iter().for_each(|host| host.wait_for_peers(7));
    let containers: Vec<_> = (1..).zip(members).map(|(n, host)| host.container(n)).collect();
    let (source, others) = containers.split_first().unwrap();
    for host in &members[1..] {
        until("all members are fast", Duration::from_secs(20), || {
            (overlay(&members[0], &host.name).as_deref() == Some("fast")).then_some(())
        });
    }
    const PORT: u16 = 4444;
    let sockets: Vec<_> = others
        .iter()
        .map(|other| other.udp("0.0.0.0".parse().unwrap(), PORT))
        .collect();
    // Frames take sleeve until somebody broadcasts, and the tree is proven.
    let start = Instant::now();
    let log = |host: &Host| host.log().contains("groups take the fast path");
    until("the tree is fast", Duration::from_secs(20), || {
        broadcast(source, &sockets, PORT, 1);
        log(&members[0]).then_some(())
    });
    println!("fast {:?} after the first broadcast", start.elapsed());
    let hub = hosts[0].drops("vxlan_not_parent");
    for router in &routers {
        router.signal(Signal::STOP);
    }
    let came = broadcast(source, &sockets, PORT, 20);
    for router in &routers {
        router.signal(Signal::CONT);
    }
    assert_eq!(came, [20; 5]);
    assert_eq!(hosts[0].drops("vxlan_not_parent"), hub);
    // Once again with routers that run, and one that leaves: the rest gets each frame once.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(broadcast(source, &sockets, PORT, 20), [20; 5]);
}
