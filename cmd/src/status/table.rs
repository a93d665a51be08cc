//! `weft status` for people: every line fits 80 columns, at five routers and at fifty.

use super::model::{Attachment, Connection, Overlay, Peer, Route, State, Status, Target};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Rows of each listing in the summary.
const SUMMARY_ROWS: usize = 12;

/// The summary: who this is, and the head of every listing.
pub(crate) fn summary(status: &Status) -> String {
    let mut text = String::new();
    let reachable = status.peers.iter().filter(|peer| peer.reachable).count();
    let encrypted = if status.encrypted {
        "encrypted"
    } else {
        "partly not encrypted"
    };
    let id = status.peer_id.get(..12).unwrap_or(&status.peer_id);
    line(
        &mut text,
        &format!("{} ({id}), weft {}, {encrypted}", status.name, status.version),
    );
    line(&mut text, &format!("listening on {}", status.listen));
    section(
        &mut text,
        &format!("peers: {reachable} of {} reachable", status.peers.len()),
        &peers(&status.peers),
    );
    let up = status
        .connections
        .iter()
        .filter(|c| c.state == State::Established)
        .count();
    let title = format!("connections: {up} of {} established", status.connections.len());
    section(&mut text, &title, &connections(&status.connections));
    let direct = status.routes.iter().filter(|route| route.direct).count();
    let title = format!(
        "routes: {direct} direct, {} relayed",
        status.routes.len() - direct
    );
    section(&mut text, &title, &routes(&status.routes));
    section(
        &mut text,
        &format!("targets: {}", status.targets.len()),
        &targets(&status.targets),
    );
    section(
        &mut text,
        &format!("attachments: {}", status.attachments.len()),
        &attachments(&status.attachments),
    );
    let drops: Vec<_> = status
        .drops
        .iter()
        .map(|(reason, count)| vec![reason.clone(), count.to_string()])
        .collect();
    section(
        &mut text,
        "drops since launch",
        &table(&["reason", "count"], &drops, &[40, 20]),
    );
    text
}

/// A heading and the first rows of a table; nothing for an empty one.
fn section(text: &mut String, title: &str, table: &str) {
    // Indented lines belong to the row above.
    let is_row = |row: &&str| !row.starts_with(' ');
    let rows = table.lines().skip(1).filter(is_row).count();
    if rows == 0 {
        return;
    }
    text.push('\n');
    line(text, title);
    let shown: Vec<_> = table.lines().take(1 + SUMMARY_ROWS).collect();
    for row in &shown {
        line(text, &format!("  {row}"));
    }
    let more = rows - shown[1..].iter().filter(|row| is_row(row)).count();
    if more > 0 {
        // Drops have no listing of their own.
        let listing = title.split_once(':').map_or("--json", |(listing, _)| listing);
        line(text, &format!("  … and {more} more: weft status {listing}"));
    }
}

/// The routers.
pub(crate) fn peers(peers: &[Peer]) -> String {
    let rows: Vec<_> = peers
        .iter()
        .map(|peer| {
            let reachable = if peer.own {
                "this router"
            } else if peer.reachable {
                "yes"
            } else {
                "no"
            };
            vec![
                peer.name.clone(),
                brief(&peer.peer_id),
                reachable.into(),
                peer.links.len().to_string(),
            ]
        })
        .collect();
    table(&["name", "id", "reachable", "links"], &rows, &[36, 12, 11, 5])
}

/// The connections. Why one failed stands with its target.
pub(crate) fn connections(connections: &[Connection]) -> String {
    let rows: Vec<_> = connections
        .iter()
        .map(|c| {
            let data = match (c.overlay, c.encrypted) {
                (None, _) => "-",
                (Some(Overlay::Sleeve), Some(false)) => "plain",
                (Some(Overlay::Fast), Some(true)) => "fast esp",
                (Some(overlay), _) => overlay_name(overlay),
            };
            let mtu = c.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string());
            let name = c.name.clone().unwrap_or_else(|| "-".into());
            let state = state_name(c.state).to_owned();
            vec![
                cut_middle(&c.address, 24),
                name,
                data.into(),
                mtu,
                time(c.rtt_us),
                state,
            ]
        })
        .collect();
    table(
        &["address", "name", "data", "mtu", "rtt", "state"],
        &rows,
        &[24, 14, 8, 5, 8, 11],
    )
}

/// Under the connections: why data takes sleeve, or what else is to be said of its way. One line for each reason.
pub(crate) fn reasons(connections: &[Connection]) -> String {
    said(connections.iter().filter_map(|connection| {
        let name = connection.name.as_deref().unwrap_or(&connection.address);
        Some((name, connection.overlay_reason.as_deref()?))
    }))
}

/// The same under the routes, where the way is over relays: what is direct stands with the connections.
pub(crate) fn route_reasons(routes: &[Route]) -> String {
    let relayed = routes.iter().filter(|route| !route.direct);
    said(relayed.filter_map(|route| Some((route.name.as_str(), route.overlay_reason.as_deref()?))))
}

fn said<'a>(of_each: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    const NAMED: usize = 3;
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in of_each {
        of.entry(reason).or_default().push(name);
    }
    let all = of.values().map(Vec::len).sum::<usize>();
    let line = |(reason, names): (&&str, &Vec<&str>)| {
        let who = match names.len() {
            count if count == all && count > 1 => "all".to_owned(),
            count if count > NAMED => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
            _ => names.join(", "),
        };
        wrapped(&format!("{who}: {reason}"))
    };
    of.iter().map(line).collect()
}

/// Text in lines that fit, all but the first a little to the right.
fn wrapped(text: &str) -> String {
    let (mut lines, mut room) = (String::new(), WIDTH);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if length + 1 > room {
            lines.push_str("\n ");
            room = WIDTH - 1;
        }
        if !lines.is_empty() {
            lines.push(' ');
            room = room.saturating_sub(1);
        }
        lines.push_str(word);
        room = room.saturating_sub(length);
    }
    lines.push('\n');
    lines
}

/// The routes.
pub(crate) fn routes(routes: &[Route]) -> String {
    let rows: Vec<_> = routes
        .iter()
        .map(|route| {
            let (relays, _) = route.path.split_at(route.path.len().saturating_sub(1));
            let way = if route.direct {
                "direct".into()
            } else {
                format!("by {}", relays.join(", "))
            };
            vec![
                route.name.clone(),
                route.hops.to_string(),
                time(Some(route.cost_us)),
                way,
            ]
        })
        .collect();
    table(&["to", "hops", "cost", "way"], &rows, &[24, 4, 9, 35])
}

/// The targets, each with the reason why the last try failed in a line below.
pub(crate) fn targets(targets: &[Target]) -> String {
    let rows: Vec<_> = targets
        .iter()
        .map(|target| {
            let next = target
                .next_try_ms
                .map_or_else(|| "-".into(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
            vec![
                cut_middle(&target.address, 50),
                state_name(target.state).into(),
                next,
            ]
        })
        .collect();
    let table = table(&["address", "state", "next try"], &rows, &[50, 11, 8]);
    let mut text = String::new();
    let errors = std::iter::once(None).chain(targets.iter().map(|target| target.error.as_ref()));
    for (row, error) in table.lines().zip(errors) {
        line(&mut text, row);
        if let Some(error) = error {
            line(&mut text, &cut(&format!("  {error}"), WIDTH - 2));
        }
    }
    text
}

/// The containers.
pub(crate) fn attachments(attachments: &[Attachment]) -> String {
    let mut rows = Vec::new();
    for attachment in attachments {
        let mut first = Some(attachment);
        for address in &attachment.addresses {
            let shown = first.take();
            let container = shown.map_or_else(String::new, |a| {
                a.pid
                    .map_or_else(|| cut_middle(&a.netns, 24), |pid| format!("pid {pid}"))
            });
            let ifname = shown.map_or_else(String::new, |a| a.ifname.clone());
            rows.push(vec![container, ifname, address.clone()]);
        }
    }
    table(&["container", "interface", "address"], &rows, &[24, 15, 39])
}

pub(super) fn brief(id: &str) -> String {
    id.get(..12).unwrap_or(id).to_owned()
}

fn overlay_name(overlay: Overlay) -> &'static str {
    match overlay {
        Overlay::Sleeve => "sleeve",
        Overlay::Fast => "fast",
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Established => "established",
        State::Handshaking => "handshaking",
        State::Connecting => "connecting",
        State::Retrying => "retrying",
        State::Failed => "failed",
    }
}

/// Microseconds in the unit that reads best.
pub(crate) fn time(us: Option<u64>) -> String {
    match us {
        None => "-".into(),
        Some(us) if us < 1000 => format!("{us} us"),
        Some(us) if us < 10_000_000 => format!("{:.1} ms", us as f64 / 1000.0),
        Some(us) => format!("{:.1} s", us as f64 / 1_000_000.0),
    }
}

/// Columns as wide as their content, each at most `most`, two blanks apart. The last column takes what is left.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>], most: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([heads[column].len()])
            .max()
            .unwrap_or(0)
            .min(most[column])
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let taken: usize = widths.iter().take(heads.len() - 1).map(|width| width + 2).sum();
    let last = (WIDTH - 2).saturating_sub(taken);
    let mut text = String::new();
    let heads: Vec<_> = heads.iter().map(|&head| head.to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let mut cells = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == row.len() {
                cells.push_str(&cut(cell, last));
            } else {
                let width = widths[column];
                let _ = write!(cells, "{:width$}  ", cut(cell, width));
            }
        }
        line(&mut text, cells.trim_end());
    }
    text
}

/// `text` in at most `width` characters, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `text` in at most `width` characters, its beginning and its end: the ends of addresses tell most.
pub(super) fn cut_middle(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let head = width / 3;
    let tail = width - head - 1;
    let mut short: String = text.chars().take(head).collect();
    short.push('…');
    short.extend(text.chars().skip(length - tail));
    short
}

pub(super) fn line(text: &mut String, line: &str) {
    text.push_str(&cut(line, WIDTH));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::Direction;
    use std::collections::BTreeMap;

    /// A mesh of `n` routers as the first of them sees it, with long names and addresses among them.
    fn mesh_of(n: usize) -> Status {
        let name = |i: usize| {
            if i % 7 == 6 {
                format!("a-host-with-a-rather-long-name-{i:02}.example.org")
            } else {
                format!("host-{i:02}")
            }
        };
        let id = |i: usize| format!("{i:02x}").repeat(32);
        let address = |i: usize| {
            if i % 5 == 4 {
                format!("[2001:db8:1234:5678:9abc:def0:1234:{i:x}]:6783")
            } else {
                format!("10.0.0.{i}:6783")
            }
        };
        let others = 1..n;
        Status {
            version: "0.1.0".into(),
            name: name(0),
            peer_id: id(0),
            encrypted: true,
            listen: "[::]:6783".into(),
            peers: (0..n)
                .map(|i| Peer {
                    peer_id: id(i),
                    name: name(i),
                    own: i == 0,
                    reachable: i % 11 != 10,
                    sessions: 1,
                    links: vec![
                        PeerLink {
                            peer_id: id(0),
                            rtt_us: 900
                        };
                        if i == 0 { n - 1 } else { 1 }
                    ],
                })
                .collect(),
            connections: others
                .clone()
                .map(|i| connection(i, &id(i), &name(i), address(i)))
                .collect(),
            routes: others
                .clone()
                .map(|i| {
                    let path = if i % 3 == 0 {
                        vec![name(1), name(6), name(i)]
                    } else {
                        vec![name(i)]
                    };
                    let (hops, direct) = (path.len(), path.len() == 1);
                    let cost_us = 450 * i as u64;
                    Route {
                        peer_id: id(i),
                        name: name(i),
                        path,
                        hops,
                        cost_us,
                        overlay: Overlay::Sleeve,
                        overlay_reason: (!direct).then(|| {
                            let slow = "the hop from host-01 to host-03 is not fast; `weft status connections` on host-01 says why";
                            if i == 3 { slow.into() } else { "encryption is on, and relays would see frames: host-06 lacks --fast-relay".into() }
                        }),
                        stale: false,
                        direct,
                    }
                })
                .collect(),
            targets: others
                .map(|i| Target {
                    address: address(i),
                    state: if i % 4 == 3 {
                        State::Retrying
                    } else {
                        State::Established
                    },
                    next_try_ms: (i % 4 == 3).then_some(12_340),
                    error: (i % 4 == 3)
                        .then(|| "the other router refused the secret: it belongs to another mesh".into()),
                })
                .collect(),
            attachments: vec![Attachment {
                netns: "/run/netns/a-container-with-quite-a-long-name".into(),
                pid: None,
                ifname: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                addresses: vec![
                    "10.32.0.1/12".into(),
                    "fd00:1234:5678:9abc:def0:1234:5678:1/64".into(),
                ],
            }],
            drops: BTreeMap::from([("garbage".into(), 12), ("no_session".into(), 3)]),
        }
    }

    use super::super::model::PeerLink;

    fn connection(i: usize, id: &str, name: &str, address: String) -> Connection {
        let up = i % 4 != 3;
        Connection {
            address,
            peer_id: up.then(|| id.to_owned()),
            name: up.then(|| name.to_owned()),
            state: if up { State::Established } else { State::Retrying },
            direction: Direction::Out,
            overlay: up.then_some(Overlay::Sleeve),
            overlay_reason: up.then(|| {
                let blocked = "nothing comes back from UDP port 6784 at 10.0.0.4 (is it blocked?)";
                let encrypted = "encryption is on, and that router has no ESP";
                if i == 4 { blocked.into() } else { encrypted.into() }
            }),
            stale: up.then_some(false),
            encrypted: up.then_some(i % 6 != 5),
            mtu: up.then_some(1500),
            rtt_us: up.then_some(300 * i as u64),
            error: (!up).then(|| "no answer: is a router running there, and is its UDP port open?".into()),
        }
    }

    fn golden(name: &str, text: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
        if std::env::var_os("WEFT_BLESS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            expected,
            "differs from {}; WEFT_BLESS=1 rewrites it",
            path.display()
        );
        for line in text.lines() {
            assert!(
                line.chars().count() <= WIDTH,
                "{} columns: {line}",
                line.chars().count()
            );
        }
    }

    #[test]
    fn five_routers_fit_the_terminal() {
        golden("status-5.txt", &summary(&mesh_of(5)));
    }

    #[test]
    fn fifty_routers_fit_the_terminal() {
        let status = mesh_of(50);
        golden("status-50.txt", &summary(&status));
        golden("connections-50.txt", &connections(&status.connections));
        golden("reasons-50.txt", &reasons(&status.connections));
        golden("peers-50.txt", &peers(&status.peers));
        golden("routes-50.txt", &routes(&status.routes));
        golden("route-reasons-50.txt", &route_reasons(&status.routes));
        golden("targets-50.txt", &targets(&status.targets));
        golden("attachments.txt", &attachments(&status.attachments));
    }

    #[test]
    fn an_empty_router_shows_no_empty_tables() {
        let mut status = mesh_of(1);
        status.attachments.clear();
        status.drops.clear();
        assert_eq!(summary(&status).matches("\n\n").count(), 1);
    }

    #[test]
    fn times_read_well() {
        assert_eq!(
            [None, Some(999), Some(1500), Some(12_000_000)].map(time),
            ["-", "999 us", "1.5 ms", "12.0 s"]
        );
    }
}
