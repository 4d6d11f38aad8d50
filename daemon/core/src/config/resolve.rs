//! Raw files -> model, or every diagnostic at once.
//!
//! A mistake never ends the reading: what has it is left out and the rest is judged as if it were
//! right, so that one run shows all there is to mend.

use std::path::{Path, PathBuf};

use super::auto;
use super::catalog::Catalog;
use super::checks::{self, Resolved};
use super::diagnostic::Diagnostics;
use super::elsewhere;
use super::files::Files;
use super::keys::Section;
use super::model::{
    CpuPool, Daemon, ExecPool, IoPool, Limits, Model, Pool, SOCKET_NAME, SOCKET_PATH_MAX,
    UseSandbox, Users,
};
use super::notifiers::ReadAlerts;
use super::pool_groups;
use super::push;
use super::raw::{self, RawFile, Role, shortened};
use super::readers::{self, Web};
use super::reading::{Reading, io_reason};
use super::report::{error, warning};
use super::templates;
use super::tryout::{self, TryOut};
use super::values::Values;
use super::words::{did_you_mean, one_of};

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
    read(main, files)?.judge(catalog, with)
}

/// What the files say, before it is known which plugins there are: they tell where these lie.
pub struct Written<'f> {
    cx: Reading<'f>,
    /// The main file first.
    list: Vec<RawFile>,
    daemon: Daemon,
    checks_dir: PathBuf,
}

/// Reads the files, once: what they say of the plugins' folder and of the checks is from the same bytes. Err: there is no
/// main file that can be read.
pub fn read<'f>(main: &Path, files: &'f dyn Files) -> Result<Written<'f>, Diagnostics> {
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
    let daemon = daemon(&list[0], &mut cx);
    Ok(Written {
        cx,
        list,
        daemon,
        checks_dir: dir,
    })
}

impl Written<'_> {
    pub fn plugin_dir(&self) -> &Path {
        &self.daemon.plugin_dir
    }

    /// A model, or every mistake.
    pub fn judge(self, catalog: Option<&Catalog>, with: With<'_>) -> Result<Model, Diagnostics> {
        let Written {
            mut cx,
            list,
            daemon,
            checks_dir: dir,
        } = self;
        let main = &list[0];
        let pool = pool(main, catalog, &mut cx);
        let web = main.section(Section::Web).and_then(|(span, values)| {
            let web = readers::web(values, catalog.is_some(), &mut cx);
            readers::is_built(Section::Web, span, &mut cx).then_some(web)
        });
        let push = main.section(Section::Push).and_then(|(span, values)| {
            let push = push::push(values, span, catalog.is_some(), &mut cx);
            readers::is_built(Section::Push, span, &mut cx).then_some(push)?
        });
        let web = match &push {
            Some(_) => web.or_else(|| Some(Web::that_listens_nowhere())),
            None => web,
        };
        let history = main.section(Section::History).and_then(|(span, values)| {
            let history = readers::history(values, &mut cx);
            readers::is_built(Section::History, span, &mut cx).then_some((history, span))
        });
        let Resolved {
            mut checks,
            blocks,
            notifiers: (notifiers, places),
            alerts,
        } = checks::resolve(&list, &daemon, catalog, with.alerts, &mut cx);
        let history = history.map(|(history, span)| {
            let recorded = checks.iter().filter(|c| c.probe.is_none()).count();
            readers::judge_room(&history, recorded, span, &mut cx);
            history
        });
        let secret_variables = cx.secret_variables();
        if let Some(plugins) = with.plugins {
            for complaint in plugins.try_out(&daemon, &secret_variables, &notifiers) {
                let (spec, place) = (&notifiers[complaint.check], places[complaint.check]);
                cx.push(tryout::of_notifier(spec, place, complaint));
            }
            for complaint in plugins.try_out(&daemon, &secret_variables, &checks) {
                let told = tryout::finding(&list, &checks, &blocks, catalog, complaint);
                cx.push(told);
            }
        }
        let modules: Vec<_> = checks.extract_if(.., |c| c.probe.is_some()).collect();
        if let Some(module) = modules.first()
            && web.as_ref().is_none_or(|w| w.targets.is_empty())
        {
            let w = warning(format!(
                "check `{}` has `probe`, and nobody can ask for it: [web] has no `targets`",
                module.name
            ));
            let help =
                "`targets = [\"*.example.org\"]` in [web] switches /probe on, for these hosts";
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
            push,
            history,
            checks,
            modules,
            notifiers,
            alerts,
            digest: cx.sources.digest(),
            secret_files: cx.secret_files,
            secret_variables,
            at_start: None,
            warnings: Reading::told(cx.report, cx.open_secrets),
        })
    }
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
    let file = match cx.source(main, None) {
        Some(source) => raw::read(&cx.sources, source, Role::Main, &mut cx.report),
        None => RawFile::default(),
    };
    let daemon = daemon(&file, &mut cx);
    DaemonPaths {
        plugin_dir: daemon.plugin_dir,
        runtime_dir: daemon.runtime_dir,
        state_dir: daemon.state_dir,
        user: daemon.user,
    }
}

// ------------------------------------------------------------------------------ [daemon], [pool]

fn daemon(file: &RawFile, cx: &mut Reading<'_>) -> Daemon {
    let given = file.values(Section::Daemon);
    let folder = |key: &str, variable: Option<&str>, cx: &mut Reading<'_>| {
        // systemd puts several folders into one variable, colons between them.
        let value = variable.and_then(|v| cx.files.env(v)).unwrap_or_default();
        let first = value.split(':').next().filter(|first| !first.is_empty());
        let default = PathBuf::from(first.unwrap_or(given.section.default_of(key)));
        given.path(key, cx).unwrap_or(default)
    };
    let plugin_dir = folder("plugin_dir", None, cx);
    let runtime_dir = folder("runtime_dir", Some("RUNTIME_DIRECTORY"), cx);
    let state_dir = folder("state_dir", Some("STATE_DIRECTORY"), cx);

    let socket = runtime_dir.join(SOCKET_NAME);
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let e = error(format!(
            "the socket's path is too long: {} has {length} bytes, the system takes {SOCKET_PATH_MAX}",
            socket.display()
        ))
        .help(format!("choose a `runtime_dir` of at most {} bytes", SOCKET_PATH_MAX - SOCKET_NAME.len() - 1));
        cx.push(match given.get("runtime_dir") {
            Some(entry) => e.at(entry.node.span),
            None => e,
        });
    }
    let users = file.values(Section::Users);
    Daemon {
        plugin_dir,
        runtime_dir,
        state_dir,
        user: given.text("user", cx),
        users: Users {
            worker: users.text("worker", cx),
            exec: users.text("exec", cx),
        },
        control_group: given.text("control_group", cx),
        stop_grace: given.duration("stop_grace", cx),
        start_spread: given.duration("start_spread", cx),
        plugin_watch: given.boolean("plugin_watch", cx),
        plugin_trial: given.duration("plugin_trial", cx),
        require_sandbox: given.boolean("require_sandbox", cx),
        log: log_filter(given, cx),
    }
}

fn log_filter(given: Values<'_>, cx: &mut Reading<'_>) -> String {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let default = given.section.default_of("log").to_owned();
    let (Some(entry), Some(text)) = (given.get("log"), given.text("log", cx)) else {
        return default;
    };
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let e = error(format!(
                "`log` of {} has an unknown level `{}`",
                given.section.header(),
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
                e.at(entry.node.span)
                    .note("one level for all, or `info,healthd_manager=debug`"),
            );
            return default;
        }
    }
    text
}

fn pool(file: &RawFile, catalog: Option<&Catalog>, cx: &mut Reading<'_>) -> Pool {
    let io = file.values(Section::IoPool);
    let cpu = file.values(Section::CpuPool);
    let exec = file.values(Section::ExecPool);
    let cores = cx.files.cores();
    let or = |given: u16, auto: fn(u16) -> u16| match given {
        0 => auto(cores),
        n => n,
    };
    Pool {
        io: IoPool {
            workers: or(io.number("workers", cx), auto::io_workers),
            threads: or(io.number("threads", cx), auto::io_threads),
            limits: limits(io, cx),
        },
        cpu: CpuPool {
            workers: or(cpu.number("workers", cx), auto::cpu_workers),
            limits: limits(cpu, cx),
        },
        exec: ExecPool {
            max_parallel: exec.number("max_parallel", cx),
            limits: limits(exec, cx),
        },
        isolate: file.values(Section::Pool).boolean("isolate", cx),
        groups: pool_groups::read(file, catalog, cx),
    }
}

fn limits(given: Values<'_>, cx: &mut Reading<'_>) -> Limits {
    Limits {
        max_rss: given.size("max_rss", cx),
        max_fds: given.number("max_fds", cx),
        max_runs: given.number("max_runs", cx),
        sandbox: match given.word("sandbox", cx) {
            "on" => UseSandbox::On,
            "off" => UseSandbox::Off,
            _ => UseSandbox::Auto,
        },
    }
}

const PASSED_OVER_TOLD: usize = 20;
