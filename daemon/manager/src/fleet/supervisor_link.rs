//! The manager's end of the link to the supervisor.

use healthd_core::wire::supervisor::{MAX_MESSAGE, ToManager, ToSupervisor};
use healthd_sys::unix_socket::{self, Received};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub struct SupervisorLink {
    pub fd: OwnedFd,
    /// What it has not taken yet, with the fds that belong to it.
    queue: VecDeque<(Vec<u8>, Vec<Arc<OwnedFd>>)>,
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
        self.say_with(message, Vec::new());
    }

    /// With fds, at most as many as one message takes.
    pub fn say_with(&mut self, message: &ToSupervisor, fds: Vec<Arc<OwnedFd>>) {
        match serde_json::to_vec(message) {
            Ok(bytes) => self.queue.push_back((bytes, fds)),
            Err(e) => log::error!("a message to the supervisor could not be written: {e}"),
        }
        self.flush();
    }

    pub fn flush(&mut self) {
        while let Some((message, fds)) = self.queue.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|f| f.as_fd()).collect();
            match unix_socket::send(&self.fd, message, &fds) {
                Ok(true) => drop(self.queue.pop_front()),
                Ok(false) => break,
                // That one cannot be said, which is no reason to say nothing any more.
                Err(e)
                    if matches!(
                        e.raw_os_error(),
                        Some(libc::EMSGSIZE | libc::ETOOMANYREFS | libc::EINVAL)
                    ) =>
                {
                    log::error!("a message to the supervisor could not be sent: {e}");
                    self.queue.pop_front();
                }
                // It is gone; the read side ends the process.
                Err(_) => self.queue.clear(),
            }
        }
    }

    /// The next message, with those of its fds for which there was room. Ok(None): none now. Err: the supervisor is gone.
    pub fn next(&self) -> io::Result<Option<(ToManager, Vec<OwnedFd>)>> {
        self.receive(unix_socket::receive_what_fits)
    }

    /// The same, but a message that is not whole is an error.
    pub fn next_whole(&self) -> io::Result<Option<(ToManager, Vec<OwnedFd>)>> {
        self.receive(|fd, buffer| unix_socket::receive(fd, buffer, true))
    }

    fn receive(
        &self,
        from: impl FnOnce(&OwnedFd, &mut [u8]) -> io::Result<Received>,
    ) -> io::Result<Option<(ToManager, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        match from(&self.fd, &mut buffer)? {
            Received::Empty => Ok(None),
            Received::Closed => Err(io::Error::other("the supervisor is gone")),
            Received::Message(n, fds) => {
                let message = serde_json::from_slice(&buffer[..n]).map_err(io::Error::other)?;
                Ok(Some((message, fds)))
            }
        }
    }
}
