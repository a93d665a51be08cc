//! Frames for groups: as copies, and along trees.

use crate::*;
use fastpath::vxlan::Place;

#[test]
fn a_frame_for_a_group_comes_once_to_each_member_or_to_the_router() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let third = NetNs::create_anonymous().unwrap();
    line.r.host.attach(&third, "eth0", &["10.1.0.3/16"]);
    line.r.host.desired.attachments[0].mac = Mac([2, 0xc, 0xc, 0xc, 0, 1]);
    line.r.host.converge();
    let to_all = |kind, word: &[u8]| {
        let payload = udp4((Ipv4Addr::new(10, 1, 0, 1), 5), (Ipv4Addr::BROADCAST, 6), word);
        ethernet(Mac::BROADCAST, line.at_left.mac, kind, &payload)
    };
    let frame = to_all(0x0800, b"to all");
    let members = [&line.right, &third].map(|netns| raw(netns, "eth0"));
    let out = raw(&line.left, "eth0");
    let send = |line: &mut Line| {
        line.a.host.tap_frames();
        for _ in 0..10 {
            out.send(&frame).unwrap();
        }
        let came = members.each_ref().map(|socket| {
            let (mut buffer, mut count) = ([0; 2048], 0);
            while let Ok(length) = socket.receive(&mut buffer) {
                count += usize::from(buffer[..length].ends_with(b"to all"));
            }
            count
        });
        let frames = line.a.host.tap_frames();
        (
            came,
            frames.iter().filter(|frame| frame.ends_with(b"to all")).count(),
        )
    };
    assert_eq!(send(&mut line), ([0, 0], 10));
    line.a.tables.set_group(VNI, &[B, R]).unwrap();
    assert_eq!(send(&mut line), ([10, 10], 0));
    // One of them is not fast: the router gets it, and nobody a copy.
    let hop = Hop {
        address: ip(V4[1]),
        distance: 1,
        carries: false,
        relays: true,
    };
    line.a.tables.set_hop(R, Some(hop), NOW).unwrap();
    assert_eq!(send(&mut line), ([0, 0], 10));
    let hop = Some(Hop { carries: true, ..hop });
    line.a.tables.set_hop(R, hop, NOW).unwrap();
    // What the router answers itself comes to it in any case.
    line.a.host.tap_frames();
    let ask = arp(
        line.at_left.mac,
        (line.at_left.mac, Ipv4Addr::new(10, 1, 0, 1)),
        Ipv4Addr::new(10, 1, 0, 2),
        1,
    );
    out.send(&ask).unwrap();
    assert!(line.a.host.tap_frames().contains(&ask));
    line.a.tables.set_group(VNI, &[]).unwrap();
    assert_eq!(send(&mut line), ([0, 0], 10));
    line.no_drops();
}

/// S with a container, two relays X and Y, and a member M with a container; everybody reaches everybody.
struct Square {
    s: Node,
    x: Node,
    y: Node,
    m: Node,
    from: NetNs,
    to: NetNs,
    source_mac: Mac,
}

const S: PeerLabel = PeerLabel(1);
const X: PeerLabel = PeerLabel(2);
const Y: PeerLabel = PeerLabel(3);
const M: PeerLabel = PeerLabel(4);

impl Square {
    fn new() -> Self {
        let mut nodes = [S, X, Y, M].map(Node::new);
        for low in 0..4 {
            for high in low + 1..4 {
                let addresses = [format!("10.{low}.{high}.1"), format!("10.{low}.{high}.2")];
                let names = [format!("to{high}"), format!("to{low}")];
                wire(
                    &nodes[low].host.netns,
                    &nodes[high].host.netns,
                    (&names[0], &names[1]),
                    (&addresses[0], &addresses[1]),
                );
                let labels = [nodes[low].label, nodes[high].label];
                nodes[low].sender(&addresses[1], labels[1]);
                nodes[low].hop(labels[1], &addresses[1], 1);
                nodes[high].sender(&addresses[0], labels[0]);
                nodes[high].hop(labels[0], &addresses[0], 1);
            }
        }
        let [mut s, x, y, mut m] = nodes;
        let (from, to) = (
            NetNs::create_anonymous().unwrap(),
            NetNs::create_anonymous().unwrap(),
        );
        let source_mac = s.host.attach(&from, "eth0", &["10.1.0.1/16"]).mac;
        m.host.attach(&to, "eth0", &["10.1.0.2/16"]);
        m.host.desired.attachments[0].mac = Mac([2, 0xb, 0xb, 0xb, 0, 1]);
        m.host.converge();
        Self {
            s,
            x,
            y,
            m,
            from,
            to,
            source_mac,
        }
    }

    fn place(node: &mut Node, source: PeerLabel, parent: PeerLabel, children: &[PeerLabel]) {
        let is_own = source == PeerLabel::NONE;
        let place = Place {
            parent,
            children: children.to_vec(),
            depth: if is_own { 8 } else { 0 },
            ready: is_own,
        };
        node.tables.set_tree(VNI, source, Some(&place)).unwrap();
    }

    /// How many of `count` broadcasts of S's container come to M's.
    fn broadcast(&self, count: usize) -> usize {
        let payload = udp4(
            (Ipv4Addr::new(10, 1, 0, 1), 5),
            (Ipv4Addr::BROADCAST, 6),
            b"to all",
        );
        let frame = ethernet(Mac::BROADCAST, self.source_mac, 0x0800, &payload);
        let (eth0, out) = (raw(&self.to, "eth0"), raw(&self.from, "eth0"));
        for _ in 0..count {
            out.send(&frame).unwrap();
        }
        let (mut buffer, mut came) = ([0; 2048], 0);
        while let Ok(length) = eth0.receive(&mut buffer) {
            came += usize::from(buffer[..length].ends_with(b"to all"));
        }
        came
    }

    fn not_parent(&mut self) -> [u64; 3] {
        [&mut self.x, &mut self.y, &mut self.m].map(|node| node.drops(DropReason::VxlanNotParent))
    }
}

#[test]
fn a_broadcast_along_contradictory_trees_neither_loops_nor_doubles() {
    if skipped() {
        return;
    }
    let mut square = Square::new();
    const COUNT: usize = 20;
    // A tree as it should be: S – X – M, and Y beside.
    Square::place(&mut square.s, PeerLabel::NONE, PeerLabel::NONE, &[X, Y]);
    Square::place(&mut square.x, S, S, &[M]);
    Square::place(&mut square.y, S, S, &[]);
    Square::place(&mut square.m, S, X, &[]);
    assert_eq!(square.broadcast(COUNT), COUNT);
    assert_eq!(square.not_parent(), [0, 0, 0]);
    // Each relay takes the other for its child, and both take M for theirs.
    Square::place(&mut square.x, S, S, &[Y, M]);
    Square::place(&mut square.y, S, S, &[X, M]);
    assert_eq!(square.broadcast(COUNT), COUNT, "nothing is doubled");
    // Each contradiction is counted, and with it what the container says on its own (MLD).
    let about = |counts: [u64; 3], wanted: [usize; 3]| {
        let pairs = counts.into_iter().zip(wanted);
        let near = |(count, wanted): (u64, usize)| (wanted as u64..=wanted as u64 + 5).contains(&count);
        assert!(pairs.clone().all(near), "{counts:?} {wanted:?}");
    };
    about(square.not_parent(), [COUNT; 3]);
    // Each takes the other for its parent as well: nothing of S's gets in.
    Square::place(&mut square.x, S, Y, &[Y, M]);
    Square::place(&mut square.y, S, X, &[X, M]);
    assert_eq!(square.broadcast(COUNT), 0);
    about(square.not_parent(), [2 * COUNT, 2 * COUNT, COUNT]);
    // A ring of three that a forged packet gets into: it ends, and is counted.
    Square::place(&mut square.x, S, M, &[Y]);
    Square::place(&mut square.y, S, X, &[M]);
    Square::place(&mut square.m, S, Y, &[X]);
    let payload = udp4(
        (Ipv4Addr::new(10, 1, 0, 1), 5),
        (Ipv4Addr::BROADCAST, 6),
        b"to all",
    );
    let frame = ethernet(Mac::BROADCAST, square.source_mac, 0x0800, &payload);
    let bytes = packet([0x88, 0x08], S, VNI, &frame);
    let eth0 = raw(&square.to, "eth0");
    inject(&square.m.host.netns, "10.1.3.2", "10.1.3.1", 255, &bytes);
    std::thread::sleep(Duration::from_millis(200));
    let (mut buffer, mut came) = ([0; 2048], 0);
    while let Ok(length) = eth0.receive(&mut buffer) {
        came += usize::from(buffer[..length].ends_with(b"to all"));
    }
    // X with seven left, Y six, M five: M delivers with five and with two left; with none left Y ends it.
    assert_eq!(came, 2);
    let limits =
        [&mut square.x, &mut square.y, &mut square.m].map(|node| node.drops(DropReason::VxlanHopLimit));
    assert_eq!(limits, [0, 1, 0]);
}

#[test]
fn a_tree_that_is_not_ready_leaves_frames_to_sleeve_and_tells_that_it_is_used() {
    if skipped() {
        return;
    }
    let mut square = Square::new();
    assert_eq!(square.s.tables.tree_used(VNI), None);
    Square::place(&mut square.s, PeerLabel::NONE, PeerLabel::NONE, &[M]);
    Square::place(&mut square.m, S, S, &[]);
    let place = Place {
        children: vec![M],
        depth: 1,
        ..Place::default()
    };
    square
        .s
        .tables
        .set_tree(VNI, PeerLabel::NONE, Some(&place))
        .unwrap();
    square.s.host.tap_frames();
    assert_eq!(square.broadcast(3), 0);
    let to_sleeve = square.s.host.tap_frames();
    assert_eq!(
        to_sleeve
            .iter()
            .filter(|frame| frame.ends_with(b"to all"))
            .count(),
        3
    );
    let used = square.s.tables.tree_used(VNI).unwrap();
    assert!(used < Duration::from_secs(5), "{used:?}");
    // What is written of it later does not make that forgotten.
    let place = Place { ready: true, ..place };
    square
        .s
        .tables
        .set_tree(VNI, PeerLabel::NONE, Some(&place))
        .unwrap();
    assert!(square.s.tables.tree_used(VNI).is_some());
    assert_eq!(square.broadcast(3), 3);
}
