//! What the plugins of a worker write to standard error: each worker's is a pipe that ends here. Its lines go into the
//! daemon's log with the worker's slot in front, escaped, limited and without the secrets of its checks; what was left out
//! is counted.
//!
//! Runs in: supervisor, which outlives the worker: the last words of one that dies are told too. Everything is read
//! that is there, so a plugin that writes without end waits for nobody; that it does is its own worker's time.

use healthd_core::scrub::{MASK, Scrubber};
use healthd_core::text::is_unsafe;
use healthd_core::wire::supervisor::{SlotSpec, WorkerClass};
use healthd_core::wire::told_secrets as told;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// At most so many lines at once, and so many a second in the long run.
const BURST: f64 = 100.0;
const RATE: f64 = 10.0;
/// Bytes of a line, which is cut there with a mark.
const LONGEST: usize = 1024;
/// Bytes that one turn of the loop reads of one worker.
const A_TURN: usize = 1 << 20;
const PIPE: i32 = 256 << 10;

/// One worker's.
#[derive(Debug)]
pub struct Words {
    pipe: OwnedFd,
    slot: u32,
    class: WorkerClass,
    /// Its plugins, if they are known: of those that share a worker nobody can say which one it was.
    plugins: String,
    pid: u32,
    lines: Lines,
    secrets: Secrets,
}

impl AsFd for Words {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Words {
    /// Our end, which never blocks, and the worker's, which does: who writes to it expects that it works.
    pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // A user may have used up what all his pipes may hold together; a small one is good too.
        let _ = fcntl(&ours, FcntlArg::F_SETPIPE_SZ(PIPE));
        Ok((ours, theirs))
    }

    /// `secrets`: the file in which the worker tells them.
    pub fn new(spec: &SlotSpec, pid: u32, pipe: OwnedFd, secrets: OwnedFd) -> Words {
        Words {
            secrets: Secrets {
                file: secrets.into(),
                length: 0,
                known: Ok(Scrubber::default()),
            },
            pipe,
            slot: spec.slot,
            class: spec.class,
            plugins: match spec.plugins.as_slice() {
                [] => String::new(),
                names => format!(" plugin={}", names.join(",")),
            },
            pid,
            lines: Lines::default(),
        }
    }

    /// Reads what is there. False: nobody holds the other end any more.
    pub fn listen(&mut self, now: u64) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut budget = A_TURN;
        while budget > 0 {
            match read(&self.pipe, &mut buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    budget = budget.saturating_sub(n);
                    self.lines.take(&buffer[..n], now);
                    self.tell();
                }
                Err(Errno::EINTR) => {}
                Err(_) => return true,
            }
        }
        true
    }

    /// Now and then: what was left out is told, though nothing more comes.
    pub fn look(&mut self, now: u64) {
        self.lines.take(b"", now);
        if self.lines.tokens >= 1.0 {
            self.lines.left_out();
            self.tell();
        }
    }

    /// The worker has ended. Its children may still hold the other end.
    pub fn end(&mut self, now: u64) {
        self.listen(now);
        self.lines.end(now);
        self.tell();
    }

    fn tell(&mut self) {
        if self.lines.out.is_empty() {
            return;
        }
        let Words { slot, pid, .. } = *self;
        let class = self.class.as_str();
        let of = &self.plugins;
        self.secrets.look();
        for line in self.lines.out.drain(..) {
            match line {
                Line::Said { text, cut } => {
                    let text = self.secrets.without(&text);
                    let more = if cut { "..." } else { "" };
                    log::warn!(
                        "a plugin wrote to stderr  slot={slot} class={class}{of} pid={pid} text=\"{text}{more}\""
                    );
                }
                Line::LeftOut(lines) => log::warn!(
                    "more than {RATE} lines a second on stderr  slot={slot} class={class}{of} pid={pid} left_out={lines}"
                ),
            }
        }
    }
}

/// What must not be told. The worker writes a secret before any plugin can know it.
#[derive(Debug)]
struct Secrets {
    file: File,
    /// What of it is in `known`.
    length: u64,
    /// Err: what they are cannot be known.
    known: Result<Scrubber, Unknown>,
}

#[derive(Clone, Copy, Debug)]
struct Unknown;

impl Secrets {
    fn look(&mut self) {
        let mut head = [0; told::HEAD as usize];
        let length = match self.file.read_exact_at(&mut head, 0) {
            Ok(()) => u64::from_le_bytes(head),
            // Nothing was written yet.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(_) => told::TOO_MANY,
        };
        if length != self.length {
            self.length = length;
            self.known = self.read(length).ok_or(Unknown);
        }
    }

    fn read(&self, length: u64) -> Option<Scrubber> {
        let length = usize::try_from(length).ok();
        let mut bytes = vec![0; length.filter(|n| *n as u64 <= told::MOST_BYTES)?];
        self.file.read_exact_at(&mut bytes, told::HEAD).ok()?;
        Some(Scrubber::new(told::read(&bytes)?))
    }

    /// The line, escaped.
    fn without(&self, line: &str) -> String {
        match &self.known {
            Ok(secrets) => escaped(&secrets.scrub(line)),
            Err(Unknown) => format!(
                "{MASK} ({} bytes; this worker has more than {} secrets to look for)",
                line.len(),
                told::MOST
            ),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Line {
    /// As it came, so that secrets are found in it, also one that was cut.
    Said {
        text: String,
        cut: bool,
    },
    LeftOut(u64),
}

/// Bytes in, lines out. Pure.
#[derive(Debug)]
struct Lines {
    begun: Vec<u8>,
    /// Of the line that has begun: more bytes than are kept.
    cut: bool,
    left_out: u64,
    tokens: f64,
    /// CLOCK_MONOTONIC, ns.
    filled: u64,
    out: Vec<Line>,
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            begun: Vec::new(),
            cut: false,
            left_out: 0,
            tokens: BURST,
            filled: 0,
            out: Vec::new(),
        }
    }
}

impl Lines {
    fn take(&mut self, bytes: &[u8], now: u64) {
        let earned = now.saturating_sub(self.filled) as f64 / 1e9 * RATE;
        self.tokens = (self.tokens + earned).min(BURST);
        self.filled = now;
        let mut parts = bytes.split(|b| *b == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = LONGEST.saturating_sub(self.begun.len());
            self.cut |= part.len() > room;
            self.begun.extend(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                self.line();
            }
        }
    }

    fn end(&mut self, now: u64) {
        self.take(b"", now);
        // The last words count most.
        self.tokens = self.tokens.max(1.0);
        if !self.begun.is_empty() {
            self.line();
        }
        self.left_out();
    }

    fn line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        let cut = std::mem::take(&mut self.cut);
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        if self.tokens < 1.0 {
            self.left_out += 1;
            return;
        }
        self.left_out();
        self.tokens -= 1.0;
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        self.out.push(Line::Said { text, cut });
    }

    fn left_out(&mut self) {
        if self.left_out > 0 {
            self.out
                .push(Line::LeftOut(std::mem::take(&mut self.left_out)));
        }
    }
}

/// No byte of it can pass for another line, move a terminal's cursor or end the quotes.
fn escaped(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        match c {
            '\t' => text.push(' '),
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if is_unsafe(c) => {
                let _ = write!(text, "\\u{{{:x}}}", c as u32);
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn said(lines: &mut Lines) -> Vec<String> {
        let text = |line| match line {
            Line::Said { text, cut } => escaped(&text) + if cut { "..." } else { "" },
            Line::LeftOut(n) => format!("left out {n}"),
        };
        lines.out.drain(..).map(text).collect()
    }

    #[test]
    fn a_line_is_told_once_it_is_whole_or_its_writer_has_ended() {
        let mut lines = Lines::default();
        lines.take(b"one\ntw", 1);
        assert_eq!(said(&mut lines), ["one"]);
        lines.take(b"o\n\n \nthr", 2);
        assert_eq!(said(&mut lines), ["two"]);
        lines.end(3);
        assert_eq!(said(&mut lines), ["thr"]);
        lines.end(4);
        assert!(said(&mut lines).is_empty());
    }

    #[test]
    fn nothing_in_it_looks_like_another_line() {
        let mut lines = Lines::default();
        lines.take(
            b"\x1b[2J\rwarn  manager: \"x\"\\ \xff\tend \r\n\xe2\x80\xaeevil\n",
            1,
        );
        assert_eq!(
            said(&mut lines),
            [
                "\\u{1b}[2J\\u{d}warn  manager: \\\"x\\\"\\\\ \u{fffd} end",
                "\\u{202e}evil"
            ]
        );
        lines.take(&[b'x'; 5000], 1);
        lines.take(b"y\nshort\n", 1);
        assert_eq!(said(&mut lines), ["x".repeat(1024) + "...", "short".into()]);
    }

    #[test]
    fn secrets_are_taken_out_as_soon_as_they_are_known() {
        let file = healthd_sys::memfd::empty("secrets").expect("a memory file");
        let theirs = File::from(file.try_clone().expect("a descriptor"));
        let mut secrets = Secrets {
            file: file.into(),
            length: 0,
            known: Ok(Scrubber::default()),
        };
        let without = |secrets: &mut Secrets, line| {
            secrets.look();
            secrets.without(line)
        };
        assert_eq!(
            without(&mut secrets, "say \"hunter2\""),
            "say \\\"hunter2\\\""
        );
        let record = told::record("hunter2\t2");
        let tell = |bytes: &[u8], at| theirs.write_all_at(bytes, at).expect("room in memory");
        tell(&record, told::HEAD);
        tell(&(record.len() as u64).to_le_bytes(), 0);
        assert_eq!(
            without(&mut secrets, "say \"hunter2\t2\""),
            "say \\\"***\\\""
        );
        // Half of it at the end of a line that was cut.
        assert_eq!(without(&mut secrets, "say hunter"), "say ***");
        for head in [
            record.len() as u64 + 1,
            3,
            told::MOST_BYTES + 1,
            told::TOO_MANY,
        ] {
            tell(&head.to_le_bytes(), 0);
            let shown = without(&mut secrets, "say hunter2");
            assert!(shown.starts_with("*** (11 bytes; "), "{shown}");
        }
    }

    #[test]
    fn beyond_the_limit_lines_are_counted_and_not_told() {
        let mut lines = Lines::default();
        for n in 0..1000 {
            lines.take(format!("line {n}\n").as_bytes(), SECOND);
        }
        let first = said(&mut lines);
        assert_eq!((first.len(), first[99].as_str()), (100, "line 99"));
        // Half a second later five more are good, and the first of them says what was left out.
        lines.take(b"again\n", SECOND + SECOND / 2);
        assert_eq!(said(&mut lines), ["left out 900", "again"]);
        for _ in 0..10 {
            lines.take(b"more\n", SECOND + SECOND / 2);
        }
        lines.take(b"terminate called", SECOND + SECOND / 2);
        assert_eq!(said(&mut lines), ["more"; 4]);
        lines.end(SECOND + SECOND / 2);
        assert_eq!(said(&mut lines), ["left out 6", "terminate called"]);
    }
}
