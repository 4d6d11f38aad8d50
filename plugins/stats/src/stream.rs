//! A stretch of a file through a window: it may be as large as it likes, and may be cut while it is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: usize = 1 << 20;
/// A line or an element may have so many bytes.
pub const MAX_RECORD: usize = 1 << 20;

#[derive(Debug)]
pub enum Wrong {
    Io(io::Error),
    /// The file is shorter than it was.
    Cut,
    TooLong {
        at: u64,
    },
    /// Not the JSON that was expected.
    Syntax {
        at: u64,
        what: &'static str,
    },
    TooMany,
    Cancelled,
}

pub struct Stream<'f> {
    file: &'f File,
    /// Place in the file of the first byte of the buffer.
    base: u64,
    buffer: Vec<u8>,
    used: usize,
    /// The file's end, as far as we are concerned.
    end: u64,
}

impl<'f> Stream<'f> {
    pub fn new(file: &'f File, from: u64, end: u64) -> Stream<'f> {
        Stream {
            file,
            base: from,
            buffer: Vec::new(),
            used: 0,
            end,
        }
    }

    /// Where we are.
    pub fn at(&self) -> u64 {
        self.base + self.used as u64
    }

    /// What is at hand from here on.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Nothing follows what is at hand.
    pub fn is_last(&self) -> bool {
        self.base + self.buffer.len() as u64 >= self.end
    }

    pub fn advance(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// More of it at hand; what is behind us goes. False: that was all.
    pub fn more(&mut self) -> Result<bool, Wrong> {
        if self.is_last() {
            return Ok(false);
        }
        if self.rest().len() > MAX_RECORD {
            return Err(Wrong::TooLong { at: self.at() });
        }
        self.buffer.drain(..self.used);
        self.base += self.used as u64;
        self.used = 0;
        let have = self.buffer.len();
        let from = self.base + have as u64;
        let want = (self.end - from).min(BLOCK as u64) as usize;
        self.buffer.resize(have + want, 0);
        let n = loop {
            match self.file.read_at(&mut self.buffer[have..], from) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(Wrong::Io)?,
            }
        };
        self.buffer.truncate(have + n);
        if n == 0 {
            return Err(Wrong::Cut);
        }
        Ok(true)
    }

    /// The next byte without a step, for who reads byte by byte.
    pub fn peek(&mut self) -> Result<Option<u8>, Wrong> {
        if self.rest().is_empty() && !self.more()? {
            return Ok(None);
        }
        Ok(self.rest().first().copied())
    }
}
