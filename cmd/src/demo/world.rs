//! The little world of the demo: three hosts in a line, two wires, a private directory.
//!
//! The wires have nothing in common, not even the family of their addresses: what alice and bob exchange passes
//! the relay's router or does not pass.

use super::host::{Host, LEAVE};
use super::janitor::Janitor;
use anyhow::{Context, Result, bail};
use fastpath::wire::{self as cable, End};
use rand_core::{OsRng, RngCore};
use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// MTU of the wires, in bytes.
const MTU: u16 = 1500;
/// Longest path a directory may have, so that the sockets in it fit a socket's address (108 bytes).
const LONGEST_DIRECTORY: usize = 80;
/// The discard port (RFC 863), on which nobody listens.
const DISCARD: u16 = 9;
/// Network and prefix length of the containers' addresses.
const OVERLAY_V4: ([u8; 3], u8) = ([10, 32, 0], 24);
const OVERLAY_V6: ([u16; 2], u8) = ([0xfd00, 0x32], 64);

/// The names of the hosts.
pub(crate) const ALICE: &str = "alice";
/// The one in the middle.
pub(crate) const RELAY: &str = "relay";
/// The other end.
pub(crate) const BOB: &str = "bob";

/// A wire between the relay and one of the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    /// What it is called in the report.
    pub(crate) name: &'static str,
    /// The relay's interface on it.
    pub(crate) interface: &'static str,
    outer: IpAddr,
    inner: IpAddr,
    prefix: u8,
}

/// alice to relay, IPv4.
pub(crate) const FIRST: Wire = Wire {
    name: "alice – relay",
    interface: "eth0",
    outer: IpAddr::V4(Ipv4Addr::new(10, 77, 1, 1)),
    inner: IpAddr::V4(Ipv4Addr::new(10, 77, 1, 2)),
    prefix: 24,
};

/// relay to bob, IPv6.
pub(crate) const SECOND: Wire = Wire {
    name: "relay – bob",
    interface: "eth1",
    outer: IpAddr::V6(Ipv6Addr::new(0xfd77, 2, 0, 0, 0, 0, 0, 1)),
    inner: IpAddr::V6(Ipv6Addr::new(0xfd77, 2, 0, 0, 0, 0, 0, 2)),
    prefix: 64,
};

/// The hosts, and the directory with their files. Dropping it removes all of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) alice: Host,
    pub(crate) relay: Host,
    pub(crate) bob: Host,
    directory: Directory,
}

impl World {
    /// Builds hosts and wires; no router runs yet.
    pub(crate) fn build(program: &Path, janitor: &mut Janitor) -> Result<Self> {
        let directory = Directory::make(janitor)?;
        let host = |name| Host::build(name, program, &directory.0);
        let world = Self {
            alice: host(ALICE)?,
            relay: host(RELAY)?,
            bob: host(BOB)?,
            directory,
        };
        for wire in [FIRST, SECOND] {
            let (inner, outer) = (world.inner_end(wire), world.outer_end(wire));
            cable::connect(outer, inner, MTU)?;
            cable::add_address(outer, wire.outer, wire.prefix)?;
            cable::add_address(inner, wire.inner, wire.prefix)?;
        }
        world.check_apart()?;
        Ok(world)
    }

    /// The relay's end of a wire.
    pub(crate) fn inner_end(&self, wire: Wire) -> End<'_> {
        End {
            netns: &self.relay.netns,
            ifname: wire.interface,
        }
    }

    fn outer_host(&self, wire: Wire) -> &Host {
        if wire.outer.is_ipv4() {
            &self.alice
        } else {
            &self.bob
        }
    }

    fn outer_end(&self, wire: Wire) -> End<'_> {
        End {
            netns: &self.outer_host(wire).netns,
            ifname: "eth0",
        }
    }

    /// alice and bob must have no way to each other but the mesh.
    fn check_apart(&self) -> Result<()> {
        for (from, to) in [(FIRST, SECOND), (SECOND, FIRST)] {
            let host = self.outer_host(from);
            if host.netns.run(|| open_toward(to.outer))?.is_ok() {
                bail!("{} has a way to {} without the mesh", host.name, to.outer);
            }
        }
        Ok(())
    }

    /// Sends `bytes` in clear over a wire, from the outer host to the relay.
    pub(crate) fn send_in_clear(&self, wire: Wire, bytes: &[u8]) -> Result<()> {
        let host = self.outer_host(wire);
        let sent = host
            .netns
            .run(|| open_toward(wire.inner).and_then(|socket| socket.send(bytes)))?;
        sent.with_context(|| format!("send a datagram from {} to {}", host.name, wire.inner))?;
        Ok(())
    }

    /// Stops the routers and removes the directory; says so if a router had to be killed.
    pub(crate) fn remove(&mut self) -> Result<()> {
        let hosts = [&mut self.alice, &mut self.relay, &mut self.bob];
        hosts.iter().for_each(|host| host.ask_to_stop());
        let until = Instant::now() + LEAVE;
        let stubborn: Vec<_> = hosts
            .into_iter()
            .filter_map(|host| (!host.stop(until)).then_some(host.name))
            .collect();
        self.directory.remove()?;
        if stubborn.is_empty() {
            return Ok(());
        }
        bail!("killed because SIGTERM did not end them: {}", stubborn.join(", "));
    }
}

/// A UDP socket toward `address`; fails when there is no route.
fn open_toward(address: IpAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect((address, DISCARD))?;
    Ok(socket)
}

/// The addresses of container number `n`: IPv4, IPv6.
pub(crate) fn container_addresses(n: u8) -> (Ipv4Addr, Ipv6Addr) {
    let [a, b, c] = OVERLAY_V4.0;
    let [d, e] = OVERLAY_V6.0;
    (
        Ipv4Addr::new(a, b, c, n),
        Ipv6Addr::new(d, e, 0, 0, 0, 0, 0, n.into()),
    )
}

/// The same, with prefix lengths, as `weft attach` takes them.
pub(crate) fn container_cidrs(n: u8) -> [String; 2] {
    let (v4, v6) = container_addresses(n);
    [format!("{v4}/{}", OVERLAY_V4.1), format!("{v6}/{}", OVERLAY_V6.1)]
}

/// What stands in the terminal first.
pub(crate) fn drawing() -> String {
    let ((alice4, alice6), (relay4, relay6), (bob4, bob6)) = (
        container_addresses(1),
        container_addresses(2),
        container_addresses(3),
    );
    let row = |left: &dyn ToString, middle: &dyn ToString, right: &dyn ToString| {
        let boxed = |text: &dyn ToString| format!("│{:^16}│", text.to_string());
        format!(
            "   {}          {}          {}\n",
            boxed(left),
            boxed(middle),
            boxed(right)
        )
    };
    let line = |left: char, right: char| {
        let edge = format!("{left}{}{right}", "─".repeat(16));
        format!("   {edge}          {edge}          {edge}\n")
    };
    let mut text = format!("   {ALICE:^18}          {RELAY:^18}          {BOB:^18}\n");
    text += &line('┌', '┐');
    text += &row(&"router", &"router", &"router").replacen("│          │", "├── IPv4 ──┤", 1);
    text = text.replacen("│          │", "├── IPv6 ──┤", 1);
    text += &line('├', '┤');
    text += &row(&"container", &"container", &"container");
    text += &row(&alice4, &relay4, &bob4);
    text += &row(&alice6, &relay6, &bob6);
    text += &line('└', '┘');
    text
}

/// A directory that only its owner may read, and that goes with this value.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it; the janitor will remove it whatever happens.
    pub(crate) fn make(janitor: &mut Janitor) -> Result<Self> {
        let mut parent = std::env::temp_dir();
        if parent.as_os_str().as_bytes().len() > LONGEST_DIRECTORY - 30 {
            parent = PathBuf::from("/tmp");
        }
        let path = parent.join(format!("weft-demo-{:016x}", OsRng.next_u64()));
        // Told first: whatever happens now, it will be removed.
        janitor.remove_later(&path)?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("make the directory {}", path.display()))?;
        Ok(Self(path))
    }

    /// Removes it now.
    pub(crate) fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The janitor tries again.
        let _ = self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_fits_a_terminal_and_has_both_wires() {
        let drawing = drawing();
        assert!(
            drawing.lines().all(|line| line.chars().count() <= 80),
            "{drawing}"
        );
        for part in [
            "alice",
            "bob",
            "├── IPv4 ──┤",
            "├── IPv6 ──┤",
            "10.32.0.3",
            "fd00:32::1",
        ] {
            assert!(drawing.contains(part), "{part} is not in\n{drawing}");
        }
    }

    #[test]
    fn containers_have_an_address_of_each_family() {
        assert_eq!(container_cidrs(2), ["10.32.0.2/24", "fd00:32::2/64"]);
    }
}
