//! The SDK's stream under hyper's own I/O traits.

use healthd_plugin::net::TcpStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// hyper has traits of its own; this is all they need.
pub struct Io<'a>(pub TcpStream<'a>);

impl hyper::rt::Read for Io<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        mut buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; 4096];
        let room = buf.remaining().min(piece.len());
        let n = ready!(self.0.poll_read(task, &mut piece[..room]))?;
        buf.put_slice(&piece[..n]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(task, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown_write())
    }
}
