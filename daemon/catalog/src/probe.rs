//! Asking a file for its descriptors, from a child that may crash or hang.

use crate::look::Look;
use healthd_core::config::Class;
use healthd_core::starvation::{Share, Suspicion};
use healthd_core::wire::supervisor::signal_name;
use healthd_sys::{clock, process};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// So much it may take, but for what it waits for a processor.
const LIMIT: Duration = Duration::from_secs(5);
/// So long is waited on a machine that lets it do nothing.
const END: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 4 << 20;

/// What is needed here of what the probe prints of each plugin.
#[derive(Debug, Deserialize)]
pub struct Described {
    pub index: u32,
    pub name: String,
    pub version: String,
    pub summary: String,
    pub abi: String,
    workload: Class,
    #[serde(default)]
    pub flags: u64,
    pub default_timeout_ms: u32,
    pub schema: serde_json::Value,
}

impl Described {
    pub fn class(&self) -> Class {
        match self.flags & F_NOTIFY {
            0 => self.workload,
            _ => Class::Notify,
        }
    }
}

/// `HD_F_NOTIFY` of the plugin header.
const F_NOTIFY: u64 = 1 << 32;

pub enum Answer<T> {
    Plugins(Vec<T>),
    /// Names the file and says why.
    Refused(String),
}

/// Whose rights the file's constructors have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// As in a worker of this daemon.
    Ours,
    /// Nobody's, if ours are root's.
    Nobody,
}

#[derive(Deserialize)]
struct Printed<T> {
    ok: bool,
    #[serde(default = "Vec::new")]
    plugins: Vec<T>,
    #[serde(default)]
    reason: String,
}

/// Runs `healthd --probe FILE --copy` with the sealed copy as its standard input.
pub fn ask<T: DeserializeOwned>(
    file: &Path,
    copy: &OwnedFd,
    rights: Rights,
) -> io::Result<Answer<T>> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--probe")
        .arg(file)
        .arg("--copy")
        .args((rights == Rights::Nobody).then_some("--nobody"))
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| may_be_seen(name)))
        .stdin(copy.try_clone()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut look = Look::start(&mut command)?;
    let answer = read_answer(&mut look.child);
    // Whatever became of it: neither it nor anything that its constructors started stays.
    let status = look.end()?;
    let refused = |why: String| Ok(Answer::Refused(format!("{}: {why}", file.display())));
    match answer {
        Reading::TooLong => refused(format!(
            "its description is longer than {} MiB",
            MAX_ANSWER >> 20
        )),
        Reading::TimedOut => refused(format!(
            "it did not describe itself within {} s: a constructor hangs",
            LIMIT.as_secs()
        )),
        Reading::Starved => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "this machine was too busy for {} s to look into it; `healthctl reload` looks again",
                END.as_secs()
            ),
        )),
        Reading::Failed(e) => Err(e),
        Reading::All(bytes) => match serde_json::from_slice::<Printed<T>>(&bytes) {
            Ok(p) if p.ok => Ok(Answer::Plugins(p.plugins)),
            Ok(p) => Ok(Answer::Refused(p.reason)),
            Err(_) => match (status.signal(), status.code()) {
                (Some(signal), _) => refused(format!(
                    "a constructor crashed when it was loaded ({})",
                    signal_name(signal)
                )),
                (None, code) => refused(format!(
                    "a constructor ended the process when it was loaded (exit code {})",
                    code.unwrap_or(-1)
                )),
            },
        },
    }
}

/// Which variables are secrets is not known before there are plugins. What a file says of itself hangs on none but those by
/// which programs and libraries are found and watched.
fn may_be_seen(name: &OsStr) -> bool {
    const NAMES: [&str; 9] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "TZ",
        "TMPDIR",
        "GODEBUG",
        "HEALTHD_LOG",
    ];
    const BEGINNINGS: [&str; 5] = ["LC_", "LD_", "RUST_", "GLIBC_", "HEALTHD_TEST_"];
    let name = name.as_encoded_bytes();
    NAMES.iter().any(|n| name == n.as_bytes())
        || BEGINNINGS.iter().any(|b| name.starts_with(b.as_bytes()))
        || name.ends_with(b"SAN_OPTIONS")
}

enum Reading {
    All(Vec<u8>),
    TooLong,
    TimedOut,
    Starved,
    Failed(io::Error),
}

fn read_answer(child: &mut Child) -> Reading {
    let Some(mut stdout) = child.stdout.take() else {
        return Reading::Failed(io::Error::other("no pipe"));
    };
    let started = clock::monotonic_ns();
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left = match left(started, share(child.id())) {
            Ok(left) => left,
            Err(over) => return over,
        };
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(e) => return Reading::Failed(e.into()),
        }
        match stdout.read(&mut buffer) {
            Ok(0) => return Reading::All(bytes),
            Ok(n) if bytes.len() + n > MAX_ANSWER => return Reading::TooLong,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Reading::Failed(e),
        }
    }
}

/// What it had of the processors until now. Nobody can tell: it waited for none.
fn share(pid: u32) -> Share {
    let now = clock::monotonic_ns();
    let told = process::time_of_thread(pid, pid).ok();
    let share = told.and_then(|(time, stat)| Share::parse(now, &time, &stat));
    share.unwrap_or(Share {
        at_ns: now,
        ..Share::default()
    })
}

/// How long it may still take.
fn left(started: u64, share: Share) -> Result<Duration, Reading> {
    let mut since = Suspicion::new(Share {
        at_ns: started,
        ..Share::default()
    });
    let lacked = since.look(share);
    let took = share.at_ns.saturating_sub(started);
    let left = LIMIT.checked_sub(Duration::from_nanos(took - lacked.min(took)));
    match left.filter(|left| !left.is_zero()) {
        None => Err(Reading::TimedOut),
        Some(_) if Duration::from_nanos(took) >= END => Err(Reading::Starved),
        Some(left) => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_does_not_give_it_is_no_time_of_its_own() {
        const SECOND: u64 = 1_000_000_000;
        let after = |seconds: u64, ran: u64, waited: u64, runnable| {
            let share = Share {
                at_ns: (7 + seconds) * SECOND,
                ran_ns: ran * SECOND,
                waited_ns: waited * SECOND,
                runnable,
            };
            left(7 * SECOND, share)
        };
        let seconds = |n| Duration::from_secs(n);
        assert!(matches!(after(0, 0, 0, true), Ok(left) if left == seconds(5)));
        assert!(matches!(after(4, 0, 0, false), Ok(left) if left == seconds(1)));
        // It sleeps, it computes, it did both: its own time.
        assert!(matches!(after(5, 0, 0, false), Err(Reading::TimedOut)));
        assert!(matches!(after(5, 5, 0, true), Err(Reading::TimedOut)));
        assert!(matches!(after(9, 2, 4, false), Err(Reading::TimedOut)));
        // It waits, and would have gone on.
        assert!(matches!(after(20, 1, 0, true), Ok(left) if left == seconds(4)));
        assert!(matches!(after(20, 1, 17, false), Ok(left) if left == seconds(2)));
        assert!(matches!(after(60, 1, 0, true), Err(Reading::Starved)));
    }
}
