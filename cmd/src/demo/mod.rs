//! `weft demo`: a mesh of three real routers on one machine, shown and measured, then removed without a trace.
//!
//! ```text
//! world (three namespaces, two wires) ─► host (routers, by the command line) ─► attach
//!     ─► ping ─► transfer, while capture listens on both wires ─► memory ─► outage ─► report
//! ```
//! It needs root or a user namespace, and nothing installed. Each step has a time limit, and so has the whole. What
//! it makes goes by itself when it ends; the [`janitor`] sees to the rest even after `kill -9`.

mod capture;
pub(crate) mod host;
pub(crate) mod janitor;
pub(crate) mod limits;
mod marker;
mod memory;
mod outage;
pub(crate) mod ping;
pub(crate) mod report;
mod transfer;
pub(crate) mod world;

use anyhow::{Context, Result, bail};
use capture::Capture;
use janitor::Janitor;
use limits::Limits;
use marker::Needle;
use outage::Noticed;
use ping::Pinger;
use report::{Notes, Report, megabytes, speed, time};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use transfer::{Ends, PAYLOAD};
use world::{ALICE, BOB, FIRST, RELAY, SECOND, World, container_addresses, container_cidrs, drawing};

/// The time for everything but the final clean-up.
const TOTAL: Duration = Duration::from_secs(54);
/// The time in which routers that were launched must see each other.
const MEETING: Duration = Duration::from_secs(10);
/// The time in which an attached container must be reachable.
const ATTACHED: Duration = Duration::from_secs(8);
/// Where TAP devices come from.
const TUN: &str = "/dev/net/tun";
/// Pings of each series.
const PINGS: usize = 200;

/// Runs the demo. To be called before any thread is started.
pub(crate) fn run() -> Result<()> {
    if janitor::is_wanted() {
        janitor::serve();
        return Ok(());
    }
    let user_namespace = !fastpath::user::is_root();
    if user_namespace {
        fastpath::user::enter_user_namespace()?;
    }
    check_tun(user_namespace)?;
    let program = std::env::current_exe().context("find this program's own file")?;
    let limits = Limits::start(TOTAL)?;
    let mut janitor = Janitor::start(&program)?;
    let mut report = Report::start();
    introduce(&report, user_namespace);

    let mut world = report.step("build three hosts and two wires", |notes| {
        notes.figure = "alice and bob have no wire".into();
        World::build(&program, &mut janitor)
    })?;
    let shown = Tour {
        limits: &limits,
        marker: Needle::random(),
    }
    .all(&mut world, &mut report, &mut janitor);
    if shown.is_err() && !limits.interrupted() {
        print_logs(&mut world);
    }
    let removed = report.step("stop the routers, remove everything", |notes| {
        notes.figure = "nothing is left".into();
        world.remove()
    });
    report.finish(limits.interrupted());
    if limits.interrupted() {
        bail!("interrupted");
    }
    shown.and(removed)
}

/// Without TAP devices no container can be attached: better said before anything is made.
fn check_tun(user_namespace: bool) -> Result<()> {
    let hint = if user_namespace {
        "not open to you: run the demo as root"
    } else {
        "not there or not usable (`modprobe tun`?)"
    };
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(TUN)
        .map(|_| ())
        .with_context(|| format!("the demo needs {TUN}, which is {hint}"))
}

fn introduce(report: &Report, user_namespace: bool) {
    let means = if user_namespace {
        "network namespaces inside a user namespace, because you are not root"
    } else {
        "network namespaces"
    };
    report.line("\n  Three hosts on this machine, in a line. alice and bob share no wire: what their");
    report.line("  containers say to each other goes over the relay, which can't read it.\n");
    report.line(&drawing());
    report.line(&format!("  Made of {means}.\n"));
}

/// The ends of the routers' logs, for whoever wants to know why a step failed.
fn print_logs(world: &mut World) {
    for host in [&mut world.alice, &mut world.relay, &mut world.bob] {
        let ended = host.ended().map(|how| format!("; its router ended: {how}"));
        eprintln!(
            "\n--- the end of {}'s log{}",
            host.name,
            ended.unwrap_or_default()
        );
        for line in host.log_tail() {
            eprintln!("{line}");
        }
    }
    eprintln!();
}

/// The steps between building the world and removing it.
struct Tour<'a> {
    limits: &'a Limits,
    /// What is in every block of the payload.
    marker: Needle,
}

impl Tour<'_> {
    fn all(&self, world: &mut World, report: &mut Report, janitor: &mut Janitor) -> Result<()> {
        self.launch(world, report, janitor)?;
        report.step("attach a container on each host", |notes| {
            self.attach(world, notes)
        })?;
        let (v4, v6) = container_addresses(3);
        for (family, address) in [("IPv4", IpAddr::V4(v4)), ("IPv6", IpAddr::V6(v6))] {
            let title = format!("ping from alice's container to bob's, {family}");
            report.step(&title, |notes| self.ping(world, address, family, notes))?;
        }
        self.payload(world, v4.into(), report)?;
        report.step("ask the relay what it sees", |notes| self.status(world, notes))?;
        let mut pinger = Pinger::open(&world.alice.container, v4.into())?;
        report.step("cut the wire between alice and relay", |notes| {
            let Noticed { near, far } = outage::cut(world, &mut pinger, self.limits)?;
            notes.figure = format!("noticed after {}", time(near));
            notes.measured("wire cut: noticed by alice", time(near));
            notes.measured("wire cut: known to bob", time(far));
            Ok(())
        })?;
        report.step("mend it", |notes| {
            let back = outage::heal(world, v4.into(), self.limits)?;
            notes.figure = format!("traffic is back after {}", time(back));
            notes.measured("wire mended: traffic back", time(back));
            Ok(())
        })
    }

    fn launch(&self, world: &mut World, report: &mut Report, janitor: &mut Janitor) -> Result<()> {
        let limits = self.limits;
        let invite = report.step("launch the relay; it makes the secret", |notes| {
            let up = world.relay.launch(None, limits, janitor)?;
            notes.figure = format!("answers after {}", time(up));
            notes.measured("router launched: answers its socket", time(up));
            world.relay.call(&["invite"], limits)
        })?;
        report.step("launch alice and bob with the relay's invite", |notes| {
            let invite = Some(invite.trim());
            world.alice.launch(invite, limits, janitor)?;
            world.bob.launch(invite, limits, janitor)?;
            let all = [&world.alice, &world.relay, &world.bob];
            let what = "the three routers to see each other";
            let (_, met) = limits.wait(what, MEETING, Duration::from_millis(20), || {
                for host in all {
                    if host.status(limits)?.reachable() < all.len() {
                        return Ok(None);
                    }
                }
                let there = world.alice.status(limits)?.path(BOB) == [RELAY, BOB];
                let back = world.bob.status(limits)?.path(ALICE) == [RELAY, ALICE];
                Ok((there && back).then_some(()))
            })?;
            notes.figure = format!("all see all after {}", time(met));
            notes.measured("last launch: all three see all three", time(met));
            Ok(())
        })
    }

    fn attach(&self, world: &World, notes: &mut Notes) -> Result<()> {
        let mut longest = Duration::ZERO;
        for (host, number) in [(&world.alice, 1), (&world.relay, 2), (&world.bob, 3)] {
            longest = longest.max(host.attach(&container_cidrs(number), self.limits)?);
        }
        let (bob, _) = container_addresses(3);
        let first = Pinger::open(&world.alice.container, bob.into())?.first(ATTACHED, self.limits)?;
        notes.figure = format!("reachable after {}", time(first));
        notes.measured("weft attach, the slowest of three", time(longest));
        notes.measured("attached: first ping across the relay", time(first));
        Ok(())
    }

    fn ping(&self, world: &World, to: IpAddr, family: &str, notes: &mut Notes) -> Result<()> {
        let mut pinger = Pinger::open(&world.alice.container, to)?;
        pinger.first(ATTACHED, self.limits)?;
        let times = pinger.series(PINGS, self.limits)?;
        let (median, p99) = (time(times.percentile(50)), time(times.percentile(99)));
        notes.figure = format!("median {median}");
        notes.measured(
            format!("ping {family}: median, p99 of {}, lost", times.count()),
            format!("{median}, {p99}, {}", times.lost),
        );
        Ok(())
    }

    /// Moves the payload, and looks for it where it must not be.
    fn payload(&self, world: &World, to: IpAddr, report: &mut Report) -> Result<()> {
        let capture = Capture::start(world, &[FIRST, SECOND], &self.marker)?;
        let mut progress = Some(report.progress(PAYLOAD));
        report.step("move 100 MB over TCP from alice to bob", |notes| {
            let ends = Ends {
                from: &world.alice.container,
                to: &world.bob.container,
                address: to,
            };
            let moved = transfer::transfer(ends, &self.marker, &capture, self.limits, |done| {
                if let Some(progress) = &mut progress {
                    progress.set(done);
                }
            });
            drop(progress.take());
            let moved = moved?;
            notes.figure = format!("{}, SHA-256 agrees", speed(PAYLOAD, moved.time));
            notes.measured(
                "TCP, 100 MB over the relay",
                format!("{}, {}", time(moved.time), speed(PAYLOAD, moved.time)),
            );
            let checksum: String = moved
                .checksum
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            notes.measured("SHA-256, the same at both ends", format!("{checksum}…"));
            Ok(())
        })?;
        report.step("look for the payload in the relay's memory", |notes| {
            self.memory(world, notes)
        })?;
        report.step("look for the payload on both wires", |notes| {
            self.wires(world, &capture, notes)
        })
    }

    fn wires(&self, world: &World, capture: &Capture, notes: &mut Notes) -> Result<()> {
        let overheard = capture.overheard(world)?;
        for heard in &overheard {
            let name = heard.wire.name;
            if heard.marked > 0 {
                bail!(
                    "{} frames on the wire {name} show the payload in clear",
                    heard.marked
                );
            }
            if heard.bytes < PAYLOAD {
                bail!(
                    "only {} of the {} that crossed the wire {name} were captured, less than the payload: \
                     this proves nothing",
                    megabytes(heard.bytes),
                    megabytes(heard.crossed)
                );
            }
            notes.measured(
                format!("captured on the wire {name}"),
                format!("{} of {}", megabytes(heard.bytes), megabytes(heard.crossed)),
            );
        }
        for wire in [FIRST, SECOND] {
            world.send_in_clear(wire, self.marker.bytes())?;
            capture
                .await_marked(wire, self.limits)
                .context("the same marker was then sent in clear, and the search did not find it")?;
        }
        let bytes = overheard.iter().map(|heard| heard.bytes).sum();
        notes.figure = format!("not in {}", megabytes(bytes));
        notes.measured("frames with the payload in clear", "0");
        notes.measured("the same search, marker sent in clear", "found on both wires");
        Ok(())
    }

    fn memory(&self, world: &World, notes: &mut Notes) -> Result<()> {
        let control = world.relay.state_dir();
        let control = Needle::new(control.as_os_str().as_bytes());
        let Some(searched) = memory::search(world.relay.pid()?, &self.marker, &control)? else {
            notes.skip("not permitted here");
            return Ok(());
        };
        if searched.marker {
            bail!("the payload is in the memory of the relay's router");
        }
        if !searched.control {
            bail!("not even the router's own arguments were found in its memory: this proves nothing");
        }
        notes.figure = format!("not in {}", megabytes(searched.bytes));
        notes.measured(
            "payload in the relay's memory",
            format!("not in {}", megabytes(searched.bytes)),
        );
        Ok(())
    }

    fn status(&self, world: &World, notes: &mut Notes) -> Result<()> {
        if !world.relay.status(self.limits)?.encrypted {
            bail!("the relay says that not everything is encrypted");
        }
        notes.figure = "weft status connections".into();
        notes.show(&world.relay.call(&["status", "connections"], self.limits)?);
        Ok(())
    }
}
