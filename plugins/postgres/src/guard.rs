//! The guard reads the headers of the server's messages before tokio-postgres does. That library makes room for a
//! message of whatever length the header says, and a web server's "HTTP" as a header says 1.4 GB.

use crate::auth::{AuthRule, Method};
use std::io;

/// No message of a check's answer needs to be larger.
pub const MAX_MESSAGE: u32 = 1 << 20;
/// Of what a server says besides the answer: notices, notifications, parameters. tokio-postgres keeps what comes before
/// the log-in is done.
const MAX_ASIDES: u32 = 5_000;
const MAX_ASIDE_BYTES: usize = 4 << 20;

/// Follows the server's messages: a tag, four bytes of length, which count themselves, and the content.
#[derive(Default)]
pub struct Guard {
    header: [u8; 5],
    /// Bytes of the header seen.
    seen: usize,
    /// Bytes of the content still to come.
    left: usize,
    rule: AuthRule,
    private: bool,
    /// The first bytes of a wish for authentication: which one it is.
    wish: Vec<u8>,
    /// The server has asked who we are.
    asked: bool,
    asides: u32,
    aside_bytes: usize,
}

/// In a message of the tag R.
const AUTH_OK: u32 = 0;

impl Guard {
    /// `private`: nobody on the way can read what is sent.
    pub fn new(rule: &AuthRule, private: bool) -> Guard {
        Guard {
            rule: rule.clone(),
            private,
            ..Guard::default()
        }
    }

    pub fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                if self.header[0] == b'R' {
                    self.listen(&bytes[..n])?;
                }
                bytes = &bytes[n..];
                continue;
            }
            let n = (self.header.len() - self.seen).min(bytes.len());
            self.header[self.seen..self.seen + n].copy_from_slice(&bytes[..n]);
            self.seen += n;
            bytes = &bytes[n..];
            if self.seen == self.header.len() {
                self.left = content_length(self.header)?;
                self.seen = 0;
                self.wish.clear();
                self.count()?;
            }
        }
        Ok(())
    }

    /// A message begins.
    fn count(&mut self) -> io::Result<()> {
        if !b"NSA".contains(&self.header[0]) {
            return Ok(());
        }
        self.asides += 1;
        self.aside_bytes = self.aside_bytes.saturating_add(self.left);
        match self.asides > MAX_ASIDES || self.aside_bytes > MAX_ASIDE_BYTES {
            false => Ok(()),
            true => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the server says more than {MAX_ASIDES} notices and parameters, or more than {} MiB of them",
                    MAX_ASIDE_BYTES >> 20
                ),
            )),
        }
    }

    /// Before the client sees it: what it does not see it does not answer.
    fn listen(&mut self, bytes: &[u8]) -> io::Result<()> {
        let known = self.wish.len();
        if known == 4 {
            return Ok(());
        }
        self.wish.extend(bytes.iter().take(4 - known));
        let Some(wish) = self.wish.first_chunk::<4>() else {
            return Ok(());
        };
        let method = match u32::from_be_bytes(*wish) {
            AUTH_OK if self.asked => return Ok(()),
            AUTH_OK => Method::None,
            3 => Method::Password,
            5 => Method::Md5,
            7 | 8 => Method::Gss,
            9 => Method::Sspi,
            10 => Method::Scram,
            // More of a dialogue that has begun.
            _ => return Ok(()),
        };
        self.asked = true;
        self.rule.judge(method, self.private)
    }
}

fn content_length([tag, a, b, c, d]: [u8; 5]) -> io::Result<usize> {
    // All tags of the server's side of protocol 3.
    const TAGS: &[u8] = b"123ACDEGHIKNRSTVWZcdnstv";
    let length = u32::from_be_bytes([a, b, c, d]);
    if !TAGS.contains(&tag) || length < 4 {
        return Err(not_postgres());
    }
    if length > MAX_MESSAGE {
        // "HTTP/1.1": H is a tag, and what follows is a length of printable letters.
        return Err(if [a, b, c, d].iter().all(|b| b.is_ascii_graphic()) {
            not_postgres()
        } else {
            // Others may take it; of the server it says nothing.
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "the server's answer is too large: more than {MAX_MESSAGE} bytes in one message"
                ),
            )
        });
    }
    Ok(length as usize - 4)
}

pub fn not_postgres() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server does not speak PostgreSQL's protocol",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_any_pieces() {
        let bytes = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IZ\0\0\0\x04";
        for size in 1..=bytes.len() {
            let mut guard = Guard::default();
            for piece in bytes.chunks(size) {
                guard.look(piece).unwrap();
            }
            assert_eq!((guard.seen, guard.left), (0, 0), "{size}");
        }
    }

    #[test]
    fn a_wish_that_is_not_allowed_is_not_heard() {
        let cleartext = b"R\0\0\0\x08\0\0\0\x03";
        let open = b"R\0\0\0\x08\0\0\0\0";
        for size in 1..=cleartext.len() {
            let mut guard = Guard::default();
            let heard = cleartext.chunks(size).try_for_each(|p| guard.look(p));
            assert!(heard.unwrap_err().to_string().contains("in clear"));
            let mut guard = Guard::new(&AuthRule::default(), true);
            cleartext
                .chunks(size)
                .chain([&open[..]])
                .for_each(|p| guard.look(p).unwrap());
        }
        let rule = AuthRule::parse("scram-sha-256").unwrap();
        let e = Guard::new(&rule, true).look(open).unwrap_err();
        assert!(e.to_string().contains("lets everybody in"), "{e}");
    }

    #[test]
    fn what_a_server_says_besides_is_bounded() {
        let message = |tag: u8, content: &[u8]| {
            let length = u32::try_from(content.len() + 4).unwrap().to_be_bytes();
            [&[tag][..], &length, content].concat()
        };
        let told = |bytes: &[u8], times: usize| {
            let mut guard = Guard::default();
            (0..times).try_for_each(|_| guard.look(bytes))
        };
        for tag in *b"NSA" {
            let small = message(tag, b"a\0b\0");
            assert!(told(&small, 5_000).is_ok());
            let e = told(&small, 5_001).unwrap_err();
            assert!(e.to_string().contains("more than 5000 notices"), "{e}");
            assert!(told(&message(tag, &[b'x'; 1 << 19]), 9).is_err());
        }
        assert!(told(&message(b'D', b"\0\0"), 100_000).is_ok());
    }

    #[test]
    fn other_protocols_and_huge_messages() {
        let told = |bytes: &[u8]| Guard::default().look(bytes).map_err(|e| e.to_string());
        let foreign = Err("the server does not speak PostgreSQL's protocol".to_string());
        assert_eq!(told(b"HTTP/1.1 400 Bad Request"), foreign);
        assert_eq!(told(b"SSH-2.0-OpenSSH"), foreign);
        assert_eq!(told(b"\x15\x03\x03\0\x02"), foreign);
        assert_eq!(told(b"R\0\0\0\x03"), foreign);
        assert!(
            told(b"D\x7f\xff\xff\xff")
                .unwrap_err()
                .contains("too large")
        );
        assert_eq!(told(b"D\0\x10\0\0"), Ok(()));
    }
}
