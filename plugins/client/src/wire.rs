//! A connection in plain or inside of TLS, so that a protocol is written once.

use crate::failure::Failure;
use crate::held::Held;
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

/// A stream over TCP or a unix socket, and what its check keeps of the answers on it.
pub struct Wire<'a> {
    cx: Cx<'a>,
    layer: Layer<'a>,
    held: Held,
    waited_ns: u64,
    connect_seconds: f64,
    tls_seconds: Option<f64>,
}

/// How a conversation began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun {
    /// Without the look-up of the name.
    pub connect_seconds: f64,
    /// None without TLS, as of the certificate.
    pub tls_seconds: Option<f64>,
    /// The days that the server's own certificate is still valid.
    pub certificate_days: Option<f64>,
}

enum Layer<'a> {
    Plain(Stream<'a>),
    Tls(Box<TlsStream<Stream<'a>>>),
}

impl<'a> Wire<'a> {
    pub fn plain(cx: Cx<'a>, stream: Stream<'a>) -> Wire<'a> {
        Wire {
            cx,
            layer: Layer::Plain(stream),
            held: Held::default(),
            waited_ns: 0,
            connect_seconds: 0.0,
            tls_seconds: None,
        }
    }

    /// Of a connection that took so long.
    pub fn after(self, connect_seconds: f64) -> Wire<'a> {
        Wire {
            connect_seconds,
            ..self
        }
    }

    /// TLS begins now: the phase `tls`.
    pub async fn secure(self, tls: &Connector) -> Result<Wire<'a>, Failure> {
        let Layer::Plain(stream) = self.layer else {
            let why = io::Error::other("TLS inside of TLS");
            return Err(Failure::at("starttls")(why));
        };
        self.cx.phase("tls");
        let begin = self.cx.now_ns();
        let secure = tls.connect(stream).await;
        let secure = secure.map_err(Failure::at("tls"))?;
        Ok(Wire {
            layer: Layer::Tls(Box::new(secure)),
            tls_seconds: Some((self.cx.now_ns() - begin) as f64 / 1e9),
            ..self
        })
    }

    /// Of the server's own certificate; None without TLS.
    pub fn certificate_days(&self) -> Option<f64> {
        match &self.layer {
            Layer::Plain(_) => None,
            Layer::Tls(stream) => certificate_days_left(stream),
        }
    }

    pub fn begun(&self) -> Begun {
        Begun {
            connect_seconds: self.connect_seconds,
            tls_seconds: self.tls_seconds,
            certificate_days: self.certificate_days(),
        }
    }

    /// Before so many bytes of an answer are kept, `most` at the very most: all checks of the library share what there is for
    /// them. The error is an own fault.
    pub async fn room(&mut self, bytes: usize, most: usize) -> io::Result<()> {
        self.waited_ns += self.held.keep(self.cx, bytes, most).await?;
        Ok(())
    }

    /// The clock of the target: it stands still while there is no room.
    pub fn now_ns(&self) -> u64 {
        self.cx.now_ns().saturating_sub(self.waited_ns)
    }

    /// Of the target, from `begin` of that clock on.
    pub fn seconds_since(&self, begin: u64) -> f64 {
        self.now_ns().saturating_sub(begin) as f64 / 1e9
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(s) => AsyncRead::poll_read(Pin::new(s), cx, buf),
            Layer::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().layer {
            Layer::Plain(s) => AsyncWrite::poll_write(Pin::new(s), cx, buf),
            Layer::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(s) => Pin::new(s).poll_flush(cx),
            Layer::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Layer::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
