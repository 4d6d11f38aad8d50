//! The guard reads the headers of the server's messages before tokio-postgres does. That library makes room for a
//! message of whatever length the header says, and a web server's "HTTP" as a header says 1.4 GB.

use std::io;

/// No message of a check's answer needs to be larger.
pub const MAX_MESSAGE: u32 = 16 << 20;

/// Follows the server's messages: a tag, four bytes of length, which count themselves, and the content.
#[derive(Default)]
pub struct Guard {
    header: [u8; 5],
    /// Bytes of the header seen.
    seen: usize,
    /// Bytes of the content still to come.
    left: usize,
}

impl Guard {
    pub fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
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
            }
        }
        Ok(())
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
            io::Error::new(
                io::ErrorKind::InvalidData,
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
        assert_eq!(told(b"D\x01\0\0\0"), Ok(()));
    }
}
