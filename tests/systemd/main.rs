//! healthd under a real systemd, on each Debian suite that the lab has: `service.sh` beside this file, run as
//! root in a throw-away machine. Where there is no lab this says what is missing and counts as skipped, so
//! that a fresh clone passes; with HEALTHD_TEST_THIS_HOST=1 the script runs on this very host.
//!
//! A program of its own rather than `#[test]`s: what is skipped has to be seen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SUITES: [&str; 2] = ["trixie", "bookworm"];
const PLUGINS: [&str; 5] = ["cpu", "exec", "host", "http", "tcp"];

fn main() -> ExitCode {
    // What cargo and other runners ask of a test program.
    if std::env::args().any(|a| a == "--list") {
        println!("0 tests, 0 benchmarks");
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    if std::env::var_os("HEALTHD_TEST_THIS_HOST").is_some_and(|v| v == "1") {
        failed |= !report("this host", this_host());
    } else {
        // Of one check alone one suite is enough: it is measured, not tested.
        let suites = if only().is_some() {
            &SUITES[..1]
        } else {
            &SUITES
        };
        for suite in suites {
            failed |= !report(suite, in_lab(suite));
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// HEALTHD_SYSTEMD_ONLY=watchdog: the one check whose times the fault table of `cargo chaos` wants.
fn only() -> Option<String> {
    std::env::var("HEALTHD_SYSTEMD_ONLY").ok()
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

fn report(place: &str, outcome: Outcome) -> bool {
    match &outcome {
        Outcome::Passed => println!("systemd ({place}): ok"),
        Outcome::Failed(why) => println!("systemd ({place}): FAILED: {why}"),
        Outcome::Skipped(why) => println!("systemd ({place}): skipped: {why}"),
    }
    !matches!(outcome, Outcome::Failed(_))
}

fn in_lab(suite: &str) -> Outcome {
    let lab = std::env::var_os("HEALTHD_LAB").map_or_else(
        || root().join("../shared/lab/systemd-lab.sh"),
        PathBuf::from,
    );
    if !lab.exists() {
        return Outcome::Skipped(format!(
            "there is no {} (HEALTHD_LAB=PATH names another; HEALTHD_TEST_THIS_HOST=1 takes this host)",
            lab.display()
        ));
    }
    if !nix::unistd::geteuid().is_root() {
        return Outcome::Skipped("the lab needs root".into());
    }
    let stage = match Stage::new() {
        Ok(stage) => stage,
        Err(e) => return Outcome::Failed(e),
    };
    let mut run = Command::new(lab);
    run.args(["run", "--quiet", "--suite", suite, "--dir"])
        .arg(&stage.0);
    run.arg(script());
    finished(run)
}

fn this_host() -> Outcome {
    if !Path::new("/run/systemd/system").exists() {
        return Outcome::Skipped("this host does not run systemd".into());
    }
    if !nix::unistd::geteuid().is_root() {
        return Outcome::Skipped("it needs root".into());
    }
    let stage = match Stage::new() {
        Ok(stage) => stage,
        Err(e) => return Outcome::Failed(e),
    };
    let mut run = Command::new(script());
    run.current_dir(&stage.0);
    finished(run)
}

fn finished(mut run: Command) -> Outcome {
    match run.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) if status.code() == Some(125) => Outcome::Failed("the lab itself".into()),
        Ok(status) => Outcome::Failed(status.to_string()),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

/// Everything that is installed, in one folder: programs, plugins, unit files.
struct Stage(PathBuf);

impl Stage {
    fn new() -> Result<Stage, String> {
        let dir = std::env::temp_dir().join(format!("healthd-stage-{}", std::process::id()));
        let stage = Stage(dir);
        let told = |e: std::io::Error| format!("{}: {e}", stage.0.display());
        let _ = fs::remove_dir_all(&stage.0);
        fs::create_dir_all(stage.0.join("plugins")).map_err(told)?;
        let programs = Path::new(env!("CARGO_BIN_EXE_healthd"))
            .parent()
            .expect("a folder");
        build_plugins(programs)?;
        for program in ["healthd", "healthctl"] {
            copy(&programs.join(program), &stage.0.join(program))?;
        }
        for plugin in PLUGINS {
            let name = format!("libhealthd_{plugin}.so");
            let file = stage.0.join("plugins").join(&name);
            copy(&programs.join(name), &file)?;
            fs::set_permissions(file, PermissionsExt::from_mode(0o644)).map_err(told)?;
        }
        let units = root().join("systemd");
        for file in ["healthd.service", "healthd.sysusers", "healthd.tmpfiles"] {
            copy(&units.join(file), &stage.0.join(file))?;
        }
        for drop_in in ["exec.conf", "control-group.conf", "users.conf"] {
            let from = units.join("healthd.service.d").join(drop_in);
            copy(&from, &stage.0.join(drop_in))?;
        }
        if let Some(only) = only() {
            fs::write(stage.0.join("only"), only).map_err(told)?;
        }
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn build_plugins(programs: &Path) -> Result<(), String> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet"]).current_dir(root());
    for plugin in PLUGINS {
        build.args(["-p", &format!("healthd-{plugin}")]);
    }
    if programs.file_name().is_some_and(|d| d == "release") {
        build.arg("--release");
    }
    if let Some(target) = programs.parent() {
        build.env("CARGO_TARGET_DIR", target);
    }
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the plugins do not build: {status}")),
        Err(e) => Err(format!("cargo does not run: {e}")),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("{}: {e}", from.display())),
    }
}

fn script() -> PathBuf {
    root().join("tests/systemd/service.sh")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
