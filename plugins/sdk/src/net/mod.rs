//! Step-lane I/O: TCP, UDP, unix streams and ping sockets that wait on the worker's reactor, and any other descriptor.
//!
//! | for | there is |
//! | --- | --- |
//! | a protocol of lines | [`Lines`], with a cap; `tls::starttls` where TLS begins in the middle |
//! | h2, hyper, tokio-postgres | [`drive`]: the connection beside whoever uses it |
//! | a descriptor of a library, netlink, inotify | [`AsyncFd`] |
//! | a connection for the next run of its check | [`Idle`] |
//! | a source address, an interface, DSCP, TTL | [`Bind`] |
//!
//! All of them implement tokio's `AsyncRead` and `AsyncWrite` where they are streams, so tokio-rustls, tokio-postgres
//! and the like run on them with no runtime.
//!
//! What a plain request-reply check costs in system calls: socket, setsockopt, connect, send, epoll_ctl,
//! recv, close. The stream
//! sends at once although connect said EINPROGRESS (on a fast network it is connected by then), tells the host of an
//! fd only when it must wait, and asks for the direction it waits for only, so that there is no spurious step.
//!
//! A peer that sends byte by byte is read without a pause 64 times in a run, and every 5 ms after that.

mod any;
mod async_fd;
mod bind;
mod dribs;
mod drive;
mod idle;
mod lines;
mod ping;
mod source;
mod tcp;
mod udp;
mod unix;

pub use any::Stream;
pub use async_fd::AsyncFd;
pub use bind::Bind;
pub(crate) use dribs::Dribs;
pub use drive::drive;
pub use idle::Idle;
pub use lines::Lines;
pub use ping::{Heard, PING_SIZE_MIN, PingSocket, Undelivered};
pub use tcp::TcpStream;
pub use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
pub use udp::UdpSocket;
pub use unix::UnixStream;

/// tokio's traits for a stream that has `poll_read`, `poll_write` and `shutdown_write` taking `&self`.
macro_rules! impl_tokio_io {
    ($stream:ident) => {
        impl tokio::io::AsyncRead for $stream<'_> {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let n =
                    std::task::ready!($stream::poll_read(&self, cx, buf.initialize_unfilled()))?;
                buf.advance(n);
                std::task::Poll::Ready(Ok(()))
            }
        }

        impl tokio::io::AsyncWrite for $stream<'_> {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $stream::poll_write(&self, cx, buf)
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(self.shutdown_write())
            }
        }
    };
}
pub(crate) use impl_tokio_io;

/// Reads from anything with tokio's trait, for code that is generic over plain and TLS streams.
pub async fn read(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    buf: &mut [u8],
) -> std::io::Result<usize> {
    std::future::poll_fn(|task| {
        let mut buf = tokio::io::ReadBuf::new(buf);
        std::task::ready!(std::pin::Pin::new(&mut *stream).poll_read(task, &mut buf))?;
        std::task::Poll::Ready(Ok(buf.filled().len()))
    })
    .await
}

/// Writes all of `data` and flushes it.
pub async fn write_all(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    mut data: &[u8],
) -> std::io::Result<()> {
    while !data.is_empty() {
        let n =
            std::future::poll_fn(|task| std::pin::Pin::new(&mut *stream).poll_write(task, data))
                .await?;
        if n == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        data = &data[n..];
    }
    std::future::poll_fn(|task| std::pin::Pin::new(&mut *stream).poll_flush(task)).await
}
