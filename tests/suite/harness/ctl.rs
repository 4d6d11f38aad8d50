//! The control socket as a client sees it, healthctl, and what a test asks of its daemon through them.

use super::{DEADLINE, Daemon};
use healthd_test_support::procs;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

/// A connection to the control socket.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub fn connect(socket: &Path) -> Client {
        let stream =
            UnixStream::connect(socket).unwrap_or_else(|e| panic!("{}: {e}", socket.display()));
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a time-out that is not zero");
        Client {
            stream: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, request: &Value) {
        self.send_bytes(format!("{request}\n").as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("it reads");
    }

    pub fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    /// The next line; None: healthd has hung up.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => None,
            Err(e) => panic!("no answer on the control socket: {e}"),
        }
    }

    /// As `line`, for a client that may be cut off.
    pub fn line_or_reset(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(n) if n > 0 => serde_json::from_str(&line).ok(),
            _ => None,
        }
    }

    /// Data lines up to `end`; Err: the `error` line.
    pub fn answer(&mut self) -> Result<Vec<Value>, Value> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().expect("an answer ends with `end` or `error`");
            match line["type"].as_str() {
                Some("end") => return Ok(lines),
                Some("error") => return Err(line),
                _ => lines.push(line),
            }
        }
    }

    pub fn ask(&mut self, op: &str, fields: Value) -> Result<Vec<Value>, Value> {
        let mut request = json!({"v": 1, "op": op});
        for (key, value) in fields.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        self.send(&request);
        self.answer()
    }
}

/// A `watch`: every change of a row, from now on.
pub struct Watch(Client);

impl Watch {
    pub fn new(socket: &Path, names: &[&str]) -> Watch {
        let mut client = Client::connect(socket);
        client.send(&json!({"v": 1, "op": "watch", "names": names}));
        let started = client.line().expect("watch answers");
        assert_eq!(started["type"], "started", "{started}");
        Watch(client)
    }

    /// The next row.
    pub fn row(&mut self) -> Value {
        loop {
            let line = self.0.line().expect("healthd has hung up on a watch");
            match line["type"].as_str() {
                Some("check") => return line,
                Some("gone") => {}
                _ => panic!("watch: {line}"),
            }
        }
    }

    /// The first row, from those of now on, of which this is true.
    pub fn until(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let mut last = Value::Null;
        while begun.elapsed() < DEADLINE {
            last = self.row();
            if wanted(&last) {
                return last;
            }
        }
        panic!("never seen: {what}; the last row: {last}");
    }

    /// Until the check has this verdict.
    pub fn until_verdict(&mut self, name: &str, verdict: &str) -> Value {
        self.until(&format!("{name} {verdict}"), |row| {
            row["name"] == name && row["verdict"] == verdict
        })
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Runs a program to its end.
pub fn say(command: &mut Command) -> Said {
    let done = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Said {
        code: done.status.code(),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// What a program says line by line while it runs.
pub struct Lines(Receiver<String>);

impl Lines {
    pub fn of(out: impl Read + Send + 'static) -> Lines {
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let all = BufReader::new(out).lines().map_while(Result::ok);
            all.map_while(|line| send.send(line).ok()).for_each(drop);
        });
        Lines(lines)
    }

    /// The next one; None: it has ended.
    pub fn next(&self) -> Option<String> {
        match self.0.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the program says nothing more"),
        }
    }
}

/// `healthctl --socket SOCKET ARGS...`
pub fn healthctl(socket: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_healthctl"));
    command.arg("--socket").arg(socket).args(args);
    command.env_remove("HEALTHD_SOCKET");
    say(&mut command)
}

impl Daemon {
    pub fn client(&self) -> Client {
        Client::connect(&self.socket())
    }

    pub fn watch(&self, names: &[&str]) -> Watch {
        Watch::new(&self.socket(), names)
    }

    pub fn healthctl(&self, args: &[&str]) -> Said {
        healthctl(&self.socket(), args)
    }

    /// The same, of a daemon that answers: however slow it is, the maps are not read instead.
    pub fn told_by_daemon(&self, args: &[&str]) -> Said {
        healthctl(&self.socket(), &[&["--timeout", "60s"], args].concat())
    }

    /// An answer that must be no error.
    pub fn ask(&self, op: &str, fields: Value) -> Vec<Value> {
        match self.client().ask(op, fields) {
            Ok(lines) => lines,
            Err(e) => self.fail(&format!("{op}: {e}")),
        }
    }

    /// A row of `status`.
    pub fn row(&self, name: &str) -> Value {
        self.ask("status", json!({ "names": [name] })).remove(0)
    }

    pub fn detail(&self, name: &str) -> Value {
        self.ask("show", json!({ "name": name })).remove(0)
    }

    /// Runs a check now and returns its row.
    pub fn run(&self, name: &str) -> Value {
        let lines = self.ask("run", json!({ "names": [name] }));
        lines.into_iter().next_back().expect("one run, one row")
    }

    /// Until each has a verdict, and it is ok. A first run comes by itself, soon after the start.
    pub fn until_ok(&self, names: &[impl AsRef<str>]) {
        let mut left: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let mut watch = self.watch(&left);
        while !left.is_empty() {
            let row = watch.until("a first result", |row| row["verdict"] == "ok");
            left.retain(|name| row["name"] != *name);
        }
    }

    /// A run that begins from now on: the first may have been in flight already, as each check has a run soon
    /// after the start by itself.
    pub fn run_anew(&self, name: &str) -> Value {
        self.run(name);
        self.run(name)
    }

    /// The rows of `workers`; the accounts of each balance.
    pub fn workers(&self) -> Vec<Value> {
        let rows = self.ask("workers", json!({}));
        rows.iter().for_each(assert_balanced);
        rows
    }

    /// Waits until plugins have been asked what they think of their options, which a daemon does beside everything else
    /// from its start on.
    pub fn until_plugins_are_asked(&self) {
        let manager = self.manager();
        // It has begun by the time that anything is answered. A thread has its name when it first runs.
        self.ask("version", json!({}));
        let own = procs::name(manager);
        wait_for("plugins have been asked about their options", || {
            let threads = procs::threads(manager);
            let is_asking =
                |(tid, name): &(u32, String)| name == "tryout" || (*tid != manager && *name == own);
            !threads.iter().any(is_asking)
        });
    }

    pub fn in_flight(&self) -> u64 {
        let rows = self.ask("workers", json!({}));
        rows.iter().filter_map(|w| w["in_flight"].as_u64()).sum()
    }

    /// Waits for the workers to be like this. No event tells of it, so each look is a question.
    pub fn until_workers(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        let mut client = self.client();
        loop {
            let rows = client.ask("workers", json!({})).expect("workers");
            rows.iter().for_each(assert_balanced);
            if wanted(&rows) {
                return rows;
            }
            if begun.elapsed() > DEADLINE {
                self.fail(&format!("never seen: {what}: {rows:#?}"));
            }
            let_others_run();
        }
    }

    /// Pids by slot of the workers of a class.
    pub fn pids(&self, class: &str) -> BTreeMap<u64, u32> {
        self.workers()
            .iter()
            .filter(|row| row["class"] == class)
            .filter_map(|row| Some((row["slot"].as_u64()?, row["pid"].as_u64()? as u32)))
            .collect()
    }
}

/// Two tellings of when a check runs next. That is told by two clocks, of which one is read after the other: so they
/// differ by as long as the daemon was kept from running in between.
pub fn same_moment(one: &Value, other: &Value) -> bool {
    let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    match (moment(one), moment(other)) {
        (Some(one), Some(other)) => one.duration_since(other).abs() < SignedDuration::from_secs(10),
        _ => false,
    }
}

/// For what no event tells of: looks again and again.
pub fn wait_for(what: &str, wanted: impl Fn() -> bool) {
    let begun = Instant::now();
    while !wanted() {
        assert!(begun.elapsed() < DEADLINE, "never seen: {what}");
        let_others_run();
    }
}

/// Between two looks at something that no event tells of.
pub fn let_others_run() {
    let _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::from(5u16));
}

/// dispatched = finished + in flight + lost
pub fn assert_balanced(row: &Value) {
    let n = |key: &str| {
        row[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} is missing: {row}"))
    };
    assert_eq!(
        n("dispatched"),
        n("finished") + n("in_flight") + n("lost"),
        "{row}"
    );
    if let Some(chunks) = row["chunks"].as_object() {
        let n = |key: &str| chunks[key].as_u64().expect("a number");
        assert_eq!(
            n("dispatched"),
            n("finished") + n("in_flight") + n("lost"),
            "{row}"
        );
    }
}
