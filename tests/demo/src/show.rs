//! Showing the daemon at work: a live table, plain lines, or one table at the end.

use crate::daemon::{Daemon, signal};
use crate::picture::{self, Picture};
use crate::scene::Scene;
use crate::screen::{Row, Screen};
use crate::web::Mood;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

const VERDICTS_WITHIN: Duration = Duration::from_secs(60);

pub enum Event {
    /// Ctrl-C, or its like.
    Interrupted,
    /// One of `healthctl watch`.
    Line(String),
    WatchEnded,
}

/// Everything that happens comes out of one end; signals go in from now on.
pub fn channel() -> Result<(Sender<Event>, Receiver<Event>), String> {
    let (events, inbox) = std::sync::mpsc::channel();
    let (mut out, into) = UnixStream::pair().map_err(|e| e.to_string())?;
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        into.try_clone()
            .and_then(|end| signal_hook::low_level::pipe::register(number, end))
            .map_err(|e| format!("signal {number}: {e}"))?;
    }
    let signals = events.clone();
    std::thread::spawn(move || {
        while out.read_exact(&mut [0]).is_ok() && signals.send(Event::Interrupted).is_ok() {}
    });
    Ok((events, inbox))
}

/// A line on standard output; false if nobody reads it any more.
pub fn say(line: &str) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// Until Ctrl-C, or with `once` until each check has a verdict.
pub fn run(
    once: bool,
    lines: bool,
    scene: &Scene,
    daemon: &Daemon,
    events: &Sender<Event>,
    inbox: &Receiver<Event>,
) -> Result<(), String> {
    let ready = daemon.ready_after.as_millis();
    say(&format!(
        "healthd is ready after {ready} ms, with {} checks",
        scene.checks.len()
    ));
    say(&format!("its page: {}", scene.page));
    for (name, why) in &scene.left_out {
        say(&format!("left out: {name}: {why}"));
    }
    let movable = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    if once {
        self::once(scene, daemon, events, inbox)
    } else if !lines && movable && std::io::stdout().is_terminal() {
        table(scene, daemon, events, inbox)
    } else {
        plain(scene, daemon, events, inbox)
    }
}

fn once(
    scene: &Scene,
    daemon: &Daemon,
    events: &Sender<Event>,
    inbox: &Receiver<Event>,
) -> Result<(), String> {
    say("waiting until each check has a verdict ...");
    let watch = Watch::start(daemon, &["--json", "watch", "--every"], events)?;
    let deadline = Instant::now() + VERDICTS_WITHIN;
    let mut rows = Rows::default();
    while rows.judged() < scene.checks.len() {
        match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Line(line)) => rows.take(&line),
            Ok(Event::Interrupted) => return Err("interrupted".into()),
            Ok(Event::WatchEnded) => return Err("the watch has ended".into()),
            Err(RecvTimeoutError::Timeout) => {
                let waiting = rows.pending().collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "no verdict within {} s: {waiting}",
                    VERDICTS_WITHIN.as_secs()
                ));
            }
            Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
        }
    }
    drop(watch);
    say("");
    // Its exit code speaks of the checks, of which one is meant to be critical.
    for question in ["status", "workers"] {
        let mut answer = daemon.ask();
        answer.arg(question).status().map_err(|e| e.to_string())?;
        say("");
    }
    Ok(())
}

fn plain(
    scene: &Scene,
    daemon: &Daemon,
    events: &Sender<Event>,
    inbox: &Receiver<Event>,
) -> Result<(), String> {
    say(&format!(
        "ask it: HEALTHD_SOCKET={} {} status",
        daemon.socket.display(),
        daemon.healthctl.display()
    ));
    say("until Ctrl-C, what `healthctl watch` prints:");
    let _watch = Watch::start(daemon, &["watch"], events)?;
    let mut shown = None;
    loop {
        let (mood, left) = Mood::at(scene.web.started.elapsed());
        if shown != Some(mood) {
            shown = Some(mood);
            let line = format!(
                "demo: the web server is {} for {} s: {}",
                mood.name(),
                left.as_secs() + 1,
                mood.explained()
            );
            if !say(&line) {
                return Ok(());
            }
        }
        match inbox.recv_timeout(left) {
            Ok(Event::Line(line)) => {
                if !say(&line) {
                    return Ok(());
                }
            }
            Ok(Event::Interrupted) => return Ok(()),
            Ok(Event::WatchEnded) => return Err("the watch has ended".into()),
            Err(_) => {}
        }
    }
}

fn table(
    scene: &Scene,
    daemon: &Daemon,
    events: &Sender<Event>,
    inbox: &Receiver<Event>,
) -> Result<(), String> {
    let _watch = Watch::start(daemon, &["--json", "watch", "--every"], events)?;
    let mut rows = Rows::default();
    let mut screen = Screen::enter();
    loop {
        let (mood, left) = Mood::at(scene.web.started.elapsed());
        screen.draw(scene, daemon, mood, left, rows.0.values());
        // The countdown moves each second.
        let tick = Duration::from_nanos(u64::from(left.subsec_nanos()) + 1);
        let mut event = inbox.recv_timeout(tick).ok();
        while let Some(now) = event {
            match now {
                Event::Line(line) => rows.take(&line),
                Event::Interrupted => return Ok(()),
                Event::WatchEnded => return Err("the watch has ended".into()),
            }
            event = inbox.try_recv().ok();
        }
    }
}

/// Follows the table through every mood, and draws what it saw.
pub fn picture(
    file: &Path,
    scene: &Scene,
    daemon: &Daemon,
    events: &Sender<Event>,
    inbox: &Receiver<Event>,
) -> Result<(), String> {
    say("watching the web server through its moods, which takes half a minute ...");
    let _watch = Watch::start(daemon, &["--json", "watch", "--every"], events)?;
    let mut rows = Rows::default();
    let screen = Screen::of_picture();
    let mut picture = Picture::default();
    let mut since = (None, Instant::now());
    while !picture.is_complete() {
        let (mood, left) = Mood::at(scene.web.started.elapsed());
        if since.0 != Some(mood) {
            since = (Some(mood), Instant::now());
        }
        if picture.wants(mood, since.1.elapsed()) {
            let columns = picture::COLUMNS;
            let mut lines = screen.lines(scene, daemon, mood, left, rows.0.values(), columns);
            lines.truncate(picture::LINES);
            picture.take(mood, lines);
        }
        match inbox.recv_timeout(left.min(Duration::from_secs(1))) {
            Ok(Event::Line(line)) => rows.take(&line),
            Ok(Event::Interrupted) => return Err("interrupted".into()),
            Ok(Event::WatchEnded) => return Err("the watch has ended".into()),
            Err(_) => {}
        }
    }
    std::fs::write(file, picture.svg()).map_err(|e| format!("{}: {e}", file.display()))?;
    say(&format!("{} is written", file.display()));
    Ok(())
}

/// The last row of each check, in the order of the config.
#[derive(Default)]
struct Rows(BTreeMap<u64, Row>);

impl Rows {
    fn take(&mut self, line: &str) {
        if let Some((index, row)) = Row::read(line) {
            self.0.insert(index, row);
        }
    }

    fn pending(&self) -> impl Iterator<Item = &str> {
        self.0
            .values()
            .filter(|row| row.verdict == "pending")
            .map(|row| row.name.as_str())
    }

    fn judged(&self) -> usize {
        self.0.len() - self.pending().count()
    }
}

/// A `healthctl watch`, line by line.
struct Watch(Child);

impl Watch {
    fn start(daemon: &Daemon, args: &[&str], events: &Sender<Event>) -> Result<Watch, String> {
        let mut child = daemon
            .ask()
            .args(args)
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", daemon.healthctl.display()))?;
        let lines = child
            .stdout
            .take()
            .map(BufReader::new)
            .ok_or("healthctl has no output")?;
        let events = events.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if events.send(Event::Line(line)).is_err() {
                    return;
                }
            }
            let _ = events.send(Event::WatchEnded);
        });
        Ok(Watch(child))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        signal(&self.0, Signal::INT);
        let _ = self.0.wait();
    }
}
