//! Raw files -> model, or every diagnostic at once.
//!
//! A mistake never ends the reading: what has it is left out and the rest is judged as if it were
//! right, so that one run shows all there is to mend.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalog::Catalog;
use super::checks;
use super::diagnostic::{Diagnostics, did_you_mean, one_of};
use super::duration;
use super::files::Files;
use super::model::{CpuPool, Daemon, ExecPool, IoPool, Model, Pool, SOCKET_NAME, SOCKET_PATH_MAX};
use super::options::SecretCache;
use super::raw::{self, Node, RawFile, Role, Table, Value, shortened};
use super::source::{Finding, Report, Sources, Span, error, warning};

/// Reads `main` and `checks.d/*.toml` beside it.
///
/// Without a catalog everything is judged that needs no plugin: options and secrets are left
/// unread, and the model's checks carry their options with `***` for each secret. That is for the
/// moment before the plugin directory is known.
pub fn load(
    main: &Path,
    files: &dyn Files,
    catalog: Option<&Catalog>,
) -> Result<Model, Diagnostics> {
    let mut cx = Reading::new(main, files);
    let Some(source) = cx.source(main, None) else {
        return Err(cx.report.finish());
    };
    let mut list = vec![raw::read(&cx.sources, source, Role::Main, &mut cx.report)];
    let dir = cx.absolute(Path::new("checks.d"));
    match files.list_toml(&dir) {
        Ok(paths) => {
            for path in paths {
                if let Some(source) = cx.source(&path, Some(&dir)) {
                    list.push(raw::read(&cx.sources, source, Role::Checks, &mut cx.report));
                }
            }
        }
        Err(e) => {
            let e = error(format!("cannot list {}: {}", dir.display(), io_reason(&e)));
            cx.push(e.help("the daemon's user has to be able to read this folder"));
        }
    }

    let daemon = daemon(&list[0].daemon, &mut cx);
    let pool = pool(&list[0], &mut cx);
    let checks = checks::resolve(&list, &daemon, catalog, &mut cx);
    if list.iter().all(|f| f.checks.is_empty() && !f.torn) && !cx.report.has_errors() {
        let w = warning("no check is configured: healthd will run and watch nothing");
        cx.push(w.help(format!(
            "write one into {}",
            dir.join("NAME.toml").display()
        )));
    }

    if cx.report.has_errors() {
        return Err(cx.report.finish());
    }
    Ok(Model {
        daemon,
        pool,
        checks,
        warnings: cx.report.finish(),
    })
}

/// Where the daemon's folders are, as far as the file can be read at all. A caller needs them
/// to find the plugins before it can judge the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonPaths {
    pub plugin_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    pub user: Option<String>,
}

/// Best effort: where the file is missing or wrong the defaults stand in; [`load`] says why.
pub fn daemon_paths(main: &Path, files: &dyn Files) -> DaemonPaths {
    let mut cx = Reading::new(main, files);
    let table = match cx.source(main, None) {
        Some(source) => raw::read(&cx.sources, source, Role::Main, &mut cx.report).daemon,
        None => Table::default(),
    };
    let Daemon {
        plugin_dir,
        runtime_dir,
        state_dir,
        user,
        ..
    } = daemon(&table, &mut cx);
    DaemonPaths {
        plugin_dir,
        runtime_dir,
        state_dir,
        user,
    }
}

/// One reading of a config: the texts, what was found in them, and the way outside.
pub struct Reading<'a> {
    pub files: &'a dyn Files,
    /// The folder of the main file: relative paths start here.
    base: PathBuf,
    pub sources: Sources,
    pub report: Report,
    pub secrets: SecretCache,
}

impl<'a> Reading<'a> {
    fn new(main: &Path, files: &'a dyn Files) -> Self {
        Reading {
            files,
            base: main.parent().unwrap_or(Path::new("")).to_owned(),
            sources: Sources::default(),
            report: Report::default(),
            secrets: HashMap::new(),
        }
    }

    pub fn push(&mut self, finding: Finding) {
        self.report.push(&self.sources, finding);
    }

    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    fn source(&mut self, path: &Path, dir: Option<&Path>) -> Option<u32> {
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(e) => {
                let help = match (e.kind(), dir) {
                    (io::ErrorKind::NotFound, None) => {
                        "give the path with --config FILE".to_owned()
                    }
                    (io::ErrorKind::PermissionDenied, _) => {
                        "the daemon's user has to be able to read it".to_owned()
                    }
                    (_, Some(dir)) => format!("correct it, or move it out of {}", dir.display()),
                    _ => "a config is a plain text file".to_owned(),
                };
                let e = error(format!("cannot read {}: {}", path.display(), io_reason(&e)));
                self.push(e.help(help));
                return None;
            }
        };
        if bytes.len() > FILE_MAX {
            let e = error(format!(
                "{} is larger than {} MiB",
                path.display(),
                FILE_MAX >> 20
            ));
            self.push(e.help("split it into files in checks.d, or use `for_each`"));
            return None;
        }
        match String::from_utf8(bytes) {
            Ok(text) => Some(self.sources.add(path, text)),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
                let source = self.sources.add(path, text);
                let span = Span {
                    source,
                    start: at as u32,
                    end: at as u32 + 1,
                };
                let e =
                    error("this file is no UTF-8 text: here is a byte that stands for no letter");
                self.push(e.at(span).help("save it as UTF-8"));
                None
            }
        }
    }
}

// ------------------------------------------------------------------------------ [daemon], [pool]

fn daemon(table: &Table, cx: &mut Reading<'_>) -> Daemon {
    const OWNER: &str = "[daemon]";
    let env_dir = |cx: &Reading<'_>, name: &str, default: &str| {
        // systemd puts several folders into one variable, colons between them.
        let value = cx.files.env(name).unwrap_or_default();
        let first = value.split(':').next().unwrap_or_default();
        PathBuf::from(if first.is_empty() { default } else { first })
    };
    let runtime_default = env_dir(cx, "RUNTIME_DIRECTORY", "/run/healthd");
    let state_default = env_dir(cx, "STATE_DIRECTORY", "/var/lib/healthd");
    let path = |cx: &mut Reading<'_>, key: &str| {
        let entry = table.get(key)?;
        let text = cx.text(key, &entry.node, OWNER)?;
        Some(cx.absolute(Path::new(&text)))
    };
    let plugin_dir = path(cx, "plugin_dir").unwrap_or_else(|| PLUGIN_DIR.into());
    let runtime_dir = path(cx, "runtime_dir").unwrap_or(runtime_default);
    let state_dir = path(cx, "state_dir").unwrap_or(state_default);

    let socket = runtime_dir.join(SOCKET_NAME);
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let e = error(format!(
            "the socket's path is too long: {} has {length} bytes, the system takes {SOCKET_PATH_MAX}",
            socket.display()
        ))
        .help(format!("choose a `runtime_dir` of at most {} bytes", SOCKET_PATH_MAX - SOCKET_NAME.len() - 1));
        cx.push(match table.get("runtime_dir") {
            Some(entry) => e.at(entry.node.span),
            None => e,
        });
    }

    let text =
        |cx: &mut Reading<'_>, key: &str| table.get(key).and_then(|e| cx.text(key, &e.node, OWNER));
    let user = text(cx, "user");
    let control_group = text(cx, "control_group");
    let stop_grace = table
        .get("stop_grace")
        .and_then(|e| cx.duration("stop_grace", &e.node, OWNER, STOP_GRACE))
        .unwrap_or(Duration::from_secs(10));
    let log = table
        .get("log")
        .and_then(|e| log_filter(&e.node, OWNER, cx))
        .unwrap_or_else(|| "info".into());
    Daemon {
        plugin_dir,
        runtime_dir,
        state_dir,
        user,
        control_group,
        stop_grace,
        log,
    }
}

fn log_filter(node: &Node, owner: &str, cx: &mut Reading<'_>) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = cx.text("log", node, owner)?;
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let e = error(format!(
                "`log` of {owner} has an unknown level `{}`",
                shortened(level)
            ));
            let e = match did_you_mean(level, LEVELS) {
                Some(near) => e.help(format!("a level with a similar name exists: `{near}`")),
                None => e.help(format!("the levels are {}", one_of(&LEVELS, "and"))),
            };
            cx.push(
                e.at(node.span)
                    .note("one level for all, or `info,healthd_manager=debug`"),
            );
            return None;
        }
    }
    Some(text)
}

fn pool(file: &RawFile, cx: &mut Reading<'_>) -> Pool {
    let number =
        |cx: &mut Reading<'_>, table: &Table, owner: &str, key: &str, max: i64, default: u16| {
            table
                .get(key)
                .and_then(|e| cx.integer(key, &e.node, owner, 1, max))
                .and_then(|n| u16::try_from(n).ok())
                .unwrap_or(default)
        };
    let cores = cx.files.cores().clamp(1, 256);
    Pool {
        io: IoPool {
            workers: number(cx, &file.pool_io, "[pool.io]", "workers", 64, 2),
            threads: number(cx, &file.pool_io, "[pool.io]", "threads", 1024, 64),
        },
        cpu: CpuPool {
            workers: number(cx, &file.pool_cpu, "[pool.cpu]", "workers", 256, cores),
        },
        exec: ExecPool {
            max_parallel: number(cx, &file.pool_exec, "[pool.exec]", "max_parallel", 4096, 32),
        },
    }
}

// --------------------------------------------------------------------------------- typed values

/// From, to; both included.
pub type DurationLimits = (Duration, Duration);

/// A value of one key, in the type the key wants; `None` after it was reported.
impl Reading<'_> {
    pub fn text(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
    ) -> Option<String> {
        match &node.value {
            Value::Str(s) if !s.trim().is_empty() && !s.contains('\0') => Some(s.clone()),
            Value::Str(s) => {
                let what = if s.contains('\0') {
                    "has a NUL byte in it"
                } else {
                    "is empty"
                };
                let e = error(format!("`{key}` of {owner} {what}"));
                self.push(
                    e.at(node.span)
                        .help("write a text, or leave the key out")
                        .once(key),
                );
                None
            }
            _ => self.wrong_type(key, node, owner, "a string", "\"...\""),
        }
    }

    pub fn duration(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        (least, most): DurationLimits,
    ) -> Option<Duration> {
        let text = match &node.value {
            Value::Str(s) => s,
            Value::Int(n) => {
                return self.wrong_type(key, node, owner, "a duration", &format!("\"{n}s\""));
            }
            Value::Float(_) => {
                return self.wrong_type(key, node, owner, "a duration", "\"1500ms\"");
            }
            _ => return self.wrong_type(key, node, owner, "a duration", "\"10s\""),
        };
        let finding = match duration::parse(text) {
            Ok(d) if d < least => error(format!(
                "`{key}` of {owner} is too short: {}",
                duration::show(d)
            ))
            .help(format!("the shortest is {}", duration::show(least))),
            Ok(d) if d > most => error(format!(
                "`{key}` of {owner} is too long: {}",
                duration::show(d)
            ))
            .help(format!("the longest is {}", duration::show(most))),
            Ok(d) => return Some(d),
            Err(e) => error(format!("`{key}` of {owner} {e}")).help(e.help()),
        };
        self.push(finding.at(node.span).once(key));
        None
    }

    pub fn integer(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        least: i64,
        most: i64,
    ) -> Option<i64> {
        match &node.value {
            Value::Int(n) if (least..=most).contains(n) => Some(*n),
            Value::Int(n) => {
                let e = error(format!(
                    "`{key}` of {owner} has to be from {least} to {most}, is {n}"
                ));
                self.push(e.at(node.span).once(key));
                None
            }
            Value::Str(s) if s.parse::<i64>().is_ok() => {
                self.wrong_type(key, node, owner, "an integer", s)
            }
            _ => self.wrong_type(key, node, owner, "an integer", &least.max(1).to_string()),
        }
    }

    pub fn boolean(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
    ) -> Option<bool> {
        match &node.value {
            Value::Bool(b) => Some(*b),
            Value::Str(s) if matches!(s.to_ascii_lowercase().as_str(), "false" | "no" | "off") => {
                self.wrong_type(key, node, owner, "true or false", "false")
            }
            _ => self.wrong_type(key, node, owner, "true or false", "true"),
        }
    }

    pub fn wrong_type<T>(
        &mut self,
        key: &str,
        node: &Node,
        owner: impl std::fmt::Display,
        wanted: &str,
        example: &str,
    ) -> Option<T> {
        if !matches!(node.value, Value::Broken) {
            let e = error(format!(
                "`{key}` of {owner} has to be {wanted}, not {}",
                node.kind()
            ));
            self.push(
                e.at(node.span)
                    .help(format!("write `{key} = {example}`"))
                    .once(key),
            );
        }
        None
    }
}

/// Why a file could not be read, in few words.
pub fn io_reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        _ => {
            let text = e.to_string();
            match text.find(" (os error") {
                Some(at) => text[..at].to_lowercase(),
                None => text,
            }
        }
    }
}

const PLUGIN_DIR: &str = "/usr/lib/healthd/plugins";
const STOP_GRACE: DurationLimits = (Duration::ZERO, Duration::from_secs(3600));
/// Far above any config written by hand or by a tool; a place in a file is counted in 32 bits.
const FILE_MAX: usize = 64 << 20;
