//! As much of gRPC over HTTP/2, and of protocol buffers, as a few questions with one answer each take. A library would bring
//! its code generator and some thirty crates.
//!
//! `PROTOCOL-HTTP2.md` of gRPC; <https://protobuf.dev/programming-guides/encoding/>.

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::header::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::ErrorKind;
use std::path::Path;
use tokio::net::UnixStream;

/// Longest answer.
const MOST: usize = 16 << 20;
/// The code of what is not there.
const NOT_FOUND: &str = "5";

/// A connection to whom questions are asked.
pub(super) struct Channel(http2::SendRequest<Full<Bytes>>);

impl Channel {
    /// `None`: nobody answers there.
    pub(super) async fn open(socket: &Path) -> Result<Option<Self>> {
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| socket.display().to_string()),
        };
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Some(Self(sender)))
    }

    /// Asks one question in a namespace of containerd's; `None`: what it is about is not there.
    pub(super) async fn ask(
        &mut self,
        path: &str,
        namespace: &str,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let length = u32::try_from(message.len()).context("the question is too long")?;
        let body = [&[0], &length.to_be_bytes()[..], message].concat();
        let request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", namespace)
            .body(Full::new(Bytes::from(body)))?;
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        if !head.status.is_success() {
            bail!("{} to {path}", head.status);
        }
        let whole = Limited::new(body, MOST).collect().await;
        let whole = whole.map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        // An answer that has nothing but a verdict has it in front.
        let trailers = whole.trailers().cloned().unwrap_or_else(|| head.headers.clone());
        match verdict(&trailers) {
            Some(("0", _)) => Ok(Some(message_of(&whole.to_bytes())?.to_vec())),
            Some((NOT_FOUND, _)) => Ok(None),
            Some((code, text)) => bail!("{path}: {text} (code {code})"),
            None => bail!("{path}: no verdict in the answer"),
        }
    }
}

/// Code and text.
fn verdict(trailers: &HeaderMap) -> Option<(&str, &str)> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    Some((text("grpc-status")?, text("grpc-message").unwrap_or_default()))
}

/// The one message of a body.
fn message_of(body: &[u8]) -> Result<&[u8]> {
    let (head, rest) = body.split_first_chunk::<5>().context("the answer is cut off")?;
    let [compressed, length @ ..] = *head;
    if compressed != 0 {
        bail!("the answer is compressed, which nobody asked for");
    }
    rest.get(..u32::from_be_bytes(length) as usize)
        .context("the answer is cut off")
}

/// A field of bytes or text, encoded.
pub(super) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(bytes);
    field
}

/// A message's fields. What can't be read ends it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// What a field holds.
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Fields<'a> {
    /// All fields of this number that are messages, bytes or texts.
    pub(super) fn messages(self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.all().filter_map(move |(at, content)| match content {
            Content::Bytes(bytes) if at == number => Some(bytes),
            _ => None,
        })
    }

    /// The text of this number.
    pub(super) fn text(self, number: u64) -> Option<String> {
        let bytes = self.messages(number).last()?;
        String::from_utf8(bytes.to_vec()).ok()
    }

    /// The number of this number; one that is zero is left out.
    pub(super) fn number(self, number: u64) -> Option<u64> {
        let all = self.all().filter_map(|(at, content)| match content {
            Content::Number(value) if at == number => Some(value),
            _ => None,
        });
        all.last()
    }

    fn all(self) -> impl Iterator<Item = (u64, Content<'a>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let key = varint(&mut rest)?;
            let content = match key & 7 {
                0 => Content::Number(varint(&mut rest)?),
                1 => take(&mut rest, 8).map(|_| Content::Other)?,
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    Content::Bytes(take(&mut rest, length)?)
                }
                5 => take(&mut rest, 4).map(|_| Content::Other)?,
                _ => return None,
            };
            Some((key >> 3, content))
        })
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_between_others() {
        let long = "x".repeat(300);
        // Field 3, a number; field 9, eight bytes; field 4, text; field 2, a number of two bytes.
        let bytes = [
            vec![3 << 3, 1],
            [&[9 << 3 | 1][..], &[7; 8]].concat(),
            field(4, long.as_bytes()),
            vec![2 << 3, 0x96, 0x01],
        ];
        let bytes = bytes.concat();
        let fields = Fields(&bytes);
        assert_eq!((fields.number(2), fields.number(3)), (Some(150), Some(1)));
        assert_eq!(fields.text(4), Some(long));
        assert_eq!((fields.number(4), fields.text(7)), (None, None));
        // However it is cut off, what is left is read.
        for end in 0..bytes.len() {
            let _ = Fields(&bytes[..end]).all().count();
        }
        assert_eq!(Fields(&[0xff; 40]).all().count(), 0);
        assert_eq!(
            Fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])
                .all()
                .count(),
            0
        );
    }

    #[test]
    fn a_body_has_one_whole_message() {
        assert_eq!(message_of(&[0, 0, 0, 0, 2, 7, 8]).unwrap(), [7, 8]);
        assert!(message_of(&[0, 0, 0, 0, 2, 7]).is_err());
        assert!(message_of(&[1, 0, 0, 0, 0]).is_err());
        assert!(message_of(&[0, 0, 0]).is_err());
    }
}
