//! A client of the control socket: what the maps do not hold, and what changes something. The manager may be away or
//! hang: every wait has an end, and few ask at once, so that no browser takes the places of other clients.

use crate::routes::Site;
use healthd_core::config::SOCKET_NAME;
use healthd_core::wire::control::{ControlError, Op, Reply, Request};
use healthd_sys::{clock, files};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// At the same time, of all clients of ours.
pub const ASK_AT_ONCE: usize = 8;
/// A manager that turns answers in milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// For a page, which can do without.
pub const SHORT: Duration = Duration::from_millis(300);
/// As healthctl has it: far above what a reply holds.
const LONGEST_LINE: u64 = 8 << 20;

#[derive(Debug)]
pub enum Failure {
    /// Nobody answers.
    Silent(String),
    Refused(ControlError),
}

pub struct Replies {
    lines: BufReader<UnixStream>,
    line: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

/// `patience`: for a place, the connection and what is asked.
pub async fn ask(site: &Site, op: Op, patience: Duration) -> Result<Replies, Failure> {
    ask_from(&site.asking, site, op, patience).await
}

/// What takes long has places of its own, so that it keeps no other waiting.
pub async fn ask_from(
    places: &Arc<Semaphore>,
    site: &Site,
    op: Op,
    patience: Duration,
) -> Result<Replies, Failure> {
    let asked = async {
        let place = places
            .clone()
            .acquire_owned()
            .await
            .expect("it is never closed");
        let socket = site.args.runtime_dir.join(SOCKET_NAME);
        let stream = UnixStream::connect(&socket).await.map_err(silent)?;
        let uid = stream.peer_cred().map_err(silent)?.uid();
        // Whoever may make a socket in that folder could answer in healthd's name.
        if !files::is_trusted(uid, socket.parent()) {
            return Err(Failure::Silent(format!("uid {uid} listens at its socket")));
        }
        let mut request = Request::new(op);
        if request.op.changes() {
            // What nobody waits for any more is not to happen later.
            let now = clock::monotonic_ns() / 1_000_000;
            request.expires_ms = Some(now + patience.as_millis() as u64);
        }
        let mut line = serde_json::to_vec(&request).expect("a request always serializes");
        line.push(b'\n');
        let mut lines = BufReader::new(stream);
        lines.get_mut().write_all(&line).await.map_err(silent)?;
        Ok(Replies {
            lines,
            line: Vec::new(),
            _place: place,
        })
    };
    timeout(patience, asked)
        .await
        .unwrap_or_else(|_| Err(late(patience)))
}

impl Replies {
    /// None: the answer is complete.
    pub async fn next(&mut self, patience: Option<Duration>) -> Result<Option<Reply>, Failure> {
        let Some(patience) = patience else {
            return self.read().await;
        };
        timeout(patience, self.read())
            .await
            .unwrap_or_else(|_| Err(late(patience)))
    }

    async fn read(&mut self) -> Result<Option<Reply>, Failure> {
        loop {
            self.line.clear();
            let mut limited = (&mut self.lines).take(LONGEST_LINE);
            let read = limited.read_until(b'\n', &mut self.line).await;
            if read.map_err(silent)? == 0 || self.line.pop() != Some(b'\n') {
                return Err(Failure::Silent("it hung up in the middle".into()));
            }
            match serde_json::from_slice(&self.line) {
                Ok(Reply::End) => return Ok(None),
                Ok(Reply::Error(error)) => return Err(Failure::Refused(error)),
                Ok(reply) => return Ok(Some(reply)),
                // Of a later version; what we know comes as well.
                Err(e) => log::debug!("left out a line of the manager: {e}"),
            }
        }
    }
}

/// The first reply that is meant.
pub async fn one<T>(
    site: &Site,
    op: Op,
    patience: Duration,
    pick: impl Fn(Reply) -> Option<T>,
) -> Result<T, Failure> {
    let mut replies = ask(site, op, patience).await?;
    while let Some(reply) = replies.next(Some(patience)).await? {
        if let Some(found) = pick(reply) {
            return Ok(found);
        }
    }
    Err(Failure::Silent("it said nothing of what was asked".into()))
}

fn silent(e: io::Error) -> Failure {
    let why = match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "it does not run".to_owned(),
        _ => e.to_string(),
    };
    Failure::Silent(why)
}

fn late(patience: Duration) -> Failure {
    let seconds = patience.as_secs_f64();
    Failure::Silent(format!("not within {seconds} s"))
}
