//! Reads a response piece by piece, whatever the pieces are. The peer may be hostile: every length is bounded before
//! memory is taken for it, each byte is looked at once, and nothing here panics.
//!
//! httparse reads the head; the three kinds of body are few lines each. hyper was measured (sdk/examples/load.rs,
//! callgrind): 32,600 instructions for a check on MockHost, this plugin with all its metrics 17,000.

use std::fmt;
use std::mem::MaybeUninit;

const HTTP: &[u8] = b"HTTP/";
/// Head and trailers together; servers allow 8 to 64 KiB for requests.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 128;
/// A chunk's size line with its extensions.
const MAX_CHUNK_LINE: usize = 4 << 10;

/// Why the bytes are no HTTP response.
#[derive(Debug, PartialEq)]
pub enum Malformed {
    NotHttp,
    HeadTooLong,
    TooManyHeaders,
    Head(&'static str),
    ContentLength,
    Chunk,
    ClosedInHead,
    ClosedInBody { got: u64, expected: Option<u64> },
    Empty,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::NotHttp => f.write_str("the answer is not HTTP"),
            Malformed::HeadTooLong => {
                write!(f, "the response head is longer than {} KiB", MAX_HEAD >> 10)
            }
            Malformed::TooManyHeaders => write!(f, "more than {MAX_HEADERS} response headers"),
            Malformed::Head(why) => write!(f, "bad response head: {why}"),
            Malformed::ContentLength => f.write_str("bad Content-Length"),
            Malformed::Chunk => f.write_str("bad chunk in the response body"),
            Malformed::ClosedInHead => f.write_str("connection closed within the response head"),
            Malformed::ClosedInBody {
                got,
                expected: Some(n),
            } => write!(f, "connection closed after {got} of {n} bytes"),
            Malformed::ClosedInBody {
                got,
                expected: None,
            } => write!(f, "connection closed after {got} bytes, within a chunk"),
            Malformed::Empty => f.write_str("connection closed without an answer"),
        }
    }
}

/// What the reader wants to keep of a response.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub is_head_request: bool,
    pub headers: bool,
    pub body: bool,
    pub max_body: u64,
}

#[derive(Debug)]
pub struct Response {
    wanted: Wanted,
    state: State,
    /// An incomplete head, or an incomplete line of the chunked coding.
    partial: Vec<u8>,
    /// Head and trailer bytes so far.
    head_bytes: usize,
    pub status: u16,
    pub minor_version: u8,
    /// All headers if wanted, else only Location of a redirect.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub body_bytes: u64,
    /// The body goes on after `max_body`.
    pub cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Head,
    Length { left: u64, of: u64 },
    UntilClose,
    ChunkSize,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailers,
    Done,
}

impl Response {
    pub fn new(wanted: Wanted) -> Response {
        Response {
            wanted,
            state: State::Head,
            partial: Vec::new(),
            head_bytes: 0,
            status: 0,
            minor_version: 1,
            headers: Vec::new(),
            body: Vec::new(),
            body_bytes: 0,
            cut: false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// Takes in what was read. Bytes after the end are ignored: the connection is closed anyway.
    pub fn feed(&mut self, mut data: &[u8]) -> Result<(), Malformed> {
        while !data.is_empty() && self.state != State::Done {
            data = match self.state {
                State::Head => self.feed_head(data)?,
                State::Length { left, of } => {
                    let rest = self.take_body(data, left);
                    let left = left - (data.len() - rest.len()) as u64;
                    self.go(if left == 0 {
                        State::Done
                    } else {
                        State::Length { left, of }
                    });
                    rest
                }
                State::UntilClose => self.take_body(data, u64::MAX),
                State::ChunkData { left } => {
                    let rest = self.take_body(data, left);
                    let left = left - (data.len() - rest.len()) as u64;
                    self.go(if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::ChunkData { left }
                    });
                    rest
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers => self.feed_line(data)?,
                State::Done => data,
            };
        }
        Ok(())
    }

    /// The peer closed the connection.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Head if self.head_bytes == 0 => Err(Malformed::Empty),
            State::Head => Err(Malformed::ClosedInHead),
            State::Length { of, .. } => Err(Malformed::ClosedInBody {
                got: self.body_bytes,
                expected: Some(of),
            }),
            _ => Err(Malformed::ClosedInBody {
                got: self.body_bytes,
                expected: None,
            }),
        }
    }

    /// `take_body` may have ended everything already.
    fn go(&mut self, next: State) {
        if self.state != State::Done {
            self.state = next;
        }
    }

    fn feed_head<'d>(&mut self, data: &'d [u8]) -> Result<&'d [u8], Malformed> {
        // The end may lie across two pieces; what was searched before is not searched again.
        let before = self.partial.len();
        let overlap = before.min(3);
        let end = if before == 0 {
            head_end(data)
        } else {
            let mut seam = [0u8; 6];
            let from_new = data.len().min(3);
            seam[..overlap].copy_from_slice(&self.partial[before - overlap..]);
            seam[overlap..overlap + from_new].copy_from_slice(&data[..from_new]);
            let at_seam = head_end(&seam[..overlap + from_new])
                .and_then(|n| n.checked_sub(overlap))
                .filter(|n| *n > 0);
            at_seam.or_else(|| head_end(data))
        };
        let taken = end.unwrap_or(data.len());
        self.head_bytes += taken;
        if self.head_bytes > MAX_HEAD {
            return Err(Malformed::HeadTooLong);
        }
        let (piece, rest) = data.split_at(taken);
        if end.is_none() {
            // Garbage shall not have to be 64 KiB long to be called so.
            self.partial.extend_from_slice(piece);
            let start = &self.partial[..self.partial.len().min(HTTP.len())];
            return if HTTP.starts_with(start) {
                Ok(rest)
            } else {
                Err(Malformed::NotHttp)
            };
        }
        if before == 0 {
            self.read_head(piece)?;
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(piece);
            self.read_head(&whole)?;
        }
        Ok(rest)
    }

    fn read_head(&mut self, head: &[u8]) -> Result<(), Malformed> {
        if !head.starts_with(HTTP) {
            return Err(Malformed::NotHttp);
        }
        // Not initialised: that would cost more than parsing a short head.
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, head, &mut headers) {
            Ok(httparse::Status::Complete(_)) => {}
            // The blank line is there, so something before it must be wrong.
            Ok(httparse::Status::Partial) => return Err(Malformed::Head("it does not end")),
            Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooManyHeaders),
            Err(httparse::Error::Version) => return Err(Malformed::NotHttp),
            Err(httparse::Error::HeaderName) => return Err(Malformed::Head("a header name")),
            Err(httparse::Error::HeaderValue) => return Err(Malformed::Head("a header value")),
            Err(_) => return Err(Malformed::Head("the status line")),
        }
        let status = parsed.code.unwrap_or_default();
        self.minor_version = parsed.version.unwrap_or_default();
        if (100..200).contains(&status) && status != 101 {
            // An interim answer: the real one follows. MAX_HEAD counts them all together.
            return Ok(());
        }
        self.status = status;
        let mut length = None;
        let mut coding = None;
        for h in parsed.headers.iter() {
            if h.name.eq_ignore_ascii_case("content-length") {
                let value = content_length(h.value).ok_or(Malformed::ContentLength)?;
                if length.is_some_and(|other| other != value) {
                    return Err(Malformed::ContentLength);
                }
                length = Some(value);
            } else if h.name.eq_ignore_ascii_case("transfer-encoding") {
                coding = h
                    .value
                    .rsplit(|b| *b == b',')
                    .next()
                    .map(<[u8]>::trim_ascii);
            }
            if self.wanted.headers || h.name.eq_ignore_ascii_case("location") {
                self.headers
                    .push((h.name.into(), String::from_utf8_lossy(h.value).into_owned()));
            }
        }
        self.state = match (coding, length) {
            _ if self.wanted.is_head_request || matches!(status, 101 | 204 | 304) => State::Done,
            // Transfer-Encoding goes before Content-Length (RFC 9112, 6.3).
            (Some(coding), _) if coding.eq_ignore_ascii_case(b"chunked") => State::ChunkSize,
            (Some(_), _) => State::UntilClose,
            (None, Some(0)) => State::Done,
            (None, Some(n)) => State::Length { left: n, of: n },
            (None, None) => State::UntilClose,
        };
        if self.wanted.max_body == 0 && self.state != State::Done {
            self.cut = true;
            self.state = State::Done;
        }
        Ok(())
    }

    /// Takes at most `left` bytes as body. Returns the rest.
    fn take_body<'d>(&mut self, data: &'d [u8], left: u64) -> &'d [u8] {
        let room = self.wanted.max_body - self.body_bytes;
        let n = (data.len() as u64).min(left).min(room) as usize;
        let (piece, rest) = data.split_at(n);
        self.body_bytes += n as u64;
        if self.wanted.body {
            self.body.extend_from_slice(piece);
        }
        // At the cap all is over, unless this was the end of a body of known length.
        if self.body_bytes == self.wanted.max_body
            && !(matches!(self.state, State::Length { .. }) && left == n as u64)
        {
            self.cut = true;
            self.state = State::Done;
        }
        rest
    }

    /// The lines of the chunked coding.
    fn feed_line<'d>(&mut self, data: &'d [u8]) -> Result<&'d [u8], Malformed> {
        let newline = data.iter().position(|b| *b == b'\n');
        let (piece, rest) = data.split_at(newline.map_or(data.len(), |i| i + 1));
        let line_limit = if self.state == State::Trailers {
            MAX_HEAD
        } else {
            MAX_CHUNK_LINE
        };
        if self.partial.len() + piece.len() > line_limit {
            return Err(Malformed::Chunk);
        }
        self.partial.extend_from_slice(piece);
        if newline.is_none() {
            return Ok(rest);
        }
        let line = self.partial.trim_ascii_end();
        let next = match self.state {
            State::ChunkSize => match chunk_size(line).ok_or(Malformed::Chunk)? {
                0 => State::Trailers,
                left => State::ChunkData { left },
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::Trailers if line.is_empty() => State::Done,
            State::Trailers => {
                self.head_bytes += self.partial.len();
                if self.head_bytes > MAX_HEAD {
                    return Err(Malformed::HeadTooLong);
                }
                State::Trailers
            }
            _ => return Err(Malformed::Chunk),
        };
        self.state = next;
        self.partial.clear();
        Ok(rest)
    }
}

/// The length of a head with its blank line.
fn head_end(data: &[u8]) -> Option<usize> {
    let mut i = 0;
    while let Some(newline) = data[i..].iter().position(|b| *b == b'\n') {
        i += newline + 1;
        match &data[i..] {
            [b'\n', ..] => return Some(i + 1),
            [b'\r', b'\n', ..] => return Some(i + 2),
            _ => {}
        }
    }
    None
}

fn content_length(value: &[u8]) -> Option<u64> {
    // "5, 5" is what some proxies make of two equal headers; RFC 9110 allows to take it.
    let mut all = value
        .split(|b| *b == b',')
        .map(|v| digits(v.trim_ascii(), 10));
    let first = all.next()??;
    all.all(|v| v == Some(first)).then_some(first)
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    digits(line.split(|b| *b == b';').next()?.trim_ascii_end(), 16)
}

fn digits(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| {
        let digit = char::from(*b).to_digit(radix)?;
        n.checked_mul(u64::from(radix))?
            .checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests;
