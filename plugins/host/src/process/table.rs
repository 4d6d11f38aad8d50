//! `/proc`: all processes, and more about single ones.

use crate::kernel::{self, Kernel};
use std::collections::BTreeSet;
use std::io;
use std::sync::OnceLock;

/// One line of /proc/PID/stat.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub state: char,
    pub parent: u32,
    /// Of the processor, ever.
    pub ticks: u64,
    pub threads: u64,
    /// In ticks since boot.
    pub start: u64,
    /// In bytes.
    pub rss: u64,
}

pub struct Table {
    pub all: Vec<Process>,
    /// Seconds since boot.
    pub uptime: f64,
    sees_all: bool,
    /// Those that may match and could not be looked at.
    pub hidden: u32,
}

impl Table {
    pub fn read(kernel: &Kernel, is_cancelled: impl Fn() -> bool) -> io::Result<Table> {
        let uptime = kernel.text("proc/uptime")?;
        let uptime = uptime.split(' ').next().and_then(|w| w.parse().ok());
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "uptime has no number");
        let mut all = Vec::new();
        for entry in std::fs::read_dir(kernel.path("proc"))? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            if is_cancelled() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no time to read it all",
                ));
            }
            // One that has ended since is no longer there.
            all.extend(stat(kernel, pid));
        }
        Ok(Table {
            all,
            uptime: uptime.ok_or_else(bad)?,
            // The first process is there always, and is root's: who does not see it, sees few others.
            sees_all: stat(kernel, 1).is_some(),
            hidden: 0,
        })
    }

    /// Processes of other users are hidden (`hidepid`, `ProtectProc`).
    pub fn is_partial(&self) -> bool {
        !self.sees_all
    }

    pub fn age(&self, process: &Process) -> f64 {
        (self.uptime - process.start as f64 / ticks_per_second()).max(0.0)
    }

    /// These, their children, and so on.
    pub fn with_children(&self, found: &[Process]) -> Vec<Process> {
        let mut pids: BTreeSet<u32> = found.iter().map(|p| p.pid).collect();
        loop {
            let before = pids.len();
            let more = self
                .all
                .iter()
                .filter(|p| pids.contains(&p.parent))
                .map(|p| p.pid);
            let more: Vec<u32> = more.collect();
            pids.extend(more);
            if pids.len() == before {
                return self
                    .all
                    .iter()
                    .filter(|p| pids.contains(&p.pid))
                    .cloned()
                    .collect();
            }
        }
    }
}

pub fn ticks_per_second() -> f64 {
    static TICKS: OnceLock<f64> = OnceLock::new();
    *TICKS.get_or_init(|| sysconf(nix::unistd::SysconfVar::CLK_TCK, 100) as f64)
}

fn sysconf(name: nix::unistd::SysconfVar, or: i64) -> i64 {
    nix::unistd::sysconf(name).ok().flatten().unwrap_or(or)
}

/// None: there is no such process, or it is hidden.
pub fn stat(kernel: &Kernel, pid: u32) -> Option<Process> {
    parse_stat(&kernel.text(format!("proc/{pid}/stat")).ok()?)
}

/// `12 (a ) b) S 1 ...`: a name may have anything in it, so it ends at the last `)`.
pub fn parse_stat(text: &str) -> Option<Process> {
    static PAGE: OnceLock<u64> = OnceLock::new();
    let page = *PAGE.get_or_init(|| sysconf(nix::unistd::SysconfVar::PAGE_SIZE, 4096) as u64);
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: number(1)? as u32,
        ticks: number(11)?.saturating_add(number(12)?),
        threads: number(17)?,
        start: number(19)?,
        rss: number(21)?.saturating_mul(page),
    })
}

/// The effective user; None: gone or hidden.
pub fn uid(kernel: &Kernel, pid: u32) -> Option<u32> {
    let status = kernel.text(format!("proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The command line with blanks between its words; None: gone or hidden.
pub fn cmdline(kernel: &Kernel, pid: u32) -> Option<String> {
    let text = kernel.text(format!("proc/{pid}/cmdline")).ok()?;
    Some(text.trim_end_matches('\0').replace('\0', " "))
}

/// The program's path; empty for a thread of the kernel, None: gone or no right to see it.
pub fn exe(kernel: &Kernel, pid: u32) -> Option<String> {
    match std::fs::read_link(kernel.path(format!("proc/{pid}/exe"))) {
        Ok(path) => {
            let path = path.to_string_lossy().into_owned();
            // Replaced while it runs: still the same program by name.
            Some(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && stat(kernel, pid).is_some() => {
            Some(String::new())
        }
        Err(_) => None,
    }
}

/// In bytes; None: gone or no right to see it.
pub fn pss(kernel: &Kernel, pid: u32) -> Option<u64> {
    let text = kernel.text(format!("proc/{pid}/smaps_rollup")).ok()?;
    // A thread of the kernel has none.
    Some(kernel::field(&text, "Pss").unwrap_or(0) * 1024)
}

pub struct Fds {
    pub open: u64,
    pub limit: f64,
}

impl Fds {
    pub fn share(&self) -> f64 {
        self.open as f64 / self.limit.max(1.0) * 100.0
    }
}

/// None: gone or no right to see them.
pub fn fds(kernel: &Kernel, pid: u32) -> Option<Fds> {
    let open = std::fs::read_dir(kernel.path(format!("proc/{pid}/fd")))
        .ok()?
        .count() as u64;
    let limits = kernel.text(format!("proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    Some(Fds {
        open,
        limit: soft.parse().unwrap_or(f64::INFINITY),
    })
}
