//! Where output goes: standard output and error, what they are, and a progress line that never mixes
//! with results.

use crate::args::When;
use crate::error::CtlError;
use crate::render::Look;
use crate::render::paint::Paint;
use crate::render::text::{cut, escape, wrap};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, IsTerminal, Write};

/// One of the two outputs, and what stands behind it.
pub struct Output {
    pub writer: Box<dyn Write>,
    pub is_terminal: bool,
}

/// What the process has to write to; tests bring their own.
pub struct Outputs {
    pub out: Output,
    pub err: Output,
    /// Columns and lines; None: ask the terminal each time.
    pub size: Option<(usize, usize)>,
    /// None: the clock and the zone of this machine.
    pub now: Option<(Timestamp, TimeZone)>,
    /// NO_COLOR is set, or the terminal is dumb.
    pub no_color: bool,
    pub dumb: bool,
}

impl Outputs {
    pub fn of_process() -> Outputs {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Outputs {
            // Each answer is written at once, so the line buffer of `io::stdout` would only copy it.
            out: Output {
                writer: Box::new(io::stdout()),
                is_terminal: io::stdout().is_terminal(),
            },
            err: Output {
                writer: Box::new(io::stderr()),
                is_terminal: io::stderr().is_terminal(),
            },
            size: None,
            now: None,
            no_color: set("NO_COLOR"),
            dumb,
        }
    }
}

pub struct Screen {
    io: Outputs,
    color: When,
    wide: bool,
    zone: Option<TimeZone>,
    /// The reader of standard output has left (`healthctl status | head`): no error, but no need to go on.
    closed: bool,
    progress_shown: bool,
}

impl Screen {
    pub fn new(io: Outputs, color: When, wide: bool) -> Screen {
        Screen {
            io,
            color,
            wide,
            zone: None,
            closed: false,
            progress_shown: false,
        }
    }

    pub fn look(&mut self) -> Look {
        let (now, zone) = match &self.io.now {
            Some((now, zone)) => (*now, zone.clone()),
            // Reading the zone costs a few file accesses: once.
            None => (
                Timestamp::now(),
                self.zone.get_or_insert_with(TimeZone::system).clone(),
            ),
        };
        Look {
            width: (self.io.out.is_terminal && !self.wide).then(|| self.size().0),
            color: self.colored(self.io.out.is_terminal),
            now,
            zone,
        }
    }

    fn colored(&self, is_terminal: bool) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => is_terminal && !self.io.no_color && !self.io.dumb,
        }
    }

    pub fn err_color(&self) -> bool {
        self.colored(self.io.err.is_terminal)
    }

    /// Columns and lines of the terminal.
    pub fn size(&self) -> (usize, usize) {
        let ask = |fd| {
            rustix::termios::tcgetwinsize(fd)
                .ok()
                .filter(|size| size.ws_col > 0)
        };
        self.io.size.unwrap_or_else(|| {
            ask(rustix::stdio::stdout())
                .or_else(|| ask(rustix::stdio::stderr()))
                .map_or((80, 24), |size| {
                    (usize::from(size.ws_col), usize::from(size.ws_row.max(2)))
                })
        })
    }

    pub fn can_move_cursor(&self) -> bool {
        self.io.out.is_terminal && !self.io.dumb
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Text as it is, to standard output; the caller has escaped what came from elsewhere.
    pub fn print(&mut self, text: &str) -> Result<(), CtlError> {
        if self.closed {
            return Ok(());
        }
        self.clear_progress();
        let out = &mut self.io.out.writer;
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(CtlError::Output(error)),
        }
    }

    pub fn print_line(&mut self, line: &str) -> Result<(), CtlError> {
        self.print(&format!("{line}\n"))
    }

    /// A sentence; on a terminal its words are whole.
    pub fn print_prose(&mut self, text: &str, indent: &str) -> Result<(), CtlError> {
        let room = match self.look().width {
            Some(width) => width.saturating_sub(indent.len()),
            None => usize::MAX,
        };
        let lines = wrap(text, room);
        self.print_line(&lines.join(&format!("\n{indent}")))
    }

    /// A line on standard error: `healthctl: note: …`.
    pub fn note(&mut self, kind: &str, text: &str) {
        let paint = match kind {
            "error" => Paint::Bad,
            "warning" => Paint::Warn,
            _ => Paint::Dim,
        };
        let painted = paint.on(kind, self.err_color());
        let head = format!("healthctl: {kind}: ");
        let lines = self.prose(&head, &escape(text), "  ");
        self.complain(&lines.replacen(kind, &painted, 1));
    }

    pub fn error(&mut self, error: &CtlError) {
        self.note("error", &error.to_string());
        if let CtlError::Answer(answer) = error {
            for diagnostic in &answer.diagnostics {
                self.complain(&crate::render::text::escape_lines(diagnostic));
            }
        }
        let help = error.help();
        if !help.is_empty() {
            let lines = self.prose("  help: ", &escape(&help), "        ");
            self.complain(&lines);
        }
    }

    /// A sentence for standard error; on a terminal its words are whole.
    fn prose(&self, head: &str, text: &str, indent: &str) -> String {
        let room = match self.io.err.is_terminal {
            true => self.size().0.saturating_sub(indent.len()),
            false => usize::MAX,
        };
        let lines = wrap(&format!("{head}{text}"), room);
        lines.join(&format!("\n{indent}")) + "\n"
    }

    /// Text for standard error; that it cannot be written can be told to nobody.
    pub fn complain(&mut self, text: &str) {
        self.clear_progress();
        let _ = self.io.err.writer.write_all(text.as_bytes());
        let _ = self.io.err.writer.flush();
    }

    pub fn has_progress(&self) -> bool {
        self.io.err.is_terminal && !self.io.dumb
    }

    /// A line that the next one replaces; only on a terminal.
    pub fn progress(&mut self, text: &str) {
        if self.has_progress() {
            let columns = self.size().0.saturating_sub(1);
            let line = format!("\r\x1b[K{}", cut(text, columns));
            let _ = self.io.err.writer.write_all(line.as_bytes());
            let _ = self.io.err.writer.flush();
            self.progress_shown = true;
        }
    }

    pub fn clear_progress(&mut self) {
        if std::mem::take(&mut self.progress_shown) {
            let _ = self.io.err.writer.write_all(b"\r\x1b[K");
            let _ = self.io.err.writer.flush();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear_progress();
    }
}
