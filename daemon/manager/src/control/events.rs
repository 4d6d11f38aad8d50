//! `events`: what the journal holds, and what comes.

use super::client::{Job, error};
use crate::director::Manager;
use crate::time;
use crate::time::MS;
use healthd_core::wire::control::{ErrorCode, Events, Reply};
use healthd_sys::clock;

/// For each client.
const LAST_WORDS_NS: u64 = 10 * MS;

impl Manager {
    pub(super) fn events(&mut self, client: usize, asked: Events) {
        let since_ns = match asked.since.as_deref().map(time::parse) {
            None => 0,
            Some(Some(ns)) => ns,
            Some(None) => {
                let e = error(
                    ErrorCode::BadRequest,
                    "`since` is no time",
                    "RFC 3339, as in 2026-11-22T10:00:00Z",
                );
                return self.clients.reply(client, &Reply::Error(e));
            }
        };
        let last = self.books.journal.last();
        if let Some(after) = asked.after.filter(|after| *after > last) {
            let e = error(
                ErrorCode::BadRequest,
                format!("event {after} has not happened: the last one is {last}"),
                "numbers begin anew only where state_dir was emptied: begin with `after` 0",
            );
            return self.clients.reply(client, &Reply::Error(e));
        }
        if !self.books.journal.is_kept() {
            let e = error(
                ErrorCode::Failed,
                "there is no journal of events",
                "the log says why at the manager's start: most likely runtime_dir has no room",
            );
            return self.clients.reply(client, &Reply::Error(e));
        }
        let reader = self
            .books
            .journal
            .reader(asked.after, since_ns, asked.follow);
        self.set_job(client, Job::Events { reader, more: true });
    }

    /// One more line for it. False: there is none for now.
    pub(super) fn next_event(&mut self, key: usize) -> bool {
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        let Job::Events { reader, more } = &mut client.job else {
            return false;
        };
        let event = self.books.journal.next_for(reader);
        *more = event.is_some();
        let forever = reader.forever;
        match event {
            Some(event) => {
                client.line(&Reply::Event(Box::new(event.row(time::rfc3339))));
                return true;
            }
            None if forever => {}
            None => {
                client.job = Job::None;
                client.line(&Reply::End);
            }
        }
        false
    }

    /// The last words to those who follow.
    pub fn end_events(&mut self) {
        self.clients.tell_events();
        for key in self.clients.keys() {
            self.continue_job(key, clock::monotonic_ns() + LAST_WORDS_NS);
        }
    }
}
