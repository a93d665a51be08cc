//! Reads what [`observe`](crate::observe) describes, by netlink dumps. Runs on threads that are in the namespace
//! they read.

use crate::guard::Guard;
use crate::names;
use crate::netlink::link::Link;
use crate::netlink::{NetlinkError, Socket, address, link, neighbour, route, tc};
use crate::observe::{Filter, HostLink, Inside, InsideLink, Kind, Observed};
use crate::plan::{Attachment, Desired, Fast};
use crate::sysctl;
use crate::vxlan::Switch;
use std::collections::{BTreeMap, BTreeSet};

/// Those links of the host's namespace that matter, with the index of each one's other end, for pairs.
pub(crate) type Host = BTreeMap<String, (HostLink, Option<u32>)>;

/// Reads the links of the namespace the thread is in; of the containers' all, or only these.
pub(crate) fn host(
    desired: &Desired,
    only: Option<&BTreeSet<String>>,
    guard: Option<&Guard>,
    switch: Option<&Switch>,
) -> Result<Host, NetlinkError> {
    let mut socket = Socket::open()?;
    let links = match only {
        None => link::list(&mut socket)?,
        Some(only) => link::those_of(&mut socket, only.iter().cloned().chain(under(desired)))?,
    };
    let indices: BTreeMap<_, _> = links.iter().map(|link| (link.name.clone(), link.index)).collect();
    let bridge = links
        .iter()
        .find(|link| is_our_bridge(link, desired))
        .map(|link| link.index);
    let is_desired = |link: &Link| desired.attachments.iter().any(|one| one.host_ifname == link.name);
    // The list is long where there are many containers, and tells nothing of those that are not there yet.
    let entries = match only {
        Some(_) if !links.iter().any(is_desired) => Vec::new(),
        _ => neighbour::list(&mut socket)?,
    };
    let remotes = match &desired.plain {
        Some(_) => neighbour::list_remotes(&mut socket)?,
        None => Vec::new(),
    };
    let mut found = BTreeMap::new();
    for link in links.into_iter().filter(|link| is_relevant(&link.name, desired)) {
        if names::is_host(&desired.bridge, &link.name) && !is_desired(&link) {
            // Another container's, or nobody's: of either only its name counts.
            let seen = bare(&link, desired);
            found.insert(link.name, (seen, None));
            continue;
        }
        let mut seen = host_link(&link, bridge, desired);
        seen.forwarded = entries
            .iter()
            .filter(|entry| entry.port == link.index)
            .map(|entry| entry.mac)
            .collect();
        seen.remotes = remotes
            .iter()
            .filter(|(device, ..)| *device == link.index)
            .map(|(_, mac, host)| (*mac, *host))
            .collect();
        if let Some(guard) = guard
            && let Some(program) = tc::attached(&mut socket, link.index)?
        {
            seen.guard = guard.rules(link.index, program).cloned();
        }
        let one = desired
            .attachments
            .iter()
            .find(|one| one.host_ifname == link.name);
        if one.is_some_and(|one| one.limits.receives.is_some()) {
            seen.queue = tc::queue(&mut socket, link.index)?;
        }
        seen.behind_guard = names::is_host(&desired.bridge, &link.name)
            && tc::attached_at(&mut socket, link.index, tc::BEHIND_GUARD)?.is_some();
        if let Some(switch) = switch {
            let program = |place| tc::attached_at(&mut socket, link.index, place).ok().flatten();
            seen.hook = switch
                .hooked(link.index, program, |name| indices.get(name).copied())
                .cloned();
        }
        // The host's own interface has both ends here; of any other that would mean that it came back from its container.
        let own = |one: &Attachment| one.is_host && one.host_ifname == link.name;
        let is_apart = link.peer_elsewhere || desired.attachments.iter().any(own);
        found.insert(link.name, (seen, link.peer.filter(|_| is_apart)));
    }
    Ok(found)
}

/// The names of what lies under a network's containers.
fn under(desired: &Desired) -> BTreeSet<String> {
    let bridge = &desired.bridge;
    let fast = desired.fast.iter();
    let fast = fast.flat_map(|fast| [fast.stub.clone(), fast.hatch.clone(), fast.vxlan.clone()]);
    let own = [names::stub(bridge), names::hatch(bridge), names::vxlan(bridge)];
    let first = [bridge.clone(), desired.tap.clone()];
    first.into_iter().chain(own).chain(fast).collect()
}

/// The names of the containers' interfaces that a router with this bridge made, and the indices of all links there are.
pub(crate) fn survey(bridge: &str) -> Result<(Vec<String>, BTreeSet<u32>), NetlinkError> {
    let links = link::list(&mut Socket::open()?)?;
    let alive = links.iter().map(|link| link.index).collect();
    let ours = |link: &Link| link.kind == Kind::Veth && names::is_host(bridge, &link.name);
    let ours = links.into_iter().filter(ours).map(|link| link.name);
    Ok((ours.collect(), alive))
}

fn is_our_bridge(link: &Link, desired: &Desired) -> bool {
    link.name == desired.bridge && link.kind == Kind::Bridge && link.ours
}

fn is_relevant(name: &str, desired: &Desired) -> bool {
    let bridge = &desired.bridge;
    let fast = |fast: &Fast| {
        [&fast.stub, &fast.hatch, &fast.vxlan]
            .iter()
            .any(|device| *device == name)
    };
    name == bridge
        || name == desired.tap
        || names::is_host(bridge, name)
        || names::is_fast(bridge, name)
        || desired.fast.as_ref().is_some_and(fast)
}

fn host_link(link: &Link, bridge: Option<u32>, desired: &Desired) -> HostLink {
    HostLink {
        quiet: link.noarp && !link.link_local() && sysctl::settled(link, sysctl::SILENT),
        in_bridge: bridge.is_some() && link.master == bridge,
        ..bare(link, desired)
    }
}

/// What the list of links tells by itself.
fn bare(link: &Link, desired: &Desired) -> HostLink {
    let foreign = link.kind == Kind::Bridge && !is_our_bridge(link, desired);
    HostLink {
        index: link.index,
        kind: if foreign { Kind::Other } else { link.kind },
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        quiet: false,
        in_bridge: false,
        port: link.port,
        bridge: link.bridge,
        forwarded: Vec::new(),
        guard: None,
        vxlan_port: link.vxlan_port,
        plain: link.plain,
        remotes: BTreeMap::new(),
        queue: None,
        hook: None,
        behind_guard: false,
    }
}

/// Looks at an attachment from inside. `outer` and `peer` are the indices of the host's end and, as the host sees
/// it, of the container's.
pub(crate) fn inside(attachment: &Attachment, ends: Option<(u32, u32)>) -> Inside {
    let looked = attachment
        .netns
        .open()
        .and_then(|netns| netns.run(|| look(attachment, ends)));
    match looked {
        Ok(Ok(inside)) => inside,
        Ok(Err(error)) => Inside::Unreadable(error.to_string()),
        Err(error) if error.is_gone() => Inside::Gone,
        Err(error) => Inside::Unreadable(error.to_string()),
    }
}

fn look(attachment: &Attachment, ends: Option<(u32, u32)>) -> Result<Inside, NetlinkError> {
    let mut socket = Socket::open()?;
    let links = link::list(&mut socket)?;
    let ours = ends.and_then(|(outer, inner)| {
        let is_pair =
            |link: &&Link| link.kind == Kind::Veth && link.index == inner && link.peer == Some(outer);
        links.iter().find(is_pair)
    });
    let name_taken = links
        .iter()
        .any(|link| link.name == attachment.ifname && ours.is_none_or(|ours| ours.index != link.index));
    let link = match ours {
        Some(link) => Some(inside_link(&mut socket, link, attachment)?),
        None => None,
    };
    Ok(Inside::Present {
        link,
        name_taken,
        multicast_route: route::has_multicast(&mut socket)?,
    })
}

fn inside_link(
    socket: &mut Socket,
    link: &Link,
    attachment: &Attachment,
) -> Result<InsideLink, NetlinkError> {
    let ipv6 = attachment.addresses.iter().any(|(address, _)| address.is_ipv6());
    let settled =
        sysctl::settled(link, sysctl::CONTAINER) && (!ipv6 || sysctl::settled(link, sysctl::WITH_IPV6));
    let own = address::list(socket)?
        .into_iter()
        .filter(|address| address.index == link.index);
    Ok(InsideLink {
        name: link.name.clone(),
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        settled,
        addresses: own
            .filter(|address| address.universal)
            .map(|address| (address.address, address.prefix))
            .collect(),
    })
}

/// Puts both views together.
pub(crate) fn all(desired: &Desired, host: Host, guard: bool, switch: bool) -> Observed {
    let handed = |attachment: &Attachment| {
        let is_made = attachment.handed.as_ref()?.is_made;
        let is_gone = is_made && !host.contains_key(&attachment.host_ifname);
        Some(if is_gone { Inside::Gone } else { Inside::Handed })
    };
    let ends = |name: &str| {
        host.get(name)
            .and_then(|(link, peer)| Some((link.index, (*peer)?)))
    };
    let inside = desired
        .attachments
        .iter()
        .map(|attachment| {
            let name = &attachment.host_ifname;
            let found = handed(attachment).unwrap_or_else(|| inside(attachment, ends(name)));
            (name.clone(), found)
        })
        .collect();
    let links = host.into_iter().map(|(name, (link, _))| (name, link)).collect();
    Observed {
        links,
        inside,
        guard,
        switch,
        filter: Filter::default(),
        gateway: None,
    }
}
