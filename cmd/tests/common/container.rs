//! A container: a namespace that a router gave an interface.

use super::{Host, Outcome, run_in, until};
use fastpath::NetNs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

/// Longest time until two containers can talk.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container with the interface `eth0`.
pub struct Container {
    pub netns: NetNs,
    pub v4: IpAddr,
    pub v6: IpAddr,
}

impl Container {
    /// A namespace that is not attached, and the addresses it would get.
    pub fn detached(number: u8) -> Self {
        Self {
            netns: NetNs::create_anonymous().unwrap(),
            v4: Ipv4Addr::new(10, 32, 0, number).into(),
            v6: Ipv6Addr::new(0xfd32, 0, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// A new container on `host`.
    pub fn attach(host: &Host, number: u8) -> Self {
        let container = Self::detached(number);
        container.attach_to(host).ok();
        container
    }

    /// Runs `weft attach` for it.
    pub fn attach_to(&self, host: &Host) -> Outcome {
        let [v4, v6] = self.cidrs();
        host.weft(&["attach", "--netns", &self.path(), &v4, &v6])
    }

    /// Its addresses as given to `weft attach`.
    pub fn cidrs(&self) -> [String; 2] {
        [format!("{}/12", self.v4), format!("{}/64", self.v6)]
    }

    /// Where its namespace can be opened.
    pub fn path(&self) -> String {
        self.netns.path().display().to_string()
    }

    /// Runs a program inside.
    pub fn run(&self, program: &str, args: &[&str]) -> Outcome {
        run_in(&self.netns, program, args)
    }

    /// One ping, given a second.
    pub fn pings(&self, to: IpAddr) -> bool {
        self.run("ping", &["-n", "-c1", "-W1", &to.to_string()]).code == Some(0)
    }

    /// Waits until `other` answers over both IP versions.
    pub fn wait_for(&self, other: &Container) {
        for to in [other.v4, other.v6] {
            until(&format!("{} reaches {to}", self.v4), PATIENCE, || {
                self.pings(to).then_some(())
            });
        }
    }

    /// A UDP socket inside, bound to `address`, that waits at most a second.
    pub fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        let socket = self
            .netns
            .run(|| UdpSocket::bind((address, port)))
            .unwrap()
            .unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket
    }
}
