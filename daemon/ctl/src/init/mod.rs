//! What of this machine could be watched: the servers that listen on it, and the machine itself.
//!
//! `listeners` finds who listens where, `services` says with which plugin to ask that, and `file` writes it down.

pub mod file;
pub mod listeners;
pub mod services;

use toml::Table;

/// A check that could be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub name: String,
    /// What was found, as "nginx listens on port 80".
    pub found: String,
    /// How to ask, the best first; the one that is well is taken.
    pub ways: Vec<Way>,
    /// It is of this machine itself: it is taken whatever it says now.
    pub is_machine: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    pub plugin: &'static str,
    pub options: Table,
    /// What more could be asked, for the comment above it.
    pub hint: Option<&'static str>,
}

/// One that was tried, in the way that is written down.
#[derive(Clone, Debug)]
pub struct Tried {
    pub candidate: Candidate,
    pub way: Way,
    /// What it said: "ok: HTTP 200, 612 bytes".
    pub said: String,
}
