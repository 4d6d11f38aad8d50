//! TCP or unix, for protocols that run over both.

use super::{TcpStream, UnixStream};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

/// A TCP or a unix stream.
pub enum Stream<'a> {
    Tcp(TcpStream<'a>),
    Unix(UnixStream<'a>),
}

impl<'a> From<TcpStream<'a>> for Stream<'a> {
    fn from(s: TcpStream<'a>) -> Self {
        Stream::Tcp(s)
    }
}

impl<'a> From<UnixStream<'a>> for Stream<'a> {
    fn from(s: UnixStream<'a>) -> Self {
        Stream::Unix(s)
    }
}

impl Stream<'_> {
    /// As [`TcpStream::is_connecting`]; a unix stream is connected from the start.
    pub fn is_connecting(&self) -> bool {
        matches!(self, Stream::Tcp(s) if s.is_connecting())
    }

    /// No more will be sent; the peer reads an end of file.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.shutdown_write(),
            Stream::Unix(s) => s.shutdown_write(),
        }
    }

    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|task| self.poll_read(task, buf)).await
    }

    pub async fn write_all(&self, data: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.write_all(data).await,
            Stream::Unix(s) => s.write_all(data).await,
        }
    }

    pub fn poll_read(&self, task: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(s) => s.poll_read(task, buf),
            Stream::Unix(s) => s.poll_read(task, buf),
        }
    }

    pub fn poll_write(&self, task: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(s) => s.poll_write(task, data),
            Stream::Unix(s) => s.poll_write(task, data),
        }
    }
}

super::impl_tokio_io!(Stream);
