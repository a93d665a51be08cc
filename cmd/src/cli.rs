//! The command line: verbs, options and their environment variables.

mod container;
mod docker;
mod launch;

pub(crate) use container::{First, Place, Runtimes};
pub(crate) use docker::{DockerScope, DockerServe, DockerVerb};
pub(crate) use launch::{CipherChoice, Launch, LogFormat, OverlayChoice};

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

use crate::net::Cidr;
use crate::rate::Rate;

/// An encrypted mesh router for container networks.
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 80, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Where the router answers the other verbs.
    #[arg(
        long,
        global = true,
        env = "WEFT_SOCKET",
        default_value = "/run/weft/weft.sock"
    )]
    pub(crate) socket: PathBuf,
    /// Where identity, secret and targets are kept.
    #[arg(
        long,
        global = true,
        env = "WEFT_STATE_DIR",
        default_value = "/var/lib/weft",
        value_name = "D"
    )]
    pub(crate) state_dir: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true, env = "WEFT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the router, in the foreground.
    Launch(Box<Launch>),
    /// Link with routers at these addresses, now and after each restart.
    Connect {
        /// Forget all other targets.
        #[arg(long, env = "WEFT_REPLACE", value_parser = FalseyValueParser::new())]
        replace: bool,
        /// Where a router listens: HOST, or HOST and port.
        #[arg(required = true, value_name = "PEER[:PORT]")]
        peers: Vec<String>,
    },
    /// Close the links to these routers and dial them no more; they may still dial this one.
    Forget {
        /// An address that was connected, or a router's name, id or start of its id.
        #[arg(required = true, value_name = "PEER")]
        peers: Vec<String>,
    },
    /// Give a container an interface in the mesh; prints its addresses. Without CIDR it gets the next free ones; if there
    /// are none yet, it waits for them for three seconds, and ten in a network that is new or after the router's start.
    Attach {
        /// What its runtime calls it, or its id there, or the start of it; `docker:`, `podman:` or `containerd:` in front says
        /// which runtime is meant. Without, --netns or --pid names it.
        #[arg(value_name = "CONTAINER", value_parser = container::parse_first)]
        first: Option<First>,
        #[command(flatten)]
        place: Place,
        /// A name for it, without the domain; more than one may be given.
        #[arg(long = "name", env = "WEFT_CONTAINER_NAME", action = ArgAction::Append, value_delimiter = ',', num_args = 1, value_name = "NAME")]
        names: Vec<mesh::Name>,
        /// Name or number of a network [default: the default one].
        #[arg(long, env = "WEFT_NETWORK", value_name = "NAME|VNI")]
        network: Option<String>,
        /// What it may send at most, in bits a second: 800k, 20M, 1G. What is more waits, and is dropped in the end.
        #[arg(long, env = "WEFT_EGRESS_RATE", value_name = "RATE")]
        egress_rate: Option<Rate>,
        /// What it may receive at most.
        #[arg(long, env = "WEFT_INGRESS_RATE", value_name = "RATE")]
        ingress_rate: Option<Rate>,
        /// Addresses with prefix length, IPv4 or IPv6.
        #[arg(value_name = "CIDR")]
        addresses: Vec<Cidr>,
    },
    /// Be the network plugin of containerd, Podman, CRI-O and Kubernetes.
    Cni {
        #[command(subcommand)]
        verb: CniVerb,
    },
    /// Be the network driver of Docker Engine.
    Docker {
        #[command(subcommand)]
        verb: DockerVerb,
    },
    /// List this host's containers in the mesh, with their addresses.
    Ps {
        /// Only this one: what its runtime calls it, as for `weft attach`.
        #[arg(value_parser = container::parse_container)]
        container: Option<String>,
        #[command(flatten)]
        runtimes: Runtimes,
    },
    /// Give this host itself an interface in the mesh, so that it and its containers reach each other.
    Expose {
        /// Addresses with prefix length [default: the next free ones].
        #[arg(value_name = "CIDR")]
        addresses: Vec<Cidr>,
        /// Name or number of a network [default: the default one].
        #[arg(long, env = "WEFT_NETWORK", value_name = "NAME|VNI")]
        network: Option<String>,
    },
    /// Take the host's own interface away.
    Hide {
        /// Name or number of a network [default: the default one].
        #[arg(long, env = "WEFT_NETWORK", value_name = "NAME|VNI")]
        network: Option<String>,
    },
    /// Add, list and remove isolated networks.
    Network {
        #[command(subcommand)]
        verb: NetworkVerb,
    },
    /// Show which router owns which share of the containers' addresses.
    Ipam {
        /// Name or number of a network [default: the default one].
        #[arg(long, env = "WEFT_NETWORK", value_name = "NAME|VNI")]
        network: Option<String>,
    },
    /// Take over the addresses of a router that will not come back.
    Reclaim {
        /// Its name, its id or the start of it.
        peer: String,
    },
    /// Take a container's interface away.
    Detach {
        /// What its runtime calls it, as for `weft attach`.
        #[arg(value_parser = container::parse_container, required_unless_present_any = ["netns", "pid"], conflicts_with_all = ["netns", "pid"])]
        container: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Show the router's view of the mesh.
    Status {
        /// One listing instead of the summary.
        #[arg(value_enum)]
        listing: Option<Listing>,
    },
    /// Measure the round trip to a router over the path that containers' frames take.
    Ping {
        /// A router's name, id or start of its id.
        peer: String,
        /// Measure the control path instead.
        #[arg(long, env = "WEFT_CONTROL", value_parser = FalseyValueParser::new())]
        control: bool,
        /// How often.
        #[arg(short = 'c', long, default_value_t = 4, env = "WEFT_COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
    /// Show the hops of the data route to a router, with the round trip to each.
    Trace {
        /// A router's name, id or start of its id.
        peer: String,
    },
    /// Make, add, list and retire the secrets that admit routers to the mesh.
    Secret {
        #[command(subcommand)]
        verb: SecretVerb,
    },
    /// Look up, add and remove names of containers.
    Dns {
        #[command(subcommand)]
        verb: DnsVerb,
    },
    /// Print a token that lets another host join: `weft launch TOKEN`.
    Invite,
    /// Print this router's id.
    Id,
    /// Stop the router; containers keep their interfaces.
    Stop,
    /// Stop the router and remove its interfaces, identity and secrets.
    Reset {
        /// Do not ask.
        #[arg(long, env = "WEFT_YES", value_parser = FalseyValueParser::new())]
        yes: bool,
        /// The bridge the router was launched with [default: as stored].
        #[arg(long, env = "WEFT_BRIDGE", value_name = "NAME")]
        bridge: Option<String>,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Show it all on this machine: three hosts, a relay, an encrypted mesh.
    Demo,
    /// Measure on this machine what routers carry, beside what its kernel does without them.
    Bench(crate::bench::Bench),
    /// Run routers in virtual time, or replay what one was told.
    Simulate(Box<crate::simulate::Simulate>),
}

/// What to do with networks.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum NetworkVerb {
    /// Let there be a network, on all hosts of the mesh. Containers of other networks never reach it.
    Add {
        /// What it is called.
        name: mesh::Name,
        /// Its range of IPv4 addresses; other networks may have the same [default: a free part of 10.128.0.0/9].
        #[arg(long, env = "WEFT_SUBNET", value_name = "CIDR")]
        subnet: Option<Cidr>,
        /// Its number, the same on all hosts [default: one that follows from the name].
        #[arg(long, env = "WEFT_VNI", value_name = "N", value_parser = clap::value_parser!(u32).range(2..=0xff_ffff))]
        vni: Option<u32>,
    },
    /// Print all networks.
    List,
    /// Let there be no such network any more; no container may be in it.
    Remove {
        /// What it is called.
        name: mesh::Name,
    },
}

/// What to do with names.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DnsVerb {
    /// Print the addresses of a name, or the names of an address.
    Lookup {
        /// A name, with or without the domain, or an address.
        #[arg(value_name = "NAME|ADDRESS")]
        what: String,
        /// Name or number of a network [default: the default one].
        #[arg(long, env = "WEFT_NETWORK", value_name = "NAME|VNI")]
        network: Option<String>,
    },
    /// Print all names that this router knows, and what they stand for.
    List {
        /// Name or number of a network [default: the default one].
        #[arg(long, env = "WEFT_NETWORK", value_name = "NAME|VNI")]
        network: Option<String>,
    },
    /// Let a name stand for these addresses too, as long as this router runs, now and after each restart.
    Add {
        /// Without the domain.
        name: mesh::Name,
        /// IPv4 or IPv6.
        #[arg(required = true)]
        addresses: Vec<std::net::IpAddr>,
    },
    /// Take back what was added on this host.
    Remove {
        /// Without the domain.
        name: mesh::Name,
        /// Only these addresses.
        addresses: Vec<std::net::IpAddr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    Peers,
    Connections,
    Routes,
    Targets,
    Attachments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CniVerb {
    /// Put the plugin and a configuration where runtimes look for them.
    Install {
        /// Where runtimes find plugins.
        #[arg(
            long,
            env = "WEFT_CNI_BIN_DIR",
            default_value = "/opt/cni/bin",
            value_name = "D"
        )]
        bin_dir: PathBuf,
        /// Where runtimes find configurations.
        #[arg(
            long,
            env = "WEFT_CNI_CONF_DIR",
            default_value = "/etc/cni/net.d",
            value_name = "D"
        )]
        conf_dir: PathBuf,
        /// Containers reach what is outside the mesh by this host, in its name, and get host ports if the plugin `portmap` is
        /// there.
        #[arg(long, env = "WEFT_CNI_GATEWAY", value_parser = FalseyValueParser::new())]
        gateway: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretVerb {
    /// Print a fresh secret's token.
    New,
    /// Add a second secret; run it on every host.
    Add {
        /// File with the token; `-` or nothing reads standard input.
        file: Option<PathBuf>,
    },
    /// List the ids of this router's secrets, and which routers lack one.
    List,
    /// Stop accepting a secret.
    Retire {
        /// The secret's id, as `weft secret list` shows it.
        id: String,
        /// Even if a reachable router lacks the other secret.
        #[arg(long, env = "WEFT_FORCE", value_parser = FalseyValueParser::new())]
        force: bool,
    },
}

/// The kernel makes a number of a percent sign and the letter behind it, and the interface has another name than was asked for.
fn parse_ifname(name: &str) -> Result<String, String> {
    let fits = (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b))
        && name != "."
        && name != "..";
    if fits {
        Ok(name.to_owned())
    } else {
        Err("an interface name has 1 to 15 characters, no /, : or %".into())
    }
}

/// Parses the process's arguments. Options may stand before the verb they belong to.
pub(crate) fn parse() -> Cli {
    try_parse(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

fn try_parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse_from(verb_first(args))?;
    container::check(&cli)?;
    Ok(cli)
}

/// Moves the verb in front of the options that precede it, so that clap sees them as the verb's own.
pub(crate) fn verb_first(mut args: Vec<OsString>) -> Vec<OsString> {
    use clap::CommandFactory;
    let command = Cli::command();
    let takes_value = |flag: &str| {
        let all = command
            .get_arguments()
            .chain(command.get_subcommands().flat_map(clap::Command::get_arguments));
        let mut named = all.filter(|arg| {
            flag.strip_prefix("--")
                .is_some_and(|long| arg.get_long() == Some(long))
                || flag
                    .strip_prefix('-')
                    .and_then(|s| s.parse().ok())
                    .is_some_and(|c| arg.get_short() == Some(c))
        });
        named.any(|arg| arg.get_action().takes_values())
    };
    let (mut at, mut place, mut above) = (1, 1, &command);
    while let Some(arg) = args.get(at).and_then(|arg| arg.to_str()) {
        if let Some(verb) = above.find_subcommand(arg) {
            // `secret` has verbs of its own.
            let text = args.remove(at);
            args.insert(place, text);
            (at, place, above) = (at + 1, place + 1, verb);
            continue;
        }
        if !arg.starts_with('-') || arg == "--" {
            break;
        }
        at += if !arg.contains('=') && takes_value(arg) {
            2
        } else {
            1
        };
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        try_parse(line.split(' ').map(OsString::from).collect())
    }

    fn launch(line: &str) -> Launch {
        match parse(line).unwrap().verb {
            Verb::Launch(launch) => *launch,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_a_variable_and_every_switch_is_on_at_1() {
        fn look_at(command: &clap::Command) {
            // Of `simulate` the README says that it has none.
            if command.get_name() == "simulate" {
                return;
            }
            for option in command.get_arguments().filter(|one| one.get_long().is_some()) {
                let name = option.get_id();
                let is_switch = matches!(option.get_action(), ArgAction::SetTrue);
                if is_switch {
                    let parser = format!("{:?}", option.get_value_parser());
                    assert_ne!(parser, "ValueParser::bool", "{name} takes no 1");
                }
                let is_claps = matches!(
                    option.get_action(),
                    ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
                );
                assert!(
                    is_claps || option.get_env().is_some(),
                    "{} --{name}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(look_at);
        }
        let mut command = Cli::command();
        command.build();
        look_at(&command);
    }

    #[test]
    fn an_interface_is_called_as_it_was_said_or_not_at_all() {
        for line in [
            "weft attach --pid 1 --ifname eth%d",
            "weft launch --bridge we%d",
            "weft attach --pid 1 --ifname a:b",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("weft attach --pid 1 --ifname eth0.1~x").is_ok());
    }

    #[test]
    fn options_stand_before_or_after_the_verb() {
        for line in [
            "weft --name status --socket /s launch 10.0.0.1",
            "weft launch 10.0.0.1 --name status --socket /s",
            "weft --name=status launch --socket=/s 10.0.0.1",
        ] {
            assert_eq!(launch(line).name.unwrap().as_str(), "status", "{line}");
            assert_eq!(launch(line).peers, ["10.0.0.1"]);
            assert_eq!(parse(line).unwrap().socket.to_str(), Some("/s"));
        }
        assert!(parse("weft --json status peers").unwrap().json);
        for line in [
            "weft --force secret retire abc",
            "weft secret --force retire abc",
            "weft secret retire abc --force",
        ] {
            let Verb::Secret { verb } = parse(line).unwrap().verb else {
                panic!("{line}");
            };
            assert!(matches!(verb, SecretVerb::Retire { force: true, .. }), "{line}");
        }
    }

    #[test]
    fn no_option_swallows_a_peer() {
        let options =
            launch("weft launch --trusted-subnets 10.0.0.0/8,fd00::/8 --trusted-subnets 192.168.0.0/16 a b");
        assert_eq!(options.trusted_subnets.len(), 3);
        assert_eq!(options.peers, ["a", "b"]);
        let options = launch("weft launch --advertise x:1 --no-discovery a");
        assert_eq!((options.advertise.len(), options.peers.len()), (1, 1));
    }

    #[test]
    fn a_container_is_named_by_its_runtime_or_placed() {
        let address: Cidr = "10.0.0.1/24".parse().unwrap();
        for (line, container, count) in [
            ("weft attach web", Some("web"), 0),
            (
                "weft attach docker:web 10.0.0.1/24 fd00::1/64",
                Some("docker:web"),
                2,
            ),
            ("weft attach --netns a", None, 0),
            ("weft attach --netns a 10.0.0.1/24 fd00::1/64", None, 1),
            ("weft attach 10.0.0.1/24 --pid 7", None, 0),
        ] {
            let Verb::Attach { first, addresses, .. } = parse(line).unwrap().verb else {
                panic!("{line}");
            };
            let expected = container.map(|name| First::Container(name.to_owned()));
            let expected = expected.or_else(|| line.contains("10.0.0.1").then_some(First::Address(address)));
            assert_eq!((first, addresses.len()), (expected, count), "{line}");
        }
    }

    #[test]
    fn wrong_values_are_usage_errors() {
        for line in [
            "weft launch --listen nowhere",
            "weft launch --mtu 1279",
            "weft launch --trusted-subnets 10.0.0.0/33",
            "weft attach",
            "weft attach 10.0.0.1/24",
            "weft attach 10.0.0.1",
            "weft attach web web",
            "weft attach --netns a web",
            "weft attach --pid 1 web 10.0.0.1/24",
            "weft detach",
            "weft detach --pid 1 web",
            "weft detach a/b",
            "weft attach --netns a --pid 1 10.0.0.1/24",
            "weft attach --egress-rate 1.5M web",
            "weft attach --netns a 10.0.0.1",
            "weft attach --netns a --ifname sixteen-letters- 10.0.0.1/24",
            "weft status nothing",
            "weft frobnicate",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
