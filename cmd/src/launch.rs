//! `weft launch`: from options, stored state and invites to a running router.

use crate::cli::{CipherChoice, Cli, Launch, LogFormat, OverlayChoice};
use crate::control;
use crate::data::{Bell, Clock, Lane, Shore, Taps};
use crate::link::{ConnectionIds, Dialer, LinksConfig, QuicQueue, SharedSocket};
use crate::membership::{Membership, join};
use crate::nameserver;
use crate::net::{Cidr, normal_target, parse_port};
use crate::recording::Recording;
use crate::router::{self, Conflist, Containers, Inbox, Keeper, Ports, Router, Settings};
use crate::state::{Attachment, Memory, StateDir};
use anyhow::{Context, Result, anyhow, bail};
use crypto::aead::Cipher;
use crypto::identity::Identity;
use crypto::invite::Invite;
use fastpath::tap::Offloads;
use fastpath::vxlan::Switch;
use fastpath::watch::Watcher;
use fastpath::{Linux, names, underlay};
use mesh::ipam::{self, Pool, Setup, Stored};
use mesh::{Drops, Input, Mesh, PeerId, PeerLabel, PeerName, Vni};
use rand_core::{OsRng, RngCore};
use sleeve::wire::LANES;
use sleeve::{KeySigner, Plane, PlaneConfig, Sleeve};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// Events that may wait for the router's task; who sends more waits (links) or loses them (data threads).
const QUEUE: usize = 4096;
/// Bytes that the largest overlay adds to a container's packet, at most, on a direct path.
const OVERHEAD: u16 = 110;
/// Smallest MTU of IPv6 (RFC 8200), which containers always get.
const SMALLEST_MTU: u16 = 1280;

/// Runs the router until it is told to stop.
pub(crate) fn launch(cli: &Cli, options: &Launch) -> Result<()> {
    start_log(options.log_format);
    check_ports(options)?;
    let state = StateDir::open(&cli.state_dir)?;
    check_bridge(&options.bridge, &state)?;
    let membership = join(options, &state)?;
    if options.peers.iter().any(|text| Invite::is_invite(text)) {
        drop_invites(&options.peers);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("cannot start the runtime")?;
    let socket = cli.socket.clone();
    let outcome = runtime.block_on(async {
        let (router, inbox, lanes, socket) = assemble(options, state, membership, &socket)?;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        info!(name = router.settings.name, id = router.settings.id.brief(), listen = %router.settings.listen, "running");
        anyhow::Ok((router.run(inbox).await, lanes, socket))
    });
    // Without waiting for names that are still being resolved: a dead name server must not hold up the end.
    runtime.shutdown_background();
    let (ended, lanes, socket) = outcome?;
    for lane in lanes {
        // One that panicked has said so.
        let _ = lane.join();
    }
    // Last of all: who waits for this router's end starts another one, and nothing of this one has the UDP port any more.
    drop(socket);
    ended.context("the router")
}

/// The kernel's fast path and the router can't both have the one port.
fn check_ports(options: &Launch) -> Result<()> {
    let port = options.listen.port();
    if options.overlay != OverlayChoice::Sleeve && options.vxlan_port == port {
        bail!("--vxlan-port and --listen name the same UDP port, {port}: each needs one of its own");
    }
    Ok(())
}

/// All that a router makes is named after its bridge: what one with another made for containers that are still there, this one
/// would take for somebody else's.
fn check_bridge(bridge: &str, state: &StateDir) -> Result<()> {
    let boot = crate::state::boot();
    let is_lost = |one: &Attachment| {
        let own = names::of_network(bridge, one.vni);
        let is_there = !one.is_of_another_boot(boot.as_deref()) && one.port.netns.open().is_ok();
        is_there && !names::is_host(&own, &one.port.host_ifname)
    };
    if !state.attachments()?.iter().any(is_lost) {
        return Ok(());
    }
    let former = state.memory()?.bridge;
    let former = former.as_deref().unwrap_or(names::DEFAULT_BRIDGE);
    bail!(
        "containers are attached to the bridge {former}: launch with --bridge {former}, and detach them before the router gets \
         another"
    )
}

/// Starts this program once more in its own place, without the invites: they hold the mesh's secret, and whoever may list
/// processes reads with what they were started. What invites and standard input said is stored by now.
fn drop_invites(peers: &[String]) {
    let is_told = |arg: &OsString| {
        let mut told = peers
            .iter()
            .filter(|text| Invite::is_invite(text) || *text == "-");
        told.any(|text| arg == text.as_str())
    };
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let started = std::env::current_exe().map(|program| {
        let rest = args.filter(|arg| !is_told(arg));
        Command::new(program).arg0(name).args(rest).exec()
    });
    let (Ok(error) | Err(error)) = started;
    warn!("whoever may list processes can read the invite, until the router is started without it: {error}");
}

/// Begins to log to standard error.
pub(crate) fn start_log(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    // quinn's own lines are of no use to an operator.
    let filter = EnvFilter::try_from_env("WEFT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,quinn=error,quinn_proto=error"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Who read it may have gone; to say so there as well would be the end of the router.
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Puts the parts together. The control socket answers from here on.
fn assemble(
    options: &Launch,
    state: StateDir,
    membership: Membership,
    control_socket: &Path,
) -> Result<(Router, Inbox, Vec<JoinHandle<()>>, control::SocketFile)> {
    let Membership {
        identity,
        keyring,
        memory,
        targets,
        first,
    } = membership;
    let identity = Arc::new(identity);
    let keyring = Arc::new(RwLock::new(keyring));
    let drops = Arc::new(Drops::default());
    let clock = Clock::start();
    let id = PeerId(identity.public());
    let name = router_name(options)?;

    let (commands, command_inbox) = mpsc::channel(QUEUE);
    let (events, link_inbox) = mpsc::channel(QUEUE);
    let (news, data_inbox) = mpsc::channel(QUEUE);
    let socket_file = control::serve(control_socket, commands.clone())?;
    if let Some(address) = options.http {
        crate::http::serve(address, commands)?;
    }

    let socket =
        SharedSocket::bind(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
    let listen = socket.local_addr().context("the UDP socket's address")?;
    let sockets = socket
        .with_lanes(lanes(options))
        .context("cannot share the UDP port among lanes (--lanes 1 has one)")?;
    let sockets: Vec<_> = sockets.into_iter().map(Arc::new).collect();
    let queue = Arc::new(QuicQueue::default());
    let ids = ConnectionIds::new(&identity.derive("quic connection ids"));
    let dialer = Dialer::open(LinksConfig {
        identity: identity.clone(),
        keyring: keyring.clone(),
        socket: sockets[0].clone(),
        queue: queue.clone(),
        ids: ids.clone(),
        events,
    })?;

    let mtu = container_mtu(options);
    let trusted: Vec<(IpAddr, u8)> = options
        .trusted_subnets
        .iter()
        .map(|cidr| (cidr.address, cidr.prefix))
        .collect();
    let config = PlaneConfig {
        id,
        drops: drops.clone(),
        trusted: trusted.clone(),
        container_mtu: mtu,
    };
    let plane = Arc::new(Plane::with_lanes(config, sockets.len()));
    let sleeve = Sleeve::new(
        sleeve::Config {
            id,
            identity: identity.clone(),
            keyring: keyring
                .read()
                .map_err(|_| anyhow!("the keyring is poisoned"))?
                .clone(),
            epoch: memory.epoch,
            ciphers: ciphers(options.cipher),
            trusted,
            max_mtu: widest_mtu(&options.bridge),
            drops: drops.clone(),
        },
        plane.clone(),
        Box::new(OsRng),
        clock.now(),
    );
    let (fast, switch, answers, esp) = router::prepare_fast(options, mtu, clock.now());
    let mut config = core_config(options, &name, id, &identity, &keyring, &memory, targets, &drops);
    config.vxlan_port = fast.port();
    config.capabilities = fast.capabilities();
    config.label = PeerLabel(memory.label);
    let (address_store, stored) = state.addresses()?;
    let knows_others = memory.met || !config.targets.is_empty();
    let others = mesh::used_networks(&memory.networks);
    config.addresses_of = addresses(options, others, stored, knows_others)?;
    let (seed, now) = (seed(), clock.now());
    let recording = match &options.record {
        Some(path) => Recording::start(path, options.record_limit, &mut config, seed, now)?,
        None => Recording::none(),
    };
    let mesh = Mesh::new(config, seed, now);

    let bell = Arc::new(Bell::new(sockets.len()).context("cannot make an event descriptor")?);
    let shore = Shore {
        plane,
        socket: sockets[0].clone(),
        lane: 0,
        taps: Arc::new(Taps::new(bell.clone())),
        offloads: if options.no_offload {
            Offloads::None
        } else {
            Offloads::TcpAndUdp
        },
        drops: drops.clone(),
        news,
        clock,
        bell,
        wrote: None,
    };
    let mut started = Vec::new();
    for (lane, socket) in sockets.into_iter().enumerate() {
        let lane = Lane {
            shore: Shore {
                socket,
                lane,
                ..shore.clone()
            },
            queue: queue.clone(),
            ids: ids.clone(),
            busy_poll: Duration::from_micros(options.busy_poll.into()),
        };
        started.push(lane.start().context("cannot start a thread")?);
    }
    let (containers, port_inbox) = containers(options, &state, &identity, &shore, mtu, switch)?;
    let (outcomes, kept) = mpsc::unbounded_channel();
    let keeper = Keeper::start(state, address_store, outcomes).context("cannot start a thread")?;
    let settings = Settings {
        name: name.to_string(),
        id,
        listen,
        advertise: options
            .advertise
            .iter()
            .map(|text| with_port(text, listen.port()))
            .collect::<Result<_>>()?,
    };
    let names = nameserver::serve(options)?;
    let mut router = Router {
        settings,
        mesh,
        recording,
        sleeve,
        shore,
        drops,
        dialer,
        links: Default::default(),
        ids,
        keyring,
        keeper,
        memory,
        containers,
        address_asks: Default::default(),
        gateways: Default::default(),
        conflist: options
            .cni_conf
            .as_deref()
            .map(|path| Conflist::new(path.to_owned(), clock.now())),
        network_asks: Default::default(),
        names,
        told_names: Default::default(),
        fast,
        forward: Default::default(),
        pings: Default::default(),
        advertised: Vec::new(),
        addresses: Vec::new(),
        learn_at: None,
        stopping: false,
        broken: None,
        in_a_row: 0,
    };
    router
        .dialer
        .resolve_advertised(router.settings.advertise.clone());
    let forward = router.forward.clone();
    tokio::spawn(async move { forward.keep().await });
    router.feed(Input::KnownNetworks(router.memory.networks.clone()));
    router.learn_addresses();
    router.tell_names();
    if first {
        welcome(&router);
    }
    let watcher = Watcher::new()
        .map_err(|error| warn!("changes of interfaces go unnoticed: {error}"))
        .ok();
    let inbox = Inbox {
        links: link_inbox,
        data: data_inbox,
        commands: command_inbox,
        ports: port_inbox,
        kept,
        answers,
        esp,
        watcher,
    };
    Ok((router, inbox, started, socket_file))
}

#[allow(clippy::too_many_arguments)] // used once; a struct would only repeat mesh::Config
fn core_config(
    options: &Launch,
    name: &PeerName,
    id: PeerId,
    identity: &Arc<Identity>,
    keyring: &Arc<RwLock<crypto::keyring::Keyring>>,
    memory: &Memory,
    targets: Vec<String>,
    drops: &Arc<Drops>,
) -> mesh::Config {
    let signer = Arc::new(KeySigner {
        identity: identity.clone(),
        keyring: keyring.clone(),
    });
    let mut config = mesh::Config::new(id, name.clone(), identity.data_public(), memory.epoch, signer);
    config.instance = OsRng.next_u64();
    config.drops = drops.clone();
    config.discovery = !options.no_discovery;
    config.max_links = options.max_links.into();
    config.targets = targets;
    config.version = env!("CARGO_PKG_VERSION").into();
    config
}

/// What the core is told of addresses.
fn addresses(
    options: &Launch,
    others: Vec<(Vni, Pool)>,
    stored: Stored,
    knows_others: bool,
) -> Result<Setup> {
    let range = options.ipalloc_range;
    let IpAddr::V4(v4) = range.address else {
        bail!("--ipalloc-range is an IPv4 range; --ipalloc-range-v6 is for IPv6");
    };
    let v6 = match options.ipalloc_range_v6.as_str() {
        "none" => None,
        text => {
            let cidr: Cidr = text
                .parse()
                .map_err(|error| anyhow!("--ipalloc-range-v6: {error}"))?;
            match cidr.address {
                IpAddr::V6(v6) => Some((v6, cidr.prefix)),
                IpAddr::V4(_) => bail!("--ipalloc-range-v6 is an IPv6 range, or `none`"),
            }
        }
    };
    let pool = Pool::new((v4, range.prefix), v6).context("the range for containers' addresses")?;
    let init = options.ipalloc_init.map(usize::from);
    let reclaim = options
        .ipalloc_reclaim
        .map(|seconds| Duration::from_secs(seconds.into()));
    let settings = |pool| ipam::Settings { pool, init, reclaim };
    let mut networks: BTreeMap<Vni, ipam::Settings> = [(Vni::DEFAULT, settings(pool))].into();
    for (vni, pool) in others {
        networks.insert(vni, settings(pool));
    }
    let setup = Setup {
        networks,
        stored,
        knows_others,
    };
    setup
        .check()
        .context("what is stored of addresses: restore addresses.redb; or remove it, if this range is new")?;
    Ok(setup)
}

fn containers(
    options: &Launch,
    state: &StateDir,
    identity: &Identity,
    shore: &Shore,
    mtu: u16,
    switch: Option<Switch>,
) -> Result<(Containers, Option<mpsc::Receiver<router::PortOutcome>>)> {
    let (outcomes, inbox) = mpsc::channel(QUEUE);
    let made = router::start_tap(shore, (&options.bridge, Vni::DEFAULT), mtu)
        .and_then(|()| Linux::new().map_err(|error| error.to_string()));
    let ports = match made {
        Ok(linux) => {
            let no_ebpf = options.no_ebpf;
            let (ports, _thread) = Ports::start(move || Box::new(guarded(linux, switch, no_ebpf)), outcomes)
                .context("cannot start a thread")?;
            Ok(ports)
        }
        Err(why) => Err(format!("this router can't make interfaces: {why}")),
    };
    // The same after every restart, so that nothing in containers' caches goes stale.
    let key = identity.derive(&format!("bridge {}", options.bridge));
    let bridge_mac = fastpath::plan::local_mac([key[0], key[1], key[2], key[3], key[4], key[5]]);
    let containers = Containers::new(
        ports,
        options.bridge.clone(),
        bridge_mac,
        mtu,
        state.attachments()?,
    );
    let inbox = containers.ports.is_ok().then_some(inbox);
    Ok((containers, inbox))
}

/// The fast path comes with the guard only: past the router nobody else sees what containers send.
fn guarded(mut linux: Linux, switch: Option<Switch>, no_ebpf: bool) -> Linux {
    if no_ebpf {
        return linux;
    }
    match (linux.load_guard(), switch) {
        (Ok(()), Some(switch)) => linux.set_switch(switch),
        (Ok(()), None) => {}
        (Err(error), _) => warn!(
            "the port guard can't be loaded, so containers of one host are not guarded from each other: {error}"
        ),
    }
    linux
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    seed
}

fn router_name(options: &Launch) -> Result<PeerName> {
    if let Some(name) = &options.name {
        return Ok(name.clone());
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    host.parse()
        .with_context(|| format!("this host's name, {host:?}, can't be the router's: choose one with --name"))
}

fn container_mtu(options: &Launch) -> u16 {
    options.mtu.unwrap_or_else(|| {
        let found = underlay::addresses(&options.bridge).unwrap_or_default();
        // The narrowest interface: frames must fit whichever way they leave.
        let underlay = found.iter().map(|own| own.mtu).min().unwrap_or(1500);
        u16::try_from(underlay)
            .unwrap_or(u16::MAX)
            .saturating_sub(OVERHEAD)
            .clamp(SMALLEST_MTU, 65_000)
    })
}

/// The largest packet that any path may carry: that of the widest interface.
fn widest_mtu(bridge: &str) -> u16 {
    let found = underlay::addresses(bridge).unwrap_or_default();
    let widest = found.iter().map(|own| own.mtu).max().unwrap_or(1500);
    u16::try_from(widest).unwrap_or(u16::MAX)
}

fn ciphers(choice: CipherChoice) -> Vec<Cipher> {
    match choice {
        CipherChoice::Aes256Gcm => vec![Cipher::Aes256Gcm],
        CipherChoice::ChaCha20Poly1305 => vec![Cipher::ChaCha20Poly1305],
        CipherChoice::Auto => {
            let preferred = Cipher::preferred();
            let others = Cipher::ALL.iter().copied().filter(|cipher| *cipher != preferred);
            std::iter::once(preferred).chain(others).collect()
        }
    }
}

fn with_port(text: &str, port: u16) -> Result<String> {
    let has_port = text.parse::<std::net::SocketAddr>().is_ok()
        || (text.parse::<IpAddr>().is_err()
            && text
                .rsplit_once(':')
                .is_some_and(|(_, p)| parse_port(p).is_some()));
    let full = match text.parse::<IpAddr>() {
        Ok(ip) => std::net::SocketAddr::new(ip, port).to_string(),
        Err(_) if has_port => text.to_owned(),
        Err(_) => format!("{text}:{port}"),
    };
    normal_target(&full).map_err(|error| anyhow!("--advertise: {error}"))
}

/// Tells whoever reads standard error, if anybody still does.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// What the first router of a mesh tells its operator.
fn welcome(router: &Router) {
    let settings = &router.settings;
    let invite = router.invite_text().unwrap_or_else(|| "$(weft invite)".into());
    tell(&format!(
        "This is the first router of a new mesh.\n\
         \n  name   {}\n  id     {}\n\
         \nOpen UDP port {} between the hosts. On the next host, run\n\
         \n  weft launch {invite}\n\
         \n(`weft invite` prints that token again; it holds the secret, so treat it like a password).\n\
         To keep the router running, start it with\n\
         \n  systemd-run --unit weft weft launch\n\
         \nTo attach a container, run\n\
         \n  weft attach --pid PID\n",
        settings.name,
        settings.id,
        settings.listen.port(),
    ));
}

/// One lane for each processor; one in all where two processors have the containers' work to do as well.
fn lanes(options: &Launch) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let usual = if processors > 2 { processors.min(LANES) } else { 1 };
    options.lanes.map_or(usual, usize::from)
}
