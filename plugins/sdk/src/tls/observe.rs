//! Look at what a server shows, then judge it: an expired certificate is reported with its dates, not only refused.

use super::trust::Source;
use super::verify::Judge;
use super::{Connector, Roots, Settings, TlsStream};
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// Makes TLS connections to one server name, whatever certificate is shown there, and says what is wrong with it.
#[derive(Clone, Debug)]
pub struct Observer {
    /// By whom a chain is judged.
    connector: Connector,
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
    /// May block: call it in `create`. With [`Roots::Insecure`] nothing is wrong with any certificate but that it is none of the
    /// pinned ones.
    pub fn new(roots: &Roots, server_name: &str) -> Result<Observer, String> {
        let settings = Settings {
            roots: roots.clone(),
            ..Settings::default()
        };
        Observer::with(&settings, server_name)
    }

    /// May block: call it in `create`.
    pub fn with(settings: &Settings, server_name: &str) -> Result<Observer, String> {
        let connector = Connector::with(settings, server_name)?;
        Ok(Observer { connector })
    }

    /// The handshake. An error is one of the protocol, not of the certificate.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<Observed<S>> {
        let stream = self.connector.connect_as(Judge::anybody(), stream).await?;
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
        let parts = &self.connector.parts;
        if matches!(parts.trust, Source::Anybody) && parts.pins.is_empty() {
            return Ok(());
        }
        let judged = self
            .connector
            .judgement()?
            .chain(chain, &self.connector.name);
        judged.map(|_| ()).map_err(|refused| refused.why)
    }
}
