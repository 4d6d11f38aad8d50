//! A TCP connection of the step lane.

use super::bind::Bind;
use super::source::{RawAddr, Source, domain, socket};
use crate::cx::Cx;
use crate::text::{IoText, is_resource_error, own_fault};
use healthd_abi::{IO_READ, IO_WRITE};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{self, IpAddr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long one address may keep the next one waiting (RFC 8305 says 250 ms).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A TCP connection. Closed, and the host told, when dropped.
pub struct TcpStream<'a> {
    source: Source<'a, net::TcpStream>,
    peer: SocketAddr,
    /// connect said EINPROGRESS and nothing has proved the connection since.
    connecting: Cell<bool>,
    /// Something was sent after the last read: its answer cannot be here yet.
    asked: Cell<bool>,
    written: Cell<Written>,
}

/// What was sent until now. Small writes wait for the acknowledgement of the one before, 40 ms in TLS and dialogues,
/// unless the kernel is told otherwise; a single request needs no telling.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Once,
    /// And the kernel was told.
    Often,
}

impl<'a> TcpStream<'a> {
    /// Connects to `to` and waits until the connection stands.
    pub async fn connect(cx: Cx<'a>, to: SocketAddr) -> io::Result<TcpStream<'a>> {
        let stream = TcpStream::start(cx, to)?;
        stream.connected().await?;
        Ok(stream)
    }

    /// Begins to connect and does not wait. The first write waits if it must and fails as connect would, so a
    /// protocol in which the client speaks first saves a system call, and often a wait.
    pub fn start(cx: Cx<'a>, to: SocketAddr) -> io::Result<TcpStream<'a>> {
        TcpStream::start_with(cx, to, &Bind::default())
    }

    /// As [`start`](Self::start), from where `bind` says.
    pub fn start_with(cx: Cx<'a>, to: SocketAddr, bind: &Bind) -> io::Result<TcpStream<'a>> {
        let fd = socket(domain(&to), libc::SOCK_STREAM)?;
        bind.apply(&fd, to.ip())
            .map_err(|e| own_fault(format!("cannot send from there: {}", IoText(&e))))?;
        let stream = net::TcpStream::from(fd);
        let connecting = match RawAddr::inet(&to).connect(&stream) {
            Ok(()) => false,
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => true,
            Err(e) => return Err(said_at_once(e, to.ip())),
        };
        Ok(TcpStream {
            source: Source::new(cx, stream)?,
            peer: to,
            connecting: Cell::new(connecting),
            asked: Cell::new(false),
            written: Cell::new(Written::Nothing),
        })
    }

    /// Goes on with a connection of an earlier run.
    pub(super) fn resume(
        cx: Cx<'a>,
        stream: net::TcpStream,
        peer: SocketAddr,
    ) -> io::Result<TcpStream<'a>> {
        Ok(TcpStream {
            source: Source::new(cx, stream)?,
            peer,
            connecting: Cell::new(false),
            asked: Cell::new(false),
            written: Cell::new(Written::Nothing),
        })
    }

    pub(super) fn into_parts(self) -> (net::TcpStream, SocketAddr) {
        (self.source.into_io(), self.peer)
    }

    /// Waits until a connection begun with [`start`](Self::start) stands.
    pub async fn connected(&self) -> io::Result<()> {
        poll_fn(|task| self.poll_connected(task)).await
    }

    fn poll_connected(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.connecting.get() {
            return Poll::Ready(Ok(()));
        }
        // A second connect tells all: done, still at it, or the error. Cheaper than poll and getsockopt.
        let again = RawAddr::inet(&self.peer);
        let r = self
            .source
            .retry(task, IO_READ | IO_WRITE, |io| match again.connect(io) {
                Err(e) if e.raw_os_error() == Some(libc::EISCONN) => Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::EALREADY) => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                done => done,
            });
        if let Poll::Ready(Ok(())) = r {
            self.connecting.set(false);
        }
        r
    }

    /// Connects to the first of `addresses` that answers. They are tried in order; one that is silent for 250 ms no
    /// longer keeps the next one waiting. The error is the first address's.
    pub async fn connect_any(cx: Cx<'a>, addresses: &[SocketAddr]) -> io::Result<TcpStream<'a>> {
        TcpStream::connect_any_with(cx, addresses, &Bind::default()).await
    }

    /// As [`connect_any`](Self::connect_any), from where `bind` says.
    pub async fn connect_any_with(
        cx: Cx<'a>,
        addresses: &[SocketAddr],
        bind: &Bind,
    ) -> io::Result<TcpStream<'a>> {
        if let [only] = addresses {
            let stream = TcpStream::start_with(cx, *only, bind)?;
            stream.connected().await?;
            return Ok(stream);
        }
        let mut left = addresses.iter();
        let mut trying: Vec<TcpStream<'a>> = Vec::new();
        let mut first_error = None;
        loop {
            let Some(next) = left.next() else {
                if trying.is_empty() {
                    return Err(
                        first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())
                    );
                }
                return first_connected(&mut trying, &mut first_error, true)
                    .await
                    .ok_or_else(|| {
                        first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())
                    });
            };
            match TcpStream::start_with(cx, *next, bind) {
                Ok(stream) => trying.push(stream),
                Err(e) => {
                    keep(&mut first_error, e);
                    continue;
                }
            }
            // An error lets the next one start at once; silence does after a while.
            let won = first_connected(&mut trying, &mut first_error, false);
            if let Ok(Some(stream)) = cx.timeout(NEXT_ADDRESS_AFTER, won).await {
                return Ok(stream);
            }
        }
    }

    /// Our own end; of use once the connection stands.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.io.local_addr()
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// True until the connection has proved to stand: by [`connected`](Self::connected), a read or a write.
    pub fn is_connecting(&self) -> bool {
        self.connecting.get()
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
        if self.connecting.get() {
            std::task::ready!(self.poll_connected(task))?;
        }
        // The answer to what was just sent is not here: skip the recv that would say so. Should it be here after all,
        // the host reports that, because a watch begins with the state of the fd.
        if self.asked.replace(false) && !self.source.is_watched() {
            return self.source.wait(task, IO_READ);
        }
        self.source.read(task, buf.len(), |mut io| io.read(buf))
    }

    pub fn poll_write(&self, task: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.written.get() == Written::Once {
            self.source.io.set_nodelay(true)?;
            self.written.set(Written::Often);
        }
        // While connecting the read side is asked for as well: one watch serves the whole connection.
        let mask = if self.connecting.get() {
            IO_READ | IO_WRITE
        } else {
            IO_WRITE
        };
        let r = self
            .source
            .retry(task, mask, |mut io| match io.write(data) {
                // What a send says to a connection that another error ended already.
                Err(e) if self.connecting.get() && e.kind() == io::ErrorKind::BrokenPipe => {
                    Err(io.take_error()?.unwrap_or(e))
                }
                done => done,
            });
        if let Poll::Ready(Ok(_)) = r {
            self.connecting.set(false);
            self.asked.set(true);
            if self.written.get() == Written::Nothing {
                self.written.set(Written::Once);
            }
        }
        r
    }
}

super::impl_tokio_io!(TcpStream);

/// What connect says before a packet was sent is about this machine, not about the target.
pub(super) fn said_at_once(e: io::Error, to: IpAddr) -> io::Error {
    match e.raw_os_error() {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN) => {
            own_fault(format!("this machine has no route to {to}"))
        }
        _ => e,
    }
}

/// Of the errors of several addresses the first counts that is about the target.
fn keep(first: &mut Option<io::Error>, e: io::Error) {
    if first.as_ref().is_none_or(is_resource_error) {
        *first = Some(e);
    }
}

/// The first stream of `trying` that stands. Those that fail leave the list. None: with `patient` when all have
/// failed; else as soon as one has, so that the next address gets its turn.
async fn first_connected<'a>(
    trying: &mut Vec<TcpStream<'a>>,
    first_error: &mut Option<io::Error>,
    patient: bool,
) -> Option<TcpStream<'a>> {
    poll_fn(|task| {
        let mut i = 0;
        while i < trying.len() {
            match Pin::new(&mut trying[i]).poll_connected(task) {
                Poll::Ready(Ok(())) => return Poll::Ready(Some(trying.swap_remove(i))),
                Poll::Ready(Err(e)) => {
                    keep(first_error, e);
                    trying.remove(i);
                    if !patient {
                        return Poll::Ready(None);
                    }
                }
                Poll::Pending => i += 1,
            }
        }
        if trying.is_empty() {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_resource_error;

    #[test]
    fn our_own_lack_of_a_route_is_not_the_targets() {
        let os = io::Error::from_raw_os_error;
        let to: IpAddr = "192.0.2.1".parse().expect("an address");
        let none = said_at_once(os(libc::ENETUNREACH), to);
        assert_eq!(none.to_string(), "this machine has no route to 192.0.2.1");
        assert!(is_resource_error(&none));
        assert!(!is_resource_error(&said_at_once(
            os(libc::ECONNREFUSED),
            to
        )));
        // One address that could be asked is worth more than all that could not.
        let mut first = None;
        keep(&mut first, none);
        // ::1 on a machine without IPv6.
        keep(&mut first, os(libc::EADDRNOTAVAIL));
        keep(&mut first, os(libc::ECONNREFUSED));
        keep(&mut first, os(libc::ECONNRESET));
        assert_eq!(
            first.and_then(|e| e.raw_os_error()),
            Some(libc::ECONNREFUSED)
        );
    }
}
