//! The stream under tokio-postgres: plain or TLS, and guarded.

use super::guard::{Guard, not_postgres};
use healthd_plugin::Cx;
use healthd_plugin::net::{self, Stream};
use healthd_plugin::tls::{Connector, Shown, TlsStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub struct Wire<'a> {
    transport: Transport<'a>,
    guard: Guard,
    cx: Cx<'a>,
    kept: Option<Kept<'a>>,
}

/// Read, and not shown before others have had their turn: the client answers it with much work, in one piece.
struct Kept<'a> {
    bytes: Vec<u8>,
    turn: Pin<Box<dyn Future<Output = ()> + 'a>>,
}

enum Transport<'a> {
    Plain(Stream<'a>),
    Tls(Box<TlsStream<Stream<'a>>>),
}

/// What a server says to the wish for TLS.
pub enum Offer {
    Tls,
    Plain,
}

/// Asks for TLS. Exactly one byte is read, so that nothing sent before the handshake is taken for its content.
pub async fn ask_for_tls(stream: &mut Stream<'_>) -> io::Result<Offer> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    net::write_all(stream, &SSL_REQUEST).await?;
    let mut answer = [0];
    match (net::read(stream, &mut answer).await?, answer[0]) {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (_, b'S') => Ok(Offer::Tls),
        (_, b'N') => Ok(Offer::Plain),
        // It comes in plain, from whoever it is: libpq does not read it either.
        (_, b'E') => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the server answers the request for TLS with an error: it may be unable to start another process; its log says more",
        )),
        _ => Err(not_postgres()),
    }
}

impl<'a> Wire<'a> {
    pub fn plain(cx: Cx<'a>, stream: Stream<'a>, guard: Guard) -> Self {
        Wire::over(cx, Transport::Plain(stream), guard)
    }

    pub async fn tls(
        cx: Cx<'a>,
        stream: Stream<'a>,
        connector: &Connector,
        guard: Guard,
    ) -> io::Result<Self> {
        let stream = Box::new(connector.connect(stream).await?);
        Ok(Wire::over(cx, Transport::Tls(stream), guard))
    }

    fn over(cx: Cx<'a>, transport: Transport<'a>, guard: Guard) -> Self {
        Wire {
            transport,
            guard,
            cx,
            kept: None,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// The certificate of the server's chain that ends first.
    pub fn certificate(&self) -> Option<&Shown> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.seen().ends.as_ref(),
        }
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.kept.is_none() {
            ready!(match &mut this.transport {
                Transport::Plain(s) => AsyncRead::poll_read(Pin::new(s), cx, buf),
                Transport::Tls(s) => Pin::new(s).poll_read(cx, buf),
            })?;
            this.guard.look(&buf.filled()[before..])?;
            if !this.guard.is_heavy {
                return Poll::Ready(Ok(()));
            }
            this.kept = Some(Kept {
                bytes: buf.filled()[before..].to_vec(),
                turn: Box::pin(this.cx.yield_now()),
            });
            buf.set_filled(before);
        }
        if let Some(kept) = &mut this.kept {
            ready!(kept.turn.as_mut().poll(cx));
            // Whoever reads offers no less room than before; what would not fit stays for the next time.
            let rest = kept.bytes.split_off(kept.bytes.len().min(buf.remaining()));
            buf.put_slice(&kept.bytes);
            kept.bytes = rest;
        }
        this.kept.take_if(|kept| kept.bytes.is_empty());
        if let Some(kept) = &mut this.kept {
            // Its turn has come, and is not waited for again.
            kept.turn = Box::pin(std::future::ready(()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(s) => AsyncWrite::poll_write(Pin::new(s), cx, data),
            Transport::Tls(s) => Pin::new(s).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(s) => Pin::new(s).poll_flush(cx),
            Transport::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Transport::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// A stream that is written to and not closed: a cancel request ends when the server closes. PgBouncer takes an end from our
/// side for a lost client.
pub struct KeepsOpen<'w, 'a>(pub &'w mut Wire<'a>);

impl AsyncRead for KeepsOpen<'_, '_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for KeepsOpen<'_, '_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().0).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
