//! The few settings that the kernel takes only through `/proc/sys/net`. What they are now it tells with the link.
//!
//! `/proc/sys` shows the namespace of the thread that writes it. A file that is not there (IPv6 switched off at
//! boot) or can't be written (a read-only `/proc/sys`) is no error: what it would have done is done by other means
//! too, or is named in a warning.

use crate::netlink::link::{Link, Settings};
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;
use std::path::PathBuf;

/// One setting of one interface: file below `/proc/sys/net`, without the interface; where it is among those that the
/// kernel tells; and the value wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    family: &'static str,
    name: &'static str,
    now: fn(&Settings) -> Option<i32>,
    value: i32,
}

const fn setting(
    family: &'static str,
    name: &'static str,
    now: fn(&Settings) -> Option<i32>,
    value: i32,
) -> Setting {
    Setting {
        family,
        name,
        now,
        value,
    }
}

/// For the bridge and its ports: the host neither speaks nor answers nor forwards there.
pub(crate) const SILENT: &[Setting] = &[
    setting("ipv6", "disable_ipv6", |now| now.disable_ipv6, 1),
    setting("ipv4", "arp_ignore", |now| now.arp_ignore, 8),
    setting("ipv4", "rp_filter", |now| now.rp_filter, 1),
    setting("ipv4", "forwarding", |now| now.forwarding, 0),
];

/// For a container's interface: no advertised routes (CVE-2020-10749), addresses usable at once.
pub(crate) const CONTAINER: &[Setting] = &[
    setting("ipv6", "accept_ra", |now| now.accept_ra, 0),
    setting("ipv6", "dad_transmits", |now| now.dad_transmits, 0),
];

/// For a container's interface whose addresses are announced when its Ethernet address is set.
pub(crate) const ANNOUNCING: &[Setting] = &[
    setting("ipv4", "arp_notify", |now| now.arp_notify, 1),
    setting("ipv6", "ndisc_notify", |now| now.ndisc_notify, 1),
];

/// For a container's interface that gets an IPv6 address; some runtimes switch IPv6 off by default.
pub(crate) const WITH_IPV6: &[Setting] = &[setting("ipv6", "disable_ipv6", |now| now.disable_ipv6, 0)];

impl Setting {
    fn path(self, interface: &str) -> PathBuf {
        PathBuf::from(format!(
            "/proc/sys/net/{}/conf/{interface}/{}",
            self.family, self.name
        ))
    }

    fn is_right(self, link: &Link) -> bool {
        (self.now)(&link.settings).is_none_or(|now| now == self.value)
    }

    /// True when there is nothing to do, or nothing that can be done.
    fn settled(self, link: &Link) -> bool {
        self.is_right(link) || rustix::fs::access(self.path(&link.name), Access::WRITE_OK).is_err()
    }

    fn write(self, link: &Link) {
        if self.is_right(link) {
            return;
        }
        let path = self.path(&link.name);
        let written = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::write(&file, self.value.to_string().as_bytes()));
        match written {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => {
                let value = self.value;
                tracing::warn!(path = %path.display(), value, %error, "a kernel setting can't be written");
            }
        }
    }
}

/// True when all of `settings` are as wanted, or can't be changed.
pub(crate) fn settled(link: &Link, settings: &[Setting]) -> bool {
    settings.iter().all(|setting| setting.settled(link))
}

/// Writes what is not as wanted; warns about what can't be written.
pub(crate) fn write(link: &Link, settings: &[Setting]) {
    settings.iter().for_each(|setting| setting.write(link));
}
