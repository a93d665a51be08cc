//! The verbs' side of the control socket.

use super::{Reply, Request};
use anyhow::{Context, Result, anyhow, bail};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A connection to the running router.
pub(crate) struct Client {
    stream: UnixStream,
    path: PathBuf,
}

/// No router answers.
#[derive(Debug, thiserror::Error)]
#[error("no router is running here (nothing answers on {0}): start one with `weft launch`")]
pub(crate) struct NotRunning(pub(crate) String);

impl Client {
    /// Connects to the router's control socket.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Self {
                stream,
                path: path.to_owned(),
            }),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Err(NotRunning(path.display().to_string()).into())
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot reach the router on {}", path.display()))
            }
        }
    }

    /// Sends `request` and gives each value of the answer to `each`.
    pub(crate) fn call(
        mut self,
        request: &Request,
        mut each: impl FnMut(serde_json::Value) -> Result<()>,
    ) -> Result<()> {
        let lost = || format!("lost the router on {}", self.path.display());
        let mut line = serde_json::to_vec(request).context("the request as JSON")?;
        line.push(b'\n');
        self.stream.write_all(&line).with_context(lost)?;
        for line in BufReader::new(&self.stream).lines() {
            let reply = serde_json::from_str(&line.with_context(lost)?);
            match reply.context("the router's answer can't be read: is it of another version?")? {
                Reply::Value(value) => each(value)?,
                Reply::Error(error) => return Err(anyhow!(error)),
                Reply::Done => return Ok(()),
            }
        }
        bail!("the router on {} ended before it answered", self.path.display())
    }

    /// Sends `request` and returns its one value.
    pub(crate) fn ask(self, request: &Request) -> Result<serde_json::Value> {
        let mut answer = serde_json::Value::Null;
        self.call(request, |value| {
            answer = value;
            Ok(())
        })?;
        Ok(answer)
    }
}
