//! Network namespaces: open one, make one, run code or a program inside.
//!
//! A thread belongs to one namespace, and what it opens (sockets, `/dev/net/tun`, netlink) belongs there for
//! good. [`NetNs::run`] takes the calling thread there and back, for a few microseconds: a thread of its own would have
//! to wait for its turn, which takes long where many want to run. Only who may go but not come back gets one.
//!
//! A [`NetNs`] keeps its namespace alive. Whoever wants to notice that a container has gone keeps a
//! [`NetNsRef`] instead and opens it for each use.

use crate::netlink::{self, Socket};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

/// Where a thread finds its own namespace. (`/proc/self` would be that of the process's first thread.)
const OWN: &str = "/proc/thread-self/ns/net";
/// Where named namespaces lie, as `ip netns` keeps them.
const NAMED: [&str; 2] = ["/run/netns", "/var/run/netns"];
/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Why a namespace could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// There is nothing at this path (any more).
    #[error("no network namespace at {0}")]
    NotFound(PathBuf),
    /// Something else lies at this path.
    #[error("{0} is not a network namespace")]
    NotANamespace(PathBuf),
    /// Another namespace than the one meant lies at this path.
    #[error("{0} is another network namespace than before")]
    Replaced(PathBuf),
    /// Neither `/run/netns` nor `/var/run/netns` has this name.
    #[error("no network namespace is named {0:?} (looked in /run/netns and /var/run/netns)")]
    NoSuchName(String),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The code that ran inside panicked.
    #[error("work inside a network namespace panicked: {0}")]
    Panicked(String),
    /// Netlink inside the namespace failed.
    #[error(transparent)]
    Netlink(#[from] netlink::NetlinkError),
}

fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> NetNsError {
    let doing = doing.into();
    move |source| NetNsError::System { doing, source }
}

/// An open network namespace; it lives at least as long as this handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NetNs {
    fd: Arc<OwnedFd>,
    inode: u64,
}

impl NetNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> Result<Self, NetNsError> {
        Self::open(OWN)
    }

    /// The namespace at `path`, such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When there is none, or something else, or it may not be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetNsError> {
        let path = path.as_ref();
        let fd = rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
        )
        .map_err(|error| match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::SRCH => NetNsError::NotFound(path.to_owned()),
            // A socket, by /proc/PID/fd/N: the number is another file's now.
            rustix::io::Errno::NXIO => NetNsError::NotANamespace(path.to_owned()),
            _ => system(format!("open {}", path.display()))(error.into()),
        })?;
        Self::from_fd(fd, path)
    }

    fn from_fd(fd: OwnedFd, path: &Path) -> Result<Self, NetNsError> {
        let about = |error: rustix::io::Errno| system(format!("examine {}", path.display()))(error.into());
        let kind = rustix::fs::fstatfs(&fd).map_err(about)?.f_type;
        if u64::try_from(kind).ok() != Some(NSFS_MAGIC) {
            return Err(NetNsError::NotANamespace(path.to_owned()));
        }
        let inode = rustix::fs::fstat(&fd).map_err(about)?.st_ino;
        Ok(Self {
            fd: Arc::new(fd),
            inode,
        })
    }

    /// The namespace that `ip netns` knows as `name`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Self, NetNsError> {
        Self::named_path(name).and_then(Self::open)
    }

    /// The path under which `ip netns` keeps the namespace `name`.
    ///
    /// # Errors
    /// When there is none of that name, or the name has a slash in it.
    pub fn named_path(name: &str) -> Result<PathBuf, NetNsError> {
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        NAMED
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| plain && path.exists())
            .ok_or_else(|| NetNsError::NoSuchName(name.to_owned()))
    }

    /// The namespace the process `pid` is in.
    ///
    /// # Errors
    /// When there is no such process, or it may not be looked at.
    pub fn of_pid(pid: u32) -> Result<Self, NetNsError> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// Makes a namespace without a name, its loopback interface up. It goes with the last handle on it and the
    /// last thread in it.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, or at the limit of namespaces.
    pub fn create_anonymous() -> Result<Self, NetNsError> {
        on_thread(|| {
            crate::sys::unshare_network()
                .map_err(|error| system("make a network namespace")(error.into()))?;
            let made = Self::current()?;
            netlink::link::raise(&mut Socket::open()?, "lo")?;
            Ok(made)
        })?
    }

    /// The number that tells this namespace from all others alive on this machine.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// A path under which any process may open the namespace while this handle lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()))
    }

    /// Runs `work` inside the namespace. The calling thread is back where it was when this returns.
    ///
    /// # Errors
    /// When the namespace can't be entered (needs CAP_SYS_ADMIN), or `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        let own = Self::current()?;
        // In a user namespace a thread may have been born where it may not enter.
        if own.enter().is_err() {
            return on_thread(|| self.enter().map(|()| work()))?;
        }
        self.enter()?;
        let back = Back(own);
        let done = catch_unwind(AssertUnwindSafe(work));
        drop(back);
        done.map_err(|panic| NetNsError::Panicked(message(panic.as_ref())))
    }

    fn enter(&self) -> Result<(), NetNsError> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| system("enter a network namespace")(error.into()))
    }

    /// As [`run`](Self::run), but without a move if the calling thread is there already: in the host's own namespace it
    /// mostly is.
    ///
    /// # Errors
    /// As [`run`](Self::run); a panic goes to the caller.
    pub fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        let is_here = rustix::fs::stat(OWN).is_ok_and(|own| own.st_ino == self.inode);
        if is_here { Ok(work()) } else { self.run(work) }
    }

    /// Starts a program inside the namespace.
    ///
    /// A parent-death signal set by the program would fire at once: the thread that starts it ends here.
    ///
    /// # Errors
    /// When the namespace can't be entered, or the program not be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child, NetNsError> {
        let name = command.get_program().to_string_lossy().into_owned();
        on_thread(|| self.enter().map(|()| command.spawn()))??.map_err(system(format!("start {name}")))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PartialEq for NetNs {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

impl Eq for NetNs {}

/// Where a namespace was found and which one it was: enough to find it again, without keeping it alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct NetNsRef {
    /// Where it can be opened.
    pub path: PathBuf,
    /// [`NetNs::inode`] of the namespace meant.
    pub inode: u64,
}

impl NetNsRef {
    /// Notes which namespace lies at `path`.
    ///
    /// # Errors
    /// As [`NetNs::open`].
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, NetNsError> {
        let path = path.into();
        let inode = NetNs::open(&path)?.inode();
        Ok(Self { path, inode })
    }

    /// Opens the namespace, if it is still the same one.
    ///
    /// # Errors
    /// As [`NetNs::open`], and [`NetNsError::Replaced`].
    pub fn open(&self) -> Result<NetNs, NetNsError> {
        let found = NetNs::open(&self.path)?;
        if found.inode == self.inode {
            Ok(found)
        } else {
            Err(NetNsError::Replaced(self.path.clone()))
        }
    }
}

impl NetNsError {
    /// True when the namespace meant does not exist any more; false for trouble that may pass.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::NotANamespace(_) | Self::Replaced(_) | Self::NoSuchName(_)
        )
    }
}

/// Takes the thread back into its namespace.
struct Back(NetNs);

impl Drop for Back {
    fn drop(&mut self) {
        if let Err(error) = self.0.enter() {
            // Whatever this thread did next would happen to a container instead of the host.
            tracing::error!("there is no way back from a container's namespace: {error}");
            std::process::abort();
        }
    }
}

/// Runs `work` on a thread of its own, so that the caller's namespace stays as it is.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("weft-netns".to_owned())
            .stack_size(512 * 1024)
            .spawn_scoped(scope, work)
            .map_err(system("start a thread"))?
            .join()
            .map_err(|panic| NetNsError::Panicked(message(panic.as_ref())))
    })
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_told_from_what_is_not_there() {
        let missing = NetNs::open("/proc/self/ns/nothing").unwrap_err();
        assert!(matches!(missing, NetNsError::NotFound(_)) && missing.is_gone());
        assert!(matches!(
            NetNs::open("/proc/self/status"),
            Err(NetNsError::NotANamespace(_))
        ));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket));
        assert!(matches!(NetNs::open(path), Err(NetNsError::NotANamespace(_))));
        assert!(matches!(NetNs::named("../etc"), Err(NetNsError::NoSuchName(_))));
    }

    #[test]
    fn a_reference_tells_the_same_namespace_from_another() {
        let here = NetNs::current().unwrap();
        let by_path = NetNsRef::at(here.path()).unwrap();
        assert_eq!(by_path.open().unwrap(), here);
        let other = NetNsRef {
            inode: here.inode() + 1,
            ..by_path
        };
        assert!(matches!(other.open(), Err(NetNsError::Replaced(_))));
    }
}
