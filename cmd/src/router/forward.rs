//! Docker's firewall drops what is forwarded, and where bridged frames pass the firewall, too (`bridge-nf-call-iptables`),
//! that is what containers of one host say to each other and to the mesh, whatever started them. One rule for each bridge
//! lets through what stays on it; not one for all bridges, or a host with addresses in two networks would forward between
//! them. Others change the firewall as well: the rules are looked at again and again.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tracing::{debug, warn};

/// How often the rules are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// For IPv4 and IPv6.
const PROGRAMS: [&str; 2] = ["iptables", "ip6tables"];
/// Says whether bridged frames pass the firewall; not there while the kernel can't do that.
const SWITCHES: [&str; 2] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
];
/// Where Docker looks before it drops anything.
const CHAIN: &str = "DOCKER-USER";

/// Bridges whose frames are let through.
#[derive(Debug, Default)]
pub(crate) struct Forward {
    bridges: Mutex<BTreeSet<String>>,
    is_warned: AtomicBool,
}

impl Forward {
    /// From now on what stays on these bridges passes. Must be called on the runtime.
    pub(super) fn allow(self: &std::sync::Arc<Self>, bridges: BTreeSet<String>) {
        let mut now = self.bridges.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<_> = bridges.difference(&now).cloned().collect();
        *now = bridges;
        drop(now);
        for bridge in new {
            let this = self.clone();
            tokio::spawn(async move { this.look_at(&bridge).await });
        }
    }

    /// Keeps the rules in place for ever.
    pub(crate) async fn keep(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let bridges = self
                .bridges
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            for bridge in bridges {
                self.look_at(&bridge).await;
            }
        }
    }

    async fn look_at(&self, bridge: &str) {
        for (program, switch) in PROGRAMS.into_iter().zip(SWITCHES) {
            let is_on = std::fs::read_to_string(switch).is_ok_and(|text| text.trim() != "0");
            if !is_on {
                continue;
            }
            let rule = [CHAIN, "-i", bridge, "-o", bridge, "-j", "ACCEPT"];
            // Without the chain Docker does not filter.
            if !run(program, &["-n", "-L", CHAIN]).await || run(program, &[&["-C"], &rule[..]].concat()).await
            {
                continue;
            }
            if run(program, &[&["-I"], &rule[..]].concat()).await {
                debug!(bridge, program, "bridged frames pass Docker's firewall");
            } else if !self.is_warned.swap(true, Ordering::Relaxed) {
                warn!(
                    bridge,
                    "{program} does not take the rule that lets bridged frames pass Docker's firewall"
                );
            }
        }
    }
}

async fn run(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.arg("-w").args(args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
