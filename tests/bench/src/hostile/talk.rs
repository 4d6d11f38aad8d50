//! How a hostile server talks, on each connection the same.

use healthd_testing::Peer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Error, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Nobody whom it is for waits as long.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub enum Talk {
    Plain(Arc<[Part]>),
    Tls(Arc<ServerConfig>, Arc<[Part]>),
    /// A PostgreSQL that asks for so many rounds of SCRAM-SHA-256.
    Scram(u32),
}

pub enum Part {
    /// Waits until something is said, or the other side is gone.
    Hear,
    Say(Vec<u8>),
    /// Until the other side is gone.
    Again(Vec<u8>, Duration),
}

/// Its threads have what the daemon and the good server leave of the processors: a server that means ill is on another
/// machine.
pub fn listen(talk: Talk) -> Peer {
    let mut is_first = true;
    Peer::new(move |stream| {
        // The threads of connections are of this one's class.
        if std::mem::take(&mut is_first) {
            give_way();
        }
        let talk = talk.clone();
        // That the other side hangs up is what it should do.
        thread::spawn(move || talk.with(stream));
    })
}

fn give_way() {
    let thread = nix::unistd::gettid().to_string();
    let chrt = Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread])
        .status();
    if !chrt.is_ok_and(|status| status.success()) {
        eprintln!("a hostile server takes processors from the daemon: `chrt` cannot put it back");
    }
}

impl Talk {
    fn with(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        match self {
            Talk::Plain(parts) => run(&mut stream, parts),
            Talk::Tls(config, parts) => {
                let connection = ServerConnection::new(config.clone()).map_err(Error::other)?;
                run(&mut StreamOwned::new(connection, stream), parts)
            }
            Talk::Scram(rounds) => scram(&mut stream, *rounds),
        }
    }
}

fn run(stream: &mut (impl Read + Write), parts: &[Part]) -> io::Result<()> {
    for part in parts {
        match part {
            Part::Hear => hear(stream).map(drop)?,
            Part::Say(bytes) => say(stream, bytes)?,
            Part::Again(bytes, pause) => loop {
                say(stream, bytes)?;
                thread::sleep(*pause);
            },
        }
    }
    Ok(())
}

fn hear(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut heard = vec![0; 64 << 10];
    match stream.read(&mut heard)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            heard.truncate(n);
            Ok(heard)
        }
    }
}

fn say(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

fn scram(stream: &mut (impl Read + Write), rounds: u32) -> io::Result<()> {
    hear(stream)?;
    let methods = [&10u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat();
    say(stream, &postgres(b'R', &methods))?;
    let first = String::from_utf8_lossy(&hear(stream)?).into_owned();
    let nonce = first.split("r=").nth(1).unwrap_or_default();
    let second = format!("r={nonce}abc,s=c2FsdA==,i={rounds}");
    let second = [&11u32.to_be_bytes()[..], second.as_bytes()].concat();
    say(stream, &postgres(b'R', &second))?;
    hear(stream).map(drop)
}

/// A message of a PostgreSQL server.
pub fn postgres(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[tag][..], &length, body].concat()
}
