//! MySQL's packets: three bytes of length, a number, the content. A server cannot make us keep more than it should.

use super::Trouble;
use super::query::TABLE_MAX;
use healthd_client::server::Server;
use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use healthd_plugin::{Cx, Status};

/// More than a row that a check asks for has. A web server's "HTTP" as a length is 5 MB.
pub const PACKET_MAX: usize = 1 << 20;

pub struct Packets<'a> {
    lines: Lines<Wire<'a>>,
    /// Of the next packet.
    number: u8,
    /// What the answers until now take.
    kept: usize,
}

impl<'a> Packets<'a> {
    pub fn new(lines: Lines<Wire<'a>>) -> Packets<'a> {
        Packets {
            lines,
            number: 0,
            kept: 0,
        }
    }

    /// So many bytes of answers are kept from now on.
    pub fn keep(&mut self, bytes: usize) {
        self.kept += bytes;
    }

    /// Of the server, from `begin` on.
    pub fn seconds_since(&self, begin: u64) -> f64 {
        self.lines.get_ref().seconds_since(begin)
    }

    pub async fn read(&mut self) -> Result<Vec<u8>, Trouble> {
        let head = self.lines.bytes(4).await?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        self.number = head[3].wrapping_add(1);
        if length > PACKET_MAX {
            return Err(Trouble::odd(format!("it sends a packet of {length} bytes")));
        }
        // As it was read, and by itself.
        let kept = self.kept + 2 * length;
        let most = self.kept + TABLE_MAX + 2 * PACKET_MAX;
        self.lines.get_mut().room(kept, most).await?;
        Ok(self.lines.bytes(length).await?.to_vec())
    }

    pub async fn write(&mut self, content: &[u8]) -> Result<(), Trouble> {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        if length as usize > PACKET_MAX {
            return Err(Trouble::Ours("a statement of more than 1 MiB".into()));
        }
        let mut packet = length.to_le_bytes()[..3].to_vec();
        packet.push(self.number);
        packet.extend_from_slice(content);
        self.number = self.number.wrapping_add(1);
        Ok(self.lines.write(&packet).await?)
    }

    /// A new exchange begins with our packet.
    pub async fn command(&mut self, content: &[u8]) -> Result<(), Trouble> {
        self.number = 0;
        self.write(content).await
    }

    /// TLS begins now.
    pub async fn secure(self, cx: Cx<'a>, server: &Server) -> Result<Packets<'a>, Status> {
        let lines = server.upgrade(self.lines).await;
        Ok(Packets {
            number: self.number,
            ..Packets::new(lines.map_err(|f| f.tell(cx))?)
        })
    }
}

/// Takes a packet apart, from its beginning. Each function is None if there is not so much.
pub struct Bytes<'p>(pub &'p [u8]);

impl<'p> Bytes<'p> {
    pub fn take(&mut self, n: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// A number of at most eight bytes, the lowest first.
    pub fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Up to a NUL, which is taken too; without one all that there is.
    pub fn until_nul(&mut self) -> &'p [u8] {
        let end = self.0.iter().position(|b| *b == 0);
        let text = &self.0[..end.unwrap_or(self.0.len())];
        self.0 = self.0.get(text.len() + 1..).unwrap_or_default();
        text
    }

    /// A number as MySQL writes lengths.
    pub fn length(&mut self) -> Option<u64> {
        match self.byte()? {
            n @ 0..=0xFA => Some(n.into()),
            0xFC => self.number(2),
            0xFD => self.number(3),
            0xFE => self.number(8),
            _ => None,
        }
    }

    /// A length and so many bytes.
    pub fn sized(&mut self) -> Option<&'p [u8]> {
        let n = self.length()?;
        self.take(usize::try_from(n).ok()?)
    }

    /// A cell of a row: Some(None) is NULL.
    pub fn cell(&mut self) -> Option<Option<&'p [u8]>> {
        if self.0.first() == Some(&0xFB) {
            self.byte()?;
            return Some(None);
        }
        self.sized().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts() {
        let mut b = Bytes(b"\x01\x02ab\0\x03xyz\xfb\xfc\x02\x00hirest");
        assert_eq!(b.number(2), Some(0x0201));
        assert_eq!(b.until_nul(), b"ab");
        assert_eq!(b.cell(), Some(Some(&b"xyz"[..])));
        assert_eq!(b.cell(), Some(None));
        assert_eq!(b.sized(), Some(&b"hi"[..]));
        assert_eq!(b.until_nul(), b"rest");
        assert_eq!(
            (b.byte(), b.length(), b.until_nul()),
            (None, None, &b""[..])
        );
        // A length that is not there, and one that no machine has.
        for cut in [
            &b"\x05abc"[..],
            b"\xfc\x01",
            b"\xfe\xff\xff\xff\xff\xff\xff\xff\xffx",
            b"\xff",
        ] {
            assert_eq!(Bytes(cut).cell(), None);
        }
    }
}
