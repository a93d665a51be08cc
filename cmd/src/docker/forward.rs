//! Docker's firewall drops what is forwarded, and where bridged frames pass the firewall, too (`bridge-nf-call-iptables`),
//! that is what containers of one host say to each other and to the mesh. One rule for each bridge lets through what stays
//! on it. Others change the firewall as well: the rules are looked at again and again.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Mutex;
use tracing::{debug, warn};

/// How often the rules are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// For IPv4 and IPv6.
const PROGRAMS: [&str; 2] = ["iptables", "ip6tables"];
/// Where Docker looks before it drops anything.
const CHAIN: &str = "DOCKER-USER";

/// Bridges whose frames are let through.
#[derive(Debug, Default)]
pub(super) struct Forward {
    bridges: Mutex<BTreeSet<String>>,
    is_warned: std::sync::atomic::AtomicBool,
}

impl Forward {
    /// From now on what stays on this bridge passes.
    pub(super) async fn allow(&self, bridge: &str) {
        if self.bridges.lock().await.insert(bridge.to_owned()) {
            self.look_at(bridge).await;
        }
    }

    /// Keeps the rules in place for ever.
    pub(super) async fn keep(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let bridges = self.bridges.lock().await.clone();
            for bridge in bridges {
                self.look_at(&bridge).await;
            }
        }
    }

    async fn look_at(&self, bridge: &str) {
        for program in PROGRAMS {
            let rule = [CHAIN, "-i", bridge, "-o", bridge, "-j", "ACCEPT"];
            // Without the chain Docker does not filter.
            if !run(program, &["-n", "-L", CHAIN]).await || run(program, &[&["-C"], &rule[..]].concat()).await
            {
                continue;
            }
            if run(program, &[&["-I"], &rule[..]].concat()).await {
                debug!(bridge, program, "bridged frames pass Docker's firewall");
            } else if !self.is_warned.swap(true, std::sync::atomic::Ordering::Relaxed) {
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
