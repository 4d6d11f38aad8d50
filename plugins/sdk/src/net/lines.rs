//! Protocols that speak in lines: a reader with a cap, and a writer, over any stream.

use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream read line by line. What a peer may make us keep is `max`: a longer line is an error.
pub struct Lines<S> {
    stream: S,
    /// Read from the peer; `at..` is not taken yet.
    buffer: Vec<u8>,
    at: usize,
    max: usize,
}

/// What is asked of the stream at once.
const CHUNK: usize = 2048;

impl<S: AsyncRead + AsyncWrite + Unpin> Lines<S> {
    /// `max` is the longest line that is taken, in bytes with its end.
    pub fn new(stream: S, max: usize) -> Lines<S> {
        Lines {
            stream,
            buffer: Vec::new(),
            at: 0,
            max,
        }
    }

    /// The next line without its end, which is LF or CRLF. The end of the stream is an error.
    pub async fn line(&mut self) -> io::Result<&[u8]> {
        let mut seen = self.at;
        let end = loop {
            if let Some(i) = self.buffer[seen..].iter().position(|b| *b == b'\n') {
                break seen + i;
            }
            if self.buffer.len() - self.at >= self.max {
                return Err(self.too_long());
            }
            seen = self.buffer.len() - self.at;
            self.fill("line").await?;
        };
        let from = std::mem::replace(&mut self.at, end + 1);
        if end + 1 - from > self.max {
            return Err(self.too_long());
        }
        let line = &self.buffer[from..end];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The next line as text; bytes that are no UTF-8 are shown as U+FFFD.
    pub async fn text(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(self.line().await?).into_owned())
    }

    /// Exactly so many bytes: a literal, a binary header. `n` may be above `max`; the caller has judged it.
    pub async fn bytes(&mut self, n: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.at < n {
            self.fill("message").await?;
        }
        let from = self.at;
        self.at += n;
        Ok(&self.buffer[from..from + n])
    }

    /// Writes all of `data` and flushes it.
    pub async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        super::write_all(&mut self.stream, data).await
    }

    /// What was read from the peer and not taken.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// The longest line that is taken.
    pub fn max(&self) -> usize {
        self.max
    }

    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, for a handshake that begins now. If the peer has sent more than was taken, that is an error: what
    /// came in plain must not be taken for something said inside of TLS (command injection, CVE-2011-0411).
    pub fn into_stream(self) -> io::Result<S> {
        match self.buffered().len() {
            0 => Ok(self.stream),
            n => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the server sent {n} bytes between its answer and the TLS handshake"),
            )),
        }
    }

    async fn fill(&mut self, what: &str) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK, 0);
        let read = super::read(&mut self.stream, &mut self.buffer[old..]).await;
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        let closed = match read {
            Ok(0) => true,
            Ok(_) => false,
            // TLS says so when the peer ends without a goodbye.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => true,
            Err(e) => return Err(e),
        };
        match (closed, old) {
            (false, _) => Ok(()),
            (true, 0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "connection closed",
            )),
            (true, _) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("connection closed in the middle of a {what}"),
            )),
        }
    }

    fn too_long(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line of more than {} bytes", self.max),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};
    use tokio::io::ReadBuf;

    /// Says these pieces, then ends; keeps what it is told.
    struct Script(VecDeque<Vec<u8>>, Vec<u8>);

    impl Script {
        fn new(pieces: &[&[u8]]) -> Script {
            Script(pieces.iter().map(|p| p.to_vec()).collect(), Vec::new())
        }
    }

    impl AsyncRead for Script {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Script {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.1.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("a script never waits"),
        }
    }

    fn error<T>(r: io::Result<T>) -> String {
        r.err().expect("an error").to_string()
    }

    #[test]
    fn lines_in_any_pieces() {
        let mut lines = Lines::new(
            Script::new(&[b"2", b"20 a\r", b"\n221 b\n\r\nr", b"est"]),
            64,
        );
        assert_eq!(now(lines.text()).unwrap(), "220 a");
        assert_eq!(now(lines.line()).unwrap(), b"221 b");
        assert_eq!(now(lines.line()).unwrap(), b"");
        assert_eq!(lines.buffered(), b"r");
        assert_eq!(
            error(now(lines.line())),
            "connection closed in the middle of a line"
        );
        let mut lines = Lines::new(Script::new(&[]), 64);
        assert_eq!(error(now(lines.line())), "connection closed");
        now(lines.write(b"QUIT\r\n")).unwrap();
        assert_eq!(lines.get_ref().1, b"QUIT\r\n");
    }

    #[test]
    fn a_line_has_a_cap() {
        let long = [b'x'; 100];
        for pieces in [vec![&long[..]], vec![&long[..50], &long[..50], b"\n"]] {
            let mut lines = Lines::new(Script::new(&pieces), 64);
            assert_eq!(error(now(lines.line())), "a line of more than 64 bytes");
        }
        // In one piece with its end.
        let mut lines = Lines::new(Script::new(&[&[&long[..], b"\n"].concat()]), 64);
        assert_eq!(error(now(lines.line())), "a line of more than 64 bytes");
        let exact = [&long[..63], b"\n"].concat();
        let mut lines = Lines::new(Script::new(&[&exact]), 64);
        assert_eq!(now(lines.line()).unwrap().len(), 63);
    }

    #[test]
    fn bytes_between_lines() {
        let mut lines = Lines::new(Script::new(&[b"{5}\r\nhel", b"lo)\r\nmore"]), 16);
        assert_eq!(now(lines.line()).unwrap(), b"{5}");
        assert_eq!(now(lines.bytes(5)).unwrap(), b"hello");
        assert_eq!(now(lines.line()).unwrap(), b")");
        assert_eq!(
            error(now(lines.bytes(9))),
            "connection closed in the middle of a message"
        );
    }

    #[test]
    fn what_came_before_the_handshake_is_refused() {
        let mut lines = Lines::new(Script::new(&[b"220 go\r\n250 injected\r\n"]), 64);
        now(lines.line()).unwrap();
        let e = error(lines.into_stream());
        assert_eq!(
            e,
            "the server sent 14 bytes between its answer and the TLS handshake"
        );
        let mut lines = Lines::new(Script::new(&[b"220 go\r\n"]), 64);
        now(lines.line()).unwrap();
        assert!(lines.into_stream().is_ok());
    }
}
