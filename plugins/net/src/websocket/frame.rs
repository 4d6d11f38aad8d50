//! WebSocket's frames (RFC 6455), read with a cap.

use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use std::io;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
const CONTINUATION: u8 = 0;

const MESSAGE_MAX: usize = 1 << 20;

#[derive(Debug, PartialEq)]
pub struct Message {
    pub kind: u8,
    pub content: Vec<u8>,
}

/// A client's frame: what it sends is mixed with four bytes that nobody can guess, so that no proxy takes it for HTTP.
pub fn frame(kind: u8, content: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut all = vec![0x80 | kind];
    match content.len() {
        n @ 0..=125 => all.push(0x80 | n as u8),
        n @ 126..=0xFFFF => {
            all.push(0x80 | 126);
            all.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            all.push(0x80 | 127);
            all.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    all.extend_from_slice(&mask);
    all.extend(content.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    all
}

/// The server's next message. One in pieces is put together; `pieces` keeps what is there of it while pings come in
/// between.
pub async fn next(
    lines: &mut Lines<Wire<'_>>,
    pieces: &mut Option<Message>,
) -> io::Result<Message> {
    loop {
        let head = lines.bytes(2).await?;
        let (first, second) = (head[0], head[1]);
        if first & 0x70 != 0 {
            return Err(odd("a frame with bits that mean nothing here"));
        }
        if second & 0x80 != 0 {
            return Err(odd("a masked frame, which only clients send"));
        }
        let (is_last, kind) = (first & 0x80 != 0, first & 0x0F);
        let length = match second & 0x7F {
            126 => {
                let b = lines.bytes(2).await?;
                u64::from(u16::from_be_bytes([b[0], b[1]]))
            }
            127 => {
                let b = lines.bytes(8).await?;
                b.iter().fold(0, |n, b| n << 8 | u64::from(*b))
            }
            n => u64::from(n),
        };
        let before = pieces.as_ref().map_or(0, |m| m.content.len());
        let fits = usize::try_from(length)
            .ok()
            .filter(|n| n.saturating_add(before) <= MESSAGE_MAX);
        let length = fits.ok_or_else(|| odd(&format!("a frame of {length} bytes")))?;
        // As it was read, by itself, and as text.
        let kept = 3 * (before + length);
        lines.get_mut().room(kept, 3 * MESSAGE_MAX).await?;
        let content = lines.bytes(length).await?.to_vec();
        match (kind, pieces.as_mut()) {
            (CLOSE | PING | PONG, _) if is_last && length <= 125 => {
                return Ok(Message { kind, content });
            }
            (CLOSE | PING | PONG, _) => return Err(odd("a long or divided control frame")),
            (TEXT | BINARY, None) if is_last => return Ok(Message { kind, content }),
            (TEXT | BINARY, None) => *pieces = Some(Message { kind, content }),
            (CONTINUATION, Some(message)) => message.content.extend_from_slice(&content),
            (TEXT | BINARY, Some(_)) => return Err(odd("a message inside of another one")),
            (CONTINUATION, None) => return Err(odd("the end of a message without its begin")),
            _ => return Err(odd(&format!("a frame of type {kind}"))),
        }
        if is_last && let Some(message) = pieces.take() {
            return Ok(message);
        }
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the server sends {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 5.7.
    #[test]
    fn a_masked_text() {
        let frame = frame(TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(
            frame,
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
        for (size, head) in [(126, 4), (0xFFFF, 4), (0x10000, 10)] {
            assert_eq!(
                super::frame(BINARY, &vec![0; size], [0; 4]).len(),
                size + head + 4
            );
        }
    }
}
