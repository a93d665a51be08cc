//! What is gone while nobody said so: containers of another boot, namespaces in which another container is by now, plugins that
//! were killed.

use crate::common::{WEFT, run_in, until};
use crate::stage::{Pod, Stage, call_for};
use fastpath::NetNs;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const RANGE: [&str; 2] = ["--ipalloc-range", "10.32.0.0/24"];

fn is_clean(stage: &Stage) -> bool {
    let interfaces = fastpath::wire::interfaces(&stage.host.netns).unwrap();
    stage.used() == 0 && !interfaces.iter().any(|name| name.starts_with("wv"))
}

#[test]
fn containers_of_another_boot_are_gone() {
    let Some(mut stage) = Stage::new("cni-boot") else {
        return;
    };
    let (old, still) = (Pod::new("old"), Pod::new("still"));
    let mut conf = stage.conf("1.1.0");
    conf["runtimeConfig"] = json!({ "ips": ["10.32.0.50/24"] });
    stage.call("ADD", &old, &conf).ok();
    conf["runtimeConfig"] = json!({});
    stage.call("ADD", &still, &conf).ok();
    stage.host.weft(&["expose"]).ok();
    stage.router.take().unwrap().terminate();
    // As if the first had been attached before the host was booted.
    let file = stage.host.state_dir().join("attachments.json");
    let mut attached: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for one in attached.as_array_mut().unwrap() {
        assert_eq!(one["boot"], kernel.trim());
        if one["name"] == "old" || one["port"]["is_host"] == true {
            one["boot"] = json!("8b1b0a0e-5d1e-4b5c-9d2e-0123456789ab");
        }
    }
    std::fs::write(&file, attached.to_string()).unwrap();
    stage.router = Some(stage.host.launch(&RANGE));
    assert_eq!(stage.used(), 2, "the other container and the host itself");
    until("its interface is gone", Duration::from_secs(5), || {
        let inside = fastpath::wire::interfaces(&old.netns).unwrap();
        (inside == ["lo"]).then_some(())
    });
    assert_eq!(fastpath::wire::interfaces(&still.netns).unwrap(), ["lo", "eth0"]);
    // The address is free for whoever wants it.
    let next = Pod::new("next");
    conf["runtimeConfig"] = json!({ "ips": ["10.32.0.50/24"] });
    let added = stage.call("ADD", &next, &conf).ok();
    assert_eq!(added["ips"][0]["address"], "10.32.0.50/24");
}

#[test]
fn where_our_interface_was_is_anothers_by_now() {
    let Some(stage) = Stage::new("cni-replaced") else {
        return;
    };
    let (pod, other) = (Pod::new("pod"), Pod::new("other"));
    let conf = stage.conf("1.1.0");
    stage.call("ADD", &pod, &conf).ok();
    // What a container that came after ours looks like, whose namespace has the same path and number: all in one go, as the
    // router would make ours again.
    let batch = stage.host.dir.join("batch");
    std::fs::write(&batch, "link del eth0\nlink add eth0 type veth peer name eth1\n").unwrap();
    run_in(&pod.netns, "ip", &["-batch", batch.to_str().unwrap()]).ok();
    until("it is forgotten", Duration::from_secs(10), || {
        is_clean(&stage).then_some(())
    });
    let mut inside = fastpath::wire::interfaces(&pod.netns).unwrap();
    inside.sort();
    assert_eq!(inside, ["eth0", "eth1", "lo"], "the other's stay as they are");
    // One that was never ours is refused, and nothing is forgotten for it.
    stage.call("ADD", &other, &conf).ok();
    let taken = [
        "attach",
        "--netns",
        &pod.netns.path().display().to_string(),
        "10.32.0.77/24",
    ];
    let words = stage.host.weft(&taken).failed(1);
    assert!(words.contains("another interface named eth0"), "{words}");
    assert_eq!(stage.used(), 1);
    stage.call("DEL", &other, &conf).ok();
    until("nothing is left", Duration::from_secs(5), || {
        is_clean(&stage).then_some(())
    });
}

#[test]
fn one_of_twenty_vanishes_while_all_are_added() {
    let Some(stage) = Stage::new("cni-vanishing") else {
        return;
    };
    let (conf, dir) = (stage.conf("1.0.0"), stage.host.dir.clone());
    for round in 0..3_u64 {
        let pods: Vec<_> = (0..19).map(|n| Pod::new(&format!("pod{round}-{n}"))).collect();
        // Held by a process that ends in the middle of it.
        let vanishing = Pod::new(&format!("gone{round}"));
        let holder = vanishing.netns.spawn({
            let mut sleep = Command::new("sleep");
            sleep.arg("100");
            sleep
        });
        let mut holder = holder.unwrap();
        let path = format!("/proc/{}/ns/net", holder.id());
        let id = vanishing.id.clone();
        drop(vanishing);
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", id.as_str()),
            ("CNI_NETNS", path.as_str()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/nowhere"),
        ];
        std::thread::scope(|scope| {
            for pod in &pods {
                let (dir, conf) = (&dir, &conf);
                scope.spawn(move || call_for(dir, "ADD", pod, conf).ok());
            }
            // Whether it came in time is a matter of luck; what counts is what is left.
            scope.spawn(|| crate::plugin::call(&variables, &conf.to_string()));
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(10 + 30 * round));
                holder.kill().unwrap();
                holder.wait().unwrap();
            });
        });
        until("only the nineteen are left", Duration::from_secs(10), || {
            (stage.used() == 19).then_some(())
        });
        for pod in &pods {
            assert_eq!(fastpath::wire::interfaces(&pod.netns).unwrap(), ["lo", "eth0"]);
        }
        let delete = variables.map(|(name, value)| (name, if name == "CNI_COMMAND" { "DEL" } else { value }));
        crate::plugin::call(&delete, &conf.to_string()).ok();
        assert_eq!(stage.used(), 19);
        std::thread::scope(|scope| {
            for pod in &pods {
                let (dir, conf) = (&dir, &conf);
                scope.spawn(move || call_for(dir, "DEL", pod, conf).ok());
            }
        });
        assert!(is_clean(&stage));
    }
}

#[test]
fn an_add_that_was_killed_leaves_nothing_after_del() {
    let Some(stage) = Stage::new("cni-killed") else {
        return;
    };
    let conf = stage.conf("1.0.0");
    let mut begun = 0;
    for at in 0..30_u64 {
        let pod = Pod::new(&format!("pod{at}"));
        let mut child = Command::new(WEFT)
            .env_clear()
            .env("CNI_COMMAND", "ADD")
            .env("CNI_CONTAINERID", &pod.id)
            .env("CNI_NETNS", pod.netns.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/nowhere")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(conf.to_string().as_bytes())
            .unwrap();
        std::thread::sleep(Duration::from_millis(2 * at));
        let _ = child.kill();
        let was_killed = !child.wait().unwrap().success();
        begun += u32::from(was_killed && stage.used() > 0);
        stage.call("DEL", &pod, &conf).ok();
        assert_eq!(
            fastpath::wire::interfaces(&pod.netns).unwrap(),
            ["lo"],
            "killed after {} ms",
            2 * at
        );
        assert_eq!(stage.used(), 0, "killed after {} ms", 2 * at);
    }
    println!("{begun} of 30 were killed when they had an address already");
    until("nothing is left", Duration::from_secs(5), || {
        is_clean(&stage).then_some(())
    });
}

/// One that goes by the name of another plugin is called as runtimes do, in the host's namespace.
fn chained(host: &NetNs, plugin: &str, verb: &str, pod: &Pod, conf: &Value) -> Value {
    let mut command = Command::new(plugin);
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", &pod.id)
        .env("CNI_NETNS", pod.netns.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", REFERENCE);
    let out = crate::common::run::run_command_in(host, command, &conf.to_string()).ok();
    serde_json::from_str(&out).unwrap_or_default()
}

/// Where Debian has the reference plugins.
const REFERENCE: &str = "/usr/lib/cni";

#[test]
fn host_ports_in_a_chain_beside_limits_are_checked_and_go() {
    if !std::path::Path::new(REFERENCE).join("portmap").exists() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no plugins in {REFERENCE}, and CI is set"
        );
        return println!("skipped: needs the plugins in {REFERENCE}");
    }
    let Some(stage) = Stage::new("cni-chain") else {
        return;
    };
    let (host, pod) = (&stage.host.netns, Pod::new("pod"));
    let mut ours = stage.conf("1.0.0");
    ours["isDefaultGateway"] = json!(true);
    let with = |kind: &str, runtime: Value| json!({ "cniVersion": "1.0.0", "name": "mesh", "type": kind, "runtimeConfig": runtime });
    let ports = [json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" })];
    let limits = json!({ "ingressRate": 8_000_000, "ingressBurst": 800_000 });
    ours["runtimeConfig"] = json!({ "bandwidth": limits });
    let mut chain = [
        (WEFT.to_owned(), ours),
        (
            format!("{REFERENCE}/portmap"),
            with("portmap", json!({ "portMappings": ports })),
        ),
    ];
    let mut result = Value::Null;
    for (plugin, conf) in &mut chain {
        if !result.is_null() {
            conf["prevResult"] = result;
        }
        result = chained(host, plugin, "ADD", &pod, conf);
    }
    // Of the others' CHECK is their own business: that of portmap 1.1.1 looks for the rules of IPv4 among those of IPv6.
    for (_, conf) in &mut chain {
        conf["prevResult"] = result.clone();
    }
    let (plugin, conf) = &chain[0];
    chained(host, plugin, "CHECK", &pod, conf);
    let rules = || run_in(host, "iptables-save", &[]).ok();
    assert!(rules().contains("--dports 8080"), "{}", rules());
    let shaped = || run_in(host, "tc", &["qdisc"]).ok();
    assert_eq!(shaped().matches("tbf").count(), 1, "{}", shaped());
    for (plugin, conf) in chain.iter().rev() {
        chained(host, plugin, "DEL", &pod, conf);
    }
    assert!(
        !rules().contains("8080") && !shaped().contains("tbf"),
        "{} {}",
        rules(),
        shaped()
    );
    until("nothing is left", Duration::from_secs(5), || {
        is_clean(&stage).then_some(())
    });
}
