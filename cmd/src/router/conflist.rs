//! A CNI configuration that is in its place while containers can be attached, and beside it otherwise: runtimes that do not
//! ask for STATUS (containerd before 2.0) hold the network for ready as long as there is one.

use super::Router;
use mesh::Instant;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use tracing::info;

/// How often it is looked whether containers can be attached.
const EVERY: Duration = Duration::from_millis(500);

/// The file of `--cni-conf`.
pub(crate) struct Conflist {
    path: PathBuf,
    /// What it is called while it does not count.
    aside: PathBuf,
    look_at: Instant,
    /// What was said last; the same is not said again.
    said: Option<String>,
}

impl Conflist {
    pub(crate) fn new(path: PathBuf, now: Instant) -> Self {
        let mut aside = OsString::from(&path);
        aside.push(".off");
        Self {
            path,
            aside: aside.into(),
            look_at: now,
            said: None,
        }
    }

    /// When to look again.
    pub(crate) fn next_look(&self) -> Instant {
        self.look_at
    }

    /// Puts it in its place, or aside.
    fn place(&mut self, ready: &Result<(), String>) {
        let (from, to) = match ready {
            Ok(()) => (&self.aside, &self.path),
            Err(_) => (&self.path, &self.aside),
        };
        // One that was installed since counts, not the older one beside it.
        let is_newer_there = ready.is_ok() && to.exists();
        let moved = if is_newer_there {
            std::fs::remove_file(from)
        } else {
            std::fs::rename(from, to)
        };
        let said = match moved {
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => format!("{} can't be moved: {error}", from.display()),
            Ok(()) if is_newer_there => return,
            Ok(()) => match ready {
                Ok(()) => format!("containers can be attached: {} is in its place", to.display()),
                Err(why) => format!("{} is set aside: {why}", from.display()),
            },
        };
        if self.said.as_ref() != Some(&said) {
            info!("{said}");
            self.said = Some(said);
        }
    }
}

impl Router {
    /// Looks whether the configuration is where it should be, when that is due.
    pub(super) fn look_at_conflist(&mut self) {
        let now = self.shore.clock.now();
        if self
            .conflist
            .as_ref()
            .is_none_or(|conflist| conflist.look_at > now)
        {
            return;
        }
        let ready = self.ready().map(|_| ()).map_err(|refused| refused.text);
        if let Some(conflist) = &mut self.conflist {
            conflist.place(&ready);
            conflist.look_at = now + EVERY;
        }
    }

    /// The router ends: nothing can be attached any more.
    pub(super) fn set_conflist_aside(&mut self) {
        if let Some(conflist) = &mut self.conflist {
            conflist.place(&Err("the router is ending".into()));
        }
    }
}
