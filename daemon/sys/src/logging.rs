//! The log: `log` and env_logger on stderr, through a writer that never blocks and counts what it drops.
//!
//! A pipe or terminal that nobody reads must not stop the daemon, and O_NONBLOCK must not be set on a
//! stderr that others share; so each line is written only when poll(2) says that there is room (a pipe
//! then takes up to PIPE_BUF bytes at once).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{Level, LevelFilter};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Instant;

const MAX_LINE: usize = 4096;
/// At most this many lines at once, and so many a second in the long run.
const BURST: f64 = 500.0;
const RATE: f64 = 100.0;

/// Where the log goes in a process whose stderr is somebody else's: see [`write_to`].
static OUT: OnceLock<File> = OnceLock::new();

/// The log of this process goes to `fd` and not to stderr, which is left to what plugins write there. Before `init`.
pub fn write_to(fd: OwnedFd) {
    let _ = OUT.set(fd.into());
}

fn out() -> BorrowedFd<'static> {
    static STDERR: OnceLock<io::Stderr> = OnceLock::new();
    match OUT.get() {
        Some(file) => file.as_fd(),
        None => STDERR.get_or_init(io::stderr).as_fd(),
    }
}

fn write_all(bytes: &[u8]) -> io::Result<()> {
    match OUT.get() {
        Some(mut file) => file.write_all(bytes),
        None => io::stderr().write_all(bytes),
    }
}

/// `role` stands in each line. When stderr goes to the journal a line begins with its `<N>`, as the time is there
/// already; else with time and level.
pub fn init(role: &str, level: LevelFilter) {
    init_filtered(role, &level.to_string());
}

/// The same with a filter in env_logger's words: `info`, or `info,healthd_manager=debug`.
pub fn init_filtered(role: &str, filter: &str) {
    let role = role.to_owned();
    let journal = stderr_is_journal();
    let zone = if journal {
        TimeZone::UTC
    } else {
        TimeZone::system()
    };
    let mut builder = env_logger::Builder::new();
    builder
        .parse_filters(filter)
        .target(env_logger::Target::Pipe(Box::new(StderrWriter::default())));
    builder.format(move |out, record| {
        if journal {
            write!(out, "<{}>", priority(record.level()))?;
        } else {
            let level = record.level().as_str().to_ascii_lowercase();
            write!(out, "{} {level:<5} ", time(&zone))?;
        }
        // One record is one line, whatever a plugin or a peer put into it.
        let text = record.args().to_string();
        let clean: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        writeln!(out, "{role}: {clean}")
    });
    let _ = builder.try_init();
}

/// "2026-11-29T05:01:02.345+01:00"
fn time(zone: &TimeZone) -> impl std::fmt::Display {
    let now = Timestamp::now().to_zoned(zone.clone());
    now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// Changes the level of a logger that `init` has set; never above what `init` allowed.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// systemd names device and inode of the journal's socket in JOURNAL_STREAM (systemd.exec(5)).
pub fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = nix::sys::stat::fstat(out()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// syslog(3): err 3, warning 4, info 6, debug 7.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

struct StderrWriter {
    line: Vec<u8>,
    dropped: u64,
    tokens: f64,
    filled: Instant,
    /// stderr is a terminal.
    terminal: bool,
}

impl Default for StderrWriter {
    fn default() -> Self {
        StderrWriter {
            line: Vec::new(),
            dropped: 0,
            tokens: BURST,
            filled: Instant::now(),
            terminal: out().is_terminal(),
        }
    }
}

impl StderrWriter {
    /// The roles are in groups of their own, so one of them may not write to a terminal with `tostop` set: it would be
    /// stopped by SIGTTOU, unless that is blocked (setpgid(2)).
    fn line_out(&mut self) {
        let mut ttou = SigSet::empty();
        ttou.add(Signal::SIGTTOU);
        let before = self
            .terminal
            .then(|| ttou.thread_swap_mask(SigmaskHow::SIG_BLOCK));
        self.write_line();
        if let Some(Ok(before)) = before {
            let _ = before.thread_set_mask();
        }
    }

    fn write_line(&mut self) {
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() * RATE;
        self.tokens = (self.tokens + earned).min(BURST);
        self.filled = now;
        if self.tokens < 1.0 || !writable() {
            self.dropped += 1;
            self.line.clear();
            return;
        }
        self.tokens -= 1.0;
        if self.dropped > 0 {
            let note = format!(
                "<4>warn  log: {} lines dropped: too many, or nobody read them\n",
                self.dropped
            );
            let note = match stderr_is_journal() {
                true => note,
                false => format!("{} {}", time(&TimeZone::system()), &note[3..]),
            };
            if write_all(note.as_bytes()).is_ok() {
                self.dropped = 0;
            }
        }
        if self.line.len() > MAX_LINE {
            self.line.truncate(MAX_LINE - 4);
            self.line.extend(b"...\n");
        }
        let _ = write_all(&self.line);
        self.line.clear();
    }
}

fn writable() -> bool {
    let mut fds = [PollFd::new(out(), PollFlags::POLLOUT)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}

impl Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            self.line_out();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
