//! What the kernel tells of links.

use super::{BridgeSettings, GROUP, Kind, Link, PortFlags, Settings, make::plain_switch};
use mesh::{Mac, Vni};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, BridgePortState, InfoBridge, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

/// Reads a link message; `None` for one without a name.
pub(crate) fn parse(message: LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: Kind::Other,
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        noarp: flags.contains(LinkFlags::Noarp),
        loopback: flags.contains(LinkFlags::Loopback),
        running: flags.contains(LinkFlags::Running),
        port_waits: false,
        master: None,
        peer: None,
        peer_elsewhere: false,
        port: None,
        bridge: None,
        vxlan_port: None,
        plain: None,
        ours: false,
        generation: None,
        settings: Settings::default(),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes).ok().map(Mac),
            LinkAttribute::Group(group) => link.ours = group == GROUP,
            LinkAttribute::AfSpecUnspec(families) => read_families(&mut link, &families),
            LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| read_info(&mut link, info)),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn read_families(link: &mut Link, families: &[AfSpecUnspec]) {
    for family in families {
        match family {
            AfSpecUnspec::Inet(all) => all.iter().for_each(|one| {
                if let AfSpecInet::DevConf(now) = one {
                    link.settings.arp_ignore = Some(now.arp_ignore);
                    link.settings.rp_filter = Some(now.rp_filter);
                    link.settings.forwarding = Some(now.forwarding);
                    link.settings.arp_notify = Some(now.arp_notify);
                }
            }),
            AfSpecUnspec::Inet6(all) => all.iter().for_each(|one| match one {
                AfSpecInet6::AddrGenMode(mode) => link.generation = Some(*mode),
                AfSpecInet6::DevConf(now) => {
                    link.settings.disable_ipv6 = Some(now.disable_ipv6);
                    link.settings.accept_ra = Some(now.accept_ra);
                    link.settings.dad_transmits = Some(now.dad_transmits);
                    link.settings.ndisc_notify = Some(now.ndisc_notify);
                }
                _ => {}
            }),
            _ => {}
        }
    }
}

fn read_info(link: &mut Link, info: LinkInfo) {
    match info {
        LinkInfo::Kind(InfoKind::Bridge) => link.kind = Kind::Bridge,
        LinkInfo::Kind(InfoKind::Veth) => link.kind = Kind::Veth,
        LinkInfo::Kind(InfoKind::Tun) => link.kind = Kind::Tun,
        LinkInfo::Kind(InfoKind::Vxlan) => link.kind = Kind::Vxlan,
        LinkInfo::Data(InfoData::Vxlan(settings)) => {
            link.vxlan_port = read_vxlan(&settings);
            link.plain = read_plain(&settings);
        }
        LinkInfo::Data(InfoData::Bridge(settings)) => {
            link.bridge = Some(BridgeSettings {
                plain: is_plain(&settings),
            });
        }
        LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
            link.port = Some(read_port(&settings));
            link.port_waits = !settings.contains(&InfoBridgePort::State(BridgePortState::Forwarding));
        }
        _ => {}
    }
}

/// The port, if the device takes packets for every tunnel, with labels, and learns nothing.
fn read_vxlan(settings: &[InfoVxlan]) -> Option<u16> {
    let has = |wanted: InfoVxlan| settings.contains(&wanted);
    let port = settings.iter().find_map(|setting| match setting {
        InfoVxlan::Port(port) => Some(*port),
        _ => None,
    });
    let is_ours =
        has(InfoVxlan::CollectMetadata(true)) && has(InfoVxlan::Gbp) && has(InfoVxlan::Learning(false));
    port.filter(|_| is_ours)
}

/// Network and port, if the device has a table that is filled by hand.
fn read_plain(settings: &[InfoVxlan]) -> Option<(Vni, u16)> {
    let has = |wanted: InfoVxlan| settings.contains(&wanted);
    let port = settings.iter().find_map(|setting| match setting {
        InfoVxlan::Port(port) => Some(*port),
        _ => None,
    });
    let vni = settings.iter().find_map(|setting| match setting {
        InfoVxlan::Id(id) => Some(Vni(*id)),
        _ => None,
    });
    let is_ours = !has(InfoVxlan::CollectMetadata(true)) && has(InfoVxlan::Learning(false));
    vni.zip(port).filter(|_| is_ours)
}

fn read_port(settings: &[InfoBridgePort]) -> PortFlags {
    let has = |wanted: InfoBridgePort| settings.contains(&wanted);
    PortFlags {
        learning: has(InfoBridgePort::Learning(true)),
        unicast_flood: has(InfoBridgePort::UnicastFlood(true)),
        multicast_flood: has(InfoBridgePort::MulticastFlood(true)),
        broadcast_flood: has(InfoBridgePort::BroadcastFlood(true)),
        hairpin: has(InfoBridgePort::HairpinMode(true)),
        isolated: has(InfoBridgePort::Isolated(true)),
        locked: settings.iter().find_map(|setting| match setting {
            InfoBridgePort::Locked(on) => Some(*on),
            _ => None,
        }),
    }
}

/// What the kernel was built without, it does not list; that is as good as switched off.
fn is_plain(settings: &[InfoBridge]) -> bool {
    let mut wanted = plain_switch();
    wanted.push(InfoBridge::VlanFiltering(false));
    settings.iter().all(|found| {
        let same = |wanted: &&InfoBridge| std::mem::discriminant(*wanted) == std::mem::discriminant(found);
        wanted.iter().find(same).is_none_or(|wanted| wanted == found)
    })
}
