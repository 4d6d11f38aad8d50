//! Colours: the few that carry a meaning, from the sixteen that every terminal has.

use healthd_core::check::outcome::{Status, Verdict};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Odd,
    Dim,
    Bold,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Plain => "",
            Paint::Good => "\x1b[32m",
            Paint::Warn => "\x1b[33m",
            Paint::Bad => "\x1b[1;31m",
            Paint::Odd => "\x1b[35m",
            Paint::Dim => "\x1b[2m",
            Paint::Bold => "\x1b[1m",
        }
    }

    pub fn on(self, text: &str, color: bool) -> String {
        match (color, self) {
            (false, _) | (_, Paint::Plain) => text.to_owned(),
            _ => format!("{}{text}\x1b[0m", self.code()),
        }
    }
}

impl From<Verdict> for Paint {
    fn from(verdict: Verdict) -> Paint {
        match verdict {
            Verdict::Ok => Paint::Good,
            Verdict::Warning => Paint::Warn,
            Verdict::Critical => Paint::Bad,
            Verdict::Unknown => Paint::Odd,
            Verdict::Pending => Paint::Dim,
        }
    }
}

/// Problems stand out without colour too.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "WARNING",
        Verdict::Critical => "CRITICAL",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Pending => "pending",
    }
}

pub fn status_word(status: Status) -> &'static str {
    word(Verdict::from(status))
}
