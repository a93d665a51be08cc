//! Names: containers ask the name server of their host, and are answered what runs on any of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod podman;

use common::{Container, Host, Lab, run_in, until};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);

fn question(name: &str, kind: RecordType, room: Option<u16>) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(room) = room {
        let mut edns = Edns::new();
        edns.set_max_payload(room);
        message.set_edns(edns);
    }
    message
}

/// Asks over UDP, as often as a resolver would.
fn ask(from: &Container, server: IpAddr, question: &Message) -> Message {
    let own = if server.is_ipv4() { from.v4 } else { from.v6 };
    let socket = from.udp(own, 0);
    socket.connect((server, 53)).unwrap();
    let mut buffer = [0; 4096];
    let (length, _) = until("an answer", PATIENCE, || {
        socket.send(&question.to_vec().unwrap()).ok()?;
        socket.recv(&mut buffer).ok()
    });
    Message::from_vec(&buffer[..length]).unwrap()
}

fn ask_tcp(from: &Container, server: IpAddr, question: &Message) -> Message {
    let mut stream = from
        .netns
        .run(|| TcpStream::connect((server, 53)))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    send(&mut stream, question);
    receive(&mut stream)
}

fn send(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).unwrap();
}

fn receive(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

fn data(answer: &Message) -> BTreeSet<String> {
    answer
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect()
}

fn texts<T: ToString>(of: &[T]) -> BTreeSet<String> {
    of.iter().map(ToString::to_string).collect()
}

/// Gives the host an address in the containers' network.
fn expose(host: &Host, address: &str) {
    let cidr = format!("{address}/12");
    for line in [
        "link add inside type veth peer name outside",
        "link set inside master weft up",
        "link set outside up",
        &format!("addr add {cidr} dev outside"),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        run_in(&host.netns, "ip", &args).ok();
    }
}

fn attach(host: &Host, number: u8, name: &str) -> Container {
    let container = Container::detached(number);
    let [v4, v6] = container.cidrs();
    host.weft(&["attach", "--netns", &container.path(), "--name", name, &v4, &v6])
        .ok();
    container
}

/// What a name server elsewhere says of everything.
fn elsewhere(question: &Message) -> Message {
    let mut answer = question.clone();
    answer.metadata.message_type = MessageType::Response;
    let name = question.queries[0].name().clone();
    answer.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 99].into()))));
    answer
}

/// Answers everything, over UDP and TCP; the first datagram gets an answer to something else first.
fn serve_elsewhere(host: &Host, at: SocketAddr) {
    let udp = host.netns.run(|| UdpSocket::bind(at)).unwrap().unwrap();
    let tcp = host.netns.run(|| TcpListener::bind(at)).unwrap().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let mut forged = elsewhere(&asked);
            forged.metadata.id ^= 1;
            udp.send_to(&forged.to_vec().unwrap(), from).unwrap();
            udp.send_to(&elsewhere(&asked).to_vec().unwrap(), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let asked = receive(&mut stream);
            send(&mut stream, &elsewhere(&asked));
        }
    });
}

struct Scene {
    _routers: [common::Router; 2],
    hosts: [Host; 2],
    /// The name server of each host, in the containers' network.
    servers: [IpAddr; 2],
    web: Container,
    db: Container,
    _switch: common::Switch,
}

fn scene(lab: &Lab) -> Scene {
    let (switch, hosts) = lab.hosts_on_a_switch(2);
    let [left, right] = hosts.try_into().ok().unwrap();
    let servers = ["10.32.0.251", "10.32.0.252"];
    let upstream = "10.9.0.2:5300";
    let first = left.launch(&["--dns-listen", servers[0], "--dns-upstream", upstream]);
    let second = right.launch(&["--dns-listen", servers[1], "10.9.0.1"]);
    serve_elsewhere(&right, upstream.parse().unwrap());
    left.wait_for_peers(2);
    let web = attach(&left, 1, "web");
    let db = attach(&right, 2, "db,store.main");
    web.wait_for(&db);
    expose(&left, servers[0]);
    expose(&right, servers[1]);
    Scene {
        _routers: [first, second],
        hosts: [left, right],
        servers: servers.map(|server| server.parse().unwrap()),
        web,
        db,
        _switch: switch,
    }
}

#[test]
fn containers_find_each_other_by_name() {
    let Some(lab) = Lab::new("naming") else { return };
    let scene = scene(&lab);
    let [left, right] = &scene.hosts;
    let (web, db) = (&scene.web, &scene.db);
    let here = |name: &str, kind| ask(web, scene.servers[0], &question(name, kind, None));
    assert_eq!(data(&here("db.weft.local.", RecordType::A)), texts(&[db.v4]));
    assert_eq!(data(&here("DB.Weft.Local.", RecordType::AAAA)), texts(&[db.v6]));
    assert_eq!(
        data(&here("store.main.weft.local.", RecordType::A)),
        texts(&[db.v4])
    );
    let reverse = here("2.0.32.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(
        data(&reverse),
        texts(&["db.weft.local.", "store.main.weft.local."])
    );
    assert_eq!(
        here("none.weft.local.", RecordType::A).metadata.response_code,
        ResponseCode::NXDomain
    );
    let empty = here("db.weft.local.", RecordType::MX);
    assert_eq!(
        (empty.metadata.response_code, empty.answers.len()),
        (ResponseCode::NoError, 0)
    );
    let there = ask(
        db,
        scene.servers[1],
        &question("web.weft.local.", RecordType::A, None),
    );
    assert_eq!(data(&there), texts(&[web.v4]));

    // What is not of the mesh is asked elsewhere, and nobody else's answer is taken.
    let outside = question("example.org.", RecordType::A, None);
    assert_eq!(
        data(&ask(web, scene.servers[0], &outside)),
        texts(&["192.0.2.99"])
    );
    assert_eq!(
        data(&ask_tcp(web, scene.servers[0], &outside)),
        texts(&["192.0.2.99"])
    );

    // A container that ends has no name any more, on no host, within a second.
    right.weft(&["detach", "--netns", &db.path()]).ok();
    let ended = Instant::now();
    until("the name is gone", PATIENCE, || {
        let answer = here("db.weft.local.", RecordType::A);
        (answer.metadata.response_code == ResponseCode::NXDomain).then_some(())
    });
    println!("withdrawn after {:?}", ended.elapsed());
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
    let missing = left.weft(&["dns", "lookup", "db"]).failed(1);
    assert!(
        missing.contains("no container of this mesh is called db"),
        "{missing}"
    );
}

#[test]
fn fifty_addresses_of_one_name_come_over_udp_tcp_and_in_large_datagrams() {
    let Some(lab) = Lab::new("naming-fifty") else {
        return;
    };
    let scene = scene(&lab);
    let [left, right] = &scene.hosts;
    let many: Vec<String> = (1..=50).map(|n| format!("10.33.0.{n}")).collect();
    let add: Vec<&str> = ["dns", "add", "many"]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    right.weft(&add).ok();
    until("the name is known", PATIENCE, || {
        (left.weft(&["dns", "lookup", "many"]).code == Some(0)).then_some(())
    });
    let (web, server) = (&scene.web, scene.servers[0]);
    let asked = |room| question("many.weft.local.", RecordType::A, room);
    for room in [None, Some(512)] {
        let cut = ask(web, server, &asked(room));
        assert!(cut.metadata.truncation && cut.answers.len() < 50);
    }
    for room in [1232, 4096] {
        let whole = ask(web, server, &asked(Some(room)));
        assert!(!whole.metadata.truncation);
        assert_eq!(data(&whole), texts(&many));
    }
    assert_eq!(data(&ask_tcp(web, server, &asked(None))), texts(&many));
}

#[test]
fn names_are_added_removed_and_kept_over_a_restart() {
    let Some(lab) = Lab::new("naming-verbs") else {
        return;
    };
    let (_switch, hosts) = lab.hosts_on_a_switch(1);
    let host = &hosts[0];
    let router = host.launch(&["--dns-domain", "mesh.test"]);
    host.weft(&["dns", "add", "Printer", "10.1.1.1", "fd00::1"]).ok();
    host.weft(&["dns", "add", "plotter", "10.1.1.2"]).ok();
    let list = || serde_json::from_str::<Value>(&host.weft(&["dns", "list", "--json"]).ok()).unwrap();
    let printer = json!({ "name": "printer.mesh.test.", "addresses": ["10.1.1.1", "fd00::1"] });
    let plotter = json!({ "name": "plotter.mesh.test.", "addresses": ["10.1.1.2"] });
    assert_eq!(list(), json!([plotter, printer]));
    assert_eq!(
        host.weft(&["dns", "lookup", "printer.mesh.test"]).ok(),
        "10.1.1.1\nfd00::1\n"
    );
    assert_eq!(
        host.weft(&["dns", "lookup", "10.1.1.2"]).ok(),
        "plotter.mesh.test.\n"
    );
    for bad in ["-x", "a b", ""] {
        host.weft(&["dns", "add", "--", bad, "10.1.1.1"]).failed(2);
    }
    host.weft(&["dns", "remove", "plotter", "10.9.9.9"]).failed(1);
    host.weft(&["dns", "remove", "printer", "fd00::1"]).ok();
    host.weft(&["dns", "remove", "plotter"]).ok();
    router.terminate();
    let _router = host.launch(&["--dns-domain", "mesh.test"]);
    assert_eq!(
        list(),
        json!([{ "name": "printer.mesh.test.", "addresses": ["10.1.1.1"] }])
    );
}

#[test]
fn names_are_answered_once_more_at_an_address_that_the_host_had_before() {
    let Some(lab) = Lab::new("names-again") else {
        return;
    };
    let host = lab.host("h1");
    let _router = host.launch(&[]);
    let address = "10.32.0.254";
    for number in 1..=3 {
        host.weft(&["expose", &format!("{address}/12")]).ok();
        // One that has not heard of the host's former interface.
        let web = attach(&host, number, "web");
        let asked = question("web.weft.local.", RecordType::A, None);
        let answer = ask(&web, address.parse().unwrap(), &asked);
        assert!(data(&answer).contains(&web.v4.to_string()), "{answer:?}");
        host.weft(&["hide"]).ok();
    }
}

#[test]
fn who_answers_everywhere_tells_networks_apart() {
    let Some(lab) = Lab::new("names-everywhere") else {
        return;
    };
    let host = lab.host("h1");
    let _router = host.launch(&["--dns-listen", "0.0.0.0,::"]);
    host.weft(&["network", "add", "blue", "--subnet", "10.99.0.0/16"])
        .ok();
    let web = attach(&host, 1, "web");
    let other = Container {
        v4: "10.99.0.2".parse().unwrap(),
        v6: "fd99::2".parse().unwrap(),
        ..Container::detached(2)
    };
    let (path, v4, v6) = (
        other.path(),
        format!("{}/16", other.v4),
        format!("{}/64", other.v6),
    );
    host.weft(&[
        "attach",
        "--netns",
        &path,
        "--network",
        "blue",
        "--name",
        "web",
        &v4,
        &v6,
    ])
    .ok();
    host.weft(&["expose", "10.32.0.253/12", "fd32::fd/64"]).ok();
    host.weft(&["expose", "--network", "blue", "10.99.0.254/16", "fd99::fe/64"])
        .ok();
    let asked = question("web.weft.local.", RecordType::A, None);
    for (from, servers) in [
        (&web, ["10.32.0.253", "fd32::fd"]),
        (&other, ["10.99.0.254", "fd99::fe"]),
    ] {
        for server in servers {
            let server: IpAddr = server.parse().unwrap();
            for answer in [ask(from, server, &asked), ask_tcp(from, server, &asked)] {
                assert_eq!(data(&answer), texts(&[from.v4]), "{server}");
            }
        }
    }
}
