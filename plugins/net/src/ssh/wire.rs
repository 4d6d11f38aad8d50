//! SSH's packets before there is encryption (RFC 4253), read from a server that may say anything.

use healthd_plugin::net::{AsyncRead, AsyncWrite, Lines};
use std::hash::{BuildHasher, RandomState};
use std::io;

/// What every implementation must take (RFC 4253, 6.1).
const PACKET_MAX: usize = 35_000;
/// Lines that may come before the version.
const LINES_MAX: usize = 100;
/// The longest of them.
pub const LINE_MAX: usize = 8 << 10;

pub const DISCONNECT: u8 = 1;
const IGNORE: u8 = 2;
const DEBUG: u8 = 4;
pub const KEXINIT: u8 = 20;
pub const ECDH_INIT: u8 = 30;
pub const ECDH_REPLY: u8 = 31;

/// The version line, `SSH-2.0-OpenSSH_9.2`. What stands before it goes to `before`.
pub async fn version<S: AsyncRead + AsyncWrite + Unpin>(
    lines: &mut Lines<S>,
    before: &mut Vec<String>,
) -> io::Result<String> {
    while before.len() < LINES_MAX {
        let line = lines.text().await?;
        if line.starts_with("SSH-") {
            return Ok(line);
        }
        before.push(line);
    }
    Err(invalid(format!("no SSH version in {LINES_MAX} lines")))
}

/// The next packet's payload, without those that mean nothing.
pub async fn packet<S: AsyncRead + AsyncWrite + Unpin>(
    lines: &mut Lines<S>,
) -> io::Result<Vec<u8>> {
    loop {
        let head = lines.bytes(5).await?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let padding = usize::from(head[4]);
        if length > PACKET_MAX || length < padding + 2 {
            return Err(invalid(format!("a packet of {length} bytes")));
        }
        let rest = lines.bytes(length - 1).await?;
        let payload = rest[..length - 1 - padding].to_vec();
        if !matches!(payload[0], IGNORE | DEBUG) {
            return Ok(payload);
        }
    }
}

/// A packet with this payload.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8;
    let padding = if padding < 4 { padding + 8 } else { padding };
    let mut out = ((payload.len() + padding + 1) as u32)
        .to_be_bytes()
        .to_vec();
    out.push(padding as u8);
    out.extend_from_slice(payload);
    out.resize(out.len() + padding, 0);
    out
}

/// What a server offers: its ten lists of algorithms.
#[derive(Debug)]
pub struct Offer {
    pub lists: Vec<Vec<String>>,
}

impl Offer {
    pub fn parse(payload: &[u8]) -> io::Result<Offer> {
        let mut rest = match payload {
            [KEXINIT, rest @ ..] if rest.len() > 16 => &rest[16..],
            _ => return Err(invalid("no list of algorithms")),
        };
        let mut lists = Vec::new();
        for _ in 0..10 {
            let list = string(&mut rest).ok_or_else(|| invalid("a list is cut short"))?;
            let names = list.split(|b| *b == b',').filter(|name| !name.is_empty());
            lists.push(
                names
                    .map(|n| String::from_utf8_lossy(n).into_owned())
                    .collect(),
            );
        }
        Ok(Offer { lists })
    }

    pub fn kex(&self) -> &[String] {
        &self.lists[0]
    }

    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().flatten().map(String::as_str)
    }
}

/// Our own offer.
pub fn kexinit() -> Vec<u8> {
    let mut out = vec![KEXINIT];
    for n in 0..2u8 {
        out.extend_from_slice(&RandomState::new().hash_one(n).to_be_bytes());
    }
    let ciphers = "aes128-ctr,aes256-ctr,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com";
    let macs = "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com";
    for list in [
        "curve25519-sha256",
        "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512",
        ciphers,
        ciphers,
        macs,
        macs,
        "none",
        "none",
        "",
        "",
    ] {
        put_string(&mut out, list.as_bytes());
    }
    out.extend_from_slice(&[0; 5]);
    out
}

pub fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text);
}

/// A positive number, without leading zeroes and with one where the first bit is set.
pub fn put_mpint(out: &mut Vec<u8>, number: &[u8]) {
    let first = number.iter().position(|b| *b != 0).unwrap_or(number.len());
    let number = &number[first..];
    let sign = number.first().is_some_and(|b| b & 0x80 != 0);
    out.extend_from_slice(&((number.len() + usize::from(sign)) as u32).to_be_bytes());
    if sign {
        out.push(0);
    }
    out.extend_from_slice(number);
}

/// Takes a string off the front.
pub fn string<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (text, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(text)
}

/// What a server says when it hangs up.
pub fn goodbye(payload: &[u8]) -> String {
    let mut rest = payload.get(5..).unwrap_or_default();
    let text = string(&mut rest).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

pub fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_whole_blocks() {
        for n in 0..40 {
            let packet = framed(&vec![1; n]);
            assert_eq!(packet.len() % 8, 0);
            assert!(packet[4] >= 4);
            assert_eq!(
                packet.len() - 4,
                u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize
            );
        }
    }

    #[test]
    fn our_own_offer_is_one() {
        let payload = kexinit();
        let offer = Offer::parse(&payload).unwrap();
        assert_eq!(offer.kex(), ["curve25519-sha256"]);
        assert_eq!(offer.lists[1].len(), 3);
        assert!(offer.all().any(|name| name == "hmac-sha2-256"));
        for end in 0..payload.len() - 5 {
            assert!(Offer::parse(&payload[..end]).is_err(), "{end}");
        }
        let mut long = payload.clone();
        long[17..21].fill(0xFF);
        assert!(Offer::parse(&long).is_err());
    }

    #[test]
    fn numbers() {
        let put = |n: &[u8]| {
            let mut out = Vec::new();
            put_mpint(&mut out, n);
            out
        };
        assert_eq!(put(&[0, 0]), [0, 0, 0, 0]);
        assert_eq!(put(&[0, 0x7F]), [0, 0, 0, 1, 0x7F]);
        assert_eq!(put(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(goodbye(b"\x01\0\0\0\x02\0\0\0\x04gone"), "gone");
        assert_eq!(goodbye(b"\x01"), "");
    }
}
