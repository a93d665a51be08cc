//! The name server that containers ask: sockets around the zone of [`dns`].
//!
//! It answers where the operator says, and at every address that the host itself has in a network. One thread for each
//! address answers datagrams, so that names are found however busy the router's task is; that
//! task serves the few questions that come over TCP, and asks elsewhere what the mesh knows nothing of.
//!
//! | file | subject |
//! |---|---|
//! | `server` | questions over UDP and TCP |
//! | `upstream` | questions that others answer |

mod server;
mod upstream;

use crate::cli::Launch;
use anyhow::{Context, Result};
use dns::Zone;
use mesh::{NameChange, Vni};
use server::Listener;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tracing::warn;
use upstream::{Question, Upstream};

/// Questions that may wait to be asked elsewhere; more are lost, as datagrams are.
const QUEUE: usize = 1024;

/// The port at which names are asked for.
const PORT: u16 = 53;

/// How long until a port that somebody has is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// Who has it for longer than questions under way take is somebody else.
const PATIENCE: Duration = Duration::from_secs(15);

/// Addresses that the host itself has in networks: who asks there is in that network.
type Exposed = Arc<RwLock<BTreeMap<IpAddr, Vni>>>;

/// The names, for whoever reads them.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    zone: Arc<RwLock<Zone>>,
    exposed: Exposed,
    served: Arc<Mutex<Served>>,
}

/// Where names are answered.
#[derive(Debug)]
struct Served {
    /// Named by the operator.
    given: Vec<(SocketAddr, Listener)>,
    /// The host's addresses in networks. `None`: it is not answered there, as somebody else has the port.
    exposed: BTreeMap<IpAddr, Option<Listener>>,
    elsewhere: mpsc::Sender<Question>,
}

impl Served {
    fn is_given(&self, address: IpAddr) -> bool {
        self.given
            .iter()
            .any(|(given, _)| *given == (address, PORT).into())
    }

    /// Who answers at all addresses, this one among them.
    fn everywhere(&self, address: IpAddr) -> Option<&Listener> {
        let includes = |given: &SocketAddr| {
            given.port() == PORT
                && given.ip().is_unspecified()
                && (given.is_ipv4() == address.is_ipv4() || given.is_ipv6() && !self.has_all_v4())
        };
        let mut given = self.given.iter();
        given
            .find(|(given, _)| includes(given))
            .map(|(_, listener)| listener)
    }

    fn has_all_v4(&self) -> bool {
        self.is_given(Ipv4Addr::UNSPECIFIED.into())
    }

    fn listen(&self, address: IpAddr, names: &Names) -> io::Result<Listener> {
        let at = (address, PORT).into();
        match self.everywhere(address) {
            Some(all) => server::listen_beside(all, at, names, &self.elsewhere),
            None => server::listen(at, false, names, &self.elsewhere),
        }
    }
}

impl Names {
    /// Something with the names. A thread that died in here left them as they were between two changes.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Zone) -> R) -> R {
        read(&self.zone.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The network in which names asked for at this address are looked up.
    pub(crate) fn network_at(&self, address: IpAddr) -> Vni {
        let exposed = self.exposed.read().unwrap_or_else(PoisonError::into_inner);
        exposed.get(&address).copied().unwrap_or(Vni::DEFAULT)
    }

    /// The host itself has these addresses in networks, and names are answered there. Must be called on the runtime.
    pub(crate) fn expose(&self, exposed: BTreeMap<IpAddr, Vni>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.exposed.retain(|address, _| exposed.contains_key(address));
        for address in exposed.keys() {
            if served.is_given(*address) || served.exposed.contains_key(address) {
                continue;
            }
            let listener = served.listen(*address, self);
            if let Err(error) = &listener {
                tokio::spawn(self.clone().listen_later(*address, error.to_string()));
            }
            served.exposed.insert(*address, listener.ok());
        }
        drop(served);
        *self.exposed.write().unwrap_or_else(PoisonError::into_inner) = exposed;
    }

    /// Tries again until names are answered at this address, or it is the host's no more. What was ended there a moment ago,
    /// with `weft hide`, has the port for a while.
    async fn listen_later(self, address: IpAddr, why: String) {
        let begun = Instant::now();
        let mut untold = Some(why);
        loop {
            tokio::time::sleep(AGAIN).await;
            let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(served.exposed.get(&address), Some(None)) {
                return;
            }
            let listener = served.listen(address, &self).ok();
            if listener.is_some() {
                served.exposed.insert(address, listener);
                return;
            }
            if begun.elapsed() > PATIENCE
                && let Some(error) = untold.take()
            {
                warn!("names are not served at {address}: {error}");
            }
        }
    }

    /// Where containers of a network can ask for names.
    pub(crate) fn servers(&self, vni: Vni) -> Vec<IpAddr> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let exposed = self.exposed.read().unwrap_or_else(PoisonError::into_inner);
        let is_answered = |address: &IpAddr| {
            served.is_given(*address) || served.exposed.get(address).is_some_and(Option::is_some)
        };
        let own = exposed.iter().filter(|(_, network)| **network == vni);
        own.map(|(address, _)| *address).filter(is_answered).collect()
    }

    /// A name stands for something else now.
    pub(crate) fn apply(&self, change: NameChange) {
        self.zone
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(change);
    }
}

/// Starts to serve names as the options say. Must be called on the runtime.
pub(crate) fn serve(options: &Launch) -> Result<Names> {
    let zone =
        Zone::new(&options.dns_domain).with_context(|| format!("--dns-domain {}", options.dns_domain))?;
    let (elsewhere, questions) = mpsc::channel(QUEUE);
    let exposed = Exposed::default();
    let names = Names {
        zone: Arc::new(RwLock::new(zone)),
        exposed: exposed.clone(),
        served: Arc::new(Mutex::new(Served {
            given: Vec::new(),
            exposed: BTreeMap::new(),
            elsewhere: elsewhere.clone(),
        })),
    };
    for address in &options.dns_listen {
        // All of IPv6 are all of IPv4 as well, unless those are named, too.
        let of_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        let only_v6 = options.dns_listen.contains(&of_v4);
        let listener = server::listen(*address, only_v6, &names, &elsewhere)
            .with_context(|| format!("cannot serve names at {address}"))?;
        let mut served = names.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.given.push((*address, listener));
    }
    let upstream = Upstream::new(options.dns_upstream.clone(), options.dns_listen.clone(), exposed);
    tokio::spawn(upstream.run(questions));
    Ok(names)
}
