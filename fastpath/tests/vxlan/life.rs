//! What stays when the router goes.

use crate::*;

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
    line.b.host.kernel.load_guard().unwrap();
    line.b.host.kernel.set_switch(switch);
    let tap = netns
        .run(|| Tap::create(&names::tap(BRIDGE), MTU))
        .unwrap()
        .unwrap();
    tap.set_nonblocking(true).unwrap();
    line.b.host.tap = Some(tap);
    line.b.tables = tables;
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
