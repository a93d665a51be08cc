//! Networks with the same addresses.

use crate::*;

/// A second network on a host, whose container has the very addresses of the first's.
fn second_network(node: &mut Node, like: &Attachment, netns: &NetNs) -> (Tap, Desired) {
    const SECOND: &str = "weftb";
    let tap = node
        .host
        .netns
        .run(|| Tap::create(&names::tap(SECOND), MTU))
        .unwrap()
        .unwrap();
    let netns = NetNsRef {
        path: netns.path(),
        inode: netns.inode(),
    };
    let mut attachment = Attachment::new(SECOND, netns, "eth0", like.addresses.clone(), [0; 6]);
    attachment.mac = like.mac;
    let first = node.host.desired.fast.clone().unwrap();
    let desired = Desired {
        bridge: SECOND.to_owned(),
        bridge_mac: None,
        mtu: MTU,
        tap: names::tap(SECOND),
        fast: Some(first.of_network(SECOND, OTHER_VNI)),
        plain: None,
        gateway: None,
        attachments: vec![attachment],
    };
    assert!(converge(&mut node.host.kernel, &desired).unwrap().is_reached());
    (tap, desired)
}

#[test]
fn networks_with_the_same_addresses_do_not_meet() {
    if skipped() {
        return;
    }
    let mut line = Line::new();
    let (left, right) = (
        NetNs::create_anonymous().unwrap(),
        NetNs::create_anonymous().unwrap(),
    );
    let _left = second_network(&mut line.a, &line.at_left, &left);
    let _right = second_network(&mut line.b, &line.at_right, &right);
    // What each network's containers say, and what comes to whom.
    let words: [(&NetNs, &NetNs, &[u8]); 2] =
        [(&line.left, &line.right, b"first"), (&left, &right, b"second")];
    let heard = |netns| raw(netns, "eth0");
    let both = [heard(&line.right), heard(&right)];
    let say = |from: &NetNs, word: &[u8]| {
        let payload = udp4(
            (Ipv4Addr::new(10, 1, 0, 1), 5),
            (Ipv4Addr::new(10, 1, 0, 2), 6),
            word,
        );
        let frame = ethernet(line.at_right.mac, line.at_left.mac, 0x0800, &payload);
        raw(from, "eth0").send(&frame).unwrap();
    };
    let came = |socket: &wire::PacketSocket, word: &[u8]| {
        let (mut buffer, mut count) = ([0; 2048], 0);
        while let Ok(length) = socket.receive(&mut buffer) {
            count += usize::from(buffer[..length].ends_with(word));
        }
        count
    };
    // The second network is not known to the programs yet: nothing comes anywhere.
    say(&left, b"second");
    assert_eq!([came(&both[0], b"second"), came(&both[1], b"second")], [0, 0]);
    for node in [&mut line.a, &mut line.b] {
        let here = node.label == A;
        let (mac, label) = if here {
            (line.at_right.mac, B)
        } else {
            (line.at_left.mac, A)
        };
        node.tables.set_mac(OTHER_VNI, mac, label).unwrap();
    }
    for (from, _, word) in words {
        for _ in 0..100 {
            say(from, word);
        }
    }
    let counts = both.each_ref().map(|socket| {
        let (mut buffer, mut counts) = ([0; 2048], [0, 0]);
        while let Ok(length) = socket.receive(&mut buffer) {
            for (count, (_, _, word)) in counts.iter_mut().zip(words) {
                let frame = &buffer[..length];
                // What the container answers, that nobody listens, ends with it too.
                *count += usize::from(frame.ends_with(word) && frame.starts_with(&line.at_right.mac.0));
            }
        }
        counts
    });
    assert_eq!(counts, [[100, 0], [0, 100]]);
    line.no_drops();
}
