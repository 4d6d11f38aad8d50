//! What can go wrong: each error names the thing, the place, and the way out.

use crate::exit;
use healthd_core::wire::control::{ControlError, ErrorCode, Op};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug)]
#[cfg_attr(
    not(feature = "history"),
    allow(dead_code, reason = "two are of commands that read history")
)]
pub enum CtlError {
    /// No socket at this path.
    NoSocket {
        socket: PathBuf,
    },
    /// The socket is there, but nobody listens.
    Refused {
        socket: PathBuf,
    },
    /// `place` is the socket, or the directory that keeps us out; `group` may enter it.
    Denied {
        place: PathBuf,
        group: Option<String>,
    },
    SocketPath {
        socket: PathBuf,
        error: io::Error,
    },
    Connect {
        socket: PathBuf,
        error: io::Error,
    },
    Silent {
        socket: PathBuf,
        waited: Duration,
    },
    /// The same to a request that changes something: it may have come about all the same.
    Unanswered {
        socket: PathBuf,
        waited: Duration,
        change: Change,
    },
    HungUp {
        socket: PathBuf,
        inside: Inside,
    },
    Read {
        socket: PathBuf,
        error: io::Error,
    },
    /// A line that is no reply at all.
    Garbage {
        socket: PathBuf,
        excerpt: String,
    },
    /// A reply of a known type whose content we cannot read.
    Unreadable {
        kind: String,
        error: serde_json::Error,
    },
    TooLong {
        socket: PathBuf,
        limit: usize,
    },
    /// It is somebody else's who could be answering there.
    Stranger {
        socket: PathBuf,
        uid: u32,
    },
    /// An answer that does not come to its end.
    Endless {
        socket: PathBuf,
        lines: usize,
    },
    /// The answer ended without what was asked for.
    Missing {
        what: &'static str,
    },
    /// healthd said no.
    Answer(ControlError),
    RequestTooLong {
        length: usize,
        limit: usize,
    },
    NothingMatches {
        filter: String,
    },
    Maps {
        connect: Box<CtlError>,
        maps: String,
    },
    NoHealthd {
        beside: PathBuf,
    },
    Helper {
        program: PathBuf,
        error: io::Error,
    },
    /// `healthd --probe` and its like ended without a readable answer.
    HelperAnswer {
        program: PathBuf,
        ended: String,
        said: String,
    },
    /// `try`: the plugin took the process of its run with it.
    PluginCrashed {
        file: PathBuf,
        signal: String,
    },
    /// No file holds a plugin of this name.
    NoPlugin {
        name: String,
        folders: Vec<PathBuf>,
        help: String,
    },
    /// Several files of one folder hold it.
    Twins {
        name: String,
        files: Vec<PathBuf>,
    },
    /// `try`: the plugin ended the process of its run.
    PluginExited {
        file: PathBuf,
        code: i32,
    },
    PluginRefused {
        file: PathBuf,
        reason: String,
    },
    /// `init`: what it would write is there.
    Exists {
        file: PathBuf,
    },
    /// `schema`: nothing to tell of.
    NoPlugins {
        folder: PathBuf,
    },
    /// One that was named.
    NoConfig {
        file: PathBuf,
    },
    /// In which another one is to be made.
    NoFolder {
        folder: PathBuf,
    },
    /// `init`: there are plugins, and the configuration that it would make looks elsewhere.
    NotInstalled {
        folder: PathBuf,
    },
    Unsupported {
        what: &'static str,
        why: &'static str,
    },
    /// What was written as options is none.
    Options(String),
    /// `add`: there is a check of this name.
    Taken {
        name: String,
        source: String,
    },
    /// Of `history` and `report`.
    History(String),
    /// The same: nothing is recorded there.
    NoHistory {
        dir: PathBuf,
    },
    /// Of `bench`.
    Bench(String),
    Write {
        file: PathBuf,
        error: io::Error,
    },
    Output(io::Error),
    Interrupt(io::Error),
}

/// What `healthd --here` makes.
const HERE: &str = ".healthd";

/// What a request would change, how to see whether it did, and how to undo it.
#[derive(Clone, Debug)]
pub struct Change {
    pub what: &'static str,
    pub see: &'static str,
    pub undo: &'static str,
}

impl Change {
    pub fn of(op: &Op) -> Option<Change> {
        let (what, see, undo) = match op {
            Op::Pause { .. } => (
                "the checks may be paused",
                "status",
                "`healthctl resume` with the same names",
            ),
            Op::Resume(_) => (
                "the checks may run again",
                "status",
                "`healthctl pause` with the same names",
            ),
            Op::Release { .. } => ("the checks may be released", "status", ""),
            Op::Run(_) => ("the checks may run", "status", ""),
            Op::Reload => (
                "the configuration may still come into effect, as new workers may have to get ready first",
                "version",
                "bring the files back and `healthctl reload` again",
            ),
            Op::PluginsReload { .. } => (
                "the new plugins may still take over",
                "plugins",
                "`healthctl plugins rollback NAME`",
            ),
            Op::PluginsRollback { .. } => (
                "the plugin may still go back",
                "plugins",
                "`healthctl plugins reload NAME`",
            ),
            Op::Stop => ("healthd may still stop", "version", "start it again"),
            _ => return None,
        };
        Some(Change { what, see, undo })
    }
}

/// Where healthd was when it hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Line,
    Answer,
    Watch,
}

impl CtlError {
    pub fn exit_code(&self) -> u8 {
        match self {
            // Asked, and judged bad: that is no "could not ask".
            CtlError::Answer(ControlError {
                code: ErrorCode::BadConfig | ErrorCode::Failed,
                ..
            })
            | CtlError::PluginRefused { .. }
            | CtlError::Taken { .. } => exit::CRITICAL,
            _ => exit::UNKNOWN,
        }
    }

    /// Whether the daemon is absent or mute, so that its maps are the next to ask.
    pub fn is_no_answer(&self) -> bool {
        matches!(
            self,
            CtlError::NoSocket { .. }
                | CtlError::Refused { .. }
                | CtlError::Silent { .. }
                | CtlError::Unanswered { .. }
                | CtlError::HungUp { .. }
        )
    }

    /// Whether to ask again soon may help: it is away, or on its way out.
    pub fn may_pass(&self) -> bool {
        self.is_no_answer()
            || matches!(
                self,
                CtlError::Answer(ControlError {
                    code: ErrorCode::Busy,
                    ..
                })
            )
    }

    /// The way out, for a `help:` line; empty: there is none to name.
    pub fn help(&self) -> String {
        let text = match self {
            CtlError::Denied {
                group: Some(group), ..
            } => {
                return format!(
                    "join the group `{group}`: `sudo usermod -aG {group} $USER`, then log in again; \
                     or use sudo"
                );
            }
            CtlError::Maps { connect, .. } => return connect.help(),
            CtlError::Answer(error) if !error.help.is_empty() => return error.help.clone(),
            CtlError::Unanswered { change, .. } => {
                let undo = match change.undo {
                    "" => String::new(),
                    undo => format!("; to undo it: {undo}"),
                };
                return format!(
                    "if healthd had read it by then, {}: `healthctl {}` tells{undo}. What it reads later it refuses",
                    change.what, change.see
                );
            }
            CtlError::Answer(error) if error.code == ErrorCode::Version => {
                "install healthd and healthctl of the same version, and restart healthd"
            }
            CtlError::NoSocket { socket } if socket.starts_with(HERE) => {
                "`healthd --here` starts one in this folder; `healthctl --here` asks it from the same folder"
            }
            CtlError::Refused { socket } if socket.starts_with(HERE) => {
                "`healthd --here` starts it again"
            }
            CtlError::NoSocket { .. } if Path::new(HERE).join("run/control.sock").exists() => {
                "that of this folder, which `healthd --here` runs, is asked with --here: `healthctl --here status`"
            }
            CtlError::NoSocket { .. } => {
                "is healthd running? `systemctl status healthd` tells, `systemctl start healthd` \
                 starts it; for another instance give --socket PATH or HEALTHD_SOCKET"
            }
            CtlError::Refused { .. } => {
                "healthd is not running, this socket was left behind: `systemctl start healthd`"
            }
            CtlError::Denied { group: None, .. } => "use sudo",
            CtlError::SocketPath { .. } => {
                "a socket path has at most 107 bytes; use a shorter `runtime_dir`"
            }
            CtlError::Silent { .. } => {
                "it may be overloaded or stopped: `healthctl workers` reads its maps, \
                 --timeout 30s waits longer"
            }
            CtlError::HungUp { .. } => {
                "it may be restarting: try again; `journalctl -u healthd` tells why"
            }
            CtlError::Stranger { .. } => {
                "only root, the owner of the socket's folder and you yourself are believed: \
                 look who has made it, `ls -ld` on both"
            }
            CtlError::Garbage { .. } | CtlError::TooLong { .. } | CtlError::Endless { .. } => {
                "is this the control socket of healthd?"
            }
            CtlError::Unreadable { .. } | CtlError::Missing { .. } => {
                "healthd and healthctl may differ in version: `healthctl version` tells"
            }
            CtlError::RequestTooLong { .. } => "name fewer checks, or use globs or --plugin",
            CtlError::NothingMatches { filter } if filter.is_empty() => {
                "`healthctl add NAME PLUGIN key=value...` makes one"
            }
            CtlError::NothingMatches { .. } => "`healthctl list` shows the names",
            CtlError::NoPlugin { help, .. } => return help.clone(),
            CtlError::Twins { name, files } => {
                return format!(
                    "healthd would use none of them: remove all but one, or name the file and the plugin: `{} --plugin {name}`",
                    shown(&files[..1], "")
                );
            }
            CtlError::Taken { .. } => {
                "give the new one another name, or edit that file and `healthctl reload`"
            }
            CtlError::NoHistory { .. } => {
                "a section `[history]` in healthd.toml and `healthctl reload` start it; --file FILE reads one from elsewhere"
            }
            CtlError::Exists { .. } => {
                "`healthctl init --print` shows what it would hold; to write it anew, remove it first"
            }
            CtlError::NoPlugins { .. } => {
                "name a folder of plugins with --plugins FOLDER, or a configuration with --config FILE"
            }
            CtlError::NoConfig { .. } => {
                "correct the path, or leave --config out: then the plugins that are installed are taken"
            }
            CtlError::NoFolder { .. } => {
                "make it first, or name another configuration with --config FILE"
            }
            CtlError::NotInstalled { .. } => {
                "`sudo etc/install` in a clone of healthd puts them there; `healthctl --here init` makes a configuration in \
                 this folder that takes those of the clone"
            }
            CtlError::NoHealthd { .. } => {
                "install healthd beside healthctl or into a directory of PATH"
            }
            CtlError::Write { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "use sudo; or `healthd --here` runs one of your own in this folder"
            }
            CtlError::Write { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                "start healthd first, or name its configuration with --config FILE"
            }
            CtlError::Write { .. } => "",
            CtlError::HelperAnswer { .. } => {
                "healthd and healthctl may differ in version: `healthd --version` and \
                 `healthctl --version` tell"
            }
            CtlError::Connect { .. }
            | CtlError::Read { .. }
            | CtlError::Answer(_)
            | CtlError::Helper { .. }
            | CtlError::PluginCrashed { .. }
            | CtlError::PluginExited { .. }
            | CtlError::PluginRefused { .. }
            | CtlError::Unsupported { .. }
            | CtlError::Options(_)
            | CtlError::History(_)
            | CtlError::Bench(_)
            | CtlError::Output(_)
            | CtlError::Interrupt(_) => "",
        };
        text.to_owned()
    }
}

impl std::fmt::Display for CtlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CtlError::NoSocket { socket } => {
                write!(f, "cannot reach healthd: no socket at {}", socket.display())
            }
            CtlError::Refused { socket } => {
                write!(
                    f,
                    "cannot reach healthd: nobody listens on {}",
                    socket.display()
                )
            }
            CtlError::Denied { place, .. } => {
                write!(
                    f,
                    "cannot reach healthd: permission denied on {}",
                    place.display()
                )
            }
            CtlError::SocketPath { socket, error } => {
                write!(f, "{} cannot be a socket path: {error}", socket.display())
            }
            CtlError::Connect { socket, error } => {
                write!(f, "cannot connect to {}: {error}", socket.display())
            }
            CtlError::Silent { socket, waited } => {
                write!(
                    f,
                    "healthd at {} did not answer within {}",
                    socket.display(),
                    crate::render::time::duration(waited.as_millis() as u64)
                )
            }
            CtlError::Unanswered { socket, waited, .. } => {
                write!(
                    f,
                    "healthd at {} did not answer within {}: it is not known whether anything was changed",
                    socket.display(),
                    crate::render::time::duration(waited.as_millis() as u64)
                )
            }
            CtlError::HungUp { socket, inside } => {
                let inside = match inside {
                    Inside::Line => "in the middle of a line",
                    Inside::Answer => "before its answer was complete",
                    Inside::Watch => "and so ended the watch",
                };
                write!(f, "healthd at {} hung up {inside}", socket.display())
            }
            CtlError::Read { socket, error } => {
                write!(f, "cannot read from {}: {error}", socket.display())
            }
            CtlError::Garbage { socket, excerpt } => {
                write!(
                    f,
                    "{} sent a line that is no healthd reply: {excerpt}",
                    socket.display()
                )
            }
            CtlError::Unreadable { kind, error } => {
                write!(f, "cannot read the `{kind}` reply of healthd: {error}")
            }
            CtlError::TooLong { socket, limit } => {
                write!(
                    f,
                    "{} sent a line of more than {limit} bytes",
                    socket.display()
                )
            }
            CtlError::Stranger { socket, uid } => {
                write!(
                    f,
                    "{} is served by uid {uid}, who is not healthd",
                    socket.display()
                )
            }
            CtlError::Endless { socket, lines } => {
                write!(
                    f,
                    "{} sent more than {lines} lines without an end",
                    socket.display()
                )
            }
            CtlError::Missing { what } => write!(f, "the answer of healthd held no `{what}` line"),
            CtlError::Answer(error) => f.write_str(&error.message),
            CtlError::RequestTooLong { length, limit } => {
                write!(f, "the request has {length} bytes; healthd takes {limit}")
            }
            CtlError::NothingMatches { filter } if filter.is_empty() => {
                f.write_str("healthd has no checks")
            }
            CtlError::NothingMatches { filter } => write!(f, "no check matches {filter}"),
            CtlError::Maps { connect, maps, .. } => {
                write!(f, "{connect}; its maps do not help: {maps}")
            }
            CtlError::NoHealthd { beside } => {
                write!(
                    f,
                    "the program `healthd` is neither at {} nor in PATH",
                    beside.display()
                )
            }
            CtlError::Helper { program, error } => {
                write!(f, "cannot run {}: {error}", program.display())
            }
            CtlError::HelperAnswer {
                program,
                ended,
                said,
            } => {
                write!(f, "{} {ended} without a readable answer", program.display())?;
                if said.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {said}")
                }
            }
            CtlError::NoPlugin { name, folders, .. } => {
                write!(f, "no plugin `{name}` in {}", shown(folders, " or "))
            }
            CtlError::Twins { name, files } => {
                write!(
                    f,
                    "plugin `{name}` is in several files: {}",
                    shown(files, ", ")
                )
            }
            CtlError::Exists { file } => {
                write!(f, "{} is there already, and stays as it is", file.display())
            }
            CtlError::NoPlugins { folder } => {
                write!(f, "no plugin in {}", folder.display())
            }
            CtlError::NoConfig { file } => {
                write!(f, "there is no configuration {}", file.display())
            }
            CtlError::NoFolder { folder } => {
                write!(f, "there is no folder {}", folder.display())
            }
            CtlError::NotInstalled { folder } => write!(
                f,
                "no plugin in {}, where a new configuration looks for them",
                folder.display()
            ),
            CtlError::PluginCrashed { file, signal } => {
                write!(f, "{}: the plugin crashed: {signal}", file.display())
            }
            CtlError::PluginExited { file, code } => write!(
                f,
                "{}: the plugin ended its process with exit code {code}: it may not call exit(3); in a worker that \
                 ends the runs of other checks too",
                file.display()
            ),
            CtlError::PluginRefused { file, reason }
                if reason.contains(&*file.to_string_lossy()) =>
            {
                f.write_str(reason)
            }
            CtlError::PluginRefused { file, reason } => write!(f, "{}: {reason}", file.display()),
            CtlError::Unsupported { what, why } => write!(f, "{what}: {why}"),
            CtlError::Taken { name, source } => {
                write!(f, "there is a check `{name}` already, in {source}")
            }
            CtlError::NoHistory { dir } => {
                write!(f, "nothing is recorded by the healthd of {}", dir.display())
            }
            CtlError::Options(wrong) | CtlError::History(wrong) | CtlError::Bench(wrong) => {
                f.write_str(wrong)
            }
            CtlError::Write { file, error } => {
                write!(f, "cannot write {}: {error}", file.display())
            }
            CtlError::Output(error) => write!(f, "cannot write the output: {error}"),
            CtlError::Interrupt(error) => write!(f, "cannot prepare for Ctrl-C: {error}"),
        }
    }
}

/// Paths, as a message has them.
fn shown(paths: &[PathBuf], between: &str) -> String {
    let shown: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    shown.join(between)
}

impl std::error::Error for CtlError {}
