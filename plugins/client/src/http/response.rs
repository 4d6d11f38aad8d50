//! Reads a response piece by piece, whatever the pieces are. The peer may be hostile: every length is bounded before
//! memory is taken for it, each byte is looked at once, and nothing here panics.
//!
//! `head.rs` reads the head; the three kinds of body are few lines each. hyper was measured (sdk/examples/load.rs,
//! callgrind): 32,600 instructions for a check on MockHost, the `http` plugin with all its metrics 17,000.

use super::head::{Header, each_header, status_line};
use crate::held::{Held, KEPT};
use healthd_plugin::Cx;
use std::borrow::Cow;
use std::{fmt, io};

const HTTP: &[u8] = b"HTTP/";
/// Head and trailers together, as curl has it.
const MAX_HEAD: usize = 300 << 10;
/// Kept if not all headers are wanted: what redirects, cookies, bodies and authentication need.
const NEEDED: [&str; 5] = [
    "location",
    "set-cookie",
    "content-encoding",
    "content-type",
    "www-authenticate",
];
/// A chunk's size line with its extensions.
const MAX_CHUNK_LINE: usize = 4 << 10;

/// Why the bytes are no HTTP response.
#[derive(Debug, PartialEq)]
pub enum Malformed {
    NotHttp,
    HeadTooLong,
    StatusLine,
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
            Malformed::StatusLine => f.write_str("the status line of the answer is no HTTP"),
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

/// Looks at a long body as it comes, so that nobody has to keep it.
pub trait Onlooker: fmt::Debug + Send {
    /// Its beginning is in `response.body`, which is let go afterwards.
    fn begin(&mut self, response: &Response);
    fn look(&mut self, piece: &[u8]);
    /// Whether what it looks for was there, by its number.
    fn has_seen(&self, which: usize) -> bool;
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
    /// All headers if wanted, else those that we need ourselves.
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
    /// What is counted of `body`, if it is long.
    held: Held,
    /// How long room for it was waited for, in nanoseconds: no time of the peer's.
    pub waited: u64,
    pub body_bytes: u64,
    /// The body goes on after `max_body`, or nobody waited for its end.
    pub cut: bool,
    /// The connection can take another request, as far as the answer says.
    persists: bool,
    /// Bytes of the body as they came, before any Content-Encoding was undone.
    declared: Option<u64>,
    /// Codings of Transfer-Encoding besides chunked, in the order in which they were applied.
    pub transfer: Vec<String>,
    /// The server refused to answer over HTTP/2, and would over 1.1.
    pub wants_http1: bool,
    /// Redirects by which the reader goes on: nobody looks at their bodies.
    followed: [u16; 5],
    onlooker: Option<Box<dyn Onlooker>>,
    /// The body was too long to be kept, and the onlooker has seen it.
    passes: bool,
    /// What comes is packed: what the onlooker is to see is in it.
    is_packed: bool,
}

/// What a head says of the body after it.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    bad_length: bool,
    /// Whether the last Transfer-Encoding is chunked.
    coding: Option<bool>,
    /// Connection: close, and keep-alive.
    closes: bool,
    keeps: bool,
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
            held: Held::default(),
            waited: 0,
            body_bytes: 0,
            cut: false,
            persists: false,
            declared: None,
            transfer: Vec::new(),
            wants_http1: false,
            followed: [0; 5],
            onlooker: None,
            passes: false,
            is_packed: false,
        }
    }

    /// Of a long body nothing is kept but what this one says.
    pub fn looked_at_by(mut self, onlooker: Option<Box<dyn Onlooker>>) -> Response {
        self.onlooker = onlooker;
        self
    }

    /// Who has seen the body that was not kept.
    pub fn onlooker(&self) -> Option<&dyn Onlooker> {
        self.onlooker.as_deref().filter(|_| self.passes)
    }

    /// An answer with one of these codes and a Location ends with its head.
    pub fn following(mut self, codes: [u16; 5]) -> Response {
        self.followed = codes;
        self
    }

    /// The head of an answer that is not in HTTP/1's form. Its pieces follow, then [`end`](Self::end).
    pub fn begin<'h>(
        &mut self,
        status: u16,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        is_all: bool,
    ) -> Result<(), Malformed> {
        let mut fields = Fields::default();
        for (name, value) in headers {
            self.field(&mut fields, name.as_bytes(), value.into());
        }
        fields.coding = None;
        self.transfer.clear();
        self.after_head(status, &fields)?;
        if self.state == State::UntilClose && is_all {
            self.state = State::Done;
        }
        Ok(())
    }

    /// A piece of a body whose end is told by other means than its bytes.
    pub fn piece(&mut self, data: &[u8]) {
        if matches!(self.state, State::UntilClose | State::Length { .. }) {
            // Never an error: there is no framing in it.
            let _ = self.feed(data);
        }
    }

    /// With its headers and its body, which are gone from here.
    pub fn take(&mut self) -> Response {
        Response {
            headers: std::mem::take(&mut self.headers),
            body: std::mem::take(&mut self.body),
            held: std::mem::take(&mut self.held),
            status: self.status,
            cut: self.cut,
            body_bytes: self.body_bytes,
            onlooker: self.onlooker.take(),
            passes: self.passes,
            ..Response::new(self.wanted)
        }
    }

    /// Makes room for so many bytes more, if they are kept and the body becomes long by them: before they are read. The error
    /// is an own fault.
    pub async fn make_room(&mut self, cx: Cx<'_>, more: usize) -> io::Result<()> {
        let needed = self.body.len() + more;
        let is_kept = self.wanted.body && (self.onlooker.is_none() || self.is_packed);
        if !is_kept {
            return Ok(());
        }
        let most = usize::try_from(self.wanted.max_body).unwrap_or(usize::MAX);
        self.waited += self.held.keep(cx, needed, most).await?;
        Ok(())
    }

    /// The body as it came, to be unpacked, with what is counted of it. What is kept from now on is not packed any more.
    pub fn take_packed(&mut self) -> (Vec<u8>, Held) {
        self.is_packed = false;
        (
            std::mem::take(&mut self.body),
            std::mem::take(&mut self.held),
        )
    }

    /// Of a layer of packing below which there is another one.
    pub fn put_packed(&mut self, body: Vec<u8>, held: Held) {
        self.is_packed = true;
        self.body = body;
        self.held = held;
    }

    /// Nobody can say when it ends, and nobody looks at it.
    pub fn is_endless(&self) -> bool {
        !self.wanted.body && self.declared.is_none() && self.status != 0 && !self.is_done()
    }

    /// Enough was read.
    pub fn stop(&mut self) {
        self.cut = true;
        self.state = State::Done;
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// It was read to its end, and nothing came after it: another request may follow on its connection.
    pub fn allows_another(&self) -> bool {
        self.is_done() && !self.cut && self.persists
    }

    /// The first of this name.
    pub fn header(&self, name: &str) -> Option<&Header> {
        self.headers.iter().find(|h| h.is(name))
    }

    /// All of this name.
    pub fn all<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r Header> {
        self.headers.iter().filter(move |h| h.is(name))
    }

    /// Bytes of the headers that are kept.
    pub fn head_size(&self) -> usize {
        self.headers.iter().map(|h| h.value.len()).sum()
    }

    /// Takes in what was read. Bytes after the end are ignored: the connection is not used again.
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
        if !data.is_empty() {
            self.persists = false;
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
        if before == 0 && matches!(data, [b'\r' | b'\n', ..]) {
            // Blank lines before an answer, left over from whatever came before.
            self.head_bytes += 1;
            return match self.head_bytes > MAX_HEAD {
                true => Err(Malformed::HeadTooLong),
                false => Ok(&data[1..]),
            };
        }
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
        let first = head.iter().position(|b| *b == b'\n').unwrap_or(head.len());
        let (line, lines) = head.split_at(first);
        let line = status_line(line.trim_ascii_end()).ok_or(Malformed::StatusLine)?;
        let status = line.status;
        self.minor_version = line.minor_version;
        if (100..200).contains(&status) && status != 101 {
            // An interim answer: the real one follows. MAX_HEAD counts them all together.
            return Ok(());
        }
        let mut fields = Fields::default();
        each_header(lines.strip_prefix(b"\n").unwrap_or(lines), |name, value| {
            self.field(&mut fields, name, value);
        });
        self.after_head(status, &fields)
    }

    fn field(&mut self, fields: &mut Fields, name: &[u8], value: Cow<'_, [u8]>) {
        if name.eq_ignore_ascii_case(b"content-length") {
            let found = content_length(&value);
            let other = fields.length.is_some_and(|other| found != Some(other));
            fields.bad_length |= found.is_none() || other;
            fields.length = found;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            for coding in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                // "identity" is none, and leaves it to Content-Length.
                if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
                    continue;
                }
                let chunked = coding.eq_ignore_ascii_case(b"chunked");
                fields.coding = Some(chunked);
                if !chunked {
                    let coding = String::from_utf8_lossy(coding);
                    self.transfer.push(coding.to_ascii_lowercase());
                }
            }
        } else if name.eq_ignore_ascii_case(b"connection") {
            for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                fields.closes |= option.eq_ignore_ascii_case(b"close");
                fields.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        let is_it = |n: &&str| name.eq_ignore_ascii_case(n.as_bytes());
        if self.wanted.headers || NEEDED.iter().any(is_it) {
            let name = String::from_utf8_lossy(name).into_owned();
            let value = value.into_owned();
            self.headers.push(Header { name, value });
        }
    }

    fn after_head(&mut self, status: u16, fields: &Fields) -> Result<(), Malformed> {
        self.status = status;
        let is_identity = |h: &Header| h.value.trim_ascii().eq_ignore_ascii_case(b"identity");
        self.is_packed =
            !self.transfer.is_empty() || !self.all("content-encoding").all(is_identity);
        // Transfer-Encoding goes before Content-Length (RFC 9112, 6.3), whatever that says.
        if fields.bad_length && fields.coding.is_none() {
            return Err(Malformed::ContentLength);
        }
        self.declared = fields.length.filter(|_| fields.coding.is_none());
        self.state = match (fields.coding, self.declared) {
            _ if self.wanted.is_head_request || matches!(status, 101 | 204 | 304) => State::Done,
            (Some(true), _) => State::ChunkSize,
            (Some(false), _) => State::UntilClose,
            (None, Some(0)) => State::Done,
            (None, Some(n)) => State::Length { left: n, of: n },
            (None, None) => State::UntilClose,
        };
        // A length beside a coding may be two answers to somebody on the way.
        let is_clear = fields.coding.is_none() || fields.length.is_none() && !fields.bad_length;
        self.persists = match self.minor_version {
            _ if self.state == State::UntilClose || status == 101 || fields.closes => false,
            0 => is_clear && fields.keeps,
            _ => is_clear,
        };
        let leads_on = self.followed.contains(&status) && self.header("location").is_some();
        if (leads_on || self.wanted.max_body == 0) && self.state != State::Done {
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
            match self.is_packed {
                true => self.body.extend_from_slice(piece),
                false => self.keep(piece),
            }
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

    /// A piece of the body as it is, unpacked if it was packed.
    pub fn keep(&mut self, piece: &[u8]) {
        let room = KEPT.saturating_sub(self.body.len());
        let Some(mut onlooker) = self.onlooker.take_if(|_| self.passes || piece.len() > room)
        else {
            self.body.extend_from_slice(piece);
            return;
        };
        let mut rest = piece;
        if !self.passes {
            let (first, after) = piece.split_at(room);
            self.body.extend_from_slice(first);
            onlooker.begin(self);
            self.body = Vec::new();
            self.passes = true;
            rest = after;
        }
        onlooker.look(rest);
        self.onlooker = Some(onlooker);
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
