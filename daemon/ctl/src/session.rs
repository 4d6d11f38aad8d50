//! What every command needs: the screen, the socket, how long to wait, and the ways to ask.

use crate::args::{CONFIG_HERE, DEFAULT_CONFIG, DEFAULT_SOCKET, Global, SOCKET_HERE};
use crate::connection::{Connection, Patience};
use crate::error::{Change, CtlError};
use crate::exit;
use crate::maps;
use crate::render::json;
use crate::screen::Screen;
use crate::wedged;
use healthd_core::wire::control::{CheckRow, Filter, Op, Problem, Reply, WorkerRow};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
/// New workers may have to get ready first.
const RELOAD_PATIENCE: Duration = Duration::from_secs(120);
/// A manager that turns answers in milliseconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// So long a daemon of this folder may take to its first answer.
const STARTS_WITHIN: Duration = Duration::from_secs(5);
/// After it has made its configuration.
const LISTENS_WITHIN: Duration = Duration::from_secs(3);
/// After this the maps tell instead.
const MAPS_AFTER: Duration = Duration::from_millis(200);
/// So long before that they are read, to be at hand: those of 100,000 checks take 0.1 s of the processor. A daemon that is
/// well has begun its answer by then.
const MAPS_TAKE: Duration = Duration::from_millis(140);

pub struct Session {
    pub screen: Screen,
    pub json: bool,
    socket: PathBuf,
    here: bool,
    timeout: Option<Duration>,
    /// The answer came from the maps: not what healthd says now.
    pub from_maps: bool,
    /// What healthd has said of itself with the rows of `status`.
    pub problems: Vec<Problem>,
    /// Unknown reply types that were already told.
    told: BTreeSet<String>,
}

impl Session {
    pub fn new(screen: Screen, global: &Global) -> Session {
        let from_env = || std::env::var_os("HEALTHD_SOCKET").filter(|value| !value.is_empty());
        let here = global.here.then(|| SOCKET_HERE.into());
        let socket = (global.socket.clone().or(here))
            .or_else(|| from_env().map(PathBuf::from))
            .unwrap_or_else(|| DEFAULT_SOCKET.into());
        Session {
            screen,
            json: global.json,
            socket,
            here: global.here,
            timeout: global.timeout,
            from_maps: false,
            problems: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Where the configuration is expected, unless somebody says otherwise.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn config(&self) -> &'static Path {
        Path::new(match self.here {
            true => CONFIG_HERE,
            false => DEFAULT_CONFIG,
        })
    }

    /// That of the running daemon, if there is one.
    pub fn config_in_force(&mut self) -> Result<PathBuf, CtlError> {
        let asked = self.ask_one(Op::Version, "version", |reply| match reply {
            Reply::Version(info) => Some(info.config),
            _ => None,
        });
        match asked {
            Ok(config) if !config.is_empty() => Ok(config.into()),
            Ok(_) => Ok(self.config().to_owned()),
            Err(CtlError::NoSocket { .. } | CtlError::Refused { .. }) => {
                Ok(self.config().to_owned())
            }
            Err(error) => Err(error),
        }
    }

    /// `healthd --here` in the line above ours, as when both are pasted, may not have made its folder yet.
    pub fn await_start(&mut self) {
        let begun = Instant::now();
        while self.here && !(self.socket.exists() && self.is_answered()) {
            let made = std::fs::metadata(self.config()).and_then(|config| config.modified());
            let may_come = match made.map(|time| time.elapsed().unwrap_or_default()) {
                Err(_) => begun.elapsed() < STARTS_WITHIN,
                // It was made a moment ago: somebody starts one. It locks its folder before it listens.
                Ok(age) if self.socket.with_file_name("healthd.pid").exists() => {
                    age < LISTENS_WITHIN
                }
                Ok(age) => age < 2 * STARTS_WITHIN,
            };
            if !may_come {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The daemon of this folder is meant.
    pub fn is_here(&self) -> bool {
        self.here
    }

    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub fn ask(&self, op: Op) -> Result<Connection, CtlError> {
        Connection::ask(&self.socket, op, Some(self.timeout.unwrap_or(PATIENCE)))
    }

    /// For an answer that comes at once.
    pub fn patience(&self) -> Patience {
        let time = Some(self.timeout.unwrap_or(PATIENCE));
        Patience {
            first: time,
            between: time,
        }
    }

    /// For one that takes as long as a check or a person does, once it has begun.
    pub fn stream_patience(&self) -> Patience {
        Patience {
            first: Some(self.timeout.unwrap_or(PATIENCE)),
            between: self.timeout,
        }
    }

    /// Asks, and gives each line of the whole answer to `each`.
    pub fn ask_all(&mut self, op: Op, each: impl FnMut(Reply) -> bool) -> Result<(), CtlError> {
        let patience = match op {
            Op::Reload
            | Op::PluginsReload { .. }
            | Op::PluginsRollback { .. }
            | Op::AlertsTest { .. } => {
                let time = Some(self.timeout.unwrap_or(RELOAD_PATIENCE));
                Patience {
                    first: time,
                    between: time,
                }
            }
            _ => self.patience(),
        };
        self.ask_within(op, patience, each)
    }

    pub fn ask_within(
        &mut self,
        op: Op,
        patience: Patience,
        each: impl FnMut(Reply) -> bool,
    ) -> Result<(), CtlError> {
        let change = Change::of(&op);
        let connection = Connection::ask(&self.socket, op, patience.first)?;
        let result = self.take_all(connection, patience, each);
        result.map_err(|error| match (error, change) {
            (CtlError::Silent { socket, waited }, Some(change)) => CtlError::Unanswered {
                socket,
                waited,
                change,
            },
            (error, _) => error,
        })
    }

    fn take_all(
        &mut self,
        mut connection: Connection,
        patience: Patience,
        each: impl FnMut(Reply) -> bool,
    ) -> Result<(), CtlError> {
        let mut unknown = Vec::new();
        let result = connection.all(patience, each, |kind| unknown.push(kind.to_owned()));
        for kind in unknown {
            self.tell_unknown(&kind);
        }
        result
    }

    /// Asks, and while healthd is silent has the maps read: what came of that, if it is silent until its time is over. If
    /// not, what it says counts, and `each` gets it.
    fn ask_or_read<T>(
        &mut self,
        op: Op,
        read: impl FnOnce(&Path, Timestamp) -> T,
        each: impl FnMut(Reply) -> bool,
    ) -> Result<Option<(CtlError, T)>, CtlError> {
        let first = self.timeout.unwrap_or(MAPS_AFTER);
        let connection = Connection::ask(&self.socket, op, Some(first))?;
        let begun = Instant::now();
        if connection.is_silent(begun + first.saturating_sub(MAPS_TAKE))? {
            let made = read(&self.socket, self.screen.look().now);
            if connection.is_silent(begun + first)? {
                return Ok(Some((connection.silent(first), made)));
            }
        }
        self.take_all(connection, self.map_patience(), each)?;
        Ok(None)
    }

    /// Asks for the one line that answers.
    pub fn ask_one<T>(
        &mut self,
        op: Op,
        what: &'static str,
        pick: impl Fn(Reply) -> Option<T>,
    ) -> Result<T, CtlError> {
        let mut found = None;
        self.ask_all(op, |reply| match pick(reply) {
            Some(value) => {
                found = Some(value);
                true
            }
            None => false,
        })?;
        found.ok_or(CtlError::Missing { what })
    }

    /// A newer daemon may say more than we understand: told once, then left out.
    pub fn tell_unknown(&mut self, kind: &str) {
        if self.told.insert(kind.to_owned()) {
            let text = format!(
                "left out a `{kind}` line of healthd: this healthctl does not know it; is healthd newer?"
            );
            self.screen.note("note", &text);
        }
    }

    /// The rows of `status`: from healthd, or stale ones from its maps when it does not answer.
    pub fn check_rows(&mut self, filter: &Filter) -> Result<Vec<CheckRow>, CtlError> {
        let mut rows = Vec::new();
        let mut problems = Vec::new();
        let read = |socket: &Path, now| maps::checks(socket, filter, now);
        let each = |reply| match reply {
            Reply::Check(row) => {
                rows.push(row);
                true
            }
            Reply::Problem(problem) => {
                problems.push(problem);
                true
            }
            _ => false,
        };
        match self.ask_or_read(Op::Status(filter.clone()), read, each) {
            Ok(None) => {
                self.problems = problems;
                Ok(rows)
            }
            Ok(Some((silent, made))) => self.read_maps(silent, |_, _| made),
            Err(error) if error.is_no_answer() => self.read_maps(error, read),
            Err(error) => Err(error),
        }
    }

    pub fn worker_rows(&mut self) -> Result<Vec<WorkerRow>, CtlError> {
        let mut rows = Vec::new();
        let result = self.ask_within(Op::Workers, self.map_patience(), |reply| match reply {
            Reply::Worker(row) => {
                rows.push(row);
                true
            }
            _ => false,
        });
        match result {
            Ok(()) => Ok(rows),
            Err(error) if error.is_no_answer() => self.read_maps(error, maps::workers),
            Err(error) => Err(error),
        }
    }

    /// For `show`, which asks something else of the daemon but falls back to the same maps.
    pub fn map_row(&mut self, name: &str, connect: CtlError) -> Result<CheckRow, CtlError> {
        let filter = Filter {
            names: vec![name.to_owned()],
            ..Filter::default()
        };
        let rows = self.read_maps(connect, |socket, now| maps::checks(socket, &filter, now))?;
        rows.into_iter().next().ok_or(CtlError::NothingMatches {
            filter: format!("`{name}`"),
        })
    }

    /// Asks for the one line that answers; the maps tell instead when healthd does not.
    pub fn ask_one_or_maps<T>(
        &mut self,
        op: Op,
        what: &'static str,
        pick: impl Fn(Reply) -> Option<T>,
        read: impl FnOnce(&Path, Timestamp) -> Result<Vec<T>, maps::MapError>,
    ) -> Result<T, CtlError> {
        let mut found = None;
        let asked = self.ask_within(op, self.map_patience(), |reply| match pick(reply) {
            Some(value) => {
                found = Some(value);
                true
            }
            None => false,
        });
        match asked {
            Ok(()) => found.ok_or(CtlError::Missing { what }),
            Err(error) if error.is_no_answer() => self
                .read_maps(error, read)?
                .pop()
                .ok_or(CtlError::Missing { what }),
            Err(error) => Err(error),
        }
    }

    /// Whether somebody is there who answers, on a connection of its own.
    pub fn is_answered(&mut self) -> bool {
        let patience = Patience {
            first: Some(ANSWERS_WITHIN),
            between: Some(ANSWERS_WITHIN),
        };
        self.ask_within(Op::Version, patience, |_| true).is_ok()
    }

    pub fn map_patience(&self) -> Patience {
        Patience {
            first: Some(self.timeout.unwrap_or(MAPS_AFTER)),
            between: Some(self.timeout.unwrap_or(PATIENCE)),
        }
    }

    /// Whose maps lie beside the socket; None: there are none that can be read.
    pub fn remains(&mut self) -> Option<wedged::Remains> {
        wedged::version(&self.socket, self.screen.look().now).ok()
    }

    pub fn read_maps<T>(
        &mut self,
        connect: CtlError,
        read: impl FnOnce(&Path, Timestamp) -> Result<Vec<T>, maps::MapError>,
    ) -> Result<Vec<T>, CtlError> {
        let now = self.screen.look().now;
        match read(&self.socket, now) {
            Ok(rows) => {
                self.from_maps = true;
                let text = format!("{connect}; this is what its maps hold, marked stale");
                self.screen.note("warning", &text);
                Ok(rows)
            }
            // No maps at all: the first error says what matters.
            Err(maps::MapError::None) => Err(connect),
            Err(error) => Err(CtlError::Maps {
                connect: Box::new(connect),
                maps: error.to_string(),
            }),
        }
    }

    /// No row in a whole answer. Nothing in a certain state is an answer too; no such check is a mistake.
    pub fn nothing_matches(&mut self, filter: &Filter) -> Result<u8, CtlError> {
        let filter_text = describe(filter);
        if filter.verdicts.is_empty() {
            return Err(CtlError::NothingMatches {
                filter: filter_text,
            });
        }
        if !self.json {
            self.screen
                .note("note", &format!("no check matches {filter_text}"));
        }
        Ok(exit::OK)
    }

    pub fn print_json(&mut self, value: &impl Serialize) -> Result<(), CtlError> {
        self.screen.print_line(&json::line(value))
    }

    pub fn print_json_array(&mut self, rows: &[impl Serialize]) -> Result<(), CtlError> {
        self.screen.print(&json::array(rows))
    }
}

/// What the user asked for, in words, for "no check matches …".
pub fn describe(filter: &Filter) -> String {
    let mut parts = Vec::new();
    let quoted = |items: &[String]| {
        items
            .iter()
            .map(|item| format!("`{item}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !filter.names.is_empty() {
        parts.push(quoted(&filter.names));
    }
    if !filter.plugins.is_empty() {
        parts.push(format!("plugin {}", quoted(&filter.plugins)));
    }
    if !filter.verdicts.is_empty() {
        let verdicts: Vec<_> = filter.verdicts.iter().map(|v| v.as_str()).collect();
        parts.push(format!("verdict {}", verdicts.join(", ")));
    }
    parts.join(" with ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::When;
    use crate::screen::{Output, Outputs};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;

    /// With as much patience as the maps take: they are read at once.
    fn session(socket: &Path) -> Session {
        let nowhere = || Output {
            writer: Box::new(std::io::sink()),
            is_terminal: false,
        };
        let outputs = Outputs {
            out: nowhere(),
            err: nowhere(),
            size: None,
            now: None,
            no_color: true,
            dumb: true,
        };
        Session {
            screen: Screen::new(outputs, When::Never, false),
            json: false,
            socket: socket.to_owned(),
            here: false,
            timeout: Some(MAPS_TAKE),
            from_maps: false,
            problems: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    #[test]
    fn what_healthd_says_while_the_maps_are_read_counts() {
        let dir = folder("answers");
        let socket = dir.join("control.sock");
        let listener = UnixListener::bind(&socket).expect("binds");
        let (read_begins, begun) = mpsc::channel();
        let (answered, is_answered) = mpsc::channel();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
            reader.read_line(&mut request).expect("a request");
            begun.recv().expect("the maps are read");
            stream
                .write_all(b"{\"type\":\"gone\",\"name\":\"now\"}\n{\"type\":\"end\"}\n")
                .expect("takes it");
            answered.send(()).expect("waits for it");
        });
        let mut said = Vec::new();
        let read = |_: &Path, _| {
            read_begins.send(()).expect("waits for it");
            is_answered.recv().expect("answers");
            "then"
        };
        let from_maps = session(&socket)
            .ask_or_read(Op::Workers, read, |reply| {
                said.push(reply);
                true
            })
            .expect("an answer");
        assert!(from_maps.is_none());
        assert_eq!(said, [Reply::Gone { name: "now".into() }]);
        daemon.join().expect("ends");
        let _ = std::fs::remove_dir_all(dir);
    }

    #[test]
    fn the_maps_tell_of_a_daemon_that_stays_silent() {
        let dir = folder("silent");
        let socket = dir.join("control.sock");
        let _listener = UnixListener::bind(&socket).expect("binds");
        let (error, made) = session(&socket)
            .ask_or_read(Op::Workers, |_, _| "then", |_| true)
            .expect("no mistake")
            .expect("it is silent");
        assert_eq!(made, "then");
        assert!(
            matches!(error, CtlError::Silent { waited, .. } if waited == MAPS_TAKE),
            "{error}"
        );
        let _ = std::fs::remove_dir_all(dir);
    }

    fn folder(name: &str) -> PathBuf {
        let dir =
            std::env::temp_dir().join(format!("healthctl-session-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("makes a folder");
        dir
    }
}
