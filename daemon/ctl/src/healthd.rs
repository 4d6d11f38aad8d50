//! The `healthd` program as a helper, for what needs no running daemon: `--probe`, `--try`, `-t`.
//!
//! healthctl loads no plugin and reads no configuration itself: a plugin's constructor runs code, and
//! there is one function that judges a configuration; both are in healthd.

use crate::error::CtlError;
use crate::render::text::{cut, escape};
use healthd_core::config::schema::Schema;
use healthd_core::wire::supervisor::signal_name;
use healthd_sys::memfd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program beside us, which is of our version; else the first in PATH.
pub fn find() -> Result<PathBuf, CtlError> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join("healthd")))
        .unwrap_or_else(|| "healthd".into());
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(&beside, &path).ok_or(CtlError::NoHealthd { beside })
}

fn find_in(beside: &Path, path: &OsStr) -> Option<PathBuf> {
    let in_path = std::env::split_paths(path).map(|dir| dir.join("healthd"));
    std::iter::once(beside.to_owned())
        .chain(in_path)
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// How a helper is run.
#[derive(Default)]
pub struct Helper {
    pub capture_stderr: bool,
    /// Our standard input is its own.
    pub stdin: bool,
    /// What it reads there, if that is nobody's.
    pub input: Option<Vec<u8>>,
    /// After this it is killed.
    pub limit: Option<Duration>,
}

impl Helper {
    /// Runs it to its end; what it says on standard error goes through unless it is captured.
    pub fn run(&self, args: &[&OsStr]) -> Result<Ended, CtlError> {
        let program = find()?;
        let failed = |error: io::Error| CtlError::Helper {
            program: program.clone(),
            error,
        };
        let stderr = if self.capture_stderr {
            Stdio::piped()
        } else {
            Stdio::inherit()
        };
        let input = match &self.input {
            Some(bytes) => Some(memfd::sealed_bytes("healthctl", bytes).map_err(failed)?),
            None => None,
        };
        let child = Command::new(&program)
            .args(args)
            .stdin(match input {
                Some(input) => Stdio::from(input),
                None if self.stdin => Stdio::inherit(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(failed)?;
        // Its pipes are read by a thread, for a child that fills one would not end; here we watch the time.
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
        let reader = std::thread::spawn(move || child.wait_with_output());
        let in_time = self.limit.is_none_or(|limit| ends_within(&handle, limit));
        if !in_time {
            // By the handle: it cannot hit a process that got the number later.
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
        let output = reader
            .join()
            .expect("a reader does not panic")
            .map_err(failed)?;
        Ok(Ended {
            program,
            output,
            in_time,
        })
    }
}

fn ends_within(process: &OwnedFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return true,
        }
    }
}

pub struct Ended {
    pub program: PathBuf,
    pub output: Output,
    /// False: it was killed at its limit.
    pub in_time: bool,
}

impl Ended {
    /// Reads what it printed; else an error with how it ended and the start of what it said.
    pub fn answer<T: serde::de::DeserializeOwned>(&self) -> Result<T, CtlError> {
        serde_json::from_slice(&self.output.stdout)
            .map_err(|_| self.no_answer(&String::from_utf8_lossy(&self.output.stdout)))
    }

    pub fn no_answer(&self, said: &str) -> CtlError {
        let said = said.trim();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!("`{}`", cut(&escape(said), 200))
        };
        CtlError::HelperAnswer {
            program: self.program.clone(),
            ended: self.how(),
            said,
        }
    }

    /// "SIGSEGV": what killed it, and it was not us.
    pub fn killed_by(&self) -> Option<String> {
        self.output
            .status
            .signal()
            .filter(|_| self.in_time)
            .map(|signal| signal_name(signal).into_owned())
    }

    /// "ended with exit code 1", "was killed by SIGSEGV".
    fn how(&self) -> String {
        match (self.output.status.code(), self.output.status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by {}", signal_name(signal)),
            (None, None) => "ended".to_owned(),
        }
    }
}

/// What `healthd --probe FILE` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probe {
    pub ok: bool,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub plugins: Vec<Probed>,
}

/// One plugin of a probed file; fields that this healthctl does not know pass through to `--json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Probed {
    pub name: String,
    #[serde(default, deserialize_with = "text")]
    pub version: String,
    #[serde(default)]
    pub summary: String,
    #[serde(default)]
    pub vendor: String,
    #[serde(default)]
    pub license: String,
    #[serde(default, deserialize_with = "text")]
    pub abi: String,
    #[serde(default)]
    pub workload: String,
    #[serde(default)]
    pub default_timeout_ms: Option<u64>,
    #[serde(default)]
    pub schema: serde_json::Value,
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Probed {
    /// Keywords of the schema to which no value is held.
    pub fn ignored(&self) -> Vec<String> {
        let schema = Schema::compile(&self.schema);
        let ignored = schema.as_ref().map(Schema::ignored).unwrap_or_default();
        ignored.iter().map(ToString::to_string).collect()
    }
}

/// A number or a text, as text: an ABI may be written `1` or `"1.0"`.
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(from)? {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_keeps_what_it_does_not_know() {
        let line = r#"{"ok":true,"plugins":[{"name":"http","version":"1.2","abi":1,"workload":"io",
            "default_timeout_ms":5000,"schema":{},"flags":["net"]}]}"#;
        let probe: Probe = serde_json::from_str(line).expect("parses");
        assert_eq!(probe.plugins[0].abi, "1");
        let again = serde_json::to_value(&probe.plugins[0]).expect("serializes");
        assert_eq!(again["flags"], serde_json::json!(["net"]));
    }

    #[test]
    fn the_program_beside_us_wins_over_path() {
        let dir = std::env::temp_dir().join(format!("healthctl-find-{}", std::process::id()));
        let (beside, other) = (dir.join("here/healthd"), dir.join("there/healthd"));
        for file in [&beside, &other] {
            std::fs::create_dir_all(file.parent().expect("has one")).expect("mkdir");
            std::fs::write(file, "").expect("write");
        }
        let path = other.parent().expect("has one").as_os_str();
        assert_eq!(
            find_in(&beside, path),
            None,
            "no execute permission, no program"
        );
        for file in [&other, &beside] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).expect("chmod");
            assert_eq!(find_in(&beside, path).as_ref(), Some(file));
        }
        std::fs::remove_dir_all(dir).expect("clean up");
    }
}
