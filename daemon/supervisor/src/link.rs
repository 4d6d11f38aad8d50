//! The supervisor's end of its link to the manager: whole messages, sent in order, never waiting.

use healthd_core::wire::supervisor::{MAX_MESSAGE, ToManager, ToSupervisor};
use healthd_sys::unix_socket::{self, Received};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub struct Link {
    fd: OwnedFd,
    token: u64,
    /// What the manager has not taken yet, with the fds that belong to it.
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// The manager's end is closed: it is dying, or already dead.
    closed: bool,
}

pub enum Incoming {
    Message(ToSupervisor, Vec<OwnedFd>),
    Nothing,
    /// It does not speak the protocol.
    Broken(String),
}

impl Link {
    pub fn new(fd: OwnedFd, epoll: &Epoll, token: u64) -> io::Result<Link> {
        epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(Link {
            fd,
            token,
            waiting: VecDeque::new(),
            closed: false,
        })
    }

    pub fn send(&mut self, message: &ToManager, fds: Vec<OwnedFd>, epoll: &Epoll) {
        if self.closed {
            return;
        }
        let text = serde_json::to_vec(message).expect("plain data has a JSON form");
        self.waiting.push_back((text, fds));
        self.flush(epoll);
    }

    /// For the first messages: their fds stay ours, and the queue is empty.
    pub fn send_first(&self, message: &ToManager, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message).expect("plain data has a JSON form");
        match unix_socket::send(&self.fd, &text, fds)? {
            true => Ok(()),
            false => Err(io::Error::other("the system takes no more fds in flight")),
        }
    }

    pub fn flush(&mut self, epoll: &Epoll) {
        while let Some((text, fds)) = self.waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|f| f.as_fd()).collect();
            match unix_socket::send(&self.fd, text, &fds) {
                Ok(true) => drop(self.waiting.pop_front()),
                Ok(false) => break,
                Err(e) => {
                    log::debug!("manager's link lost  why=\"{e}\"");
                    self.close(epoll);
                }
            }
        }
        self.listen_for(epoll);
    }

    /// Writability is only asked for while something waits, or it would wake us for ever.
    fn listen_for(&self, epoll: &Epoll) {
        if self.closed {
            return;
        }
        let mut flags = EpollFlags::EPOLLIN;
        if !self.waiting.is_empty() {
            flags |= EpollFlags::EPOLLOUT;
        }
        let _ = epoll.modify(&self.fd, &mut EpollEvent::new(flags, self.token));
    }

    pub fn receive(&mut self, buffer: &mut Vec<u8>, epoll: &Epoll) -> Incoming {
        if self.closed {
            return Incoming::Nothing;
        }
        buffer.resize(MAX_MESSAGE, 0);
        match unix_socket::receive(&self.fd, buffer, true) {
            Ok(Received::Message(n, fds)) => match serde_json::from_slice(&buffer[..n]) {
                Ok(message) => Incoming::Message(message, fds),
                Err(e) => Incoming::Broken(format!("a message that is none: {e}")),
            },
            Ok(Received::Empty) => Incoming::Nothing,
            Ok(Received::Closed) => {
                self.close(epoll);
                Incoming::Nothing
            }
            Err(e) => Incoming::Broken(e.to_string()),
        }
    }

    /// Its death is told by its pidfd alone; until then an end of file would only wake us again and again.
    pub fn close(&mut self, epoll: &Epoll) {
        if !self.closed {
            let _ = epoll.delete(&self.fd);
            self.closed = true;
            self.waiting.clear();
        }
    }
}
