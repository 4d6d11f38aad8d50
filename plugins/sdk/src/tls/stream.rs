//! A TLS connection and what its server showed.

use super::idle::MadeWith;
use super::trust::Anchors;
use super::verify::now;
use super::words::{self, Wanted};
use crate::certificate::Certificate;
use crate::cx::Cx;
use crate::net;
use rustls::ClientConnection;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use webpki::VerifiedPath;

/// With TLS 1.3 a server refuses a client without a certificate after the handshake, a way there and back later.
const REFUSAL: Duration = Duration::from_millis(500);

/// A TLS connection.
pub struct TlsStream<S> {
    pub(super) inner: tokio_rustls::client::TlsStream<S>,
    pub(super) seen: Seen,
    wanted: Wanted,
    pub(super) made_with: MadeWith,
}

/// What is to be said of the certificates of a connection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The one of the path to the root that ends first; None: it cannot be read.
    pub ends: Option<Shown>,
    /// Nobody was asked to vouch for it (`insecure`): what it says of itself.
    pub unverified: Option<String>,
}

/// A certificate of a chain.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Seconds since 1970.
    pub not_after: i64,
    /// `certificate`, or ``intermediate certificate `NAME` ``, or ``root certificate `NAME` ``.
    pub whose: String,
}

impl Shown {
    pub(super) fn own(certificate: &Certificate<'_>) -> Shown {
        Shown {
            not_after: certificate.not_after,
            whose: "certificate".into(),
        }
    }

    /// Of the server's own, the intermediates and the root of a path, the one that ends first.
    pub(super) fn of_path(anchors: &Anchors, own: &[u8], path: &VerifiedPath<'_>) -> Shown {
        let mut first = Certificate::parse(own).map_or(
            Shown {
                not_after: i64::MAX,
                whose: "certificate".into(),
            },
            |c| Shown::own(&c),
        );
        for cert in path.intermediate_certificates() {
            let der = cert.der();
            let parsed = Certificate::parse(&der);
            if let Some(c) = parsed.filter(|c| c.not_after < first.not_after) {
                first = Shown {
                    not_after: c.not_after,
                    whose: format!("intermediate certificate `{}`", c.name()),
                };
            }
        }
        let root_ends = anchors.end_of(path.anchor());
        if root_ends < first.not_after {
            let name = crate::certificate::name_of(&path.anchor().subject);
            first = Shown {
                not_after: root_ends,
                whose: format!("root certificate `{name}`"),
            };
        }
        first
    }

    /// Days until it ends; below zero once it has.
    pub fn days_left(&self) -> f64 {
        (self.not_after.saturating_sub(now())) as f64 / 86_400.0
    }
}

/// Days until the first certificate of the chain runs out, whichever it is; below zero once it has.
pub fn certificate_days_left<S>(stream: &TlsStream<S>) -> Option<f64> {
    stream.seen.ends.as_ref().map(Shown::days_left)
}

impl<S> TlsStream<S> {
    pub(super) fn new(
        inner: tokio_rustls::client::TlsStream<S>,
        seen: Seen,
        wanted: Wanted,
        made_with: MadeWith,
    ) -> TlsStream<S> {
        TlsStream {
            inner,
            seen,
            wanted,
            made_with,
        }
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The server has asked for a client certificate and got none. With TLS 1.3 it refuses such a client only after the
    /// handshake: a connection on which nothing has been read yet may still end with that.
    pub fn wants_certificate(&self) -> bool {
        self.wanted != Wanted::Nothing
    }

    pub fn get_ref(&self) -> (&S, &ClientConnection) {
        self.inner.get_ref()
    }

    /// What was agreed on by ALPN.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.inner.get_ref().1.alpn_protocol()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// For one who reads nothing: a moment for the refusal of a server that has asked for a certificate and got none.
    pub async fn refusal(&mut self, cx: Cx<'_>) -> io::Result<()> {
        if !self.wants_certificate() {
            return Ok(());
        }
        let mut byte = [0];
        let time = REFUSAL.min(cx.remaining() / 2);
        match cx.timeout(time, net::read(self, &mut byte)).await {
            // One that has nothing to say to us may just hang up.
            Ok(Err(e)) if e.kind() != io::ErrorKind::UnexpectedEof => Err(e),
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(task, buf));
        if buf.filled().len() > before {
            // It talks to us: whatever it asked for, it does not insist.
            self.wanted = Wanted::Nothing;
        }
        let wanted = self.wanted;
        Poll::Ready(match read {
            Ok(()) if wanted != Wanted::Nothing => {
                Err(words::later(io::ErrorKind::UnexpectedEof.into(), wanted))
            }
            read => read.map_err(|e| words::later(e, wanted)),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(task, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}
