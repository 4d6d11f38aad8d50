//! What a child writes: read as it comes, kept up to a cap.

use std::io::{self, Read};
use std::os::fd::AsRawFd;

/// Bytes of one stream that are read before others have their turn.
const DRAIN_A_TURN: usize = 256 << 10;

pub struct Stream<S> {
    /// None: its end has been read.
    pub from: Option<S>,
    pub kept: Vec<u8>,
    pub dropped: u64,
}

impl<S> Stream<S> {
    pub fn new(from: Option<S>) -> Stream<S> {
        Stream {
            from,
            kept: Vec::new(),
            dropped: 0,
        }
    }
}

impl<S: Read + AsRawFd> Stream<S> {
    /// Reads what there is now, but no more than a turn can bear: a child may write without end. True: there
    /// may be more.
    pub fn drain(&mut self, cap: usize) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut left = DRAIN_A_TURN;
        while let Some(from) = &mut self.from {
            if left == 0 {
                return true;
            }
            match from.read(&mut buffer) {
                Ok(0) => self.from = None,
                Ok(n) => {
                    let keep = n.min(cap.saturating_sub(self.kept.len()));
                    self.kept.extend_from_slice(&buffer[..keep]);
                    self.dropped += (n - keep) as u64;
                    left = left.saturating_sub(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.from = None,
            }
        }
        false
    }

    pub fn fd(&self) -> Option<i32> {
        self.from.as_ref().map(AsRawFd::as_raw_fd)
    }
}
