//! A unix stream connection of the step lane.

use super::source::{RawAddr, Source, socket};
use crate::cx::Cx;
use healthd_abi::IO_WRITE;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a full listen queue is tried again: the kernel tells nobody when there is room.
const QUEUE_FULL_RETRY: Duration = Duration::from_millis(10);

/// A unix stream connection.
pub struct UnixStream<'a> {
    source: Source<'a, net::UnixStream>,
}

impl<'a> UnixStream<'a> {
    pub async fn connect(cx: Cx<'a>, path: &Path) -> io::Result<UnixStream<'a>> {
        let addr = RawAddr::unix(path.as_os_str().as_bytes())?;
        let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
        loop {
            match addr.connect(&fd) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => cx.sleep(QUEUE_FULL_RETRY).await,
                Err(e) => return Err(e),
            }
        }
        Ok(UnixStream {
            source: Source::new(cx, net::UnixStream::from(fd))?,
        })
    }

    /// Goes on with a connection of an earlier run.
    pub(super) fn resume(cx: Cx<'a>, stream: net::UnixStream) -> io::Result<UnixStream<'a>> {
        Ok(UnixStream {
            source: Source::new(cx, stream)?,
        })
    }

    pub(super) fn into_io(self) -> net::UnixStream {
        self.source.into_io()
    }

    /// No more will be sent; the peer reads an end of file.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.source.io.shutdown(Shutdown::Write)
    }

    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|task| self.poll_read(task, buf)).await
    }

    pub async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let n = poll_fn(|task| self.poll_write(task, data)).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            data = &data[n..];
        }
        Ok(())
    }

    pub fn poll_read(&self, task: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source.read(task, buf.len(), |mut io| io.read(buf))
    }

    pub fn poll_write(&self, task: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.source.retry(task, IO_WRITE, |mut io| io.write(data))
    }
}

super::impl_tokio_io!(UnixStream);
