//! Everybody who is connected: who may come in, who is told what, and whose turn it is.

use super::client::{Client, Job, error};
use crate::book::{Chore, MS, Manager};
use crate::descriptors::is_lack;
use crate::event_loop::{TOKEN_CLIENT, TOKEN_LISTENER};
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::control::{ErrorCode, Reply};
use healthd_sys::{clock, privileges, unix_socket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use slab::Slab;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

const MAX_CLIENTS: usize = 128;
/// Out of fds, the listener rests for so long: it would stay readable, and the loop would spin.
const REST_NS: u64 = 500 * MS;

pub struct Clients {
    pub listener: UnixListener,
    group: Option<u32>,
    /// So many at once; a quarter of them is for those who may change things.
    most: usize,
    slab: Slab<Client>,
    serial: u64,
    /// Those that have something to do, each once, in the order in which they came to have it.
    pub(super) busy: VecDeque<usize>,
}

/// Who is to be told of something that takes long: a later client in the same place is not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    key: usize,
    serial: u64,
}

impl Clients {
    /// `open_files`: how many fds this process may have; clients must not use up those for workers.
    pub fn new(listener: OwnedFd, group: Option<&str>, open_files: u64) -> Clients {
        let mut clients = Clients {
            listener: listener.into(),
            group: None,
            most: usize::try_from(open_files / 4)
                .unwrap_or(MAX_CLIENTS)
                .clamp(4, MAX_CLIENTS),
            slab: Slab::new(),
            serial: 0,
            busy: VecDeque::new(),
        };
        clients.set_group(group);
        clients
    }

    /// Whose members may change things.
    pub fn set_group(&mut self, group: Option<&str>) {
        self.group = group.and_then(|name| match privileges::lookup_group(name) {
            Ok(Some(gid)) => Some(gid.as_raw()),
            Ok(None) => {
                log::warn!("daemon.control_group: there is no group `{name}`: only root and healthd's user may change things");
                None
            }
            Err(e) => {
                log::warn!("daemon.control_group: group `{name}` cannot be looked up: {e}");
                None
            }
        });
    }

    /// A run of this check has ended: those who asked for it are told.
    pub fn run_finished(&mut self, id: u32) {
        for (key, client) in &mut self.slab {
            if let Job::Run { waiting, done } = &mut client.job
                && waiting.remove(&id)
            {
                done.push_back(id);
                enqueue(&mut self.busy, key, client);
            }
        }
    }

    /// A check's row has changed.
    pub fn changed(&mut self, id: u32) {
        for (key, client) in &mut self.slab {
            if let Job::Watch {
                changed, queued, ..
            } = &mut client.job
                && queued.insert(id)
            {
                changed.push_back(id);
                enqueue(&mut self.busy, key, client);
            }
        }
    }

    /// Something has happened.
    pub fn tell_events(&mut self) {
        for (key, client) in &mut self.slab {
            if let Job::Events { more, .. } = &mut client.job {
                *more = true;
                enqueue(&mut self.busy, key, client);
            }
        }
    }

    pub(super) fn keys(&self) -> Vec<usize> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    /// A reload took this check away.
    pub fn gone(&mut self, id: u32, name: &str, plugin: &str, verdict: Verdict) {
        self.run_finished(id);
        for (key, client) in &mut self.slab {
            if let Job::Watch { sieve, gone, .. } = &mut client.job
                && sieve.matches(name, plugin, verdict)
            {
                gone.push(name.to_owned());
                enqueue(&mut self.busy, key, client);
            }
        }
    }

    /// A line of the answer. A client that has gone is no error.
    pub fn reply(&mut self, key: usize, reply: &Reply) {
        let Some(client) = self.slab.get_mut(key) else {
            return;
        };
        client.line(reply);
        if matches!(reply, Reply::End | Reply::Error(_)) {
            client.job = Job::None;
        }
        self.mark(key);
    }

    pub fn asker(&self, key: usize) -> Option<Asker> {
        let serial = self.slab.get(key)?.serial;
        Some(Asker { key, serial })
    }

    /// Where the one who asked is, if it still waits for the answer.
    pub fn place_of(&self, asker: Asker) -> Option<usize> {
        let client = self.slab.get(asker.key)?;
        let waits = client.serial == asker.serial && matches!(client.job, Job::Waiting);
        waits.then_some(asker.key)
    }

    pub fn say_goodbye(&mut self) {
        for (_, client) in &mut self.slab {
            if !matches!(client.job, Job::None) {
                client.line(&Reply::Error(error(
                    ErrorCode::Busy,
                    "the daemon has stopped",
                    "",
                )));
            }
            let _ = client.flush();
        }
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Client> {
        self.slab.get_mut(key)
    }

    /// It has something to do.
    pub(super) fn mark(&mut self, key: usize) {
        if let Some(client) = self.slab.get_mut(key) {
            enqueue(&mut self.busy, key, client);
        }
    }

    /// Somebody could go on at once: the loop must not sleep.
    pub fn are_pressing(&self) -> bool {
        !self.busy.is_empty()
    }

    pub(super) fn remove(&mut self, key: usize) {
        // Closing the fd takes it out of the epoll set.
        self.slab.try_remove(key);
    }

    /// Those at whose end nobody is any more, though the loop may not have been told so yet.
    fn hung_up(&self) -> Vec<usize> {
        let (keys, mut fds): (Vec<_>, Vec<_>) = self
            .slab
            .iter()
            .map(|(key, c)| (key, PollFd::new(c.stream.as_fd(), PollFlags::empty())))
            .unzip();
        if poll(&mut fds, PollTimeout::ZERO).is_err() {
            return Vec::new();
        }
        let over = PollFlags::POLLHUP | PollFlags::POLLERR;
        keys.into_iter()
            .zip(fds)
            .filter(|(_, fd)| fd.revents().is_some_and(|r| r.intersects(over)))
            .map(|(key, _)| key)
            .collect()
    }

    fn has_place(&self, may_change: bool) -> bool {
        if may_change {
            return self.slab.len() < self.most;
        }
        let readers = self.slab.iter().filter(|(_, c)| !c.may_change).count();
        self.slab.len() < self.most && readers < self.most * 3 / 4
    }
}

fn enqueue(busy: &mut VecDeque<usize>, key: usize, client: &mut Client) {
    if !std::mem::replace(&mut client.queued, true) {
        busy.push_back(key);
    }
}

impl Manager {
    pub fn accept_clients(&mut self) {
        // Each that is turned away was connected: the rest may wait for the next turn.
        for _ in 0..MAX_CLIENTS {
            let stream = match self.clients.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) =>
                {
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => {
                    match is_lack(&e) {
                        true => self.lacks_descriptors("a control client"),
                        false => log::warn!("no control client can be accepted for a moment: {e}"),
                    }
                    let _ = self.epoll.delete(&self.clients.listener);
                    return self.listen_later();
                }
            };
            if let Err(e) = self.admit(stream) {
                log::debug!("a control client was not admitted: {e}");
            }
        }
    }

    /// From now on clients are let in.
    pub fn listen(&mut self) {
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_LISTENER);
        if let Err(e) = self.epoll.add(&self.clients.listener, readable) {
            log::error!("the control socket cannot be watched for a moment: {e}");
            self.listen_later();
        }
    }

    fn listen_later(&mut self) {
        let at = (clock::monotonic_ns() + REST_NS) / MS;
        self.chores.insert(at, Chore::Listen);
    }

    fn admit(&mut self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(true)?;
        let peer = unix_socket::peer(&stream)?;
        let may_change = peer.uid == 0
            || peer.uid == nix::unistd::geteuid().as_raw()
            || self.clients.group.is_some_and(|g| {
                peer.gid == g
                    || unix_socket::peer_groups(&stream).is_ok_and(|groups| groups.contains(&g))
            });
        if !self.clients.has_place(may_change) {
            for key in self.clients.hung_up() {
                self.client_ready(key, EpollFlags::EPOLLHUP);
                self.serve(key);
            }
        }
        if !self.clients.has_place(may_change) {
            let full = Reply::Error(error(
                ErrorCode::Busy,
                format!("{} clients are connected already", self.clients.slab.len()),
                "end some of them, or try again",
            ));
            let mut line = serde_json::to_vec(&full)?;
            line.push(b'\n');
            return stream.write_all(&line);
        }
        let entry = self.clients.slab.vacant_entry();
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, TOKEN_CLIENT | entry.key() as u64);
        self.epoll.add(stream.as_fd(), event)?;
        self.clients.serial += 1;
        entry.insert(Client::new(
            stream,
            self.clients.serial,
            peer.uid,
            may_change,
        ));
        Ok(())
    }
}
