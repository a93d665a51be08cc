//! The driver's side of Docker's protocol, without Docker: on a socket that somebody else holds.

use crate::common::run::{run, weft_command};
use crate::common::{Container, Host, Lab, WEFT, run_in, until};
use crate::engine::free;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The driver as systemd starts it: the listening socket is descriptor 3.
struct Driver {
    /// What it is called on its host.
    name: &'static str,
    socket: PathBuf,
    listener: UnixListener,
    child: Option<Child>,
}

impl Driver {
    fn new(host: &Host, name: &'static str) -> Self {
        let socket = host.dir.join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let mut driver = Self {
            name,
            socket,
            listener,
            child: None,
        };
        driver.start(host);
        driver
    }

    fn start(&mut self, host: &Host) {
        let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&0 </dev/null; exec \"$@\"";
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net={}", host.netns.path().display()));
        command.args(["sh", "-c", script, "sh", WEFT, "docker", "serve"]);
        command
            .env("WEFT_SOCKET", host.socket())
            .env("WEFT_STATE_DIR", host.dir.join(self.name))
            .env("WEFT_DOCKER", host.dir.join("no-docker"));
        let inherited: OwnedFd = self.listener.try_clone().unwrap().into();
        command.stdin(inherited).stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Status and body of what a call is answered.
    fn raw(&self, method: &str, ask: &Value) -> (u16, Value) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let body = ask.to_string();
        let head = format!(
            "POST /{method} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap())
    }

    fn call(&self, method: &str, ask: &Value) -> Value {
        let (status, answer) = self.raw(method, ask);
        assert!(
            status == 200 && answer["Err"].is_null(),
            "{method}: {status} {answer}"
        );
        answer
    }

    /// Why a call failed: network drivers and IPAM drivers call it differently.
    fn failed(&self, method: &str, ask: &Value) -> String {
        let (_, answer) = self.raw(method, ask);
        assert_eq!(answer["Err"], answer["Error"]);
        answer["Err"]
            .as_str()
            .unwrap_or_else(|| panic!("{method}: {answer}"))
            .to_owned()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const MAC: &str = "com.docker.network.endpoint.macaddress";

/// `--ip-range`: all its addresses are given, and then no other.
fn parts_of_the_range(driver: &Driver) {
    let part = |part: &str| json!({ "AddressSpace": "weft-local", "Pool": "10.32.0.0/12", "SubPool": part });
    for odd in ["10.99.0.0/24", "10.0.0.0/8", "fd57:4546:5400::/80"] {
        let refused = driver.failed("IpamDriver.RequestPool", &part(odd));
        assert!(
            refused.contains("is not a part of the range 10.32.0.0/12"),
            "{refused}"
        );
    }
    let pool = driver.call("IpamDriver.RequestPool", &part("10.47.3.4/30"));
    let id = pool["PoolID"].as_str().unwrap();
    let ask =
        |number: u8| json!({ "PoolID": id, "Options": { MAC: format!("02:00:00:00:01:{number:02x}") } });
    let given =
        (0..4).map(|number| driver.call("IpamDriver.RequestAddress", &ask(number))["Address"].clone());
    let mut given: Vec<Value> = given.collect();
    given.sort_by_key(ToString::to_string);
    let expected = (4..8).map(|number| json!(format!("10.47.3.{number}/12")));
    assert_eq!(given, expected.collect::<Vec<_>>());
    let refused = driver.failed("IpamDriver.RequestAddress", &ask(9));
    assert!(
        refused.contains("10.47.3.4/30") && refused.contains("in use"),
        "{refused}"
    );
    for number in 4..8 {
        let address = format!("10.47.3.{number}");
        driver.call(
            "IpamDriver.ReleaseAddress",
            &json!({ "PoolID": id, "Address": address }),
        );
    }
    let gateway = json!({
        "PoolID": id,
        "Address": "10.47.3.4",
        "Options": { "RequestAddressType": "com.docker.network.gateway" },
    });
    let refused = driver.failed("IpamDriver.RequestAddress", &gateway);
    assert!(refused.contains("can't be the --gateway"), "{refused}");
}

#[test]
fn the_driver_answers_before_the_router_and_outlives_it() {
    let Some(lab) = Lab::new("docker-protocol") else {
        return;
    };
    let host = lab.host("h1");
    let mut driver = Driver::new(&host, "driver");
    // No router runs, and none ever has.
    let start = Instant::now();
    let activated = driver.call("Plugin.Activate", &Value::Null);
    assert_eq!(activated["Implements"], json!(["NetworkDriver", "IpamDriver"]));
    assert_eq!(
        driver.call("NetworkDriver.GetCapabilities", &Value::Null)["Scope"],
        "local"
    );
    assert_eq!(driver.raw("NetworkDriver.Nonsense", &Value::Null).0, 404);
    assert!(start.elapsed() < Duration::from_secs(2));
    // It is waited for.
    let (pool, router) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            driver.call(
                "IpamDriver.RequestPool",
                &json!({ "AddressSpace": "weft-local", "Pool": "" }),
            )
        });
        std::thread::sleep(Duration::from_secs(1));
        let router = host.launch(&[]);
        (asked.join().unwrap(), router)
    });
    assert_eq!(
        (&pool["PoolID"], &pool["Pool"]),
        (&json!("default/4"), &json!("10.32.0.0/12"))
    );
    let refused = driver.failed("IpamDriver.RequestPool", &json!({ "Pool": "10.99.0.0/16" }));
    assert!(refused.contains("weft network add"), "{refused}");
    parts_of_the_range(&driver);

    // Both kinds of address of one interface are one index.
    let of = |pool: &str, mac: &str| json!({ "PoolID": pool, "Address": "", "Options": { MAC: mac } });
    let mac = "02:00:00:00:00:01";
    let v4 = driver.call("IpamDriver.RequestAddress", &of("default/4", mac));
    let v6 = driver.call("IpamDriver.RequestAddress", &of("default/6", mac));
    assert_eq!(
        (&v4["Address"], &v6["Address"]),
        (&json!("10.32.0.1/12"), &json!("fd57:4546:5400::1/64"))
    );
    let before = free(&host);
    driver.call(
        "NetworkDriver.CreateNetwork",
        &json!({ "NetworkID": "n1", "Options": {}, "IPv4Data": [] }),
    );
    let interface =
        json!({ "Address": "10.32.0.1/12", "AddressIPv6": "fd57:4546:5400::1/64", "MacAddress": mac });
    let endpoint = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": interface });
    let made = driver.call("NetworkDriver.CreateEndpoint", &endpoint);
    assert_eq!(made, json!({ "Interface": {} }), "what was given is not repeated");
    let unknown = driver.failed(
        "NetworkDriver.CreateEndpoint",
        &json!({ "NetworkID": "n9", "EndpointID": "e9" }),
    );
    assert!(unknown.contains("n9"), "{unknown}");

    // Docker moves the end that it is told of; here a test does.
    let joined = driver.call(
        "NetworkDriver.Join",
        &json!({ "NetworkID": "n1", "EndpointID": "e1", "SandboxKey": "x" }),
    );
    let inner = joined["InterfaceName"]["SrcName"].as_str().unwrap().to_owned();
    let (container, beside) = (Container::detached(1), host.container(9));
    let path = container.path();
    let inside = format!("nsenter --net={path} ip");
    let script = format!(
        "ip link set {inner} netns {path} && {inside} link set {inner} name eth0 up && {inside} addr add 10.32.0.1/12 dev eth0"
    );
    run_in(&host.netns, "sh", &["-c", &script]).ok();
    until("they reach each other", Duration::from_secs(10), || {
        container.pings(beside.v4).then_some(())
    });

    // Router and driver go; what is undone meanwhile is undone when they are back.
    router.kill();
    driver.kill();
    driver.start(&host);
    driver.call(
        "NetworkDriver.Leave",
        &json!({ "NetworkID": "n1", "EndpointID": "e1" }),
    );
    driver.call(
        "NetworkDriver.DeleteEndpoint",
        &json!({ "NetworkID": "n1", "EndpointID": "e1" }),
    );
    for (pool, address) in [("default/4", "10.32.0.1"), ("default/6", "fd57:4546:5400::1")] {
        driver.call(
            "IpamDriver.ReleaseAddress",
            &json!({ "PoolID": pool, "Address": address }),
        );
    }
    let _router = host.launch(&[]);
    until("nothing is left", Duration::from_secs(10), || {
        let ps = host.weft(&["ps", "--json"]).ok();
        (!ps.contains("10.32.0.1/") && free(&host) == before + 1).then_some(())
    });
    driver.call("NetworkDriver.DeleteNetwork", &json!({ "NetworkID": "n1" }));

    // The units that make all this so.
    let units = host.dir.join("units");
    let in_units = |verb: &str| host.weft(&["docker", verb, "--unit-dir", units.to_str().unwrap()]);
    in_units("install").ok();
    let text = |name: &str| std::fs::read_to_string(units.join(name)).unwrap();
    assert!(text("weft-docker.socket").contains("ListenStream=/run/docker/plugins/weft.sock"));
    let service = text("weft-docker.service");
    let settings = format!("\"WEFT_SOCKET={}\"", host.socket().display());
    assert!(
        service.contains("docker serve") && service.contains(&settings),
        "{service}"
    );
    in_units("uninstall").ok();
    assert_eq!(std::fs::read_dir(&units).unwrap().count(), 0);
    assert!(in_units("uninstall").failed(1).contains("not installed"));
}

#[test]
fn drivers_of_one_host_leave_each_other_what_they_have() {
    let Some(lab) = Lab::new("docker-two") else {
        return;
    };
    let host = lab.host("h1");
    let mut router = host.launch(&[]);
    let one = Driver::new(&host, "one");
    let of = |mac: &str| json!({ "PoolID": "default/4", "Options": { MAC: mac } });
    let mac = "02:00:00:00:00:01";
    let first = one.call("IpamDriver.RequestAddress", &of(mac))["Address"].clone();
    let network = json!({ "NetworkID": "n1", "Options": {}, "IPv4Data": [] });
    one.call("NetworkDriver.CreateNetwork", &network);
    let interface = json!({ "Address": first, "MacAddress": mac });
    let endpoint = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": interface });
    one.call("NetworkDriver.CreateEndpoint", &endpoint);
    one.call("NetworkDriver.Join", &endpoint);
    let before = free(&host);
    // The other begins as all drivers do: it takes away what it has left behind, which is nothing.
    let mut two = Driver::new(&host, "two");
    let second = two.call("IpamDriver.RequestAddress", &of(mac))["Address"].clone();
    assert_ne!(first, second, "the same MAC address, on two engines");
    let is_there = || {
        let attached: Value = serde_json::from_str(&host.weft(&["ps", "--json"]).ok()).unwrap();
        attached.as_array().unwrap().len() == 1 && free(&host) == before - 1
    };
    assert!(is_there());
    // Both look again when they start, and when the router is back.
    two.kill();
    two.start(&host);
    router.kill();
    two.call(
        "NetworkDriver.Leave",
        &json!({ "NetworkID": "n1", "EndpointID": "e9" }),
    );
    router = host.launch(&[]);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(is_there());
    two.call(
        "IpamDriver.ReleaseAddress",
        &json!({ "PoolID": "default/4", "Address": address(&second) }),
    );
    one.call("NetworkDriver.DeleteEndpoint", &endpoint);
    one.call(
        "IpamDriver.ReleaseAddress",
        &json!({ "PoolID": "default/4", "Address": address(&first) }),
    );
    until("nothing is left", Duration::from_secs(10), || {
        (host.weft(&["ps", "--json"]).ok().trim() == "[]" && free(&host) == before + 1).then_some(())
    });
    // What they have stored is theirs alone.
    let mut third = weft_command(&["docker", "serve"]);
    third
        .env("WEFT_STATE_DIR", host.dir.join("one"))
        .env("WEFT_PLUGIN", host.dir.join("third.sock"));
    let refused = run(third, "").failed(1);
    assert!(refused.contains("--state-dir of its own"), "{refused}");
    drop(router);
}

/// Without the prefix length.
fn address(cidr: &Value) -> &str {
    cidr.as_str().unwrap().split('/').next().unwrap()
}
