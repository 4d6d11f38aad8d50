//! AMQP's frames and methods, version 0-9-1, as far as a check needs them, read with a cap.

use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use std::io;

pub const HELLO: &[u8] = b"AMQP\0\0\x09\x01";
const METHOD: u8 = 1;
const FRAME_END: u8 = 0xCE;
const FRAME_MAX: usize = 128 << 10;

/// Class and method.
pub type Method = (u16, u16);
pub const START: Method = (10, 10);
pub const START_OK: Method = (10, 11);
pub const TUNE: Method = (10, 30);
pub const TUNE_OK: Method = (10, 31);
pub const OPEN: Method = (10, 40);
pub const OPEN_OK: Method = (10, 41);
pub const CLOSE: Method = (10, 50);
pub const CLOSE_OK: Method = (10, 51);
pub const CHANNEL_OPEN: Method = (20, 10);
pub const CHANNEL_OPEN_OK: Method = (20, 11);
pub const CHANNEL_CLOSE: Method = (20, 40);
pub const DECLARE: Method = (50, 10);
pub const DECLARE_OK: Method = (50, 11);

/// A method of the broker.
pub struct Frame {
    pub method: Method,
    arguments: Vec<u8>,
}

/// Its arguments, one after the other; None: it is cut short.
pub struct Arguments<'f>(&'f [u8]);

/// Why the broker ends a connection or a channel.
#[derive(Debug, PartialEq)]
pub struct Closed {
    pub code: u16,
    pub text: String,
}

pub fn frame(channel: u16, (class, method): Method, arguments: &[u8]) -> Vec<u8> {
    let mut all = vec![METHOD];
    all.extend(channel.to_be_bytes());
    all.extend((arguments.len() as u32 + 4).to_be_bytes());
    all.extend(class.to_be_bytes());
    all.extend(method.to_be_bytes());
    all.extend(arguments);
    all.push(FRAME_END);
    all
}

/// At most 255 bytes; options have seen to it.
pub fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// Who we are, and that a refused login shall be told and not only hung up on.
pub fn start_ok(user: &str, password: &str) -> Vec<u8> {
    let capability = [short("authentication_failure_close"), vec![b't', 1]].concat();
    let properties = [
        short("product"),
        vec![b'S'],
        long(b"healthd"),
        short("capabilities"),
        vec![b'F'],
        long(&capability),
    ]
    .concat();
    [
        long(&properties),
        short("PLAIN"),
        long(format!("\0{user}\0{password}").as_bytes()),
        short("en_US"),
    ]
    .concat()
}

/// The next method; heartbeats are passed over.
pub async fn next(lines: &mut Lines<Wire<'_>>) -> io::Result<Frame> {
    loop {
        let head = lines.bytes(7).await?;
        let (kind, size) = (head[0], &head[3..7]);
        if head.starts_with(b"AMQP") {
            return Err(odd("it speaks another version of AMQP".into()));
        }
        if !(1..=8).contains(&kind) {
            return Err(odd("it does not speak AMQP".into()));
        }
        let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize;
        if size > FRAME_MAX {
            return Err(odd(format!("it sends a frame of {size} bytes")));
        }
        // As it was read, and by itself.
        lines.get_mut().room(2 * size, 2 * FRAME_MAX).await?;
        let content = lines.bytes(size + 1).await?;
        let Some((&FRAME_END, content)) = content.split_last() else {
            return Err(odd("it sends a frame without its end".into()));
        };
        if kind != METHOD {
            continue;
        }
        let Some((head, arguments)) = content.split_first_chunk::<4>() else {
            return Err(odd("it sends a method that is cut short".into()));
        };
        let [a, b, c, d] = *head;
        return Ok(Frame {
            method: (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            arguments: arguments.to_vec(),
        });
    }
}

impl Frame {
    pub fn arguments(&self) -> Arguments<'_> {
        Arguments(&self.arguments)
    }

    /// Of `Close`, of a connection or a channel.
    pub fn closed(&self) -> Option<Closed> {
        let closes = self.method == CLOSE || self.method == CHANNEL_CLOSE;
        let mut arguments = self.arguments();
        closes.then_some(())?;
        Some(Closed {
            code: arguments.u16()?,
            text: arguments.short()?,
        })
    }
}

impl<'f> Arguments<'f> {
    pub fn take(&mut self, n: usize) -> Option<&'f [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub fn short(&mut self) -> Option<String> {
        let size = self.u8()?;
        let text = self.take(size.into())?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    pub fn long(&mut self) -> Option<&'f [u8]> {
        let size = self.u32()?;
        self.take(size as usize)
    }

    /// The texts of a table, the others passed over; what cannot be read ends it.
    pub fn texts(&mut self) -> Option<Vec<(String, String)>> {
        let mut table = Arguments(self.long()?);
        let mut texts = Vec::new();
        while let Some((name, kind)) = table.short().zip(table.u8()) {
            let size = match kind {
                b'S' | b'x' | b'A' | b'F' => table.u32()? as usize,
                b't' | b'b' | b'B' => 1,
                b's' | b'u' => 2,
                b'I' | b'i' | b'f' => 4,
                b'l' | b'L' | b'd' | b'T' => 8,
                b'D' => 5,
                b'V' => 0,
                _ => break,
            };
            let value = table.take(size)?;
            if kind == b'S' {
                texts.push((name, String::from_utf8_lossy(value).into_owned()));
            }
        }
        Some(texts)
    }
}

pub fn odd(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_arguments() {
        let frame = frame(1, DECLARE, &[7]);
        assert_eq!(frame, b"\x01\0\x01\0\0\0\x05\0\x32\0\x0a\x07\xce");
        let close = Frame {
            method: CLOSE,
            arguments: b"\x01\x93\x03no!\0\0\0\0".to_vec(),
        };
        let closed = Closed {
            code: 403,
            text: "no!".into(),
        };
        assert_eq!(close.closed(), Some(closed));
        let properties = [
            short("product"),
            vec![b'S'],
            long(b"RabbitMQ"),
            short("yes"),
            vec![b't', 1],
            short("inner"),
            vec![b'F'],
            long(&[1, b'a', b'V']),
            short("version"),
            vec![b'S'],
            long(b"3.10"),
        ];
        let table = long(&properties.concat());
        let texts = Arguments(&table).texts().expect("a table");
        let texts: Vec<(&str, &str)> = texts.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(texts, [("product", "RabbitMQ"), ("version", "3.10")]);
        for cut in 0..table.len() {
            let _ = Arguments(&table[..cut]).texts();
            let mut short = (table.len() as u32 - 4).to_be_bytes().to_vec();
            short.extend(&table[4..cut.max(4)]);
            let _ = Arguments(&short).texts();
        }
    }
}
