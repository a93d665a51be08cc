//! Real quinn, set up as the daemon does (`cmd/src/link/endpoint.rs`), over loopback. What lies between is a forwarder
//! in user space that delays, loses and counts.

use crate::{Count, tls};
use crypto::Identity;
use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, RecvStream, SendStream, TransportConfig, VarInt,
};
use simulations::Random;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// IP and UDP headers.
const OUTER: u64 = 28;

/// What lies between.
#[derive(Default)]
struct Between {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// Packets lost of a thousand.
    loss: AtomicU64,
}

impl Between {
    fn count(&self) -> Count {
        Count {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
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
        .initial_rtt(Duration::from_millis(100))
        .max_idle_timeout(IdleTimeout::try_from(Duration::from_secs(30)).ok());
    transport
}

fn endpoint(number: u64) -> Endpoint {
    let identity = Identity::generate(&mut Random::new(number));
    let (client, server) = tls::configs(&identity).unwrap();
    let transport = Arc::new(transport());
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport.clone());
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    let mut config = EndpointConfig::default();
    config.grease_quic_bit(false);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut endpoint = Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime)).unwrap();
    endpoint.set_default_client_config(client);
    endpoint
}

/// Forwards between whoever sends here first and `to`, each way with half of the round trip. Order is kept.
async fn forward(to: SocketAddr, seed: u64, round_trip: Duration, between: Arc<Between>) -> SocketAddr {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = near.local_addr().unwrap();
    let client = Arc::new(Mutex::new(None));
    let learnt = client.clone();
    let there = move |from| {
        *learnt.lock().unwrap() = Some(from);
        Some(to)
    };
    let back = move |_| *client.lock().unwrap();
    carry(
        near.clone(),
        far.clone(),
        round_trip / 2,
        between.clone(),
        2 * seed,
        there,
    );
    carry(far, near, round_trip / 2, between, 2 * seed + 1, back);
    address
}

fn carry(
    from: Arc<UdpSocket>,
    over: Arc<UdpSocket>,
    delay: Duration,
    between: Arc<Between>,
    seed: u64,
    to: impl Fn(SocketAddr) -> Option<SocketAddr> + Send + 'static,
) {
    let (sender, mut queue) = tokio::sync::mpsc::unbounded_channel::<(Instant, SocketAddr, Vec<u8>)>();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let mut random = Random::new(seed);
        while let Ok((length, source)) = from.recv_from(&mut buffer).await {
            between.packets.fetch_add(1, Relaxed);
            between.bytes.fetch_add(length as u64 + OUTER, Relaxed);
            let is_lost = random.chance(between.loss.load(Relaxed) as f64 / 1000.0);
            if let Some(to) = to(source).filter(|_| !is_lost) {
                let _ = sender.send((Instant::now() + delay, to, buffer[..length].to_vec()));
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, to, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due.into()).await;
            let _ = over.send_to(&bytes, to).await;
        }
    });
}

/// A connection with its stream, the secret proven (by as many bytes as that takes).
struct Link {
    near: Connection,
    far: Connection,
    send: SendStream,
    receive: RecvStream,
    between: Arc<Between>,
    _endpoints: [Endpoint; 2],
}

async fn link(seed: u64, round_trip: Duration) -> Link {
    let (client, server) = (endpoint(1), endpoint(2));
    let between = Arc::new(Between::default());
    let address = forward(server.local_addr().unwrap(), seed, round_trip, between.clone()).await;
    let connecting = client.connect(address, tls::SERVER_NAME).unwrap();
    let accepting = async { server.accept().await.unwrap().await.unwrap() };
    let (near, far) = tokio::join!(async { connecting.await.unwrap() }, accepting);
    let (mut send, mut back) = near.open_bi().await.unwrap();
    send.write_all(&[1; 60]).await.unwrap();
    let (mut answer, mut receive) = far.accept_bi().await.unwrap();
    receive.read_exact(&mut [0; 60]).await.unwrap();
    answer.write_all(&[2; 100]).await.unwrap();
    back.read_exact(&mut [0; 100]).await.unwrap();
    send.write_all(&[3; 68]).await.unwrap();
    receive.read_exact(&mut [0; 68]).await.unwrap();
    Link {
        near,
        far,
        send,
        receive,
        between,
        _endpoints: [client, server],
    }
}

/// How long a message takes from the call that sends it to its last byte at the other end.
pub(crate) async fn message(seed: u64, round_trip: Duration, loss: f64, length: usize) -> Duration {
    let mut link = link(seed, round_trip).await;
    // Path MTU discovery is over by then.
    tokio::time::sleep(round_trip * 8 + Duration::from_millis(100)).await;
    link.between.loss.store((loss * 1000.0) as u64, Relaxed);
    let begin = Instant::now();
    let message = vec![7; length];
    let mut buffer = vec![0; length];
    let (sent, read) = tokio::join!(
        link.send.write_all(&message),
        link.receive.read_exact(&mut buffer)
    );
    sent.unwrap();
    read.unwrap();
    begin.elapsed()
}

/// What a handshake takes, and then keepalives of that length, one a second, each answered, for so long.
pub(crate) async fn idle(round_trip: Duration, length: usize, time: Duration) -> (Count, Count) {
    let link = link(1, round_trip).await;
    tokio::time::sleep(round_trip * 8 + Duration::from_millis(100)).await;
    let handshake = link.between.count();
    let ping = bytes::Bytes::from(vec![0; length]);
    let pong = bytes::Bytes::from(vec![1; length]);
    let answer = |connection: Connection| {
        let pong = pong.clone();
        async move {
            while let Ok(bytes) = connection.read_datagram().await {
                if bytes[0] == 0 {
                    connection.send_datagram(pong.clone()).unwrap();
                }
            }
        }
    };
    let beat = |connection: Connection| {
        let ping = ping.clone();
        async move {
            loop {
                connection.send_datagram(ping.clone()).unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = beat(link.near.clone()) => {}
        () = answer(link.near.clone()) => {}
        () = answer(link.far.clone()) => {}
    }
    let end = link.between.count();
    let rest = Count {
        packets: end.packets - handshake.packets,
        bytes: end.bytes - handshake.bytes,
    };
    (handshake, rest)
}
