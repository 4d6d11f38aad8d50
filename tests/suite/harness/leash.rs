//! A FIFO whose writing end every process below a check inherits: end of file means that all of them are gone.

use super::DEADLINE;
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

    /// Some process has taken it.
    pub fn wait_held(&mut self) {
        assert!(self.read_some(), "nobody took the leash");
    }

    /// Nobody holds it any more.
    pub fn assert_let_go(&mut self) {
        while self.read_some() {}
    }

    /// False: end of file.
    fn read_some(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).expect("a minute");
            let ready = poll(&mut fds, timeout).expect("poll");
            assert!(ready > 0, "a process still holds {}", self.path.display());
            let mut buffer = [0; 64];
            match self.reader.read(&mut buffer) {
                Ok(n) => return n > 0,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("{}: {e}", self.path.display()),
            }
        }
    }
}
