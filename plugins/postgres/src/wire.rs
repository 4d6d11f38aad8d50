//! The stream under tokio-postgres: plain or TLS, and guarded.
//!
//! The guard reads the headers of the server's messages before tokio-postgres does. That library makes room for a
//! message of whatever length the header says, and a web server's "HTTP" as a header says 1.4 GB.

use healthd_plugin::net::{self, Stream};
use healthd_plugin::tls::{Connector, TlsStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No message of a check's answer needs to be larger.
pub const MAX_MESSAGE: u32 = 16 << 20;

pub struct Wire<'a> {
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
        _ => Err(not_postgres()),
    }
}

fn not_postgres() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server does not speak PostgreSQL's protocol",
    )
}

impl<'a> Wire<'a> {
    pub fn plain(stream: Stream<'a>) -> Self {
        Wire {
            transport: Transport::Plain(stream),
            guard: Guard::default(),
        }
    }

    pub async fn tls(stream: Stream<'a>, connector: &Connector) -> io::Result<Self> {
        Ok(Wire {
            transport: Transport::Tls(Box::new(connector.connect(stream).await?)),
            guard: Guard::default(),
        })
    }
}

/// Follows the server's messages: a tag, four bytes of length, which count themselves, and the content.
#[derive(Default)]
struct Guard {
    header: [u8; 5],
    /// Bytes of the header seen.
    seen: usize,
    /// Bytes of the content still to come.
    left: usize,
}

impl Guard {
    fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (self.header.len() - self.seen).min(bytes.len());
            self.header[self.seen..self.seen + n].copy_from_slice(&bytes[..n]);
            self.seen += n;
            bytes = &bytes[n..];
            if self.seen == self.header.len() {
                self.left = content_length(self.header)?;
                self.seen = 0;
            }
        }
        Ok(())
    }
}

fn content_length([tag, a, b, c, d]: [u8; 5]) -> io::Result<usize> {
    // All tags of the server's side of protocol 3.
    const TAGS: &[u8] = b"123ACDEGHIKNRSTVWZcdnstv";
    let length = u32::from_be_bytes([a, b, c, d]);
    if !TAGS.contains(&tag) || length < 4 {
        return Err(not_postgres());
    }
    if length > MAX_MESSAGE {
        // "HTTP/1.1": H is a tag, and what follows is a length of printable letters.
        return Err(if [a, b, c, d].iter().all(|b| b.is_ascii_graphic()) {
            not_postgres()
        } else {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the server's answer is too large: more than {MAX_MESSAGE} bytes in one message"
                ),
            )
        });
    }
    Ok(length as usize - 4)
}

impl AsyncRead for Wire<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_any_pieces() {
        let bytes = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IZ\0\0\0\x04";
        for size in 1..=bytes.len() {
            let mut guard = Guard::default();
            for piece in bytes.chunks(size) {
                guard.look(piece).unwrap();
            }
            assert_eq!((guard.seen, guard.left), (0, 0), "{size}");
        }
    }

    #[test]
    fn other_protocols_and_huge_messages() {
        let told = |bytes: &[u8]| Guard::default().look(bytes).map_err(|e| e.to_string());
        let foreign = Err("the server does not speak PostgreSQL's protocol".to_string());
        assert_eq!(told(b"HTTP/1.1 400 Bad Request"), foreign);
        assert_eq!(told(b"SSH-2.0-OpenSSH"), foreign);
        assert_eq!(told(b"\x15\x03\x03\0\x02"), foreign);
        assert_eq!(told(b"R\0\0\0\x03"), foreign);
        assert!(
            told(b"D\x7f\xff\xff\xff")
                .unwrap_err()
                .contains("too large")
        );
        assert_eq!(told(b"D\x01\0\0\0"), Ok(()));
    }
}
