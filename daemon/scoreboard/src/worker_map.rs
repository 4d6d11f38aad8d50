//! `worker.SLOT.PID.map`: what a worker does at this moment, thread by thread, and how it crashed.

use super::line::{self, Lines};
use super::map::{self, Map, half_made, read_words};
use super::sync::AtomicU64;
use healthd_core::wire::maps::{
    LAYOUT_VERSION, LINE_WORDS, LineRecord, WORKER_MAGIC, group_offset, line_offset, put_text,
    worker_file, worker_header as h, worker_words,
};
use healthd_core::wire::supervisor::signal_name;
use healthd_sys::files;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use super::line::Call;

pub struct WorkerMap {
    pub(crate) map: Map,
    lines: Lines,
    groups: usize,
}

/// The file of the map of a worker that is about to be started: it writes there by the descriptor that it is given, and has
/// no way into the folder.
pub struct Blank {
    pub file: File,
    path: PathBuf,
}

impl Blank {
    pub fn new(dir: &Path, slot: u32, mode: u32) -> io::Result<Blank> {
        let path = half_made(&dir.join(worker_file(slot, 0)), std::process::id());
        let file = map::blank(&path, mode)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Ok(Blank { file, path })
    }

    /// Its worker has a pid by now.
    pub fn name(&self, slot: u32, pid: u32) -> io::Result<()> {
        std::fs::rename(&self.path, self.path.with_file_name(worker_file(slot, pid)))
    }
}

impl Drop for Blank {
    fn drop(&mut self) {
        // There is none by that name any more if it was given another.
        let _ = std::fs::remove_file(&self.path);
    }
}

pub struct Identity {
    pub slot: u32,
    pub generation: u64,
    pub class: u8,
}

impl WorkerMap {
    pub fn create(
        file: &File,
        id: &Identity,
        lines: usize,
        groups: usize,
    ) -> io::Result<WorkerMap> {
        let pid = std::process::id();
        let name = worker_file(id.slot, pid);
        let map = Map::fill(file, Path::new(&name), worker_words(lines, groups))?;
        map.set(h::VERSION, LAYOUT_VERSION);
        map.set(h::PID, u64::from(pid));
        map.set(h::SLOT, u64::from(id.slot));
        map.set(h::GENERATION, id.generation);
        map.set(h::CLASS, u64::from(id.class));
        map.set(h::LINES, lines as u64);
        map.set(h::GROUPS, groups as u64);
        map.set(h::MAGIC, WORKER_MAGIC);
        Ok(WorkerMap {
            map,
            lines: Lines::new(lines),
            groups,
        })
    }

    pub fn path(&self) -> &Path {
        self.map.path()
    }

    pub fn set(&self, word: usize, value: u64) {
        self.map.set(word, value);
    }

    pub fn get(&self, word: usize) -> u64 {
        self.map.get(word)
    }

    pub fn add(&self, word: usize, n: u64) {
        self.map.add(word, n);
    }

    /// Names a loaded library, so that an address of a crash can be placed.
    pub fn library(&self, index: usize, base: u64, size: u64, name: &str) {
        if index >= h::LIBRARY_COUNT {
            return;
        }
        let at = h::LIBRARIES + index * h::LIBRARY_WORDS;
        let mut words = [0; h::LIBRARY_WORDS - 2];
        put_text(&mut words, name);
        for (i, word) in words.into_iter().enumerate() {
            self.map.set(at + 2 + i, word);
        }
        self.map.set(at + 1, size);
        self.map.set(at, base);
    }

    /// For the crash handler: only loads.
    pub(crate) fn is_in_library(&self, address: u64) -> bool {
        (0..h::LIBRARY_COUNT).any(|i| {
            let at = h::LIBRARIES + i * h::LIBRARY_WORDS;
            let (base, size) = (self.map.get(at), self.map.get(at + 1));
            base != 0 && address.wrapping_sub(base) < size
        })
    }

    /// A line for the calling thread; it also tells the crash handler which one is its own.
    pub fn claim_line(&self) -> Option<usize> {
        let line = self.lines.claim()?;
        let tid = nix::unistd::gettid().as_raw() as u32;
        line::begin(self.words_of(line), tid);
        super::crash::set_current_line(Some(line));
        Some(line)
    }

    pub fn release_line(&self, line: usize) {
        super::crash::set_current_line(None);
        line::end(self.words_of(line));
        self.lines.release(line);
    }

    /// Stamped before every call into a plugin.
    pub fn enter(&self, line: usize, call: Call) {
        line::enter(self.words_of(line), call);
    }

    pub fn leave(&self, line: usize) {
        line::leave(self.words_of(line));
    }

    /// The call of this run in that line is past its deadline and written off.
    pub fn stuck(&self, line: usize, run_id: u64) {
        line::stuck(self.words_of(line), run_id);
    }

    pub fn phase(&self, line: usize, phase: &str) {
        line::phase(self.words_of(line), phase);
    }

    fn words_of(&self, line: usize) -> &[AtomicU64] {
        &self.map.words()[line_offset(line)..][..LINE_WORDS]
    }

    /// Remembers a process group, for whoever must end it if this worker dies. None: the table is full.
    pub fn add_group(&self, group: u32) -> Option<usize> {
        let free =
            (0..self.groups).find(|&g| self.map.get(group_offset(self.lines.count(), g)) == 0)?;
        self.map
            .set(group_offset(self.lines.count(), free), u64::from(group));
        Some(free)
    }

    pub fn remove_group(&self, place: usize) {
        self.map.set(group_offset(self.lines.count(), place), 0);
    }
}

/// Another process's view of a worker's map: every read is a pread, so a broken worker can show nonsense
/// but break nothing.
pub struct WorkerView {
    file: File,
    lines: usize,
    groups: usize,
}

#[derive(Clone, Debug)]
pub struct Crash {
    pub signal: i32,
    pub code: i32,
    /// The line of the thread that crashed; None: a thread that the worker did not make.
    pub line: Option<usize>,
    pub address: u64,
    pub pc: u64,
    pub sp: u64,
    pub tid: u32,
    /// Who sent the signal; None: an instruction of the thread itself raised it.
    pub sender: Option<u32>,
    /// What of its stack points into a library, the innermost first.
    pub trace: Vec<u64>,
    /// What the runtime said that ended the process.
    pub words: Option<String>,
}

/// A fault so near to the stack pointer is one of the stack.
const STACK_NEAR: u64 = 64 << 10;

impl Crash {
    /// "SIGSEGV", "SIGSEGV (stack overflow)", "SIGABRT (uncaught std::runtime_error: no such host)".
    pub fn what(&self) -> String {
        let signal = signal_name(self.signal);
        match &self.words {
            _ if self.is_stack_overflow() => format!("{signal} (stack overflow)"),
            Some(words) => format!("{signal} ({words})"),
            None => signal.into_owned(),
        }
    }

    fn is_stack_overflow(&self) -> bool {
        matches!(self.signal, libc::SIGSEGV | libc::SIGBUS)
            && self.code > 0
            && self.sp != 0
            && self.address.abs_diff(self.sp) < STACK_NEAR
    }
}

/// Somebody called exit(3).
#[derive(Clone, Debug)]
pub struct ExitCall {
    /// None: a thread that the worker did not make.
    pub line: Option<usize>,
    pub tid: u32,
    pub trace: Vec<u64>,
}

impl WorkerView {
    pub fn open(dir: &Path, slot: u32, pid: u32) -> io::Result<WorkerView> {
        let path = dir.join(worker_file(slot, pid));
        let file = files::open(&path)?;
        let head: [u64; 16] = read_words(&file, 0)?;
        let size = file.metadata()?.len() / 8;
        if head[h::MAGIC] != WORKER_MAGIC || head[h::VERSION] != LAYOUT_VERSION {
            return Err(io::Error::other("not a worker map"));
        }
        // A worker could have overwritten its own header: the file's size is what bounds us.
        let lines = head[h::LINES].min(size / LINE_WORDS as u64) as usize;
        let groups = head[h::GROUPS].min(size) as usize;
        if worker_words(lines, groups) as u64 > size {
            return Err(io::Error::other("a worker map that does not fit its file"));
        }
        Ok(WorkerView {
            file,
            lines,
            groups,
        })
    }

    pub fn header(&self) -> io::Result<[u64; h::LIBRARIES]> {
        read_words(&self.file, 0)
    }

    pub fn lines(&self) -> Vec<LineRecord> {
        (0..self.lines).map_while(|i| self.line(i)).collect()
    }

    pub fn line(&self, line: usize) -> Option<LineRecord> {
        line::read(|| read_words(&self.file, line_offset(line)).ok())
    }

    pub fn crash(&self) -> Option<Crash> {
        let head = self.header().ok()?;
        let signal = head[h::CRASH_SIGNAL] as i32;
        (signal != 0).then(|| Crash {
            signal,
            code: head[h::CRASH_CODE] as i32,
            line: (head[h::CRASH_LINE] as usize)
                .checked_sub(1)
                .filter(|l| *l < self.lines),
            address: head[h::CRASH_ADDRESS],
            pc: head[h::CRASH_PC],
            sp: head[h::CRASH_SP],
            tid: head[h::CRASH_TID] as u32,
            sender: Some(head[h::CRASH_SENDER] as u32).filter(|pid| *pid != 0),
            trace: trace(&head, h::CRASH_TRACE),
            words: self.words(),
        })
    }

    /// In one line, and in the words of people rather than of a runtime.
    fn words(&self) -> Option<String> {
        let words: [u64; h::WORDS_WORDS] = read_words(&self.file, h::WORDS).ok()?;
        let said = healthd_core::wire::maps::get_text(&words);
        said_in_a_line(&said)
    }

    pub fn exit_call(&self) -> Option<ExitCall> {
        let head = self.header().ok()?;
        let line = head[h::EXIT_LINE];
        (line != 0).then(|| ExitCall {
            line: usize::try_from(line - 1).ok().filter(|l| *l < self.lines),
            tid: head[h::EXIT_TID] as u32,
            trace: trace(&head, h::EXIT_TRACE),
        })
    }

    /// The library that holds `pc`, and the offset in it.
    pub fn place(&self, pc: u64) -> Option<(String, u64)> {
        for i in 0..h::LIBRARY_COUNT {
            let words: [u64; h::LIBRARY_WORDS] =
                read_words(&self.file, h::LIBRARIES + i * h::LIBRARY_WORDS).ok()?;
            if words[0] != 0 && pc >= words[0] && pc - words[0] < words[1] {
                return Some((
                    healthd_core::wire::maps::get_text(&words[2..]),
                    pc - words[0],
                ));
            }
        }
        None
    }

    pub fn groups(&self) -> Vec<u32> {
        (0..self.groups)
            .filter_map(|g| read_words::<1>(&self.file, group_offset(self.lines, g)).ok())
            .map(|w| w[0] as u32)
            .filter(|g| *g > 1)
            .collect()
    }
}

/// libstdc++: "terminate called after throwing an instance of 'T'\n  what():  TEXT\n".
fn said_in_a_line(said: &str) -> Option<String> {
    let mut words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(thrown) = words.strip_prefix("terminate called after throwing an instance of ") {
        words = match thrown.split_once(" what(): ") {
            Some((kind, what)) => format!("uncaught {}: {what}", kind.trim_matches('\'')),
            None => format!("uncaught {}", thrown.trim_matches('\'')),
        };
    }
    words.retain(|c| !healthd_core::text::is_unsafe(c));
    let cut = healthd_core::text::cut(&words, 300);
    (!cut.is_empty()).then(|| cut.to_owned())
}

fn trace(head: &[u64; h::LIBRARIES], at: usize) -> Vec<u64> {
    let words = &head[at..at + h::TRACE_WORDS];
    words.iter().copied().take_while(|w| *w != 0).collect()
}

/// Removes what a dead worker left.
pub fn remove(dir: &Path, slot: u32, pid: u32) {
    let _ = std::fs::remove_file(dir.join(worker_file(slot, pid)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line_without_what_a_terminal_would_obey() {
        for (said, line) in [
            ("", None),
            ("\n", None),
            (
                "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no such\nhost\n",
                Some("uncaught std::runtime_error: no such host"),
            ),
            (
                "terminate called after throwing an instance of 'int'\n",
                Some("uncaught int"),
            ),
            (
                "libc++abi: terminating due to uncaught exception of type E: x\u{1b}[2J\n",
                Some("libc++abi: terminating due to uncaught exception of type E: x[2J"),
            ),
        ] {
            assert_eq!(said_in_a_line(said).as_deref(), line);
        }
        assert_eq!(said_in_a_line(&"é".repeat(400)).map(|l| l.len()), Some(300));
    }
}
