//! The command line: what healthctl accepts, and the text of `--help`.
//!
//! The man page and the shell completions are made from this file, so each help text is written once.

mod plugins;
mod selection;
mod values;

pub use plugins::{Bench, BenchArgs, PluginsAction, PluginsArgs, TryArgs};
pub use selection::{Selection, Targets, VerdictArg};

use crate::{columns, complete};
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use healthd_core::check::outcome::Status;
use healthd_core::wire::alerts::BeatEvent;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;
use values::*;

pub const DEFAULT_SOCKET: &str = "/run/healthd/control.sock";
pub const DEFAULT_CONFIG: &str = "/etc/healthd/healthd.toml";
/// What `healthd --here` makes.
pub const SOCKET_HERE: &str = ".healthd/run/control.sock";
pub const CONFIG_HERE: &str = ".healthd/healthd.toml";

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 warning, 2 critical, 3 unknown or could not ask (a wrong command line too).
More under `healthctl help`.";

const EXIT_CODES_LONG: &str = "\
Exit codes:
  0  ok
  1  warning
  2  critical; or refused: the configuration (reload, validate), the plugin
     (plugins verify)
  3  unknown, or healthd could not be asked, or the command line is wrong

  status and show go by verdict, run and try by the status of the run. Of
  several checks the worst counts: critical, then unknown, then warning, then
  ok. A pending check counts as unknown, and so does a stale one that is not
  critical. Paused and disabled checks are shown but do not count. When no
  check matches, the code is 3, unless --verdict or --problems was given: then
  nothing is in that state, and it is 0. list, workers, why and plugins say 3
  when their answer comes from the maps.

Environment:
  HEALTHD_SOCKET  the control socket, unless --socket is given
  NO_COLOR        when set and not empty, no colour, unless --color is given";

#[derive(Parser, Debug)]
#[command(
    name = "healthctl",
    version,
    about = "Ask and steer a running healthd",
    long_about = "Ask and steer a running healthd, the health-check daemon.\n\n\
        Names may be globs (`web-*`, `db-?`, `node-[0-4]`); quote them against the shell. Labels choose checks too: \
        `team=web`, and in one word `'team=web tier=1'` both, `'team=web,db-*'` either, `'team=web !api'` one without \
        the other; of several words any. What plugins say \
        is shown with control characters escaped. When healthd does not answer within 200 ms, status, list, \
        show, why, workers, plugins and version read its shared-memory maps beside the socket and mark what \
        they find as stale.",
    after_help = EXIT_CODES,
    after_long_help = EXIT_CODES_LONG,
    arg_required_else_help = true,
    max_term_width = 110
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Group, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print JSON in a stable shape (PROTOCOL.md): one array or object, from run, watch and events one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// The control socket [default: $HEALTHD_SOCKET, else /run/healthd/control.sock]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// Of the daemon that `healthd --here` runs in this folder: its socket, and its configuration
    #[arg(long, global = true, conflicts_with = "socket")]
    pub here: bool,
    /// Colour the output; auto: on a terminal, unless NO_COLOR is set or TERM is dumb
    #[arg(
        long,
        global = true,
        value_name = "auto|always|never",
        hide_possible_values = true,
        default_value = "auto"
    )]
    pub color: When,
    /// Show every column and cut nothing
    #[arg(long, short, global = true)]
    pub wide: bool,
    /// Give up when healthd stays silent this long: 500ms, 10s, 2m [default: 10s; reload: 2m; run and watch,
    /// once begun: never; before the maps are read: 200ms]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show the checks and their verdicts, problems first
    #[command(visible_alias = "st", after_long_help = columns::help("status"))]
    Status(StatusArgs),
    /// List the names of the checks, one a line
    #[command(visible_alias = "ls", after_long_help = columns::help("list"))]
    List(ListArgs),
    /// Show all about one check: last result, metrics, phases, options
    #[command(after_long_help = columns::help("show"))]
    Show(OneCheck),
    /// Run checks now and show the results as they come
    #[command(
        override_usage = "healthctl run [OPTIONS] <NAME>...\n       healthctl run [OPTIONS] --all|--plugin <PLUGIN>|--verdict <VERDICT>|--problems"
    )]
    Run(RunArgs),
    /// Show changes as they happen, until Ctrl-C
    #[command(after_long_help = columns::help("watch"))]
    Watch(WatchArgs),
    /// Show the checks on a full screen, from the maps alone: also of a daemon that is stopped or hangs
    #[command(
        long_about = "Show the checks on a full screen, problems first. It reads the maps that the manager writes, once a \
        second: so it shows what a daemon that is stopped, or hangs, has left, and says so. Keys: arrows and j k, PgUp \
        PgDn, Home End; Enter opens a check; / filters; s sorts; r runs, a acknowledges, S silences for an hour; w \
        workers, p plugins by cost; q quits. The mouse chooses, opens, scrolls, and sorts by a title."
    )]
    Top(TopArgs),
    /// Show what has happened: verdicts that flipped, workers that died, pauses, reloads; each with its number
    #[command(
        long_about = "Show what has happened, oldest first: verdicts that flipped, checks that were held or paused, \
        workers that died, reloads, new plugins, steps of the clock. Each event has a number, one more than the one \
        before it, over restarts too. healthd keeps the newest 4096, or two for each check.",
        after_long_help = columns::help("events")
    )]
    Events(EventsArgs),
    /// Show what was recorded of a check: how its runs went, and what happened to it
    #[cfg(feature = "history")]
    #[command(after_long_help = columns::help("history"))]
    History(HistoryArgs),
    /// Show for each check how long it was up and down, from what was recorded
    #[cfg(feature = "history")]
    #[command(after_long_help = columns::help("report"))]
    Report(ReportArgs),
    /// Show what a check's history supports: attempts, timeout, limits of latency
    #[cfg(feature = "history")]
    #[command(
        long_about = "Show what the recorded history of a check supports: how many attempts would have kept problems \
        quiet that were over by themselves within five minutes, and how much later the others would be told; and a \
        timeout and limits of latency by the hours in which all was well. Nothing is changed.",
        after_long_help = columns::help("calibrate")
    )]
    Calibrate(CalibrateArgs),
    /// Tell the story of a check's last run: due, dispatched, started, by whom, how long, what next
    #[command(after_long_help = columns::help("why"))]
    Why(OneCheck),
    /// Show the worker processes and their counters
    #[command(after_long_help = columns::help("workers"))]
    Workers,
    /// Show what plugins and checks share: counters, maps, locks, groups, caches
    #[command(after_long_help = columns::help("objects"))]
    Objects,
    /// List the plugins, replace them or go back, or verify a plugin file
    #[command(after_long_help = columns::help("plugins"))]
    Plugins(PluginsArgs),
    /// Run one check of a plugin, without the daemon; as root, it runs as nobody (--timeout is the check's)
    #[command(after_long_help = columns::help("try"))]
    Try(TryArgs),
    /// Make a check: write its block into checks.d, apply it, and run it once
    #[command(
        long_about = "Make a check: write its block into checks.d, apply it, and run it once.\n\n\
        The block goes into a file of its own beside the configuration of the running healthd. What healthd \
        refuses is taken away again. The exit code is the status of the first run."
    )]
    Add(AddArgs),
    /// Show who is told of what: open notices, routes, silences
    #[command(after_long_help = columns::help("alerts"))]
    Alerts(AlertsArgs),
    /// Hold back alerts of checks that fit: what was told before still gets its end
    Silence(SilenceArgs),
    /// Take back a silence, a maintenance or an acknowledgement, by its id in `alerts`
    Unsilence {
        /// As `alerts` shows it
        id: String,
    },
    /// Take a problem: nobody else is told of it, until it is over
    Ack(AckArgs),
    /// Say something of an incident to everybody: on the public page, beside what healthd says of it
    Incident(IncidentArgs),
    /// Say that a job is well, has begun, or has failed: for a check with plugin `heartbeat`
    #[command(
        override_usage = "healthctl heartbeat <NAME> [ok|start|fail|EXITCODE]",
        long_about = "Say that a job is well, has begun, or has failed: for a check with plugin `heartbeat`.\n\n\
        In a crontab: `backup; healthctl heartbeat backup $?`."
    )]
    Heartbeat(HeartbeatArgs),
    /// Submit a result that somebody else has found: for a check with plugin `passive`
    #[command(
        override_usage = "healthctl submit <NAME> <STATUS> [TEXT]\n       healthctl submit --stdin",
        long_about = "Submit a result that somebody else has found: for a check with plugin `passive`.\n\n\
        With --stdin a result a line, as send_nsca reads them: HOST, SERVICE, STATUS and TEXT with tabs between; the check \
        is HOST/SERVICE then. Or NAME, STATUS and TEXT."
    )]
    Submit(SubmitArgs),
    /// Hold back alerts of planned work, which is not counted as downtime
    Maintenance(SilenceArgs),
    /// Stop running checks until `resume`
    #[command(
        override_usage = "healthctl pause [OPTIONS] <NAME>...\n       healthctl pause [OPTIONS] --all|--plugin <PLUGIN>|--verdict <VERDICT>|--problems"
    )]
    Pause(PauseArgs),
    /// Run paused checks again
    #[command(
        override_usage = "healthctl resume [OPTIONS] <NAME>...\n       healthctl resume [OPTIONS] --all|--plugin <PLUGIN>|--verdict <VERDICT>|--problems"
    )]
    Resume(Targets),
    /// Read the configuration again and apply what changed; a bad one changes nothing
    Reload,
    /// Check a configuration and tell every mistake in it, without the daemon
    Validate(ValidateArgs),
    /// Find what runs on this machine, and write checks of it
    #[command(
        long_about = "Find what runs on this machine, and write checks of it.\n\n\
        It looks for servers by the ports on which somebody listens and by the names of processes (root sees all of \
        them), asks each of them once with the plugin that fits, and writes those checks that are well, with comments, \
        into checks.d/this-machine.toml; and a configuration beside it if there is none. In a terminal it asks before \
        each one. No file that is there is touched."
    )]
    Init(InitArgs),
    /// Look at this machine and at healthd on it: what is wrong, and the command that mends it
    #[command(
        long_about = "Look at this machine and at healthd on it: programs, socket, configuration, plugins, permissions, limits, disk, \
        clock, resolver and kernel; what is wrong, and the command that mends it. Nothing is changed. Root sees more.\n\n\
        Exit codes: 0 nothing to mend, 1 warnings, 2 problems.",
        after_long_help = columns::help("doctor")
    )]
    Doctor(DoctorArgs),
    /// Print what may stand in a configuration, as a JSON Schema for editors; does not need the daemon
    #[command(
        long_about = "Print what may stand in a configuration, as a JSON Schema for editors; does not need the daemon.\n\n\
        It has the options of each plugin in the plugin folder. An installation has one of the shipped plugins as \
        /usr/share/healthd/healthd.schema.json; for plugins of your own, write one and name it in the first line of \
        a file: `#:schema file:///PATH`. taplo and the editors that use it read that line."
    )]
    Schema(SchemaArgs),
    /// Stop healthd: no new runs, those in flight may finish
    Stop(StopArgs),
    /// Measure how fast healthd is on this machine, and with how many workers and threads
    #[command(
        long_about = "Measure how fast healthd is on this machine. Each bench starts a healthd of its own in a temporary \
        folder, with servers of its own on loopback, and ends both; the running one is not asked. On a machine \
        that does something else meanwhile the figures say little."
    )]
    Bench(BenchArgs),
    /// Show the versions of healthctl and of the running healthd
    Version,
    /// Print a shell completion script
    Completions(CompletionsArgs),
    /// Print the man page healthctl(1)
    #[command(hide = true)]
    Man,
}

#[derive(Group, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// Disabled checks too; and on a terminal every row, however many are ok
    #[arg(long, short)]
    pub all: bool,
    /// As a Nagios plugin: one line with performance data; paused and stale checks are UNKNOWN
    #[arg(long, conflicts_with = "all")]
    pub nagios: bool,
}

#[derive(Group, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// Plugin and state as well
    #[arg(long, short)]
    pub long: bool,
}

#[derive(Group, Debug)]
pub struct OneCheck {
    /// The name of the check
    #[arg(add = complete::checks())]
    pub name: String,
}

#[derive(Group, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub targets: Targets,
    /// Show the results in the order of the configuration, once all are there
    #[arg(long)]
    pub ordered: bool,
}

#[derive(Group, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// A live table that fills the terminal, problems first
    #[arg(long, short, conflicts_with_all = ["json", "every"])]
    pub table: bool,
    /// A line for each finished run, not only for changes of verdict or status
    #[arg(long, short)]
    pub every: bool,
    /// When healthd hangs up (a restart), wait for it and go on
    #[arg(long, short)]
    pub reconnect: bool,
}

#[derive(Group, Debug)]
pub struct TopArgs {
    /// Which checks: names, globs, plugin=http, verdict=critical, as in a route
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,
}

#[derive(Group, Debug)]
pub struct EventsArgs {
    /// Only those of these checks: names, globs, or labels, as team=web
    #[arg(value_name = "NAME", add = complete::checks())]
    pub names: Vec<String>,
    /// Go on with what comes, over restarts of healthd too, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Only those after this number; what healthd has not any more is told as one gap
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
    /// Only those since then: a time ago (10m, 2h), a time of day (10:00), a date, or both
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Timestamp>,
}

#[cfg(feature = "history")]
#[derive(Group, Debug)]
pub struct HistoryArgs {
    /// The name of the check
    #[arg(add = complete::checks())]
    pub name: String,
    /// Since then: a time ago (10m, 7d), a time of day (10:00), a date, or both [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// The roll-ups as CSV
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Another file than that of the running healthd
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

#[cfg(feature = "history")]
#[derive(Group, Debug)]
pub struct CalibrateArgs {
    /// The name of the check
    #[arg(add = complete::checks())]
    pub name: String,
    /// Since then: a time ago (7d, 30d), a date, or a date and a time of day [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// Another file than that of the running healthd
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

#[cfg(feature = "history")]
#[derive(Group, Debug)]
pub struct ReportArgs {
    /// Names or globs; none: all checks
    #[arg(value_name = "NAME", add = complete::checks())]
    pub names: Vec<String>,
    /// Since then: a time ago (7d, 30d), a date, or a date and a time of day [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// Until then, as for --since: of a month, --since 2026-10-01 --until 2026-11-01 [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub until: Option<Timestamp>,
    /// What a check is to reach, as 99.9%: then how much of its budget is used up
    #[arg(long, value_name = "PERCENT", value_parser = parse_slo)]
    pub slo: Option<f64>,
    /// As CSV
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Another file than that of the running healthd
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

#[derive(Group, Debug)]
pub struct AddArgs {
    /// The name of the check, as web/shop
    pub name: String,
    /// Its plugin; `healthctl plugins` lists them
    #[arg(add = complete::plugins())]
    pub plugin: String,
    /// Options of the check; the value is TOML if it parses (5, true, ["a", "b"]), else text; dots nest
    #[arg(value_name = "KEY=VALUE", value_parser = parse_option)]
    pub options: Vec<String>,
    /// What people call it, as "The shop: front page"
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// How often it runs: 10s, 5m [default: what the configuration says]
    #[arg(long, value_name = "TIME")]
    pub interval: Option<String>,
    /// Only print the block
    #[arg(long)]
    pub print: bool,
    /// The configuration whose checks.d gets it [default: that of the running healthd]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

#[derive(Group, Debug)]
pub struct PauseArgs {
    #[command(flatten)]
    pub targets: Targets,
    /// For so long: 30m, 2h, 7d; then they run again by themselves [default: until `resume`]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_pause)]
    pub time: Option<Duration>,
    /// Why: shown by `show` and `why`
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
}

#[derive(Group, Debug)]
pub struct AlertsArgs {
    #[command(subcommand)]
    pub action: Option<AlertsAction>,
}

#[derive(Subcommand, Debug)]
pub enum AlertsAction {
    /// Send a message over a route, and tell what became of it
    Test {
        /// Its name, as `alerts` shows it
        route: String,
    },
    /// Show which routes would be told of a problem of a check, and why the others would not
    Who {
        /// The name of the check
        #[arg(add = complete::checks())]
        name: String,
        /// At that time: in so long (10m, 2h), a time of day (03:00), a date, or both [default: now]
        #[arg(long, value_name = "TIME", value_parser = parse_at)]
        at: Option<Timestamp>,
        /// Of a problem of this kind: warning, critical or unknown
        #[arg(
            long,
            value_name = "VERDICT",
            hide_possible_values = true,
            ignore_case = true,
            default_value = "critical"
        )]
        verdict: VerdictArg,
    },
    /// Show what the routes of a configuration would have sent, had it been in force; nothing is sent
    #[command(
        long_about = "Show what the routes of a configuration would have sent, had it been in force while verdicts flipped as \
        they did; nothing is sent.\n\nIt goes by the events that healthd still has: see `events`."
    )]
    Replay(ReplayArgs),
}

#[derive(Group, Debug)]
pub struct ReplayArgs {
    /// From then on: a time ago (10m, 30d), a time of day (10:00), a date, or both
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Timestamp,
    /// The configuration to try [default: that of the running healthd]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

#[derive(Group, Debug)]
pub struct SilenceArgs {
    /// Which checks, as `match` of a route: names or globs, labels as team=web; a blank is and, a comma or
    #[arg(value_name = "MATCH", add = complete::checks())]
    pub matches: String,
    /// For so long: 30m, 2h, 7d [default: until `unsilence`]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_pause)]
    pub time: Option<Duration>,
    /// Until then: a time of day (08:00), a date, or both
    #[arg(long, value_name = "TIME", conflicts_with = "time", value_parser = parse_until)]
    pub until: Option<Duration>,
    /// Why: shown by `alerts`
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
}

#[derive(Group, Debug)]
pub struct IncidentArgs {
    #[command(subcommand)]
    pub action: IncidentAction,
}

#[derive(Subcommand, Debug)]
pub enum IncidentAction {
    /// Add a note, which everybody may read where the check is public; it is an event, and stays
    Note {
        /// The name of the check
        #[arg(add = complete::checks())]
        name: String,
        /// What there is to say
        text: String,
    },
}

#[derive(Group, Debug)]
pub struct HeartbeatArgs {
    /// The name of the check
    #[arg(add = complete::checks())]
    pub name: String,
    /// ok, start, fail, or the exit code of the job: 0 is well
    #[arg(value_name = "EVENT", default_value = "ok", hide_default_value = true, value_parser = parse_event)]
    pub event: (BeatEvent, Option<i32>),
    /// What the job has to say: shown with the check
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub text: String,
}

fn parse_event(text: &str) -> Result<(BeatEvent, Option<i32>), String> {
    match text {
        "ok" => Ok((BeatEvent::Ok, None)),
        "start" => Ok((BeatEvent::Start, None)),
        "fail" => Ok((BeatEvent::Fail, None)),
        code => match code.parse() {
            Ok(code @ 0..=255) => Ok((BeatEvent::Exit, Some(code))),
            _ => Err("write ok, start, fail, or an exit code from 0 to 255".to_owned()),
        },
    }
}

#[derive(Group, Debug)]
pub struct SubmitArgs {
    /// The name of the check
    #[arg(add = complete::checks(), required_unless_present = "stdin")]
    pub name: Option<String>,
    /// ok, warning, critical, unknown, or 0 to 3
    #[arg(value_parser = parse_status, required_unless_present = "stdin")]
    pub status: Option<Status>,
    /// As a Nagios plugin prints it; behind | metrics
    #[arg(default_value = "", hide_default_value = true)]
    pub text: String,
    /// A result a line
    #[arg(long, conflicts_with_all = ["name", "status", "text"])]
    pub stdin: bool,
}

pub fn parse_status(text: &str) -> Result<Status, String> {
    let named = Status::ALL
        .into_iter()
        .find(|s| s.as_str() == text.to_ascii_lowercase());
    let numbered = || Status::from_code(text.parse().ok()?);
    named
        .or_else(numbered)
        .ok_or_else(|| "write ok, warning, critical, unknown, or 0 to 3".to_owned())
}

#[derive(Group, Debug)]
pub struct AckArgs {
    /// The name of the check
    #[arg(add = complete::checks())]
    pub name: String,
    /// At most for so long [default: until the problem is over]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_pause)]
    pub time: Option<Duration>,
    /// At most until then: a time of day (08:00), a date, or both
    #[arg(long, value_name = "TIME", conflicts_with = "time", value_parser = parse_until)]
    pub until: Option<Duration>,
    /// What you are doing about it: shown by `alerts`
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub note: String,
}

#[derive(Group, Debug)]
pub struct ValidateArgs {
    /// The configuration file [default: /etc/healthd/healthd.toml]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// The same, as healthd itself takes it
    #[arg(long, short, value_name = "FILE", conflicts_with = "file", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
}

impl ValidateArgs {
    /// None: not said.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref().or(self.file.as_deref())
    }
}

#[derive(Group, Debug)]
pub struct InitArgs {
    /// Ask nothing: take all that is found
    #[arg(long, short)]
    pub yes: bool,
    /// Only print what would be written
    #[arg(long)]
    pub print: bool,
    /// Tell this address of problems, by the mail server of this machine
    #[arg(long, value_name = "ADDRESS")]
    pub mail: Option<String>,
    /// The configuration whose checks.d gets the file; made if there is none [default: /etc/healthd/healthd.toml]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

#[derive(Group, Debug)]
pub struct DoctorArgs {
    /// The configuration [default: that of the running healthd]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

#[derive(Group, Debug)]
pub struct SchemaArgs {
    /// The configuration whose plugin_dir is read [default: /etc/healthd/healthd.toml if it is there]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The folder of the plugins, in place of that of a configuration
    #[arg(long, value_name = "FOLDER", conflicts_with = "config", value_hint = clap::ValueHint::DirPath)]
    pub plugins: Option<PathBuf>,
}

#[derive(Group, Debug)]
pub struct StopArgs {
    /// Return only when the daemon is gone
    #[arg(long)]
    pub wait: bool,
}

#[derive(Group, Debug)]
pub struct CompletionsArgs {
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_need_a_key() {
        assert!(Args::try_parse_from(["healthctl", "try", "x.so", "a.b=1", "c="]).is_ok());
        assert!(Args::try_parse_from(["healthctl", "try", "x.so", "=1"]).is_err());
        assert!(Args::try_parse_from(["healthctl", "try", "x.so", "word"]).is_err());
    }
}
