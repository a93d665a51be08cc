//! What stays when the router goes.

use crate::*;

/// Another router on the right host, with what the last one left in the kernel.
fn take_over(line: &mut Line, switch: Switch, tables: Tables) {
    let host = &mut line.b.host;
    host.kernel.load_guard().unwrap();
    host.kernel.set_switch(switch);
    let create = || Tap::create(&names::tap(BRIDGE), MTU);
    let tap = host.netns.run(create).unwrap().unwrap();
    tap.set_nonblocking(true).unwrap();
    host.tap = Some(tap);
    line.b.tables = tables;
}

#[test]
fn the_next_run_s_tables_hold_what_the_last_left() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    assert!(line.passes());
    let (hops, senders) = (line.b.tables.hops(), line.b.tables.senders());
    let mut macs = line.b.tables.macs();
    macs.sort_unstable();
    assert_eq!((hops.len(), senders.len(), macs.len()), (2, 1, 1));
    // The router is gone with all it held; what hangs in the kernel carries on.
    let netns = line.b.host.netns.clone();
    line.b.host.tap = None;
    line.b.host.kernel = fastpath::Linux::in_netns(netns.clone());
    assert!(line.passes());
    let (switch, tables) = netns.run(|| Switch::load(BRIDGE)).unwrap().unwrap();
    let mut again = tables.macs();
    again.sort_unstable();
    assert_eq!((tables.hops(), tables.senders(), again), (hops, senders, macs));
    take_over(&mut line, switch, tables);
    let report = line.b.host.converge();
    assert!(report.done > 0);
    assert!(line.passes());
    line.b.tables.set_hop(A, None, NOW).unwrap();
    assert!(
        !reaches((&line.left, ip("10.1.0.1")), (&line.right, ip("10.1.0.2"))),
        "the new tables count"
    );
}

#[test]
fn programs_stop_when_the_router_shows_no_life() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let patience = Duration::from_millis(400);
    let alive = |node: &mut Node| {
        let local = Local {
            patience,
            ..Local::new(node.label)
        };
        node.tables.set_local(&local).unwrap();
    };
    let lost = |line: &Line| !reaches((&line.left, ip("10.1.0.1")), (&line.right, ip("10.1.0.2")));
    // At a relay, at the source and at the destination.
    for at in 0..3 {
        let pick = |line: &'_ mut Line, what: &dyn Fn(&mut Node) -> u64| match at {
            0 => what(&mut line.r),
            1 => what(&mut line.a),
            _ => what(&mut line.b),
        };
        assert!(line.passes());
        let before = pick(&mut line, &|node| {
            alive(node);
            node.drops(DropReason::VxlanForsaken)
        });
        assert!(line.passes(), "it lives");
        std::thread::sleep(patience + Duration::from_millis(100));
        assert!(lost(&line), "it is taken for dead");
        let after = pick(&mut line, &|node| node.drops(DropReason::VxlanForsaken));
        assert!(after > before);
        // It shows life again, and is as patient as ever.
        pick(&mut line, &|node| {
            node.tables.set_local(&Local::new(node.label)).unwrap();
            0
        });
    }
    assert!(line.passes());
}

/// What becomes of a packet from the relay in which a frame claims to come from the right container: the reason that it is
/// counted under.
fn claimed_at(line: &mut Line) -> DropReason {
    const LABELLED: [u8; 2] = [0x88, 0];
    let payload = udp4(
        (Ipv4Addr::new(10, 1, 0, 2), 5),
        (Ipv4Addr::new(10, 1, 0, 9), 6),
        b"claimed",
    );
    let frame = ethernet(Mac([2, 9, 9, 9, 9, 9]), line.at_right.mac, 0x0800, &payload);
    let reasons = [DropReason::VxlanSpoofed, DropReason::VxlanNotAttached];
    let before = reasons.map(|reason| line.b.drops(reason));
    inject(
        &line.r.host.netns.clone(),
        V4[2],
        V4[3],
        64,
        &packet(LABELLED, B, VNI, &frame),
    );
    for _ in 0..200 {
        let now = reasons.map(|reason| line.b.drops(reason));
        if let Some(at) = (0..2).find(|at| now[*at] > before[*at]) {
            return reasons[at];
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it was not dropped");
}

/// The right container is one that is reached over the bridge, to its own queue.
fn over_the_bridge() -> Line {
    let mut line = Line::new();
    line.at_right.limited = true;
    line.b.host.desired.attachments[0].limited = true;
    line.b.host.converge();
    assert!(line.passes());
    assert_eq!(claimed_at(&mut line), DropReason::VxlanSpoofed);
    line
}

#[test]
fn a_container_over_the_bridge_that_ended_while_no_router_ran_is_not_here_any_more() {
    if skipped() {
        return;
    }
    let mut line = over_the_bridge();
    let netns = line.b.host.netns.clone();
    line.b.host.tap = None;
    line.b.host.kernel = fastpath::Linux::in_netns(netns.clone());
    let ended = std::mem::take(&mut line.b.host.desired.attachments);
    let delete = || {
        let mut ip = std::process::Command::new("ip");
        ip.args(["link", "delete", &ended[0].host_ifname]).status()
    };
    assert!(netns.run(delete).unwrap().unwrap().success());
    let (switch, tables) = netns.run(|| Switch::load(BRIDGE)).unwrap().unwrap();
    take_over(&mut line, switch, tables);
    line.b.host.converge();
    // With its address it may be on another host by now.
    assert_eq!(claimed_at(&mut line), DropReason::VxlanNotAttached);
}

#[test]
fn what_an_old_interface_takes_along_is_not_its_successor_s() {
    if skipped() {
        return;
    }
    let mut line = over_the_bridge();
    let successor = NetNs::create_anonymous().unwrap();
    line.b.host.attach(&successor, "eth0", &["10.1.0.3/16"]);
    let attachments = &mut line.b.host.desired.attachments;
    (attachments[1].mac, attachments[1].limited) = (line.at_right.mac, true);
    // The bridge has one place for an address, which the two would take from each other.
    line.b.host.try_converge();
    line.b.host.desired.attachments.remove(0);
    line.b.host.converge();
    assert_eq!(claimed_at(&mut line), DropReason::VxlanSpoofed);
    line.b.host.desired.attachments.clear();
    line.b.host.converge();
    assert_eq!(claimed_at(&mut line), DropReason::VxlanNotAttached);
}
