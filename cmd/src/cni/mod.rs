//! The CNI plugin: `weft`, called by a container runtime with `CNI_COMMAND` in its environment.
//!
//! The way of an ADD: the environment (`call`) and the configuration (`conf`) are read and checked; another IPAM plugin,
//! if one is configured, gives the addresses (`other`); the router attaches the container over its control socket, and
//! gives it addresses if nobody else did; the result is printed in the version of the configuration. What went wrong is
//! an `error` with the specification's code. `install` puts the plugin where runtimes look.
//!
//! The specification is <https://www.cni.dev/docs/spec/>, version 1.1.0; sections are those of it.

mod call;
mod conf;
mod error;
mod install;
mod other;
mod result;

pub(crate) use install::install;

use crate::control::{Client, ContainerRef, NotRunning, Refused, Request, passes};
use crate::net::Cidr;
use call::{Call, Verb};
use conf::{CHECK_SINCE, Conf, GC_SINCE, VERSIONS};
use error::{Code, Failure};
use fastpath::{Limits, NetNs};
use other::Given;
use serde_json::{Value, json};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the plugin is called where runtimes find it.
const NAME: &str = "weft-net";
/// The router's socket unless the configuration or `WEFT_SOCKET` names another.
const SOCKET: &str = "/run/weft/weft.sock";

/// True if this process is to be a CNI plugin.
pub(crate) fn is_called() -> bool {
    let own_name = || std::env::args_os().next().map(PathBuf::from);
    std::env::var_os("CNI_COMMAND").is_some()
        || own_name().is_some_and(|path| path.file_name().is_some_and(|name| name == NAME))
}

/// Does what the environment and standard input say.
pub(crate) fn main() -> ExitCode {
    let (output, code) = match answer() {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err((failure, version)) => (Some(failure.report(&version)), ExitCode::FAILURE),
    };
    // Who does not read the answer takes the exit code for it.
    let _ = output.map(|output| crate::verbs::print_json(&output));
    code
}

/// What to print, or what went wrong, and the version to say it in.
fn answer() -> Result<Option<Value>, (Failure, String)> {
    let newest = || {
        VERSIONS
            .last()
            .map_or_else(String::new, |version| (*version).to_owned())
    };
    let call =
        Call::read(|name| std::env::var(name).unwrap_or_default()).map_err(|error| (error, newest()))?;
    let mut input = String::new();
    let read = std::io::stdin().take(16 << 20).read_to_string(&mut input);
    read.map_err(|error| {
        let failure = Failure::new(Code::Io, "error reading from stdin").with(error.to_string());
        (failure, newest())
    })?;
    if call.verb == Verb::Version {
        let version = conf::version_of(&input).map_err(|error| (error, newest()))?;
        let version = version.unwrap_or_else(newest);
        return Ok(Some(
            json!({ "cniVersion": version, "supportedVersions": VERSIONS }),
        ));
    }
    let conf = Conf::read(&input, &call)?;
    let plugin = Plugin { call, conf };
    plugin.run().map_err(|error| (error, plugin.conf.version.clone()))
}

/// One call.
struct Plugin {
    call: Call,
    conf: Conf,
}

impl Plugin {
    fn run(&self) -> Result<Option<Value>, Failure> {
        let too_old = |since: &str, verb: &str| {
            let message = format!("config version does not allow {verb}");
            (!self.conf.is_since(since)).then(|| Failure::new(Code::Version, message))
        };
        match self.call.verb {
            Verb::Add => self.add().map(Some),
            Verb::Del => self.del().map(|()| None),
            Verb::Check => too_old(CHECK_SINCE, "CHECK")
                .map_or_else(|| self.check(), Err)
                .map(|()| None),
            Verb::Gc => too_old(GC_SINCE, "GC")
                .map_or_else(|| self.collect(), Err)
                .map(|()| None),
            Verb::Status => too_old(GC_SINCE, "STATUS")
                .map_or_else(|| self.status(), Err)
                .map(|()| None),
            Verb::Version => Ok(None),
        }
    }

    fn socket(&self) -> PathBuf {
        let environment = || std::env::var_os("WEFT_SOCKET").map(PathBuf::from);
        self.conf
            .socket
            .clone()
            .or_else(environment)
            .unwrap_or_else(|| SOCKET.into())
    }

    /// `None`: no router runs.
    fn ask(&self, request: &Request) -> Result<Option<Value>, Failure> {
        let client = match Client::connect(&self.socket()) {
            Ok(client) => client,
            Err(error) if error.downcast_ref::<NotRunning>().is_some() => return Ok(None),
            Err(error) => return Err(Failure::new(Code::Io, format!("{error:#}"))),
        };
        let answer = client.ask(request).map_err(|error| {
            let code = match error.downcast_ref::<Refused>() {
                _ if passes(&error) => Code::TryAgain,
                Some(_) => Code::Refused,
                // A router of another version.
                None => Code::Decode,
            };
            Failure::new(code, format!("{error:#}"))
        });
        answer.map(Some)
    }

    fn not_running(&self) -> String {
        NotRunning(self.socket().display().to_string()).to_string()
    }

    fn router(&self, request: &Request) -> Result<Value, Failure> {
        self.ask(request)?
            .ok_or_else(|| Failure::new(Code::TryAgain, self.not_running()))
    }

    /// What the router knows the attachment by.
    fn key(&self) -> String {
        key(&self.conf.name, &self.call.container, &self.call.ifname)
    }

    /// The container's namespace, which must not be the caller's own.
    fn netns(&self) -> Result<NetNs, Failure> {
        let path = &self.call.netns;
        let netns = NetNs::open(path).map_err(|error| {
            let is_missing = !Path::new(path).exists();
            let code = if is_missing {
                Code::UnknownContainer
            } else {
                Code::Environment
            };
            Failure::new(code, format!("CNI_NETNS {path}: {error}"))
        })?;
        let is_own = NetNs::current().is_ok_and(|own| own.inode() == netns.inode());
        if is_own && std::env::var_os("CNI_NETNS_OVERRIDE").is_none() {
            return Err(Failure::new(
                Code::Environment,
                "CNI_NETNS is the plugin's own network namespace",
            ));
        }
        Ok(netns)
    }

    fn add(&self) -> Result<Value, Failure> {
        let netns = self.netns()?;
        if self.is_inside(&netns) {
            let ifname = &self.call.ifname;
            return Err(Failure::new(
                Code::Config,
                format!("the container has an interface {ifname} already"),
            ));
        }
        let given = match &self.conf.ipam {
            Some(kind) => {
                let text = other::call(kind, "ADD", &self.conf, &self.call);
                text.and_then(|text| Given::read(kind, &text)).map(Some)
            }
            None => Ok(None),
        };
        let added = given.and_then(|given| self.attach(&netns, given.as_ref()));
        if added.is_err() {
            // A failed ADD leaves nothing behind; that taking back fails, too, is not what went wrong first.
            if let Some(kind) = &self.conf.ipam {
                let _ = other::call(kind, "DEL", &self.conf, &self.call);
            }
        }
        added
    }

    fn attach(&self, netns: &NetNs, given: Option<&Given>) -> Result<Value, Failure> {
        let addresses = given.map_or_else(Vec::new, |given| {
            given.addresses.iter().map(|(cidr, _)| *cidr).collect()
        });
        let want = match given {
            Some(_) => Vec::new(),
            None => self
                .conf
                .addresses
                .iter()
                .map(|wanted| (wanted.address, wanted.prefix))
                .collect(),
        };
        let name = self.call.args.get("K8S_POD_NAME").cloned();
        let container = ContainerRef {
            netns: std::path::absolute(&self.call.netns).unwrap_or_else(|_| PathBuf::from(&self.call.netns)),
            ifname: self.call.ifname.clone(),
            network: self.conf.network.clone(),
            name: Some(name.unwrap_or_else(|| self.call.container.clone())),
            mac: self.conf.mac.clone(),
            key: Some(self.key()),
            want,
            limits: self.conf.limits,
            gateway: self.conf.host.gateway,
            masqueraded: self.conf.host.masquerade,
            ..ContainerRef::default()
        };
        let names = self.names();
        let attached = self.router(&Request::Attach {
            container: Box::new(container),
            addresses,
            names,
        })?;
        let finish = || {
            if !attached.is_object() {
                let message =
                    "the router is of another version than this plugin: restart it, then `weft cni install`";
                return Err(Failure::new(Code::Decode, message));
            }
            if !self.is_limited(&attached) {
                let message = "the router is of an earlier version, which sets no limits: restart it";
                return Err(Failure::new(Code::Decode, message));
            }
            let routes = self.add_routes(netns, given, &result::gateways_of(&attached))?;
            result::of(self, &attached, given, &routes)
        };
        finish().inspect_err(|_| {
            // As above.
            let _ = self.router(&Request::DetachKey { key: self.key() });
        })
    }

    /// True if the router has this attachment under the limits that it is to have.
    fn is_limited(&self, attached: &Value) -> bool {
        let there: Limits = serde_json::from_value(attached["limits"].clone()).unwrap_or_default();
        let Limits { sends, receives } = self.conf.limits;
        // What it receives is another plugin's business where an earlier version of this one was told of it.
        let by_another = attached["limited"] == true && there.receives.is_none();
        (sends.is_none() || there.sends == sends)
            && (receives.is_none() || there.receives == receives || by_another)
    }

    /// Under which names others find the container: its aliases and its pod's name, or else its own; as far as they can
    /// be names.
    fn names(&self) -> Vec<mesh::Name> {
        let pod = self.call.args.get("K8S_POD_NAME");
        let told = self
            .conf
            .aliases
            .iter()
            .chain(pod)
            .filter_map(|name| name.parse().ok());
        let mut names: Vec<mesh::Name> = told.collect();
        if names.is_empty() {
            names.extend(self.call.container.parse::<mesh::Name>().ok());
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Routes of the configuration, then those of the IPAM plugin, then by the host. One without gateway goes to that of an address of
    /// the same kind.
    fn add_routes(
        &self,
        netns: &NetNs,
        given: Option<&Given>,
        own: &[IpAddr],
    ) -> Result<Vec<(Cidr, IpAddr)>, Failure> {
        let given_ones = given.map_or(&[][..], |given| &given.addresses).iter();
        let gateways: Vec<_> = given_ones
            .filter_map(|(_, gateway)| *gateway)
            .chain(own.iter().copied())
            .collect();
        let of_kind = |dst: &Cidr| {
            let same = |gateway: &&IpAddr| gateway.is_ipv4() == dst.address.is_ipv4();
            gateways.iter().find(same).copied()
        };
        let own = own.iter().filter(|_| self.conf.host.is_default_gateway);
        let default: Vec<_> = own
            .map(|gateway| (everything(*gateway), Some(*gateway)))
            .collect();
        let asked = self
            .conf
            .routes
            .iter()
            .chain(given.map_or(&[][..], |given| &given.routes))
            .chain(&default);
        let mut routes: Vec<(Cidr, IpAddr)> = Vec::new();
        for (dst, gateway) in asked {
            if routes.iter().any(|(known, _)| known == dst) {
                continue;
            }
            let via = gateway.or_else(|| of_kind(dst)).ok_or_else(|| {
                Failure::new(
                    Code::Config,
                    format!("the route to {dst} needs a gateway: name it as gw"),
                )
            })?;
            fastpath::wire::add_route(netns, dst.address, dst.prefix, via).map_err(|error| {
                Failure::new(
                    Code::Refused,
                    format!("the route to {dst} by {via} can't be made: {error}"),
                )
            })?;
            routes.push((*dst, via));
        }
        Ok(routes)
    }

    /// Repeatable, and content with whatever is gone already (section 4, DEL).
    fn del(&self) -> Result<(), Failure> {
        let detached = self.ask(&Request::DetachKey { key: self.key() })?;
        if detached.is_none() && NetNs::open(&self.call.netns).is_ok_and(|netns| self.is_inside(&netns)) {
            return Err(Failure::new(Code::TryAgain, self.not_running()));
        }
        // Without router, and the container is gone: the router finds out when it starts.
        match &self.conf.ipam {
            Some(kind) => other::call(kind, "DEL", &self.conf, &self.call).map(|_| ()),
            None => Ok(()),
        }
    }

    fn is_inside(&self, netns: &NetNs) -> bool {
        let interfaces = fastpath::wire::interfaces(netns).unwrap_or_default();
        interfaces.contains(&self.call.ifname)
    }

    fn check(&self) -> Result<(), Failure> {
        let wrong = |message: String| Failure::new(Code::Config, message);
        let Some(previous) = &self.conf.previous else {
            return Err(wrong("CHECK needs prevResult".into()));
        };
        if let Some(kind) = &self.conf.ipam {
            other::call(kind, "CHECK", &self.conf, &self.call)?;
        }
        let netns = self.netns()?;
        let attached = self.ask(&Request::Attached { key: self.key() });
        // Only the router's own word makes a container an unknown one, for which nothing is to be taken back.
        let attached = attached.map_err(|failure| {
            if failure.is(Code::Refused) {
                let message = format!("{} is not attached", self.call.container);
                Failure::new(Code::UnknownContainer, message)
            } else {
                failure
            }
        })?;
        // Not known for now is not unknown: that would tell the runtime that there is nothing to take back.
        let attached = attached.ok_or_else(|| Failure::new(Code::TryAgain, self.not_running()))?;
        if !self.is_inside(&netns) {
            return Err(wrong(format!(
                "the container has no interface {}",
                self.call.ifname
            )));
        }
        if !self.is_limited(&attached) {
            return Err(wrong("the container has other limits of bandwidth".into()));
        }
        let own = result::addresses_of(previous, &self.call);
        let listed = attached["addresses"].as_array().cloned().unwrap_or_default();
        for address in own {
            let is_there = || {
                netns
                    .run(|| UdpSocket::bind((address.address, 0)).is_ok())
                    .unwrap_or_default()
            };
            if !listed.contains(&json!(address.to_string())) || !is_there() {
                return Err(wrong(format!(
                    "the container does not have the address {address}"
                )));
            }
        }
        Ok(())
    }

    fn collect(&self) -> Result<(), Failure> {
        // Nobody is cleaned up for a runtime that has not said who is to stay.
        let Some(valid) = &self.conf.valid else {
            let message = "GC needs cni.dev/valid-attachments";
            return Err(Failure::new(Code::Config, message));
        };
        let name = &self.conf.name;
        let keep = valid
            .iter()
            .map(|(container, ifname)| key(name, container, ifname))
            .collect();
        let prefix = format!("{name}/");
        let collected = self.router(&Request::Collect { prefix, keep });
        let others = match &self.conf.ipam {
            Some(kind) => other::call(kind, "GC", &self.conf, &self.call).map(|_| ()),
            None => Ok(()),
        };
        collected.and(others)
    }

    fn status(&self) -> Result<(), Failure> {
        if let Some(kind) = &self.conf.ipam {
            other::call(kind, "STATUS", &self.conf, &self.call)?;
        }
        match self.ask(&Request::Ready) {
            Ok(Some(_)) => Ok(()),
            // What crosses hosts by the router does not while none runs.
            Ok(None) => Err(Failure::new(Code::LimitedConnectivity, self.not_running())),
            Err(why) => Err(why.unavailable()),
        }
    }
}

/// All addresses of the same kind.
fn everything(like: IpAddr) -> Cidr {
    let address = match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Cidr { address, prefix: 0 }
}

fn key(network: &str, container: &str, ifname: &str) -> String {
    format!("{network}/{container}/{ifname}")
}
