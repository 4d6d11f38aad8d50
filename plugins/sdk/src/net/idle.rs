//! A connection between two runs.

use super::source::is_quiet;
use super::{Stream, TcpStream, UnixStream};
use crate::cx::Cx;
use std::net::{self, SocketAddr};
use std::os::unix::net as unix;

/// A connection that belongs to no run: nobody waits on it, and the host knows nothing of it. Closed when dropped.
#[derive(Debug)]
pub struct Idle(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(net::TcpStream, SocketAddr),
    Unix(unix::UnixStream),
}

impl Stream<'_> {
    /// For a later run: the connection stands, and all that was asked on it is answered.
    pub fn leave(self) -> Idle {
        Idle(match self {
            Stream::Tcp(stream) => {
                let (io, peer) = stream.into_parts();
                Socket::Tcp(io, peer)
            }
            Stream::Unix(stream) => Socket::Unix(stream.into_io()),
        })
    }
}

impl Idle {
    /// The connection in this run. None: it cannot be used any more, as its peer has closed it meanwhile or has said what
    /// nobody asked for.
    pub fn resume(self, cx: Cx<'_>) -> Option<Stream<'_>> {
        match self.0 {
            Socket::Tcp(io, peer) if is_quiet(&io) => {
                Some(TcpStream::resume(cx, io, peer).ok()?.into())
            }
            Socket::Unix(io) if is_quiet(&io) => Some(UnixStream::resume(cx, io).ok()?.into()),
            _ => None,
        }
    }
}
