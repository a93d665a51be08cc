//! The name server that containers ask: sockets around the zone of [`dns`].
//!
//! One thread for each address answers datagrams, so that names are found however busy the router's task is; that
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
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc;
use upstream::Upstream;

/// Questions that may wait to be asked elsewhere; more are lost, as datagrams are.
const QUEUE: usize = 1024;

/// The names, for whoever reads them.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    zone: Arc<RwLock<Zone>>,
    /// Addresses that the host itself has in networks: who asks there is in that network.
    exposed: Arc<RwLock<BTreeMap<IpAddr, Vni>>>,
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

    /// The host itself has these addresses in networks.
    pub(crate) fn expose(&self, exposed: BTreeMap<IpAddr, Vni>) {
        *self.exposed.write().unwrap_or_else(PoisonError::into_inner) = exposed;
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
    let names = Names {
        zone: Arc::new(RwLock::new(zone)),
        exposed: Arc::default(),
    };
    let (elsewhere, questions) = mpsc::channel(QUEUE);
    for address in &options.dns_listen {
        server::listen(*address, &names, &elsewhere)
            .with_context(|| format!("cannot serve names at {address}"))?;
    }
    if !options.dns_listen.is_empty() {
        let own: Vec<SocketAddr> = options.dns_listen.clone();
        let upstream = Upstream::new(options.dns_upstream.clone(), own);
        tokio::spawn(upstream.run(questions));
    }
    Ok(names)
}
