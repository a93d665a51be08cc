//! A swarm of two nodes whose networks are served by a managed plugin, made of the folder that `weft docker plugin-dir` writes.

use crate::common::run::{run_command_in, weft_command};
use crate::common::{Lab, lacks, until};
use crate::engine::{Engine, IMAGE, NEEDED, docker, free};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// The driver takes away by itself what an engine that was killed has forgotten.
const LATER: Duration = Duration::from_secs(60);
/// As Docker calls it.
const PLUGIN: &str = "mesh-plugin:latest";

/// Installs the plugin on both hosts, at the same time.
fn install(engines: [&Engine<'_>; 2]) {
    let hosts = engines.map(|engine| {
        let folder = engine.host.dir.join("plugin").display().to_string();
        let plugin_dir = || {
            let mut command = weft_command(&["docker", "plugin-dir", &folder]);
            command
                .env("WEFT_SOCKET", engine.host.socket())
                .env("WEFT_STATE_DIR", engine.host.state_dir())
                .env("WEFT_DOCKER", engine.socket());
            run_command_in(&engine.host.netns, command, "")
        };
        plugin_dir().ok();
        assert!(plugin_dir().failed(1).contains("is there already"));
        (folder, engine.socket())
    });
    std::thread::scope(|scope| {
        for (folder, socket) in &hosts {
            scope.spawn(move || {
                docker(socket, &["plugin", "create", PLUGIN, folder]).ok();
                docker(socket, &["plugin", "enable", PLUGIN]).ok();
            });
        }
    });
}

/// Containers that the routers know.
fn attached(engines: [&Engine<'_>; 2]) -> usize {
    engines.iter().map(|engine| engine.counts().1).sum()
}

#[test]
fn a_swarm_has_networks_by_the_managed_plugin() {
    if lacks(&NEEDED) {
        return;
    }
    let Some(lab) = Lab::new("docker-swarm") else {
        return;
    };
    let (_switch, hosts) = lab.hosts_on_a_switch(2);
    let [host_a, host_b] = hosts.try_into().ok().unwrap();
    let (_a, _b) = (host_a.launch(&[]), host_b.launch(&["10.9.0.1"]));
    host_b.wait_for_peers(2);
    let [mut a, b] = Engine::both_without_driver([&host_a, &host_b]);
    install([&a, &b]);
    a.docker(&["swarm", "init", "--advertise-addr", "10.9.0.1"]).ok();
    let token = a.docker(&["swarm", "join-token", "-q", "worker"]).ok();
    b.docker(&["swarm", "join", "--token", token.trim(), "10.9.0.1:2377"])
        .ok();
    let create = format!("network create -d {PLUGIN} --ipam-driver {PLUGIN} --scope swarm --attachable mesh");
    a.docker(&create.split(' ').collect::<Vec<_>>()).ok();

    // Containers that join by themselves.
    a.run("one", &["--network", "mesh"], &["sleep", "1000"]).ok();
    // What there is once the routers have divided the addresses.
    let all_free = || free(&host_a) + free(&host_b);
    let before = all_free() + 1;
    b.run("two", &["--network", "mesh"], &["sleep", "1000"]).ok();
    for (from, name, to) in [
        (&a, "one", b.address("two", "mesh")),
        (&b, "two", a.address("one", "mesh")),
    ] {
        until("a container pings another host's", SOON, || {
            (from.exec(name, &["ping", "-c1", "-W1", &to]).code == Some(0)).then_some(())
        });
    }
    // Tasks of a service: one on each node.
    let service = format!(
        "service create -d --no-resolve-image --name many --replicas 2 --network mesh --endpoint-mode dnsrr --stop-signal KILL {IMAGE} sleep 1000"
    );
    a.docker(&service.split(' ').collect::<Vec<_>>()).ok();
    until("the tasks are attached", SOON, || {
        (attached([&a, &b]) == 4).then_some(())
    });
    until("the service has a name", SOON, || {
        let found = host_b.weft(&["dns", "lookup", "many"]);
        (found.out.lines().count() == 2).then_some(())
    });

    // The manager's engine dies; what it had been given for tasks is theirs still.
    a.kill_docker();
    a.start_docker();
    a.wait();
    a.run("more", &["--network", "mesh"], &["sleep", "1000"]).ok();
    let more = a.address("more", "mesh");
    let two = b.address("two", "mesh");
    assert_ne!(more, two);
    until("new containers are reached", SOON, || {
        (b.exec("two", &["ping", "-c1", "-W1", &more]).code == Some(0)).then_some(())
    });

    // All of it goes.
    a.docker(&["service", "rm", "many"]).ok();
    a.docker(&["rm", "-f", "one", "more"]).ok();
    b.docker(&["rm", "-f", "two"]).ok();
    until("nothing is attached", LATER, || {
        (attached([&a, &b]) == 0).then_some(())
    });
    until("all addresses are free", LATER, || {
        (all_free() == before).then_some(())
    });
    a.docker(&["network", "rm", "mesh"]).ok();
    assert!(a.pairs().is_empty() && b.pairs().is_empty());
}
