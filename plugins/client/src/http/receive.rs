//! Reads an answer off a stream, and says in which phase that failed.

use super::response::{Malformed, Response};
use healthd_plugin::Cx;
use healthd_plugin::net::{self, AsyncRead, AsyncWrite, ReadBuf};
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

/// Why there is no whole answer, and in which phase.
#[derive(Debug)]
pub enum Fault {
    Io(&'static str, io::Error),
    Malformed(&'static str, Malformed),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io(phase, e) => f.write_str(&healthd_plugin::failure(phase, e).1),
            Fault::Malformed(phase, why) => write!(f, "{phase}: {why}"),
        }
    }
}

thread_local! {
    /// What a read fills. One for all tasks of the thread: the bytes are parsed before the task waits again.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into());
}

/// Read at once.
const PIECE: usize = 16 << 10;

/// Sends `request` and reads the whole answer. The phases are `send`, `answer` and `transfer`.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    cx: Cx<'_>,
    stream: &mut S,
    request: &[u8],
    response: &mut Response,
) -> Result<(), Fault> {
    cx.phase("send");
    let sent = net::write_all(stream, request).await;
    cx.phase("answer");
    receive(cx, stream, response, "answer", sent).await?;
    Ok(())
}

/// `first` is the phase of waiting, `sent` how sending went: a server may refuse a request before it has read all of it; then
/// its answer counts, and the error only if there is none. Returns when its first byte came, on the host's clock.
pub async fn receive<S: AsyncRead + Unpin>(
    cx: Cx<'_>,
    stream: &mut S,
    response: &mut Response,
    first: &'static str,
    mut sent: io::Result<()>,
) -> Result<u64, Fault> {
    let mut read_some = async |response: &mut Response| {
        poll_fn(|task| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                let r = ready!(Pin::new(&mut *stream).poll_read(task, &mut buffer));
                let data = buffer.filled();
                Poll::Ready(match r {
                    // TLS says so when the server ends without a goodbye: to HTTP it is the end.
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(response.end())),
                    Err(e) => Err(e),
                    Ok(()) if data.is_empty() => Ok(Err(response.end())),
                    Ok(()) => Ok(Ok(response.feed(data))),
                })
            })
        })
        .await
    };
    // A body that never ends must not keep those waiting who look at its head alone.
    let mut patience = None;
    let mut ttfb = 0;
    loop {
        let phase = if ttfb == 0 { first } else { "transfer" };
        let room = response.make_room(cx, PIECE).await;
        room.map_err(|e| Fault::Io(phase, e))?;
        let piece = read_some(response);
        let read = match patience {
            None => piece.await,
            Some(until) => match cx
                .timeout(Duration::from_nanos(until - cx.now_ns().min(until)), piece)
                .await
            {
                Ok(piece) => piece,
                Err(_) => {
                    response.stop();
                    return Ok(ttfb);
                }
            },
        };
        let read = match read {
            Ok(Ok(fed)) => fed,
            Ok(Err(ended)) => match (ended, sent) {
                (Err(Malformed::Empty), Err(e)) => return Err(Fault::Io("send", e)),
                (ended, kept) => {
                    sent = kept;
                    ended
                }
            },
            // What a server of TLS says goes before what became of our request.
            Err(e) => {
                let sent = sent.err().filter(|_| first != "tls");
                return Err(Fault::Io(phase, sent.unwrap_or(e)));
            }
        };
        read.map_err(|why| Fault::Malformed(phase, why))?;
        if ttfb == 0 {
            ttfb = cx.now_ns();
            if !response.is_done() {
                cx.phase("transfer");
            }
        }
        if patience.is_none() && response.is_endless() {
            let half = cx.remaining().as_nanos() / 2;
            let half = u64::try_from(half).unwrap_or(u64::MAX);
            patience = Some(cx.now_ns().saturating_add(half));
        }
        if response.is_done() {
            return Ok(ttfb);
        }
    }
}
