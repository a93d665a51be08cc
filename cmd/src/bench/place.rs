//! Two hosts with a wire between them, or three in a line, and what carries traffic over it.

use super::INNER_MTU;
use crate::demo::host::{Host, LEAVE};
use crate::demo::janitor::Janitor;
use crate::demo::limits::Limits;
use crate::demo::ping::Pinger;
use crate::demo::world::Directory;
use anyhow::{Context, Result};
use clap::ValueEnum;
use fastpath::NetNs;
use fastpath::wire::{self as cable, End};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

/// MTU of the wires.
const MTU: u16 = 1500;
/// How long a way may take to open.
const OPENING: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(20);

/// What carries the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// The bare wire: what the kernel does without anything in between.
    Wire,
    /// VXLAN of the kernel, without a cipher.
    Vxlan,
    /// Two routers, AES-256-GCM.
    Aes,
    /// Two routers, ChaCha20-Poly1305.
    Chacha,
    /// Three routers in a line, AES-256-GCM.
    Relay,
    /// Two routers, AES-256-GCM, one frame at a time.
    Simple,
}

impl Kind {
    /// All, in the order in which they take turns.
    pub(crate) const ALL: &[Self] = &[
        Self::Wire,
        Self::Vxlan,
        Self::Aes,
        Self::Chacha,
        Self::Relay,
        Self::Simple,
    ];

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Wire | Self::Vxlan => &[],
            Self::Aes | Self::Relay => &["--cipher", "aes-256-gcm"],
            Self::Chacha => &["--cipher", "chacha20-poly1305"],
            Self::Simple => &["--cipher", "aes-256-gcm", "--no-offload"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wire => "bare wire",
            Self::Vxlan => "kernel VXLAN, no cipher",
            Self::Aes => "weft, AES-256-GCM",
            Self::Chacha => "weft, ChaCha20-Poly1305",
            Self::Relay => "weft, by a relay, AES",
            Self::Simple => "weft, frame by frame, AES",
        })
    }
}

/// Where traffic begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) from: &'a NetNs,
    pub(crate) to: &'a NetNs,
    /// That of the far end.
    pub(crate) address: IpAddr,
}

/// One of them, built.
#[derive(Debug)]
pub(crate) struct Place {
    kind: Kind,
    hosts: Vec<Host>,
    directory: Directory,
    address: IpAddr,
}

impl Place {
    /// Builds hosts and wires, launches what runs there, and waits until the far end can be reached.
    pub(crate) fn build(kind: Kind, program: &Path, janitor: &mut Janitor, limits: &Limits) -> Result<Self> {
        let directory = Directory::make(janitor)?;
        let names: &[&'static str] = match kind {
            Kind::Relay => &["left", "right", "relay"],
            _ => &["left", "right"],
        };
        let hosts = names
            .iter()
            .map(|name| Host::build(name, program, directory.path()));
        let mut place = Self {
            kind,
            hosts: hosts.collect::<Result<_>>()?,
            directory,
            address: Ipv4Addr::new(10, 77, 1, 2).into(),
        };
        match kind {
            Kind::Relay => {
                place.lay(0, 2, 1)?;
                place.lay(1, 2, 2)?;
            }
            _ => place.lay(0, 1, 1)?,
        }
        match kind {
            Kind::Wire => {}
            Kind::Vxlan => place.tunnel()?,
            _ => place.launch(janitor, limits)?,
        }
        let ends = place.ends();
        Pinger::open(ends.from, ends.address)?.first(OPENING, limits)?;
        // The path's MTU is found a moment after the path.
        std::thread::sleep(Duration::from_millis(if place.has_routers() {
            1500
        } else {
            100
        }));
        Ok(place)
    }

    /// A wire of network `number` between two hosts.
    fn lay(&self, left: usize, right: usize, number: u8) -> Result<()> {
        let ifname = if number == 1 { "eth1" } else { "eth2" };
        let end = |host: usize| End {
            netns: &self.hosts[host].netns,
            ifname,
        };
        cable::connect(end(left), end(right), MTU)?;
        for (host, last) in [(left, 1), (right, 2)] {
            cable::add_address(end(host), Ipv4Addr::new(10, 77, number, last).into(), 24)?;
            cable::carry_packets(end(host))?;
        }
        Ok(())
    }

    fn tunnel(&mut self) -> Result<()> {
        let outer = [1, 2].map(|last| Ipv4Addr::new(10, 77, 1, last));
        for (host, (local, remote)) in self
            .hosts
            .iter()
            .zip([(outer[0], outer[1]), (outer[1], outer[0])])
        {
            let end = End {
                netns: &host.netns,
                ifname: "vxlan0",
            };
            cable::tunnel(end, 42, local, remote, 4789)?;
            cable::set_mtu(end, INNER_MTU)?;
            let inner = Ipv4Addr::new(10, 78, 0, local.octets()[3]);
            cable::add_address(end, inner.into(), 24)?;
        }
        self.address = Ipv4Addr::new(10, 78, 0, 2).into();
        Ok(())
    }

    fn launch(&mut self, janitor: &mut Janitor, limits: &Limits) -> Result<()> {
        let mtu = INNER_MTU.to_string();
        let mut options = vec!["--overlay", "sleeve", "--mtu", &mtu];
        options.extend(self.kind.options());
        // In a line all join by the one in the middle.
        let mut order: Vec<_> = (0..self.hosts.len()).rev().collect();
        let first = order.remove(0);
        self.hosts[first].launch_with(&options, None, limits, janitor)?;
        let invite = self.hosts[first].call(&["invite"], limits)?;
        for n in order {
            self.hosts[n].launch_with(&options, Some(invite.trim()), limits, janitor)?;
        }
        let all = self.hosts.len();
        limits.wait("the routers to see each other", OPENING, PAUSE, || {
            for host in &self.hosts {
                if host.status(limits)?.reachable() < all {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        for (n, host) in self.hosts.iter().enumerate().take(2) {
            host.attach(&[format!("10.79.0.{}/24", n + 1)], limits)?;
        }
        self.address = Ipv4Addr::new(10, 79, 0, 2).into();
        Ok(())
    }

    /// Whether anything but the kernel carries the traffic.
    pub(crate) fn has_routers(&self) -> bool {
        !matches!(self.kind, Kind::Wire | Kind::Vxlan)
    }

    /// Where traffic begins and ends.
    pub(crate) fn ends(&self) -> Ends<'_> {
        let end = |n: usize| match self.has_routers() {
            true => &self.hosts[n].container,
            false => &self.hosts[n].netns,
        };
        Ends {
            from: end(0),
            to: end(1),
            address: self.address,
        }
    }

    /// The processor time that all routers have spent so far.
    pub(crate) fn spent(&self) -> Result<Duration> {
        let mut total = Duration::ZERO;
        for host in self.hosts.iter().filter(|_| self.has_routers()) {
            let tasks = format!("/proc/{}/task", host.pid()?);
            for task in std::fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
                // A thread may have ended since; what it spent was little.
                let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
                    continue;
                };
                let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
                total += Duration::from_nanos(nanoseconds.unwrap_or(0));
            }
        }
        Ok(total)
    }

    /// The most memory that any router holds, in MiB.
    pub(crate) fn resident(&self) -> Result<Option<f64>> {
        let mut most = None;
        for host in self.hosts.iter().filter(|_| self.has_routers()) {
            let path = format!("/proc/{}/status", host.pid()?);
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            let kib = text.lines().find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .split_whitespace()
                    .next()?
                    .parse::<f64>()
                    .ok()
            });
            most = most.into_iter().chain(kib).reduce(f64::max);
        }
        Ok(most.map(|kib| kib / 1024.0))
    }

    /// The ends of the routers' logs, for whoever wants to know why something failed.
    pub(crate) fn print_logs(&self) {
        for host in self.hosts.iter().filter(|_| self.has_routers()) {
            eprintln!("--- the end of {}'s log", host.name);
            for line in host.log_tail() {
                eprintln!("{line}");
            }
        }
    }

    /// Stops the routers and removes everything.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.hosts.iter().for_each(Host::ask_to_stop);
        let until = Instant::now() + LEAVE;
        for host in &mut self.hosts {
            host.stop(until);
        }
        self.directory.remove()
    }
}
