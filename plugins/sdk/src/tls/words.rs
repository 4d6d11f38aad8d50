//! What goes wrong with TLS, in plain words.

use super::verify::Refused;
use crate::certificate::{Certificate, KeyKind};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, PeerIncompatible, PeerMisbehaved};
use std::io;

/// What the server has asked for and did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Certificate,
    /// The check's options could say one.
    CertificateByOptions,
}

impl Wanted {
    fn text(self) -> &'static str {
        match self {
            Wanted::CertificateByOptions => {
                "the server wants a client certificate (cert_file, key_file)"
            }
            Wanted::Certificate | Wanted::Nothing => "the server wants a client certificate",
        }
    }
}

const OUR_TLS: &str =
    "here: TLS 1.2 and 1.3 with ECDHE on X25519, P-256 or P-384, AES-GCM or ChaCha20";

/// A handshake that failed, and not by our judgement.
pub(super) fn handshake(e: io::Error, wanted: Wanted, versions: usize) -> io::Error {
    let inner = e
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (kind, text) = match inner {
        Some(error) if versions == 1 && is_about_versions(error) => (
            io::ErrorKind::InvalidData,
            "the server speaks no version of TLS that is allowed here".into(),
        ),
        Some(error) => rustls_error(error, wanted),
        None if wanted != Wanted::Nothing => {
            (e.kind(), format!("connection closed: {}", wanted.text()))
        }
        None if e.kind() == io::ErrorKind::UnexpectedEof => {
            (e.kind(), "connection closed during the handshake".into())
        }
        None => return e,
    };
    io::Error::new(kind, text)
}

/// An error on a connection whose handshake was done; in TLS 1.3 the server refuses a client only then.
pub(super) fn later(e: io::Error, wanted: Wanted) -> io::Error {
    let inner = e.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error @ rustls::Error::AlertReceived(_)) => {
            let (kind, text) = rustls_error(error, wanted);
            io::Error::new(kind, text)
        }
        None if wanted != Wanted::Nothing && e.kind() != io::ErrorKind::WouldBlock => {
            io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("connection closed: {}", wanted.text()),
            )
        }
        _ => e,
    }
}

fn rustls_error(error: &rustls::Error, wanted: Wanted) -> (io::ErrorKind, String) {
    use AlertDescription as Alert;
    use io::ErrorKind::{InvalidData, Unsupported};
    match error {
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            (InvalidData, wanted.text().into())
        }
        rustls::Error::AlertReceived(
            Alert::HandshakeFailure | Alert::BadCertificate | Alert::AccessDenied,
        ) if wanted != Wanted::Nothing => (InvalidData, wanted.text().into()),
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate,
        ) => (
            InvalidData,
            format!(
                "the server refuses our client certificate ({})",
                alert(error)
            ),
        ),
        error if is_about_versions(error) => {
            (InvalidData, "the server only speaks TLS below 1.2".into())
        }
        rustls::Error::AlertReceived(Alert::UnrecognisedName) => (
            InvalidData,
            "the server does not know this name (SNI)".into(),
        ),
        // It may serve others well: what it has, ring has not.
        rustls::Error::AlertReceived(Alert::HandshakeFailure | Alert::InsufficientSecurity) => (
            Unsupported,
            format!(
                "the server finds no cipher suite, key exchange or certificate in common \
                 (it may have only RSA key exchange, CBC ciphers or other curves; {OUR_TLS})"
            ),
        ),
        rustls::Error::AlertReceived(Alert::InternalError) => (
            InvalidData,
            "the server failed in the handshake, at its own side (alert InternalError); its log may say why"
                .into(),
        ),
        rustls::Error::PeerIncompatible(why) => (
            Unsupported,
            format!("the server wants what cannot be done here: {why:?} ({OUR_TLS})"),
        ),
        rustls::Error::PeerMisbehaved(PeerMisbehaved::SignedKxWithWrongAlgorithm) => (
            Unsupported,
            format!("the server's key is of a kind that cannot be used here with TLS 1.2 ({OUR_TLS})"),
        ),
        rustls::Error::AlertReceived(_) => (
            InvalidData,
            format!("the server sent alert {}", alert(error)),
        ),
        rustls::Error::InvalidMessage(_) => (InvalidData, "the server does not speak TLS".into()),
        rustls::Error::NoApplicationProtocol => (
            InvalidData,
            "the server speaks none of the offered protocols (ALPN)".into(),
        ),
        other => (InvalidData, other.to_string()),
    }
}

/// Also what a server says that has nothing newer than TLS 1.1.
fn is_about_versions(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                    | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            )
    )
}

fn alert(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(alert) => format!("{alert:?}"),
        other => other.to_string(),
    }
}

const UNTRUSTED: &str = "certificate is signed by no CA that is trusted here";
pub(super) const NOT_FOR_SERVERS: &str =
    "certificate is not one for servers (its extended key usage says what it is for)";

pub(super) fn not_for(name: &ServerName<'_>) -> String {
    format!("certificate is not for {}", name.to_str())
}

/// What webpki has against a chain.
pub(super) fn refused(
    error: &webpki::Error,
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    name: &ServerName<'_>,
) -> Refused {
    use webpki::Error as E;
    let say = |why: String| Refused { why, cannot: false };
    match error {
        E::CertExpired { .. } => say(dated(own, others, "has expired", |c, now| {
            c.not_after < now
        })),
        E::CertNotValidYet { .. } => say(dated(own, others, "is not valid yet", |c, now| {
            c.not_before > now
        })),
        E::CertNotValidForName(_) => say(not_for(name)),
        E::RequiredEkuNotFoundContext(_) => say(NOT_FOR_SERVERS.into()),
        E::CertRevoked => say("certificate is revoked".into()),
        E::CaUsedAsEndEntity => Refused {
            why: "certificate is one of a CA and not of a server; give it as `ca_file` to trust it"
                .into(),
            cannot: false,
        },
        E::UnsupportedCertVersion => {
            say("certificate is of X.509 version 1, which no browser takes".into())
        }
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => {
            // A bad signature: by another CA of the same name, or by a key that is too short.
            let odd = std::iter::once(own)
                .chain(others)
                .filter_map(|der| Certificate::parse(der))
                .find(|c| !can_verify(c.key) && matches!(error, E::InvalidSignatureForPublicKey));
            match (odd, error) {
                (Some(c), _) => cannot_verify(c.key),
                (None, E::InvalidSignatureForPublicKey) => say(format!(
                    "{UNTRUSTED}, but by another one with the name of one that is"
                )),
                _ => say(UNTRUSTED.into()),
            }
        }
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Refused {
            why: "certificate is signed in a way that cannot be verified here (RSA and ECDSA with SHA-2, and Ed25519, can)"
                .into(),
            cannot: true,
        },
        E::EndEntityUsedAsCa => say("certificate is signed by one that is none of a CA".into()),
        E::PathLenConstraintViolated => say(
            "certificate has more CAs above it than one of them allows (path length)".into(),
        ),
        E::NameConstraintViolation => say(
            "certificate is for names for which a CA above it may sign none (name constraints)"
                .into(),
        ),
        E::UnsupportedCriticalExtension => {
            say("bad certificate: a critical extension is not known here".into())
        }
        other => say(format!("bad certificate: {other}")),
    }
}

/// Names the certificate if it is not the server's own.
fn dated(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    what: &str,
    is: impl Fn(&Certificate<'_>, i64) -> bool,
) -> String {
    let now = super::verify::now();
    if !Certificate::parse(own).is_some_and(|c| is(&c, now)) {
        let mut others = others.iter().filter_map(|der| Certificate::parse(der));
        if let Some(c) = others.find(|c| is(c, now)) {
            return format!("intermediate certificate `{}` {what}", c.name());
        }
    }
    format!("certificate {what}")
}

/// Whether ring can check signatures by such a key.
pub(super) fn can_verify(key: KeyKind) -> bool {
    match key {
        KeyKind::Rsa { bits } => (2048..=8192).contains(&bits),
        KeyKind::Ec { curve } => matches!(curve, "P-256" | "P-384"),
        KeyKind::Ed25519 => true,
        KeyKind::Ed448 | KeyKind::Other => false,
    }
}

pub(super) fn cannot_verify(key: KeyKind) -> Refused {
    Refused {
        why: format!(
            "certificate has a {key}, which cannot be verified here (RSA of 2048 to 8192 bits, P-256, P-384 and Ed25519 can)"
        ),
        cannot: true,
    }
}
