//! Asking a file for its descriptors, from a child that may crash or hang.

use healthd_core::config::Class;
use healthd_core::wire::supervisor::signal_name;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(5);
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
    let mut child = Command::new("/proc/self/exe")
        .arg("--probe")
        .arg(file)
        .arg("--copy")
        .args((rights == Rights::Nobody).then_some("--nobody"))
        .stdin(copy.try_clone()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let answer = read_answer(&mut child);
    // Whatever became of it: neither it nor anything that its constructors started stays. What they put into a session of
    // its own it has ended itself, unless it hangs.
    for pid in healthd_sys::process::with_descendants(child.id()).split_off(1) {
        healthd_sys::process::kill_one(pid);
    }
    healthd_sys::process::kill_group(child.id());
    let status = child.wait()?;
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

enum Reading {
    All(Vec<u8>),
    TooLong,
    TimedOut,
    Failed(io::Error),
}

fn read_answer(child: &mut Child) -> Reading {
    let Some(mut stdout) = child.stdout.take() else {
        return Reading::Failed(io::Error::other("no pipe"));
    };
    let deadline = Instant::now() + LIMIT;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Reading::TimedOut;
        }
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
