//! Containers by the names and ids that their runtimes know them by.
//!
//! Whoever runs on this host is asked, each by its own means, all at the same time: Docker and containerd over their
//! sockets, Podman, which has no daemon, by its program. A name that several know is told apart by the runtime's name in
//! front: `docker:web`.
//!
//! | file | subject |
//! |---|---|
//! | `docker` | Docker's API |
//! | `podman` | `podman container inspect` |
//! | `containerd` | containerd's API: namespaces, containers, tasks |
//! | `grpc` | as much of gRPC and protocol buffers as that takes |

mod containerd;
mod docker;
mod grpc;
mod podman;

use crate::cli::Runtimes;
use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// How long a runtime may take for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Docker,
    Podman,
    Containerd,
}

impl Runtime {
    const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Containerd];

    /// As it is written in front of a container's name.
    fn prefix(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Containerd => "containerd",
        })
    }
}

/// A container, as its runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    runtime: Runtime,
    /// containerd's namespace, which is a space of names.
    within: Option<String>,
    /// Its name; its id if it has none.
    pub(crate) name: String,
    id: String,
    /// The process that runs in it; `None`: none does.
    pid: Option<u32>,
}

impl Found {
    /// True if it was named in full, not by the start of its id.
    fn is_exact(&self, text: &str) -> bool {
        self.name == text || self.id == text
    }

    fn place(&self) -> String {
        match &self.within {
            Some(within) => format!("{} (namespace {within})", self.runtime),
            None => self.runtime.to_string(),
        }
    }

    /// A process in its network namespace.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.pid.with_context(|| {
            format!(
                "{} is a container of {}, but does not run: start it first",
                self.name,
                self.place()
            )
        })
    }
}

/// The one container that is called so.
pub(crate) fn find(text: &str, at: &Runtimes) -> Result<Found> {
    let (only, name) =
        match text.split_once(':') {
            Some((prefix, name)) => {
                let named = Runtime::ALL.into_iter().find(|one| one.prefix() == prefix);
                (
                    Some(named.with_context(|| {
                        format!("{prefix} is no runtime: docker, podman and containerd are")
                    })?),
                    name,
                )
            }
            None => (None, text),
        };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ask = async |who: Runtime| {
        if only.is_some_and(|only| only != who) {
            return Ok(Vec::new());
        }
        let answer = async {
            match who {
                Runtime::Docker => docker::find(&at.docker.docker, name).await,
                Runtime::Podman => podman::find(name).await,
                Runtime::Containerd => containerd::find(&at.containerd, name).await,
            }
        };
        let answer = timeout(PATIENCE, answer).await;
        let answer = answer.unwrap_or_else(|_| bail!("no answer for {} seconds", PATIENCE.as_secs()));
        answer.with_context(|| who.to_string())
    };
    let [docker, podman, containerd] = Runtime::ALL;
    let answers = runtime.block_on(async { tokio::join!(ask(docker), ask(podman), ask(containerd)) });
    runtime.shutdown_background();
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for answer in [answers.0, answers.1, answers.2] {
        match answer {
            Ok(some) => found.extend(some),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    choose(name, found, &failed)
}

/// The one that is meant: a full name goes before the start of an id. Docker's containers are containerd's, too.
fn choose(name: &str, mut found: Vec<Found>, failed: &[String]) -> Result<Found> {
    if found.iter().any(|one| one.is_exact(name)) {
        found.retain(|one| one.is_exact(name));
    }
    let all = found.clone();
    found.retain(|one| {
        let same = all
            .iter()
            .find(|other| other.pid.is_some() && other.pid == one.pid);
        same.is_none_or(|first| first == one)
    });
    let unasked = match failed {
        [] => String::new(),
        some => format!("; could not be asked: {}", some.join(", ")),
    };
    match found.as_slice() {
        [] => bail!("no container is called {name}, or has an id that begins so{unasked}"),
        [_] => Ok(found.remove(0)),
        [first, rest @ ..] if rest.iter().all(|other| other.runtime == first.runtime) => {
            let id = |one: &Found| match &one.within {
                Some(within) => format!("{} in namespace {within}", one.id),
                None => one.id.clone(),
            };
            let each: Vec<_> = found.iter().map(id).collect();
            bail!(
                "{name} is several containers of {}: {}",
                first.runtime,
                each.join(", ")
            )
        }
        some => {
            let places: Vec<_> = some.iter().map(Found::place).collect();
            let mut ways: Vec<_> = some
                .iter()
                .map(|one| format!("{}:{name}", one.runtime.prefix()))
                .collect();
            ways.dedup();
            bail!(
                "{name} is a container of {}: say {}",
                places.join(" and of "),
                ways.join(" or ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(runtime: Runtime, name: &str, id: &str, pid: u32) -> Found {
        Found {
            runtime,
            within: (runtime == Runtime::Containerd).then(|| "ns".to_owned()),
            name: name.to_owned(),
            id: id.to_owned(),
            pid: Some(pid).filter(|pid| *pid > 0),
        }
    }

    #[test]
    fn a_full_name_goes_before_the_start_of_an_id() {
        let some = vec![
            found(Runtime::Docker, "web", "abab", 1),
            found(Runtime::Podman, "ab", "cdcd", 2),
        ];
        assert_eq!(choose("ab", some, &[]).unwrap().pid, Some(2));
    }

    #[test]
    fn what_docker_runs_by_containerd_is_one_container() {
        let some = vec![
            found(Runtime::Docker, "web", "abab", 1),
            found(Runtime::Containerd, "abab", "abab", 1),
        ];
        assert_eq!(choose("abab", some, &[]).unwrap().runtime, Runtime::Docker);
    }

    #[test]
    fn a_name_of_several_runtimes_is_an_error_that_names_them() {
        let some = vec![
            found(Runtime::Docker, "web", "a", 0),
            found(Runtime::Containerd, "web", "web", 2),
        ];
        let error = choose("web", some, &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "web is a container of Docker and of containerd (namespace ns): say docker:web or containerd:web"
        );
        let error = choose("web", Vec::new(), &["Docker: no answer".into()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no container is called web") && error.ends_with("Docker: no answer"),
            "{error}"
        );
        let some = vec![
            found(Runtime::Podman, "a", "1234", 1),
            found(Runtime::Podman, "b", "1278", 2),
        ];
        let error = choose("12", some, &[]).unwrap_err().to_string();
        assert_eq!(error, "12 is several containers of Podman: 1234, 1278");
    }

    #[test]
    fn what_does_not_run_is_said_to_be_stopped() {
        let error = found(Runtime::Docker, "web", "a", 0)
            .pid()
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "web is a container of Docker, but does not run: start it first"
        );
    }
}
