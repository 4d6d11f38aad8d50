//! BER, as SNMP and LDAP use it: things behind a tag and a definite length.

use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use std::io;

pub const INTEGER: u8 = 0x02;
pub const OCTETS: u8 = 0x04;
pub const SEQUENCE: u8 = 0x30;

pub fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut all = vec![tag];
    match content.len() {
        n @ 0..=0x7F => all.push(n as u8),
        n => {
            all.push(0x84);
            all.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
    all.extend_from_slice(content);
    all
}

pub fn integer(n: i32) -> Vec<u8> {
    let bytes = n.to_be_bytes();
    // Without the bytes that only repeat the sign.
    let spare = (0..3)
        .take_while(|i| {
            bytes[*i] == if n < 0 { 0xFF } else { 0 } && (bytes[i + 1] & 0x80 != 0) == (n < 0)
        })
        .count();
    tagged(INTEGER, &bytes[spare..])
}

/// Reads one thing after the other.
pub struct Reader<'b>(pub &'b [u8]);

impl<'b> Reader<'b> {
    pub fn next(&mut self) -> Result<(u8, &'b [u8]), String> {
        let cut = || "it is cut short".to_owned();
        let (&tag, rest) = self.0.split_first().ok_or_else(cut)?;
        let (&first, rest) = rest.split_first().ok_or_else(cut)?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest
                    .split_at_checked(usize::from(first - 0x80))
                    .ok_or_else(cut)?;
                let length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
                (length, rest)
            }
            0x80 => return Err("it has an indefinite length, which this protocol has not".into()),
            _ => return Err(format!("it has a length of {} bytes", first - 0x80)),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        self.0 = rest;
        Ok((tag, content))
    }

    pub fn want(&mut self, tag: u8) -> Result<&'b [u8], String> {
        match self.next()? {
            (t, content) if t == tag => Ok(content),
            (t, _) => Err(format!("it has type {t:#04x} where {tag:#04x} belongs")),
        }
    }

    pub fn integer(&mut self) -> Result<i64, String> {
        signed(self.want(INTEGER)?)
    }
}

pub fn signed(content: &[u8]) -> Result<i64, String> {
    match content {
        [] => Err("it has a number without bytes".into()),
        [first, ..] if content.len() <= 8 => {
            let start = if first & 0x80 != 0 { -1 } else { 0 };
            Ok(content.iter().fold(start, |n, b| n << 8 | i64::from(*b)))
        }
        _ => Err(format!("it has a number of {} bytes", content.len())),
    }
}

/// The content of the next sequence of a stream, if it has no more than `max` bytes. It may be kept three times: as it
/// was read, whole, and the thing in it.
pub async fn sequence(lines: &mut Lines<Wire<'_>>, max: usize) -> io::Result<Vec<u8>> {
    let odd = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let head = lines.bytes(2).await?;
    let (tag, first) = (head[0], head[1]);
    if tag != SEQUENCE {
        return Err(odd(format!(
            "it has type {tag:#04x} where a message begins"
        )));
    }
    let length = match first {
        0..=0x7F => usize::from(first),
        0x81..=0x84 => {
            let bytes = lines.bytes(usize::from(first - 0x80)).await?;
            bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b))
        }
        _ => return Err(odd(format!("it has a length of type {first:#04x}"))),
    };
    if length > max {
        return Err(odd(format!("it has a message of {length} bytes")));
    }
    lines.get_mut().room(3 * length, 3 * max).await?;
    Ok(lines.bytes(length).await?.to_vec())
}
