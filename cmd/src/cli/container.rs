//! How a container is named on the command line: by what its runtime calls it, a process in it, or its network namespace.

use super::docker::DockerAt;
use super::{Cli, Verb, parse_ifname};
use crate::net::Cidr;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _};
use std::net::IpAddr;
use std::path::PathBuf;

/// A container's place: its network namespace, and the interface there.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Place {
    /// Its network namespace: a name under /run/netns, or a path.
    #[arg(long, env = "WEFT_NETNS", value_name = "NAME|PATH", conflicts_with = "pid")]
    pub(crate) netns: Option<String>,
    /// A process in its network namespace.
    #[arg(long, env = "WEFT_PID")]
    pub(crate) pid: Option<u32>,
    /// The interface's name inside [default: weft0 in a container named by its runtime, else eth0].
    #[arg(long, env = "WEFT_IFNAME", value_parser = parse_ifname)]
    pub(crate) ifname: Option<String>,
    #[command(flatten)]
    pub(crate) runtimes: Runtimes,
}

/// Where runtimes answer.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Runtimes {
    #[command(flatten)]
    pub(crate) docker: DockerAt,
    /// Where containerd answers.
    #[arg(
        long,
        env = "WEFT_CONTAINERD",
        default_value = "/run/containerd/containerd.sock",
        value_name = "SOCKET"
    )]
    pub(crate) containerd: PathBuf,
}

/// The first word after `weft attach`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum First {
    Container(String),
    Address(Cidr),
}

/// What has a slash is an address, and an address is not taken for a name.
pub(super) fn parse_first(text: &str) -> Result<First, String> {
    if text.contains('/') {
        text.parse().map(First::Address)
    } else if text.parse::<IpAddr>().is_ok() {
        Err("needs a prefix length, such as /24".into())
    } else {
        parse_container(text).map(First::Container)
    }
}

/// A container's name or id, with its runtime in front or without.
pub(super) fn parse_container(text: &str) -> Result<String, String> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte);
    if !text.is_empty() && text.len() <= 256 && text.bytes().all(is_of_name) {
        Ok(text.to_owned())
    } else {
        Err("no container is called so".into())
    }
}

/// A container is named in one way.
pub(super) fn check(cli: &Cli) -> Result<(), clap::Error> {
    let Verb::Attach { first, place, .. } = &cli.verb else {
        return Ok(());
    };
    let is_placed = place.netns.is_some() || place.pid.is_some();
    let wrong = |kind, text| Err(Cli::command().error(kind, text));
    match first {
        Some(First::Container(_)) if is_placed => wrong(
            ErrorKind::ArgumentConflict,
            "a container is named by its runtime's name for it, or by --netns or --pid",
        ),
        Some(First::Address(_)) | None if !is_placed => wrong(
            ErrorKind::MissingRequiredArgument,
            "which container? Name it, or use --netns or --pid",
        ),
        _ => Ok(()),
    }
}
