//! The control socket as a client sees it, and healthctl.

use super::DEADLINE;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// A connection to the control socket.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket)
            .unwrap_or_else(|e| panic!("{}: {e}", socket.display()));
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
        let begun = std::time::Instant::now();
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

/// `healthctl --socket SOCKET ARGS...`
pub fn healthctl(socket: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_healthctl"));
    command.arg("--socket").arg(socket).args(args);
    command.env_remove("HEALTHD_SOCKET");
    say(&mut command)
}
