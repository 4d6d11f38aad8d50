//! Everybody who is connected: who may come in, who is told what, and whose turn it is.

use super::budget::{Budgets, FEE};
use super::client::{Client, Job, Rights, error};
use super::probes::Probes;
use crate::director::{Chore, Manager};
use crate::event_loop::{TOKEN_CLIENT, TOKEN_LISTENER};
use crate::fleet::descriptors::is_lack;
use crate::time::MS;
use healthd_core::wire::control::{ErrorCode, Reply};
use healthd_sys::process::{self, Place};
use healthd_sys::{clock, privileges, unix_socket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use slab::Slab;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

const MAX_CLIENTS: usize = 128;
/// So many are let in, and then nobody for a moment: whoever comes and goes without end costs no more.
const A_TURN: usize = 64;
const PAUSE_NS: u64 = 10 * MS;
/// Who asks for nothing for so long is ended.
const IDLE_NS: u64 = 60_000 * MS;
pub(super) const LOOK_FOR_IDLE_NS: u64 = 15_000 * MS;
/// Out of fds, the listener rests for so long: it would stay readable, and the loop would spin.
const REST_NS: u64 = 500 * MS;

pub struct Clients {
    pub listener: UnixListener,
    group: Option<u32>,
    /// So many at once; a quarter of them is for those who may change things.
    most: usize,
    slab: Slab<Client>,
    serial: u64,
    pub(super) busy: Busy,
    /// Those whose user has nothing left; a chore wakes them.
    pub(super) resting: Vec<usize>,
    pub(super) budgets: Budgets,
    pub probes: Probes,
    /// Pids of the daemon's own roles that ask for people: `web`.
    pub readers: Vec<u32>,
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
            busy: Busy::default(),
            resting: Vec::new(),
            budgets: Budgets::default(),
            probes: Probes::default(),
            readers: Vec::new(),
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
                self.busy.enqueue(key, client);
            }
        }
    }

    /// A check's row has changed.
    pub fn changed(&mut self, id: u32) {
        for (key, client) in &mut self.slab {
            if let Job::Watch(watch) = &mut client.job
                && watch.queued.insert(id)
            {
                watch.changed.push_back(id);
                self.busy.enqueue(key, client);
            }
        }
    }

    /// Something has happened.
    pub fn tell_events(&mut self) {
        for (key, client) in &mut self.slab {
            if let Job::Events { more, .. } = &mut client.job {
                *more = true;
                self.busy.enqueue(key, client);
            }
        }
    }

    /// A reader is told of when it is started, which may be after it has come.
    pub(super) fn may_change(&self, rights: Rights) -> bool {
        let is_reader = |pid: u32| self.readers.contains(&pid);
        rights.may_change || rights.below.is_some_and(is_reader)
    }

    pub(super) fn keys(&self) -> Vec<usize> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    /// A reload took this check away: whoever was told of it, or was going to be, is told.
    pub fn gone(&mut self, id: u32, name: &str) {
        self.run_finished(id);
        for (key, client) in &mut self.slab {
            if let Job::Watch(watch) = &mut client.job {
                // Another check may get this id.
                watch.asked.remove(id);
                let first = watch.first > 0 && watch.queued.contains(id);
                if watch.told.remove(id) || first {
                    watch.gone.push(name.to_owned());
                    self.busy.enqueue(key, client);
                }
            }
        }
    }

    /// A reload is over: what filters said of a check may be wrong now.
    pub fn reloaded(&mut self) {
        for (_, client) in &mut self.slab {
            match &mut client.job {
                Job::Watch(watch) => watch.asked.clear(),
                Job::Selecting(selection) => selection.begin_anew(),
                _ => {}
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

    /// Whose event it is, if that client is still there.
    pub fn of_event(&self, token: u64) -> Option<usize> {
        let key = (token & 0xffff_ffff) as usize;
        let client = self.slab.get(key)?;
        (event_token(key, client.serial) == token).then_some(key)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Client> {
        self.slab.get_mut(key)
    }

    /// It has something to do.
    pub(super) fn mark(&mut self, key: usize) {
        if let Some(client) = self.slab.get_mut(key) {
            self.busy.enqueue(key, client);
        }
    }

    /// Somebody could go on at once: the loop must not sleep.
    pub fn are_pressing(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Those whose users had nothing left may have some again.
    pub fn wake_resting(&mut self) {
        for key in std::mem::take(&mut self.resting) {
            if let Some(client) = self.slab.get_mut(key) {
                client.queued = false;
                self.busy.enqueue(key, client);
            }
        }
    }

    /// Ends those that ask for nothing: they would keep others out.
    pub(super) fn end_idle(&mut self, now: u64) {
        self.budgets.forget(now);
        let before = self.slab.len();
        self.slab.retain(|_, c| !c.is_idle(now, IDLE_NS));
        let ended = before - self.slab.len();
        if ended > 0 {
            log::debug!("idle control clients ended  count={ended}");
        }
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

    /// Err: what there is too much of. One that has gone has no place, and is soon read to its end.
    fn has_place(&self, uid: u32, rights: Rights) -> Result<(), String> {
        let here = || self.slab.iter().map(|(_, c)| c).filter(|c| !c.gone);
        let all = here().count();
        let full = || Err(format!("{all} clients are connected already"));
        if self.slab.len() >= 2 * self.most {
            return full();
        }
        if rights.first {
            return if all < self.most { Ok(()) } else { full() };
        }
        if all >= self.most - (self.most / 16).max(1) {
            return full();
        }
        let own = here().filter(|c| c.uid == uid).count();
        if own >= self.most / 2 {
            return Err(format!("uid {uid} has {own} connections already"));
        }
        let readers = here().filter(|c| !c.rights.may_change).count();
        if !rights.may_change && readers >= self.most * 3 / 4 {
            return full();
        }
        Ok(())
    }
}

/// What the kernel's events of a client bear: its place, and enough of its serial.
fn event_token(key: usize, serial: u64) -> u64 {
    serial << 34 | TOKEN_CLIENT | key as u64
}

/// Those that have something to do, each once, in the order in which they came to have it.
#[derive(Default)]
pub(super) struct Busy {
    pub first: VecDeque<usize>,
    pub others: VecDeque<usize>,
}

impl Busy {
    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.others.is_empty()
    }

    fn enqueue(&mut self, key: usize, client: &mut Client) {
        if !std::mem::replace(&mut client.queued, true) {
            match client.rights.first {
                true => self.first.push_back(key),
                false => self.others.push_back(key),
            }
        }
    }
}

impl Manager {
    pub fn accept_clients(&mut self) {
        // Clients that have hung up keep their places until they are asked: once a turn, if it comes to that, and for each
        // that comes first.
        let mut asked = false;
        for _ in 0..A_TURN {
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
                        true => self.clockwork.lacks_descriptors("a control client"),
                        false => log::warn!("no control client can be accepted for a moment: {e}"),
                    }
                    return self.listen_later(REST_NS);
                }
            };
            if let Err(e) = self.admit(stream, &mut asked) {
                log::debug!("a control client was not admitted: {e}");
            }
        }
        self.listen_later(PAUSE_NS);
    }

    /// From now on clients are let in.
    pub fn listen(&mut self) {
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_LISTENER);
        if let Err(e) = self.clockwork.epoll.add(&self.clients.listener, readable) {
            log::error!("the control socket cannot be watched for a moment: {e}");
            self.listen_later(REST_NS);
        }
    }

    fn listen_later(&mut self, pause: u64) {
        // It may not be in there, if it could not be watched.
        let _ = self.clockwork.epoll.delete(&self.clients.listener);
        let at = (clock::monotonic_ns() + pause) / MS;
        self.clockwork.chores.insert(at, Chore::Listen);
    }

    fn admit(&mut self, mut stream: UnixStream, asked: &mut bool) -> std::io::Result<()> {
        stream.set_nonblocking(true)?;
        let peer = unix_socket::peer(&stream)?;
        let first = peer.uid == 0 || peer.uid == nix::unistd::geteuid().as_raw();
        let may_change = first
            || self.clients.group.is_some_and(|g| {
                peer.gid == g
                    || unix_socket::peer_groups(&stream).is_ok_and(|groups| groups.contains(&g))
            });
        let below = may_change && is_below(self.args.parent, &stream, peer);
        let rights = Rights {
            may_change: may_change && !below,
            first: first && !below,
            below: below.then_some(peer.pid),
        };
        let mut place = self.clients.has_place(peer.uid, rights);
        if place.is_err() && (first || !std::mem::replace(asked, true)) {
            for key in self.clients.hung_up() {
                self.client_ready(key, EpollFlags::EPOLLHUP);
                // One that may change things is read to its end, when its turn comes.
                if self.clients.get_mut(key).is_some_and(|c| c.is_over()) {
                    self.clients.remove(key);
                }
            }
            place = self.clients.has_place(peer.uid, rights);
        }
        if let Err(full) = place {
            let help = "end some of them, or try again";
            let full = Reply::Error(error(ErrorCode::Busy, full, help));
            let mut line = serde_json::to_vec(&full)?;
            line.push(b'\n');
            return stream.write_all(&line);
        }
        let now = clock::monotonic_ns();
        self.clients.budgets.spend(peer.uid, FEE, now);
        let serial = self.clients.serial + 1;
        let entry = self.clients.slab.vacant_entry();
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, event_token(entry.key(), serial));
        self.clockwork.epoll.add(stream.as_fd(), event)?;
        self.clients.serial = serial;
        entry.insert(Client::new(stream, serial, peer.uid, rights, now));
        Ok(())
    }
}

/// Did the daemon of this supervisor start the client: a program of a check, or code in a worker? Who has the daemon's
/// user and has ended before anybody could look may have been one.
fn is_below(supervisor: u32, stream: &UnixStream, peer: unix_socket::Peer) -> bool {
    let place = match peer.pid {
        // Outside of this pid namespace.
        0 => return false,
        pid => process::place_below(supervisor, pid),
    };
    let gone = unix_socket::peer_has_ended(stream) || place == Place::Unseen;
    match place {
        Place::Below { .. } => true,
        Place::Elsewhere | Place::Unseen => gone && peer.uid == nix::unistd::geteuid().as_raw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_client_that_is_gone_is_not_the_next_ones() {
        let (listener, _) = UnixStream::pair().expect("a pair");
        let mut clients = Clients::new(listener.into(), None, 100);
        let come = |clients: &mut Clients, serial| {
            let (stream, _) = UnixStream::pair().expect("a pair");
            let rights = Rights {
                may_change: true,
                first: true,
                below: None,
            };
            let client = Client::new(stream, serial, 0, rights, 0);
            let key = clients.slab.insert(client);
            (key, event_token(key, serial))
        };
        let (first, told_of_first) = come(&mut clients, 1);
        clients.remove(first);
        let (second, told_of_second) = come(&mut clients, 2);
        assert_eq!(first, second, "the same place");
        assert_eq!(clients.of_event(told_of_first), None);
        assert_eq!(clients.of_event(told_of_second), Some(second));
    }
}
