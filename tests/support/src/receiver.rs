//! A receiver of messages: an HTTP server that takes, refuses, swallows or hangs as a test wants it, and remembers all that
//! it was sent.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// How it treats a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// 200.
    Accept,
    /// This status, and these lines of a head.
    Answer(u16, &'static str),
    /// Takes it, and hangs up without a word.
    Swallow,
    /// Takes it, and says nothing until it is another's turn.
    Hang,
}

/// One request, in the order in which they came.
#[derive(Clone, Debug)]
pub struct Got {
    pub head: String,
    pub body: Value,
    /// It was said to be taken.
    pub accepted: bool,
    /// Its receiver has it, whether or not it has said so.
    pub is_there: bool,
}

impl Got {
    pub fn text(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_default().to_owned()
    }
}

#[derive(Clone)]
pub struct Receiver {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    got: Vec<Got>,
    manner: Manner,
    hanging: Vec<TcpStream>,
}

impl Default for Receiver {
    fn default() -> Receiver {
        Receiver::new()
    }
}

impl Receiver {
    /// # Panics
    /// If there is no port.
    pub fn new() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = State {
            got: Vec::new(),
            manner: Manner::Accept,
            hanging: Vec::new(),
        };
        let receiver = Receiver {
            port,
            state: Arc::new((Mutex::new(state), Condvar::new())),
        };
        let server = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// From now on.
    pub fn be(&self, manner: Manner) {
        let mut state = self.state.0.lock().expect("no server panics");
        state.manner = manner;
        state.hanging.clear();
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut answers) = stream.try_clone() else {
            return;
        };
        let mut requests = BufReader::new(stream);
        let Some((head, body)) = request(&mut requests) else {
            return;
        };
        let mut state = self.state.0.lock().expect("no server panics");
        let manner = state.manner;
        state.got.push(Got {
            head,
            body,
            accepted: manner == Manner::Accept,
            is_there: !matches!(manner, Manner::Answer(..)),
        });
        if manner == Manner::Hang {
            state.hanging.push(requests.into_inner());
        }
        drop(state);
        self.state.1.notify_all();
        let (status, more) = match manner {
            Manner::Accept => (200, ""),
            Manner::Swallow | Manner::Hang => return,
            Manner::Answer(status, more) => (status, more),
        };
        let _ = answers.write_all(
            format!("HTTP/1.1 {status} Said\r\n{more}Content-Length: 2\r\n\r\nok").as_bytes(),
        );
    }

    pub fn all(&self) -> Vec<Got> {
        let state = self.state.0.lock().expect("no server panics");
        state.got.clone()
    }

    /// Waits until it has had so many requests like this; those.
    pub fn wait(&self, what: &str, count: usize, like: impl Fn(&Got) -> bool) -> Vec<Got> {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state.0.lock().expect("no server panics");
        loop {
            let found: Vec<Got> = state.got.iter().filter(|g| like(g)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{what}: {} of {count} came; all: {:#?}",
                found.len(),
                state.got
            );
            state = self
                .state
                .1
                .wait_timeout(state, left)
                .expect("no server panics")
                .0;
        }
    }

    /// The first that it accepts of this kind.
    pub fn accepted(&self, kind: &str) -> Got {
        let like = |g: &Got| g.accepted && g.text("kind") == kind;
        self.wait(&format!("a message of kind {kind}"), 1, like)
            .remove(0)
    }
}

/// By id, of what was accepted: every problem has one recovery, and each came in its order. Err: what is not so.
pub fn unpaired(all: &[Got]) -> Result<usize, String> {
    unpaired_of(all.iter().filter(|g| g.accepted))
}

/// The same of what its receiver has, accepted or swallowed.
pub fn unpaired_there(all: &[Got]) -> Result<usize, String> {
    unpaired_of(all.iter().filter(|g| g.is_there))
}

fn unpaired_of<'g>(all: impl Iterator<Item = &'g Got>) -> Result<usize, String> {
    let mut open: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for got in all {
        if seen.contains(&got.text("id")) {
            continue; // the same message once more
        }
        seen.push(got.text("id"));
        let notice = got.text("notice");
        match got.text("kind").as_str() {
            "problem" if open.contains(&notice) => return Err(format!("told twice: {got:#?}")),
            "problem" => open.push(notice),
            "recovery" => {
                let unsure = got.body["unsure"] == true;
                match open.iter().position(|n| *n == notice) {
                    Some(at) => drop(open.remove(at)),
                    None if unsure => {}
                    None => return Err(format!("an end without a problem: {got:#?}")),
                }
            }
            _ => {}
        }
    }
    match open.is_empty() {
        true => Ok(seen.len()),
        false => Err(format!("never ended: {open:?}")),
    }
}

fn request(from: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    if head.to_ascii_lowercase().contains("content-encoding: gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_end(&mut plain)
            .ok()?;
        body = plain;
    }
    Some((head, serde_json::from_slice(&body).unwrap_or_default()))
}
