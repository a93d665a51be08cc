//! TLS 1.3 with raw public keys (RFC 7250): each end shows its Ed25519 key and proves that it holds it. Who may
//! link is decided later, by the proof of the secret; here it is only established who is there.

use crypto::identity::{Identity, public_from_spki};
use crypto::link::ALPN;
use mesh::PeerId;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme, version,
};
use std::sync::Arc;

/// Name sent in SNI; it says nothing, as nothing is looked up by it.
pub(crate) const SERVER_NAME: &str = "weft";

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// rustls refused the configuration.
    #[error("TLS configuration")]
    Rustls(#[from] Error),
    /// The provider lacks what QUIC needs for its first packets.
    #[error("TLS configuration for QUIC")]
    Quic(#[from] NoInitialCipherSuite),
}

/// The two ends' configurations, for dialling and for accepting.
pub(crate) fn configs(identity: &Identity) -> Result<(QuicClientConfig, QuicServerConfig), TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = Arc::new(certified_key(identity, &provider)?);
    let verifier = Arc::new(RawKeys(provider.signature_verification_algorithms));

    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key.clone())));
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.enable_early_data = false;
    client.resumption = rustls::client::Resumption::disabled();

    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.max_early_data_size = 0;
    server.send_tls13_tickets = 0;
    Ok((
        QuicClientConfig::try_from(client)?,
        QuicServerConfig::try_from(server)?,
    ))
}

fn certified_key(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let private = PrivatePkcs8KeyDer::from(identity.pkcs8_der().to_vec());
    let private = provider
        .key_provider
        .load_private_key(PrivateKeyDer::Pkcs8(private))?;
    Ok(CertifiedKey::new(
        vec![CertificateDer::from(identity.spki_der())],
        private,
    ))
}

/// Who is at the other end of an established connection.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<PeerId> {
    let shown = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    public_from_spki(shown.first()?).map(PeerId)
}

/// Accepts any well-formed Ed25519 key whose owner signs the handshake.
#[derive(Debug)]
struct RawKeys(WebPkiSupportedAlgorithms);

impl RawKeys {
    fn well_formed(spki: &CertificateDer<'_>) -> Result<(), Error> {
        public_from_spki(spki)
            .map(|_| ())
            .ok_or(CertificateError::BadEncoding.into())
    }

    fn signed(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, &self.0)
    }

    fn no_tls12() -> Error {
        PeerIncompatible::Tls12NotOffered.into()
    }
}

impl ServerCertVerifier for RawKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::well_formed(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::well_formed(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
