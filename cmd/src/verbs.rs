//! The verbs other than `launch`: ask the running router, print its answer.

mod names;
mod secret;
mod stop;

use crate::cli::{Cli, CniVerb, DockerVerb, First, Listing, NetworkVerb, Place, Runtimes, Verb};
use crate::control::{Client, ContainerRef, NetworkRequest, PingLine, Request, TraceLine};
use crate::net::{Cidr, normal_target};
use crate::rate::Rate;
use crate::status::model::Status;
use crate::status::{listing, table};
use crate::{bench, cni, demo, docker, launch, runtimes, simulate};
use anyhow::{Context, Result, anyhow, bail};
use clap::CommandFactory;
use fastpath::{Limits, NetNs};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    match &cli.verb {
        Verb::Launch(options) => launch::launch(cli, options),
        Verb::Connect { replace, peers } => {
            let targets = peers
                .iter()
                .map(|peer| normal_target(peer).map_err(|error| anyhow!(error)));
            quiet(
                cli,
                &Request::Connect {
                    replace: *replace,
                    targets: targets.collect::<Result<_>>()?,
                },
            )
        }
        Verb::Forget { peers } => quiet(cli, &Request::Forget { peers: peers.clone() }),
        Verb::Attach {
            first,
            place,
            names,
            network,
            egress_rate,
            ingress_rate,
            addresses,
        } => {
            let mut addresses = addresses.clone();
            let named = match first {
                Some(First::Container(name)) => Some(name.as_str()),
                Some(First::Address(address)) => {
                    addresses.insert(0, *address);
                    None
                }
                None => None,
            };
            let (container, own_name) = container_ref(named, place)?;
            let container = ContainerRef {
                network: network.clone(),
                names: own_name.into_iter().chain(names.iter().cloned()).collect(),
                limits: Limits {
                    sends: egress_rate.map(Rate::limit),
                    receives: ingress_rate.map(Rate::limit),
                },
                ..container
            };
            attach(cli, container, &addresses)
        }
        Verb::Detach { container, place } => quiet(
            cli,
            &Request::Detach {
                container: Box::new(container_ref(container.as_deref(), place)?.0),
            },
        ),
        Verb::Cni {
            verb:
                CniVerb::Install {
                    bin_dir,
                    conf_dir,
                    gateway,
                },
        } => cni::install(bin_dir, conf_dir, &cli.socket, *gateway),
        Verb::Expose { addresses, network } => {
            let value = ask(
                cli,
                &Request::Expose {
                    addresses: addresses.clone(),
                    network: network.clone(),
                },
            )?;
            print_addresses(cli, value)
        }
        Verb::Hide { network } => quiet(
            cli,
            &Request::Hide {
                network: network.clone(),
            },
        ),
        Verb::Network { verb } => network(cli, verb),
        Verb::Docker {
            verb: DockerVerb::Serve(options),
        } => docker::serve(cli, options),
        Verb::Docker {
            verb: DockerVerb::Install { units, plugin, at },
        } => docker::install(
            &units.unit_dir,
            &docker::Places {
                plugin,
                docker: &at.docker,
                socket: &cli.socket,
                state_dir: &cli.state_dir,
            },
        ),
        Verb::Docker {
            verb: DockerVerb::Uninstall { units },
        } => docker::uninstall(&units.unit_dir),
        Verb::Docker {
            verb: DockerVerb::PluginDir { folder, at },
        } => docker::plugin_dir(folder, &cli.socket, &at.docker, &cli.state_dir),
        Verb::Ps { container, runtimes } => ps(cli, container.as_deref(), runtimes),
        Verb::Ipam { network } => {
            let network = network.clone();
            show(cli, &Request::Ipam { network }, listing::shares)
        }
        Verb::Reclaim { peer } => {
            let request = Request::Reclaim { peer: peer.clone() };
            show(cli, &request, |value| {
                format!("{} addresses\n", value["addresses"])
            })
        }
        Verb::Status { listing } => show_status(cli, *listing),
        Verb::Ping { peer, control, count } => ping(cli, peer, *control, *count),
        Verb::Trace { peer } => trace(cli, peer),
        Verb::Secret { verb } => secret::secret(cli, verb),
        Verb::Dns { verb } => names::dns(cli, verb),
        Verb::Invite => text(cli, &Request::Invite),
        Verb::Id => text(cli, &Request::Id),
        Verb::Stop => stop::stop(cli),
        Verb::Reset { yes, bridge } => stop::reset(cli, *yes, bridge.as_deref()),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "weft", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Verb::Demo => demo::run(),
        Verb::Bench(options) => bench::run(options, cli.json),
        Verb::Simulate(options) => simulate::run(cli, options),
    }
}

fn ask(cli: &Cli, request: &Request) -> Result<Value> {
    Client::connect(&cli.socket)?.ask(request)
}

/// Asks for something that has no answer but success.
fn quiet(cli: &Cli, request: &Request) -> Result<()> {
    ask(cli, request).map(|_| ())
}

/// Asks, and prints the answer as JSON or as `text` makes of it.
fn show(cli: &Cli, request: &Request, text: impl Fn(&Value) -> String) -> Result<()> {
    let value = ask(cli, request)?;
    if cli.json {
        print_json(&value)
    } else {
        print(&text(&value))
    }
}

/// Prints, and ends quietly when nobody reads any more.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.context("cannot write to standard output"),
    }
}

pub(crate) fn print_json(value: &Value) -> Result<()> {
    print(&(serde_json::to_string_pretty(value).context("the answer as JSON")? + "\n"))
}

/// Asks for one text and prints it, alone.
fn text(cli: &Cli, request: &Request) -> Result<()> {
    let value = ask(cli, request)?;
    if cli.json {
        return print_json(&value);
    }
    print(&format!("{}\n", value.as_str().unwrap_or_default()))
}

/// Where a container is, and the name that it has with its runtime, if that can be a name here.
fn container_ref(named: Option<&str>, place: &Place) -> Result<(ContainerRef, Option<mesh::Name>)> {
    let found = named
        .map(|name| runtimes::find(name, &place.runtimes))
        .transpose()?;
    let pid = found
        .as_ref()
        .map_or(Ok(place.pid), |found| found.pid().map(Some))?;
    let netns = match (&place.netns, pid) {
        (Some(path), _) if path.contains('/') => std::path::absolute(path).context("the namespace's path")?,
        (Some(name), _) => NetNs::named_path(name)?,
        (None, Some(pid)) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        (None, None) => bail!("which container? Name it, or use --netns or --pid"),
    };
    if let Some(found) = &found
        && NetNs::open(&netns)?.inode() == NetNs::current()?.inode()
    {
        bail!(
            "{} has no network namespace of its own, but the host's: `weft expose` gives that an interface",
            found.name
        );
    }
    // A runtime calls its own interfaces eth0, eth1 and so on.
    let default = if found.is_some() { "weft0" } else { "eth0" };
    let own_name = found.as_ref().and_then(|found| found.name.parse().ok());
    let container = ContainerRef {
        netns,
        pid,
        ifname: place.ifname.clone().unwrap_or_else(|| default.into()),
        name: found.map(|found| found.name),
        ..ContainerRef::default()
    };
    Ok((container, own_name))
}

fn attach(cli: &Cli, container: ContainerRef, addresses: &[Cidr]) -> Result<()> {
    let request = Request::Attach {
        names: container.names.clone(),
        container: Box::new(container),
        addresses: addresses.to_vec(),
    };
    let value = ask(cli, &request)?;
    print_addresses(cli, value)
}

/// `weft ps`, of all or of one container: what is in its network namespace, or bears its name where somebody else put the
/// interface into it.
fn ps(cli: &Cli, container: Option<&str>, at: &Runtimes) -> Result<()> {
    let Some(container) = container else {
        return show(cli, &Request::Ps, listing::containers);
    };
    let found = runtimes::find(container, at)?;
    let netns = NetNs::open(format!("/proc/{}/ns/net", found.pid()?))?.inode();
    let mut value = ask(cli, &Request::Ps)?;
    if let Some(all) = value.as_array_mut() {
        all.retain(|one| {
            let is_inside = one["netns"]
                .as_str()
                .is_some_and(|path| NetNs::open(path).is_ok_and(|other| other.inode() == netns));
            is_inside || one["name"].as_str() == Some(found.name.as_str())
        });
    }
    if cli.json {
        print_json(&value)
    } else {
        print(&listing::containers(&value))
    }
}

/// Those of an attachment.
fn print_addresses(cli: &Cli, mut value: Value) -> Result<()> {
    let value = value.get_mut("addresses").map(Value::take);
    let value = value.context("the router's answer can't be read: is it of another version?")?;
    if cli.json {
        return print_json(&value);
    }
    let addresses: Vec<String> = serde_json::from_value(value).context("the router's answer")?;
    print(
        &addresses
            .iter()
            .map(|address| format!("{address}\n"))
            .collect::<String>(),
    )
}

fn show_status(cli: &Cli, listing: Option<Listing>) -> Result<()> {
    let value = ask(cli, &Request::Status)?;
    if cli.json {
        let key = listing.map(|listing| match listing {
            Listing::Peers => "peers",
            Listing::Connections => "connections",
            Listing::Routes => "routes",
            Listing::Targets => "targets",
            Listing::Attachments => "attachments",
        });
        return print_json(key.map_or(&value, |key| &value[key]));
    }
    let status: Status = serde_json::from_value(value).context("the router's answer")?;
    print(&match listing {
        None => table::summary(&status),
        Some(Listing::Peers) => table::peers(&status.peers),
        Some(Listing::Connections) => {
            let rows = table::connections(&status.connections);
            with_reasons(rows, &table::reasons(&status.connections))
        }
        Some(Listing::Routes) => {
            let rows = table::routes(&status.routes);
            with_reasons(rows, &table::route_reasons(&status.routes))
        }
        Some(Listing::Targets) => table::targets(&status.targets),
        Some(Listing::Attachments) => table::attachments(&status.attachments),
    })
}

fn with_reasons(rows: String, why: &str) -> String {
    if why.is_empty() {
        rows
    } else {
        format!("{rows}\n{why}")
    }
}

fn ping(cli: &Cli, peer: &str, control: bool, count: u32) -> Result<()> {
    let request = Request::Ping {
        peer: peer.to_owned(),
        control,
        count,
    };
    let (mut sent, mut rtts) = (0, Vec::new());
    let outcome = Client::connect(&cli.socket)?.call(&request, |value| {
        if cli.json {
            return print(&format!("{value}\n"));
        }
        let line: PingLine = serde_json::from_value(value).context("the router's answer")?;
        sent += 1;
        rtts.extend(line.rtt_us);
        print(&match (line.rtt_us, line.error) {
            (Some(rtt), _) => {
                format!(
                    "{} seq={} rtt={} by {}\n",
                    line.peer,
                    line.seq,
                    table::time(Some(rtt)),
                    line.path.join(", ")
                )
            }
            (None, error) => format!("{} seq={} {}\n", line.peer, line.seq, error.unwrap_or_default()),
        })
    });
    if !cli.json && sent > 1 {
        rtts.sort_unstable();
        let median = rtts.get(rtts.len() / 2).copied();
        print(&format!(
            "{} of {sent} answered, median rtt {}\n",
            rtts.len(),
            table::time(median)
        ))?;
    }
    outcome
}

fn trace(cli: &Cli, peer: &str) -> Result<()> {
    let mut unanswered = None;
    Client::connect(&cli.socket)?.call(
        &Request::Trace {
            peer: peer.to_owned(),
        },
        |value| {
            let line: TraceLine = serde_json::from_value(value.clone()).context("the router's answer")?;
            unanswered = line.error.is_some().then(|| line.name.clone());
            if cli.json {
                return print(&format!("{value}\n"));
            }
            let outcome = line.error.unwrap_or_else(|| table::time(line.rtt_us));
            let id = line.peer_id.get(..12).unwrap_or_default();
            print(&format!("{:>2}  {}  {id}  {outcome}\n", line.hop, line.name))
        },
    )?;
    // The last hop is the router asked for.
    unanswered.map_or(Ok(()), |name| bail!("{name} did not answer"))
}

fn network(cli: &Cli, verb: &NetworkVerb) -> Result<()> {
    let request = match verb {
        NetworkVerb::List => return show(cli, &Request::Network(NetworkRequest::List), listing::networks),
        NetworkVerb::Add { name, subnet, vni } => NetworkRequest::Add {
            name: name.clone(),
            vni: *vni,
            subnet: *subnet,
        },
        NetworkVerb::Remove { name } => NetworkRequest::Remove { name: name.clone() },
    };
    let is_added = matches!(verb, NetworkVerb::Add { .. });
    let value = ask(cli, &Request::Network(request))?;
    match (is_added, cli.json) {
        (true, true) => print_json(&value),
        (true, false) => print(&listing::networks(&Value::Array(vec![value]))),
        (false, _) => Ok(()),
    }
}
