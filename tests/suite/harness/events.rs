//! The journal as a reader follows it: every event once, in order, over deaths of the manager too.

use super::ctl::Client;
use super::{DEADLINE, Daemon};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub struct Events {
    socket: PathBuf,
    client: Client,
    last: u64,
    seen: Vec<Value>,
}

impl Daemon {
    /// From the first event that it keeps on.
    pub fn events(&self) -> Events {
        let socket = self.socket();
        Events {
            client: ask(&socket, 0),
            socket,
            last: 0,
            seen: Vec::new(),
        }
    }
}

impl Events {
    /// The next event: its number is one more than that of the one before.
    pub fn event(&mut self) -> Value {
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            match self.client.line_or_reset() {
                Some(line) if line["type"] == "event" => {
                    let seq = line["seq"].as_u64().expect("a number");
                    assert_eq!(seq, self.last + 1, "{line}");
                    self.last = seq;
                    self.seen.push(line.clone());
                    return line;
                }
                // The manager has died: the next one goes on.
                _ => self.client = ask(&self.socket, self.last),
            }
        }
        panic!("no further event; so far: {:#?}", self.seen);
    }

    /// The first of which this is true, of those that were not looked at yet.
    pub fn until(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            let event = self.event();
            if wanted(&event) {
                return event;
            }
        }
        panic!("never happened: {what}; but: {:#?}", self.seen);
    }

    pub fn kind(&mut self, kind: &str) -> Value {
        self.until(kind, |e| e["kind"] == kind)
    }

    /// That it happened to this check.
    pub fn of(&mut self, kind: &str, check: &str) -> Value {
        self.until(&format!("{kind} of {check}"), |e| {
            e["kind"] == kind && e["check"] == check
        })
    }
}

fn ask(socket: &Path, after: u64) -> Client {
    let mut client = Client::connect(socket);
    client.send(&json!({"v": 1, "op": "events", "after": after, "follow": true}));
    client
}
