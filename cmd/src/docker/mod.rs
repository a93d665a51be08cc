//! The network and IPAM driver of Docker Engine: `weft docker serve`, a process of its own beside the router.
//!
//! Docker calls plugins over HTTP on a unix socket and waits fifteen seconds for one that is not there. So the socket is
//! systemd's, which holds it whatever runs, and this process is small and outlives the router: what needs no router it
//! answers by itself, for what does it waits a moment, and what can't be undone while no router runs is undone when
//! one is back. Docker never says again what networks and containers there are: they are stored here.
//!
//! The way of a container: Docker asks for an address (`ipam`), makes an endpoint and joins it (`network`); the router
//! makes a pair of interfaces, one end a port of the network's bridge; Docker moves the other into the container. What it is
//! called comes from Docker's own API (`names`), and is told to the router.
//!
//! | file | subject |
//! |---|---|
//! | `serve` | socket, requests, answers |
//! | `ipam`, `network` | what the two drivers answer |
//! | `options` | what calls say, what may be said of a network, and which of the router's is meant |
//! | `pool` | the names of pools |
//! | `swarm` | what a swarm's manager asks for, and its nodes once more |
//! | `saved` | what must outlive the process |
//! | `weft` | the router: asked, waited for, tidied up |
//! | `api`, `names`, `known` | Docker's API: what containers are called, and what is gone |
//! | `install`, `managed` | `weft docker install`, `weft docker plugin-dir` |

mod api;
mod install;
mod ipam;
mod known;
mod managed;
mod names;
mod network;
mod options;
mod pool;
mod saved;
mod serve;
mod swarm;
mod weft;

pub(crate) use api::Docker;
pub(crate) use install::{Places, install, uninstall};
pub(crate) use managed::{PLUGIN_STATE, plugin_dir};
pub(crate) use serve::serve;

use saved::Saved;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;
use tokio::sync::{Mutex, RwLock};
use weft::Weft;

/// What the keys of endpoints and the holders of addresses begin with; no CNI network can be called so. The mark of the driver
/// follows: there may be several on a host.
pub(crate) const PREFIX: &str = "@docker/";

/// What a call is answered.
type Answered = Result<Value, String>;

/// The driver, shared by all calls.
#[derive(Clone)]
pub(crate) struct Driver {
    weft: Arc<Weft>,
    saved: Arc<Mutex<Saved>>,
    /// When what is saved first appeared in this run, by its id: what is young may not be known to Docker yet.
    born: Arc<Mutex<BTreeMap<String, Instant>>>,
    /// Calls hold it for reading; whoever removes what nobody knows, for writing.
    gate: Arc<RwLock<()>>,
    /// What the keys and holders of this driver begin with.
    mark: Arc<str>,
    /// So many times in a row Docker has asked for any range at all.
    unnamed: Arc<AtomicU32>,
    /// What Docker is told of the scope of networks.
    scope: &'static str,
}

impl Driver {
    /// Networks are a swarm's.
    fn is_global(&self) -> bool {
        self.scope == "global"
    }

    /// What the router knows an endpoint by.
    fn key(&self, endpoint: &str) -> String {
        format!("{}{endpoint}", self.mark)
    }
}
