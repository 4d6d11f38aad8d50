//! The stream under tokio-postgres: plain or TLS, and guarded.

use super::guard::{Guard, not_postgres};
use super::scram;
use healthd_plugin::Cx;
use healthd_plugin::net::{self, Stream};
use healthd_plugin::tls::{Connector, Shown, TlsStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub struct Wire<'a> {
    /// None: the log-in has it.
    line: Option<Line<'a>>,
    /// Not begun: with what.
    password: Option<(Cx<'a>, Vec<u8>)>,
    log_in: Option<Pin<Box<LogIn<'a>>>>,
    /// Read in the log-in, and still to be shown.
    heard: Vec<u8>,
}

type LogIn<'a> = dyn Future<Output = io::Result<(Line<'a>, Vec<u8>)>> + 'a;

/// The guarded transport.
pub struct Line<'a> {
    transport: Transport<'a>,
    guard: Guard,
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
    pub fn plain(stream: Stream<'a>, guard: Guard) -> Self {
        Wire::over(Transport::Plain(stream), guard)
    }

    pub async fn tls(stream: Stream<'a>, connector: &Connector, guard: Guard) -> io::Result<Self> {
        let stream = Box::new(connector.connect(stream).await?);
        Ok(Wire::over(Transport::Tls(stream), guard))
    }

    fn over(transport: Transport<'a>, guard: Guard) -> Self {
        Wire {
            line: Some(Line { transport, guard }),
            password: None,
            log_in: None,
            heard: Vec::new(),
        }
    }

    /// SCRAM is done in here, and its user sees a server that lets everybody in.
    pub fn answers_scram(&mut self, cx: Cx<'a>, password: &[u8]) {
        self.password = Some((cx, password.to_vec()));
    }

    fn transport(&self) -> Option<&Transport<'a>> {
        self.line.as_ref().map(|line| &line.transport)
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.transport(), Some(Transport::Tls(_)))
    }

    /// The certificate of the server's chain that ends first.
    pub fn certificate(&self) -> Option<&Shown> {
        match self.transport()? {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.seen().ends.as_ref(),
        }
    }

    fn line(&mut self) -> io::Result<Pin<&mut Line<'a>>> {
        let line = self.line.as_mut().map(Pin::new);
        line.ok_or_else(|| io::Error::other("the log-in is not over"))
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some((run, password)) = this.password.take()
            && let Some(mut line) = this.line.take()
        {
            this.log_in = Some(Box::pin(async move {
                let heard = scram::log_in(run, &mut line, &password).await?;
                Ok((line, heard))
            }));
        }
        if let Some(log_in) = &mut this.log_in {
            let done = ready!(log_in.as_mut().poll(cx));
            this.log_in = None;
            let (line, heard) = done?;
            (this.line, this.heard) = (Some(line), heard);
        }
        if this.heard.is_empty() {
            return this.line()?.poll_read(cx, buf);
        }
        let n = this.heard.len().min(buf.remaining());
        buf.put_slice(&this.heard[..n]);
        this.heard.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().line()?.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().line()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().line()?.poll_shutdown(cx)
    }
}

impl AsyncRead for Line<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(match &mut this.transport {
            Transport::Plain(s) => AsyncRead::poll_read(Pin::new(s), cx, buf),
            Transport::Tls(s) => Pin::new(s).poll_read(cx, buf),
        })?;
        Poll::Ready(this.guard.look(&buf.filled()[before..]))
    }
}

impl AsyncWrite for Line<'_> {
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
