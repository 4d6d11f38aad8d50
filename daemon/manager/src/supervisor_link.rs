//! The manager's end of the link to the supervisor.

use healthd_core::wire::supervisor::{MAX_MESSAGE, ToManager, ToSupervisor};
use healthd_sys::unix_socket::{self, Received};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

pub struct SupervisorLink {
    pub fd: OwnedFd,
    queue: VecDeque<Vec<u8>>,
    /// The limit of open files that the daemon's processes have.
    pub open_files: u64,
}

impl SupervisorLink {
    pub fn new(fd: OwnedFd) -> SupervisorLink {
        SupervisorLink {
            fd,
            queue: VecDeque::new(),
            open_files: healthd_sys::limits::raise_open_files(),
        }
    }

    pub fn say(&mut self, message: &ToSupervisor) {
        match serde_json::to_vec(message) {
            Ok(bytes) => self.queue.push_back(bytes),
            Err(e) => log::error!("a message to the supervisor could not be written: {e}"),
        }
        self.flush();
    }

    /// With fds, which cannot wait in the queue.
    pub fn say_with(&mut self, message: &ToSupervisor, fds: &[BorrowedFd<'_>]) {
        let bytes = serde_json::to_vec(message).unwrap_or_default();
        match unix_socket::send(&self.fd, &bytes, fds) {
            Ok(true) => {}
            Ok(false) => log::error!("the supervisor does not take what it shall keep"),
            Err(e) => log::error!("the supervisor does not take what it shall keep: {e}"),
        }
    }

    pub fn flush(&mut self) {
        while let Some(message) = self.queue.front() {
            match unix_socket::send(&self.fd, message, &[]) {
                Ok(true) => drop(self.queue.pop_front()),
                Ok(false) => break,
                // That one cannot be said, which is no reason to say nothing any more.
                Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => {
                    log::error!("a message to the supervisor was too long: {e}");
                    self.queue.pop_front();
                }
                // It is gone; the read side ends the process.
                Err(_) => self.queue.clear(),
            }
        }
    }

    /// The next message. Ok(None): none now. Err: the supervisor is gone.
    pub fn next(&self) -> io::Result<Option<(ToManager, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        match unix_socket::receive(&self.fd, &mut buffer, true)? {
            Received::Empty => Ok(None),
            Received::Closed => Err(io::Error::other("the supervisor is gone")),
            Received::Message(n, fds) => {
                let message = serde_json::from_slice(&buffer[..n]).map_err(io::Error::other)?;
                Ok(Some((message, fds)))
            }
        }
    }
}
