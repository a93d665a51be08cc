//! The `weft` binary: command line and daemon.
//!
//! - `cli`, `verbs`: what the operator says; every verb but `launch` talks to the router over `control`.
//! - `launch`, `membership`, `state`, `address_store`: from options and disk to a running router.
//! - `router`: the task that drives the sans-IO cores of `mesh` and `sleeve`.
//! - `recording`: what the control plane was told, written down on demand.
//! - `nameserver`: what containers that ask for a name are answered.
//! - `link`: QUIC between routers. `data`: the threads that carry frames.
//! - `cni`: the same program as the network plugin of container runtimes.
//! - `docker`: a process beside the router that drives Docker's networks.
//! - `status`, `http`: what others see of it. `demo`: all of it on one machine. `bench`: how fast that
//!   is. `simulate`: all of it in memory.

mod address_store;
mod bench;
mod cli;
mod cni;
mod control;
mod data;
mod demo;
mod docker;
mod http;
mod launch;
mod link;
mod membership;
mod nameserver;
mod net;
mod rate;
mod recording;
mod router;
mod runtimes;
mod simulate;
mod state;
mod status;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    if cni::is_called() {
        return cni::main();
    }
    let cli = cli::parse();
    match verbs::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft: {error:#}");
            ExitCode::FAILURE
        }
    }
}
