//! `healthd --probe FILE`: what does this file say of itself? Its constructors run here, in a process that
//! nobody misses if they crash or hang.

use healthd_loader::{Descriptor, Library};
use healthd_sys::{process, signals};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// Larger than any sane plugin.
const MAX_FILE: u64 = 256 << 20;

/// Prints one JSON object. Exit code 0: it can be used; 1: it cannot, and why. With `copy` the sealed copy
/// of the file is standard input: what is judged is then what will be loaded.
pub fn probe_main(file: &Path, copy: bool, as_nobody: bool) -> i32 {
    signals::unblock_all();
    healthd_sandbox::spare(nix::unistd::getppid().as_raw() as u32);
    let mut out = match answer_apart() {
        Ok(out) => out,
        Err(e) => {
            eprintln!("error: standard output: {e}");
            return 1;
        }
    };
    let _ = process::become_subreaper();
    let (code, answer) = match probe(file, copy, as_nobody) {
        Ok(plugins) => (0, json!({ "ok": true, "plugins": plugins })),
        Err(reason) => (1, json!({ "ok": false, "reason": reason })),
    };
    // Before the answer, as whoever asked ends this process with it: a constructor may leave a daemon behind.
    process::end_all_below();
    // Who has left does not want to know.
    let _ = writeln!(out, "{answer}");
    code
}

/// Where our answer goes. What a plugin prints goes to standard error from now on, so that it is seen and yet does not
/// mix with it; in a worker it goes nowhere.
pub(crate) fn answer_apart() -> std::io::Result<File> {
    let out = std::io::stdout().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdout(std::io::stderr())?;
    Ok(out.into())
}

fn probe(file: &Path, copy: bool, as_nobody: bool) -> Result<Vec<Descriptor>, String> {
    let named = |e: std::io::Error| format!("{}: {e}", file.display());
    let copy = if copy {
        std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(named)?
    } else {
        let mut source = File::open(file).map_err(named)?;
        healthd_sys::memfd::sealed_copy("probe", &mut source, MAX_FILE).map_err(named)?
    };
    if as_nobody {
        healthd_sys::privileges::become_nobody().map_err(named)?;
    }
    let library = Library::open(&copy, file).map_err(|e| e.to_string())?;
    // Its number must never name another library: see Library::open.
    std::mem::forget(copy);
    Ok(library
        .plugins
        .iter()
        .map(|p| p.descriptor.clone())
        .collect())
}
