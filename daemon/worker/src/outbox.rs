//! Results on their way to the manager: alone and at once when they are news, else together.

use healthd_core::wire::frame::{MAX_BATCH, MAX_BATCH_RECORDS};
use healthd_core::wire::worker::{RunEnd, ToManager};
use healthd_loader::Results;
use healthd_sys::fork_guard::ForkGuard;
use healthd_sys::unix_socket;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Messages that have left keep their room for others: so many, and none that was larger than two batches.
const MOST_SPARE: usize = 4;
const KEPT: usize = 2 * MAX_BATCH;

pub struct Outbox {
    link: OwnedFd,
    guard: ForkGuard,
    /// Whole messages that the link had no room for.
    full: VecDeque<(Vec<u8>, Option<Arc<OwnedFd>>)>,
    open: Vec<u8>,
    spare: Vec<Vec<u8>>,
    records: usize,
    /// When the open message must leave; None: it is empty.
    flush_at: Option<u64>,
}

impl Outbox {
    pub fn new(link: OwnedFd) -> io::Result<Outbox> {
        let guard = ForkGuard::new()?;
        Ok(Outbox {
            link,
            guard,
            full: VecDeque::new(),
            open: Vec::new(),
            spare: Vec::new(),
            records: 0,
            flush_at: None,
        })
    }

    pub fn link(&self) -> &OwnedFd {
        &self.link
    }

    /// `leave_by`: how long it may wait for others (CLOCK_MONOTONIC, ns).
    pub fn result(&mut self, end: &RunEnd, said: &Results, leave_by: u64) {
        end.encode(&said.message, &said.detail, &said.items, &mut self.open);
        self.added(leave_by);
    }

    pub fn say(&mut self, message: &ToManager) {
        message.encode(&mut self.open);
        self.added(0);
    }

    /// Alone in its message, with an fd if there is one.
    pub fn say_with(&mut self, message: &ToManager, fd: Option<Arc<OwnedFd>>) {
        if fd.is_none() {
            return self.say(message);
        }
        self.close_message();
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.full.push_back((bytes, fd));
    }

    fn added(&mut self, leave_by: u64) {
        self.records += 1;
        self.flush_at = Some(self.flush_at.map_or(leave_by, |at| at.min(leave_by)));
        // A result has at most 114 KiB (`loader/context.rs`), so a message that was below this bound stays below the link's limit.
        if self.open.len() >= MAX_BATCH || self.records >= MAX_BATCH_RECORDS {
            self.close_message();
        }
    }

    fn close_message(&mut self) {
        if !self.open.is_empty() {
            let next = self.spare.pop().unwrap_or_default();
            let open = std::mem::replace(&mut self.open, next);
            self.full.push_back((open, None));
        }
        self.records = 0;
        self.flush_at = None;
    }

    pub fn flush_at(&self) -> Option<u64> {
        self.flush_at
    }

    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.is_empty()
    }

    /// Sends what is due. What the link has no room for stays, and goes when it is writable again.
    pub fn flush(&mut self, now: u64) -> io::Result<()> {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.close_message();
        }
        while let Some((message, fd)) = self.full.front() {
            if !self.guard.is_original() {
                // A plugin has forked us, and the copy runs our code: it must not speak for the worker.
                healthd_sys::process::exit_now(0);
            }
            let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
            if !unix_socket::send(&self.link, message, &fds)? {
                break;
            }
            let sent = self.full.pop_front();
            if let Some((mut message, _)) = sent
                && self.spare.len() < MOST_SPARE
                && message.capacity() <= KEPT
            {
                message.clear();
                self.spare.push(message);
            }
        }
        Ok(())
    }
}
