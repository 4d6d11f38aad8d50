//! A client of the control socket that takes every answer, an error too, for an answer.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub struct Client(BufReader<UnixStream>);

impl Client {
    pub fn connect(socket: &Path, patience: Duration) -> Result<Client, String> {
        let stream =
            UnixStream::connect(socket).map_err(|e| format!("{}: {e}", socket.display()))?;
        let told = |e: std::io::Error| e.to_string();
        stream.set_read_timeout(Some(patience)).map_err(told)?;
        stream.set_write_timeout(Some(patience)).map_err(told)?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Data lines up to `end`. Err: the code of an `error` line with its message, or why there was no answer.
    pub fn ask(&mut self, op: &str, fields: &Value) -> Result<Vec<Value>, String> {
        let mut request = json!({"v": 1, "op": op});
        for (key, value) in fields.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        let line = format!("{request}\n");
        let sent = self.0.get_mut().write_all(line.as_bytes());
        sent.map_err(|e| format!("{op}: {e}"))?;
        let mut rows = Vec::new();
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return Err(format!("{op}: hung up")),
                Ok(_) => {}
                Err(e) => return Err(format!("{op}: no answer: {e}")),
            }
            let row: Value =
                serde_json::from_str(&line).map_err(|e| format!("{op}: {e}: {line}"))?;
            match row["type"].as_str() {
                Some("end") => return Ok(rows),
                Some("error") => {
                    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                    return Err(format!("{}: {}", text("code"), text("message")));
                }
                _ => rows.push(row),
            }
        }
    }
}

/// One question on a connection of its own, asked again while healthd says that it is busy or is just coming up.
pub fn ask(
    socket: &Path,
    op: &str,
    fields: &Value,
    patience: Duration,
) -> Result<Vec<Value>, String> {
    let begun = Instant::now();
    loop {
        let answer = Client::connect(socket, patience).and_then(|mut c| c.ask(op, fields));
        match answer {
            Err(e) if begun.elapsed() < patience && is_passing(&e) => crate::pause(20),
            other => return other,
        }
    }
}

fn is_passing(error: &str) -> bool {
    [
        "busy",
        "hung up",
        "Broken pipe",
        "reset",
        "Connection refused",
        "temporarily",
    ]
    .iter()
    .any(|word| error.contains(word))
}
