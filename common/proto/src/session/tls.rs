//! TLS as PROTOCOL 2 wants it: version 1.3, X25519MLKEM768, raw Ed25519 keys on both sides
//! (RFC 7250), no tickets, no resumption, no early data.
//!
//! A client accepts exactly the key that it has pinned, a server any Ed25519 key, and both only
//! with a signature by that key. What a client's key may do is decided elsewhere.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerMisbehaved, ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    time_provider::TimeProvider,
    version::TLS13,
};
use zeroize::Zeroizing;

use crate::keys::{DevicePublicKey, DeviceTlsKey, ServerKeySeed, ServerPublicKey};

/// The TLS settings of a server: its own key, and clients with any key.
#[derive(Clone)]
pub struct ServerTls(pub(super) Arc<ServerConfig>);

impl ServerTls {
    /// The settings of a server with this key.
    ///
    /// # Errors
    /// When the TLS library refuses the key.
    pub fn new(key: &ServerKeySeed) -> Result<Self, Error> {
        let provider = Arc::new(provider());
        let verifier = AnyDevice { algorithms: provider.signature_verification_algorithms };
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::new(raw_key(key.as_bytes())?));
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(resolver));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// The TLS settings of a client: its own key, and the one server that it accepts.
#[derive(Clone)]
pub struct ClientTls(pub(super) Arc<ClientConfig>);

impl ClientTls {
    /// The settings of the client with key `device`, which accepts the server with key `server`.
    ///
    /// # Errors
    /// When the TLS library refuses the key.
    pub fn new(device: &DeviceTlsKey, server: &ServerPublicKey) -> Result<Self, Error> {
        let provider = Arc::new(provider());
        let resolver =
            AlwaysResolvesClientRawPublicKeys::new(Arc::new(raw_key(device.as_bytes())?));
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(pinned(server))
            .with_client_cert_resolver(Arc::new(resolver));
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// The server name that rustls asks for. It is never sent: a client knows its server by the key.
pub(super) fn server_name() -> Result<ServerName<'static>, Error> {
    ServerName::try_from("zput").map_err(|e| Error::General(e.to_string()))
}

/// The device whose public key is in a SubjectPublicKeyInfo.
///
/// # Errors
/// When the key is of another kind than Ed25519.
pub(super) fn device(spki: &[u8]) -> Result<DevicePublicKey, Error> {
    spki.strip_prefix(&SPKI_PREFIX)
        .and_then(|key| key.try_into().ok())
        .map(DevicePublicKey::from_bytes)
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// RFC 8410, 4: the SubjectPublicKeyInfo of an Ed25519 key, up to the key.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// RFC 8410, 7: the PrivateKeyInfo of an Ed25519 seed, up to the seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

fn spki(key: &[u8; 32]) -> [u8; 44] {
    let mut spki = [0; 44];
    spki[..12].copy_from_slice(&SPKI_PREFIX);
    spki[12..].copy_from_slice(key);
    spki
}

pub(super) fn raw_key(seed: &[u8; 32]) -> Result<CertifiedKey, Error> {
    let mut pkcs8 = Zeroizing::new([0; 48]);
    pkcs8[..16].copy_from_slice(&PKCS8_PREFIX);
    pkcs8[16..].copy_from_slice(seed);
    let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..]))?;
    let spki = key.public_key().ok_or(Error::General("a key without its public half".into()))?;
    Ok(CertifiedKey::new(vec![CertificateDer::from(spki.to_vec())], key))
}

/// A verifier that accepts the server with this key and no other.
pub(super) fn pinned(server: &ServerPublicKey) -> Arc<PinnedServer> {
    let algorithms = provider().signature_verification_algorithms;
    Arc::new(PinnedServer { spki: spki(server.as_bytes()), algorithms })
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    }
}

/// A clock for rustls, which asks for one. Raw keys have no dates, so the time does not matter.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}

/// The methods that both verifiers share: signatures by the raw key itself, in TLS 1.3 alone.
macro_rules! raw_key_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(not_this_version())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_signature(message, cert, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

/// Accepts one key, compared byte for byte. "The client pins the server's key."
#[derive(Debug)]
pub(super) struct PinnedServer {
    spki: [u8; 44],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if end_entity.as_ref() != self.spki || !intermediates.is_empty() {
            return Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ));
        }
        Ok(ServerCertVerified::assertion())
    }

    raw_key_signatures!();
}

/// Accepts any Ed25519 key that the client proves to hold. "The client's key is its account"; what
/// an unknown one may do is decided after the handshake.
#[derive(Debug)]
struct AnyDevice {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyDevice {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        device(end_entity)?;
        if !intermediates.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(ClientCertVerified::assertion())
    }

    raw_key_signatures!();
}

/// The signature of RFC 8446, 4.4.3, by the raw key itself.
fn verify_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let spki = SubjectPublicKeyInfoDer::from(cert.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
}

/// rustls never asks for TLS 1.2 signatures, since only 1.3 is configured.
fn not_this_version() -> Error {
    PeerMisbehaved::AttemptedDowngradeToTls12WhenTls13IsSupported.into()
}
