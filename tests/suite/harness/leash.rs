//! A FIFO whose writing end every process below a check inherits: end of file means that all of them are gone.

use super::{DEADLINE, Daemon};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub struct Leash {
    path: PathBuf,
    reader: File,
}

impl Leash {
    pub fn new(dir: &Path) -> Leash {
        let path = dir.join("leash");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666))
            .expect("a new fifo");
        let reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .expect("reading never waits");
        Leash { path, reader }
    }

    /// A shell script that takes the leash, says so, and goes on with `then`, which inherits it as fd 9.
    pub fn script(&self, then: &str) -> String {
        format!("exec 9>{}; echo held >&9; {then}", self.path.display())
    }

    /// A check of this daemon has taken it.
    pub fn wait_held(&mut self, daemon: &Daemon) {
        if self.read_some() != Some(true) {
            daemon.fail("no check took the leash");
        }
    }

    /// Nobody holds it any more.
    pub fn assert_let_go(&mut self, daemon: &Daemon) {
        while let Some(some) = self.read_some() {
            if !some {
                return;
            }
        }
        daemon.fail("some process of a check is left");
    }

    /// Some(false): end of file. None: neither a word nor the end in time.
    fn read_some(&mut self) -> Option<bool> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).expect("a minute");
            let ready = poll(&mut fds, timeout).expect("poll");
            if ready == 0 {
                return None;
            }
            let mut buffer = [0; 64];
            match self.reader.read(&mut buffer) {
                Ok(n) => return Some(n > 0),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("{}: {e}", self.path.display()),
            }
        }
    }
}
