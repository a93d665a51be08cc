//! Where containers are to be: in which network, behind which interface, with which addresses; the host itself, too.

use super::Router;
use super::containers::Answer;
use crate::control::ContainerRef;
use crate::net::{Cidr, unusable_for_container};
use crate::state::Attachment;
use fastpath::{NetNsRef, names};
use mesh::{NetworkView, Vni};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Where this process finds its own namespace.
const OWN_NETNS: &str = "/proc/self/ns/net";

impl Router {
    /// The default network, and those with containers here.
    pub(super) fn wanted_networks(&self) -> BTreeSet<Vni> {
        let views = self.mesh.network_views();
        let used = self
            .containers
            .attached
            .iter()
            .filter(|one| is_in_force(one, &views));
        [Vni::DEFAULT]
            .into_iter()
            .chain(used.map(|one| one.vni))
            .collect()
    }

    /// The namespace of a container, and the host's end of its pair.
    pub(super) fn place_of(&self, vni: Vni, container: &ContainerRef) -> Result<(NetNsRef, String), String> {
        let bridge = self.bridge_of(vni);
        if container.handed.is_some() {
            let key = container
                .key
                .as_deref()
                .ok_or("what is handed over needs a key")?;
            let netns = NetNsRef::at(OWN_NETNS).map_err(|error| error.to_string())?;
            return Ok((netns, names::handed(&bridge, key)));
        }
        let netns = NetNsRef::at(&container.netns).map_err(|error| error.to_string())?;
        let host = names::host(&bridge, &netns, &container.ifname);
        Ok((netns, host))
    }

    /// The host's own interface in a network.
    pub(super) fn host_interface(&self, network: Option<&str>) -> Result<ContainerRef, String> {
        let (vni, _) = self.network(network)?;
        Ok(ContainerRef {
            netns: OWN_NETNS.into(),
            ifname: names::exposed(&self.bridge_of(vni)),
            name: Some("this host".into()),
            network: network.map(str::to_owned),
            ..ContainerRef::default()
        })
    }

    /// `weft expose`: the host itself is attached like a container.
    pub(crate) fn expose(&mut self, addresses: &[Cidr], network: Option<&str>, answer: Answer) {
        match self.host_interface(network) {
            Ok(own) => self.attach(own, addresses, answer),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
    }

    /// `weft hide`.
    pub(crate) fn hide(&mut self, network: Option<&str>, answer: Answer) {
        let own = match self.host_interface(network) {
            Ok(own) => own,
            Err(error) => return drop(answer.send(Err(error.into()))),
        };
        let attached = &self.containers.attached;
        if !attached
            .iter()
            .any(|one| one.port.ifname == own.ifname && one.port.is_host)
        {
            return drop(answer.send(Err("this host is not exposed".into())));
        }
        let users = self
            .network(network)
            .map(|(vni, _)| self.containers.by_gateway(vni));
        let users = users.unwrap_or(0);
        if users > 0 {
            return drop(answer.send(Err(format!(
                "{users} containers reach what is outside by this host: its interface goes with the last of them"
            )
            .into())));
        }
        self.detach(&own, answer);
    }

    /// As the router keeps them.
    pub(super) fn usable(&self, addresses: &[Cidr]) -> Result<Vec<(IpAddr, u8)>, String> {
        for cidr in addresses {
            if let Some(why) = unusable_for_container(cidr) {
                return Err(format!("{cidr} {why}"));
            }
        }
        Ok(addresses.iter().map(|cidr| (cidr.address, cidr.prefix)).collect())
    }

    /// An address that another container of this host has would make both unreachable by turns.
    pub(super) fn refuse_taken(&self, vni: Vni, host: &str, wanted: &[(IpAddr, u8)]) -> Result<(), String> {
        for other in self
            .containers
            .attached
            .iter()
            .filter(|other| other.vni == vni && other.port.host_ifname != host)
        {
            let taken = other
                .port
                .addresses
                .iter()
                .find(|(a, _)| wanted.iter().any(|(b, _)| a == b));
            if let Some((address, _)) = taken {
                let netns = other.port.netns.path.display();
                return Err(format!(
                    "{address} is attached to {netns} ({}) already",
                    other.port.ifname
                ));
            }
        }
        Ok(())
    }
}

/// True unless another network has the number of this container's by now.
pub(super) fn is_in_force(one: &Attachment, views: &[NetworkView]) -> bool {
    let mut holders = views
        .iter()
        .filter(|view| view.vni == one.vni && view.rival.is_none());
    holders.all(|view| Some(&view.name) == one.network.as_ref())
}
