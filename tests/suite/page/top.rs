//! `healthctl top` in a real terminal: the maps alone tell it what it shows.

use super::{bad, good, stop};
use crate::harness::ctl::wait_for;
use crate::harness::{Config, Daemon, TempDir, check, kill, skipped};
use nix::sys::signal::Signal;
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;

struct Terminal {
    socket: PathBuf,
    _dir: TempDir,
}

impl Terminal {
    /// None: tmux is not there.
    fn open(daemon: &Daemon, columns: u32, lines: u32) -> Option<Terminal> {
        let dir = TempDir::new();
        let terminal = Terminal {
            socket: dir.path().join("tmux"),
            _dir: dir,
        };
        let program = env!("CARGO_BIN_EXE_healthctl");
        let command = format!("{program} --socket {} top", daemon.socket().display());
        let (columns, lines) = (columns.to_string(), lines.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &lines, &command])?;
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> Option<String> {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&self.socket).args(["-f", "/dev/null"]);
        let done = tmux.args(args).env("TERM", "xterm-256color").output();
        Some(String::from_utf8_lossy(&done.ok()?.stdout).into_owned())
    }

    fn shows(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).unwrap_or_default()
    }

    /// What it shows when all of these are there: a look may fall into the middle of its writing.
    fn until(&self, parts: &[&str]) -> String {
        let shown = RefCell::default();
        wait_for(&format!("{parts:?}"), || {
            *shown.borrow_mut() = self.shows();
            parts.iter().all(|part| shown.borrow().contains(part))
        });
        shown.into_inner()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_shows_the_checks_of_a_daemon_that_runs_hangs_or_was_stopped() {
    let daemon = Config::new()
        .check(good("web/a"))
        .check(bad("db/b"))
        .check(check("later").script("sleep 1000").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    daemon.until_ok(&["web/a"]);
    let Some(terminal) = Terminal::open(&daemon, 80, 24) else {
        skipped("tmux is missing");
        return stop(daemon);
    };
    let shown = terminal.until(&["db/b", "web/a", "1 CRITICAL", "it <b>burns</b>"]);
    let place = |name: &str| shown.find(name).expect("a row");
    assert!(place("db/b") < place("web/a"), "{shown}");
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );

    // A filter, a check, workers, plugins.
    terminal.keys(&["/", "w", "e", "b", "/", "*", "Enter"]);
    wait_for("it is filtered", || !terminal.shows().contains("db/b"));
    terminal.keys(&["Escape"]);
    terminal.until(&["db/b"]);
    terminal.keys(&["Home", "Enter"]);
    terminal.until(&["outcomes"]);
    terminal.keys(&["w"]);
    terminal.until(&["RESTARTS"]);
    terminal.keys(&["p"]);
    terminal.until(&["CRASHES", "exec"]);
    terminal.keys(&["p", "r"]);
    terminal.until(&["ran: critical"]);

    // Larger, and as small as it gets.
    for (columns, lines) in [("200", "60"), ("20", "5")] {
        terminal.tmux(&["resize-window", "-x", columns, "-y", lines]);
        wait_for("it fits", || {
            let shown = terminal.shows();
            let widest = shown.lines().map(|l| l.chars().count()).max().unwrap_or(0);
            shown.contains("CRIT") && widest <= columns.parse().expect("a number")
        });
    }
    terminal.tmux(&["resize-window", "-x", "120", "-y", "30"]);
    terminal.until(&["web/a"]);

    // The same rows, and that they are old.
    kill(daemon.pid(), Signal::SIGSTOP);
    kill(daemon.manager(), Signal::SIGSTOP);
    terminal.until(&["is silent for", "db/b", "web/a"]);
    kill(daemon.manager(), Signal::SIGCONT);
    kill(daemon.pid(), Signal::SIGCONT);
    wait_for("it is awake", || {
        !terminal.shows().contains("is silent for")
    });
    terminal.keys(&["q"]);
    wait_for("it has ended", || terminal.shows().is_empty());
    stop(daemon);
}

#[test]
fn top_keeps_what_a_daemon_has_left_that_ended() {
    let checks = |config: Config| config.check(good("web/a")).check(bad("db/b"));
    let ready = |daemon: &Daemon| {
        daemon.expect_notify("READY=1");
        daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
        daemon.until_ok(&["web/a"]);
    };
    let rows = ["db/b", "web/a", "1 CRITICAL"];
    let mut daemon = checks(Config::new()).spawn();
    ready(&daemon);
    let Some(open) = Terminal::open(&daemon, 100, 30) else {
        skipped("tmux is missing");
        return stop(daemon);
    };
    open.until(&rows);
    // Killed, with all that it had started: its maps are there, for who comes later too.
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit();
    let silent = [&rows[..], &["is silent for"]].concat();
    open.until(&silent);
    let later = Terminal::open(&daemon, 80, 24).expect("it was there");
    later.until(&silent);
    drop((open, later, daemon));

    // Stopped in order: who looks already keeps what was shown last, and is told that it is no more.
    let mut daemon = checks(Config::new()).spawn();
    ready(&daemon);
    let open = Terminal::open(&daemon, 100, 30).expect("it was there");
    open.until(&rows);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_exit();
    open.until(&[&rows[..], &["there are none"]].concat());
}

#[test]
fn in_top_one_sorts_points_acknowledges_and_silences() {
    // Nobody listens: a problem that nobody was told of may be acknowledged all the same.
    let route = "plugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:9/\" }";
    let daemon = Config::new()
        .notify(route)
        .check(good("web/a"))
        .check(bad("db/b"))
        .spawn();
    daemon.expect_notify("READY=1");
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    daemon.until_ok(&["web/a"]);
    let Some(terminal) = Terminal::open(&daemon, 100, 30) else {
        skipped("tmux is missing");
        return stop(daemon);
    };
    terminal.until(&["db/b", "web/a", "problems first"]);
    terminal.keys(&["s"]);
    terminal.until(&["by name"]);
    terminal.keys(&["s", "s", "s"]);
    let shown = terminal.until(&["db/b", "web/a", "problems first"]);

    // A click chooses, another one opens; the wheel goes up and down, and the head of the table sorts.
    let line = |name: &str| 1 + shown.lines().position(|l| l.contains(name)).expect("a row");
    let press = |button: u32, line: usize| {
        let sent = format!("\x1b[<{button};5;{line}M\x1b[<{button};5;{line}m");
        terminal.keys(&["-l", &sent]);
    };
    press(0, line("web/a"));
    wait_for("it is chosen", || {
        terminal
            .shows()
            .lines()
            .any(|l| l.starts_with('>') && l.contains("web/a"))
    });
    press(0, line("web/a"));
    terminal.until(&["outcomes", "web/a"]);
    terminal.keys(&["Escape"]);
    terminal.until(&["db/b", "web/a", "problems first"]);
    press(64, line("web/a"));
    wait_for("the first is chosen", || {
        terminal
            .shows()
            .lines()
            .any(|l| l.starts_with('>') && l.contains("db/b"))
    });
    press(0, line("NAME"));
    terminal.until(&["by name"]);

    // Until alerts know of the problem there is nothing to acknowledge.
    wait_for("there is a problem to acknowledge", || {
        daemon.healthctl(&["alerts", "--json"]).out.contains("db/b")
    });
    terminal.keys(&["a"]);
    terminal.until(&["acknowledge, because"]);
    terminal.keys(&["o", "n", "Space", "i", "t", "Enter"]);
    terminal.until(&["is acknowledged"]);
    terminal.keys(&["S"]);
    terminal.until(&["silence for an hour, because"]);
    terminal.keys(&["m", "o", "v", "e", "d", "Enter"]);
    terminal.until(&["is silent for an hour"]);
    let held = daemon.healthctl(&["alerts", "--json"]).out;
    assert!(held.contains("on it") && held.contains("moved"), "{held}");
    stop(daemon);
}
