//! Programs that speak QUIC, or something like it, and do not belong to the mesh.

use crate::common::traffic::{Pings, noise};
use crate::common::{Host, Lab, Network, Pair, until};
use crate::tap::{Heard, Tap};
use crypto::identity::Identity;
use crypto::link::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rand_core::OsRng;
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Sources that one flood pretends to have.
const SOURCES: u32 = 100_000;
const TARGET: &str = "10.9.0.1:6783";
const PINGS: Duration = Duration::from_millis(20);
/// A connection that proves nothing is closed after five seconds.
const PATIENCE: Duration = Duration::from_secs(12);

/// Believes whatever key the router shows.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn config(alpn: &[u8]) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = Arc::new(certified(&Identity::generate(&mut OsRng), &provider));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    tls.alpn_protocols = vec![alpn.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn certified(identity: &Identity, provider: &CryptoProvider) -> CertifiedKey {
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.pkcs8_der().to_vec()));
    let private = provider.key_provider.load_private_key(private).unwrap();
    CertifiedKey::new(vec![CertificateDer::from(identity.spki_der())], private)
}

/// Two routers whose containers talk, and a host of somebody else's.
fn stage(lab: &Lab) -> (Pair, Host) {
    let pair = lab.pair();
    let stranger = lab.host("stranger");
    pair.switch.plug(&stranger, Network(9), 66);
    (pair, stranger)
}

/// Runs `act` with a QUIC client on the stranger's host, while containers ping; none may be lost.
fn harmless<F: Future<Output = ()>>(pair: &Pair, stranger: &Host, act: impl FnOnce(Endpoint) -> F + Send) {
    let pings = Pings::start(&pair.left_container, pair.right_container.v4, PINGS);
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let endpoint = Endpoint::client("10.9.0.66:0".parse().unwrap()).unwrap();
            tokio::time::timeout(PATIENCE, act(endpoint)).await.unwrap();
        });
    };
    stranger.netns.run(run).unwrap();
    let count = pings.stop();
    assert!(count.lost <= 1 && count.sent > 20, "{count:?}");
    assert_eq!(pair.left.reachable(), ["h1", "h2"]);
}

async fn connect(endpoint: &Endpoint, alpn: &[u8]) -> Result<Connection, quinn::ConnectionError> {
    let target: SocketAddr = TARGET.parse().unwrap();
    endpoint.connect_with(config(alpn), target, "weft").unwrap().await
}

fn counted(host: &Host, reason: &str) {
    until(&format!("it is counted as {reason}"), PATIENCE, || {
        (host.drops(reason) > 0).then_some(())
    });
    assert!(
        host.log().contains(reason),
        "no log line says {reason}: {}",
        host.log()
    );
}

#[test]
fn a_peer_that_never_proves_the_secret_is_closed_and_counted() {
    let Some(lab) = Lab::new("no-proof") else { return };
    let (pair, stranger) = stage(&lab);
    harmless(&pair, &stranger, |endpoint| async move {
        let connection = connect(&endpoint, ALPN).await.unwrap();
        connection.closed().await;
    });
    counted(&pair.left, "no_proof");
}

#[test]
fn a_peer_whose_proof_is_garbage_is_closed_and_counted() {
    let Some(lab) = Lab::new("bad-proof") else { return };
    let (pair, stranger) = stage(&lab);
    harmless(&pair, &stranger, |endpoint| async move {
        for length in [0_u32, 5, 100, 1 << 20, u32::MAX] {
            let connection = connect(&endpoint, ALPN).await.unwrap();
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            let _ = send.write_all(&length.to_be_bytes()).await;
            let _ = send.write_all(&noise(length.min(4096) as usize)).await;
            let _ = send.finish();
            connection.closed().await;
        }
    });
    let left = &pair.left;
    until("all five are counted", PATIENCE, || {
        let reasons = [
            "link_handshake",
            "no_proof",
            "secret_refused",
            "oversized_message",
        ];
        (reasons.iter().map(|reason| left.drops(reason)).sum::<u64>() >= 5).then_some(())
    });
}

#[test]
fn another_protocol_over_quic_is_refused_and_counted() {
    let Some(lab) = Lab::new("alpn") else { return };
    let (pair, stranger) = stage(&lab);
    harmless(&pair, &stranger, |endpoint| async move {
        connect(&endpoint, b"h3").await.unwrap_err();
    });
    counted(&pair.left, "link_handshake");
}

#[test]
fn garbage_that_looks_like_quic_changes_nothing() {
    let Some(lab) = Lab::new("quic-garbage") else {
        return;
    };
    let (pair, stranger) = stage(&lab);
    let pings = Pings::start(&pair.left_container, pair.right_container.v4, PINGS);
    let bytes = noise(1 << 20);
    for round in 0..20 {
        let socket = stranger
            .netns
            .run(|| UdpSocket::bind("10.9.0.66:0"))
            .unwrap()
            .unwrap();
        for number in 0..100 {
            let at = (round * 100 + number) * 131;
            // A long header of version 1 with an initial's size, or a short header, with nonsense inside.
            let mut datagram = bytes[at..at + 1200 + number].to_vec();
            match number % 4 {
                0 => datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]),
                1 => datagram[..6].copy_from_slice(&[0xc0, 0xff, 0, 0, 29, 20]),
                2 => datagram[0] = 0x40 | datagram[0] & 0x3f,
                _ => datagram.truncate(number % 40 + 1),
            }
            socket.send_to(&datagram, TARGET).unwrap();
        }
    }
    let count = pings.stop();
    assert!(count.lost <= 1 && count.sent > 50, "{count:?}");
    assert!(pair.left.drops("garbage") > 0, "{}", pair.left.status()["drops"]);
    // It still takes new links.
    let _late = stranger.launch(&["10.9.0.1"]);
    stranger.wait_for_peers(3);
}

#[test]
fn datagrams_from_100_000_addresses_leave_no_trace() {
    let Some(lab) = Lab::new("addresses") else { return };
    let (pair, _) = stage(&lab);
    let memory = || {
        let text = std::fs::read_to_string(format!("/proc/{}/status", pair.left_router.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let tap = Tap::on(&pair.switch, &pair.left, Network(9), 1);
    let mac = mac_of(&pair.left);
    let (before, bytes) = (memory(), noise(1 << 20));
    let pings = Pings::start(&pair.left_container, pair.right_container.v4, PINGS);
    for number in 0..SOURCES {
        let at = (number as usize * 61) % (bytes.len() - 1300);
        // One in four is as long as the first packet of a connection, and looks like one.
        let mut datagram = bytes[at..at + if number % 4 == 0 { 1200 } else { 60 }].to_vec();
        datagram[0] = [0xc3, 1, 3, 0x41][number as usize % 4];
        datagram[1..6].copy_from_slice(&[0, 0, 0, 1, 8]);
        tap.say(&Heard {
            macs: (mac, mesh::Mac([2, 0, 0, 0, 0, 9])),
            from: Ipv4Addr::from(0x0b00_0000 + number),
            to: Ipv4Addr::new(10, 9, 0, 1),
            bytes: datagram,
        });
    }
    let count = pings.stop();
    assert!(count.lost <= 2 && count.sent > 50, "{count:?}");
    let (after, drops) = (memory(), pair.left.status()["drops"].clone());
    println!("{before} KiB before, {after} KiB after, {count:?}, {drops}");
    assert!(
        after < before + 8 * 1024,
        "{before} KiB before, {after} KiB after"
    );
    assert_eq!(pair.left.reachable(), ["h1", "h2"]);
}

/// The MAC address by which a host is on the network of its peers.
fn mac_of(host: &Host) -> mesh::Mac {
    let text = crate::common::run_in(&host.netns, "ip", &["-o", "link", "show", "net9"]).ok();
    let mac = text
        .split("link/ether ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let bytes: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    mesh::Mac(bytes.try_into().unwrap())
}
