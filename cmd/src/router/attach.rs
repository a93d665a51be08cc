//! Containers come and go: what was asked is checked, written into the list of what is attached, and the list stored.

use super::Router;
use super::containers::{Answer, Asked, Change};
use super::keeper::Then;
use crate::control::ContainerRef;
use crate::net::Cidr;
use crate::state::Attachment;
use fastpath::{Handed, Limit, NetNs, NetNsRef};
use mesh::{Mac, Name};
use rand_core::{OsRng, RngCore};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Most addresses of one interface.
const MAX_ADDRESSES: usize = 64;
/// Most names of one container.
const MAX_NAMES: usize = 64;

impl Router {
    /// `weft attach`.
    pub(crate) fn attach(&mut self, container: ContainerRef, addresses: &[Cidr], answer: Answer) {
        let vni = match self.network(container.network.as_deref()) {
            Ok((vni, _)) => vni,
            Err(error) => return drop(answer.send(Err(error.into()))),
        };
        if container.gateway && self.containers.exposed(vni).is_none() {
            return self.attach_by_gateway(vni, container, addresses, answer);
        }
        if !addresses.is_empty() {
            return self.attach_with(&container, addresses, None, answer);
        }
        let own = container
            .want
            .iter()
            .map(|(address, _)| *address)
            .find(|address| self.is_of_range(vni, *address));
        if own.is_none() && !container.want.is_empty() {
            return match others(&container.want, &[]) {
                Ok(addresses) => self.attach_with(&container, &addresses, None, answer),
                Err(error) => drop(answer.send(Err(error.into()))),
            };
        }
        if let Err(why) = &self.containers.ports {
            return drop(answer.send(Err(why.clone().into())));
        }
        match self.place_of(vni, &container) {
            Ok((_, host)) => self.allocate_for((container, vni), host, own, answer),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
    }

    /// Attaches a container with these addresses, which were given out under the name `allocated`, if there is one.
    pub(super) fn attach_with(
        &mut self,
        container: &ContainerRef,
        addresses: &[Cidr],
        allocated: Option<String>,
        answer: Answer,
    ) {
        match self.try_attach(container, addresses, allocated.is_some()) {
            Ok((host, before)) => {
                let before = before.map(Box::new);
                let asked = Asked::Attach { host, before, answer };
                self.persist_attachments(Then::Containers(Change(asked)));
            }
            Err(error) => {
                if let Some((host, (vni, _))) = allocated.zip(self.network(container.network.as_deref()).ok())
                {
                    self.release_unless_attached(vni, &host);
                }
                drop(answer.send(Err(error.into())));
            }
        }
    }

    fn try_attach(
        &mut self,
        container: &ContainerRef,
        addresses: &[Cidr],
        is_allocated: bool,
    ) -> Result<(String, Option<Attachment>), String> {
        let wanted = self.usable(addresses)?;
        let (vni, network) = self.network(container.network.as_deref())?;
        let (netns, host) = self.place_of(vni, container)?;
        let before = self
            .containers
            .position(&host)
            .map(|at| self.containers.attached[at].clone());
        // The number of a namespace that is gone may be another's by now, before anybody has noticed.
        let is_there = |old: &Attachment| {
            NetNsRef::at(&old.port.netns.path).is_ok_and(|there| there.inode == netns.inode)
        };
        let before = before.filter(is_there);
        self.refuse_taken(vni, &host, &wanted)?;
        let mut attachment = before.clone().unwrap_or_else(|| {
            let mut random = [0; 6];
            OsRng.fill_bytes(&mut random);
            let bridge = &self.bridge_of(vni);
            let is_host = NetNs::current().is_ok_and(|own| own.inode() == netns.inode);
            let mut port = fastpath::Attachment::new(bridge, netns, &container.ifname, Vec::new(), random);
            port.is_host = is_host && container.handed.is_none();
            port.handed = container.handed.clone().map(|inner| Handed {
                inner,
                is_made: false,
            });
            port.host_ifname.clone_from(&host);
            Attachment {
                vni,
                network,
                port,
                pid: container.pid,
                name: None,
                key: None,
                is_allocated: false,
                names: Vec::new(),
                boot: self.containers.boot.clone(),
                gateway: false,
                masqueraded: false,
                for_gateway: container.for_gateway,
            }
        });
        for name in &container.names {
            if !attachment.names.contains(name) {
                attachment.names.push(name.clone());
            }
        }
        if attachment.names.len() > MAX_NAMES {
            return Err(format!("a container has at most {MAX_NAMES} names"));
        }
        attachment.is_allocated |= is_allocated;
        attachment.port.limited |= container.limited;
        let (limits, asked) = (&mut attachment.port.limits, container.limits);
        let differs = |asked: Option<Limit>, is: Option<Limit>| asked.is_some() && asked != is;
        if before.is_some()
            && (differs(asked.sends, limits.sends) || differs(asked.receives, limits.receives))
        {
            // The queue at its own end belongs to the container, and stays as it was made.
            return Err("it is attached with other limits: detach it first".into());
        }
        limits.sends = asked.sends.or(limits.sends);
        limits.receives = asked.receives.or(limits.receives);
        attachment.gateway |= container.gateway;
        attachment.masqueraded |= container.masqueraded;
        attachment.for_gateway &= container.for_gateway;
        attachment.name = container.name.clone().or(attachment.name);
        attachment.key = container.key.clone().or(attachment.key);
        if let Some(mac) = &container.mac {
            let mac: Mac = mac.parse().map_err(|_| format!("{mac:?} is not a MAC address"))?;
            if mac.is_group() || mac == Mac([0; 6]) {
                return Err(format!("{mac} is not the address of one interface"));
            }
            attachment.port.mac = mac;
        }
        for address in wanted {
            if !attachment.port.addresses.contains(&address) {
                attachment.port.addresses.push(address);
            }
        }
        if attachment.port.addresses.len() > MAX_ADDRESSES {
            return Err(format!("an interface has at most {MAX_ADDRESSES} addresses"));
        }
        self.put(&host, Some(attachment));
        Ok((host, before))
    }

    /// `weft detach`.
    pub(crate) fn detach(&mut self, container: &ContainerRef, answer: Answer) {
        let found = self.containers.attached.iter().find(|attachment| {
            let port = &attachment.port;
            let same = port.netns.path == container.netns
                || NetNsRef::at(&container.netns).is_ok_and(|netns| netns.inode == port.netns.inode);
            same && port.ifname == container.ifname
        });
        let Some(host) = found.map(|attachment| attachment.port.host_ifname.clone()) else {
            let text = format!(
                "{} has no interface {} here",
                container.netns.display(),
                container.ifname
            );
            return drop(answer.send(Err(text.into())));
        };
        self.remove(vec![host], Some(answer));
    }

    /// Detaches all whose keys are meant; that there are none is fine.
    pub(super) fn detach_all(&mut self, is_meant: impl Fn(&str) -> bool, answer: Answer) {
        let is_over = |container: &ContainerRef| container.key.as_deref().is_some_and(&is_meant);
        self.forsake(is_over);
        self.forsake_waiting(is_over);
        let attached = self.containers.attached.iter();
        let meant = attached.filter(|one| one.key.as_deref().is_some_and(&is_meant));
        let hosts: Vec<_> = meant.map(|one| one.port.host_ifname.clone()).collect();
        self.remove(hosts, Some(answer));
    }

    /// What is attached under a key is called so from now on.
    pub(super) fn set_names(&mut self, key: &str, name: String, names: Vec<Name>, answer: Answer) {
        let mut attached = self.containers.attached.iter_mut();
        let Some(found) = attached.find(|one| one.key.as_deref() == Some(key)) else {
            return drop(answer.send(Err(format!("nothing is attached as {key}").into())));
        };
        if names.len() > MAX_NAMES {
            return drop(answer.send(Err(format!("a container has at most {MAX_NAMES} names").into())));
        }
        found.name = Some(name);
        found.names = names;
        self.persist_attachments(Then::Nothing);
        self.tell_names();
        let _ = answer.send(Ok(Value::Null));
    }

    /// What is attached under a key.
    pub(super) fn attached(&self, key: &str) -> Result<Value, String> {
        let found = self
            .containers
            .attached
            .iter()
            .find(|one| one.key.as_deref() == Some(key));
        let found = found.ok_or_else(|| format!("nothing is attached as {key}"))?;
        Ok(self.shown(found))
    }

    /// What an attachment is, for who asked for it.
    pub(super) fn shown(&self, one: &Attachment) -> Value {
        let (port, bridge) = (&one.port, self.bridge_of(one.vni));
        let text = |(at, prefix): &(IpAddr, u8)| format!("{at}/{prefix}");
        let addresses: Vec<_> = port.addresses.iter().map(text).collect();
        let exposed = self.containers.exposed(one.vni).filter(|_| one.gateway);
        let gateways = exposed.map_or(&[][..], |host| &host.port.addresses);
        let gateways: Vec<_> = gateways.iter().map(|(address, _)| address).collect();
        let domain = self
            .names
            .read(|zone| zone.domain().trim_end_matches('.').to_owned());
        json!({
            "dns": { "nameservers": self.names.servers(one.vni), "domain": domain },
            "host_ifname": port.host_ifname,
            "ifname": port.ifname,
            "mac": port.mac.to_string(),
            "mtu": self.containers.mtu,
            "bridge": bridge,
            "addresses": addresses,
            "gateways": gateways,
            "limits": port.limits,
            "limited": port.limited,
        })
    }
}

/// Wanted addresses that are not among those given: each needs a prefix length of its own.
pub(super) fn others(want: &[(IpAddr, Option<u8>)], given: &[Cidr]) -> Result<Vec<Cidr>, String> {
    let rest = want
        .iter()
        .filter(|(address, _)| given.iter().all(|cidr| cidr.address != *address));
    let cidr = |(address, prefix): &(IpAddr, Option<u8>)| match prefix {
        Some(prefix) => Ok(Cidr {
            address: *address,
            prefix: *prefix,
        }),
        None => Err(format!(
            "{address} is not of this router's range, so it needs a prefix length"
        )),
    };
    rest.map(cidr).collect()
}
