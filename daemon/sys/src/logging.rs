//! The log: `log` and env_logger on stderr, through a writer that never blocks and counts what it leaves out.
//!
//! A pipe or terminal that nobody reads must not stop the daemon, and O_NONBLOCK must not be set on a
//! stderr that others share; so each line is written only when poll(2) says that there is room (a pipe
//! then takes up to PIPE_BUF bytes at once). Lines of the target `MUST_TELL` are no flood, whatever their number, and
//! wait in memory until they can be written; what else is too much is left out, and said.

use healthd_core::text::is_unsafe;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{Level, LevelFilter};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Lines with this target are never too many. A filter finds them as those of the manager.
pub const MUST_TELL: &str = "healthd_manager::must_tell";
/// They wait in so many bytes while nobody reads.
const WAITING_MOST: usize = 8 << 20;
const NOT_AGAIN: Duration = Duration::from_secs(1);
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// Begins such a line on its way to the writer; in a text it would be a blank.
const MARK: u8 = 1;

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
        .target(env_logger::Target::Pipe(Box::new(Writer)));
    builder.format(move |out, record| {
        if record.target() == MUST_TELL {
            out.write_all(&[MARK])?;
        }
        if journal {
            write!(out, "<{}>", priority(record.level()))?;
        } else {
            let level = record.level().as_str().to_ascii_lowercase();
            write!(out, "{} {level:<5} ", time(&zone))?;
        }
        // One record is one line, whatever a plugin or a peer put into it.
        let text = record.args().to_string();
        let text = match CLEANER.get() {
            Some(clean) => clean(&text),
            None => text.into(),
        };
        let clean: String = text
            .chars()
            .map(|c| if is_unsafe(c) { ' ' } else { c })
            .collect();
        writeln!(out, "{role}: {clean}")
    });
    let _ = builder.try_init();
}

static CLEANER: OnceLock<fn(&str) -> Cow<'_, str>> = OnceLock::new();

/// What every line of this process passes from now on. The first call wins.
pub fn clean_by(clean: fn(&str) -> Cow<'_, str>) {
    let _ = CLEANER.set(clean);
}

/// "2026-11-29T05:01:02.345+01:00"
fn time(zone: &TimeZone) -> impl std::fmt::Display {
    let now = Timestamp::now().to_zoned_datetime(zone.clone());
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

/// The number of the newest event: what is left out of the log came after it.
static NEWEST_EVENT: AtomicU64 = AtomicU64::new(0);
static STDERR: OnceLock<Mutex<StderrWriter>> = OnceLock::new();

pub fn newest_event(number: u64) {
    NEWEST_EVENT.store(number, Ordering::Relaxed);
}

/// Writes what waits, and says what was left out, as far as there is room. True: something waits on.
pub fn settle() -> bool {
    let Some(stderr) = STDERR.get() else {
        return false;
    };
    let mut stderr = stderr.lock().unwrap_or_else(|e| e.into_inner());
    stderr.quietly(StderrWriter::settle);
    !stderr.waiting.is_empty()
}

/// Before the end: what waits gets a moment to be read.
pub fn finish() {
    let begun = Instant::now();
    while settle() && begun.elapsed() < LAST_MOMENT {
        let mut fds = [PollFd::new(out(), PollFlags::POLLOUT)];
        let _ = poll(&mut fds, PollTimeout::from(100u8));
    }
}

/// What env_logger writes to.
struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = STDERR.get_or_init(Mutex::default);
        let mut stderr = stderr.lock().unwrap_or_else(|e| e.into_inner());
        stderr.line.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            stderr.quietly(StderrWriter::take_line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct StderrWriter {
    line: Vec<u8>,
    /// What must be told and could not be written yet.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    left_out: u64,
    /// The newest event before the first line that was left out.
    left_out_after: u64,
    /// When that was said last.
    said: Option<Instant>,
    tokens: f64,
    filled: Instant,
    /// stderr is a terminal.
    terminal: bool,
}

impl Default for StderrWriter {
    fn default() -> Self {
        StderrWriter {
            line: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            left_out: 0,
            left_out_after: 0,
            said: None,
            tokens: BURST,
            filled: Instant::now(),
            terminal: out().is_terminal(),
        }
    }
}

impl StderrWriter {
    /// The roles are in groups of their own, so one of them may not write to a terminal with `tostop` set: it would be
    /// stopped by SIGTTOU, unless that is blocked (setpgid(2)).
    fn quietly(&mut self, act: impl FnOnce(&mut StderrWriter)) {
        let mut ttou = SigSet::empty();
        ttou.add(Signal::SIGTTOU);
        let before = self
            .terminal
            .then(|| ttou.thread_swap_mask(SigmaskHow::SIG_BLOCK));
        act(self);
        if let Some(Ok(before)) = before {
            let _ = before.thread_set_mask();
        }
    }

    fn take_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        let must_tell = line.first() == Some(&MARK);
        if must_tell {
            line.remove(0);
        }
        if line.len() > MAX_LINE {
            line.truncate(MAX_LINE - 4);
            line.extend(b"...\n");
        }
        self.settle();
        if must_tell && self.waiting_bytes + line.len() <= WAITING_MOST {
            self.waiting_bytes += line.len();
            self.waiting.push_back(line);
            return self.write_waiting();
        }
        if must_tell || !self.waiting.is_empty() || !self.has_room() || !writable() {
            return self.leave_out();
        }
        self.tokens -= 1.0;
        let _ = write_all(&line);
    }

    fn leave_out(&mut self) {
        if self.left_out == 0 {
            self.left_out_after = NEWEST_EVENT.load(Ordering::Relaxed);
        }
        self.left_out += 1;
    }

    /// Whether one line more is no flood.
    fn has_room(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() * RATE;
        self.tokens = (self.tokens + earned).min(BURST);
        self.filled = now;
        self.tokens >= 1.0
    }

    fn write_waiting(&mut self) {
        while let Some(line) = self.waiting.front().filter(|_| writable()) {
            let _ = write_all(line);
            self.waiting_bytes -= line.len();
            self.waiting.pop_front();
        }
    }

    fn settle(&mut self) {
        self.write_waiting();
        let said_now = self.said.is_some_and(|at| at.elapsed() < NOT_AGAIN);
        if self.left_out == 0 || said_now || !self.waiting.is_empty() || !writable() {
            return;
        }
        let where_else = match self.left_out_after {
            0 => String::new(),
            after => format!("; `healthctl events --after {after}` has what happened"),
        };
        let note = format!(
            "<4>warn  log: {} lines left out: too many, or nobody read them{where_else}\n",
            self.left_out
        );
        let note = match stderr_is_journal() {
            true => note,
            false => format!("{} {}", time(&TimeZone::system()), &note[3..]),
        };
        if write_all(note.as_bytes()).is_ok() {
            self.left_out = 0;
            self.said = Some(Instant::now());
        }
    }
}

fn writable() -> bool {
    let mut fds = [PollFd::new(out(), PollFlags::POLLOUT)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}
