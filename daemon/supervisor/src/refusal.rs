//! Why the daemon does not start: what is wrong, the way out, and the exit code for the service manager.

use healthd_core::config::{Diagnostic, Diagnostics, Severity};
use std::io::{self, IsTerminal, Write};

#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub message: String,
    pub help: Option<String>,
}

/// Exit codes, from sysexits.h where it has one.
pub mod exit {
    pub const OK: i32 = 0;
    /// The stop was not clean: something had to be killed.
    pub const FAILED: i32 = 1;
    /// EX_OSERR: the system refused something basic.
    pub const SYSTEM: i32 = 71;
    /// EX_CANTCREAT: a folder or the socket cannot be made.
    pub const CANNOT_CREATE: i32 = 73;
    /// EX_TEMPFAIL: another instance runs in the same folder.
    pub const ALREADY_RUNNING: i32 = 75;
    /// EX_CONFIG: the config is wrong; a restart would not help.
    pub const BAD_CONFIG: i32 = 78;
}

impl Refusal {
    pub fn new(code: i32, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
            help: None,
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = Some(help.into());
        self
    }

    /// Prints it as a mistake in the config is printed; returns the exit code.
    pub fn print(self) -> i32 {
        let code = self.code;
        print(&Diagnostics {
            items: vec![self.diagnostic()],
        });
        code
    }

    pub fn diagnostic(self) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(Severity::Error, self.message);
        diagnostic.help = self.help;
        diagnostic
    }
}

/// On stdout; who does not listen any more does not want to know.
pub fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// On stderr: in colour on a terminal, with a priority in front of each line in the journal.
pub fn print(diagnostics: &Diagnostics) {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = diagnostics.render(colour);
    let text = if healthd_sys::logging::stderr_is_journal() {
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| format!("<3>{line}\n"))
            .collect()
    } else {
        text
    };
    // If nobody listens there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}
