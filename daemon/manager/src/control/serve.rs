//! A client's share of a turn: requests in, as much of the answer out as it takes, and no more than others
//! can bear.

use super::budget::FEE;
use super::client::{Client, Input, Job, error};
use super::clients::LOOK_FOR_IDLE_NS;
use crate::director::{Chore, Manager};
use crate::time::MS;
use healthd_core::matching::Match;
use healthd_core::wire::control::{
    CheckRow, ControlError, ErrorCode, MAX_REQUEST, Op, Reply, Request,
};
use healthd_core::wire::glob;
use healthd_sys::clock;
use nix::sys::epoll::EpollFlags;
use std::collections::BTreeMap;

/// Clients together get so long in a turn; what is left goes on in the next, after the checks.
const SHARE_NS: u64 = 10 * MS;
/// Of it one client gets so long at a time.
const SLICE_NS: u64 = 2 * MS;
/// Whose user has nothing left is asked again after so long.
const REST_NS: u64 = 20 * MS;
/// Requests that one client is answered before another has its turn.
const REQUESTS: usize = 8;

impl Manager {
    pub fn client_ready(&mut self, key: usize, flags: EpollFlags) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            client.hung_up();
        } else if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP) {
            client.readable = true;
        }
        if flags.contains(EpollFlags::EPOLLOUT) {
            client.blocked = false;
        }
        self.clients.mark(key);
    }

    /// Those that have something to do, one after the other, each with a bounded share.
    pub fn serve_clients(&mut self) {
        let begun = clock::monotonic_ns();
        let busy = &self.clients.busy;
        let (first, others) = (busy.first.len(), busy.others.len());
        let part = if others == 0 { 1 } else { 2 };
        self.serve_some(first, begun + SHARE_NS / part, |m| {
            m.clients.busy.first.pop_front()
        });
        self.serve_some(others, begun + SHARE_NS, |m| {
            m.clients.busy.others.pop_front()
        });
    }

    fn serve_some(
        &mut self,
        count: usize,
        until: u64,
        next: impl Fn(&mut Manager) -> Option<usize>,
    ) {
        let mut now = clock::monotonic_ns();
        for _ in 0..count {
            if now > until {
                return;
            }
            let Some(key) = next(self) else {
                return;
            };
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            let (uid, over) = (client.uid, client.is_over());
            if !over && !self.clients.budgets.has_left(uid, now) {
                self.let_rest(key, now);
                continue;
            }
            let begun = now;
            self.serve(key, (begun + SLICE_NS).min(until));
            now = clock::monotonic_ns();
            self.clients.budgets.spend(uid, now - begun, now);
        }
    }

    /// It keeps its place in the queue's books, and comes back into it by a chore.
    fn let_rest(&mut self, key: usize, now: u64) {
        if self.clients.resting.is_empty() {
            self.clockwork
                .chores
                .insert((now + REST_NS) / MS, Chore::WakeClients);
        }
        self.clients.resting.push(key);
    }

    pub fn end_idle_clients(&mut self, now: u64) {
        self.clients.end_idle(now);
        let next = now + LOOK_FOR_IDLE_NS;
        self.clockwork
            .chores
            .insert(next / MS, Chore::EndIdleClients);
    }

    fn serve(&mut self, key: usize, until: u64) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.queued = false;
        self.read_requests(key, until);
        self.continue_job(key, until);
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
    fn read_requests(&mut self, key: usize, until: u64) {
        for _ in 0..REQUESTS {
            let now = clock::monotonic_ns();
            if now > until {
                return;
            }
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            if !matches!(client.job, Job::None) || !client.has_room() {
                return;
            }
            match client.next_line(MAX_REQUEST) {
                Input::Line(line) => {
                    client.active = now;
                    let uid = client.uid;
                    self.clients.budgets.spend(uid, FEE, now);
                    self.request_line(key, &line);
                }
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
        if client.gone && !request.op.changes() {
            return;
        }
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
        let (rights, uid) = (client.rights, client.uid);
        if request.op.changes() && !self.clients.may_change(rights) {
            let (what, help) = match (rights.below, &self.model.daemon.control_group) {
                (Some(_), _) => (
                    "what healthd itself has started may read, but not change anything".into(),
                    "a program of a check has no say over checks: ask from outside of healthd"
                        .into(),
                ),
                (None, group) => (
                    format!("uid {uid} may read, but not change anything"),
                    match group {
                        Some(group) => format!("ask root, or become a member of group `{group}`"),
                        None => "ask root, or set daemon.control_group to a group of yours".into(),
                    },
                ),
            };
            let e = error(ErrorCode::Denied, what, help);
            return self.clients.reply(key, &Reply::Error(e));
        }
        match too_long(&request.op) {
            Some(e) => self.clients.reply(key, &Reply::Error(e)),
            None => self.request(key, request.op),
        }
    }

    /// Makes more of the answer while the client takes it.
    pub(super) fn continue_job(&mut self, key: usize, until: u64) {
        loop {
            let now = clock::monotonic_ns();
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            client.active = now;
            if matches!(client.job, Job::Selecting(_)) {
                if !self.select_on(key, until) {
                    return;
                }
                continue;
            }
            if client.gone {
                client.job = Job::None;
            }
            if !client.has_room() || now > until {
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
            let check = self.checks.get(id);
            let row = check.map(|c| (c.row(), &c.spec.labels));
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            match row {
                Some((row, labels)) if is_shown(&mut client.job, id, &row, labels) => {
                    client.line(&Reply::Check(row));
                }
                Some(_) => {}
                // A reload took it away before its first row was told.
                None => {
                    if let Job::Watch(watch) = &mut client.job {
                        watch.first = watch.first.saturating_sub(1);
                    }
                }
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
        Job::None | Job::Waiting | Job::Selecting(_) | Job::Events { .. } => return Next::Nothing,
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
        Job::Watch(watch) => {
            if let Some(name) = watch.gone.pop() {
                client.line(&Reply::Gone { name });
                return Next::Said;
            }
            let Some(id) = watch.changed.pop_front() else {
                return Next::Nothing;
            };
            watch.queued.remove(id);
            return Next::Row(id);
        }
    };
    client.line(&end);
    client.job = Job::None;
    Next::Nothing
}

/// Of a watch's changes only those that its filter lets through; but it was told how many rows come first,
/// whatever they say by then.
fn is_shown(job: &mut Job, id: u32, row: &CheckRow, labels: &BTreeMap<String, String>) -> bool {
    let Job::Watch(watch) = job else {
        return true;
    };
    let first = watch.first > 0;
    watch.first = watch.first.saturating_sub(1);
    if watch.asked.insert(id) || watch.matcher.asks_labels() {
        match watch.matcher.means(&row.name, &row.plugin, labels) {
            true => watch.meant.insert(id),
            false => watch.meant.remove(id),
        };
    }
    let shown =
        first || (watch.meant.contains(id) && row.verdict.is_some_and(|v| watch.matcher.shows(v)));
    if shown {
        watch.told.insert(id);
    }
    shown
}

/// No name of ours is longer, and no reason needs to be: what a client sends is kept, logged and shown.
fn too_long(op: &Op) -> Option<ControlError> {
    let (names, reason): (&[String], &str) = match op {
        Op::Status(f) | Op::Watch(f) | Op::Run(f) | Op::Resume(f) => (&f.names, ""),
        Op::Pause { filter, reason, .. } => (&filter.names, reason),
        Op::Release { names } => (names, ""),
        Op::Events(asked) => (&asked.names, ""),
        Op::Silence(ask) => (&[], &ask.reason),
        Op::Ack { name, reason, .. } => (std::slice::from_ref(name), reason),
        Op::AlertsWho { name, .. } => (std::slice::from_ref(name), ""),
        Op::Probe(ask) => (std::slice::from_ref(&ask.module), ""),
        Op::Note { name, .. } => (std::slice::from_ref(name), ""),
        Op::Heartbeat(beat) => (std::slice::from_ref(&beat.name), ""),
        Op::Submit(submission) => (std::slice::from_ref(&submission.name), ""),
        Op::AlertsTest { route } => (std::slice::from_ref(route), ""),
        Op::Show { name } | Op::Why { name } | Op::PluginsRollback { name } => {
            (std::slice::from_ref(name), "")
        }
        Op::PluginsReload { name } => (name.as_slice(), ""),
        _ => (&[], ""),
    };
    let limit = |what: &str, most: usize| {
        let message = format!("a {what} of more than {most} bytes");
        Some(error(ErrorCode::BadRequest, message, "shorten it"))
    };
    if reason.len() > MAX_REASON {
        return limit("reason", MAX_REASON);
    }
    // Patterns have a bound of their own.
    let long = |n: &String| n.len() > MAX_NAME && !glob::is_pattern(n) && !Match::is_meant(n);
    match names.iter().any(long) {
        true => limit("name", MAX_NAME),
        false => None,
    }
}

const MAX_REASON: usize = 256;
const MAX_NAME: usize = 256;
