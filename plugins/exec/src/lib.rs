//! `exec`: runs any Nagios plugin, or any program that keeps to their exit codes. Options, metrics and verdicts are
//! described in README.md beside this crate.

#![forbid(unsafe_code)]

mod output;
mod perfdata;
mod program;
#[cfg(test)]
mod tests;

use healthd_plugin::{Check, ChildEnd, Cx, ExecOutput, ExecSpec, Status, cut, options, plugins};
use output::Output;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

options! {
    /// Runs a Nagios plugin: exit code 0 is ok, 1 warning, 2 critical, 3 unknown.
    pub struct Options {
        /// The program and its arguments. No shell is involved. A program without a / is looked up in PATH.
        argv: Vec<String> { min_items: 1, max_items: 1024 },
        /// Environment variables, on top of PATH, HOME, USER, LOGNAME, LANG and TZ of the daemon; nothing else is
        /// handed on.
        env: BTreeMap<String, String> = BTreeMap::new(),
        /// Working directory, an absolute path.
        cwd: String { pattern: "^/" } = "/".into(),
        /// Text for the program's standard input. Without it the input is empty.
        stdin: Option<String>,
        /// Bytes kept of each of the two outputs; the rest is read and dropped.
        max_output: u32 { min: 256, max: 1048576 } = 65536,
        /// Address space the program may use, in MiB.
        max_memory_mib: Option<u32> { min: 1 },
        /// CPU time the program may use; rounded up to whole seconds.
        max_cpu: Option<Duration>,
        /// Files the program may have open at once.
        max_files: Option<u32> { min: 3 },
        /// Processes and threads that the daemon's user may have at once while the program runs; root has no limit.
        max_processes: Option<u32> { min: 1 },
        /// Past the timeout: between SIGTERM and SIGKILL to its process group. 0s: SIGKILL at once.
        kill_grace: Duration = Duration::from_millis(500),
        /// What the program starts may go on after it. Else all of that is ended with it, whatever its session.
        leave_children: bool = false,
    }
}

/// What a program finds in its environment if the daemon has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const INHERITED: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ"];
const MAX_GRACE: Duration = Duration::from_secs(60);
/// What a result has room for.
const MAX_METRICS: usize = 1000;
const MAX_LINE: usize = 31 << 10;
/// Bytes of the entries that could not be read which are shown; all are counted.
const MAX_REFUSED: usize = 2 << 10;
/// The same number on every Linux; std has no name for it.
const ENOEXEC: i32 = 8;

struct Exec {
    options: Options,
    env: Vec<String>,
}

impl Check for Exec {
    type Options = Options;

    fn create(options: Options, cx: Cx<'_>) -> Result<Self, String> {
        check_argv(&options.argv)?;
        if !options.cwd.starts_with('/') || options.cwd.contains('\0') {
            return Err(format!("cwd: {:?} is no absolute path", options.cwd));
        }
        if options.kill_grace > MAX_GRACE {
            return Err("kill_grace: above 60s".into());
        }
        let env = environment(&options.env, |name| std::env::var(name).ok())?;
        let exec = Exec { options, env };
        if let Some(why) = exec.cannot_start() {
            // It may be installed later: worth a remark of `validate`, and no reason to refuse the check.
            cx.message(why);
        }
        Ok(exec)
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let o = &self.options;
        let spec = ExecSpec {
            argv: &o.argv,
            env: &self.env,
            cwd: &o.cwd,
            input: o.stdin.as_deref().unwrap_or_default().as_bytes(),
            max_output: o.max_output,
            max_memory: o.max_memory_mib.map_or(0, |mib| u64::from(mib) << 20),
            max_cpu_s: o.max_cpu.map_or(0, whole_seconds),
            max_files: o.max_files.unwrap_or(0).into(),
            max_processes: o.max_processes.unwrap_or(0).into(),
            kill_grace: o.kill_grace,
            leave_children: o.leave_children,
            tell_deadline: true,
        };
        cx.phase("exec");
        match cx.exec(&spec).await {
            Ok(done) => self.judge(cx, &done),
            Err(e) => self.not_started(cx, &e),
        }
    }
}

plugins! {
    exec Exec {
        name: "exec",
        summary: "runs any Nagios plugin: exit codes, output, performance data",
        default_timeout_ms: 60_000,
    }
}

impl Exec {
    fn judge(&self, cx: Cx<'_>, done: &ExecOutput) -> Status {
        let out = Output::parse(&done.out);
        self.report(cx, done, &out);
        let (status, reason) = match (done.exit_code, done.signal) {
            (Some(0), _) => (Status::Ok, None),
            (Some(1), _) => (Status::Warn, None),
            (Some(2), _) => (Status::Critical, None),
            (Some(3), _) => (Status::Unknown, None),
            (Some(code), _) => (Status::Unknown, Some(exit_reason(code))),
            (None, signal) => (
                Status::Unknown,
                Some(self.signal_reason(signal.unwrap_or_default())),
            ),
        };
        let said = self.said(done, &out);
        let reason = self.deadline_reason(done).or(reason);
        let mut notes = Vec::new();
        if out.not_utf8 {
            notes.push("output is not UTF-8".to_string());
        }
        if out.message.len() > MAX_LINE {
            notes.push(format!("a line of {} bytes, cut", out.message.len()));
        }
        if done.out_truncated {
            notes.push(format!(
                "output cut after {} bytes, see max_output",
                self.options.max_output
            ));
        }
        let notes = match notes.is_empty() {
            true => String::new(),
            false => format!(" [{}]", notes.join("; ")),
        };
        match reason {
            // The host says before it that it was a time-out.
            Some(reason) if done.end != ChildEnd::Itself => {
                cx.message(format_args!("{reason}; it had said: {said}{notes}"));
            }
            Some(reason) => cx.message(format_args!("{}: {reason}; {said}{notes}", self.program())),
            None => cx.message(format_args!("{said}{notes}")),
        }
        status
    }

    /// The program's own words, or that it had none.
    fn said<'o>(&self, done: &ExecOutput, out: &'o Output) -> Cow<'o, str> {
        if !out.message.is_empty() {
            let shown = cut(&out.message, MAX_LINE);
            return match shown.len() < out.message.len() {
                true => format!("{shown}…").into(),
                false => shown.into(),
            };
        }
        let code = match done.exit_code.filter(|_| done.end == ChildEnd::Itself) {
            Some(code) => format!(" (exit code {code})"),
            None => String::new(),
        };
        let nothing = if out.perfdata == Default::default() {
            "no output"
        } else {
            "no text but performance data"
        };
        let who = match done.exit_code {
            Some(0..=3) if done.end == ChildEnd::Itself => format!("{} gave ", self.program()),
            _ => String::new(),
        };
        match output::telling_line(&done.err) {
            err if err.is_empty() => format!("{who}{nothing}{code}"),
            err => format!("{who}{nothing}{code}; stderr: {err}"),
        }
        .into()
    }

    /// Everything below the message.
    fn report(&self, cx: Cx<'_>, done: &ExecOutput, out: &Output) {
        for entry in out.perfdata.entries.iter().take(MAX_METRICS) {
            cx.metric(entry.metric());
            for (key, value) in entry.labels() {
                cx.label(&key, &value);
            }
        }
        let mut parts: Vec<String> = Vec::new();
        if !out.long.is_empty() {
            parts.push(out.long.clone());
        }
        let (err, _) = output::readable(&done.err);
        let err = err.trim_end();
        if !err.is_empty() {
            let cut = if done.err_truncated { " (cut)" } else { "" };
            parts.push(format!("stderr{cut}: {err}"));
        }
        if done.open {
            parts.push(
                "something that it started still holds its output: what comes now is not read"
                    .into(),
            );
        }
        if done.end != ChildEnd::LivesOn && !done.left.is_empty() {
            let fate = match self.options.leave_children {
                true => "left running, see leave_children",
                false => "ended with it, see leave_children",
            };
            parts.push(format!("it left processes behind, {fate}: {}", done.left));
        }
        let perfdata = &out.perfdata;
        if !perfdata.refused.is_empty() {
            // A cut output ends in the middle of an entry; the message says that already.
            parts.push(format!(
                "performance data not understood: {}",
                named(&perfdata.refused)
            ));
        }
        let count = perfdata.entries.len();
        if count > MAX_METRICS {
            parts.push(format!("{MAX_METRICS} of {count} metrics kept"));
        }
        if !perfdata.raw.is_empty() {
            parts.push(format!("performance data: {}", perfdata.raw));
        }
        if !parts.is_empty() {
            cx.detail(parts.join("\n"));
        }
    }

    /// How its time-out ended it.
    fn deadline_reason(&self, done: &ExecOutput) -> Option<String> {
        let after = done.ran.as_secs_f64();
        let sent = done.signal_sent.and_then(signal_name);
        let sent = sent.as_deref().unwrap_or("a signal");
        match (done.end, done.exit_code) {
            (ChildEnd::Itself, _) => None,
            (ChildEnd::Deadline, Some(code)) => Some(format!(
                "ended by {sent} after {after:.1}s, exit code {code}"
            )),
            (ChildEnd::Deadline, None) => Some(format!("killed after {after:.1}s by {sent}")),
            (ChildEnd::LivesOn, _) => Some(format!(
                "pid {} still runs after {after:.1}s and SIGKILL: {}",
                done.pid, done.left
            )),
        }
    }

    fn not_started(&self, cx: Cx<'_>, e: &io::Error) -> Status {
        let program = self.program();
        let slash = program.contains('/');
        let cwd = &self.options.cwd;
        // Only now, and not before each run, because a look at the disk may block.
        if !Path::new(cwd).is_dir() {
            return cx.unknown(format_args!(
                "{program}: not started: {cwd} is no directory that can be entered; see the option cwd"
            ));
        }
        let found = self.found();
        match (e.kind(), &found) {
            // It is there, and what it needs to start is not.
            (io::ErrorKind::NotFound, Some(path)) => {
                let why = program::what_is_wrong(path);
                let why = why.as_deref().unwrap_or("what it needs to start does not exist");
                cx.unknown(format_args!("{program}: not started: {why}"))
            }
            (io::ErrorKind::NotFound, None) if !slash => cx.unknown(format_args!(
                "{program}: command not found in PATH {}; write its full path in argv",
                self.path()
            )),
            // As the search in PATH says it also if it could not look into one of the directories.
            (io::ErrorKind::PermissionDenied, _) if !slash => cx.unknown(format_args!(
                "{program}: not found in PATH {}, or not executable for the daemon's user; write its full path in argv",
                self.path()
            )),
            (io::ErrorKind::NotFound, None) => cx.unknown(format_args!(
                "{program}: no such file; install it or correct argv"
            )),
            (io::ErrorKind::PermissionDenied, _) if Path::new(program).is_dir() => {
                cx.unknown(format_args!("{program}: a folder and no program"))
            }
            (io::ErrorKind::PermissionDenied, _) => cx.unknown(format_args!(
                "{program}: not executable for the daemon's user; see its mode and that of its directories"
            )),
            (io::ErrorKind::ArgumentListTooLong, _) => cx.unknown(format_args!(
                "{program}: argv and env are longer than this system allows"
            )),
            _ if e.raw_os_error() == Some(ENOEXEC) => {
                let path = found.as_deref().unwrap_or(Path::new(program));
                let why = program::what_is_wrong(path);
                let why = why.as_deref().unwrap_or(program::NEITHER);
                cx.unknown(format_args!("{program}: not a program: {why}"))
            }
            _ => match cx.fail(program, e) {
                // The target was not asked, so this is no verdict about it.
                Status::Critical => Status::Unknown,
                other => other,
            },
        }
    }

    /// What would keep the program from being started now, with the option that says so.
    fn cannot_start(&self) -> Option<String> {
        let program = self.program();
        let found = match program.contains('/') {
            true => program::look(Path::new(program)),
            false => match self.found() {
                // A command that is there and cannot be started says why.
                Some(path) => program::look(&path),
                None => Err(format!("no such command in PATH {}", self.path())),
            },
        };
        match found {
            Err(why) => Some(format!("argv[0]: {program}: {why}")),
            Ok(()) if !Path::new(&self.options.cwd).is_dir() => Some(format!(
                "cwd: {} is no directory that can be entered",
                self.options.cwd
            )),
            Ok(()) => None,
        }
    }

    fn signal_reason(&self, signal: i32) -> String {
        let name = signal_name(signal);
        let why = match name.as_deref() {
            Some("SIGXCPU") => ": it used more CPU time than max_cpu allows",
            Some("SIGKILL") => {
                ": the machine ran out of memory, a limit was hit, or somebody killed it"
            }
            _ => "",
        };
        match name {
            Some(name) => format!("killed by {name}{why}"),
            None => format!("killed by signal {signal}"),
        }
    }

    /// Where in PATH it is, as the system looks for it.
    fn found(&self) -> Option<PathBuf> {
        let mut places = self
            .path()
            .split(':')
            .map(|dir| Path::new(dir).join(self.program()));
        places.find(|path| program::may_run(path))
    }

    fn path(&self) -> &str {
        let path = self.env.iter().find_map(|kv| kv.strip_prefix("PATH="));
        path.unwrap_or_default()
    }

    fn program(&self) -> &str {
        self.options.argv.first().map_or("", |s| s.as_str())
    }
}

/// As many as there is room for, and how many more there are.
fn named(refused: &[String]) -> String {
    let mut text = String::new();
    for (n, entry) in refused.iter().enumerate() {
        if text.len() + entry.len() > MAX_REFUSED && n > 0 {
            return format!("{text} and {} more", refused.len() - n);
        }
        if n > 0 {
            text += ", ";
        }
        text += cut(entry, MAX_REFUSED);
    }
    text
}

fn check_argv(argv: &[String]) -> Result<(), String> {
    let program = argv.first().map_or("", |s| s.as_str());
    if program.is_empty() {
        return Err("argv: the first entry is the program and must not be empty".into());
    }
    if program.contains('/') && !program.starts_with('/') {
        return Err(format!(
            "argv: {program:?} is relative; write a full path, or a bare name to look up in PATH"
        ));
    }
    if argv.len() == 1 && program.contains(' ') && !Path::new(program).exists() {
        return Err(format!(
            "argv: {program:?} is one word; no shell splits it, so write each argument as an entry of its own"
        ));
    }
    match argv.iter().position(|a| a.contains('\0')) {
        Some(i) => Err(format!("argv[{i}]: must not contain a NUL character")),
        None => Ok(()),
    }
}

/// `K=V`, the complete environment of the child.
fn environment(
    own: &BTreeMap<String, String>,
    inherited: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let mut all = BTreeMap::new();
    all.insert("PATH", Cow::Borrowed(DEFAULT_PATH));
    // Performance data has a decimal point; a plugin under a language with a comma would print that instead.
    all.insert("LC_NUMERIC", Cow::Borrowed("C"));
    for name in INHERITED {
        if let Some(value) = inherited(name).filter(|v| !v.is_empty()) {
            all.insert(name, value.into());
        }
    }
    for (name, value) in own {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("env: {name:?} is no name of a variable"));
        }
        if value.contains('\0') {
            return Err(format!("env.{name}: must not contain a NUL character"));
        }
        all.insert(name, value.into());
    }
    Ok(all.iter().map(|(k, v)| format!("{k}={v}")).collect())
}

fn whole_seconds(d: Duration) -> u64 {
    d.as_secs() + u64::from(d.subsec_nanos() > 0)
}

fn exit_reason(code: i32) -> String {
    match code {
        126 => "exit code 126: a command it calls is not executable".into(),
        127 => "exit code 127: a command it calls was not found".into(),
        // How a shell passes on the death of its child.
        129..=192 => match signal_name(code - 128) {
            Some(name) => format!("exit code {code}: a command it calls was killed by {name}"),
            None => format!("exit code {code}, where Nagios plugins use 0 to 3"),
        },
        _ => format!("exit code {code}, where Nagios plugins use 0 to 3"),
    }
}

/// Linux's numbers on x86, ARM and RISC-V.
fn signal_name(signal: i32) -> Option<Cow<'static, str>> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    match NAMES.get(index) {
        Some(name) => Some(Cow::Borrowed(name)),
        None if (34..=64).contains(&signal) => Some(format!("SIGRTMIN+{}", signal - 34).into()),
        None => None,
    }
}
