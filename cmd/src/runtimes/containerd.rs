//! containerd, asked over its socket: its namespaces, the containers there that are called so, and their tasks.
//!
//! Messages are those of its API's version 1 (`api/services/{namespaces,containers,tasks}/v1` of its repository): of each
//! the two or three fields that matter.

use super::grpc::{Channel, Fields, field};
use super::{Found, Runtime};
use anyhow::{Context as _, Result};
use std::path::Path;

/// The label in which nerdctl keeps a container's name; containerd itself knows ids only.
const NAME: &str = "nerdctl/name";
/// A task's states that have a process: created, running, paused, pausing.
const ALIVE: [u64; 4] = [1, 2, 4, 5];

/// The containers of this name, or with an id that begins so. Without containerd there are none.
pub(super) async fn find(socket: &Path, text: &str) -> Result<Vec<Found>> {
    let Some(mut channel) = Channel::open(socket).await? else {
        return Ok(Vec::new());
    };
    let path = "/containerd.services.namespaces.v1.Namespaces/List";
    let namespaces = channel.ask(path, "default", &[]).await?.unwrap_or_default();
    let mut found = Vec::new();
    for namespace in Fields(&namespaces).messages(1) {
        let namespace = Fields(namespace).text(1).context("a namespace without a name")?;
        // Quoted as in Go: a name has nothing that would need more than that.
        let filters = [
            field(1, format!("id~=\"^{}\"", text.replace('.', "\\\\.")).as_bytes()),
            field(1, format!("labels.\"{NAME}\"==\"{text}\"").as_bytes()),
        ];
        let path = "/containerd.services.containers.v1.Containers/List";
        let listed = channel.ask(path, &namespace, &filters.concat()).await?;
        for container in Fields(&listed.unwrap_or_default()).messages(1) {
            let container = Fields(container);
            let id = container.text(1).context("a container without an id")?;
            let labels = container.messages(2).map(Fields);
            let mut names = labels.filter(|label| label.text(1).as_deref() == Some(NAME));
            let name = names.find_map(|label| label.text(2));
            let path = "/containerd.services.tasks.v1.Tasks/Get";
            let task = channel.ask(path, &namespace, &field(1, id.as_bytes())).await?;
            found.push(Found {
                runtime: Runtime::Containerd,
                within: Some(namespace.clone()),
                name: name.unwrap_or_else(|| id.clone()),
                id,
                pid: task.and_then(|task| pid_of(&task)),
            });
        }
    }
    Ok(found)
}

/// The process of a task that has one.
fn pid_of(task: &[u8]) -> Option<u32> {
    let process = Fields(Fields(task).messages(1).next()?);
    let is_alive = ALIVE.contains(&process.number(4)?);
    let pid = u32::try_from(process.number(3)?).ok()?;
    (is_alive && pid > 0).then_some(pid)
}
