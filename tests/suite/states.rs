//! What checks keep over a restart: `log` loses no line and counts none twice, whatever happens to its file, its worker, the
//! manager and the daemon.

use crate::harness::ctl::wait_for;
use crate::harness::{Config, Daemon, check, kill};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A log whose lines are numbered, and how many there are by now.
struct Log {
    path: PathBuf,
    written: u64,
}

impl Log {
    fn append(&mut self, count: u64) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .expect("our own file");
        for _ in 0..count {
            self.written += 1;
            writeln!(file, "an error, the {}th", self.written).expect("room");
        }
    }

    /// All lines so far, each once: those of the last hour are counted together.
    fn assert_counted(&self, daemon: &Daemon, when: &str) {
        let row = daemon.run_anew("it");
        let metrics = row["metrics"]
            .as_array()
            .unwrap_or_else(|| panic!("{when}: {row}"));
        let matches = metrics.iter().find(|m| m["name"] == "matches");
        let matches = matches.map(|m| m["value"].as_f64());
        assert_eq!(matches, Some(Some(self.written as f64)), "{when}: {row}");
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
}

fn daemon(path: &Path) -> Daemon {
    let options = format!(
        "{{ path = {path:?}, pattern = [\"error\"], from = \"begin\", window = \"1h\", count_crit = 1000000 }}"
    );
    let it = check("it")
        .plugin("log")
        .interval("1h")
        .set("config", &options);
    let daemon = Config::new().check(it).spawn();
    daemon.expect_notify("READY=1");
    daemon
}

fn end_by(mut daemon: Daemon, signal: Signal) -> Daemon {
    daemon.signal(signal);
    daemon.wait_exit();
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    daemon
}

#[test]
fn each_line_counts_once_over_rotations_deaths_and_restarts() {
    let folder = healthd_testing::Folder::new();
    let mut log = Log {
        path: folder.path().join("app.log"),
        written: 0,
    };
    log.append(5);
    let mut daemon = daemon(&log.path);
    log.assert_counted(&daemon, "at first");

    log.append(3);
    daemon
        .pids("io")
        .into_values()
        .for_each(|pid| kill(pid, Signal::SIGKILL));
    log.assert_counted(&daemon, "after the workers' death");

    log.append(2);
    let manager = daemon.manager();
    kill(manager, Signal::SIGKILL);
    daemon.expect_notify("READY=1");
    log.assert_counted(&daemon, "after the manager's death");

    log.append(4);
    fs::rename(&log.path, log.beside("app.log.1")).expect("ours");
    log.append(3);
    log.assert_counted(&daemon, "after a rotation");

    log.append(2);
    fs::copy(&log.path, log.beside("app.log.2")).expect("ours");
    fs::File::create(&log.path).expect("ours");
    log.append(1);
    log.assert_counted(&daemon, "after copytruncate");

    fs::File::create(&log.path).expect("ours");
    log.append(2);
    log.assert_counted(&daemon, "after a truncation of what was read");

    log.append(3);
    daemon = end_by(daemon, Signal::SIGTERM);
    log.append(2);
    log.assert_counted(&daemon, "after a restart");

    log.append(2);
    daemon = end_by(daemon, Signal::SIGKILL);
    log.append(1);
    log.assert_counted(&daemon, "after the death of all");

    // Rotated while nobody was there.
    log.append(2);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_exit();
    log.append(1);
    fs::rename(&log.path, log.beside("app.log.3")).expect("ours");
    log.append(4);
    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    log.assert_counted(&daemon, "after a rotation beside a restart");
}

#[test]
fn a_check_that_is_taken_away_is_forgotten() {
    let folder = healthd_testing::Folder::new();
    let path = folder.write("a.log", "an error\n");
    let options = format!("{{ path = {path:?}, from = \"begin\", count_crit = 100 }}");
    let it = |name: &str| {
        check(name)
            .plugin("log")
            .interval("1h")
            .set("config", &options)
    };
    let daemon = Config::new().check(it("kept")).check(it("gone")).spawn();
    daemon.expect_notify("READY=1");
    let lines = |daemon: &Daemon, name: &str| -> Value {
        let row = daemon.run_anew(name);
        let message = row["message"].as_str().expect("a message").to_owned();
        Value::from(message.contains("first run"))
    };
    assert_eq!(lines(&daemon, "kept"), Value::from(false));
    assert_eq!(lines(&daemon, "gone"), Value::from(false));
    let holds = |name: &str| {
        let text = fs::read(daemon.dir().join("state/plugins.log")).unwrap_or_default();
        text.windows(name.len()).any(|w| w == name.as_bytes())
    };
    wait_for("both are kept", || holds("kept") && holds("gone"));
    daemon.written.rewrite(&[it("kept")]);
    assert_eq!(daemon.healthctl(&["reload"]).code, Some(0));
    // With the next change the file is written anew.
    let more = std::cell::Cell::new(1);
    wait_for("one is kept", || {
        let text = "another\n".repeat(more.replace(more.get() + 1));
        fs::write(&path, format!("an error\n{text}")).expect("ours");
        daemon.run_anew("kept");
        holds("kept") && !holds("gone")
    });
}
