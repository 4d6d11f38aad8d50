//! Where connections come from: an address, a unix socket, or one of the two that the service manager has opened.

use healthd_core::config::Listen;
use healthd_sys::{spawn, unix_socket};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

pub enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// It goes with us; that of the service manager stays.
        own: Option<PathBuf>,
    },
}

/// Whoever may reach the control socket's folder may connect; a proxy is given the group.
const SOCKET_MODE: u32 = 0o660;

impl Listener {
    /// And how it is called in the log.
    /// `handed_over`: the number of the service manager's socket; -1: there is none.
    pub fn bind(listen: &Listen, handed_over: i32) -> io::Result<(Listener, String)> {
        match listen {
            Listen::Systemd => Listener::adopt(handed_over),
            Listen::Nowhere => Err(io::Error::other("nobody is to be listened to")),
            Listen::Tcp(address) => {
                let listener = listen_at(*address).map_err(|e| told(&address.to_string(), &e))?;
                let name = listener.local_addr()?.to_string();
                Ok((Listener::Tcp(listener), name))
            }
            Listen::Unix(path) => {
                let name = format!("unix:{}", path.display());
                clear(path).map_err(|e| told(&name, &e))?;
                let listener =
                    unix_socket::listen(path, SOCKET_MODE).map_err(|e| told(&name, &e))?;
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                let own = Some(path.clone());
                Ok((Listener::Unix { listener, own }, name))
            }
        }
    }

    fn adopt(handed_over: i32) -> io::Result<(Listener, String)> {
        if handed_over < 0 {
            return Err(io::Error::other(
                "no socket was handed over, and `listen` of [web] is `systemd`: enable healthd-web.socket and start healthd anew",
            ));
        }
        let fd = spawn::adopt_fd(handed_over)?;
        let unix = std::os::unix::net::UnixListener::from(fd.try_clone()?);
        unix.set_nonblocking(true)?;
        if let Ok(address) = unix.local_addr() {
            let path = address.as_pathname().unwrap_or(Path::new(""));
            let name = format!("unix:{}", path.display());
            let listener = UnixListener::from_std(unix)?;
            return Ok((
                Listener::Unix {
                    listener,
                    own: None,
                },
                name,
            ));
        }
        let listener = std::net::TcpListener::from(fd);
        let name = listener.local_addr()?.to_string();
        Ok((Listener::Tcp(TcpListener::from_std(listener)?), name))
    }

    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An answer is written whole, so there is nothing to wait for.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Peer::Network))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let peer = stream
                    .peer_cred()
                    .map_or(Peer::Network, |c| Peer::User(c.uid()));
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix {
            own: Some(path), ..
        } = self
        {
            // Nobody is told if it is away already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// So many may connect before they are accepted. Whom the kernel has no place for tries again a second later, then three:
/// it would wait for others.
const BACKLOG: u32 = 1024;
/// Bytes of an answer that the kernel takes ahead of its client. Left to itself it takes megabytes on this machine: they would
/// be made at once for whoever reads nothing of them.
const AHEAD: u32 = 128 << 10;

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // What is left of connections of one before us is no reason.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(AHEAD)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Who has connected, as far as the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Network,
    User(u32),
}

fn told(name: &str, e: &io::Error) -> io::Error {
    let help = match e.kind() {
        io::ErrorKind::AddrInUse => ": another process listens there, so choose another port",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => ": this machine does not have that address (yet)",
        _ => "",
    };
    io::Error::new(e.kind(), format!("cannot listen on {name}: {e}{help}"))
}

/// The socket that one before us has left; anything else stays.
fn clear(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name, which is no socket",
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// One connection.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Stream::Unix(s) => Pin::new(s).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write_vectored(cx, parts),
            Stream::Unix(s) => Pin::new(s).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_flush(cx),
            Stream::Unix(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
