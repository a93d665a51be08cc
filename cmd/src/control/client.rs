//! The verbs' side of the control socket.

use super::{Refused, Reply, Request};
use anyhow::{Context, Result};
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

/// A router that has just gone.
#[derive(Debug, thiserror::Error)]
#[error("the router on {path} ended before it answered")]
struct Lost {
    path: String,
    source: Option<std::io::Error>,
}

/// True if it is of use to ask the same again in a moment: the router is away, or refused for a reason that passes.
pub(crate) fn passes(error: &anyhow::Error) -> bool {
    error.is::<NotRunning>()
        || error.is::<Lost>()
        || error
            .downcast_ref()
            .is_some_and(|refused: &Refused| refused.passes)
}

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
        let path = || self.path.display().to_string();
        let lost = |source| Lost {
            path: path(),
            source: Some(source),
        };
        let mut line = serde_json::to_vec(request).context("the request as JSON")?;
        line.push(b'\n');
        self.stream.write_all(&line).map_err(lost)?;
        for line in BufReader::new(&self.stream).lines() {
            let reply = serde_json::from_str(&line.map_err(lost)?);
            match reply.context("the router's answer can't be read: is it of another version?")? {
                Reply::Value(value) => each(value)?,
                Reply::Error(refused) => return Err(refused.into()),
                Reply::Done => return Ok(()),
            }
        }
        let source = None;
        Err(Lost { path: path(), source }.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a client hears of a router that answers with these bytes and hangs up.
    fn heard(answer: &'static [u8]) -> anyhow::Error {
        let number = answer.len();
        let path = std::env::temp_dir().join(format!("weft-client-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let router = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(answer).unwrap();
        });
        let error = Client::connect(&path).unwrap().ask(&Request::Id).unwrap_err();
        router.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        error
    }

    #[test]
    fn what_passes_is_told_by_the_router_and_not_by_its_words() {
        let lasting = heard(b"{\"Error\":{\"text\":\"nothing: try again\",\"passes\":false}}\n");
        assert!(!passes(&lasting), "{lasting}");
        let passing = heard(b"{\"Error\":{\"text\":\"not yet\",\"passes\":true}}\n");
        assert!(passes(&passing) && passing.to_string() == "not yet", "{passing}");
        assert!(passes(&heard(b"")), "a router that ends");
        assert!(!passes(&heard(b"{}\n")), "one that is not understood");
        let old = heard(b"{\"Error\":\"no such thing\"}\n");
        assert_eq!(
            old.downcast_ref(),
            Some(&Refused::from("no such thing")),
            "an older one"
        );
        let nobody = Client::connect(Path::new("/nonexistent/weft")).err().unwrap();
        assert!(passes(&nobody), "{nobody}");
    }
}
