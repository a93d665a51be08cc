//! Addresses for containers: asked of the core, which answers when they are stored.

use super::Router;
use super::attach::others;
use super::containers::Answer;
use crate::control::{ContainerRef, Refused};
use crate::net::Cidr;
use crate::rate::Rate;
use mesh::ipam::{IpamEvent, Refusal, Trust};
use mesh::{Input, PeerId, Vni};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tracing::{error, info, warn};

/// What the core was asked.
#[derive(Default)]
pub(crate) struct AddressAsks {
    next: u64,
    waiting: BTreeMap<u64, Asked>,
    /// Why nothing can be given out any more.
    lost: Option<String>,
}

/// Who waits for the core's answer.
enum Asked {
    Attach {
        container: Box<ContainerRef>,
        vni: Vni,
        host: String,
        answer: Answer,
    },
    /// Somebody who is attached later.
    Alone {
        answer: Answer,
    },
    Reclaim {
        answer: Answer,
    },
}

/// What the names begin with of those who get addresses without being attached, and say themselves when it is over.
const ALONE: &str = crate::docker::PREFIX;

impl AddressAsks {
    fn add(&mut self, asked: Asked) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, asked);
        self.next
    }
}

impl Router {
    /// Containers that wait for addresses are not to be attached any more.
    pub(super) fn forsake(&mut self, is_meant: impl Fn(&ContainerRef) -> bool) {
        let is_over = |asked: &Asked| matches!(asked, Asked::Attach { container, .. } if is_meant(container));
        let waiting = &mut self.address_asks.waiting;
        let over: Vec<_> = waiting.extract_if(.., |_, asked| is_over(asked)).collect();
        for (_, asked) in over {
            let Asked::Attach {
                vni, host, answer, ..
            } = asked
            else {
                continue;
            };
            self.release_unless_attached(vni, &host);
            let _ = answer.send(Err(Refusal::Released.to_string().into()));
        }
    }

    /// True if a container that reaches what is outside by this host waits for addresses.
    pub(super) fn is_gateway_awaited(&self, network: Vni) -> bool {
        let mut waiting = self.address_asks.waiting.values();
        waiting.any(
            |asked| matches!(asked, Asked::Attach { container, vni, .. } if *vni == network && container.gateway),
        )
    }

    /// A container without addresses of its own wants some; it is attached with them.
    pub(super) fn allocate_for(
        &mut self,
        (container, vni): (ContainerRef, Vni),
        host: String,
        want: Option<IpAddr>,
        answer: Answer,
    ) {
        if let Some(why) = &self.address_asks.lost {
            return drop(answer.send(Err(why.clone().into())));
        }
        let holder = host.clone();
        let number = self.address_asks.add(Asked::Attach {
            container: Box::new(container),
            vni,
            host,
            answer,
        });
        self.feed(Input::Allocate {
            vni,
            number,
            holder,
            want,
        });
    }

    /// Addresses for somebody who is attached later, or not.
    pub(super) fn allocate_alone(
        &mut self,
        network: Option<&str>,
        holder: String,
        want: Option<IpAddr>,
        answer: Answer,
    ) {
        let lost = self.address_asks.lost.clone().map_or(Ok(()), Err);
        let vni = lost.and_then(|()| self.network(network)).map(|(vni, _)| vni);
        let vni = vni.and_then(|vni| {
            if holder.starts_with(ALONE) {
                Ok(vni)
            } else {
                Err(format!(
                    "{holder} is nobody who gets addresses without being attached"
                ))
            }
        });
        match vni {
            Ok(vni) => {
                let number = self.address_asks.add(Asked::Alone { answer });
                self.feed(Input::Allocate {
                    vni,
                    number,
                    holder,
                    want,
                });
            }
            Err(error) => drop(answer.send(Err(error.into()))),
        }
    }

    /// These are not needed any more.
    pub(super) fn release_alone(&mut self, network: Option<&str>, holder: &str) -> Result<(), String> {
        let (vni, _) = self.network(network)?;
        self.release_addresses(vni, holder);
        Ok(())
    }

    /// Those of all whose name begins so, but these, are not needed any more.
    pub(super) fn collect_addresses(&mut self, prefix: &str, keep: &[String]) {
        let in_use = self.mesh.addresses_in_use().into_iter();
        let is_over = |holder: &String| {
            holder.starts_with(ALONE) && holder.starts_with(prefix) && !keep.contains(holder)
        };
        let over: Vec<_> = in_use.filter(|one| is_over(&one.holder)).collect();
        for one in over {
            self.release_addresses(one.vni, &one.holder);
        }
    }

    /// What became of it.
    pub(crate) fn allocated(&mut self, number: u64, result: Result<Vec<(IpAddr, u8)>, Refusal>) {
        let (container, vni, host, answer) = match self.address_asks.waiting.remove(&number) {
            Some(Asked::Attach {
                container,
                vni,
                host,
                answer,
            }) => (container, vni, host, answer),
            Some(Asked::Alone { answer }) => {
                let texts = |addresses: Vec<(IpAddr, u8)>| -> Value {
                    addresses
                        .iter()
                        .map(|(at, prefix)| format!("{at}/{prefix}"))
                        .collect()
                };
                let result = result.map(texts).map_err(|refusal| self.refusal(&refusal));
                return drop(answer.send(result));
            }
            Some(Asked::Reclaim { .. }) | None => return,
        };
        let for_gateway = container.gateway;
        match result {
            Ok(addresses) => {
                let cidr = |(address, prefix): &(IpAddr, u8)| Cidr {
                    address: *address,
                    prefix: *prefix,
                };
                let mut cidrs: Vec<_> = addresses.iter().map(cidr).collect();
                match others(&container.want, &cidrs) {
                    Ok(more) => {
                        cidrs.extend(more);
                        self.attach_with(&container, &cidrs, Some(host), answer);
                    }
                    Err(error) => {
                        self.release_unless_attached(vni, &host);
                        drop(answer.send(Err(error.into())));
                    }
                }
            }
            Err(refusal) => drop(answer.send(Err(self.refusal(&refusal)))),
        }
        self.gateways.is_look_due |= for_gateway;
    }

    /// True for addresses of the range that routers give a network's addresses from.
    pub(super) fn is_of_range(&self, vni: Vni, address: IpAddr) -> bool {
        let views = self.mesh.addresses_view();
        views
            .iter()
            .any(|view| view.vni == vni && view.pool.index(address).is_some())
    }

    /// Why no addresses can be given out, if that is so.
    pub(super) fn can_allocate(&self) -> Result<(), Refused> {
        if let Some(why) = &self.address_asks.lost {
            return Err(why.clone().into());
        }
        match self.mesh.addresses_unready(Vni::DEFAULT) {
            Some(refusal) => Err(self.refusal(&refusal)),
            None => Ok(()),
        }
    }

    /// A refusal with the names of routers.
    fn refusal(&self, refusal: &Refusal) -> Refused {
        let text = match refusal {
            Refusal::Asking(Some(owner)) | Refusal::Elsewhere(Some(owner)) => {
                format!("{refusal} ({})", self.name(owner))
            }
            Refusal::Fenced(peers) => {
                let names: Vec<_> = peers.iter().map(|peer| self.name(peer)).collect();
                format!("{refusal} ({})", names.join(", "))
            }
            _ => refusal.to_string(),
        };
        let passes = refusal.passes_soon();
        Refused { text, passes }
    }

    /// The container with this host end is gone, or was never there.
    pub(super) fn release_addresses(&mut self, vni: Vni, host: &str) {
        let holder = host.to_owned();
        self.feed(Input::Release { vni, holder });
    }

    /// Addresses whose containers went while nobody looked are free again.
    pub(crate) fn reconcile_addresses(&mut self) {
        let attached = &self.containers.attached;
        let is_attached = |vni: Vni, holder: &str| {
            attached
                .iter()
                .any(|one| one.is_allocated && one.vni == vni && one.port.host_ifname == holder)
        };
        let in_use = self.mesh.addresses_in_use();
        let idle: Vec<_> = in_use
            .into_iter()
            .filter(|one| !is_attached(one.vni, &one.holder) && !one.holder.starts_with(ALONE))
            .collect();
        for one in idle {
            self.feed(Input::Release {
                vni: one.vni,
                holder: one.holder,
            });
        }
    }

    /// The disk does not take addresses any more: none is given out that could be given out again after a restart.
    pub(super) fn addresses_lost(&mut self, why: &str) {
        error!("no addresses are given out any more: {why}");
        self.address_asks.lost = Some(format!("no addresses are given out: {why}"));
        for (_, asked) in std::mem::take(&mut self.address_asks.waiting) {
            let (Asked::Attach { answer, .. } | Asked::Alone { answer } | Asked::Reclaim { answer }) = asked;
            let _ = answer.send(Err(why.into()));
        }
    }

    /// `weft reclaim`.
    pub(super) fn reclaim(&mut self, text: &str, answer: Answer) {
        // Routers that are long gone are known by their addresses only.
        let owners = self
            .mesh
            .addresses_view()
            .into_iter()
            .flat_map(|view| view.shares);
        let ids: Vec<PeerId> = owners.filter_map(|(owner, _)| owner).collect();
        let is_meant = |id: &&PeerId| text.len() >= 8 && id.to_string().starts_with(text);
        let peer = match self.find(text) {
            Ok(peer) => peer,
            Err(error) => match ids.iter().find(is_meant) {
                Some(id) => *id,
                None => return drop(answer.send(Err(error.into()))),
            },
        };
        let number = self.address_asks.add(Asked::Reclaim { answer });
        self.feed(Input::Reclaim { number, peer });
    }

    /// What became of it.
    pub(crate) fn reclaimed(&mut self, number: u64, result: Result<u32, Refusal>) {
        if let Some(Asked::Reclaim { answer }) = self.address_asks.waiting.remove(&number) {
            let result = result.map(|count| json!({ "addresses": count }));
            let _ = answer.send(result.map_err(|refusal| self.refusal(&refusal)));
        }
    }

    /// `weft ps`: this host's containers.
    pub(super) fn ps(&self) -> Value {
        let line = |one: &crate::state::Attachment| {
            let addresses: Vec<_> = one
                .port
                .addresses
                .iter()
                .map(|(at, prefix)| format!("{at}/{prefix}"))
                .collect();
            json!({
                "name": one.name,
                "network": one.network.as_ref().map_or("default", |name| name.as_str()),
                "vni": one.vni.0,
                "netns": one.port.netns.path.display().to_string(),
                "pid": one.pid,
                "ifname": one.port.ifname,
                "mac": one.port.mac.to_string(),
                "addresses": addresses,
                "egress_rate": one.port.limits.sends.map(|limit| Rate::of(limit).bits()),
                "ingress_rate": one.port.limits.receives.map(|limit| Rate::of(limit).bits()),
            })
        };
        self.containers.attached.iter().map(line).collect()
    }

    /// `weft ipam`: who owns which share of a network's addresses.
    pub(super) fn ipam(&self, network: Option<&str>) -> Result<Value, String> {
        let (vni, _) = self.network(network)?;
        let view = |view: mesh::ipam::AddressView| {
            let (v4, prefix) = view.pool.v4();
            let trust = match view.trust {
                Trust::Waiting(_) => "waiting",
                Trust::Confirmed => "confirmed",
                Trust::Unconfirmed => "unconfirmed",
            };
            let share = |(owner, count): &(Option<PeerId>, u32)| {
                json!({
                    "peer_id": owner.map(|owner| owner.to_string()),
                    "name": owner.map(|owner| self.name(&owner)),
                    "reachable": owner.is_some_and(|owner| self.mesh.is_reachable(&owner)),
                    "addresses": count,
                })
            };
            let doubled = |(address, peers): &(IpAddr, Vec<PeerId>)| {
                let names: Vec<_> = peers.iter().map(|peer| self.name(peer)).collect();
                json!({ "address": address, "routers": names })
            };
            json!({
                "range": format!("{v4}/{prefix}"),
                "range_v6": view.pool.v6().map(|(v6, prefix)| format!("{v6}/{prefix}")),
                "state": trust,
                "free": view.free,
                "shares": view.shares.iter().map(share).collect::<Vec<_>>(),
                "doubled": view.doubled.iter().map(doubled).collect::<Vec<_>>(),
            })
        };
        let mut views = self.mesh.addresses_view().into_iter();
        Ok(views.find(|view| view.vni == vni).map(view).unwrap_or_default())
    }

    pub(super) fn log_addresses(&self, event: &IpamEvent) {
        match event {
            IpamEvent::Founded { shares } => info!("the addresses are divided among {shares} routers"),
            IpamEvent::Joined { lost, .. } => warn!(
                "another group of routers divided the addresses earlier: this one's {lost} addresses are given up for \
                 others; containers keep theirs"
            ),
            IpamEvent::Unconfirmed => {
                warn!("no other router was heard of since the start: addresses are given out unconfirmed");
            }
            IpamEvent::OtherPool { peer, pool } => {
                let (v4, prefix) = pool.v4();
                warn!(
                    peer = self.name(peer),
                    "it was told another --ipalloc-range ({v4}/{prefix})"
                );
            }
            IpamEvent::TookOver { from, count } => {
                warn!(
                    peer = self.name(from),
                    "it was missed for long: {count} addresses that it did not use are this router's now"
                );
            }
            IpamEvent::Lost { to, count } => {
                warn!(
                    peer = self.name(to),
                    "it took over {count} addresses of this router's"
                );
            }
            IpamEvent::Doubled { address, peers } => {
                let [a, b] = peers.map(|peer| self.name(&peer));
                warn!("containers of {a} and {b} both have the address {address}");
            }
        }
    }
}
