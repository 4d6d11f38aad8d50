//! A receiver of messages: an HTTP server that takes or refuses as a test wants it, and remembers all
//! that it was sent.

use super::DEADLINE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// How it treats a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// 200.
    Accept,
    /// This status, and this head of a line if it is not empty.
    Answer(u16, &'static str),
}

/// One request, in the order in which they came.
#[derive(Clone, Debug)]
pub struct Got {
    pub head: String,
    pub body: Value,
    /// It was said to be taken.
    pub accepted: bool,
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
}

impl Receiver {
    pub fn new() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = State {
            got: Vec::new(),
            manner: Manner::Accept,
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
        });
        drop(state);
        self.state.1.notify_all();
        let (status, more) = match manner {
            Manner::Accept => (200, ""),
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
    Some((head, serde_json::from_slice(&body).unwrap_or_default()))
}
