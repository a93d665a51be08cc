//! A user namespace of one's own, so that the demo can make networks without being root.

use rustix::process::{getgid, getuid};
use std::io;

/// Why there is no user namespace.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    /// The process has several threads, and only one with a single thread may move.
    #[error("a user namespace must be entered before any thread is started")]
    Threads,
    /// Switched off or at its limit on this machine.
    #[error("user namespaces are not to be had on this machine ({0}); run as root instead")]
    Refused(io::Error),
    /// The maps of user and group ids can't be written.
    #[error("write {file}: {source}")]
    Map {
        /// The file under `/proc/self`.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Moves this process into fresh user, network and mount namespaces, in which it is root. Must be called before
/// any thread starts.
///
/// # Errors
/// When the machine forbids it, or threads are running.
pub fn enter_user_namespace() -> Result<(), UserNamespaceError> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    if threads() > 1 {
        return Err(UserNamespaceError::Threads);
    }
    crate::sys::unshare_user().map_err(|error| UserNamespaceError::Refused(error.into()))?;
    // setgroups must be given up before an unprivileged gid map is taken (user_namespaces(7)).
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        std::fs::write(file, text).map_err(|source| UserNamespaceError::Map { file, source })?;
    }
    Ok(())
}

/// True when this process may make network namespaces: it is root here.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}
