//! A client of the web process: one request a connection, over its address or its unix socket.

use super::{DEADLINE, Daemon};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Where the web process listens: the log says it after each of its starts.
pub fn address(daemon: &Daemon) -> String {
    let line = daemon.expect_log("web listens  address=");
    let (_, address) = line.split_once("address=").expect("it is there");
    address.trim().to_owned()
}

/// `address` as the log has it. HTTP/1.0, so the body ends with the connection.
pub fn get(address: &str, path: &str, headers: &[&str]) -> Page {
    let lines: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    ask(
        address,
        &format!("GET {path} HTTP/1.0\r\nHost: healthd\r\n{lines}\r\n"),
    )
}

pub fn ask(address: &str, request: &str) -> Page {
    let exchange = |mut stream: Box<dyn Stream>| {
        stream
            .write_all(request.as_bytes())
            .expect("it takes a request");
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .expect("it answers and ends");
        String::from_utf8(answer).expect("text")
    };
    let answer = match address.strip_prefix("unix:") {
        Some(path) => {
            let stream = UnixStream::connect(Path::new(path)).expect("it listens");
            stream.set_read_timeout(Some(DEADLINE)).expect("a time");
            exchange(Box::new(stream))
        }
        None => {
            let stream = TcpStream::connect(address).expect("it listens");
            stream.set_read_timeout(Some(DEADLINE)).expect("a time");
            exchange(Box::new(stream))
        }
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Page {
        status: status.unwrap_or_else(|| panic!("no status: {answer:?}")),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Page {
    /// The value of this series, written as the page has it; None: it is not there.
    pub fn value(&self, series: &str) -> Option<f64> {
        self.body.lines().find_map(|line| {
            let value = line.strip_prefix(series)?.strip_prefix(' ')?;
            value.parse().ok()
        })
    }
}
