//! Look at what a server shows, then judge it: an expired certificate is reported with its dates, not only refused.

use super::{
    Connector, Key, Roots, TlsStream, builder, certificate_text, file_roots, finish, parse_name,
    provider, shared, system_roots, webpki,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Makes TLS connections to one server name, whatever certificate is shown there, and says what is wrong with it.
#[derive(Clone, Debug)]
pub struct Observer {
    connector: Connector,
    judge: Option<Arc<WebPkiServerVerifier>>,
}

/// A connection and what the server showed.
pub struct Observed<S> {
    pub stream: TlsStream<S>,
    /// As it was sent, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    pub protocol: Option<ProtocolVersion>,
    /// In plain words, what is wrong: with the path to a root, the dates or the name.
    pub verdict: Result<(), String>,
}

impl Observer {
    /// May block: call it in `create`. With [`Roots::Insecure`] nothing is wrong with any certificate.
    pub fn new(roots: &Roots, server_name: &str) -> Result<Observer, String> {
        let judge = match roots {
            Roots::Insecure => None,
            Roots::System => Some(webpki(system_roots()?)),
            Roots::File(path) => {
                let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
                Some(webpki(file_roots(path, &pem)?))
            }
        };
        let config = shared(Key::Observe, || {
            finish(
                builder()
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Whatever))
                    .with_no_client_auth(),
            )
        });
        let name = parse_name(server_name)?;
        let connector = Connector { config, name };
        Ok(Observer { connector, judge })
    }

    /// The handshake. An error is one of the protocol, not of the certificate.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<Observed<S>> {
        let stream = self.connector.connect(stream).await?;
        let session = stream.get_ref().1;
        let chain = session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|c| c.clone().into_owned())
            .collect::<Vec<_>>();
        let protocol = session.protocol_version();
        let verdict = self.judge(&chain);
        Ok(Observed {
            stream,
            chain,
            protocol,
            verdict,
        })
    }

    /// What is wrong with this chain today, for this name and these roots.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let Some(judge) = &self.judge else {
            return Ok(());
        };
        let Some((own, others)) = chain.split_first() else {
            return Err("the server shows no certificate".into());
        };
        let name = &self.connector.name;
        match judge.verify_server_cert(own, others, name, &[], UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(why)) => Err(certificate_text(&why, name)),
            Err(other) => Err(other.to_string()),
        }
    }
}

/// Takes any certificate. The server must still hold its key, where the certificate can be read at all.
#[derive(Debug)]
struct Whatever;

impl ServerCertVerifier for Whatever {
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
        let algorithms = &provider().signature_verification_algorithms;
        readable(
            certificate,
            verify_tls12_signature(message, certificate, signature, algorithms),
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        readable(
            certificate,
            verify_tls13_signature(message, certificate, signature, algorithms),
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A certificate that webpki cannot read (X.509 version 1, an odd extension) has no key to check the signature with;
/// the judgement says what is wrong with it.
fn readable(
    certificate: &CertificateDer<'_>,
    verified: Result<HandshakeSignatureValid, rustls::Error>,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    match rustls::server::ParsedCertificate::try_from(certificate) {
        Ok(_) => verified,
        Err(_) => Ok(HandshakeSignatureValid::assertion()),
    }
}
