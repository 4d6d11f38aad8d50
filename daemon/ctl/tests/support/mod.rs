//! A healthd that says what a test tells it to, byte by byte, and healthctl run against it in-process.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod replies;

use healthd_core::wire::control::Request;
use healthd_ctl::{Output, Outputs};
use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// A directory of its own for each test, gone with it.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("healthctl-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a test directory");
        Dir(path)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Deals with one connection.
pub type Answer = Box<dyn FnOnce(&mut Peer) + Send>;

/// Answers one connection after the other, as many as it was told to expect.
pub struct Fake {
    pub dir: Dir,
    thread: Option<JoinHandle<Vec<String>>>,
    /// It answers, so it is waited for, however slow this machine is, and no maps are read in its place.
    answers: bool,
}

impl Fake {
    /// `answers[i]` deals with the i-th connection.
    pub fn new(answers: Vec<Answer>) -> Fake {
        let dir = Dir::new();
        let listener = UnixListener::bind(dir.socket()).expect("bind");
        let thread = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().expect("accept");
                let mut peer = Peer {
                    reader: BufReader::new(stream),
                    request: String::new(),
                };
                answer(&mut peer);
                requests.push(peer.request);
            }
            requests
        });
        Fake {
            dir,
            thread: Some(thread),
            answers: false,
        }
    }

    pub fn once(answer: impl FnOnce(&mut Peer) + Send + 'static) -> Fake {
        Fake::new(vec![Box::new(answer)])
    }

    /// Reads the request, answers with these lines and `end`.
    pub fn lines(lines: &[&str]) -> Fake {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let fake = Fake::once(move |peer| {
            peer.read_request();
            peer.send(text.as_bytes());
            peer.send(b"{\"type\":\"end\"}\n");
        });
        Fake {
            answers: true,
            ..fake
        }
    }

    /// Runs healthctl against it, as into a pipe.
    pub fn ctl(&self, line: &str) -> Ran {
        ctl(&self.dir.socket(), &self.patiently(line), None)
    }

    pub fn ctl_on_terminal(&self, line: &str, columns: usize) -> Ran {
        ctl(&self.dir.socket(), &self.patiently(line), Some(columns))
    }

    fn patiently(&self, line: &str) -> String {
        match self.answers && !line.contains("--timeout") {
            true => format!("--timeout 60s {line}"),
            false => line.to_owned(),
        }
    }

    /// What was asked, once all expected connections are over.
    pub fn requests(mut self) -> Vec<String> {
        self.thread
            .take()
            .expect("still there")
            .join()
            .expect("the fake daemon")
    }
}

pub struct Peer {
    pub reader: BufReader<UnixStream>,
    request: String,
}

impl Peer {
    pub fn read_request(&mut self) -> Request {
        self.reader.read_line(&mut self.request).expect("a request");
        serde_json::from_str(&self.request).expect("a request of the protocol")
    }

    /// The client may be gone already; that is its right.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.reader.get_mut().write_all(bytes);
    }

    /// Returns when the client has hung up.
    pub fn await_hang_up(&mut self) {
        let mut rest = String::new();
        let _ = self.reader.read_line(&mut rest);
    }
}

#[derive(Debug)]
pub struct Ran {
    pub code: u8,
    pub out: String,
    pub err: String,
}

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("UTF-8")
    }
}

/// At 2026-11-22 10:00:00 UTC; `columns`: standard output is a terminal of this width.
pub fn ctl(socket: &Path, line: &str, columns: Option<usize>) -> Ran {
    let (out, err) = (Shared::default(), Shared::default());
    let outputs = Outputs {
        out: Output {
            writer: Box::new(out.clone()),
            is_terminal: columns.is_some(),
        },
        err: Output {
            writer: Box::new(err.clone()),
            is_terminal: false,
        },
        size: Some((columns.unwrap_or(100), 24)),
        now: Some((
            "2026-11-22T10:00:00Z".parse().expect("a time"),
            jiff::tz::TimeZone::UTC,
        )),
        no_color: true,
        dumb: false,
    };
    let mut words = vec![
        OsString::from("healthctl"),
        "--socket".into(),
        socket.into(),
    ];
    words.extend(line.split_whitespace().map(OsString::from));
    let code = healthd_ctl::main(words, outputs);
    let place = socket.to_string_lossy().into_owned();
    Ran {
        code,
        out: out.text(),
        err: err.text().replace(&place, "SOCKET"),
    }
}

/// Compares with `tests/expect/NAME`; UPDATE_EXPECT=1 writes it instead.
pub fn expect_file(name: &str, actual: &str) {
    expect_path(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/expect")
            .join(name),
        actual,
    );
}

pub fn expect_path(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("mkdir");
        std::fs::write(path, actual).expect("write");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs (UPDATE_EXPECT=1 accepts it)\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}
