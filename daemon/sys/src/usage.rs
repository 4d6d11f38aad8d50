//! What a process holds: resident memory, open descriptors and threads, from /proc.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub rss_kb: u64,
    /// The most that it has ever held.
    pub peak_kb: u64,
    pub fds: u64,
    pub threads: u64,
}

/// Looks at one process again and again. Its file stays open, so it never speaks of a later process with
/// the same number: once the process is gone, a read fails.
#[derive(Debug)]
pub struct Gauge {
    status: File,
    fds: PathBuf,
}

impl Gauge {
    /// None: ourselves.
    pub fn of(pid: Option<u32>) -> io::Result<Gauge> {
        let process = match pid {
            Some(pid) => format!("/proc/{pid}"),
            None => "/proc/self".to_owned(),
        };
        Ok(Gauge {
            status: File::open(format!("{process}/status"))?,
            fds: format!("{process}/fd").into(),
        })
    }

    pub fn read(&self) -> io::Result<Usage> {
        // A process can be in hundreds of groups, whose line comes first.
        let mut text = [0; 16384];
        let n = self.status.read_at(&mut text, 0)?;
        let lines = text[..n].split(|b| *b == b'\n');
        let mut usage = Usage {
            fds: self.open_files(),
            ..Usage::default()
        };
        for line in lines {
            let at = match line.split(|b| *b == b':').next() {
                Some(b"VmHWM") => &mut usage.peak_kb,
                Some(b"VmRSS") => &mut usage.rss_kb,
                Some(b"Threads") => &mut usage.threads,
                _ => continue,
            };
            *at = number(line)?;
        }
        match usage.rss_kb {
            0 => Err(io::Error::other("it holds no memory any more")),
            _ => Ok(usage),
        }
    }

    /// Since Linux 6.2 the size of the folder is their number; before, they have to be counted.
    fn open_files(&self) -> u64 {
        match std::fs::metadata(&self.fds).map(|m| m.size()) {
            Ok(n) if n > 0 => n,
            _ => std::fs::read_dir(&self.fds).map_or(0, |list| list.count() as u64),
        }
    }
}

/// Of a line as `VmRSS:     1234 kB`.
fn number(line: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok())
        .ok_or_else(|| io::Error::other("no number in a line of /proc/PID/status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_seen() {
        let gauge = Gauge::of(None).expect("/proc");
        let before = gauge.read().expect("a number");
        assert!(before.threads >= 1, "{before:?}");
        let (stay, gate) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || gate.recv());
        let more = gauge.read().expect("a number");
        // Tests run in threads of this process, which come and go; this one stays.
        assert!(more.threads >= 2, "{before:?} {more:?}");
        drop(stay);
        let _ = thread.join();
        let block = vec![1u8; 32 << 20];
        let files: Vec<_> = (0..10).map(|_| File::open("/dev/null")).collect();
        let after = gauge.read().expect("a number");
        assert!(after.rss_kb > before.rss_kb + (16 << 10), "{after:?}");
        // Other tests of this process open and close files too.
        assert!(after.fds >= before.fds, "{before:?} {after:?}");
        drop((block, files));
        let later = gauge.read().expect("a number");
        assert!(later.peak_kb > before.rss_kb + (16 << 10), "{later:?}");
    }

    #[test]
    fn a_process_that_is_gone_is_not_taken_for_another() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep");
        let gauge = Gauge::of(Some(child.id())).expect("it lives");
        assert!(gauge.read().expect("it lives").fds > 0);
        child.kill().expect("our own");
        child.wait().expect("our own");
        assert!(gauge.read().is_err());
    }
}
