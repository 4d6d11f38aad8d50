//! `healthd --try` in two processes: one runs the plugin, and this one tells where it crashed, as the manager would of a
//! worker. Only names and addresses are read here; nothing of the plugin runs.

use crate::role::private_dir;
use healthd_catalog::place::Place;
use healthd_catalog::symbols::{self, Code};
use healthd_core::wire::maps::Entry;
use healthd_core::wire::supervisor::signal_name;
use healthd_scoreboard::worker_map::WorkerView;
use healthd_sys::{files, privileges};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In the environment of the one that runs the plugin: the folder of its maps.
const DIR: &str = "HEALTHD_TRY_DIR";

/// Where the process that runs the plugin keeps its maps. None: we are the one that watches it.
pub fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Runs the same command line in a process of its own. Ok: its exit code. Err: what ended it, and where.
pub fn watch(args: &[String], file: &str) -> Result<i32, String> {
    let dir = private_dir().map_err(|e| format!("no private directory: {e}"))?;
    let ended = run(args, &dir);
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

fn run(args: &[String], dir: &Path) -> io::Result<(u32, std::process::ExitStatus)> {
    // It will be nobody by the time it writes there.
    privileges::give_to_nobody(dir)?;
    let mut child = Command::new("/proc/self/exe")
        .arg("--try")
        .args(args)
        .env(DIR, dir)
        .spawn()?;
    Ok((child.id(), child.wait()?))
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
