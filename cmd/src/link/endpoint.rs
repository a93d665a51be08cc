//! Dialling and accepting: from an address to a link.

use super::handshake::{self, HandshakeError};
use super::places::{Place, Places};
use super::session::{self, Events};
use super::socket::QuicSocket;
use super::tls::{self, SERVER_NAME, TlsError};
use super::{CloseCode, ConnectionIds, Event, QuicQueue, SharedSocket};
use crate::net::canonical;
use crypto::identity::Identity;
use crypto::keyring::Keyring;
use crypto::secret::Secret;
use mesh::{Direction, DropReason, LinkId, PeerId};
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, TransportConfig, VarInt};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// From the first packet to the proof of the secret.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// What is told of an address that keeps silent.
const NO_ANSWER: &str = "no answer: is a router running there, and is its UDP port open?";
/// Above so many incoming connections in their handshake, an address must first show that it receives what is sent to it (RFC 9000, section 8.1.2).
const RETRY_ABOVE: usize = 32;
/// Addresses tried for one host name.
const MAX_ADDRESSES: usize = 8;
/// The core closes a silent link long before; this is for connections whose router is busy.
const IDLE: Duration = Duration::from_secs(30);

/// What the links are made from.
pub(crate) struct LinksConfig {
    pub(crate) identity: Arc<Identity>,
    pub(crate) keyring: Arc<RwLock<Keyring>>,
    pub(crate) socket: Arc<SharedSocket>,
    pub(crate) queue: Arc<QuicQueue>,
    pub(crate) ids: ConnectionIds,
    pub(crate) events: Events,
}

/// Why the endpoint can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinksError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the QUIC endpoint")]
    Endpoint(#[from] std::io::Error),
}

/// Makes links. Cheap to clone; every dial runs in a task of its own.
#[derive(Clone)]
pub(crate) struct Dialer(Arc<Links>);

impl std::ops::Deref for Dialer {
    type Target = Links;

    fn deref(&self) -> &Links {
        &self.0
    }
}

/// Why a dial came to nothing.
struct Refused {
    error: String,
    /// The dial reached this router itself.
    own: bool,
    /// The other end has not the secret that was offered.
    is_of_secret: bool,
}

/// The QUIC endpoint and what it needs to make links.
pub(crate) struct Links {
    endpoint: Endpoint,
    identity: Arc<Identity>,
    keyring: Arc<RwLock<Keyring>>,
    events: Events,
    places: Places,
    next: AtomicU64,
}

impl Dialer {
    /// Opens the endpoint on the shared socket and starts accepting.
    pub(crate) fn open(config: LinksConfig) -> Result<Self, LinksError> {
        let (client, server) = tls::configs(&config.identity)?;
        let transport = Arc::new(transport());
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport.clone());
        let mut client = quinn::ClientConfig::new(Arc::new(client));
        client.transport_config(transport);

        let mut endpoint = EndpointConfig::new(reset_key(&config.identity));
        let ids = config.ids;
        // Sleeve's datagrams are those without QUIC's fixed bit, so it must always be set.
        endpoint
            .grease_quic_bit(false)
            .cid_generator(move || Box::new(ids.clone()));
        let socket = Arc::new(QuicSocket {
            socket: config.socket,
            queue: config.queue,
        });
        let runtime = Arc::new(quinn::TokioRuntime);
        let mut endpoint = Endpoint::new_with_abstract_socket(endpoint, Some(server), socket, runtime)?;
        endpoint.set_default_client_config(client);
        let links = Self(Arc::new(Links {
            endpoint,
            identity: config.identity,
            keyring: config.keyring,
            events: config.events,
            places: Places::default(),
            next: AtomicU64::new(1),
        }));
        tokio::spawn(links.clone().accept_all());
        Ok(links)
    }

    /// Dials `target`; the outcome comes as an event.
    pub(crate) fn dial(&self, target: String, expect: Option<PeerId>) {
        let links = self.clone();
        tokio::spawn(async move {
            let outcome = tokio::time::timeout(HANDSHAKE_TIME, links.try_dial(&target, expect)).await;
            let event = match outcome {
                Ok(Ok(up)) => up,
                Ok(Err((error, own))) => Event::DialFailed { target, error, own },
                Err(_) => {
                    let error = NO_ANSWER.into();
                    Event::DialFailed {
                        target,
                        error,
                        own: false,
                    }
                }
            };
            let _ = links.events.send(event).await;
        });
    }

    /// Resolves what is advertised; the addresses come as an event.
    pub(crate) fn resolve_advertised(&self, texts: Vec<String>) {
        let links = self.clone();
        tokio::spawn(async move {
            let mut addresses = Vec::new();
            for text in &texts {
                match resolve(text).await {
                    Ok(found) => addresses.extend(found.into_iter().map(canonical)),
                    Err(error) => tracing::warn!("--advertise: {error}"),
                }
            }
            let _ = links.events.send(Event::Advertised { addresses }).await;
        });
    }

    /// Closes all links at once, telling the other ends, and waits until that is on its way.
    pub(crate) async fn close(&self) {
        self.endpoint.close(CloseCode::Closed.code(), b"the router stops");
        let _ = tokio::time::timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }

    async fn try_dial(&self, target: &str, expect: Option<PeerId>) -> Result<Event, (String, bool)> {
        let plain = |error: String| (error, false);
        let addresses = resolve(target).await.map_err(plain)?;
        let mut last = "the name has no address".to_owned();
        // An address that does not answer must leave time for the next: many names have one of each family.
        let share = HANDSHAKE_TIME / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        for address in addresses {
            match tokio::time::timeout(share, self.connect(address)).await {
                Ok(Ok(connection)) => return self.prove_in_turn(connection, address, target, expect).await,
                Ok(Err(error)) => last = error,
                Err(_) => last = NO_ANSWER.into(),
            }
        }
        Err((last, false))
    }

    async fn connect(&self, address: SocketAddr) -> Result<Connection, String> {
        let connecting = self
            .endpoint
            .connect(address, SERVER_NAME)
            .map_err(|error| match error {
                quinn::ConnectError::InvalidRemoteAddress(_) => {
                    format!("{address} can't be reached from the address this router listens on")
                }
                other => other.to_string(),
            })?;
        connecting.await.map_err(|error| handshake::closed(&error))
    }

    /// Offers the secrets one after the other, oldest first, each on a connection of its own: while one is retired on router after
    /// router, the other end may have no more than the newer one.
    async fn prove_in_turn(
        &self,
        mut connection: Connection,
        address: SocketAddr,
        target: &str,
        expect: Option<PeerId>,
    ) -> Result<Event, (String, bool)> {
        let keyring = self.keyring();
        let mut secret = keyring.preferred();
        let mut others = keyring.secrets().skip(1);
        loop {
            let refused = match self.prove(connection, target, expect, secret).await {
                Ok(up) => return Ok(up),
                Err(refused) => refused,
            };
            secret = match others.next() {
                Some(other) if refused.is_of_secret => other,
                _ => return Err((refused.error, refused.own)),
            };
            connection = self.connect(address).await.map_err(|error| (error, false))?;
        }
    }

    async fn prove(
        &self,
        connection: Connection,
        target: &str,
        expect: Option<PeerId>,
        secret: &Secret,
    ) -> Result<Event, Refused> {
        let refuse = |code: CloseCode, error: String, own| {
            connection.close(code.code(), error.as_bytes());
            Refused {
                error,
                own,
                is_of_secret: false,
            }
        };
        let Some(peer) = tls::peer_of(&connection) else {
            return Err(refuse(
                CloseCode::Protocol,
                "the other end shows no identity".into(),
                false,
            ));
        };
        if let Some(expected) =
            expect.filter(|expected| *expected != peer && peer.0 != self.identity.public())
        {
            let error = format!(
                "router {} answers there, expected {}",
                peer.brief(),
                expected.brief()
            );
            return Err(refuse(CloseCode::Protocol, error, false));
        }
        match handshake::dial(&connection, &self.identity, secret, peer).await {
            Ok(proven) => Ok(self.up(connection, proven, peer, Some(target.to_owned()))),
            Err(error) => {
                let own = matches!(error, HandshakeError::SelfLink);
                Err(Refused {
                    is_of_secret: error.is_refused_secret(),
                    ..refuse(error.close_code(), error.to_string(), own)
                })
            }
        }
    }

    async fn accept_all(self) {
        while let Some(incoming) = self.endpoint.accept().await {
            let crowded = self.places.count() > RETRY_ABOVE;
            if crowded && !incoming.remote_address_validated() {
                // Fails only for validated addresses.
                let _ = incoming.retry();
                continue;
            }
            let Some(place) = self.places.take(canonical(incoming.remote_address()).ip()) else {
                incoming.ignore();
                self.refused(
                    DropReason::ControlRate,
                    "too many connections in their handshake".into(),
                )
                .await;
                continue;
            };
            tokio::spawn(self.clone().accept(incoming, place));
        }
    }

    async fn accept(self, incoming: Incoming, _place: Place) {
        let from = canonical(incoming.remote_address());
        let outcome = tokio::time::timeout(HANDSHAKE_TIME, self.try_accept(incoming)).await;
        match outcome {
            Ok(Ok(up)) => {
                let _ = self.events.send(up).await;
            }
            Ok(Err((reason, error))) => self.refused(reason, format!("{from}: {error}")).await,
            Err(_) => {
                let detail = format!(
                    "{from}: no proof of the secret within {} s",
                    HANDSHAKE_TIME.as_secs()
                );
                self.refused(DropReason::NoProof, detail).await;
            }
        }
    }

    async fn try_accept(&self, incoming: Incoming) -> Result<Event, (DropReason, String)> {
        let connection = incoming
            .await
            .map_err(|error| (DropReason::LinkHandshake, error.to_string()))?;
        // Closed when dropped: a handshake that takes too long leaves nothing behind.
        let Some(peer) = tls::peer_of(&connection) else {
            return Err((
                DropReason::LinkHandshake,
                "the other end shows no identity".into(),
            ));
        };
        let keyring = self.keyring();
        match handshake::accept(&connection, &self.identity, &keyring, peer).await {
            Ok(proven) => Ok(self.up(connection, proven, peer, None)),
            Err(error) => {
                connection.close(error.close_code().code(), error.to_string().as_bytes());
                Err((error.reason(), error.to_string()))
            }
        }
    }

    fn up(
        &self,
        connection: Connection,
        proven: handshake::Proven,
        peer: PeerId,
        target: Option<String>,
    ) -> Event {
        let id = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        let direction = if target.is_some() {
            Direction::Out
        } else {
            Direction::In
        };
        let handle = session::start(id, peer, connection, proven, self.events.clone());
        Event::Up {
            handle,
            direction,
            target,
        }
    }

    fn keyring(&self) -> Keyring {
        self.keyring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn refused(&self, reason: DropReason, detail: String) {
        let _ = self.events.send(Event::Refused { reason, detail }).await;
    }
}

/// Key for stateless resets (RFC 9000, section 10.3): derived from the identity, so that a router that was
/// killed and started again can tell its neighbours at once that their connections are gone.
fn reset_key(identity: &Identity) -> Arc<dyn quinn::crypto::HmacKey> {
    let seed = identity.derive("quic stateless reset");
    Arc::new(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &seed))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(1 << 20))
        .receive_window(VarInt::from_u32(1 << 20))
        .send_window(1 << 20)
        .datagram_receive_buffer_size(Some(64 << 10))
        .datagram_send_buffer_size(64 << 10)
        .initial_rtt(Duration::from_millis(100));
    // 30 s fits the transport parameter, which counts milliseconds in 62 bits.
    transport.max_idle_timeout(IDLE.try_into().ok());
    transport
}

async fn resolve(target: &str) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host(target)
        .await
        .map_err(|error| format!("cannot resolve {target}: {error}"))?;
    Ok(found.take(MAX_ADDRESSES).collect())
}
