//! The client's end of the control socket: one request out, reply lines in.
//!
//! The peer is believed only as far as it proves itself: it may be slow, gone in mid-line, newer than
//! we are, or no healthd at all. Every wait has a deadline or an interrupt, and memory a limit.

use crate::error::{CtlError, Inside};
use crate::interrupt::Interrupt;
use crate::render::text::{cut, escape};
use healthd_core::wire::control::{CheckRow, MAX_REQUEST, Op, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, BufRead, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Far above what a reply holds (a result is capped at 112 KiB), far below what hurts.
const MAX_REPLY: usize = 8 * 1024 * 1024;
/// A line for each check of the largest daemon whose maps are read, and more.
const MAX_LINES: usize = 200_000;

fn monotonic_ms() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// How long healthd may stay silent; None: as long as it likes.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub first: Option<Duration>,
    pub between: Option<Duration>,
}

pub struct Connection {
    stream: UnixStream,
    socket: PathBuf,
    buffer: Vec<u8>,
    /// What of the buffer was given out, and up to where no line end was found.
    taken: usize,
    scanned: usize,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, on the stack"
)]
pub enum Incoming {
    Reply(Reply),
    /// The answer is complete.
    End,
    /// A type that this healthctl does not know: a newer daemon.
    Unknown(String),
    /// The time given is over.
    Quiet,
    /// Ctrl-C, or the reader of our output has left.
    Stop,
}

impl Connection {
    /// Connects within `patience` and sends the request.
    pub fn ask(socket: &Path, op: Op, patience: Option<Duration>) -> Result<Connection, CtlError> {
        let mut request = Request::new(op);
        if request.op.changes() {
            // What we no longer wait for is not to happen later: a stopped daemon goes on some day.
            request.expires_ms = patience.map(|time| monotonic_ms() + time.as_millis() as u64);
        }
        let mut request = serde_json::to_vec(&request).expect("a request always serializes");
        request.push(b'\n');
        if request.len() > MAX_REQUEST {
            return Err(CtlError::RequestTooLong {
                length: request.len(),
                limit: MAX_REQUEST,
            });
        }
        let stream = connect(socket, patience)?;
        let mut connection = Connection {
            stream,
            socket: socket.to_owned(),
            buffer: Vec::new(),
            taken: 0,
            scanned: 0,
        };
        connection.send(&request, patience)?;
        Ok(connection)
    }

    fn send(&mut self, request: &[u8], patience: Option<Duration>) -> Result<(), CtlError> {
        // SO_SNDTIMEO is still set from the connect, so a peer that does not read cannot hold us.
        match self.stream.write_all(request) {
            Ok(()) => {}
            // It closed before it read all: what it had to say about that is still to be read.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(self.silent(patience.unwrap_or_default()));
            }
            Err(error) => {
                return Err(CtlError::Read {
                    socket: self.socket.clone(),
                    error,
                });
            }
        }
        self.stream
            .set_nonblocking(true)
            .map_err(|error| CtlError::Read {
                socket: self.socket.clone(),
                error,
            })
    }

    /// The next line, or why there is none by `until`.
    pub fn next(
        &mut self,
        until: Option<Instant>,
        interrupt: Option<&Interrupt>,
    ) -> Result<Incoming, CtlError> {
        loop {
            if let Some(line) = self.take_line()? {
                return self.parse(&self.buffer[line]);
            }
            match self.stream_read() {
                Ok(0) => return Err(self.hung_up()),
                Ok(_) => continue,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => {}
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                        return Err(self.hung_up());
                    }
                    _ => {
                        return Err(CtlError::Read {
                            socket: self.socket.clone(),
                            error,
                        });
                    }
                },
            }
            match self.wait(until, interrupt)? {
                Waited::Readable => {}
                Waited::Over => return Ok(Incoming::Quiet),
                Waited::Stopped => return Ok(Incoming::Stop),
            }
        }
    }

    /// Takes every line of the answer; `each` says whether it knew what to do with it.
    pub fn all(
        &mut self,
        patience: Patience,
        mut each: impl FnMut(Reply) -> bool,
        mut unknown: impl FnMut(&str),
    ) -> Result<(), CtlError> {
        let mut silence = patience.first;
        for _ in 0..MAX_LINES {
            let incoming = match self.take_line()? {
                // The clock is asked only where there may be something to wait for.
                Some(line) => self.parse(&self.buffer[line])?,
                None => self.next(silence.map(|time| Instant::now() + time), None)?,
            };
            match incoming {
                Incoming::Reply(reply) => {
                    let kind = kind_of(&reply);
                    if !each(reply) {
                        unknown(kind);
                    }
                }
                Incoming::Unknown(kind) => unknown(&kind),
                Incoming::End | Incoming::Stop => return Ok(()),
                Incoming::Quiet => return Err(self.silent(silence.unwrap_or_default())),
            }
            silence = patience.between;
        }
        Err(CtlError::Endless {
            socket: self.socket.clone(),
            lines: MAX_LINES,
        })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Before the answer is taken: whether nothing of it has come by `until`.
    pub fn is_silent(&self, until: Instant) -> Result<bool, CtlError> {
        Ok(matches!(self.wait(Some(until), None)?, Waited::Over))
    }

    pub fn silent(&self, waited: Duration) -> CtlError {
        CtlError::Silent {
            socket: self.socket.clone(),
            waited,
        }
    }

    fn stream_read(&mut self) -> io::Result<usize> {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.scanned -= self.taken;
            self.taken = 0;
        }
        let filled = self.buffer.len();
        let room = (filled / 2).clamp(64 * 1024, 1024 * 1024);
        self.buffer.resize(filled + room, 0);
        let result = self.stream.read(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + result.as_ref().unwrap_or(&0));
        result
    }

    /// Where in the buffer it stands.
    fn take_line(&mut self) -> Result<Option<Range<usize>>, CtlError> {
        let mut rest = &self.buffer[self.scanned..];
        // libc looks for it, many bytes in one step. In memory this cannot fail.
        let seen = rest.skip_until(b'\n').unwrap_or_default();
        self.scanned += seen;
        if seen > 0 && self.buffer[self.scanned - 1] == b'\n' {
            let line = self.taken..self.scanned - 1;
            self.taken = self.scanned;
            return Ok(Some(line));
        }
        if self.scanned - self.taken > MAX_REPLY {
            return Err(CtlError::TooLong {
                socket: self.socket.clone(),
                limit: MAX_REPLY,
            });
        }
        Ok(None)
    }

    fn parse(&self, line: &[u8]) -> Result<Incoming, CtlError> {
        if let Some(row) = CheckRow::of_line(line) {
            return Ok(Incoming::Reply(Reply::Check(row)));
        }
        let error = match serde_json::from_slice::<Reply>(line) {
            Ok(Reply::End) => return Ok(Incoming::End),
            Ok(Reply::Error(error)) => return Err(CtlError::Answer(error)),
            Ok(reply) => return Ok(Incoming::Reply(reply)),
            Err(error) => error,
        };
        #[derive(serde::Deserialize)]
        struct Kind {
            r#type: String,
        }
        match serde_json::from_slice::<Kind>(line) {
            Ok(kind) if KNOWN.contains(&&*kind.r#type) => Err(CtlError::Unreadable {
                kind: kind.r#type,
                error,
            }),
            Ok(kind) => Ok(Incoming::Unknown(kind.r#type)),
            Err(_) => {
                let text = String::from_utf8_lossy(&line[..line.len().min(256)]);
                Err(CtlError::Garbage {
                    socket: self.socket.clone(),
                    excerpt: format!("`{}`", cut(&escape(&text), 60)),
                })
            }
        }
    }

    fn hung_up(&self) -> CtlError {
        CtlError::HungUp {
            socket: self.socket.clone(),
            inside: if self.buffer.len() > self.taken {
                Inside::Line
            } else {
                Inside::Answer
            },
        }
    }

    fn wait(
        &self,
        until: Option<Instant>,
        interrupt: Option<&Interrupt>,
    ) -> Result<Waited, CtlError> {
        let mut fds = vec![PollFd::new(&self.stream, PollFlags::IN)];
        let stdout = rustix::stdio::stdout();
        if let Some(interrupt) = interrupt {
            fds.push(PollFd::new(&interrupt.readable, PollFlags::IN));
            // Asked for nothing, a pipe still says ERR once its reader is gone: `watch | head -1` then
            // ends at once, not at the next change.
            fds.push(PollFd::from_borrowed_fd(stdout, PollFlags::empty()));
        }
        let timeout = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Waited::Over),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Waited::Readable),
            Err(error) => {
                return Err(CtlError::Read {
                    socket: self.socket.clone(),
                    error: error.into(),
                });
            }
        }
        let stopped = fds.len() > 1
            && (!fds[1].revents().is_empty() || fds[2].revents().contains(PollFlags::ERR));
        Ok(if stopped {
            Waited::Stopped
        } else {
            Waited::Readable
        })
    }
}

enum Waited {
    Readable,
    Over,
    Stopped,
}

/// The `type` of each reply we know.
const KNOWN: [&str; 19] = [
    "check", "problem", "object", "event", "detail", "started", "gone", "worker", "plugin", "why",
    "reloaded", "version", "alerts", "silence", "tested", "who", "probed", "end", "error",
];

/// Its `type`, as on the wire.
pub fn kind_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Check(_) => "check",
        Reply::Problem(_) => "problem",
        Reply::Detail(_) => "detail",
        Reply::Started { .. } => "started",
        Reply::Gone { .. } => "gone",
        Reply::Worker(_) => "worker",
        Reply::Plugin(_) => "plugin",
        Reply::Object(_) => "object",
        Reply::Event(_) => "event",
        Reply::Why(_) => "why",
        Reply::Reloaded(_) => "reloaded",
        Reply::Version(_) => "version",
        Reply::Alerts(_) => "alerts",
        Reply::Silence(_) => "silence",
        Reply::Tested(_) => "tested",
        Reply::Who(_) => "who",
        Reply::Probed(_) => "probed",
        Reply::End => "end",
        Reply::Error(_) => "error",
    }
}

fn timespec(time: Duration) -> Timespec {
    // A whole millisecond more, so that we do not wake just before the deadline and spin.
    Timespec::try_from(time + Duration::from_millis(1)).unwrap_or(Timespec {
        tv_sec: 86_400,
        tv_nsec: 0,
    })
}

fn connect(socket: &Path, patience: Option<Duration>) -> Result<UnixStream, CtlError> {
    let address = SocketAddrUnix::new(socket).map_err(|error| CtlError::SocketPath {
        socket: socket.to_owned(),
        error: error.into(),
    })?;
    let other = |error: Errno| CtlError::Connect {
        socket: socket.to_owned(),
        error: error.into(),
    };
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(other)?;
    // A stopped daemon accepts nobody; once its backlog is full connect would block for ever. On a Unix
    // socket the send timeout bounds connect too (unix(7) is silent; af_unix.c, unix_stream_connect).
    sockopt::set_socket_timeout(fd.as_fd(), sockopt::Timeout::Send, patience).map_err(other)?;
    match rustix::net::connect(&fd, &address) {
        Ok(()) => believed(socket, UnixStream::from(fd)),
        Err(Errno::AGAIN) => Err(CtlError::Silent {
            socket: socket.to_owned(),
            waited: patience.unwrap_or_default(),
        }),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(CtlError::NoSocket {
            socket: socket.to_owned(),
        }),
        Err(Errno::CONNREFUSED) => match std::fs::metadata(socket) {
            Ok(meta) if !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) => {
                Err(CtlError::Connect {
                    socket: socket.to_owned(),
                    error: io::Error::other("not a socket"),
                })
            }
            _ => Err(CtlError::Refused {
                socket: socket.to_owned(),
            }),
        },
        Err(Errno::ACCESS | Errno::PERM) => Err(denied(socket)),
        Err(error) => Err(other(error)),
    }
}

/// Whoever may make a socket in that folder could answer in healthd's name.
fn believed(socket: &Path, stream: UnixStream) -> Result<UnixStream, CtlError> {
    let peer = sockopt::socket_peercred(&stream).map_err(|error| CtlError::Connect {
        socket: socket.to_owned(),
        error: error.into(),
    })?;
    let uid = peer.uid.as_raw();
    if healthd_sys::files::is_trusted(uid, socket.parent()) {
        return Ok(stream);
    }
    Err(CtlError::Stranger {
        socket: socket.to_owned(),
        uid,
    })
}

/// Finds out what keeps us out: the socket, or the first directory on the way that we may not enter.
fn denied(socket: &Path) -> CtlError {
    let mut place = socket;
    // A stat fails as long as a directory above is closed to us; that directory itself can be seen.
    let meta = loop {
        match std::fs::symlink_metadata(place) {
            Ok(meta) => break Some(meta),
            Err(_) => match place.parent() {
                Some(parent) => place = parent,
                None => break None,
            },
        }
    };
    // Only a group that may pass is worth joining: write on the socket, search on a directory.
    let group = meta.and_then(|meta| {
        let needed = if meta.is_dir() { 0o010 } else { 0o020 };
        (meta.mode() & needed != 0).then(|| group_name(meta.gid()))
    });
    CtlError::Denied {
        place: place.to_owned(),
        group: group.filter(|name| name != "root"),
    }
}

fn group_name(gid: u32) -> String {
    // Service groups are local; for one from a directory service the number will do.
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    groups
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let (name, number) = (fields.next()?, fields.nth(1)?);
            (number.parse() == Ok(gid)).then(|| name.to_owned())
        })
        .unwrap_or_else(|| gid.to_string())
}
