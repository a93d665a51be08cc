//! Docker's own API, as far as it is needed: a few GETs. A client of our own instead of a library, which would bring
//! some forty crates for them; `hyper` is there already, under `axum`.

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long Docker may take for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest event, and longest answer.
const MOST: usize = 64 << 20;

/// Docker behind its socket.
pub(crate) struct Docker(pub(crate) PathBuf);

impl Docker {
    /// Whether anybody answers there.
    pub(crate) async fn answers(&self) -> bool {
        UnixStream::connect(&self.0).await.is_ok()
    }

    async fn ask(&self, path: &str) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.0)
            .await
            .with_context(|| format!("Docker at {}", self.0.display()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", "docker")
            .body(Empty::<Bytes>::new())?;
        Ok(sender.send_request(request).await?)
    }

    async fn open(&self, path: &str) -> Result<Response<Incoming>> {
        let response = self.ask(path).await?;
        if !response.status().is_success() {
            bail!("Docker answers {} to {path}", response.status());
        }
        Ok(response)
    }

    /// One answer.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let whole = async { body_of(self.open(path).await?, path).await };
        timeout(PATIENCE, whole).await.context("Docker takes too long")?
    }

    /// One answer; `None`: there is no such thing.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>> {
        let response = self.ask(path).await?;
        let status = response.status();
        let answer = body_of(response, path).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer)),
            status => bail!("{}", answer["message"].as_str().unwrap_or(status.as_str())),
        }
    }

    /// Events of containers joining networks, until Docker ends.
    pub(super) async fn events(&self) -> Result<Events> {
        // {"type":["network"],"event":["connect"]}
        let filter = "%7B%22type%22%3A%5B%22network%22%5D%2C%22event%22%3A%5B%22connect%22%5D%7D";
        let path = format!("/events?filters={filter}");
        let opened = timeout(PATIENCE, self.open(&path));
        let body = opened.await.context("Docker takes too long")??.into_body();
        Ok(Events {
            body,
            read: Vec::new(),
        })
    }
}

async fn body_of(response: Response<Incoming>, path: &str) -> Result<Value> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MOST {
            bail!("Docker's answer to {path} is too long");
        }
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// A stream of events, a line of JSON each.
pub(super) struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// The next; an error when there are no more.
    pub(super) async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            if self.read.len() > MOST {
                bail!("an event of Docker's is too long");
            }
            let frame = self.body.frame().await.context("Docker's events have ended")??;
            if let Ok(data) = frame.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}
