//! The control socket: how the other verbs talk to the running router.
//!
//! A connection carries one [`Request`] as a line of JSON, and [`Reply`] lines back until `Done` or `Error`.
//! The socket is readable by root and its group only (mode 0660); containers, which have other mount namespaces,
//! never see it.

mod client;
mod server;

pub(crate) use client::{Client, NotRunning, passes};
pub(crate) use server::{SocketFile, remove_socket, serve};

use crate::net::Cidr;
use mesh::{Name, PeerId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a verb asks of the router.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    Connect {
        replace: bool,
        targets: Vec<String>,
    },
    Forget {
        peers: Vec<String>,
    },
    Attach {
        container: Box<ContainerRef>,
        addresses: Vec<Cidr>,
        names: Vec<Name>,
    },
    Dns(DnsRequest),
    Detach {
        container: Box<ContainerRef>,
    },
    /// Addresses for somebody who will be attached with them, or not.
    Allocate {
        network: Option<String>,
        holder: String,
        want: Option<IpAddr>,
    },
    /// They are not needed any more.
    Release {
        network: Option<String>,
        holder: String,
    },
    /// Addresses of all whose name begins so, but these, are not needed any more.
    CollectAddresses {
        prefix: String,
        keep: Vec<String>,
    },
    /// What is attached under this key is called so from now on.
    SetNames {
        key: String,
        name: String,
        names: Vec<Name>,
    },
    /// What is attached under this key.
    Attached {
        key: String,
    },
    /// Detach what is attached under this key, if anything is.
    DetachKey {
        key: String,
    },
    /// Detach all whose key begins so, but these.
    Collect {
        prefix: String,
        keep: Vec<String>,
    },
    /// Give the host itself an interface in a network.
    Expose {
        addresses: Vec<Cidr>,
        #[serde(default)]
        network: Option<String>,
    },
    /// Take it away.
    Hide {
        #[serde(default)]
        network: Option<String>,
    },
    Network(NetworkRequest),
    /// Whether containers can be attached and given addresses.
    Ready,
    /// This host's containers.
    Ps,
    /// How the addresses of a network are divided.
    Ipam {
        #[serde(default)]
        network: Option<String>,
    },
    /// Take over the addresses of a router that will not come back.
    Reclaim {
        peer: String,
    },
    Status,
    Ping {
        peer: String,
        control: bool,
        count: u32,
    },
    Trace {
        peer: String,
    },
    SecretAdd {
        token: String,
    },
    SecretList,
    SecretRetire {
        id: String,
        force: bool,
    },
    Invite,
    Id,
    Stop,
    /// Remove the interfaces, then stop.
    Reset,
}

/// What a verb asks of the networks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum NetworkRequest {
    Add {
        name: Name,
        vni: Option<u32>,
        subnet: Option<Cidr>,
    },
    List,
    Remove {
        name: Name,
    },
}

/// What a verb asks of the names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum DnsRequest {
    /// A name, or an address, of a network.
    Lookup {
        what: String,
        network: Option<String>,
    },
    List {
        network: Option<String>,
    },
    Add {
        name: Name,
        addresses: Vec<IpAddr>,
    },
    Remove {
        name: Name,
        addresses: Vec<IpAddr>,
    },
}

/// A container's interface, as the router can find it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRef {
    /// Absolute path of its network namespace.
    pub(crate) netns: PathBuf,
    pub(crate) pid: Option<u32>,
    pub(crate) ifname: String,
    /// What it is called.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The MAC address that its interface shall have.
    #[serde(default)]
    pub(crate) mac: Option<String>,
    /// What a container runtime knows it by.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Addresses that it shall have: of the router's range, or others with prefix length.
    #[serde(default)]
    pub(crate) want: Vec<(IpAddr, Option<u8>)>,
    /// Names under which others find it.
    #[serde(default)]
    pub(crate) names: Vec<Name>,
    /// Name or number of its network; without, it is the default one.
    #[serde(default)]
    pub(crate) network: Option<String>,
    /// Somebody else puts the container's end into its namespace: what it is called until then.
    #[serde(default)]
    pub(crate) handed: Option<String>,
    /// Somebody limits at the host's end what it receives; of plugins of earlier versions.
    #[serde(default)]
    pub(crate) limited: bool,
    /// How much it may send and receive.
    #[serde(default)]
    pub(crate) limits: fastpath::Limits,
    /// It reaches what is outside by this host.
    #[serde(default)]
    pub(crate) gateway: bool,
    /// In the host's name.
    #[serde(default)]
    pub(crate) masqueraded: bool,
    /// The host's own interface, made for such containers.
    #[serde(default, skip_deserializing)]
    pub(crate) for_gateway: bool,
}

/// A line from the router.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Something to print.
    Value(serde_json::Value),
    /// It went wrong.
    Error(Refused),
    /// It is done.
    Done,
}

/// Why the router did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
#[serde(from = "Told")]
pub(crate) struct Refused {
    pub(crate) text: String,
    /// A moment later it may do it.
    pub(crate) passes: bool,
}

/// As routers say it: those that did not tell whether it passes gave the text alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Text(String),
    All {
        text: String,
        #[serde(default)]
        passes: bool,
    },
}

impl From<Told> for Refused {
    fn from(told: Told) -> Self {
        match told {
            Told::Text(text) => text.into(),
            Told::All { text, passes } => Self { text, passes },
        }
    }
}

impl Refused {
    /// For a reason that passes.
    pub(crate) fn for_now(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            passes: true,
        }
    }
}

impl From<String> for Refused {
    fn from(text: String) -> Self {
        Self { text, passes: false }
    }
}

impl From<&str> for Refused {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A question to the router's own task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Answered at once.
    Ask {
        request: Request,
        answer: oneshot::Sender<Result<serde_json::Value, Refused>>,
    },
    /// Find a router by name, id or prefix: its id, and the hops of the data route if there is one.
    Find {
        peer: String,
        answer: oneshot::Sender<Result<Found, String>>,
    },
    /// One round trip.
    Ping {
        peer: PeerId,
        how: PingPath,
        answer: oneshot::Sender<Result<Echo, String>>,
    },
}

/// A router that was named.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) peer: PeerId,
    pub(crate) name: String,
    /// Hops of the data route, destination last; empty without route.
    pub(crate) route: Vec<PeerId>,
}

/// Which way a ping takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PingPath {
    /// As containers' frames, or only the first hops of that route.
    Data(Option<usize>),
    /// As control messages.
    Control,
}

/// A ping's answer.
#[derive(Debug, Clone)]
pub(crate) struct Echo {
    pub(crate) rtt: Duration,
    /// Names of the hops, the answering router last.
    pub(crate) path: Vec<String>,
}

/// One try of `weft ping`, as its JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PingLine {
    pub(crate) peer: String,
    pub(crate) seq: u32,
    pub(crate) rtt_us: Option<u64>,
    pub(crate) path: Vec<String>,
    pub(crate) error: Option<String>,
}

/// One hop of `weft trace`, as its JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TraceLine {
    pub(crate) hop: usize,
    pub(crate) name: String,
    pub(crate) peer_id: String,
    pub(crate) rtt_us: Option<u64>,
    pub(crate) error: Option<String>,
}
