//! Proof of the secret inside an established TLS connection: the three messages of [`crypto::link`] over the
//! connection's first stream. A connection on which this does not finish in time carries nothing.

use super::CloseCode;
use super::frame::{self, Frame};
use crypto::identity::Identity;
use crypto::keyring::Keyring;
use crypto::link::{EXPORTER_LABEL, LinkError, LinkInitiator, LinkProof, LinkResponder, MAX_MESSAGE_LEN};
use crypto::secret::Secret;
use mesh::{DropReason, PeerId};
use quinn::{Connection, RecvStream, SendStream};
use rand_core::OsRng;

/// Bytes of key material exported from TLS (RFC 8446, section 7.5) to bind the proof to the connection.
const EXPORTER: usize = 32;

/// A connection whose two ends have proven the secret to each other.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) proof: LinkProof,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

/// Why a connection does not become a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// Noise or the secret.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other end closed, and said why.
    #[error("{}", closed(.0))]
    Closed(#[from] quinn::ConnectionError),
    /// The stream broke off.
    #[error("the handshake broke off: {0}")]
    Broken(String),
    /// This router itself is at the other end.
    #[error("this is the router itself")]
    SelfLink,
}

impl HandshakeError {
    /// What the other end is told.
    pub(crate) fn close_code(&self) -> CloseCode {
        match self {
            Self::Link(LinkError::UnknownSecret { .. } | LinkError::Unauthentic) => CloseCode::SecretRefused,
            Self::SelfLink | Self::Link(LinkError::SelfLink) => CloseCode::SelfLink,
            Self::Link(_) | Self::Closed(_) | Self::Broken(_) => CloseCode::Protocol,
        }
    }

    /// True if the other end has not the secret that was offered, and may have another one.
    pub(crate) fn is_refused_secret(&self) -> bool {
        let Self::Closed(quinn::ConnectionError::ApplicationClosed(close)) = self else {
            return false;
        };
        close.error_code == CloseCode::SecretRefused.code()
    }

    /// Under what the refusal is counted.
    pub(crate) fn reason(&self) -> DropReason {
        match self {
            Self::Link(LinkError::UnknownSecret { .. } | LinkError::Unauthentic) => DropReason::SecretRefused,
            Self::SelfLink | Self::Link(LinkError::SelfLink) => DropReason::SelfLink,
            Self::Link(_) => DropReason::LinkHandshake,
            Self::Closed(_) | Self::Broken(_) => DropReason::NoProof,
        }
    }
}

/// Longest text of the other end's that is shown, in characters.
const MAX_REASON: usize = 200;

/// A connection's end in plain words. What the other end says is shown on terminals and in logs, and that end may
/// be anybody: only characters that cannot play tricks there are kept.
pub(crate) fn closed(error: &quinn::ConnectionError) -> String {
    printable(&in_words(error))
}

fn printable(text: &str) -> String {
    let shown = text.chars().take(MAX_REASON);
    shown
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn in_words(error: &quinn::ConnectionError) -> String {
    use quinn::ConnectionError as E;
    match error {
        E::ApplicationClosed(close) if close.error_code == CloseCode::SecretRefused.code() => {
            "the other router refused the secret: it belongs to another mesh, or the secret was retired"
                .into()
        }
        E::ApplicationClosed(close) if close.error_code == CloseCode::SelfLink.code() => {
            "this is the router itself".into()
        }
        E::ApplicationClosed(close) if !close.reason.is_empty() => {
            format!(
                "closed by the other router: {}",
                String::from_utf8_lossy(&close.reason)
            )
        }
        E::ApplicationClosed(_) => "closed by the other router".into(),
        E::TimedOut => "no answer".into(),
        E::LocallyClosed => "closed here".into(),
        E::Reset => "the other router was restarted".into(),
        E::TransportError(error) => format!("not a weft router, or of another version ({error})"),
        other => other.to_string(),
    }
}

fn exporter(connection: &Connection) -> Result<[u8; EXPORTER], HandshakeError> {
    let mut key = [0; EXPORTER];
    let exported = connection.export_keying_material(&mut key, EXPORTER_LABEL, b"");
    exported.map_err(|_| HandshakeError::Broken("TLS exports no key".into()))?;
    Ok(key)
}

async fn read(stream: &mut RecvStream, connection: &Connection) -> Result<Vec<u8>, HandshakeError> {
    match frame::read(stream, MAX_MESSAGE_LEN).await {
        Ok(Frame::Message(bytes)) => Ok(bytes),
        Ok(Frame::Skipped) => Err(HandshakeError::Broken("a message was too large".into())),
        Err(error) => Err(connection.close_reason().map_or_else(
            || HandshakeError::Broken(error.to_string()),
            HandshakeError::Closed,
        )),
    }
}

async fn write(stream: &mut SendStream, message: &[u8]) -> Result<(), HandshakeError> {
    frame::write(stream, message)
        .await
        .map_err(|error| HandshakeError::Broken(error.to_string()))
}

/// The dialler's part, which offers `secret`.
pub(crate) async fn dial(
    connection: &Connection,
    identity: &Identity,
    secret: &Secret,
    peer: PeerId,
) -> Result<Proven, HandshakeError> {
    if peer.0 == identity.public() {
        return Err(HandshakeError::SelfLink);
    }
    let exporter = exporter(connection)?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let (initiator, first) = LinkInitiator::new(
        identity,
        &exporter,
        &identity.public(),
        &peer.0,
        secret,
        &mut OsRng,
    )?;
    write(&mut send, &first).await?;
    let (third, proof) = initiator.finish(&read(&mut receive, connection).await?)?;
    write(&mut send, &third).await?;
    Ok(Proven { proof, send, receive })
}

/// The listener's part.
pub(crate) async fn accept(
    connection: &Connection,
    identity: &Identity,
    keyring: &Keyring,
    peer: PeerId,
) -> Result<Proven, HandshakeError> {
    if peer.0 == identity.public() {
        return Err(HandshakeError::SelfLink);
    }
    let exporter = exporter(connection)?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let first = read(&mut receive, connection).await?;
    let (responder, second) = LinkResponder::accept(
        identity,
        &exporter,
        &identity.public(),
        &peer.0,
        keyring,
        &first,
        &mut OsRng,
    )?;
    write(&mut send, &second).await?;
    let proof = responder.finish(&read(&mut receive, connection).await?)?;
    Ok(Proven { proof, send, receive })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_ends_words_play_no_tricks_on_a_terminal() {
        let close = quinn::ApplicationClose {
            error_code: CloseCode::Protocol.code(),
            reason: format!("\x1b[2J\r\nforged line{}", "x".repeat(1000))
                .into_bytes()
                .into(),
        };
        let text = closed(&quinn::ConnectionError::ApplicationClosed(close));
        assert!(
            text.contains("forged line") && !text.chars().any(char::is_control),
            "{text:?}"
        );
        assert_eq!(text.chars().count(), MAX_REASON);
    }
}
