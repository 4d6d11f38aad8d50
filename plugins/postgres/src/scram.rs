//! SCRAM-SHA-256 in place of tokio-postgres, which does all rounds in one piece where it is polled: on the event loop.

use crate::guard::not_postgres;
use crate::wire::Line;
use healthd_plugin::{Cx, net};
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use std::io;

/// What PostgreSQL has unless it was told otherwise takes about as long as a step may; more is done on a thread apart.
const ROUNDS_OF_A_STEP: u64 = 4_096;
/// postgres-protocol does no more, nor does the driver for Java.
const MAX_ROUNDS: u64 = 100_000;

/// In a message of the tag R.
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Answers if the first thing the server says is that it wants SCRAM. Returned is what the client of the connection is to
/// read: that the server has let us in, or an error of its; if it wants anything else, the wish.
pub async fn log_in(cx: Cx<'_>, line: &mut Line<'_>, password: &[u8]) -> io::Result<Vec<u8>> {
    let mut heard = Heard {
        line,
        bytes: Vec::new(),
    };
    match heard.message().await? {
        Some(Message::Wish(SASL, content)) if offers_scram(content) => {}
        _ => return Ok(heard.bytes),
    }
    heard.forget();
    // Nothing of TLS: as tokio-postgres, which is not told of it.
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    let first = scram.message();
    let length = (first.len() as u32).to_be_bytes();
    let begin = [SCRAM_SHA_256.as_bytes(), b"\0", &length, first].concat();
    heard.say(&begin).await?;
    let server_first = match heard.message().await? {
        Some(Message::Wish(SASL_CONTINUE, content)) => content.to_vec(),
        Some(Message::Error) | None => return Ok(heard.bytes),
        Some(_) => return Err(not_scram()),
    };
    heard.forget();
    let scram = match rounds(&server_first)? {
        0..=ROUNDS_OF_A_STEP => {
            // The others first.
            cx.yield_now().await;
            scram.update(&server_first).map(|()| scram)
        }
        _ => {
            let work = move || scram.update(&server_first).map(|()| scram);
            cx.apart(work).await?
        }
    };
    let mut scram = scram?;
    heard.say(scram.message()).await?;
    match heard.message().await? {
        Some(Message::Wish(SASL_FINAL, content)) => scram.finish(content)?,
        Some(Message::Error) | None => return Ok(heard.bytes),
        Some(_) => return Err(not_scram()),
    }
    heard.forget();
    match heard.message().await? {
        // 0: it lets us in.
        Some(Message::Wish(0, _) | Message::Error) | None => Ok(heard.bytes),
        Some(_) => Err(not_scram()),
    }
}

fn not_scram() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server asks for SCRAM and goes on with something else",
    )
}

fn offers_scram(mechanisms: &[u8]) -> bool {
    let mut names = mechanisms.split(|b| *b == 0);
    names.any(|name| {
        [SCRAM_SHA_256, SCRAM_SHA_256_PLUS]
            .map(str::as_bytes)
            .contains(&name)
    })
}

/// Of the server's first message (RFC 5802): `r=...,s=...,i=4096`.
fn rounds(message: &[u8]) -> io::Result<u64> {
    let count = message.split(|b| *b == b',').find_map(|part| {
        let digits = part.strip_prefix(b"i=")?;
        std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
    });
    match count {
        Some(count) if count > MAX_ROUNDS => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "the server wants {count} rounds of SCRAM (scram_iterations), more than the {MAX_ROUNDS} that are done here"
            ),
        )),
        // Without a number it is an error of its own.
        count => Ok(count.unwrap_or(0)),
    }
}

/// What the server says, as far as it is not used.
struct Heard<'l, 'a> {
    line: &'l mut Line<'a>,
    bytes: Vec<u8>,
}

#[derive(Debug, PartialEq)]
enum Message<'b> {
    /// For authentication: which, and its content.
    Wish(u32, &'b [u8]),
    Error,
    Other,
}

impl Heard<'_, '_> {
    /// The next one, all of it, which stays; None: the server says no more. The guard has seen how long it is.
    async fn message(&mut self) -> io::Result<Option<Message<'_>>> {
        let mut room = [0; 1024];
        while whole(&self.bytes).is_none() {
            let n = net::read(self.line, &mut room).await?;
            if n == 0 {
                return Ok(None);
            }
            self.bytes.extend_from_slice(&room[..n]);
        }
        whole(&self.bytes)
            .map(|n| Message::of(&self.bytes[..n]))
            .transpose()
    }

    /// The message that was looked at last.
    fn forget(&mut self) {
        let n = whole(&self.bytes).unwrap_or(0);
        self.bytes.drain(..n);
    }

    async fn say(&mut self, content: &[u8]) -> io::Result<()> {
        let length = (content.len() as u32 + 4).to_be_bytes();
        net::write_all(self.line, &[b"p", &length[..], content].concat()).await
    }
}

/// How long the first message is, if all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..)?.first_chunk::<4>()?;
    let n = u32::from_be_bytes(*length) as usize + 1;
    (bytes.len() >= n).then_some(n)
}

impl Message<'_> {
    fn of(whole: &[u8]) -> io::Result<Message<'_>> {
        match whole.split_first_chunk::<5>() {
            Some(([b'R', ..], content)) => {
                let (which, content) = content.split_first_chunk().ok_or_else(not_postgres)?;
                Ok(Message::Wish(u32::from_be_bytes(*which), content))
            }
            Some(([b'E', ..], _)) => Ok(Message::Error),
            _ => Ok(Message::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_bounded() {
        let told = |i: &str| rounds(format!("r=abc,s=c2FsdA==,i={i}").as_bytes());
        assert_eq!(told("4096").unwrap(), 4096);
        assert_eq!(told("100000").unwrap(), 100_000);
        assert_eq!(told("x").unwrap(), 0);
        for more in ["100001", "4000000000"] {
            let e = told(more).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::Unsupported);
            assert!(e.to_string().contains(more), "{e}");
        }
    }

    #[test]
    fn a_message_is_taken_once_it_is_whole() {
        let bytes = b"R\0\0\0\x0a\0\0\0\x0babE\0\0\0\x04";
        for n in 0..11 {
            assert_eq!(whole(&bytes[..n]), None, "{n}");
        }
        assert_eq!(whole(bytes), Some(11));
        let first = Message::of(&bytes[..11]).unwrap();
        assert_eq!(first, Message::Wish(SASL_CONTINUE, b"ab"));
        assert_eq!(Message::of(&bytes[11..]).unwrap(), Message::Error);
        assert!(Message::of(b"R\0\0\0\x05x").is_err());
        assert!(offers_scram(b"X-1\0SCRAM-SHA-256\0\0"));
        assert!(!offers_scram(b"X-1\0\0"));
    }
}
