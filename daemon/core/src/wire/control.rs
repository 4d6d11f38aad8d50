//! The control protocol: what a client may ask, and what the manager answers.
//!
//! One JSON object a line in both directions; `daemon/PROTOCOL.md` is the text for people. A request is
//! answered by any number of data lines and then exactly one `end` or `error` line.

use crate::check::fault::Fault;
use crate::check::outcome::{Metric, Phase, Status, Verdict};
use crate::matching::Match;
use crate::wire::alerts::{AlertsReport, Beat, SilenceAsk, SilenceRow, Submission, Tested, WhoRow};
use crate::wire::events::EventRow;
use crate::wire::glob;
use crate::wire::probe::{ProbeAsk, Probed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Grows when an old client could misread a new daemon; added fields and operations do not count.
pub const VERSION: u32 = 1;
/// A longer request line is refused and the client is dropped.
pub const MAX_REQUEST: usize = 64 * 1024;

/// `{"v":1,"op":"status","names":["web-*"]}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub v: u32,
    /// CLOCK_MONOTONIC in ms: what changes something and was not read by then is not done any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    #[serde(flatten)]
    pub op: Op,
}

impl Request {
    pub fn new(op: Op) -> Request {
        Request {
            v: VERSION,
            expires_ms: None,
            op,
        }
    }

    /// A line of a client, without its end.
    pub fn read(line: &[u8]) -> Result<Request, ControlError> {
        let bad = |e: serde_json::Error| ControlError {
            code: ErrorCode::BadRequest,
            message: format!("not a request: {e}"),
            help: "one JSON object a line, see PROTOCOL.md".into(),
            diagnostics: Vec::new(),
        };
        // The version first: a newer client's operation may be one that we do not know.
        #[derive(Deserialize)]
        struct Head {
            v: u32,
        }
        let head: Head = serde_json::from_slice(line).map_err(bad)?;
        if head.v != VERSION {
            return Err(ControlError {
                code: ErrorCode::Version,
                message: format!(
                    "protocol version {} is not spoken here; this daemon speaks {VERSION}",
                    head.v
                ),
                help: "use the healthctl of the same release".into(),
                diagnostics: Vec::new(),
            });
        }
        serde_json::from_slice(line).map_err(bad)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// One `check` line a check that the filter lets through, in config order.
    Status(Filter),
    /// One `detail` line for each name; a name that matches nothing is an error.
    Show {
        name: String,
    },
    /// Runs the checks now (a normal counted run; one in flight is joined): a `started` line with the
    /// number, then one `check` line as each completes.
    Run(Filter),
    /// A `started` line with the number of matching checks, a `check` line for each as it is now, then one
    /// whenever a row changes and a `gone` line when a reload takes a check away, until the client hangs up.
    Watch(Filter),
    /// The story of the last run of one check: a `why` line.
    Why {
        name: String,
    },
    /// One `worker` line a slot.
    Workers,
    /// What plugins and checks share: an `object` line for each counter, array, map, list, lock, group and cache.
    Objects,
    /// One `plugin` line a file in the plugin directory.
    Plugins,
    /// No runs of the matching checks until `resume`. Answers with their `check` lines.
    Pause {
        #[serde(flatten)]
        filter: Filter,
        #[serde(default)]
        reason: String,
        /// They run again by themselves after so long; none: not before `resume`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    Resume(Filter),
    /// Ends quarantine and hold of these checks: names, globs, or plugins, whose checks are meant then. Answers with
    /// the `check` lines of those that were released.
    Release {
        names: Vec<String>,
    },
    /// Reads the configuration again: a `reloaded` line, or an error with every diagnostic.
    Reload,
    /// Reads the plugin directory again, files that were refused or rolled back too: a `reloaded` line when
    /// the new bytes have taken over. `name`: of this plugin only.
    #[serde(rename = "plugins_reload")]
    PluginsReload {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Brings back the bytes that served before: a `reloaded` line.
    #[serde(rename = "plugins_rollback")]
    PluginsRollback {
        name: String,
    },
    /// What has happened, an `event` line each, oldest first.
    Events(Events),
    /// Open notices, routes and silences: one `alerts` line.
    Alerts,
    /// Problems of these checks are held back: a `silence` line, with the id that `unsilence` wants.
    Silence(SilenceAsk),
    /// Takes a silence back: its `silence` line.
    Unsilence {
        id: String,
    },
    /// Somebody has the problem that this check has now: a `silence` line.
    Ack {
        name: String,
        #[serde(default)]
        reason: String,
        /// None: until the problem is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// What somebody says of an incident of this check: an event, for the public page among others.
    Note {
        name: String,
        text: String,
    },
    /// Sends a message over this route: a `tested` line when it is known what became of it.
    #[serde(rename = "alerts_test")]
    AlertsTest {
        route: String,
    },
    /// Who would be told of a problem of this check: a `who` line a route.
    #[serde(rename = "alerts_who")]
    AlertsWho {
        name: String,
        /// RFC 3339; none: now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        /// None: critical.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdict: Option<Verdict>,
    },
    /// Runs a module once for this target: a `probed` line. No verdict comes of it.
    Probe(ProbeAsk),
    /// A job has begun or ended: for a check whose plugin is `heartbeat`, which runs at once.
    Heartbeat(Beat),
    /// A result that somebody else has found: for a check whose plugin is `passive`, which runs at once.
    Submit(Submission),
    /// Graceful stop of the whole daemon; answered before it begins.
    Stop,
    /// A `version` line.
    Version,
}

impl Op {
    /// Not everybody who may look may do this.
    pub fn changes(&self) -> bool {
        match self {
            Op::Run(_)
            | Op::Pause { .. }
            | Op::Resume(_)
            | Op::Reload
            | Op::PluginsReload { .. }
            | Op::PluginsRollback { .. }
            | Op::Release { .. }
            | Op::Silence(_)
            | Op::Unsilence { .. }
            | Op::Ack { .. }
            | Op::Note { .. }
            | Op::AlertsTest { .. }
            | Op::Probe(_)
            | Op::Heartbeat(_)
            | Op::Submit(_)
            | Op::Stop => true,
            Op::Status(_)
            | Op::Show { .. }
            | Op::Watch(_)
            | Op::Why { .. }
            | Op::Workers
            | Op::Objects
            | Op::Plugins
            | Op::Events(_)
            | Op::Alerts
            | Op::AlertsWho { .. }
            | Op::Version => false,
        }
    }
}

/// All conditions must hold; an empty list lets everything through, else one of its members must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// Globs over the name: `*`, `?`, `[a-z]`. A name without these characters must exist. Or a `match`, as `team=web`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.plugins.is_empty() && self.verdicts.is_empty()
    }

    /// Whether it lets this check through; `None` (the verdict is not known) passes no verdict list.
    pub fn matches(
        &self,
        name: &str,
        plugin: &str,
        labels: &BTreeMap<String, String>,
        verdict: Option<Verdict>,
    ) -> bool {
        let any = |patterns: &[String], text| {
            patterns.is_empty() || patterns.iter().any(|p| glob::matches(p, text))
        };
        let fits = |word: &String| Match::parse(word).is_ok_and(|m| m.fits(name, labels));
        (any(&self.names, name) || self.names.iter().filter(|w| Match::is_meant(w)).any(fits))
            && any(&self.plugins, plugin)
            && (self.verdicts.is_empty() || verdict.is_some_and(|v| self.verdicts.contains(&v)))
    }
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Those after this number; what is not there any more is one `gap`. Left out: all that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Those since this time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// And all that come, until the client hangs up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// Those of these checks: names, globs, or a `match`. Left out: all, those of no check too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Reply {
    Check(CheckRow),
    /// `status` only, before any row: what is the matter with healthd itself.
    Problem(Problem),
    Detail(Box<CheckDetail>),
    Started {
        total: u64,
    },
    /// `watch` only: a reload took this check away.
    Gone {
        name: String,
    },
    Worker(WorkerRow),
    Plugin(PluginRow),
    Object(ObjectRow),
    Event(Box<EventRow>),
    Alerts(Box<AlertsReport>),
    Silence(SilenceRow),
    Tested(Tested),
    Who(WhoRow),
    Why(Box<Why>),
    Probed(Box<Probed>),
    Reloaded(ReloadReport),
    Version(VersionInfo),
    /// The answer is complete.
    End,
    /// The request failed; nothing follows.
    Error(ControlError),
}

/// `code` is for programs, `message` names the thing, `help` the way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlError {
    pub code: ErrorCode,
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// `reload` only: each mistake, rendered with file, line and snippet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, not an object, unknown operation, wrong type.
    BadRequest,
    /// The line is longer than `MAX_REQUEST`.
    TooLong,
    /// A `v` this daemon does not speak.
    Version,
    NoSuchCheck,
    NoSuchPlugin,
    /// The peer's uid may only read.
    Denied,
    BadConfig,
    /// It was tried, and did not come about; nothing was changed.
    Failed,
    /// Stopping, or too many clients or requests at once: try again.
    Busy,
    Internal,
}

/// Nobody works in a pool, so that its checks cannot run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// "io", "cpu", "exec".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    pub text: String,
    #[serde(default)]
    pub since: Option<String>,
}

/// One row of `status`. This is the documented, stable shape of `healthctl --json status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckRow {
    pub name: String,
    /// What people call it. Left out: its name is all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    pub plugin: String,
    pub verdict: Option<Verdict>,
    /// Status of the last run.
    pub status: Option<Status>,
    /// What ended the last run, where that was not the plugin's own word.
    #[serde(default)]
    pub fault: Option<Fault>,
    pub message: Option<String>,
    /// RFC 3339, as all times: when the verdict last flipped.
    pub since: Option<String>,
    pub last_run: Option<String>,
    pub next_run: Option<String>,
    pub latency_ms: Option<f64>,
    pub attempt: Option<u32>,
    pub attempts: Option<u32>,
    /// True when the row is older than next run + interval + timeout, when for `attempts` runs nobody could judge it, or
    /// when the daemon does not answer.
    pub stale: bool,
    /// Slot of the worker that ran it last.
    pub worker: Option<u32>,
    pub metrics: Option<Vec<Metric>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// It has killed too many workers and runs alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
    /// Place in the configuration: what `--ordered` sorts by.
    #[serde(default)]
    pub index: u64,
    /// None: the maps do not hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

impl CheckRow {
    /// Of a line of an answer that has its tag in front, as healthd writes it: then nothing has to be kept until the tag
    /// is found, and an answer may hold 100,000 of them. None: another line, or no such row.
    pub fn of_line(line: &[u8]) -> Option<CheckRow> {
        if !line.starts_with(br#"{"type":"check","#) {
            return None;
        }
        // All at once: of bytes each string would be looked through again.
        serde_json::from_str(str::from_utf8(line).ok()?).ok()
    }
}

/// `show`: the row and all that does not fit a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckDetail {
    #[serde(flatten)]
    pub row: CheckRow,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    pub retry_interval_ms: u64,
    /// The plugin's options, secrets shown as `***`.
    pub config: serde_json::Value,
    /// `file:line` of its `[[check]]` or `[[host]]`.
    pub source: String,
    /// What it has from elsewhere: templates, its host, the defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<TakenFrom>,
    /// Long output of the last run.
    pub detail: String,
    pub phases: Vec<Phase>,
    /// Labels that the plugin put on the last run.
    pub run_labels: BTreeMap<String, String>,
    pub cpu_ms: Option<f64>,
    pub queue_ms: Option<f64>,
    pub runs: u64,
    /// Due runs that were not started because the one before was still in flight.
    pub skipped: u64,
    pub pause_reason: String,
    /// Who has paused it, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseInfo>,
    pub held_until: Option<String>,
    /// The check that must be ok for this one's problems to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// How its last run was spread over the workers, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fanout: Option<RunFanout>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantineInfo>,
    /// What its runs have cost since the manager's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
    /// Why its program cannot say the truth under the unit's hardening. Filled by healthctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardening: Option<String>,
}

/// Values of a check that are not written in its own block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TakenFrom {
    /// ``template `ping` ``, ``host `web1` ``, `[defaults]`.
    pub what: String,
    /// `file:line`.
    pub source: String,
    /// `interval`, `labels.team`, `config.port`.
    pub keys: Vec<String>,
}

/// What a check's runs were like since the daemon's start, over deaths of its manager.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    pub since: Option<String>,
    /// Runs by outcome; `own_fault` are those that were not judged.
    pub ok: u64,
    pub warning: u64,
    pub critical: u64,
    pub unknown: u64,
    pub own_fault: u64,
    /// Of those that a worker finished.
    pub sum_ms: f64,
    /// To half an octave. Null: no worker has finished a run.
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The last 32, oldest first.
    pub last: Vec<LastRun>,
}

/// One of the last runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// A status, or "own-fault".
    pub outcome: String,
    /// It took no longer, but more than half of it. Null: more than 37 s.
    pub up_to_ms: Option<f64>,
}

/// Of a pause: `by_uid` is whom the kernel saw at the socket; no `until`: until `resume`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseInfo {
    pub by_uid: Option<u32>,
    pub since: Option<String>,
    pub until: Option<String>,
}

/// Sums over runs since the manager's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Runs that a worker finished.
    pub runs: u64,
    /// Of the plugin's calls and of the children it started.
    pub cpu_ms: f64,
    pub wall_ms: f64,
    /// Between due and started.
    pub queue_ms: f64,
    /// Calls into the plugin.
    pub steps: u64,
    /// Calls that were not back at their deadline: each wrote a thread off.
    pub overruns: u64,
    /// Calls that blocked a worker's event loop.
    pub stalls: u64,
    /// Workers that died of it.
    pub crashes: u64,
    /// What its calls left behind, while its workers were measured: memory and descriptors.
    pub grew_kb: i64,
    pub grew_fds: i64,
}

/// The same for all checks of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginCost {
    #[serde(flatten)]
    pub cost: Cost,
    /// Its part of all plugins' CPU time, 0 to 1.
    pub cpu_share: Option<f64>,
    pub wall_p50_ms: Option<f64>,
    pub wall_p99_ms: Option<f64>,
    /// Threads that are in a call of it whose deadline has passed.
    pub stuck_threads: u64,
}

/// Why a check runs alone, and what ends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuarantineInfo {
    pub since: Option<String>,
    /// Deaths of workers that were its doing.
    pub crashes: u64,
    /// The last of them: "SIGSEGV in libx.so+0x12 foo".
    pub reason: String,
    /// Runs in a row that survived since, of those that it takes.
    pub survived: u64,
    pub needed: u64,
    /// All of this in one sentence.
    pub text: String,
}

/// `why`: the last run of one check, step by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub name: String,
    /// As in its row.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Of its last run, as in its row.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// Each step in order.
    pub steps: Vec<WhyStep>,
    /// What comes next, in one sentence.
    pub next: String,
    /// From the maps, as healthd does not answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WhyStep {
    pub at: Option<String>,
    /// "due", "dispatched", "started", "finished", "evaluated", "lost", "held", ...
    pub what: String,
    pub text: String,
}

/// One row of `workers`. `dispatched = finished + in_flight + lost` holds in every row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    pub slot: u32,
    /// "io", "cpu", "exec".
    pub class: String,
    pub pid: Option<u32>,
    pub generation: Option<u64>,
    /// "starting", "ready", "draining", "dead".
    pub state: String,
    pub threads: Option<u32>,
    pub in_flight: Option<u64>,
    pub dispatched: Option<u64>,
    pub finished: Option<u64>,
    pub lost: Option<u64>,
    /// Results that matched no run in flight: dropped.
    pub late: Option<u64>,
    pub heartbeat_age_ms: Option<u64>,
    pub rss_kb: Option<u64>,
    /// Open descriptors.
    #[serde(default)]
    pub fds: Option<u64>,
    /// Runs that this process was sent.
    #[serde(default)]
    pub runs: Option<u64>,
    /// Threads in calls whose deadline has passed.
    #[serde(default)]
    pub stuck_threads: Option<u64>,
    /// Calls that blocked its event loop.
    #[serde(default)]
    pub stalls: Option<u64>,
    /// Why it is being replaced, or why the one before it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// How often a worker of this slot was replaced.
    pub restarts: Option<u64>,
    /// Of `lost`, by reason.
    pub lost_worker_died: Option<u64>,
    pub lost_replaced: Option<u64>,
    pub lost_cancelled: Option<u64>,
    /// Chunks of other workers' runs, with accounts of their own; cpu workers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<WorkerChunks>,
    /// The check that it holds alone; empty: it is a solo worker, but of whom is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solo: Option<String>,
    /// What it has given up: "full", "calls+files" and so on, as far as the kernel can; "none", "off" (by the config),
    /// "legacy" (a plugin of it does not say that it can do with it).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The plugins whose own it is; empty: it is shared, or nobody can tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// What a worker did of runs that fan out. `dispatched = finished + in_flight + lost` holds here too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerChunks {
    pub dispatched: u64,
    pub finished: u64,
    pub in_flight: u64,
    pub lost: u64,
    /// Of its own runs, done by itself: never dispatched.
    pub own: u64,
}

/// The fan-outs of a check's last run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFanout {
    pub chunks: u64,
    /// Done by the run's own worker, and by others.
    pub own: u64,
    pub elsewhere: u64,
    /// Begun again after a worker had died.
    pub again: u64,
    /// CPU time of the chunks that were done elsewhere; part of `cpu_ms`.
    pub elsewhere_cpu_ms: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginRow {
    /// What the descriptor says; of a refused file, what its name suggests.
    pub name: String,
    pub file: String,
    pub version: String,
    pub summary: String,
    /// "io", "block", "cpu", "exec".
    pub class: String,
    /// "loaded", "trial", "rolled back", "deleted", "waits", "unused", "refused", "left out" (it killed a
    /// starting worker).
    pub state: String,
    /// Why it is refused, rolled back or left out.
    pub reason: String,
    pub checks: u64,
    pub abi: String,
    /// 16 hex digits: the hash of the bytes in use. Empty: none of this file are.
    pub hash: String,
    /// These bytes serve since then.
    #[serde(default)]
    pub since: Option<String>,
    /// They have to prove themselves until then.
    #[serde(default)]
    pub trial_until: Option<String>,
    /// Version and hash of the bytes that served before, which `rollback` brings back.
    #[serde(default)]
    pub previous: Option<String>,
    /// So many of its checks are in quarantine.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quarantined: u64,
    /// Since the manager's start; of a plugin that was never used, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<PluginCost>,
    /// From the maps, as healthd does not answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// One row of `objects`. What a kind has not is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// "counter", "array", "map", "list", "lock", "group", "block" (the checks of one `max_parallel`), "cache".
    pub kind: String,
    pub name: String,
    /// Whose it is; left out where all share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Cells, keys, items or entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of a counter; of an array the first 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<u64>,
    /// So many may be in at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<ObjectUser>,
    /// First come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiters: Vec<ObjectUser>,
    /// Slot of the worker whose cache it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misses: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evictions: Option<u64>,
}

/// Who holds a lock, is in a group, or waits for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectUser {
    pub check: String,
    /// Null: no worker has the run yet.
    pub worker: Option<u32>,
    pub since: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub unchanged: u64,
    /// True when workers were replaced by a new generation.
    pub new_generation: Option<u64>,
    pub took_ms: u64,
    pub warnings: Vec<String>,
    /// What got other bytes: "http 0.1.0 (1f2e3d4c) -> http 0.1.1 (5b6a7988)".
    #[serde(default)]
    pub plugins: Vec<String>,
    /// What changed besides checks, a section each: `[web] changed (listen; healthd-web starts anew)`.
    #[serde(default)]
    pub settings: Vec<String>,
    /// What waits for a restart, from this reload or an earlier one: ``"`user` of [daemon]"``.
    #[serde(default)]
    pub waiting: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VersionInfo {
    pub version: String,
    pub protocol: u32,
    pub abi: String,
    pub supervisor_pid: u32,
    pub manager_pid: u32,
    pub started: String,
    pub checks: u64,
    pub generation: u64,
    /// The main config file; empty from a daemon that does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
    /// Under whom what runs, in a sentence for people; empty from a daemon that does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub users: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_the_reply_that_it_is() {
        let row = CheckRow {
            name: "web \"1\" 漢字\u{1f600}\u{9b}".into(),
            plugin: "http".into(),
            message: Some("line\nand \\ more".into()),
            labels: Some(BTreeMap::from([("team".into(), "web".into())])),
            ..CheckRow::default()
        };
        let line = serde_json::to_vec(&Reply::Check(row.clone())).expect("serializes");
        assert_eq!(CheckRow::of_line(&line), Some(row));
        let broken = |from: &[u8], to: &[u8]| {
            let at = line.windows(from.len()).position(|w| w == from);
            let at = at.expect("it is there");
            [&line[..at], to, &line[at + from.len()..]].concat()
        };
        let none = [
            broken(b"check", b"event"),
            broken(b"\"http\"", b"7"),
            broken(b"http", b"\xff"),
            line[..line.len() - 1].to_vec(),
        ];
        for line in none {
            assert_eq!(CheckRow::of_line(&line), None);
        }
    }

    #[test]
    fn a_filter_needs_one_member_of_each_list() {
        let filter = Filter {
            names: vec!["web-*".into(), "db".into()],
            plugins: vec!["http".into()],
            verdicts: vec![Verdict::Critical],
        };
        let none = BTreeMap::new();
        let passes = |name, plugin, verdict| filter.matches(name, plugin, &none, verdict);
        assert!(passes("web-1", "http", Some(Verdict::Critical)));
        assert!(passes("db", "http", Some(Verdict::Critical)));
        assert!(!passes("db2", "http", Some(Verdict::Critical)));
        assert!(!passes("web-1", "tcp", Some(Verdict::Critical)));
        assert!(!passes("web-1", "http", Some(Verdict::Ok)));
        assert!(!passes("web-1", "http", None));
        assert!(Filter::default().matches("x", "y", &none, None));
    }
}
