//! One connection: bytes in, lines out, and what it is being told.

use super::ids::IdSet;
use super::matcher::Matcher;
use super::selection::Selection;
use crate::journal::Follow;
use healthd_core::wire::control::{ControlError, ErrorCode, Reply};
use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// Answers are made until this much waits to be taken.
const OUT_ENOUGH: usize = 64 * 1024;

pub struct Client {
    pub(super) stream: UnixStream,
    /// Tells it from an earlier client in the same place.
    pub(super) serial: u64,
    pub(super) rights: Rights,
    pub(super) uid: u32,
    /// CLOCK_MONOTONIC, ns, of the last request that it made or byte that it took.
    pub(super) active: u64,
    pub(super) input: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    pub(super) job: Job,
    /// No more requests: close when the answer is taken.
    pub(super) closing: bool,
    /// It has gone: what it asked for before is still done, but nobody is told.
    pub(super) gone: bool,
    /// There may be more to read.
    pub(super) readable: bool,
    /// Waits for the socket to become writable.
    pub(super) blocked: bool,
    /// It has its place among those to be served.
    pub(super) queued: bool,
}

/// Asked of the kernel when it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub may_change: bool,
    /// Root and the daemon's own user: they are served first, and some places are theirs alone.
    pub first: bool,
    /// The pid of one that healthd itself has started: it may change nothing, whoever it is, unless it is a reader.
    pub below: Option<u32>,
}

/// What a client is being told.
pub(super) enum Job {
    None,
    /// It is being found out which checks it means.
    Selecting(Box<Selection>),
    /// Rows of these checks, in this order, then `end`.
    Rows {
        ids: VecDeque<u32>,
    },
    /// These lines, then `end`.
    Lines {
        lines: VecDeque<Reply>,
    },
    /// Rows as the runs finish; `end` when none is left.
    Run {
        waiting: HashSet<u32>,
        done: VecDeque<u32>,
    },
    /// First the rows as they are (`first` of them are still to come), then rows whenever they change, for
    /// ever. Changes of one check merge while the client is slow.
    Watch(Box<Watch>),
    /// Events, as far as they go, then `end`; or, forever, whatever comes. `more`: there may be some.
    Events {
        reader: Follow,
        /// Only those of these checks.
        of: Option<Box<Matcher>>,
        more: bool,
    },
    /// The answer comes later, from somewhere else.
    Waiting,
}

pub(super) struct Watch {
    pub matcher: Matcher,
    /// What the matcher says of each check, as far as it was asked.
    pub asked: IdSet,
    pub meant: IdSet,
    pub first: usize,
    pub changed: VecDeque<u32>,
    pub queued: IdSet,
    /// Rows of these were shown.
    pub told: IdSet,
    pub gone: Vec<String>,
}

/// What came of a look at the socket.
pub(super) enum Input {
    /// A whole line, without its end.
    Line(Vec<u8>),
    Nothing,
    TooLong,
}

impl Client {
    pub(super) fn new(
        stream: UnixStream,
        serial: u64,
        uid: u32,
        rights: Rights,
        now: u64,
    ) -> Client {
        Client {
            stream,
            serial,
            rights,
            uid,
            active: now,
            input: Vec::new(),
            out: Vec::new(),
            written: 0,
            job: Job::None,
            closing: false,
            gone: false,
            readable: true,
            blocked: false,
            queued: false,
        }
    }

    pub fn line(&mut self, reply: &Reply) {
        if !self.gone && serde_json::to_writer(&mut self.out, reply).is_ok() {
            self.out.push(b'\n');
        }
    }

    pub fn has_room(&self) -> bool {
        !self.blocked && self.out.len() - self.written < OUT_ENOUGH
    }

    /// Its next line, read as far as is needed to have it.
    pub fn next_line(&mut self, cap: usize) -> Input {
        let mut chunk = [0; 4096];
        let mut searched = 0;
        loop {
            if let Some(at) = self.input[searched..].iter().position(|&b| b == b'\n') {
                let end = searched + at;
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.truncate(end);
                return Input::Line(line);
            }
            searched = self.input.len();
            if searched > cap {
                return Input::TooLong;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Input::Nothing;
                }
                Err(_) => break,
            }
        }
        self.readable = false;
        self.closing = true;
        Input::Nothing
    }

    /// Ok(true): all is written.
    pub fn flush(&mut self) -> std::io::Result<bool> {
        if self.gone {
            self.out.clear();
            self.written = 0;
        }
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// It hung up, and what it was being told ends. What it had asked for before that is still read and done, if it may
    /// change things: of one that only looks nobody misses anything.
    pub fn hung_up(&mut self) {
        self.gone = true;
        self.blocked = false;
        match &self.job {
            Job::Selecting(selection) if selection.outlives_its_client() => {}
            _ => self.job = Job::None,
        }
        self.readable = self.rights.may_change;
        if !self.rights.may_change {
            self.closing = true;
            self.input.clear();
        }
    }

    /// It has asked for nothing for so long, and has all its answers.
    pub fn is_idle(&self, now: u64, limit: u64) -> bool {
        matches!(self.job, Job::None)
            && self.written == self.out.len()
            && now.saturating_sub(self.active) > limit
    }

    /// More can be done at once: more rows, or the next request.
    pub fn is_pressing(&self) -> bool {
        match &self.job {
            Job::None => self.input.contains(&b'\n') || (self.readable && !self.closing),
            Job::Selecting(_) | Job::Rows { .. } | Job::Lines { .. } => true,
            Job::Run { done, waiting } => !done.is_empty() || waiting.is_empty(),
            Job::Watch(watch) => !watch.changed.is_empty() || !watch.gone.is_empty(),
            Job::Events { more, .. } => *more,
            Job::Waiting => false,
        }
    }

    /// It has been told all that it asked for, and will ask for nothing more.
    pub fn is_over(&self) -> bool {
        self.closing && matches!(self.job, Job::None) && !self.input.contains(&b'\n')
    }
}

pub fn error(code: ErrorCode, message: impl Into<String>, help: impl Into<String>) -> ControlError {
    ControlError {
        code,
        message: message.into(),
        help: help.into(),
        diagnostics: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(may_change: bool) -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        let rights = Rights {
            may_change,
            first: false,
            below: None,
        };
        (Client::new(ours, 1, 7, rights, 0), theirs)
    }

    #[test]
    fn what_a_reader_had_asked_for_goes_with_it() {
        for may_change in [false, true] {
            let (mut client, mut theirs) = client(may_change);
            theirs.write_all(b"{}\n{}\n").expect("it fits");
            assert!(matches!(client.next_line(100), Input::Line(_)));
            drop(theirs);
            client.hung_up();
            assert_eq!(client.is_over(), !may_change);
            assert_eq!(client.is_pressing(), may_change);
        }
    }

    #[test]
    fn only_who_asks_for_nothing_and_has_its_answers_is_idle() {
        let (mut client, _theirs) = client(false);
        assert!(!client.is_idle(10, 10));
        assert!(client.is_idle(11, 10));
        client.line(&Reply::End);
        assert!(!client.is_idle(11, 10));
        assert!(client.flush().expect("it fits"));
        client.job = Job::Waiting;
        assert!(!client.is_idle(11, 10));
    }
}
