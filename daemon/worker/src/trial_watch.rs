//! `healthd --try` in two processes: one runs the plugin, and this one tells where it crashed, as the manager would of a
//! worker. Only names and addresses are read here; nothing of the plugin runs. What the plugin writes to standard error
//! passes here too, without the secrets of its options.

use crate::role::private_dir;
use healthd_catalog::place::Place;
use healthd_catalog::symbols::{self, Code};
use healthd_core::scrub::Scrubber;
use healthd_core::wire::maps::Entry;
use healthd_core::wire::supervisor::signal_name;
use healthd_scoreboard::worker_map::WorkerView;
use healthd_sys::{files, memfd, privileges};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// In the environment of the one that runs the plugin: the folder of its maps.
const DIR: &str = "HEALTHD_TRY_DIR";

/// Where the process that runs the plugin keeps its maps. None: we are the one that watches it.
pub fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// What it leaves behind may hold its standard error; nobody waits longer for that.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of a line that are passed on at once.
const LONGEST: u64 = 64 << 10;

/// Runs the same command line in a process of its own, with these options. Ok: its exit code. Err: what ended it, and where.
pub fn watch(args: &[&str], config: &str, file: &str) -> Result<i32, String> {
    let dir = private_dir().map_err(|e| format!("no private directory: {e}"))?;
    let ended = run(args, config, &dir);
    let told = match ended {
        Err(e) => Err(e.to_string()),
        Ok((pid, status)) => match (status.code(), status.signal()) {
            (Some(code), _) => Ok(code),
            (None, signal) => Err(format!(
                "{file}: the plugin crashed: {}",
                crash(&dir, pid, signal.unwrap_or(0), Path::new(file))
            )),
        },
    };
    let _ = std::fs::remove_dir_all(&dir);
    told
}

fn run(args: &[&str], config: &str, dir: &Path) -> io::Result<(u32, ExitStatus)> {
    // It will be nobody by the time it writes there.
    privileges::give_to_nobody(dir)?;
    let mut child = Command::new("/proc/self/exe")
        .arg("--try")
        .args(args)
        // Not on the command line, where everybody sees them.
        .args(["--options", "-"])
        .stdin(Stdio::from(memfd::sealed_bytes(
            "options",
            config.as_bytes(),
        )?))
        .stderr(Stdio::piped())
        .env(DIR, dir)
        .spawn()?;
    let told = child
        .stderr
        .take()
        .map(|words| tell(words, Scrubber::of_options(config, &[])));
    let status = child.wait()?;
    if let Some(told) = told {
        let _ = told.recv_timeout(LAST_WORDS);
    }
    Ok((child.id(), status))
}

/// Passes lines on. What is returned says that there are no more.
fn tell(words: ChildStderr, secrets: Scrubber) -> mpsc::Receiver<()> {
    let (done, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut words = BufReader::new(words);
        let mut line = Vec::new();
        let mut next = |line: &mut Vec<u8>| (&mut words).take(LONGEST).read_until(b'\n', line);
        while next(&mut line).is_ok_and(|n| n > 0) {
            let text = secrets.scrub(&String::from_utf8_lossy(&line)).into_owned();
            let _ = io::stderr().write_all(text.as_bytes());
            line.clear();
        }
        let _ = done.send(());
    });
    told
}

/// "SIGSEGV in `run` at libx.so+0x1139 boom(int)"
fn crash(dir: &Path, pid: u32, signal: i32, file: &Path) -> String {
    let view = WorkerView::open(dir, 0, pid).ok();
    let crash = view.as_ref().and_then(WorkerView::crash);
    let (Some(view), Some(crash)) = (view, crash) else {
        return signal_name(signal).into_owned();
    };
    let line = crash.line.and_then(|l| view.line(l));
    let call = line.filter(|l| l.entry != Entry::Idle);
    let call = call.map_or(String::new(), |l| format!(" in `{}`", l.entry.as_str()));
    let code = |_: &str, offset| match files::open(file) {
        Ok(file) => symbols::lookup(&file, offset),
        Err(_) => Code::Nameless,
    };
    let place = Place::of(&view, (crash.pc, &crash.trace), |_| true, code);
    format!(
        "{}{call}{}",
        crash.what(),
        place.text(" at ", " called from ")
    )
}
