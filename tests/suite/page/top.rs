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

    /// A button of the mouse, down and up again, at a column and a line from 1 on: as a terminal sends it to whoever
    /// has asked for it.
    fn mouse(&self, button: u32, column: usize, line: usize) {
        let at = format!("\x1b[<{button};{column};{line}");
        self.tmux(&["send-keys", "-l", &format!("{at}M{at}m")]);
    }

    /// Until a line, from 1 on, has the mark of the row that is chosen, or has it not, and this name.
    fn until_row(&self, line: usize, is_chosen: bool, name: &str) {
        wait_for(&format!("{name} in line {line}"), || {
            let shown = self.shows();
            let row = shown.lines().nth(line - 1).unwrap_or_default();
            row.starts_with('>') == is_chosen && row.contains(name)
        });
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
fn a_mouse_sorts_chooses_opens_and_scrolls_and_what_is_chosen_stays_in_sight() {
    const LEFT: u32 = 0;
    const UP: u32 = 64;
    const DOWN: u32 = 65;
    let once = |name: &str, script: &str| check(name).script(script).interval("1h");
    let rows = (0..30).map(|n| once(&format!("m/{n:02}"), "echo fine"));
    let config = Config::new().check(once("a/first", "echo fine"));
    let last = once("z/last", "exit 2").set("attempts", "1");
    let daemon = rows.fold(config, Config::check).check(last).spawn();
    daemon.expect_notify("READY=1");
    daemon
        .watch(&["z/last"])
        .until_verdict("z/last", "critical");
    daemon.until_ok(&["a/first", "m/00", "m/29"]);
    let Some(terminal) = Terminal::open(&daemon, 80, 24) else {
        skipped("tmux is missing");
        return stop(daemon);
    };
    // Titles stand in the third line, and rows below them.
    terminal.until_row(4, true, "z/last");
    let asked = terminal.tmux(&[
        "display-message",
        "-p",
        "#{mouse_standard_flag}#{mouse_sgr_flag}",
    ]);
    assert_eq!(
        asked.as_deref().map(str::trim),
        Some("11"),
        "it asks for the mouse"
    );
    for (title, order, first) in [
        ("NAME", "by name", "a/first"),
        ("SINCE", "newest change first", ""),
        ("LATENCY", "slowest first", ""),
        ("STATE", "problems first", "z/last"),
    ] {
        let shown = terminal.shows();
        let titles = shown.lines().nth(2).expect("titles");
        let place = titles.find(title).expect(title);
        terminal.mouse(LEFT, place + 1, 3);
        terminal.until(&[order]);
        terminal.until_row(4, true, first);
    }
    // One click chooses, one more opens.
    terminal.until_row(6, false, "m/00");
    terminal.mouse(LEFT, 30, 6);
    terminal.until_row(6, true, "m/00");
    terminal.mouse(LEFT, 30, 6);
    terminal.until(&["m/00", "outcomes"]);
    terminal.keys(&["Escape"]);
    terminal.until_row(6, true, "m/00");
    // Three rows at a time, to the end and back.
    terminal.mouse(DOWN, 30, 10);
    terminal.until_row(9, true, "m/03");
    (0..12).for_each(|_| terminal.mouse(DOWN, 30, 10));
    terminal.until_row(23, true, "m/29");
    // However small or large the window gets.
    for (columns, lines, at) in [(40, 10, 9), (40, 6, 5), (200, 60, 35), (80, 24, 23)] {
        let size = [columns, lines].map(|n: u32| n.to_string());
        terminal.tmux(&["resize-window", "-x", &size[0], "-y", &size[1]]);
        terminal.until_row(at, true, "m/29");
    }
    (0..12).for_each(|_| terminal.mouse(UP, 30, 10));
    terminal.until_row(4, true, "z/last");
    // Where there is no row nothing happens.
    terminal.mouse(LEFT, 1, 1);
    terminal.mouse(LEFT, 70, 24);
    terminal.mouse(LEFT, 30, 5);
    terminal.until_row(5, true, "a/first");
    terminal.keys(&["q"]);
    wait_for("it has ended", || terminal.shows().is_empty());
    stop(daemon);
}
