//! A connection in plain or inside of TLS, so that a protocol is written once.

use crate::failure::Failure;
use healthd_plugin::net::{AsyncRead, AsyncWrite, ReadBuf, Stream};
use healthd_plugin::tls::{Connector, TlsStream, certificate_days_left};
use healthd_plugin::{Cx, options};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

options! {
    /// When TLS begins.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum TlsMode { None = "none", StartTls = "starttls", Implicit = "implicit" }
}

impl From<bool> for TlsMode {
    fn from(tls: bool) -> TlsMode {
        match tls {
            true => TlsMode::Implicit,
            false => TlsMode::None,
        }
    }
}

/// A stream over TCP or a unix socket.
pub enum Wire<'a> {
    Plain(Stream<'a>),
    Tls(Box<TlsStream<Stream<'a>>>),
}

impl<'a> Wire<'a> {
    /// The phase `tls`.
    pub async fn secure(
        cx: Cx<'a>,
        stream: Stream<'a>,
        tls: &Connector,
    ) -> Result<Wire<'a>, Failure> {
        cx.phase("tls");
        let secure = tls.connect(stream).await;
        let secure = secure.map_err(Failure::at("tls"))?;
        Ok(Wire::Tls(Box::new(secure)))
    }

    /// Of the server's own certificate; None without TLS.
    pub fn certificate_days(&self) -> Option<f64> {
        match self {
            Wire::Plain(_) => None,
            Wire::Tls(stream) => certificate_days_left(stream),
        }
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => AsyncRead::poll_read(Pin::new(s), cx, buf),
            Wire::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(s) => AsyncWrite::poll_write(Pin::new(s), cx, buf),
            Wire::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_flush(cx),
            Wire::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Wire::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
