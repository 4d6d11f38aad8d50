//! One connection: bytes in, lines out, and what it is being told.

use super::sieve::Sieve;
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
    pub(super) may_change: bool,
    pub(super) uid: u32,
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

/// What a client is being told.
pub(super) enum Job {
    None,
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
    Watch {
        sieve: Sieve,
        first: usize,
        changed: VecDeque<u32>,
        queued: HashSet<u32>,
        gone: Vec<String>,
    },
    /// Events, as far as they go, then `end`; or, forever, whatever comes. `more`: there may be some.
    Events {
        reader: Follow,
        more: bool,
    },
    /// The answer comes later, from somewhere else.
    Waiting,
}

/// What came of a look at the socket.
pub(super) enum Input {
    /// A whole line, without its end.
    Line(Vec<u8>),
    Nothing,
    TooLong,
}

impl Client {
    pub fn new(stream: UnixStream, serial: u64, uid: u32, may_change: bool) -> Client {
        Client {
            stream,
            serial,
            may_change,
            uid,
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

    /// It hung up. What it was being told ends; what it had asked for before that is still read.
    pub fn hung_up(&mut self) {
        self.gone = true;
        self.job = Job::None;
        self.blocked = false;
        self.readable = true;
    }

    /// More can be done at once: more rows, or the next request.
    pub fn is_pressing(&self) -> bool {
        match &self.job {
            Job::None => self.input.contains(&b'\n') || (self.readable && !self.closing),
            Job::Rows { .. } | Job::Lines { .. } => true,
            Job::Run { done, waiting } => !done.is_empty() || waiting.is_empty(),
            Job::Watch { changed, gone, .. } => !changed.is_empty() || !gone.is_empty(),
            Job::Events { more, .. } => *more,
            Job::Waiting => false,
        }
    }

    /// It has been told all that it asked for, and will ask for nothing more.
    pub fn is_over(&self) -> bool {
        self.closing && matches!(self.job, Job::None) && !self.input.contains(&b'\n')
    }
}

pub(super) fn error(
    code: ErrorCode,
    message: impl Into<String>,
    help: impl Into<String>,
) -> ControlError {
    ControlError {
        code,
        message: message.into(),
        help: help.into(),
        diagnostics: Vec::new(),
    }
}
