//! `events`: what the journal holds, and what comes.

use super::client::{Job, error};
use super::matcher::Matcher;
use crate::director::Manager;
use crate::time;
use crate::time::MS;
use healthd_core::wire::control::{ErrorCode, Events, Filter, Reply};
use healthd_sys::clock;
use std::collections::BTreeMap;

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
        let filter = Filter {
            names: asked.names,
            ..Filter::default()
        };
        // What they name may be gone by now, and its events are still there.
        let of = match filter.is_empty() {
            true => None,
            false => match Matcher::new(filter, |name| self.checks.find(name).is_some()) {
                Ok(matcher) => Some(Box::new(matcher)),
                Err(e) => return self.clients.reply(client, &Reply::Error(e)),
            },
        };
        let reader = self
            .books
            .journal
            .reader(asked.after, since_ns, asked.follow);
        self.set_job(
            client,
            Job::Events {
                reader,
                of,
                more: true,
            },
        );
    }

    /// One more line for it. False: there is none for now.
    pub(super) fn next_event(&mut self, key: usize) -> bool {
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        let Job::Events { reader, of, more } = &mut client.job else {
            return false;
        };
        let event = self.books.journal.next_for(reader);
        *more = event.is_some();
        let forever = reader.forever;
        match event {
            Some(event) => {
                let row = event.row(time::rfc3339);
                let none = BTreeMap::new();
                let is_of = |matcher: &Matcher| {
                    let Some(name) = row.check.as_deref() else {
                        // What it has missed may have been of them.
                        return row.missed.is_some();
                    };
                    let check = self.checks.find(name).and_then(|id| self.checks.get(id));
                    let labels = check.map_or(&none, |c| &c.spec.labels);
                    matcher.means(name, "", labels)
                };
                if of.as_deref().is_none_or(is_of) {
                    client.line(&Reply::Event(Box::new(row)));
                }
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
