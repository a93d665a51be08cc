//! Real datagrams, heard on the wire and sent again: as they were, changed, cut, or back to their sender.

use crate::common::traffic::Pings;
use crate::common::{Container, Host, Lab, Network, Router, Switch, until, wire};
use crate::tap::{Heard, Tap};
use std::time::Duration;

const SEALED: u8 = 1;
const RELAY: u8 = 3;
const SOON: Duration = Duration::from_secs(5);
const PINGS: Duration = Duration::from_millis(10);

/// Two hosts of an IPv4 underlay, their containers talking.
struct Talk {
    left: Container,
    right: Container,
    hosts: Vec<Host>,
    _routers: [Router; 2],
    switch: Switch,
}

impl Talk {
    fn new(lab: &Lab) -> Self {
        let switch = Switch::new();
        let hosts: Vec<_> = (1..=2)
            .map(|number| {
                let host = lab.host(&format!("h{number}"));
                switch.plug_bare(&host, Network(9));
                Network(9).address_v4(&host.netns, number);
                host
            })
            .collect();
        let routers = [hosts[0].launch(&[]), hosts[1].launch(&["10.9.0.1"])];
        hosts.iter().for_each(|host| host.wait_for_peers(2));
        let (left, right) = (hosts[0].container(1), hosts[1].container(2));
        left.wait_for(&right);
        hosts[0].wait_for_direct("h2");
        Self {
            left,
            right,
            hosts,
            _routers: routers,
            switch,
        }
    }

    fn containers(&self) -> (&Container, &Container) {
        (&self.left, &self.right)
    }

    fn both(&self) -> [&Host; 2] {
        [&self.hosts[0], &self.hosts[1]]
    }
}

fn drops(host: &Host) -> u64 {
    let status = host.status();
    let counts = status["drops"].as_object().unwrap().values();
    counts.map(|count| count.as_u64().unwrap()).sum()
}

/// Sends all of them to `host`; every one must be counted.
fn all_counted(host: &Host, tap: &Tap, datagrams: &[Heard]) {
    let before = host.status()["drops"].clone();
    let total = drops(host);
    datagrams.iter().for_each(|datagram| tap.say(datagram));
    let wanted = total + datagrams.len() as u64;
    let mut last = 0;
    let counted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("all are counted", SOON, || {
            last = drops(host);
            (last >= wanted).then_some(())
        })
    }));
    assert!(
        counted.is_ok(),
        "{} of {} were counted: {before} before, now {}",
        last - total,
        datagrams.len(),
        host.status()["drops"]
    );
}

/// Calls `attack` while containers of two of the hosts talk; they must not notice.
fn during_pings((from, to): (&Container, &Container), hosts: &[&Host], attack: impl FnOnce()) {
    let pings = Pings::start(from, to.v4, PINGS);
    attack();
    let count = pings.stop();
    if count.lost > 1 || count.sent <= 50 {
        let states = hosts.iter().map(|host| format!("{:#}", host.status()));
        panic!("{count:?}: {}", states.collect::<String>());
    }
}

#[test]
fn datagrams_sent_again_are_counted_as_replayed() {
    let Some(lab) = Lab::new("replayed") else { return };
    let talk = Talk::new(&lab);
    let tap = Tap::on(&talk.switch, &talk.hosts[1], Network(9), 2);
    during_pings(talk.containers(), &talk.both(), || {
        let heard = tap.hear(SOON, 50, |kind| kind == SEALED);
        assert_eq!(heard.len(), 50);
        let before = talk.hosts[1].drops("replayed");
        all_counted(&talk.hosts[1], &tap, &heard);
        assert!(talk.hosts[1].drops("replayed") >= before + 50);
    });
}

#[test]
fn flipped_cut_and_reflected_datagrams_are_refused_and_counted() {
    let Some(lab) = Lab::new("flipped") else { return };
    let talk = Talk::new(&lab);
    let (host, tap) = (
        &talk.hosts[1],
        Tap::on(&talk.switch, &talk.hosts[1], Network(9), 2),
    );
    during_pings(talk.containers(), &talk.both(), || {
        let heard = tap.hear(SOON, 1, |kind| kind == SEALED).remove(0);
        // Of the first byte, only the bits that leave it one of ours: the others are for QUIC.
        let flipped: Vec<_> = (1..heard.bytes.len())
            .map(|at| {
                let mut bytes = heard.bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                heard.with(bytes)
            })
            .collect();
        all_counted(host, &tap, &flipped);
        let cut: Vec<_> = (1..heard.bytes.len())
            .map(|length| heard.with(heard.bytes[..length].to_vec()))
            .collect();
        all_counted(host, &tap, &cut);
        let longer = heard.with([&heard.bytes[..], &[0; 7]].concat());
        let kinds = [0, 2, 3, 4, 0x3f, 0x80, 0xbf].map(|kind| {
            let mut bytes = heard.bytes.clone();
            bytes[0] = kind;
            heard.with(bytes)
        });
        all_counted(host, &tap, &[&[longer], &kinds[..]].concat());

        let back = Tap::on(&talk.switch, &talk.hosts[0], Network(9), 1);
        let heard = tap.hear(SOON, 30, |kind| kind == SEALED);
        let reflected: Vec<_> = heard.iter().map(Heard::reflected).collect();
        all_counted(&talk.hosts[0], &back, &reflected);
    });
}

#[test]
fn reflected_and_repeated_link_handshakes_change_nothing() {
    let Some(lab) = Lab::new("reflected") else { return };
    let talk = Talk::new(&lab);
    let taps = [1, 2].map(|number: u8| {
        let host = &talk.hosts[usize::from(number) - 1];
        Tap::on(&talk.switch, host, Network(9), number)
    });
    during_pings(talk.containers(), &talk.both(), || {
        // A third router links with the first; the tap hears all of its handshake.
        let third = lab.host("h3");
        talk.switch.plug_bare(&third, Network(9));
        Network(9).address_v4(&third.netns, 3);
        let wire = Tap::on(&talk.switch, &third, Network(9), 3);
        let _router = third.launch(&["--no-discovery", "10.9.0.1"]);
        third.wait_for_peers(3);
        let is_quic = |kind: u8| kind & 0x40 != 0;
        let forth = taps[0].hear(Duration::from_millis(300), 200, is_quic);
        let back = wire.hear(Duration::from_millis(300), 200, is_quic);
        assert!(forth.len() > 5 && back.len() > 5);
        for heard in &forth {
            taps[0].say(heard);
            wire.say(&heard.reflected());
        }
        for heard in &back {
            wire.say(heard);
            taps[0].say(&heard.reflected());
        }
        assert_eq!(third.reachable().len(), 3);
        for host in &talk.hosts {
            assert_eq!(host.reachable().len(), 3, "{}", host.name);
        }
    });
    talk.left.wait_for(&talk.right);
}

#[test]
fn replayed_and_forged_relay_headers_are_refused_and_counted() {
    let Some(lab) = Lab::new("relay-replay") else {
        return;
    };
    let [left, relay, right] = ["left", "relay", "right"].map(|name| lab.host(name));
    wire(Network(1), &relay, &left);
    wire(Network(2), &relay, &right);
    let _routers = [
        relay.launch(&[]),
        left.launch(&["10.1.0.1"]),
        right.launch(&["10.2.0.1"]),
    ];
    [&left, &right].iter().for_each(|host| host.wait_for_peers(3));
    let (from, to) = (left.container(1), right.container(2));
    from.wait_for(&to);
    // Heard and spoken where the left host's cable ends.
    let tap = Tap::at(&left.netns, &Network(1).ifname(), Network(1).v4(1));
    during_pings((&from, &to), &[&left, &relay, &right], || {
        let heard = tap.hear(SOON, 30, |kind| kind == RELAY);
        assert_eq!(heard.len(), 30);
        let before = relay.drops("relay_replayed");
        all_counted(&relay, &tap, &heard);
        assert!(relay.drops("relay_replayed") >= before + 30);

        let one = tap.hear(SOON, 1, |kind| kind == RELAY).remove(0);
        // Header, tag, and the header of what it carries: all of it is under the relay's tag.
        let flipped: Vec<_> = (1..33 + 2 * usize::from(one.bytes[2]) + 16 + 16)
            .map(|at| {
                let mut bytes = one.bytes.clone();
                bytes[at] ^= 0x10;
                one.with(bytes)
            })
            .collect();
        all_counted(&relay, &tap, &flipped);
        assert!(relay.drops("relay_unauthentic") > 0);
        let cut: Vec<_> = (1..80)
            .map(|length| one.with(one.bytes[..length].to_vec()))
            .collect();
        all_counted(&relay, &tap, &cut);
    });
    assert_eq!(relay.drops("hop_limit"), 0);
}
