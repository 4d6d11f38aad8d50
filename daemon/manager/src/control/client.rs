//! One connection each: bytes in, lines out, and what it still waits for.

use crate::book::Manager;
use crate::event_loop::TOKEN_CLIENT;
use healthd_core::wire::control::{
    ControlError, ErrorCode, Filter, MAX_REQUEST, Op, Reply, Request, VERSION,
};
use healthd_sys::{privileges, unix_socket};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use slab::Slab;
use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

const MAX_CLIENTS: usize = 128;
/// Answers are made until this much waits to be taken.
const OUT_ENOUGH: usize = 64 * 1024;

pub struct Clients {
    pub listener: UnixListener,
    group: Option<u32>,
    slab: Slab<Client>,
    /// Clients that have something to do in this turn.
    pub(super) busy: HashSet<usize>,
}

pub(super) struct Client {
    pub stream: UnixStream,
    pub may_change: bool,
    pub uid: u32,
    input: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    pub job: Job,
    /// No more requests: close when the answer is taken.
    pub closing: bool,
    /// Waits for the socket to become writable.
    blocked: bool,
    /// Hung up; only its place is left.
    gone: bool,
}

/// What a client is being told.
pub(super) enum Job {
    None,
    /// Rows of these checks, in this order, then `end`.
    Rows {
        ids: VecDeque<u32>,
    },
    /// Rows as the runs finish; `end` when none is left.
    Run {
        waiting: HashSet<u32>,
        done: VecDeque<u32>,
    },
    /// First the rows as they are (`first` of them are still to come), then rows whenever they change, for
    /// ever. Changes of one check merge while the client is slow.
    Watch {
        filter: Filter,
        first: usize,
        changed: VecDeque<u32>,
        queued: HashSet<u32>,
        gone: Vec<String>,
    },
    /// The answer comes later, from somewhere else.
    Waiting,
}

impl Clients {
    pub fn new(listener: OwnedFd, group: Option<&str>) -> Clients {
        let mut clients = Clients {
            listener: listener.into(),
            group: None,
            slab: Slab::new(),
            busy: HashSet::new(),
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
                self.busy.insert(key);
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
                self.busy.insert(key);
            }
        }
    }

    pub fn gone(&mut self, id: u32, name: &str) {
        self.run_finished(id);
        for (key, client) in &mut self.slab {
            if let Job::Watch { filter, gone, .. } = &mut client.job
                && filter.matches(name, "", None)
            {
                gone.push(name.to_owned());
                self.busy.insert(key);
            }
        }
    }

    /// A line of the answer. A client that has gone is no error.
    pub fn reply(&mut self, key: usize, reply: &Reply) {
        let Some(client) = self.slab.get_mut(key) else {
            return;
        };
        if client.gone {
            if matches!(reply, Reply::End | Reply::Error(_)) {
                self.slab.remove(key);
            }
            return;
        }
        client.line(reply);
        if matches!(reply, Reply::End | Reply::Error(_)) {
            client.job = Job::None;
        }
        self.busy.insert(key);
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
}

impl Client {
    pub fn line(&mut self, reply: &Reply) {
        if serde_json::to_writer(&mut self.out, reply).is_ok() {
            self.out.push(b'\n');
        }
    }

    fn has_room(&self) -> bool {
        self.out.len() - self.written < OUT_ENOUGH
    }

    /// Ok(true): all is written.
    fn flush(&mut self) -> std::io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }
}

pub(super) fn error(
    code: ErrorCode,
    message: impl Into<String>,
    help: impl Into<String>,
) -> ControlError {
    ControlError {
        code,
        message: message.into(),
        help: help.into(),
        diagnostics: Vec::new(),
    }
}

impl Manager {
    pub fn accept_clients(&mut self) {
        loop {
            let stream = match self.clients.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => {
                    // Out of fds: the listener stays readable, so this is said and left for the next turn.
                    log::warn!("a control client could not be accepted: {e}");
                    return;
                }
            };
            if let Err(e) = self.admit(stream) {
                log::debug!("a control client was not admitted: {e}");
            }
        }
    }

    fn admit(&mut self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(true)?;
        if self.clients.slab.len() >= MAX_CLIENTS {
            let full = Reply::Error(error(
                ErrorCode::Busy,
                format!("{MAX_CLIENTS} clients are connected already"),
                "end some of them, or try again",
            ));
            let mut line = serde_json::to_vec(&full)?;
            line.push(b'\n');
            return stream.write_all(&line);
        }
        let peer = unix_socket::peer(&stream)?;
        let may_change = peer.uid == 0
            || peer.uid == nix::unistd::geteuid().as_raw()
            || self.clients.group.is_some_and(|g| {
                peer.gid == g
                    || unix_socket::peer_groups(&stream).is_ok_and(|groups| groups.contains(&g))
            });
        let client = Client {
            stream,
            may_change,
            uid: peer.uid,
            input: Vec::new(),
            out: Vec::new(),
            written: 0,
            job: Job::None,
            closing: false,
            blocked: false,
            gone: false,
        };
        let key = self.clients.slab.insert(client);
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, TOKEN_CLIENT | key as u64);
        self.epoll
            .add(self.clients.slab[key].stream.as_fd(), event)?;
        Ok(())
    }

    pub fn client_ready(&mut self, key: usize, flags: EpollFlags) {
        let Some(client) = self.clients.slab.get_mut(key) else {
            return;
        };
        if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            return self.hung_up(key);
        }
        if flags.contains(EpollFlags::EPOLLOUT) {
            client.blocked = false;
        }
        self.clients.busy.insert(key);
    }

    /// Nobody reads the answers any more, but what was asked for before that is done.
    fn hung_up(&mut self, key: usize) {
        while let Some(client) = self.clients.slab.get_mut(key) {
            if client.closing || matches!(client.job, Job::Waiting) {
                break;
            }
            client.out.clear();
            client.written = 0;
            client.job = Job::None;
            let unread = client.input.len();
            self.read_requests(key);
            // Nothing more came, and no request is left.
            if let Some(client) = self.clients.slab.get(key)
                && matches!(client.job, Job::None)
                && client.input.len() == unread
            {
                break;
            }
        }
        self.drop_client(key);
    }

    fn drop_client(&mut self, key: usize) {
        if let Some(client) = self.clients.slab.get_mut(key) {
            if matches!(client.job, Job::Waiting) && !client.gone {
                // Its answer is still being made: its place is kept until then, or the next client would get it.
                client.gone = true;
                let _ = self.epoll.delete(client.stream.as_fd());
                let _ = client.stream.shutdown(std::net::Shutdown::Both);
            } else {
                // Closing the fd takes it out of the epoll set.
                self.clients.slab.remove(key);
            }
        }
        self.clients.busy.remove(&key);
    }

    /// Every client that has something to do gets a bounded share of this turn.
    pub fn serve_clients(&mut self) {
        let busy: Vec<usize> = self.clients.busy.drain().collect();
        for key in busy {
            self.serve(key);
        }
    }

    fn serve(&mut self, key: usize) {
        loop {
            self.read_requests(key);
            self.continue_job(key);
            let Some(client) = self.clients.slab.get_mut(key) else {
                return;
            };
            match client.flush() {
                Err(_) => return self.drop_client(key),
                Ok(false) => {
                    client.blocked = true;
                    return;
                }
                Ok(true) if client.closing && matches!(client.job, Job::None) => {
                    return self.drop_client(key);
                }
                Ok(true) => {}
            }
            if !client.job_is_pressing() {
                return;
            }
        }
    }

    /// Reads what has come and starts the next request, if none is being answered.
    fn read_requests(&mut self, key: usize) {
        let mut chunk = [0; 4096];
        loop {
            let Some(client) = self.clients.slab.get_mut(key) else {
                return;
            };
            if !matches!(client.job, Job::None) || client.closing {
                // Nothing is read while an answer is under way: the socket's buffer bounds what can pile up.
                // A watcher's hang-up shows when it is next written to, or as EPOLLHUP.
                return;
            }
            if let Some(end) = client.input.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = client.input.drain(..=end).collect();
                self.request_line(key, &line[..end]);
                continue;
            }
            if client.input.len() > MAX_REQUEST {
                client.line(&Reply::Error(error(
                    ErrorCode::TooLong,
                    format!("a request line longer than {} KiB", MAX_REQUEST / 1024),
                    "one JSON object a line, see PROTOCOL.md",
                )));
                client.input.clear();
                client.closing = true;
                return;
            }
            match client.stream.read(&mut chunk) {
                Ok(0) => {
                    client.closing = true;
                    return;
                }
                Ok(n) => client.input.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    client.closing = true;
                    return;
                }
            }
        }
    }

    fn request_line(&mut self, key: usize, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let request = match parse(line) {
            Ok(request) => request,
            Err(e) => return self.clients.reply(key, &Reply::Error(e)),
        };
        let Some(client) = self.clients.slab.get_mut(key) else {
            return;
        };
        if changes(&request.op) && !client.may_change {
            let uid = client.uid;
            let e = error(
                ErrorCode::Denied,
                format!("uid {uid} may read, but not change anything"),
                match &self.model.daemon.control_group {
                    Some(group) => format!("ask root, or become a member of group `{group}`"),
                    None => "ask root, or set daemon.control_group to a group of yours".into(),
                },
            );
            return self.clients.reply(key, &Reply::Error(e));
        }
        self.request(key, request.op);
    }

    /// Makes more of the answer while the client takes it.
    fn continue_job(&mut self, key: usize) {
        loop {
            let Some(client) = self.clients.slab.get_mut(key) else {
                return;
            };
            if client.blocked || !client.has_room() {
                return;
            }
            let next = match &mut client.job {
                Job::None | Job::Waiting => return,
                Job::Rows { ids } => match ids.pop_front() {
                    Some(id) => Next::Row(id),
                    None => Next::End,
                },
                Job::Run { waiting, done } => match done.pop_front() {
                    Some(id) => Next::Row(id),
                    None if waiting.is_empty() => Next::End,
                    None => return,
                },
                Job::Watch {
                    changed,
                    queued,
                    gone,
                    ..
                } => match (gone.pop(), changed.pop_front()) {
                    (Some(name), id) => {
                        if let Some(id) = id {
                            changed.push_front(id);
                        }
                        client.line(&Reply::Gone { name });
                        continue;
                    }
                    (None, Some(id)) => {
                        queued.remove(&id);
                        Next::Watched(id)
                    }
                    (None, None) => return,
                },
            };
            match next {
                Next::End => {
                    client.line(&Reply::End);
                    client.job = Job::None;
                    return;
                }
                Next::Row(id) | Next::Watched(id) => {
                    let Some(row) = self
                        .checks
                        .get(id as usize)
                        .and_then(Option::as_ref)
                        .map(|c| c.row())
                    else {
                        continue;
                    };
                    if let Job::Watch { filter, first, .. } = &mut client.job {
                        // The client was told how many rows come first, whatever they say by then.
                        if *first > 0 {
                            *first -= 1;
                        } else if !filter.matches(&row.name, &row.plugin, row.verdict) {
                            continue;
                        }
                    }
                    client.line(&Reply::Check(row));
                }
            }
        }
    }
}

enum Next {
    Row(u32),
    Watched(u32),
    End,
}

impl Client {
    /// More can be written at once: more rows, or the next request that has been read already.
    fn job_is_pressing(&self) -> bool {
        match &self.job {
            Job::None => self.input.contains(&b'\n'),
            Job::Rows { .. } => true,
            Job::Run { done, waiting } => !done.is_empty() || waiting.is_empty(),
            Job::Watch { changed, gone, .. } => !changed.is_empty() || !gone.is_empty(),
            Job::Waiting => false,
        }
    }
}

fn parse(line: &[u8]) -> Result<Request, ControlError> {
    let bad = |e: serde_json::Error| {
        error(
            ErrorCode::BadRequest,
            format!("not a request: {e}"),
            "one JSON object a line, see PROTOCOL.md",
        )
    };
    // The version first: a newer client's operation may be one that we do not know.
    #[derive(serde::Deserialize)]
    struct Head {
        v: u32,
    }
    let head: Head = serde_json::from_slice(line).map_err(bad)?;
    if head.v != VERSION {
        return Err(error(
            ErrorCode::Version,
            format!(
                "protocol version {} is not spoken here; this daemon speaks {VERSION}",
                head.v
            ),
            "use the healthctl of the same release",
        ));
    }
    serde_json::from_slice(line).map_err(bad)
}

/// Reading is for everyone who can open the socket.
fn changes(op: &Op) -> bool {
    match op {
        Op::Run(_) | Op::Pause { .. } | Op::Resume(_) | Op::Reload | Op::Stop => true,
        Op::Status(_)
        | Op::Show { .. }
        | Op::Watch(_)
        | Op::Why { .. }
        | Op::Workers
        | Op::Plugins
        | Op::Version => false,
    }
}
