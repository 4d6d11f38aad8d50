//! TLS over the step lane's streams: rustls with ring, no OpenSSL.
//!
//! A [`Connector`] is made in `create`, where reading files may block, and used by every run. The files that it names
//! (CA certificates, a client's certificate and key) are read anew when they change. Checks with the same roots share
//! them: they are the large part. A new connection resumes no session of an earlier one, because a check that looks at a
//! certificate must be shown it each time; a connection itself may serve another run, see [`Idle`].

mod facts;
mod identity;
mod idle;
mod observe;
mod pin;
mod starttls;
mod stream;
mod trust;
mod verify;
mod words;

pub use super::certificate::{Certificate, KeyKind, not_after};
pub use facts::Facts;
pub use idle::Idle;
pub use observe::{Observed, Observer};
pub use pin::Pin;
pub use starttls::{Dialect, Reply, starttls};
pub use stream::{Seen, Shown, TlsStream, certificate_days_left};

use crate::fresh::Fresh;
use crate::hostname::to_ascii;
use crate::options;
use identity::{Asked, Identity};
use idle::MadeWith;
use rustls::client::Resumption;
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup, SupportedProtocolVersion};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use tokio::io::{AsyncRead, AsyncWrite};
use trust::Source;
use verify::{Judge, Verifier};
use words::Wanted;

pub use rustls;
pub use tokio_rustls;

/// Whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Roots {
    /// The machine's CA certificates.
    #[default]
    System,
    /// The certificates of this PEM file, and no others. One that is no CA's is trusted for itself.
    File(PathBuf),
    /// Anybody: the connection is encrypted, but with whom is not checked.
    Insecure,
}

impl Roots {
    /// From the two options that checks have for it.
    pub fn from_options<P: AsRef<Path> + ?Sized>(
        ca_file: Option<&P>,
        insecure: bool,
    ) -> Result<Roots, String> {
        match (ca_file, insecure) {
            (Some(_), true) => Err("ca_file and insecure: only one of them".into()),
            (Some(file), false) => Ok(Roots::File(file.as_ref().to_path_buf())),
            (None, true) => Ok(Roots::Insecure),
            (None, false) => Ok(Roots::System),
        }
    }
}

/// [`Settings::identity`] from the two options that checks have for it: a certificate's file may have its key too.
pub fn identity_from_options(
    cert_file: Option<&Path>,
    key_file: Option<&Path>,
) -> Result<Option<(PathBuf, PathBuf)>, String> {
    match (cert_file, key_file) {
        (Some(certificate), key) => Ok(Some((
            certificate.to_path_buf(),
            key.unwrap_or(certificate).to_path_buf(),
        ))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err("key_file: needs cert_file".into()),
    }
}

options! {
    /// A version of TLS that this SDK speaks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Version { Tls12 = "1.2", Tls13 = "1.3" }
}

/// [`Settings::oldest`] and [`Settings::newest`] from the two options that checks have for it.
pub fn versions_from_options(
    tls_min: Version,
    tls_max: Version,
) -> Result<(Option<Version>, Option<Version>), String> {
    match tls_min > tls_max {
        true => Err("tls_max: older than tls_min".into()),
        false => Ok((Some(tls_min), Some(tls_max))),
    }
}

/// All that a TLS client can be told. The default trusts the machine's roots and speaks TLS 1.2 and 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    pub roots: Roots,
    /// A certificate of these roots is good for whatever name (PostgreSQL's `verify-ca`).
    pub any_name: bool,
    /// PEM files of the client's own certificate (with its chain) and its key, which may be the same.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The check has the options `cert_file` and `key_file`: they are named where a server wants a certificate.
    pub may_identify: bool,
    pub oldest: Option<Version>,
    pub newest: Option<Version>,
    /// What is offered by ALPN, the best first.
    pub protocols: Vec<Vec<u8>>,
    /// If there are any, the server's own certificate must be one of these.
    pub pins: Vec<Pin>,
}

/// Makes TLS connections to one server name.
#[derive(Clone)]
pub struct Connector {
    parts: Arc<Parts>,
    name: ServerName<'static>,
    /// What is offered by ALPN instead of what the settings say.
    offered: Option<Vec<Vec<u8>>>,
}

/// What connectors for several names share.
struct Parts {
    trust: Source,
    identity: Option<Arc<Fresh<Identity>>>,
    may_identify: bool,
    any_name: bool,
    pins: Vec<Pin>,
    /// How many versions of TLS are allowed.
    versions: usize,
    /// Without a verifier; each connection adds its own, which records what it saw.
    base: ClientConfig,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connector").field(&self.name).finish()
    }
}

impl Connector {
    /// May block: call it in `create`. `server_name` is the name or address the certificate must be for.
    pub fn new(roots: &Roots, server_name: &str) -> Result<Connector, String> {
        let settings = Settings {
            roots: roots.clone(),
            ..Settings::default()
        };
        Connector::with(&settings, server_name)
    }

    /// Trusts a certificate of these roots for whatever name (PostgreSQL's `verify-ca`). `server_name` is only told to
    /// the server. May block.
    pub fn any_name(roots: &Roots, server_name: &str) -> Result<Connector, String> {
        let settings = Settings {
            roots: roots.clone(),
            any_name: true,
            ..Settings::default()
        };
        Connector::with(&settings, server_name)
    }

    /// May block: call it in `create`. Connectors with the same settings share all but the name.
    pub fn with(settings: &Settings, server_name: &str) -> Result<Connector, String> {
        Ok(Connector {
            name: parse_name(server_name)?,
            parts: Parts::shared(settings)?,
            offered: None,
        })
    }

    /// The same trust for another name: a redirect. Does not block.
    pub fn for_name(&self, server_name: &str) -> Result<Connector, String> {
        Ok(Connector {
            parts: self.parts.clone(),
            name: parse_name(server_name)?,
            offered: None,
        })
    }

    /// The same, with other protocols in ALPN. Does not block.
    pub fn offering(&self, protocols: &[&[u8]]) -> Connector {
        Connector {
            offered: Some(protocols.iter().map(|p| p.to_vec()).collect()),
            ..self.clone()
        }
    }

    pub fn server_name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// The handshake. The error says in plain words what is wrong with the certificate. What no client of this kind can
    /// judge (only RSA key exchange, odd curves) is [`io::ErrorKind::Unsupported`], a machine without CA certificates an
    /// [`own fault`](crate::own_fault).
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let judge = self.judgement().map_err(crate::own_fault)?;
        self.connect_as(judge, stream).await
    }

    /// By what certificates are judged now. The error is a fault of this machine.
    fn judgement(&self) -> Result<Judge, String> {
        let parts = &self.parts;
        Ok(Judge {
            anchors: parts.trust.now()?,
            any_name: parts.any_name,
            pins: parts.pins.clone(),
        })
    }

    async fn connect_as<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        judge: Judge,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let parts = &self.parts;
        let made_with = MadeWith {
            anchors: judge.anchors.clone(),
            identity: parts.identity.as_ref().map(|i| i.get()),
        };
        let verifier = Arc::new(Verifier::new(judge));
        let asked = Arc::new(Asked::new(made_with.identity.clone()));
        let mut config = parts.base.clone();
        config
            .dangerous()
            .set_certificate_verifier(verifier.clone());
        config.client_auth_cert_resolver = asked.clone();
        if let Some(offered) = &self.offered {
            config.alpn_protocols.clone_from(offered);
        }
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        // Boxed: the handshake's state would stay part of the caller's future for the rest of the run.
        let connected = Box::pin(connector.connect(self.name.clone(), stream)).await;
        let wanted = match (asked.in_vain(), parts.may_identify) {
            (false, _) => Wanted::Nothing,
            (true, false) => Wanted::Certificate,
            (true, true) => Wanted::CertificateByOptions,
        };
        match connected {
            Ok(inner) => Ok(TlsStream::new(inner, verifier.seen(), wanted, made_with)),
            Err(e) => Err(match verifier.refused() {
                Some(refused) => refused.into_io(),
                None => words::handshake(e, wanted, parts.versions),
            }),
        }
    }
}

impl Parts {
    fn shared(settings: &Settings) -> Result<Arc<Parts>, String> {
        static SHARED: Mutex<Option<HashMap<Settings, Weak<Parts>>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = shared.get_or_insert_default();
        if let Some(parts) = shared.get(settings).and_then(Weak::upgrade) {
            return Ok(parts);
        }
        let parts = Arc::new(Parts::new(settings)?);
        shared.retain(|_, parts| parts.strong_count() > 0);
        shared.insert(settings.clone(), Arc::downgrade(&parts));
        Ok(parts)
    }

    fn new(settings: &Settings) -> Result<Parts, String> {
        let oldest = settings.oldest.unwrap_or(Version::Tls12);
        let newest = settings.newest.unwrap_or(Version::Tls13);
        let all: [(Version, &'static SupportedProtocolVersion); 2] = [
            (Version::Tls13, &rustls::version::TLS13),
            (Version::Tls12, &rustls::version::TLS12),
        ];
        let allowed = |v: &Version| *v >= oldest && *v <= newest;
        let versions: Vec<_> = all
            .iter()
            .filter(|(v, _)| allowed(v))
            .map(|x| x.1)
            .collect();
        if versions.is_empty() {
            return Err("the newest version of TLS is older than the oldest".into());
        }
        let provider = match settings.roots {
            Roots::Insecure => Arc::new(CryptoProvider {
                kx_groups: [provider().kx_groups.as_slice(), &[&CertificatesOnly]].concat(),
                ..(*provider()).clone()
            }),
            _ => provider(),
        };
        let mut base = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::nobody()))
            .with_no_client_auth();
        base.resumption = Resumption::disabled();
        base.alpn_protocols.clone_from(&settings.protocols);
        let identity = settings.identity.as_ref();
        Ok(Parts {
            trust: Source::new(&settings.roots)?,
            identity: identity
                .map(|(certificate, key)| identity::shared(certificate, key))
                .transpose()?,
            may_identify: settings.may_identify,
            any_name: settings.any_name,
            pins: settings.pins.clone(),
            versions: versions.len(),
            base,
        })
    }
}

/// A curve that is offered though ring has it not: in TLS 1.2 a server with such a key asks whether its client knows the
/// curve, and then agrees on another one for the key exchange.
#[derive(Debug)]
struct CertificatesOnly;

impl SupportedKxGroup for CertificatesOnly {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        Err(rustls::PeerIncompatible::NoKxGroupsInCommon.into())
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

fn parse_name(server_name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(to_ascii(server_name)?.into_owned())
        .map_err(|_| format!("{server_name:?} is no name a certificate can be for"))
}

fn provider() -> Arc<CryptoProvider> {
    static RING: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    RING.get_or_init(|| Arc::new(ring::default_provider()))
        .clone()
}
