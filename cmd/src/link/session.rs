//! A proven connection at work: control messages on its stream, keepalives as QUIC datagrams.

use super::frame::{self, Frame};
use super::handshake::{Proven, closed};
use super::{CloseCode, Event};
use crate::net::canonical;
use bytes::Bytes;
use crypto::secret::SecretId;
use mesh::{LinkId, MAX_MESSAGE, PeerId};
use quinn::{Connection, RecvStream, SendStream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Bytes that may wait for a neighbour that does not read; beyond, its link is closed.
const MAX_BACKLOG: usize = 16 << 20;
/// Events on their way to the router; a link whose events find no room waits.
pub(crate) type Events = mpsc::Sender<Event>;

/// The router's hold on a link.
#[derive(Debug, Clone)]
pub(crate) struct LinkHandle {
    /// Its number.
    pub(crate) id: LinkId,
    /// The proven identity of the other end.
    pub(crate) peer: PeerId,
    /// Where the other end is.
    pub(crate) address: SocketAddr,
    /// The data key that the other end proved to hold.
    pub(crate) data_public: [u8; 32],
    /// The secret that it proved to know.
    pub(crate) secret: SecretId,
    connection: Connection,
    messages: mpsc::UnboundedSender<Vec<u8>>,
    backlog: Arc<AtomicUsize>,
}

impl LinkHandle {
    /// Sends a control message in order, without waiting.
    pub(crate) fn send(&self, message: Vec<u8>) {
        let waiting = self.backlog.fetch_add(message.len(), Ordering::Relaxed);
        if waiting > MAX_BACKLOG {
            self.close(
                CloseCode::Congested,
                "the other router does not read what is sent to it",
            );
        }
        // When the writer is gone the link is going down, and its end is reported by the reader.
        let _ = self.messages.send(message);
    }

    /// Sends a message that may be lost.
    pub(crate) fn send_datagram(&self, message: Vec<u8>) {
        // Lost like any other: the other end does not answer, and liveness notices.
        let _ = self.connection.send_datagram(Bytes::from(message));
    }

    /// Closes the link; its end is reported as an event.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.connection.close(code.code(), reason.as_bytes());
    }
}

/// Makes the handle of a proven connection and starts its tasks.
pub(crate) fn start(
    id: LinkId,
    peer: PeerId,
    connection: Connection,
    proven: Proven,
    events: Events,
) -> LinkHandle {
    let (messages, queue) = mpsc::unbounded_channel();
    let backlog = Arc::new(AtomicUsize::new(0));
    tokio::spawn(write_messages(proven.send, queue, backlog.clone()));
    tokio::spawn(receive(id, connection.clone(), proven.receive, events));
    LinkHandle {
        id,
        peer,
        address: canonical(connection.remote_address()),
        data_public: proven.proof.data_public,
        secret: proven.proof.secret,
        connection,
        messages,
        backlog,
    }
}

async fn write_messages(
    mut stream: SendStream,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    backlog: Arc<AtomicUsize>,
) {
    while let Some(message) = queue.recv().await {
        if frame::write(&mut stream, &message).await.is_err() {
            return;
        }
        backlog.fetch_sub(message.len(), Ordering::Relaxed);
    }
}

/// Reports what arrives until the connection ends, and then its end.
async fn receive(link: LinkId, connection: Connection, stream: RecvStream, events: Events) {
    let reason = tokio::select! {
        reason = read_messages(link, stream, &events) => reason,
        () = read_datagrams(link, &connection, &events) => None,
    };
    if let Some(reason) = &reason {
        connection.close(CloseCode::Protocol.code(), reason.as_bytes());
    }
    let closed = closed(&connection.closed().await);
    let _ = events
        .send(Event::Down {
            link,
            reason: reason.unwrap_or(closed),
        })
        .await;
}

async fn read_messages(link: LinkId, mut stream: RecvStream, events: &Events) -> Option<String> {
    loop {
        let event = match frame::read(&mut stream, MAX_MESSAGE).await {
            Ok(Frame::Message(bytes)) => Event::Message { link, bytes },
            Ok(Frame::Skipped) => Event::Oversized { link },
            Err(frame::FrameError::Stream(_)) => return None,
            Err(error) => return Some(error.to_string()),
        };
        events.send(event).await.ok()?;
    }
}

async fn read_datagrams(link: LinkId, connection: &Connection, events: &Events) {
    while let Ok(bytes) = connection.read_datagram().await {
        if events
            .send(Event::Message {
                link,
                bytes: bytes.to_vec(),
            })
            .await
            .is_err()
        {
            return;
        }
    }
}
