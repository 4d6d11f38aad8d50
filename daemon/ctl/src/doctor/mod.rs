//! What on this machine would make healthd, or a check, say less than it could: each finding with the command that
//! mends it. One file an area; each looks, and changes nothing.

pub mod clock;
pub mod daemon;
pub mod disk;
pub mod kernel;
pub mod limits;
pub mod permissions;
pub mod resolver;
pub mod web;

use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It works, but less well than it could.
    Warning,
    /// healthd cannot do its work.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub area: &'static str,
    pub state: State,
    pub what: String,
    /// A command; None: there is nothing to mend.
    pub mend: Option<String>,
}

/// What an area has to say.
pub struct Findings {
    area: &'static str,
    pub list: Vec<Finding>,
}

impl Findings {
    pub fn of(area: &'static str) -> Findings {
        Findings {
            area,
            list: Vec::new(),
        }
    }

    pub fn ok(&mut self, what: impl Into<String>) {
        self.push(State::Ok, what.into(), None);
    }

    pub fn warning(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.push(State::Warning, what.into(), Some(mend.into()));
    }

    pub fn problem(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.push(State::Problem, what.into(), Some(mend.into()));
    }

    fn push(&mut self, state: State, what: String, mend: Option<String>) {
        self.list.push(Finding {
            area: self.area,
            state,
            what,
            mend,
        });
    }
}

/// Whom and what the areas look at.
pub struct Patient {
    pub config: PathBuf,
    pub plugin_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    pub here: bool,
    /// Of the supervisor, while it runs.
    pub pid: Option<u32>,
    /// Whom healthd runs as, or would; None: there is no such user.
    pub user: Option<User>,
    /// The service manager has a unit of it.
    pub has_unit: bool,
}

pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Patient {
    /// The command that starts it.
    pub fn start(&self) -> String {
        match (self.here, self.has_unit) {
            (true, _) => "healthd --here &".to_owned(),
            (false, true) => "sudo systemctl start healthd".to_owned(),
            (false, false) => format!("sudo healthd --config {} &", quoted(&self.config)),
        }
    }

    pub fn restart(&self) -> String {
        match (self.here, self.has_unit) {
            (true, _) => format!("healthctl --here stop --wait; {}", self.start()),
            (false, true) => "sudo systemctl restart healthd".to_owned(),
            (false, false) => format!("sudo healthctl stop --wait; {}", self.start()),
        }
    }

    /// `sudo`, unless it would be one's own.
    pub fn sudo(&self) -> &'static str {
        match self.here {
            true => "",
            false => "sudo ",
        }
    }
}

/// /proc and /sys; a test brings its own.
pub struct Root(pub PathBuf);

impl Root {
    /// Trimmed; None: it is not there, or may not be read.
    pub fn read(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.at(path)).ok()?;
        Some(text.trim().to_owned())
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

/// As a shell takes it.
pub fn quoted(path: &Path) -> String {
    healthd_core::text::word(&path.to_string_lossy()).to_string()
}
