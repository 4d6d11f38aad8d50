//! Raw files -> model, or every diagnostic at once.
//!
//! A mistake never ends the reading: what has it is left out and the rest is judged as if it were
//! right, so that one run shows all there is to mend.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalog::Catalog;
use super::checks::{self, Resolved};
use super::diagnostic::Diagnostics;
use super::elsewhere;
use super::files::Files;
use super::model::{
    CpuPool, Daemon, ExecPool, IoPool, Limits, Model, Pool, SOCKET_NAME, SOCKET_PATH_MAX,
    UseSandbox, Users,
};
use super::notifiers::ReadAlerts;
use super::pool_groups;
use super::raw::{self, Node, RawFile, Role, Table, Value, shortened};
use super::readers;
use super::reading::{DurationLimits, Reading, io_reason};
use super::report::{error, warning};
use super::templates;
use super::tryout::{self, TryOut};
use super::words::{did_you_mean, one_of};
use crate::wire::roles::Reader;

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
    load_with(main, files, catalog, With::default())
}

/// What others know of a config, and this crate does not.
#[derive(Clone, Copy, Default)]
pub struct With<'a> {
    /// None: `[[notify]]` and `[[maintenance]]` are left unread.
    pub alerts: Option<&'a dyn ReadAlerts>,
    /// The plugins themselves are asked what their schemas cannot say.
    pub plugins: Option<&'a dyn TryOut>,
}

/// The same, with what others know of it.
pub fn load_with(
    main: &Path,
    files: &dyn Files,
    catalog: Option<&Catalog>,
    with: With<'_>,
) -> Result<Model, Diagnostics> {
    let mut cx = Reading::new(main, files);
    let Some(source) = cx.source(main, None) else {
        return Err(Reading::told(cx.report, cx.open_secrets));
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
            cx.push(
                e.code("unreadable")
                    .help("the daemon's user has to be able to read this folder"),
            );
        }
    }

    tell_passed_over(&dir, &mut cx);
    templates::apply(&mut list, &mut cx);
    let daemon = Daemon {
        users: users(&list[0].users, &mut cx),
        ..daemon(&list[0].daemon, &mut cx)
    };
    let pool = Pool {
        groups: pool_groups::read(&list[0], catalog, &mut cx),
        ..pool(&list[0], &mut cx)
    };
    let web = list[0].web.take().and_then(|(span, table)| {
        let web = readers::web(&table, catalog.is_some(), &mut cx);
        readers::is_built(Reader::Web, span, &mut cx).then_some(web)
    });
    let history_at = list[0].history.as_ref().map(|(span, _)| *span);
    let history = list[0].history.take().and_then(|(span, table)| {
        let history = readers::history(&table, &mut cx);
        readers::is_built(Reader::Recorder, span, &mut cx).then_some(history)
    });
    let Resolved {
        checks,
        blocks,
        notifiers: (notifiers, places),
        alerts,
    } = checks::resolve(&list, &daemon, catalog, with.alerts, &mut cx);
    if let (Some(history), Some(span)) = (&history, history_at) {
        let recorded = checks.iter().filter(|c| c.probe.is_none()).count();
        readers::judge_room(history, recorded, span, &mut cx);
    }
    if let Some(plugins) = with.plugins {
        for complaint in plugins.try_out(&daemon, &notifiers) {
            let (spec, place) = (&notifiers[complaint.check], places[complaint.check]);
            cx.push(tryout::of_notifier(spec, place, complaint));
        }
        for complaint in plugins.try_out(&daemon, &checks) {
            let told = tryout::finding(&list, &checks, &blocks, catalog, complaint);
            cx.push(told);
        }
    }
    let (modules, checks): (Vec<_>, Vec<_>) = checks.into_iter().partition(|c| c.probe.is_some());
    if let Some(module) = modules.first()
        && web.as_ref().is_none_or(|w| w.targets.is_empty())
    {
        let w = warning(format!(
            "check `{}` has `probe`, and nobody can ask for it: [web] has no `targets`",
            module.name
        ));
        let help = "`targets = [\"*.example.org\"]` in [web] switches /probe on, for these hosts";
        cx.push(w.code("no-effect").help(help));
    }
    if list.iter().all(|f| f.checks.is_empty() && !f.torn) && !cx.report.has_errors() {
        let w = warning("no check is configured: healthd will run and watch nothing");
        cx.push(w.code("no-check").help(format!(
            "write one into {}",
            dir.join("NAME.toml").display()
        )));
    }

    if cx.report.has_errors() {
        return Err(Reading::told(cx.report, cx.open_secrets));
    }
    Ok(Model {
        daemon,
        pool,
        web,
        history,
        checks,
        modules,
        notifiers,
        alerts,
        digest: cx.sources.digest(),
        secret_files: cx.secret_files,
        at_start: None,
        warnings: Reading::told(cx.report, cx.open_secrets),
    })
}

/// Files beside those that were read, which somebody may believe to be in force.
fn tell_passed_over(dir: &Path, cx: &mut Reading<'_>) {
    let passed_over = cx.files.passed_over(dir);
    let more = passed_over.len().saturating_sub(PASSED_OVER_TOLD);
    for path in passed_over.iter().take(PASSED_OVER_TOLD) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let w = warning(format!(
            "{} is not read: of checks.d only files that are called NAME.toml are",
            path.display()
        ));
        let is_copy = name.contains(".toml") || name.ends_with('~') || name.starts_with(['.', '#']);
        let help = match is_copy {
            true => format!(
                "it looks like a copy that an editor or a package has left: move it out of {}",
                dir.display()
            ),
            false => {
                let stem = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem);
                format!(
                    "call it {stem}.toml if it is to be in force, else move it out of {}",
                    dir.display()
                )
            }
        };
        cx.push(w.code("not-read").help(help));
    }
    if more > 0 {
        let w = warning(format!(
            "{} holds {more} more files that are not read",
            dir.display()
        ));
        cx.push(
            w.code("not-read")
                .help("only files that are called NAME.toml are"),
        );
    }
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
    let start_spread = table
        .get("start_spread")
        .and_then(|e| cx.duration("start_spread", &e.node, OWNER, START_SPREAD))
        .unwrap_or(Duration::from_secs(60));
    let plugin_watch = table
        .get("plugin_watch")
        .and_then(|e| cx.boolean("plugin_watch", &e.node, OWNER))
        .unwrap_or(true);
    let plugin_trial = table
        .get("plugin_trial")
        .and_then(|e| cx.duration("plugin_trial", &e.node, OWNER, PLUGIN_TRIAL))
        .unwrap_or(Duration::from_secs(30));
    let require_sandbox = table
        .get("require_sandbox")
        .and_then(|e| cx.boolean("require_sandbox", &e.node, OWNER))
        .unwrap_or(false);
    let log = table
        .get("log")
        .and_then(|e| log_filter(&e.node, OWNER, cx))
        .unwrap_or_else(|| "info".into());
    Daemon {
        plugin_dir,
        runtime_dir,
        state_dir,
        user,
        users: Users::default(),
        control_group,
        stop_grace,
        start_spread,
        plugin_watch,
        plugin_trial,
        require_sandbox,
        log,
    }
}

fn users(table: &Table, cx: &mut Reading<'_>) -> Users {
    let mut user = |key: &str| {
        let entry = table.get(key)?;
        cx.text(key, &entry.node, "[users]")
    };
    Users {
        worker: user("worker"),
        exec: user("exec"),
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
            let elsewhere = elsewhere::level(level);
            let e = match did_you_mean(level, LEVELS) {
                _ if elsewhere.is_some() => e.maybe_help(elsewhere),
                None if level.contains(['/', '.']) => e.help(
                    "it is a level, and no file: the log goes to standard error, which the journal keeps",
                ),
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
            limits: limits(&file.pool_io, "[pool.io]", cx),
        },
        cpu: CpuPool {
            workers: number(cx, &file.pool_cpu, "[pool.cpu]", "workers", 256, cores),
            limits: limits(&file.pool_cpu, "[pool.cpu]", cx),
        },
        exec: ExecPool {
            max_parallel: match file.pool_exec.get("max_parallel").map(|e| &e.node.value) {
                Some(Value::Str(word)) if word == "auto" => 0,
                Some(Value::Str(word)) if word.parse::<u16>().is_err() => {
                    let node = file.pool_exec.get("max_parallel").map(|e| e.node.span);
                    let e = error(format!(
                        "`max_parallel` of [pool.exec] has an unknown value `{}`",
                        shortened(word)
                    ));
                    let e = e.help("write `max_parallel = \"auto\"`, or a number");
                    cx.push(match node {
                        Some(span) => e.at(span),
                        None => e,
                    });
                    0
                }
                _ => number(cx, &file.pool_exec, "[pool.exec]", "max_parallel", 4096, 0),
            },
            limits: limits(&file.pool_exec, "[pool.exec]", cx),
        },
        isolate: file
            .pool
            .get("isolate")
            .and_then(|e| cx.boolean("isolate", &e.node, "[pool]"))
            .unwrap_or(true),
        groups: Vec::new(),
    }
}

fn limits(table: &Table, owner: &str, cx: &mut Reading<'_>) -> Limits {
    let default = Limits::default();
    let number = |cx: &mut Reading<'_>, key: &str, least: i64| {
        let entry = table.get(key)?;
        // 0 is no limit; what lies between that and the least would replace workers all the time.
        let n = cx.integer(key, &entry.node, owner, 0, 1_000_000_000_000)?;
        if n != 0 && n < least {
            let e = error(format!("`{key}` of {owner} is too small: {n}"));
            let help = format!("the smallest is {least}, and 0 is no limit");
            cx.push(e.at(entry.node.span).help(help));
            return None;
        }
        u64::try_from(n).ok()
    };
    Limits {
        max_rss: table
            .get("max_rss")
            .and_then(|e| cx.size("max_rss", &e.node, owner, LEAST_RSS))
            .unwrap_or(default.max_rss),
        max_fds: number(cx, "max_fds", LEAST_FDS).unwrap_or(default.max_fds),
        max_runs: number(cx, "max_runs", LEAST_RUNS).unwrap_or(default.max_runs),
        sandbox: table
            .get("sandbox")
            .and_then(|e| sandbox(&e.node, owner, cx))
            .unwrap_or_default(),
    }
}

fn sandbox(node: &Node, owner: &str, cx: &mut Reading<'_>) -> Option<UseSandbox> {
    const WORDS: [&str; 3] = ["auto", "on", "off"];
    match cx.text("sandbox", node, owner)?.as_str() {
        "auto" => Some(UseSandbox::Auto),
        "on" => Some(UseSandbox::On),
        "off" => Some(UseSandbox::Off),
        word => {
            let word = shortened(word);
            let e = error(format!(
                "`sandbox` of {owner} has an unknown value `{word}`"
            ));
            let help = format!("write one of {}", one_of(&WORDS, "and"));
            cx.push(e.at(node.span).help(help));
            None
        }
    }
}

/// A worker with its plugins needs some 10 MB and 20 descriptors by itself.
const LEAST_RSS: u64 = 32 << 20;
const LEAST_FDS: i64 = 64;
const LEAST_RUNS: i64 = 10;
const PASSED_OVER_TOLD: usize = 20;
const PLUGIN_DIR: &str = "/usr/lib/healthd/plugins";
const PLUGIN_TRIAL: DurationLimits = (Duration::ZERO, Duration::from_secs(3600));
const STOP_GRACE: DurationLimits = (Duration::ZERO, Duration::from_secs(3600));
const START_SPREAD: DurationLimits = (Duration::ZERO, Duration::from_secs(3600));
