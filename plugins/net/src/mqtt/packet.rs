//! MQTT's packets, version 3.1.1, as far as a check needs them, read with a cap.

use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use std::io;

const PACKET_MAX: usize = 1 << 20;
pub const CONNACK: u8 = 0x20;
pub const PUBLISH: u8 = 0x30;
pub const SUBACK: u8 = 0x90;
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The type with its flags, and the content.
pub struct Packet {
    pub kind: u8,
    pub content: Vec<u8>,
}

/// A message of a topic.
pub struct Message<'p> {
    pub topic: &'p [u8],
    pub content: &'p [u8],
    /// It was there before we came.
    pub is_retained: bool,
}

fn packet(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut all = vec![kind];
    let mut n = content.len();
    loop {
        let more = if n > 0x7F { 0x80 } else { 0 };
        all.push(n as u8 & 0x7F | more);
        n >>= 7;
        if n == 0 {
            break;
        }
    }
    all.extend_from_slice(content);
    all
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

pub fn connect(client: &str, user: Option<&str>, password: Option<&str>) -> Vec<u8> {
    const CLEAN_SESSION: u8 = 2;
    const KEEP_ALIVE: [u8; 2] = [0, 60];
    let flags = CLEAN_SESSION
        | if user.is_some() { 0x80 } else { 0 }
        | if password.is_some() { 0x40 } else { 0 };
    let mut content = [
        text("MQTT"),
        vec![4, flags],
        KEEP_ALIVE.to_vec(),
        text(client),
    ]
    .concat();
    for word in [user, password].into_iter().flatten() {
        content.extend(text(word));
    }
    packet(0x10, &content)
}

/// With a quality of service of 0: what is not there now does not come later.
pub fn subscribe(number: u16, topic: &str) -> Vec<u8> {
    packet(
        0x82,
        &[&number.to_be_bytes()[..], &text(topic), &[0]].concat(),
    )
}

pub fn publish(topic: &str, content: &[u8]) -> Vec<u8> {
    packet(PUBLISH, &[&text(topic), content].concat())
}

pub async fn next(lines: &mut Lines<Wire<'_>>) -> io::Result<Packet> {
    head(lines).await?.rest(lines).await
}

/// The begin of a packet, whose content is still to come.
pub struct Head {
    kind: u8,
    length: usize,
}

pub async fn head(lines: &mut Lines<Wire<'_>>) -> io::Result<Head> {
    let kind = lines.bytes(1).await?[0];
    let mut length = 0usize;
    for shift in [0, 7, 14, 21] {
        let byte = lines.bytes(1).await?[0];
        length |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            if length > PACKET_MAX {
                return Err(odd(format!("it sends a packet of {length} bytes")));
            }
            return Ok(Head { kind, length });
        }
    }
    Err(odd("it sends a packet whose length has no end".into()))
}

impl Head {
    pub async fn rest(self, lines: &mut Lines<Wire<'_>>) -> io::Result<Packet> {
        // As it was read, by itself, and as text.
        let kept = 3 * self.length;
        lines.get_mut().room(kept, 3 * PACKET_MAX).await?;
        Ok(Packet {
            kind: self.kind,
            content: lines.bytes(self.length).await?.to_vec(),
        })
    }
}

impl Packet {
    pub fn is(&self, kind: u8) -> bool {
        self.kind & 0xF0 == kind
    }

    /// None: it is no message, or one that is cut short.
    pub fn message(&self) -> Option<Message<'_>> {
        if !self.is(PUBLISH) {
            return None;
        }
        let (size, rest) = self.content.split_first_chunk::<2>()?;
        let (topic, rest) = rest.split_at_checked(u16::from_be_bytes(*size).into())?;
        // Above quality 0 there is a number in between.
        let content = if self.kind & 6 == 0 {
            rest
        } else {
            rest.get(2..)?
        };
        Some(Message {
            topic,
            content,
            is_retained: self.kind & 1 != 0,
        })
    }
}

pub fn odd(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        assert_eq!(packet(1, &[0; 127])[..2], [1, 127]);
        assert_eq!(packet(1, &[0; 128])[..3], [1, 0x80, 1]);
        assert_eq!(
            connect("c", Some("u"), Some("p")),
            b"\x10\x13\0\x04MQTT\x04\xc2\0\x3c\0\x01c\0\x01u\0\x01p"
        );
        assert_eq!(subscribe(7, "a/b"), b"\x82\x08\0\x07\0\x03a/b\0");
        let whole = publish("a", b"hi");
        assert_eq!(whole, b"\x30\x05\0\x01ahi");
        for cut in 2..whole.len() {
            let packet = Packet {
                kind: PUBLISH,
                content: whole[2..cut].to_vec(),
            };
            assert_eq!(packet.message().is_some(), cut >= 5, "{cut}");
        }
        let kept = Packet {
            kind: 0x33,
            content: b"\0\x01a\0\x09hi".to_vec(),
        };
        let message = kept.message().unwrap();
        assert_eq!((message.content, message.is_retained), (&b"hi"[..], true));
    }
}
