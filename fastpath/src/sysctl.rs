//! The few settings that the kernel takes only through `/proc/sys/net`.
//!
//! `/proc/sys` shows the namespace of the thread that reads it. A file that is not there (IPv6 switched off at
//! boot) or can't be written (a read-only `/proc/sys`) is no error: what it would have done is done by other means
//! too, or is named in a warning.

use rustix::fs::Access;
use std::path::PathBuf;

/// One setting of one interface: file below `/proc/sys/net`, without the interface, and the value wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    family: &'static str,
    name: &'static str,
    value: &'static str,
}

const fn setting(family: &'static str, name: &'static str, value: &'static str) -> Setting {
    Setting { family, name, value }
}

/// For the bridge and its ports: the host neither speaks nor answers nor forwards there.
pub(crate) const SILENT: &[Setting] = &[
    setting("ipv6", "disable_ipv6", "1"),
    setting("ipv4", "arp_ignore", "8"),
    setting("ipv4", "rp_filter", "1"),
    setting("ipv4", "forwarding", "0"),
];

/// For a container's interface: no advertised routes (CVE-2020-10749), addresses usable at once.
pub(crate) const CONTAINER: &[Setting] = &[
    setting("ipv6", "accept_ra", "0"),
    setting("ipv6", "dad_transmits", "0"),
];

/// For a container's interface that gets an IPv6 address; some runtimes switch IPv6 off by default.
pub(crate) const WITH_IPV6: &[Setting] = &[setting("ipv6", "disable_ipv6", "0")];

impl Setting {
    fn path(self, interface: &str) -> PathBuf {
        PathBuf::from(format!(
            "/proc/sys/net/{}/conf/{interface}/{}",
            self.family, self.name
        ))
    }

    /// True when there is nothing to do, or nothing that can be done.
    fn settled(self, interface: &str) -> bool {
        let path = self.path(interface);
        match std::fs::read_to_string(&path) {
            Ok(value) if value.trim() == self.value => true,
            Ok(_) => rustix::fs::access(&path, Access::WRITE_OK).is_err(),
            Err(_) => true,
        }
    }

    fn write(self, interface: &str) {
        let path = self.path(interface);
        if !path.exists() {
            return;
        }
        if let Err(error) = std::fs::write(&path, self.value) {
            tracing::warn!(path = %path.display(), value = self.value, %error, "a kernel setting can't be written");
        }
    }
}

/// True when all of `settings` are as wanted, or can't be changed.
pub(crate) fn settled(interface: &str, settings: &[Setting]) -> bool {
    settings.iter().all(|setting| setting.settled(interface))
}

/// Writes what is not as wanted; warns about what can't be written.
pub(crate) fn write(interface: &str, settings: &[Setting]) {
    settings.iter().for_each(|setting| setting.write(interface));
}
