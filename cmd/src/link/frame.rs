//! Control messages on a stream: four bytes of length, big endian, then the message. One that is larger than
//! allowed is read and thrown away, so that it costs the sender its message but nobody the link.

use quinn::{ReadExactError, RecvStream, SendStream, WriteError};

/// A message, or notice of one that was skipped.
#[derive(Debug)]
pub(crate) enum Frame {
    Message(Vec<u8>),
    Skipped,
}

/// Largest length that is skipped rather than taken for a broken stream, in bytes.
const MAX_SKIP: usize = 16 << 20;

/// Why no further message can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream ended or broke.
    #[error("the stream ended: {0}")]
    Stream(#[from] ReadExactError),
    /// The length makes no sense.
    #[error("a message of {0} bytes was announced")]
    Length(usize),
}

/// Reads one message of at most `max` bytes.
pub(crate) async fn read(stream: &mut RecvStream, max: usize) -> Result<Frame, FrameError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_SKIP {
        return Err(FrameError::Length(length));
    }
    if length > max {
        let mut rest = length;
        let mut sink = [0; 4096];
        while rest > 0 {
            let part = rest.min(sink.len());
            stream.read_exact(&mut sink[..part]).await?;
            rest -= part;
        }
        return Ok(Frame::Skipped);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(Frame::Message(bytes))
}

/// Writes one message.
pub(crate) async fn write(stream: &mut SendStream, message: &[u8]) -> Result<(), WriteError> {
    // Both parts go into quinn's buffer before it sends: one packet.
    stream.write_all(&(message.len() as u32).to_be_bytes()).await?;
    stream.write_all(message).await
}
