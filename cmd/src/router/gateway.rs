//! Containers that reach what is outside by this host: for the first of a network the host gets an interface there, as by
//! `weft expose`, and loses it with the last. Who asks for such a container waits until the host has it.

use super::Router;
use super::containers::{Answer, Containers};
use crate::control::{ContainerRef, Refused};
use crate::net::Cidr;
use crate::state::Attachment;
use fastpath::Gateway;
use mesh::Vni;
use mesh::ipam::Refusal;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Interfaces of the host's that are being made.
pub(crate) struct Gateways {
    opening: BTreeMap<Vni, Opening>,
    /// Containers went, so it may be over with some.
    pub(super) is_look_due: bool,
}

impl Default for Gateways {
    fn default() -> Self {
        Self {
            opening: BTreeMap::new(),
            // Containers may have gone while no router ran.
            is_look_due: true,
        }
    }
}

/// One of them.
struct Opening {
    made: oneshot::Receiver<Result<serde_json::Value, Refused>>,
    waiting: Vec<(ContainerRef, Vec<Cidr>, Answer)>,
}

impl Containers {
    /// What the host does for these containers of one network, if any of them want something.
    pub(super) fn gateway<'a>(own: impl Iterator<Item = &'a Attachment> + Clone) -> Option<Gateway> {
        if !own.clone().any(|one| one.gateway) {
            return None;
        }
        let addresses = own.clone().flat_map(|one| &one.port.addresses);
        let masqueraded = own
            .filter(|one| one.masqueraded)
            .flat_map(|one| &one.port.addresses);
        Some(Gateway {
            inside: addresses
                .map(|&(address, prefix)| (network_of(address, prefix), prefix))
                .collect(),
            masqueraded: masqueraded.map(|(address, _)| *address).collect(),
        })
    }

    /// The host's own interface in a network.
    pub(super) fn exposed(&self, vni: Vni) -> Option<&Attachment> {
        self.attached
            .iter()
            .find(|one| one.vni == vni && one.port.is_host)
    }

    /// The containers of a network that reach what is outside by this host.
    pub(super) fn by_gateway(&self, vni: Vni) -> usize {
        let attached = self.attached.iter();
        attached.filter(|one| one.vni == vni && one.gateway).count()
    }
}

impl Router {
    /// Lets a container wait until the host has an interface in its network.
    pub(super) fn attach_by_gateway(
        &mut self,
        vni: Vni,
        container: ContainerRef,
        addresses: &[Cidr],
        answer: Answer,
    ) {
        let own = self.host_interface(container.network.as_deref());
        let waiting = (container, addresses.to_vec(), answer);
        if let Some(opening) = self.gateways.opening.get_mut(&vni) {
            return opening.waiting.push(waiting);
        }
        match own {
            Ok(own) => {
                let (answer, made) = oneshot::channel();
                let waiting = vec![waiting];
                self.gateways.opening.insert(vni, Opening { made, waiting });
                let for_gateway = true;
                self.attach(ContainerRef { for_gateway, ..own }, &[], answer);
            }
            Err(error) => drop(waiting.2.send(Err(error.into()))),
        }
    }

    /// Those of them that are not to be attached any more.
    pub(super) fn forsake_waiting(&mut self, is_meant: impl Fn(&ContainerRef) -> bool) {
        for opening in self.gateways.opening.values_mut() {
            for (_, _, answer) in opening
                .waiting
                .extract_if(.., |(container, ..)| is_meant(container))
            {
                let _ = answer.send(Err(Refusal::Released.to_string().into()));
            }
        }
    }

    /// Goes on with who has waited, and takes away interfaces that nobody uses any more. True if something was done.
    pub(super) fn look_at_gateways(&mut self) -> bool {
        let over = |opening: &mut Opening| match opening.made.try_recv() {
            Err(TryRecvError::Empty) => None,
            Ok(result) => Some(result.map(|_| ())),
            Err(TryRecvError::Closed) => Some(Err("the host got no interface of its own".into())),
        };
        let mut due = Vec::new();
        self.gateways.opening.retain(|_, opening| match over(opening) {
            Some(result) => {
                due.push((result, std::mem::take(&mut opening.waiting)));
                false
            }
            None => true,
        });
        let mut is_busy = !due.is_empty();
        for (result, waiting) in due {
            self.gateways.is_look_due = true;
            for (container, addresses, answer) in waiting {
                match &result {
                    Ok(()) => self.attach(container, &addresses, answer),
                    Err(error) => drop(answer.send(Err(error.clone()))),
                }
            }
        }
        if std::mem::take(&mut self.gateways.is_look_due) {
            is_busy |= self.close_gateways();
        }
        is_busy
    }

    /// Tells the plane for which ports of the host's own IP addresses do not count.
    pub(super) fn publish_gateways(&self) {
        for one in self.containers.attached.iter().filter(|one| one.port.is_host) {
            let forwards = self.containers.by_gateway(one.vni) > 0;
            let mac = forwards.then_some(one.port.mac);
            self.shore.plane.set_gateway(one.vni, mac);
        }
    }

    fn close_gateways(&mut self) -> bool {
        let attached = self.containers.attached.iter();
        let is_idle = |one: &&Attachment| {
            let vni = one.vni;
            one.for_gateway
                && self.containers.by_gateway(vni) == 0
                && !self.gateways.opening.contains_key(&vni)
                && !self.is_gateway_awaited(vni)
        };
        let idle = attached.filter(is_idle);
        let idle: Vec<_> = idle.map(|one| one.port.host_ifname.clone()).collect();
        let is_busy = !idle.is_empty();
        self.remove(idle, None);
        is_busy
    }
}

/// The first address of the network that has this one.
fn network_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_addresses() {
        for (address, prefix, network) in [
            ("10.47.3.4", 12, "10.32.0.0"),
            ("10.0.0.1", 32, "10.0.0.1"),
            ("10.0.0.1", 0, "0.0.0.0"),
            ("fd00::1:2", 64, "fd00::"),
            ("fd00::1", 128, "fd00::1"),
        ] {
            let found = network_of(address.parse().unwrap(), prefix);
            assert_eq!(found, network.parse::<IpAddr>().unwrap(), "{address}/{prefix}");
        }
    }
}
