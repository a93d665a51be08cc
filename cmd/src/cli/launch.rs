//! Options of `weft launch`.

use super::parse_ifname;
use crate::net::{Cidr, parse_dns, parse_listen, parse_port};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Options of `weft launch`.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// This router's name, for people [default: the host's name].
    #[arg(long, env = "WEFT_NAME", value_name = "N")]
    pub(crate) name: Option<mesh::PeerName>,
    /// UDP address and port for control and data.
    #[arg(long, env = "WEFT_LISTEN", default_value = "[::]:6783", value_parser = parse_listen, value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,
    /// File with the secret's token (or the token itself in WEFT_SECRET).
    #[arg(long, env = "WEFT_SECRET_FILE", value_name = "F")]
    pub(crate) secret_file: Option<PathBuf>,
    /// An address others shall try first, such as a NAT's outside.
    #[arg(long, env = "WEFT_ADVERTISE", action = ArgAction::Append, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Vec<String>,
    /// Which cipher data may use.
    #[arg(long, env = "WEFT_CIPHER", value_enum, default_value_t = CipherChoice::Auto)]
    pub(crate) cipher: CipherChoice,
    /// How frames travel.
    #[arg(long, env = "WEFT_OVERLAY", value_enum, default_value_t = OverlayChoice::Auto)]
    pub(crate) overlay: OverlayChoice,
    /// UDP port of the fast path (VXLAN), the same on all hosts.
    #[arg(long, env = "WEFT_VXLAN_PORT", default_value_t = 6784, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) vxlan_port: u16,
    /// How long the fast path to a router stays in use after the control plane has lost it, in seconds.
    #[arg(long, env = "WEFT_GRACE", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(0..=600))]
    pub(crate) grace: u16,
    /// Behave as on a kernel that takes no eBPF programs (for tests).
    #[arg(long, env = "WEFT_NO_EBPF", hide = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_ebpf: bool,
    /// Do not encrypt between routers that both find the other's address in here.
    #[arg(long, env = "WEFT_TRUSTED_SUBNETS", action = ArgAction::Append, value_delimiter = ',', num_args = 1, value_name = "CIDR[,CIDR...]")]
    pub(crate) trusted_subnets: Vec<Cidr>,
    /// Let relays see frames on the fast path: over encrypted hops, when all routers on the way were launched so.
    #[arg(long, env = "WEFT_FAST_RELAY", value_parser = FalseyValueParser::new())]
    pub(crate) fast_relay: bool,
    /// Seconds after which another key takes the place of one that encrypts on the fast path.
    #[arg(long, env = "WEFT_ESP_ROLL", hide = true, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) esp_roll: Option<u32>,
    /// Link only with the PEERs given.
    #[arg(long, env = "WEFT_NO_DISCOVERY", value_parser = FalseyValueParser::new())]
    pub(crate) no_discovery: bool,
    /// Link with all other routers up to this number; in larger meshes with a few near ones and a few at random.
    #[arg(long, env = "WEFT_MAX_LINKS", default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) max_links: u16,
    /// Name of the bridge that joins this host's containers.
    #[arg(long, env = "WEFT_BRIDGE", default_value = "weft", value_parser = parse_bridge, value_name = "NAME")]
    pub(crate) bridge: String,
    /// MTU of the containers' interfaces [default: the underlay's less 110].
    #[arg(long, env = "WEFT_MTU", value_name = "M", value_parser = clap::value_parser!(u16).range(1280..=65_000))]
    pub(crate) mtu: Option<u16>,
    /// The IPv4 range of containers' addresses, the same on all hosts.
    #[arg(
        long,
        env = "WEFT_IPALLOC_RANGE",
        default_value = "10.32.0.0/12",
        value_name = "CIDR"
    )]
    pub(crate) ipalloc_range: Cidr,
    /// The IPv6 range beside it, or `none`.
    #[arg(
        long,
        env = "WEFT_IPALLOC_RANGE_V6",
        default_value = "fd57:4546:5400::/64",
        value_name = "CIDR"
    )]
    pub(crate) ipalloc_range_v6: String,
    /// Divide the addresses only when the majority of so many routers see each other [default: at once].
    #[arg(long, env = "WEFT_IPALLOC_INIT", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ipalloc_init: Option<u16>,
    /// Once a majority has missed a router for so many seconds, take over those of its addresses that it promised not to use;
    /// the same on all hosts [default: only `weft reclaim` takes over].
    #[arg(long, env = "WEFT_IPALLOC_RECLAIM", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(60..))]
    pub(crate) ipalloc_reclaim: Option<u32>,
    /// Answer containers' questions for names here; the address need not be there yet.
    #[arg(long, env = "WEFT_DNS_LISTEN", action = ArgAction::Append, value_delimiter = ',', num_args = 1, value_parser = parse_dns, value_name = "ADDR[:PORT]")]
    pub(crate) dns_listen: Vec<SocketAddr>,
    /// Domain of the containers' names.
    #[arg(long, env = "WEFT_DNS_DOMAIN", default_value = "weft.local", value_name = "D")]
    pub(crate) dns_domain: String,
    /// Who answers what is not of that domain [default: the name servers in /etc/resolv.conf].
    #[arg(long, env = "WEFT_DNS_UPSTREAM", action = ArgAction::Append, value_delimiter = ',', num_args = 1, value_parser = parse_dns, value_name = "ADDR[:PORT]")]
    pub(crate) dns_upstream: Vec<SocketAddr>,
    /// Threads that carry frames, 1 to 8 [default: one for each processor, one in all if there are two].
    #[arg(long, env = "WEFT_LANES", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=sleeve::wire::LANES as i64))]
    pub(crate) lanes: Option<u8>,
    /// How many microseconds an answer may be awaited without sleeping, where answers come that soon. 0: sleep at once.
    #[arg(long, env = "WEFT_BUSY_POLL", default_value_t = 100, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u16).range(..=1000))]
    pub(crate) busy_poll: u16,
    /// Carry one frame at a time, without segmentation and checksum offload: the slow and simple way.
    #[arg(long, env = "WEFT_NO_OFFLOAD", value_parser = FalseyValueParser::new())]
    pub(crate) no_offload: bool,
    /// A CNI configuration that is to be there only while containers can be attached; else it is called FILE.off. For runtimes
    /// that do not ask the plugin for its status, such as containerd before 2.0.
    #[arg(long, env = "WEFT_CNI_CONF", value_name = "FILE")]
    pub(crate) cni_conf: Option<PathBuf>,
    /// Serve /status and /healthz over HTTP here.
    #[arg(long, env = "WEFT_HTTP", value_name = "ADDR", value_parser = parse_http)]
    pub(crate) http: Option<SocketAddr>,
    /// Write what the control plane is told to this file, without keys, for `weft simulate --replay`.
    #[arg(long, env = "WEFT_RECORD", value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Stop recording at this size.
    #[arg(long, env = "WEFT_RECORD_LIMIT", default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) record_limit: u64,
    /// How log lines look.
    #[arg(long, env = "WEFT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Where routers to join listen, or an invite (`-` reads one from standard input).
    #[arg(value_name = "PEER[:PORT]")]
    pub(crate) peers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CipherChoice {
    Auto,
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverlayChoice {
    /// The kernel where it can, sleeve elsewhere.
    Auto,
    /// Nothing but sleeve.
    Sleeve,
    /// Nothing but the kernel: frames for routers it does not reach are dropped.
    Fast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

fn parse_bridge(name: &str) -> Result<String, String> {
    if name.len() > 8 {
        return Err("a bridge name has at most 8 characters: other interfaces are named after it".into());
    }
    parse_ifname(name)
}

/// `ADDR:PORT`, `:PORT` or `PORT`; loopback unless an address is given.
fn parse_http(text: &str) -> Result<SocketAddr, String> {
    let port = parse_port(text.strip_prefix(':').unwrap_or(text));
    port.map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .or_else(|| text.parse().ok())
        .ok_or_else(|| "not an address and port, such as 127.0.0.1:6784".into())
}
