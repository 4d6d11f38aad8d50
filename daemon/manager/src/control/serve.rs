//! A client's share of a turn: requests in, as much of the answer out as it takes, and no more than others
//! can bear.

use super::client::{Client, Input, Job, error};
use crate::book::{MS, Manager};
use healthd_core::wire::control::{ErrorCode, MAX_REQUEST, Reply, Request};
use healthd_sys::clock;
use nix::sys::epoll::EpollFlags;

/// Clients together get so long in a turn; what is left goes on in the next, after the checks.
const SHARE_NS: u64 = 10 * MS;
/// Requests that one client is answered before another has its turn.
const REQUESTS: usize = 8;

impl Manager {
    pub fn client_ready(&mut self, key: usize, flags: EpollFlags) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            client.hung_up();
        }
        if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP) {
            client.readable = true;
        }
        if flags.contains(EpollFlags::EPOLLOUT) {
            client.blocked = false;
        }
        self.clients.mark(key);
    }

    /// Those that have something to do, one after the other, each with a bounded share.
    pub fn serve_clients(&mut self) {
        let mut now = clock::monotonic_ns();
        let until = now + SHARE_NS;
        for _ in 0..self.clients.busy.len() {
            if now > until {
                return;
            }
            let Some(key) = self.clients.busy.pop_front() else {
                return;
            };
            self.serve(key);
            now = clock::monotonic_ns();
        }
    }

    pub(super) fn serve(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.queued = false;
        self.read_requests(key);
        self.continue_job(key);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let flushed = client.flush();
        match flushed {
            Err(_) => client.hung_up(),
            Ok(false) => return,
            Ok(true) if client.is_over() => return self.clients.remove(key),
            Ok(true) => {}
        }
        if client.is_pressing() {
            self.clients.mark(key);
        }
    }

    /// Reads what has come and begins the next requests, as long as none is being answered: the socket's
    /// buffer bounds what can pile up.
    fn read_requests(&mut self, key: usize) {
        for _ in 0..REQUESTS {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            if !matches!(client.job, Job::None) || !client.has_room() {
                return;
            }
            match client.next_line(MAX_REQUEST) {
                Input::Line(line) => self.request_line(key, &line),
                Input::Nothing => return,
                Input::TooLong => {
                    client.line(&Reply::Error(error(
                        ErrorCode::TooLong,
                        format!("a request line longer than {} KiB", MAX_REQUEST / 1024),
                        "one JSON object a line, see PROTOCOL.md",
                    )));
                    client.input.clear();
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
        let request = match Request::read(line) {
            Ok(request) => request,
            Err(e) => return self.clients.reply(key, &Reply::Error(e)),
        };
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // Its sender has given up: it would be a surprise now.
        let late = |at: u64| clock::monotonic_ns() / MS > at;
        if request.op.changes() && request.expires_ms.is_some_and(late) {
            let e = error(
                ErrorCode::Failed,
                "this was asked too late: its time was over before it could be read",
                "nothing was changed; ask again",
            );
            return self.clients.reply(key, &Reply::Error(e));
        }
        if request.op.changes() && !client.may_change {
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
    pub(super) fn continue_job(&mut self, key: usize) {
        loop {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            if client.gone {
                client.job = Job::None;
            }
            if !client.has_room() {
                return;
            }
            if matches!(client.job, Job::Events { .. }) {
                match self.next_event(key) {
                    true => continue,
                    false => return,
                }
            }
            let id = match next_of(client) {
                Next::Row(id) => id,
                Next::Said => continue,
                Next::Nothing => return,
            };
            let row = self
                .checks
                .get(id as usize)
                .and_then(Option::as_ref)
                .map(|c| c.row());
            if let (Some(row), Some(client)) = (row, self.clients.get_mut(key))
                && is_shown(&mut client.job, &row)
            {
                client.line(&Reply::Check(row));
            }
        }
    }
}

enum Next {
    Row(u32),
    /// It was a line of another kind.
    Said,
    Nothing,
}

fn next_of(client: &mut Client) -> Next {
    let end = match &mut client.job {
        Job::None | Job::Waiting | Job::Events { .. } => return Next::Nothing,
        Job::Rows { ids } => match ids.pop_front() {
            Some(id) => return Next::Row(id),
            None => Reply::End,
        },
        Job::Lines { lines } => match lines.pop_front() {
            Some(line) => {
                client.line(&line);
                return Next::Said;
            }
            None => Reply::End,
        },
        Job::Run { waiting, done } => match done.pop_front() {
            Some(id) => return Next::Row(id),
            None if waiting.is_empty() => Reply::End,
            None => return Next::Nothing,
        },
        Job::Watch {
            changed,
            queued,
            gone,
            ..
        } => {
            if let Some(name) = gone.pop() {
                client.line(&Reply::Gone { name });
                return Next::Said;
            }
            let Some(id) = changed.pop_front() else {
                return Next::Nothing;
            };
            queued.remove(&id);
            return Next::Row(id);
        }
    };
    client.line(&end);
    client.job = Job::None;
    Next::Nothing
}

/// Of a watch's changes only those that its filter lets through; but it was told how many rows come first,
/// whatever they say by then.
fn is_shown(job: &mut Job, row: &healthd_core::wire::control::CheckRow) -> bool {
    match job {
        Job::Watch { first, .. } if *first > 0 => {
            *first -= 1;
            true
        }
        Job::Watch { sieve, .. } => row
            .verdict
            .is_some_and(|v| sieve.matches(&row.name, &row.plugin, v)),
        _ => true,
    }
}
