//! The router's side of the control socket.

use super::{Command, Echo, Found, PingLine, PingPath, Refused, Reply, Request, TraceLine};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// Largest request, in bytes.
const MAX_REQUEST: u64 = 1 << 20;
/// Between two pings.
const PING_PAUSE: Duration = Duration::from_secs(1);
/// Most pings one request may ask for.
const MAX_PINGS: u32 = 100_000;
/// How long a client may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Binds the control socket, replacing one that a dead router left behind.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    let what = || format!("control socket {}", path.display());
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(what)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!(
            "a router already answers on {}: stop it, or choose another --socket",
            path.display()
        );
    }
    remove_socket(path).with_context(what)?;
    let listener = UnixListener::bind(path).with_context(what)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(what)?;
    Ok(listener)
}

/// Removes a socket that is nobody's any more. What is no socket is somebody's, and stays.
pub(crate) fn remove_socket(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            Err(std::io::Error::other("there is something else than a socket"))
        }
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The socket's name in the file system, removed with this. Until then whoever connects finds that a router is there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    _listening: OwnedFd,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers requests until the router ends. Only who has bound the socket may remove its file.
pub(crate) fn serve(path: &Path, commands: mpsc::Sender<Command>) -> Result<SocketFile> {
    let listener = bind(path)?;
    let listening = listener.as_fd().try_clone_to_owned();
    let file = SocketFile {
        path: path.to_owned(),
        _listening: listening.with_context(|| format!("control socket {}", path.display()))?,
    };
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(answer(stream, commands.clone()));
                }
                // Out of descriptors: wait for some to be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(file)
}

async fn answer(stream: UnixStream, commands: mpsc::Sender<Command>) {
    let (read, write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_REQUEST));
    let Ok(Ok(1..)) = tokio::time::timeout(REQUEST_TIME, read.read_line(&mut line)).await else {
        return;
    };
    let mut session = Session { commands, write };
    let outcome = match serde_json::from_str(&line) {
        Ok(request) => session.handle(request).await,
        Err(error) => Err(format!(
            "the router does not understand this request ({error}): is it of another version?"
        )
        .into()),
    };
    let last = outcome.map_or_else(Reply::Error, |()| Reply::Done);
    // When the client is gone there is nobody to tell.
    let _ = session.send(&last).await;
}

struct Session {
    commands: mpsc::Sender<Command>,
    write: tokio::net::unix::OwnedWriteHalf,
}

impl Session {
    async fn send(&mut self, reply: &Reply) -> Result<(), Refused> {
        let mut line = serde_json::to_vec(reply).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.write
            .write_all(&line)
            .await
            .map_err(|error| error.to_string().into())
    }

    async fn value(&mut self, value: impl Serialize) -> Result<(), Refused> {
        let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
        self.send(&Reply::Value(value)).await
    }

    async fn ask<T, E: Into<Refused>>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
    ) -> Result<T, Refused> {
        let stopped = || Refused::for_now("the router is stopping");
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?.map_err(Into::into)
    }

    async fn handle(&mut self, request: Request) -> Result<(), Refused> {
        match request {
            Request::Ping { peer, control, count } => self.ping(peer, control, count.min(MAX_PINGS)).await,
            Request::Trace { peer } => self.trace(peer).await,
            request => {
                let value = self.ask(|answer| Command::Ask { request, answer }).await?;
                self.value(value).await
            }
        }
    }

    async fn find(&self, peer: String) -> Result<Found, Refused> {
        self.ask(|answer| Command::Find { peer, answer }).await
    }

    async fn ping(&mut self, peer: String, control: bool, count: u32) -> Result<(), Refused> {
        let found = self.find(peer).await?;
        let how = if control {
            PingPath::Control
        } else {
            PingPath::Data(None)
        };
        let mut answered = 0;
        for seq in 1..=count {
            let echo = self
                .ask(|answer| Command::Ping {
                    peer: found.peer,
                    how,
                    answer,
                })
                .await;
            answered += u32::from(echo.is_ok());
            let (rtt_us, path, error) = parts(echo);
            self.value(PingLine {
                peer: found.name.clone(),
                seq,
                rtt_us,
                path,
                error,
            })
            .await?;
            if seq < count {
                tokio::time::sleep(PING_PAUSE).await;
            }
        }
        if answered == 0 {
            Err(format!("{} did not answer", found.name).into())
        } else {
            Ok(())
        }
    }

    async fn trace(&mut self, peer: String) -> Result<(), Refused> {
        let found = self.find(peer).await?;
        if found.route.is_empty() {
            return Err(format!("there is no data route to {}", found.name).into());
        }
        for (hop, peer) in (1..).zip(&found.route) {
            let how = PingPath::Data(Some(hop));
            let echo = self
                .ask(|answer| Command::Ping {
                    peer: found.peer,
                    how,
                    answer,
                })
                .await;
            let (rtt_us, path, error) = parts(echo);
            let name = match path.last() {
                Some(name) => name.clone(),
                None => self
                    .find(peer.to_string())
                    .await
                    .map_or_else(|_| peer.brief(), |hop| hop.name),
            };
            self.value(TraceLine {
                hop,
                name,
                peer_id: peer.to_string(),
                rtt_us,
                error,
            })
            .await?;
        }
        Ok(())
    }
}

fn parts(echo: Result<Echo, Refused>) -> (Option<u64>, Vec<String>, Option<String>) {
    match echo {
        Ok(echo) => (u64::try_from(echo.rtt.as_micros()).ok(), echo.path, None),
        Err(error) => (None, Vec::new(), Some(error.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let folder = std::env::temp_dir().join(format!("weft-bind-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let (file, socket) = (folder.join("file"), folder.join("socket"));
        std::fs::write(&file, b"somebody's").unwrap();
        let refused = remove_socket(&file).unwrap_err().to_string();
        assert!(refused.contains("something else"), "{refused}");
        assert_eq!(std::fs::read(&file).unwrap(), b"somebody's");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        remove_socket(&socket).unwrap();
        assert!(!socket.exists());
        remove_socket(&socket).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
