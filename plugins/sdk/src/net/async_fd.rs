//! Readiness of any non-blocking descriptor: a netlink socket, an inotify queue, a library's own connection.

use super::source::Source;
use crate::cx::Cx;
use healthd_abi::{IO_READ, IO_WRITE};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

/// A descriptor of your own that waits on the worker's reactor. Closed, and the host told, when dropped.
///
/// The reactor is edge-triggered. So there is no bare "is readable": the operation is tried first and waits only when
/// it says EAGAIN.
pub struct AsyncFd<'a, T: AsRawFd> {
    source: Source<'a, T>,
}

impl<'a, T: AsRawFd> AsyncFd<'a, T> {
    /// `io` must be non-blocking, or it would stop every check of the worker: a blocking one is refused.
    pub fn new(cx: Cx<'a>, io: T) -> io::Result<AsyncFd<'a, T>> {
        // SAFETY: F_GETFL takes no pointer; a closed fd is an error.
        let flags = unsafe { libc::fcntl(io.as_raw_fd(), libc::F_GETFL) };
        if flags < 0 {
            return Err(io::Error::last_os_error());
        }
        if flags & libc::O_NONBLOCK == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is not non-blocking (O_NONBLOCK)",
            ));
        }
        Ok(AsyncFd {
            source: Source::new(cx, io)?,
        })
    }

    pub fn get_ref(&self) -> &T {
        &self.source.io
    }

    /// Runs `op` until it says something else than EAGAIN; between two tries it waits for something to read.
    pub async fn read_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|task| self.poll_read_with(task, &mut op)).await
    }

    /// As [`read_with`](Self::read_with); it waits for room to write.
    pub async fn write_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|task| self.poll_write_with(task, &mut op)).await
    }

    pub fn poll_read_with<R>(
        &self,
        task: &mut Context<'_>,
        op: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.source.retry(task, IO_READ, op)
    }

    pub fn poll_write_with<R>(
        &self,
        task: &mut Context<'_>,
        op: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.source.retry(task, IO_WRITE, op)
    }
}
