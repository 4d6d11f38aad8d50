//! A connection to a receiver, with TLS where its URL says so: hyper's client, and the roots of this machine or of a file.

use crate::body::Answer;
use healthd_core::config::Endpoint;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Until the receiver is reached, TLS and all.
const CONNECT: Duration = Duration::from_secs(10);
/// For a request and its answer.
const EXCHANGE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const ANSWER: usize = 16 << 10;

/// How a receiver is reached.
pub struct Way {
    host: String,
    port: u16,
    tls: bool,
    ca: Option<PathBuf>,
}

pub struct Connection(SendRequest<Answer>);

pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Its beginning.
    pub body: Vec<u8>,
    /// The connection is good for another one.
    pub goes_on: bool,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Way {
    pub fn new(to: &Endpoint, ca: Option<PathBuf>) -> Way {
        Way {
            host: to.host.clone(),
            port: to.port,
            tls: to.tls,
            ca,
        }
    }

    pub async fn connect(&self) -> Result<Connection, String> {
        let opened = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|e| format!("connect: {e}"))?;
            let stream: Box<dyn Stream> = match self.tls {
                false => Box::new(stream),
                true => {
                    // Read each time: a certificate that was renewed is trusted without a restart.
                    let connector = connector(self.ca.as_deref())?;
                    let name = ServerName::try_from(self.host.clone());
                    let name = name.map_err(|e| format!("`{}`: {e}", self.host))?;
                    let secure = connector.connect(name, stream).await;
                    Box::new(secure.map_err(|e| format!("TLS: {e}"))?)
                }
            };
            let (sender, connection) = handshake(TokioIo::new(stream))
                .await
                .map_err(|e| e.to_string())?;
            tokio::task::spawn_local(connection);
            Ok(Connection(sender))
        };
        let late = |_| Err(format!("connect: not within {} s", CONNECT.as_secs()));
        timeout(CONNECT, opened).await.unwrap_or_else(late)
    }
}

impl Connection {
    pub async fn post(
        &mut self,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answered, String> {
        let mut request = Request::post(path)
            .body(Answer::Whole(Some(body)))
            .map_err(|e| e.to_string())?;
        *request.headers_mut() = headers.clone();
        let exchange = async {
            self.0.ready().await.map_err(told)?;
            let response = self.0.send_request(request).await.map_err(told)?;
            let (head, body) = response.into_parts();
            let (body, whole) = beginning(body).await;
            Ok(Answered {
                status: head.status,
                headers: head.headers,
                body,
                goes_on: whole,
            })
        };
        let late = |_| Err(format!("no answer within {} s", EXCHANGE.as_secs()));
        timeout(EXCHANGE, exchange).await.unwrap_or_else(late)
    }
}

/// With what it comes from.
fn told(e: hyper::Error) -> String {
    match std::error::Error::source(&e) {
        Some(cause) => format!("{e}: {cause}"),
        None => e.to_string(),
    }
}

/// And whether that was all of it.
async fn beginning(mut body: Incoming) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) if all.len() + data.len() <= ANSWER => all.extend_from_slice(&data),
            Ok(Err(_)) => {}
            _ => return (all, false),
        }
    }
    (all, true)
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let told = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            let all = CertificateDer::pem_file_iter(path).map_err(|e| told(&e))?;
            for certificate in all {
                let certificate = certificate.map_err(|e| told(&e))?;
                roots.add(certificate).map_err(|e| told(&e))?;
            }
            if roots.is_empty() {
                return Err(told(&"no certificate in it"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this machine has no CA certificates (package ca-certificates); `ca` of [push] can name a file".into());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
