//! What is there of a fast path when the router starts, or why there is none.

use super::macs::Macs;
use super::{FastPath, Laid, complain};
use crate::cli::{Launch, OverlayChoice};
use crate::router::desk::{Desk, Notes};
use crate::router::esp::{self, Esp};
use fastpath::Fast;
use fastpath::esp::Watch;
use fastpath::overlay::{Config, MAX_HOPS, Overlay};
use fastpath::plan::PORT_STEP;
use fastpath::vxlan::{Came, Switch, Tables};
use mesh::{Instant, PeerLabel, Vni};
use rand_core::{OsRng, RngCore};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

/// Answers to probes that may wait; more are as good as lost.
const ANSWERS: usize = 4096;

/// Loads the programs if they are wanted. Takes some 50 ms; whoever starts the router waits, as what an earlier run
/// left must be known before the control plane says anything.
pub(crate) fn prepare(
    options: &Launch,
    mtu: u16,
    now: Instant,
) -> (FastPath, Option<Switch>, mpsc::Receiver<Came>, Option<Watch>) {
    let (answers, inbox) = mpsc::channel(ANSWERS);
    let mut watch = None;
    let wanted = if options.overlay == OverlayChoice::Sleeve {
        Err("sleeve was asked for with --overlay sleeve".to_owned())
    } else {
        let esp = esp::prepare(options, now).map(|(esp, news)| {
            watch = Some(news);
            esp
        });
        match esp {
            Err(why) if options.trusted_subnets.is_empty() => Err(no_esp(&why)),
            esp => Ok((
                Fast::of_bridge(&options.bridge, Vni::DEFAULT, options.vxlan_port),
                esp,
            )),
        }
    };
    let loaded = wanted.and_then(|(fast, esp)| match load(options) {
        Ok((switch, tables)) => Ok((fast, esp, Some(switch), Desk::Programs(Box::new(tables)))),
        Err(error) => {
            watch = None;
            let why = "the fast path without eBPF has no encryption".to_owned();
            if options.trusted_subnets.is_empty() {
                return Err(no_esp(&why));
            }
            without_programs(options, fast, &error).map(|(fast, notes)| (fast, Err(why), None, notes))
        }
    });
    let (laid, switch) = match loaded {
        Ok((fast, esp, switch, tables)) => {
            let mut tables = tables;
            forget_untrusted(&mut tables, options, esp.as_ref().ok());
            let laid = Laid::new(options, (fast, tables), esp, mtu, now);
            (Ok(laid), switch)
        }
        Err(why) => {
            if options.overlay == OverlayChoice::Fast {
                warn!("no frame will pass, as --overlay fast allows nothing else: {why}");
            }
            (Err(why), None)
        }
    };
    let left = laid.is_err().then(|| options.bridge.clone());
    let fast = FastPath { laid, answers, left };
    (fast, switch, inbox, watch)
}

/// What it takes where the kernel can't encrypt.
pub(super) fn no_esp(why: &str) -> String {
    format!(
        "encryption is on, and {why}; without, the fast path needs both hosts in each other's --trusted-subnets"
    )
}

fn load(options: &Launch) -> Result<(Switch, Tables), String> {
    if options.no_ebpf {
        return Err("it is asked to do without eBPF".to_owned());
    }
    Switch::load(&options.bridge).map_err(|error| error.to_string())
}

/// A kernel that takes no programs has devices with fixed tables, for direct neighbours that have none either.
fn without_programs(options: &Launch, fast: Fast, error: &str) -> Result<(Fast, Desk), String> {
    let port = fast.port.checked_add(PORT_STEP);
    let is_free = |port: &u16| *port != options.listen.port();
    let port = port.filter(is_free);
    let Some(port) = port.filter(|_| options.overlay == OverlayChoice::Auto) else {
        return Err(format!("this host's kernel has no fast path: {error}"));
    };
    warn!(
        port,
        "this host's kernel takes no eBPF programs ({error}): its fast path leads only to direct neighbours of the same kind, and \
         what containers send by it is not checked for their IP addresses"
    );
    Ok((Fast { port, ..fast }, Desk::Plain(Notes::default())))
}

/// What an earlier run left for addresses outside the subnets that this one trusts goes before anything else, unless the
/// kernel encrypts it: no frame leaves in the clear that is to be encrypted now.
fn forget_untrusted(tables: &mut Desk, options: &Launch, esp: Option<&Esp>) {
    let subnets: Vec<_> = options
        .trusted_subnets
        .iter()
        .map(|cidr| (cidr.address, cidr.prefix))
        .collect();
    let is_outside =
        |address| !sleeve::trusts(&subnets, address) && !esp.is_some_and(|esp| esp.protects(address));
    for (label, hop) in tables.hops() {
        if is_outside(hop.address) {
            complain(tables.set_hop(label, None, Duration::ZERO));
        }
    }
    for (address, _) in tables.senders() {
        if is_outside(address) {
            complain(tables.set_sender(address, None));
        }
    }
}

impl Laid {
    pub(super) fn new(
        options: &Launch,
        (fast, tables): (Fast, Desk),
        esp: Result<Esp, String>,
        mtu: u16,
        now: Instant,
    ) -> Self {
        let config = Config {
            port: fast.port,
            mtu,
            grace: Duration::from_secs(options.grace.into()),
            hops: match &tables {
                Desk::Programs(_) => MAX_HOPS,
                Desk::Plain(_) => 1,
            },
            first: OsRng.next_u64(),
        };
        let grace = config.grace;
        let overlay = Overlay::new(config, now, tables.hops(), tables.senders())
            .with_groups(now, tables.groups(), tables.trees())
            .with_relays(options.fast_relay);
        let macs = Macs::new(tables.macs(), now + grace);
        Self {
            tables,
            overlay,
            esp,
            capabilities: BTreeMap::new(),
            fast_relay: options.fast_relay,
            fast,
            fast_only: options.overlay == OverlayChoice::Fast,
            probes: None,
            reader: None,
            trouble: None,
            own: PeerLabel::NONE,
            former: (PeerLabel::NONE, now),
            macs,
            trees: BTreeMap::new(),
            next_look: now,
            next_heartbeat: now,
            last_plan: now,
        }
    }
}
