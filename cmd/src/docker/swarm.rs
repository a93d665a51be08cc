//! A swarm: its manager asks for the addresses of all tasks, and each task's node asks again for what the manager was given.
//!
//! The manager's driver asks its router, and holds the address. The node's driver asks nobody: the address is its task's.
//! Managers forget addresses (of a network that is removed while its tasks end, or while the manager is down), so what no task
//! has is given back.

use super::ipam::held_by;
use super::pool::Pool;
use super::saved::Held;
use super::{Docker, Driver};
use crate::net::Cidr;
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// States of tasks that are over and have no address any more.
const OVER: [&str; 6] = ["complete", "shutdown", "failed", "rejected", "remove", "orphaned"];
/// Of services, and of containers in networks that are `--attachable`.
/// `{"runtime":["container","attachment"]}`
const TASKS: &str = "/tasks?filters=%7B%22runtime%22%3A%5B%22container%22%2C%22attachment%22%5D%7D";

impl Driver {
    /// What a manager was given, if this is that: a node asks for it, or the manager once more, after a restart.
    pub(super) async fn of_manager(
        &self,
        id: &str,
        pool: &Pool,
        want: IpAddr,
    ) -> Result<Option<Cidr>, String> {
        let is_given = if pool.is_swarms {
            let saved = self.saved.lock().await;
            saved.addresses.contains_key(&held_by(id, &want))
        } else {
            self.is_global()
        };
        if !is_given {
            return Ok(None);
        }
        let prefix = self.range_of(pool).await?.prefix;
        Ok(Some(Cidr {
            address: want,
            prefix,
        }))
    }

    /// Gives back what this host's Docker asked for as a manager, and no task has any more.
    pub(super) async fn forget_tasks(&self, docker: &Docker) -> Result<()> {
        let is_any_held = {
            let saved = self.saved.lock().await;
            saved.addresses.values().any(|held| held.is_swarms)
        };
        if !is_any_held {
            return Ok(());
        }
        let swarm = docker.get("/info").await?["Swarm"].take();
        let in_use = if swarm["LocalNodeState"] == "inactive" {
            BTreeSet::new()
        } else if swarm["ControlAvailable"] == true {
            let mut in_use = addresses_of_tasks(&docker.get(TASKS).await?);
            in_use.extend(addresses_of_services(&docker.get("/services").await?));
            in_use
        } else {
            // Only managers know the tasks.
            return Ok(());
        };
        let is_used = |name: &str| {
            let address = name.rsplit_once('|').and_then(|(_, text)| text.parse().ok());
            address.is_some_and(|address: IpAddr| in_use.contains(&address))
        };
        self.free(|name, held: &Held| held.is_swarms && !is_used(name))
            .await;
        Ok(())
    }
}

fn addresses_of_tasks(tasks: &Value) -> BTreeSet<IpAddr> {
    let tasks = tasks.as_array().into_iter().flatten();
    let live = tasks.filter(|task| !OVER.iter().any(|over| task["Status"]["State"] == *over));
    let attachments = live.filter_map(|task| task["NetworksAttachments"].as_array());
    let texts = attachments
        .flatten()
        .filter_map(|attachment| attachment["Addresses"].as_array());
    texts.flatten().filter_map(address).collect()
}

/// Virtual addresses of services.
fn addresses_of_services(services: &Value) -> BTreeSet<IpAddr> {
    let services = services.as_array().into_iter().flatten();
    let lists = services.filter_map(|service| service["Endpoint"]["VirtualIPs"].as_array());
    lists.flatten().filter_map(|one| address(&one["Addr"])).collect()
}

fn address(text: &Value) -> Option<IpAddr> {
    let cidr: Cidr = text.as_str()?.parse().ok()?;
    Some(cidr.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tasks_that_are_over_have_no_address() {
        let task = |state: &str, addresses: &[&str]| {
            json!({
                "Status": { "State": state },
                "NetworksAttachments": [{ "Addresses": addresses }, {}],
            })
        };
        let tasks = json!([
            task("running", &["10.32.0.1/12", "fd57:4546:5400::1/64"]),
            task("assigned", &["10.32.0.2/12"]),
            task("failed", &["10.32.0.3/12"]),
            { "Status": { "State": "new" } },
        ]);
        let expected = ["10.32.0.1", "10.32.0.2", "fd57:4546:5400::1"].map(|text| text.parse().unwrap());
        assert_eq!(addresses_of_tasks(&tasks), expected.into());
        let services = json!([
            { "Endpoint": { "VirtualIPs": [{ "Addr": "10.32.0.4/12" }, {}] } },
            { "Endpoint": {} },
        ]);
        assert_eq!(
            addresses_of_services(&services),
            ["10.32.0.4".parse().unwrap()].into()
        );
    }
}
