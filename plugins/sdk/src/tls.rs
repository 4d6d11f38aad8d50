//! TLS over the step lane's streams: rustls with ring, no OpenSSL.
//!
//! A [`Connector`] is made in `create`, where reading CA files may block, and used by every run. Checks with the same
//! roots share one rustls configuration: it is the large part. Sessions are never resumed, because a check that looks
//! at a certificate must be shown it each time.

mod observe;
mod starttls;

pub use super::certificate::not_after;
pub use observe::{Observed, Observer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible,
    RootCertStore, SignatureScheme,
};
pub use starttls::{Dialect, Reply, starttls};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};

pub use rustls;
pub use tokio_rustls;
pub use tokio_rustls::client::TlsStream;

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The machine's CA certificates, read once a process.
    System,
    /// The certificates of this PEM file, and no others.
    File(PathBuf),
    /// Anybody: the connection is encrypted, but with whom is not checked.
    Insecure,
}

impl Roots {
    /// From the two options that checks have for it.
    pub fn from_options(ca_file: Option<&str>, insecure: bool) -> Result<Roots, String> {
        match (ca_file, insecure) {
            (Some(_), true) => Err("ca_file and insecure: only one of them".into()),
            (Some(file), false) => Ok(Roots::File(file.into())),
            (None, true) => Ok(Roots::Insecure),
            (None, false) => Ok(Roots::System),
        }
    }
}

/// Makes TLS connections to one server name.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    /// May block: call it in `create`. `server_name` is the name or address the certificate must be for.
    pub fn new(roots: &Roots, server_name: &str) -> Result<Connector, String> {
        Ok(Connector {
            name: parse_name(server_name)?,
            config: client_config(roots)?,
        })
    }

    /// Trusts a certificate of these roots for whatever name (PostgreSQL's `verify-ca`). `server_name` is only told to
    /// the server. May block.
    pub fn any_name(roots: &Roots, server_name: &str) -> Result<Connector, String> {
        Ok(Connector {
            name: parse_name(server_name)?,
            config: any_name_config(roots)?,
        })
    }

    /// The same trust for another name: a redirect. Does not block.
    pub fn for_name(&self, server_name: &str) -> Result<Connector, String> {
        Ok(Connector {
            config: self.config.clone(),
            name: parse_name(server_name)?,
        })
    }

    /// The rustls configuration, for libraries that bring their own stream (tokio-postgres).
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    pub fn server_name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// The handshake. The error says in plain words what is wrong with the certificate.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        // Boxed: the handshake's state would stay part of the caller's future for the rest of the run.
        Box::pin(connector.connect(self.name.clone(), stream))
            .await
            .map_err(|e| self.in_plain_words(e))
    }

    fn in_plain_words(&self, e: io::Error) -> io::Error {
        let inner = e
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let text = match inner {
            Some(rustls::Error::InvalidCertificate(why)) => certificate_text(why, &self.name),
            // Also what a server says that has nothing newer than TLS 1.1.
            Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
                "the server only speaks TLS below 1.2".into()
            }
            Some(rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            )) => "the server only speaks TLS below 1.2".into(),
            Some(rustls::Error::AlertReceived(alert)) => format!("the server sent alert {alert:?}"),
            Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS".into(),
            Some(other) => other.to_string(),
            None if e.kind() == io::ErrorKind::UnexpectedEof => {
                "connection closed during the handshake".into()
            }
            None => return e,
        };
        io::Error::new(e.kind(), text)
    }
}

/// What is wrong with a certificate, in plain words.
fn certificate_text(why: &CertificateError, name: &ServerName<'_>) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not valid yet".into()
        }
        // A bad signature: by another CA of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate is signed by nobody we trust".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("certificate is not for {}", name.to_str())
        }
        CertificateError::Revoked => "certificate is revoked".into(),
        other => format!("bad certificate: {other}"),
    }
}

fn parse_name(server_name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(server_name.to_string())
        .map_err(|_| format!("{server_name:?} is no name a certificate can be for"))
}

/// Days until the certificate the server showed runs out; below zero once it has. The first of the chain counts, the
/// server's own.
pub fn certificate_days_left<S>(stream: &TlsStream<S>) -> Option<f64> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()?
        .as_secs_f64();
    Some((not_after(certificate)? as f64 - now) / 86_400.0)
}

// ---- configurations, shared ----

#[derive(PartialEq, Eq)]
enum Key {
    Insecure,
    /// By content, not by path: a renewed file must not find the old configuration.
    Pem(Vec<u8>),
    SystemAnyName,
    PemAnyName(Vec<u8>),
    Observe,
}

fn client_config(roots: &Roots) -> Result<Arc<ClientConfig>, String> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    match roots {
        Roots::System => SYSTEM
            .get_or_init(|| Ok(verifying(system_roots()?)))
            .clone(),
        Roots::File(path) => {
            let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let store = file_roots(path, &pem)?;
            Ok(shared(Key::Pem(pem), || verifying(store)))
        }
        Roots::Insecure => Ok(shared(Key::Insecure, || {
            let verifier = Arc::new(AcceptAll(provider()));
            finish(
                builder()
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
                    .with_no_client_auth(),
            )
        })),
    }
}

fn any_name_config(roots: &Roots) -> Result<Arc<ClientConfig>, String> {
    let (key, store) = match roots {
        Roots::Insecure => return client_config(roots),
        Roots::System => (Key::SystemAnyName, system_roots()?),
        Roots::File(path) => {
            let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let store = file_roots(path, &pem)?;
            (Key::PemAnyName(pem), store)
        }
    };
    Ok(shared(key, || {
        finish(
            builder()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyName(webpki(store))))
                .with_no_client_auth(),
        )
    }))
}

fn shared(key: Key, make: impl FnOnce() -> Arc<ClientConfig>) -> Arc<ClientConfig> {
    static SHARED: Mutex<Vec<(Key, Weak<ClientConfig>)>> = Mutex::new(Vec::new());
    let mut known = SHARED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    known.retain(|(_, config)| config.strong_count() > 0);
    if let Some(config) = known
        .iter()
        .find(|(k, _)| *k == key)
        .and_then(|(_, c)| c.upgrade())
    {
        return config;
    }
    let config = make();
    known.push((key, Arc::downgrade(&config)));
    config
}

fn provider() -> Arc<CryptoProvider> {
    static RING: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    RING.get_or_init(|| Arc::new(ring::default_provider()))
        .clone()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
}

fn webpki(roots: RootCertStore) -> Arc<WebPkiServerVerifier> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .expect("the roots are not empty")
}

fn verifying(roots: RootCertStore) -> Arc<ClientConfig> {
    finish(
        builder()
            .with_webpki_verifier(webpki(roots))
            .with_no_client_auth(),
    )
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    match (store.is_empty(), found.errors.first()) {
        (false, _) => Ok(store),
        (true, Some(e)) => Err(format!("the machine's CA certificates: {e}")),
        (true, None) => Err("this machine has no CA certificates (package ca-certificates)".into()),
    }
}

fn file_roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| format!("{}: {e}", path.display()))?;
        store
            .add(certificate)
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if store.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(store)
}

/// `insecure`: takes any certificate, but still checks that the server holds its key, as the protocol wants.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks all but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let inner = &self.0;
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // rustls looks at the name last, when signatures and dates have been found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
